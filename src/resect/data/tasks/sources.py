"""Where a benchmark's records come from: local files in any of several formats, or the Hub. Knows no benchmark."""

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resect.core.errors import BadTask, InputError, UnknownName
from resect.core.files import read_text

from .base import Example
from .hub import hub_records, published_records
from .records import Paths, Placed, Record, find_files, make_all, read_records


@dataclass(frozen=True)
class TaskSource:
    """The places where the records of a benchmark are found.

    Parameters
    ----------
    task : the task's name
    accepts : what a local copy looks like, one sentence; every error ends in it
    hub : the data set on the Hub
    files : its files there, by what tells their records apart ("dev"), in the order in which they are read
    taken : how the names of files begin (up to the first "-" or ".") that are taken of a folder: the first of these sets of which
        there is a file; all of the set are taken
    folders : names of the benchmark's folder, in lower case, that is looked for in a folder of many
    first : of how many records a part on the Hub is read, where not of all
    """

    task: str
    accepts: str
    hub: str
    files: Mapping[str, str]
    taken: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...]
    first: Mapping[str, int] = field(default_factory=dict)

    def records(self, data: Paths | None) -> Iterator[Placed]:
        """The records, one part after the other, each with its place. Raises BadTask that says what is accepted."""
        try:
            for part, records in self.parts(data).items():
                for number, record in enumerate(records):
                    yield Placed(record.where, record.values, f"{part}{number}")
        except BadTask as error:
            raise BadTask(f"{error} {self.accepts}") from error

    def parts(self, data: Paths | None) -> dict[str, Iterable[Record]]:
        """The records of each file, by what tells their places apart ("dev/"; nothing, where there is one file). Raises BadTask."""
        if data is None:
            instead = "Without the Hub give a local copy: --data."
            single = len(self.files) == 1
            return {
                "" if single else f"{part}/": itertools.islice(hub_records(self.hub, [file], instead), self.first.get(part))
                for part, file in self.files.items()
            }
        files = self._chosen(data)
        single = len(files) == 1
        return {"" if single else f"{file.stem}/": READERS[file.suffix.lower()](file) for file in files}

    def examples(
        self, records: Iterable[Placed], make: Callable[[Placed], Iterable[Example]], left_out: str
    ) -> tuple[tuple[Example, ...], str]:
        """What `make` makes of every record, and a sentence on those of which it makes nothing (`left_out` says what they are).

        Raises BadTask with file and line, and where nothing is left.
        """
        read = used = 0

        def counted(record: Placed) -> tuple[Example, ...]:
            nonlocal read, used
            try:
                made = tuple(make(record))
            except BadTask as error:
                raise BadTask(f"{error} {self.accepts}") from error
            read, used = read + 1, used + bool(made)
            return made

        found = make_all(records, counted)
        if not found:
            none = f"Of {read:,} records none can be asked: they are those {left_out}." if read else "The data holds no record."
            raise BadTask(f"{none} {self.accepts}")
        return found, f" Left out of {read:,} records: {read - used:,} {left_out}." if read > used else ""

    def _chosen(self, data: Paths) -> tuple[Path, ...]:
        named = [Path(name) for name in ((data,) if isinstance(data, str | os.PathLike) else data)]
        files = find_files([file for path in named for file in (self._of_folder(path) if path.is_dir() else (path,))], tuple(READERS))
        for file in files:
            if file.suffix.lower() not in READERS:
                raise BadTask(f"The data file {file} ends in none of {', '.join(READERS)}.")
        if len({file.stem for file in files}) < len(files):
            names = ", ".join(map(str, files))
            raise BadTask(f"Of the files {names} two have one name, so their ids would not tell them apart; rename one.")
        return files

    def _of_folder(self, folder: Path) -> Sequence[Path]:
        """The files to take of a folder: of the benchmark's own sub-folder where there is one."""
        folder = next((each for each in sorted(folder.iterdir()) if each.is_dir() and each.name.lower() in self.folders), folder)
        files = find_files(folder, tuple(READERS))
        for names in self.taken:
            found = [file for file in files if re.split(r"[-.]", file.name.lower())[0] in names]
            if found:
                return _one_of_each(found)
        if len(_one_of_each(files)) > 1:
            raise BadTask(f"The folder {folder} holds {', '.join(file.name for file in files)}: name the one that is meant.")
        return _one_of_each(files)


def check_split_by(task: str, split_by: str | None, ways: Sequence[str]) -> str:
    """The way to group the examples: the one that was asked for, or the first. Raises UnknownName."""
    if split_by is not None and split_by not in ways:
        raise UnknownName(f"way to split {task}", split_by, ways)
    return split_by or ways[0]


def words_hash(text: str) -> str:
    """A short hash of the words alone, whatever their case and what stands between them: the same for copies of one text."""
    words = " ".join(re.findall(r"\w+", text.casefold())) or text
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _one_of_each(files: Sequence[Path]) -> list[Path]:
    """Files of one name are one table in several formats: the first format of READERS is read."""
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(file.stem.lower(), []).append(file)
    return [min(same, key=lambda file: [*READERS].index(file.suffix.lower())) for same in by_name.values()]


def _tsv(path: Path) -> Iterator[Record]:
    """The rows of a table with tabs and a header, where a quote is a quote and need not be closed."""
    try:
        lines = read_text(path, "data file").removeprefix("\ufeff").split("\n")
    except InputError as error:
        raise BadTask(str(error)) from error
    header = lines[0].split("\t")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if line and len(cells) != len(header):
            raise BadTask(f"{path}:{number}: {len(cells)} values for {len(header)} columns (tabs stand between them).")
        if line:
            yield Record(f"{path}:{number}", dict(zip(header, cells, strict=True)))


def _table(path: Path) -> Iterator[Record]:
    return published_records(str(path.parent), [path.name])


#: How a file is read, by its ending.
READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".jsonl": read_records,
    ".json": read_records,
    ".csv": read_records,
    ".tsv": _tsv,
    ".parquet": _table,
}
