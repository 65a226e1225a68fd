"""Reads files of records (JSON Lines, JSON, CSV, TSV, Parquet), each record with its place in the file. Knows no task and no benchmark."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from resect.core.errors import BadTask
from resect.core.files import BYTE_ORDER_MARK, read_text

#: One path, or several.
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Record(NamedTuple):
    """One record, its place for errors ("Age.jsonl:17"), and its number from 0 within its part ("dev/") of all records read together."""

    where: str
    values: dict[str, Any]
    part: str = ""
    number: int = 0

    @property
    def key(self) -> str:
        """What identifies the record among all that are read together, where it has no id of its own ("17", "dev/17")."""
        return f"{self.part}{self.number}"


def list_paths(data: Paths) -> list[Path]:
    """Returns one path, or several, as a list."""
    return [Path(name) for name in ((data,) if isinstance(data, str | os.PathLike) else data)]


def find_files(data: Paths, formats: tuple[str, ...] = (".jsonl",)) -> tuple[Path, ...]:
    """Returns the files of `data`: files as they are, of a folder those that end in one of `formats`, sorted by name. Raises BadTask."""
    files: list[Path] = []
    for path in list_paths(data):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in formats and file.is_file())
            if not inside:
                raise BadTask(f"The folder {path} holds no {' or '.join(formats)} file.")
            files.extend(inside)
        elif path.is_file():
            files.append(path)
        else:
            raise BadTask(f"There is no data file {path}.")
    if not files:
        raise BadTask("No data file was given.")
    return tuple(dict.fromkeys(files))


def read_records(path: Path) -> Iterator[Record]:
    """Returns the records of a file in one of FORMATS. Raises BadTask with file and line, no later than at the record concerned."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadTask(f"The data file {path} ends in none of {', '.join(FORMATS)}.")
    return reader(path)


def parse_json_lines(text: str, source: str) -> Iterator[Record]:
    """Yields the records of a text of JSON lines; `source` is the file's name. Raises BadTask with file and line."""
    lines = text.removeprefix(BYTE_ORDER_MARK).split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{source}:{number}"
            yield Record(where, parse_json_object(line, where, is_last=number == len(lines)))


def parse_json_object(line: str, where: str, *, is_last: bool = False) -> dict[str, Any]:
    """Returns the JSON object in a line; `is_last`: no line end follows, so that the file may be truncated there. Raises BadTask."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        if is_last:
            raise BadTask(f"{where}: the file breaks off in this line ({error}); get it again.") from error
        raise BadTask(f"{where}: no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise BadTask(f"{where}: a line is one JSON object, not {type(values).__name__}.")
    return values


def field_of(values: Mapping[str, Any], name: str, kind: type | tuple[type, ...] = object) -> Any:
    """Returns the field `name` of a record. Raises BadTask where it is missing (lists those that exist) or of another kind."""
    if name not in values:
        raise BadTask(f"the field {name!r} is missing; there are: {', '.join(map(str, values)) or 'none'}.")
    value = values[name]
    # True is an int to Python, but never to a data set.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(_KIND_NAMES.get(one, one.__name__) for one in kinds)
        raise BadTask(f"the field {name!r} is {value!r}; {wanted} is needed.")
    return value


def text_of(values: Mapping[str, Any], name: str) -> str:
    """Returns the text in the field `name`, stripped of white space. Raises BadTask where it is missing, no text, or empty."""
    text: str = field_of(values, name, str)
    if not text.strip():
        raise BadTask(f"the field {name!r} is empty.")
    return text.strip()


_KIND_NAMES = {str: "a text", int: "an integer", list: "a list", dict: "an object"}


def _read_text(path: Path) -> str:
    # Line ends are kept: a field of a CSV file may hold any of them.
    return read_text(path, "data file", raises=BadTask, line_ends=True)


def _read_json_lines(path: Path) -> Iterator[Record]:
    return parse_json_lines(_read_text(path), str(path))


def _read_json(path: Path) -> Iterator[Record]:
    """Yields the records of a list of objects, of the list `examples` of one object (BIG-bench), or of JSON lines in a .json file."""
    text = _read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _is_object(text.lstrip().partition("\n")[0]):
            yield from parse_json_lines(text, str(path))
            return
        raise BadTask(f"{path}: no JSON: {error}. If the file breaks off there, get it again.") from error
    if isinstance(content, dict):
        examples = content.get("examples")
        content = examples if isinstance(examples, list) else [content]
    if not isinstance(content, list):
        raise BadTask(f"{path}: a list of objects is needed, not {type(content).__name__}.")
    for number, values in enumerate(content, start=1):
        if not isinstance(values, dict):
            raise BadTask(f"{path}: entry {number} is {values!r:.60}; an object is needed.")
        yield Record(f"{path}: entry {number}", values)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_csv(path: Path) -> Iterator[Record]:
    # strict: a quote that is never closed is an error, not a field of a thousand lines.
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
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


def _read_tsv(path: Path) -> Iterator[Record]:
    """Yields the rows of a table with tabs and a header, where a quote is an ordinary character and need not be closed."""
    lines = read_text(path, "data file", raises=BadTask).split("\n")
    header = lines[0].split("\t")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if line and len(cells) != len(header):
            raise BadTask(f"{path}:{number}: {len(cells)} values for {len(header)} columns (separated by tabs).")
        if line:
            yield Record(f"{path}:{number}", dict(zip(header, cells, strict=True)))


def _read_parquet(path: Path) -> Iterator[Record]:
    from .hub import published_records  # imports this module

    return published_records(str(path.parent), [path.name])


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".ndjson": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}
#: The formats that are read; of files with one name in several formats the first of these is preferred.
FORMATS = tuple(_READERS)
