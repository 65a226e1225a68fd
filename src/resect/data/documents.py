"""Documents one after the other, out of one file or one data set of the Hub, whatever its format.

What is held at a time is one document of a text, or one batch of rows of a table. Knows no corpus and no language, and writes nothing.
"""

import codecs
import gzip
import io
import json
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from resect.core.errors import Failure, InputError

#: What files of text are called; all but the last also with .gz behind.
ENDINGS = (".txt", ".jsonl", ".ndjson", ".parquet")
_HUB = re.compile(r"hub:(?P<id>[^/:@\s]+/[^/:@\s]+)(@(?P<revision>[^/:]+))?(/(?P<config>[^/:]+))?(:(?P<split>[^:]+)(:(?P<column>[^:]+))?)?")
_EXTRA = "{what} is read through the package {package}, which is not installed: pip install 'resect[datasets]'."
_ROWS = 256


class DocumentSource(ABC):
    """One file or one data set: `size` in bytes (None: unknown), of which `read` have been read since `documents` was begun."""

    size: int | None = None
    read: int = 0

    @abstractmethod
    def documents(self) -> Iterator[str]:
        """Its documents, from the first on: no white space around them, none empty.

        Raises InputError that names file and line of a broken text, Failure where the Hub is lost on the way.
        """


def document_source(path: Path) -> DocumentSource:
    """The documents of a file, by its ending. Raises InputError where it is a table without the column "text"."""
    return _Table(path) if ending_of(path) == ".parquet" else _Lines(path)


def ending_of(path: Path) -> str | None:
    """The one of ENDINGS that a file has, .gz put aside; None where it has none."""
    name = path.name.lower()
    packed = name.endswith(".gz")
    found = next((ending for ending in ENDINGS if name.removesuffix(".gz").endswith(ending)), None)
    return None if packed and found == ".parquet" else found


class _Lines(DocumentSource):
    """A text of lines, or of JSON lines, .gz or not."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        self._records = ending_of(path) != ".txt"
        self._packed = path.name.lower().endswith(".gz")

    def documents(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(self._unpacked(file), start=1):
                    document = self._document(line, number)
                    if document:
                        self.read = file.tell()
                        yield document
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{self.path} is damaged or cut off ({error}); get it again.") from error
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _unpacked(self, file: io.BufferedReader) -> Iterable[bytes]:
        return io.BufferedReader(gzip.GzipFile(fileobj=file)) if self._packed else file

    def _document(self, line: bytes, number: int) -> str:
        """The document of a line, without white space around it; "" where there is none. Raises InputError."""
        where = f"{self.path}: line {number}"
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            wide = " It looks like UTF-16." if line[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and number == 1 else ""
            place = f"(byte 0x{line[error.start]:02x} at column {error.start + 1})"
            raise InputError(f"{where} is not UTF-8 {place}.{wide} Save the file as UTF-8.") from error
        return _of_record(text, where, cut=not line.endswith(b"\n")) if self._records and text else text


def _of_record(text: str, where: str, cut: bool) -> str:
    """The document of a JSON line. Raises InputError."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        broken = "; the file breaks off there: get it again" if cut else ""
        raise InputError(f"{where} is no JSON: {error}{broken}.") from error
    if not isinstance(values, dict):
        raise InputError(f'{where} is one JSON {type(values).__name__}; an object is wanted, its document under the key "text".')
    if "text" not in values:
        raise InputError(f'{where} has no key "text"; the keys here: {", ".join(values) or "none"}.')
    return _of_value(values["text"], f'{where}: what stands under "text"')


def _of_value(value: Any, what: str) -> str:
    """A document as a file or data set holds it: a text, or null. Raises InputError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{what} is no text but {value!r:.60}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is no Unicode: half of a surrogate pair stands at character {error.start + 1}.") from error
    return value.strip()


class _Table(DocumentSource):
    """The column "text" of a .parquet file, read by row groups."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        columns = self._opened().schema_arrow.names
        if "text" not in columns:
            raise InputError(f'{path} has no column "text"; its columns: {", ".join(columns) or "none"}.')

    def _opened(self) -> Any:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise InputError(_EXTRA.format(what=self.path, package="pyarrow")) from error
        try:
            # Buffered ahead, a whole file would be held: it is fetched bit by bit instead.
            return parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path} cannot be read as parquet: {error}.") from error

    def documents(self) -> Iterator[str]:
        import pyarrow as pa

        try:
            with self._opened() as file:
                size, rows, row = self.path.stat().st_size, max(1, file.metadata.num_rows), 0
                for batch in file.iter_batches(_ROWS, columns=["text"], use_threads=False):
                    for value in batch.column(0):
                        row += 1
                        document = _of_value(value.as_py(), f"{self.path}: row {row}")
                        if document:
                            self.read = size * row // rows
                            yield document
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.path} is damaged or cut off ({error}); get it again.") from error


class HubText(DocumentSource):
    """One column of a data set of the Hub, streamed: hub:owner/name[@revision][/config][:split[:column]]. Other specs raise InputError."""

    def __init__(self, spec: str) -> None:
        found = _HUB.fullmatch(spec)
        if found is None:
            raise InputError(f"{spec!r} names no data set: hub:owner/name[@revision][/config][:split[:column]] is wanted.")
        self.spec = spec
        self._id, self._config, self._revision = found["id"], found["config"], found["revision"]
        self._split, self._column = found["split"] or "train", found["column"] or "text"

    def documents(self) -> Iterator[str]:
        """The texts of the column, row by row."""
        try:
            import datasets
        except ImportError as error:
            raise InputError(_EXTRA.format(what=self.spec, package="datasets")) from error
        from huggingface_hub.errors import HfHubHTTPError

        # What a lost connection raises: the root of requests, httpx or httpx2, whichever this version of the Hub's client uses.
        lost: Any = (OSError, HfHubHTTPError.__mro__[1], datasets.exceptions.DatasetsError)
        row = 0
        try:
            table = datasets.load_dataset(self._id, self._config, split=self._split, revision=self._revision, streaming=True)
            for row, values in enumerate(table, start=1):
                if self._column not in values:
                    raise InputError(f"{self.spec}: there is no column {self._column!r}; the columns: {', '.join(values) or 'none'}.")
                document = _of_value(values[self._column], f"{self.spec}: row {row}")
                if document:
                    yield document
        except (*lost, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            if row:
                raise Failure(f"{self.spec} was lost after row {row}: {reason}. The same command goes on where it stopped.") from error
            raise InputError(f"{self.spec} cannot be streamed: {reason}. Files of it will do as well: name a folder or a glob.") from error
