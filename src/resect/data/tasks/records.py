"""Files of records: JSON Lines, JSON and CSV, each record with the place where it stands. Knows no task and no benchmark."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from resect.core.errors import BadTask, InputError

from .base import Example

#: One path, or several.
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Record(NamedTuple):
    """One record, and where it stands ("Age.jsonl:17")."""

    where: str
    values: dict[str, Any]


class Placed(NamedTuple):
    """A record with its number among all that are read with it, from 0 ("17", "dev/17"): an id where it has none of its own."""

    where: str
    values: dict[str, Any]
    place: str


AnyRecord = TypeVar("AnyRecord", Record, Placed)


def find_files(data: Paths, endings: tuple[str, ...] = (".jsonl",)) -> tuple[Path, ...]:
    """The files of `data`: itself, or those in a folder that have one of `endings`, by name. Raises BadTask."""
    found: list[Path] = []
    for name in (data,) if isinstance(data, str | os.PathLike) else data:
        path = Path(name)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in endings and file.is_file())
            if not inside:
                raise BadTask(f"The folder {path} holds no {' or '.join(endings)} file.")
            found.extend(inside)
        elif path.is_file():
            found.append(path)
        else:
            raise BadTask(f"There is no data file {path}.")
    if not found:
        raise BadTask("No data file was given.")
    return tuple(dict.fromkeys(found))


def read_records(path: Path) -> Iterator[Record]:
    """The records of a .jsonl, .json or .csv file. Raises BadTask with file and line."""
    kind = path.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        return parse_jsonl(_text(path), str(path))
    if kind == ".json":
        return _json(path)
    if kind == ".csv":
        return _csv(path)
    raise BadTask(f"The data file {path} is neither .jsonl (one object a line), .json (a list of objects) nor .csv (with a header).")


def parse_jsonl(text: str, source: str) -> Iterator[Record]:
    """The records of a text of JSON lines; `source` is the file's name. Raises BadTask with file and line."""
    lines = text.removeprefix("\ufeff").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{source}:{number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                raise BadTask(f"{where}: the file breaks off in this line ({error}); get it again.") from error
            raise BadTask(f"{where}: no JSON: {error}.") from error
        if not isinstance(values, dict):
            raise BadTask(f"{where}: a line is one JSON object, not {type(values).__name__}.")
        yield Record(where, values)


def make_examples(records: Iterable[Record], make: Callable[[Record], Example]) -> tuple[Example, ...]:
    """`make` of every record. Raises BadTask that says where: what `make` refuses, and an id that was there before."""
    return make_all(records, lambda record: (make(record),))


def make_all(records: Iterable[AnyRecord], make: Callable[[AnyRecord], Iterable[Example]]) -> tuple[Example, ...]:
    """The same where a record gives any number of examples."""
    seen: dict[str, str] = {}
    examples: list[Example] = []
    for record in records:
        try:
            made = tuple(make(record))
        except InputError as error:
            raise BadTask(f"{record.where}: {error}") from error
        for example in made:
            if example.id is not None and example.id in seen:
                raise BadTask(f"{record.where}: the id {example.id!r} stands at {seen[example.id]} too; ids are unique.")
            if example.id is not None:
                seen[example.id] = record.where
        examples.extend(made)
    return tuple(examples)


def field_of(values: Mapping[str, Any], name: str, kind: type | tuple[type, ...] = object) -> Any:
    """The field `name` of a record. Raises BadTask where it is missing (says which there are) or of another kind."""
    if name not in values:
        raise BadTask(f"the field {name!r} is missing; there are: {', '.join(map(str, values)) or 'none'}.")
    value = values[name]
    # True is an int to Python, never to a data set.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(_KINDS.get(each, each.__name__) for each in kinds)
        raise BadTask(f"the field {name!r} is {value!r}; {wanted} is wanted.")
    return value


def text_of(values: Mapping[str, Any], name: str) -> str:
    """The text in the field `name`, without white space around it. Raises BadTask where it is missing, no text, or empty."""
    text: str = field_of(values, name, str)
    if not text.strip():
        raise BadTask(f"the field {name!r} is empty.")
    return text.strip()


_KINDS = {str: "a text", int: "an integer", list: "a list", dict: "an object"}


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadTask(f"The data file {path} cannot be read: {error.strerror}.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadTask(f"{path}:{line}: not UTF-8 (byte {error.start} of the file); save the file as UTF-8.") from error


def _json(path: Path) -> Iterator[Record]:
    """The records of a list of objects, of the list `examples` of one object (BIG-bench), or of lines all the same."""
    text = _text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _is_object(text.lstrip().partition("\n")[0]):
            yield from parse_jsonl(text, str(path))
            return
        raise BadTask(f"{path}: no JSON: {error}. If the file breaks off there, get it again.") from error
    if isinstance(content, dict):
        inside = content.get("examples")
        content = inside if isinstance(inside, list) else [content]
    if not isinstance(content, list):
        raise BadTask(f"{path}: a list of objects is wanted, not {type(content).__name__}.")
    for number, values in enumerate(content, start=1):
        if not isinstance(values, dict):
            raise BadTask(f"{path}: entry {number} is {values!r:.60}; an object is wanted.")
        yield Record(f"{path}: entry {number}", values)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _csv(path: Path) -> Iterator[Record]:
    # strict: a quote that is never closed is an error, not a field of a thousand lines.
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        if not header or len(set(header)) < len(header) or not all(name.strip() for name in header):
            raise BadTask(f"{path}:1: the first line must name the columns, each once; it is {header!r}.")
        line = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                raise BadTask(f"{path}:{line}: {len(row)} values for {len(header)} columns.")
            if row:
                yield Record(f"{path}:{line}", dict(zip(header, row, strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadTask(f"{path}:{line}: no CSV: {error}.") from error
