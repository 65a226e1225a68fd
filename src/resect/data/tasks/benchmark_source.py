"""Where the records of a published benchmark are: local files in any of several formats, or the Hub. Knows no single benchmark."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resect.core.errors import BadTask, InputError, UnknownName
from resect.data.hub import hub_records
from resect.data.records import FORMATS, Paths, Record, find_files, list_paths, read_records

from .example import Example


@dataclass(frozen=True)
class BenchmarkSource:
    """The places where the records of a benchmark are.

    Parameters
    ----------
    task : the task's name
    accepts : what a local copy looks like, one sentence; every error ends in it
    hub_id : the data set on the Hub
    hub_files : its files there, by the name of the part of the data ("dev"), in the order in which they are read
    file_names : how the names of the files begin (up to the first "-" or ".") that are read from a folder: the first of these sets of
        which there is a file; all files of the set are read
    folder_names : names of the benchmark's folder, in lower case; it is looked for in a folder that is given
    one_file : only one file of a folder may match, else the choice is refused
    other_folders : names of folders, in lower case, whose files look the same and mean something else
    hub_limits : how many records of a part on the Hub are read, where not all
    """

    task: str
    accepts: str
    hub_id: str
    hub_files: Mapping[str, str]
    file_names: tuple[tuple[str, ...], ...]
    folder_names: tuple[str, ...]
    one_file: bool = False
    other_folders: tuple[str, ...] = ()
    hub_limits: Mapping[str, int] = field(default_factory=dict)

    def records(self, data: Paths | None) -> Iterator[Record]:
        """Yields the records, one part after the other. Raises BadTask that says what is accepted."""
        try:
            for part, records in self._parts(data).items():
                for number, record in enumerate(records):
                    yield Record(record.where, record.values, part, number)
        except BadTask as error:
            raise BadTask(f"{error} {self.accepts}") from error

    def _parts(self, data: Paths | None) -> dict[str, Iterable[Record]]:
        """Returns the records of each file, by the prefix of their keys ("dev/"; "" where there is one file). Raises BadTask."""
        if data is None:
            instead = "Without the Hub give a local copy: --data."
            named: dict[str, Iterable[Record]] = {
                part: itertools.islice(hub_records(self.hub_id, [file], instead), self.hub_limits.get(part))
                for part, file in self.hub_files.items()
            }
        else:
            named = {file.stem: read_records(file) for file in self._files(data)}
        return {f"{part}/": records for part, records in named.items()} if len(named) > 1 else {"": next(iter(named.values()))}

    def examples(
        self, records: Iterable[Record], make: Callable[[Record], Iterable[Example]], left_out: str = ""
    ) -> tuple[tuple[Example, ...], str]:
        """Returns the examples that `make` makes of every record, and a sentence on the records of which it makes none.

        `left_out` says what those records are. Raises BadTask with file and line, and where no example is left.
        """
        read = used = 0

        def counted(record: Record) -> tuple[Example, ...]:
            nonlocal read, used
            try:
                examples = tuple(make(record))
            except BadTask as error:
                raise BadTask(f"{error} {self.accepts}") from error
            read, used = read + 1, used + bool(examples)
            return examples

        examples = make_examples(records, counted)
        if not examples:
            none = f"Of {read:,} records none can be used: they are those {left_out}." if read else "The data holds no record."
            raise BadTask(f"{none} {self.accepts}")
        return examples, f" Left out of {read:,} records: {read - used:,} {left_out}." if read > used else ""

    def _files(self, data: Paths) -> tuple[Path, ...]:
        files = find_files([file for path in list_paths(data) for file in (self._files_in(path) if path.is_dir() else (path,))])
        for file in files:
            # There, a label that is 1 here may be 0.
            if file.absolute().parent.name.lower() in self.other_folders:
                raise BadTask(f"{file} is in the folder of another set, not of {self.task}.")
        if len({file.stem for file in files}) < len(files):
            names = ", ".join(map(str, files))
            raise BadTask(f"Of the files {names} two have one name, so that their ids would be equal; rename one.")
        return files

    def _files_in(self, folder: Path) -> Sequence[Path]:
        """Returns the files to read from a folder: from the benchmark's own subfolder where there is one."""
        folder = next(
            (inside for inside in sorted(folder.iterdir()) if inside.is_dir() and inside.name.lower() in self.folder_names), folder
        )
        files = find_files(folder, FORMATS)
        for names in self.file_names:
            matching = [file for file in files if re.split(r"[-.]", file.name.lower())[0] in names]
            if matching:
                return self._only(_one_format_each(matching)) if self.one_file else _one_format_each(matching)
        return self._only(_one_format_each(files))

    def _only(self, files: Sequence[Path]) -> Sequence[Path]:
        if len(files) > 1:
            raise BadTask(f"The folder {files[0].parent} holds {', '.join(file.name for file in files)}: name the one that is meant.")
        return files


def make_examples(records: Iterable[Record], make: Callable[[Record], Iterable[Example]]) -> tuple[Example, ...]:
    """Returns the examples that `make` makes of every record. Raises BadTask with file and line: what `make` refuses, and a repeated id."""
    first_places: dict[str, str] = {}
    examples: list[Example] = []
    for record in records:
        try:
            new = tuple(make(record))
        except InputError as error:
            raise BadTask(f"{record.where}: {error}") from error
        for example in new:
            if example.id is not None and example.id in first_places:
                raise BadTask(f"{record.where}: the id {example.id!r} is at {first_places[example.id]} too; ids are unique.")
            if example.id is not None:
                first_places[example.id] = record.where
        examples.extend(new)
    return tuple(examples)


def check_split_by(task: str, split_by: str | None, options: Sequence[str]) -> str:
    """Returns how to group the examples: as requested, or the first of `options`. Raises UnknownName."""
    if split_by is not None and split_by not in options:
        raise UnknownName(f"way to split {task}", split_by, options)
    return split_by or options[0]


def words_hash(text: str) -> str:
    """Returns a short hash of the words alone, without case and punctuation: the same for copies of one text."""
    words = " ".join(re.findall(r"\w+", text.casefold())) or text
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _one_format_each(files: Sequence[Path]) -> list[Path]:
    """Returns one file of each name: files of one name are one table in several formats, and the first of FORMATS is read."""
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.stem.lower(), []).append(file)
    return [min(same, key=lambda file: FORMATS.index(file.suffix.lower())) for same in by_name.values()]
