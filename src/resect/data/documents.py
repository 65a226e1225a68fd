"""Streams the documents of one file, or of one data set on the Hub, whatever its format.

At a time it keeps one document of a text file, or one batch of rows of a table, in memory. Knows no corpus and no language.
"""

import codecs
import gzip
import io
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from resect.core.errors import Failure, InputError

from .hub import first_line, hub_errors, require_package
from .records import parse_json_object

#: The formats of text files, by their suffix; all but the last may be compressed (.gz).
TEXT_FORMATS = (".txt", ".jsonl", ".ndjson", ".parquet")
_HUB = re.compile(r"hub:(?P<id>[^/:@\s]+/[^/:@\s]+)(@(?P<revision>[^/:]+))?(/(?P<config>[^/:]+))?(:(?P<split>[^:]+)(:(?P<column>[^:]+))?)?")
_ROWS = 256


class DocumentSource(ABC):
    """One file or one data set of documents.

    `size`: its bytes (None: unknown); `bytes_read`: how many of them the iteration begun last has read.
    """

    size: int | None = None
    bytes_read: int = 0

    @abstractmethod
    def documents(self) -> Iterator[str]:
        """Yields its documents from the first on, stripped of white space, none of them empty.

        Raises InputError that names file and line of a damaged text, Failure where the connection to the Hub is lost.
        """


def document_source(path: Path) -> DocumentSource:
    """Returns the documents of a file in one of TEXT_FORMATS. Raises InputError where it cannot be read, or has no column "text"."""
    try:
        return _ParquetFile(path) if text_format(path) == ".parquet" else _LineFile(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def text_format(path: Path) -> str | None:
    """Returns which one of TEXT_FORMATS a file has by its name, .gz ignored; None where it has none."""
    name = path.name.lower()
    suffix = next((suffix for suffix in TEXT_FORMATS if name.removesuffix(".gz").endswith(suffix)), None)
    return None if name.endswith(".gz") and suffix == ".parquet" else suffix


class _LineFile(DocumentSource):
    """A text file with one document a line, or one JSON object a line; it may be compressed."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        self._is_json = text_format(path) != ".txt"
        self._is_compressed = path.name.lower().endswith(".gz")

    def documents(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(self._lines(file), start=1):
                    document = self._document(line, number)
                    if document:
                        self.bytes_read = file.tell()
                        yield document
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{self.path} is damaged or cut off ({error}); get it again.") from error
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _lines(self, file: io.BufferedReader) -> Iterable[bytes]:
        return io.BufferedReader(gzip.GzipFile(fileobj=file)) if self._is_compressed else file

    def _document(self, line: bytes, number: int) -> str:
        """Returns the document in a line, stripped of white space; "" where there is none. Raises InputError."""
        where = f"{self.path}:{number}"
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            utf_16 = " It looks like UTF-16." if number == 1 and line[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ""
            position = f"(byte 0x{line[error.start]:02x} at column {error.start + 1})"
            raise InputError(f"{where}: not UTF-8 {position}.{utf_16} Save the file as UTF-8.") from error
        if not self._is_json or not text:
            return text
        values = parse_json_object(text, where, is_last=not line.endswith(b"\n"))
        if "text" not in values:
            raise InputError(f'{where}: there is no key "text"; the keys here: {", ".join(values) or "none"}.')
        return _checked(values["text"], f'{where}: the value of "text"')


def _checked(value: Any, what: str) -> str:
    """Returns a document from its value in a file or data set, a text or null. Raises InputError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{what} is no text but {value!r:.60}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not valid Unicode: character {error.start + 1} is half of a surrogate pair.") from error
    return value.strip()


class _ParquetFile(DocumentSource):
    """The column "text" of a .parquet file, read by row groups."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        columns = self._open().schema_arrow.names
        if "text" not in columns:
            raise InputError(f'{path} has no column "text"; its columns: {", ".join(columns) or "none"}.')

    def _open(self) -> Any:
        pa = require_package("pyarrow", str(self.path))
        from pyarrow import parquet

        try:
            # Read ahead into buffers, the complete file would be kept in memory.
            return parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path} cannot be read as parquet: {error}.") from error

    def documents(self) -> Iterator[str]:
        import pyarrow as pa

        try:
            with self._open() as file:
                size, rows, row = self.path.stat().st_size, max(1, file.metadata.num_rows), 0
                for batch in file.iter_batches(_ROWS, columns=["text"], use_threads=False):
                    for value in batch.column(0):
                        row += 1
                        document = _checked(value.as_py(), f"{self.path}: row {row}")
                        if document:
                            self.bytes_read = size * row // rows
                            yield document
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path} is damaged or cut off ({error}); get it again.") from error


class HubDataset(DocumentSource):
    """One column of a data set on the Hub, streamed: hub:owner/name[@revision][/config][:split[:column]]. Other specs raise InputError."""

    def __init__(self, spec: str) -> None:
        match = _HUB.fullmatch(spec)
        if match is None:
            raise InputError(f"{spec!r} names no data set; give hub:owner/name[@revision][/config][:split[:column]].")
        self.spec = spec
        self._id, self._config, self._revision = match["id"], match["config"], match["revision"]
        self._split, self._column = match["split"] or "train", match["column"] or "text"

    def documents(self) -> Iterator[str]:
        """Yields the texts of the column, row by row."""
        datasets = require_package("datasets", self.spec)
        row = 0
        try:
            table = datasets.load_dataset(self._id, self._config, split=self._split, revision=self._revision, streaming=True)
            for row, values in enumerate(table, start=1):
                if self._column not in values:
                    raise InputError(f"{self.spec}: there is no column {self._column!r}; the columns: {', '.join(values) or 'none'}.")
                document = _checked(values[self._column], f"{self.spec}: row {row}")
                if document:
                    yield document
        except hub_errors() as error:
            if row:
                again = "The same command goes on where it stopped."
                raise Failure(f"{self.spec} was lost after row {row}: {first_line(error)}. {again}") from error
            other = "Files of it will do as well: name a folder or a glob."
            raise InputError(f"{self.spec} cannot be streamed: {first_line(error)}. {other}") from error
