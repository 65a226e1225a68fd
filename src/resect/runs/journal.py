"""Files that grow during work and survive a kill at any moment: entries of a journal, one file each, and rows, one line each.

Knows neither what the entries mean nor where in a run folder they are.
"""

import contextlib
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resect.core.errors import InputError, NotFinite, RunMismatch, StorageFailure
from resect.core.execution import Entry, Journal
from resect.core.files import read_arrays, write_arrays, write_text

if sys.platform != "win32":  # there, two processes in one folder are not noticed
    import fcntl


class FolderJournal:
    """A Journal in a folder: one safetensors file for each entry, with its plain values in the metadata."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def count(self) -> int:
        """The number of entries."""
        return sum(1 for _ in self.folder.glob("*.safetensors"))

    def clear(self) -> None:
        """Delete all entries, and the folder if nothing else is in it."""
        for path in self.folder.glob("*.safetensors"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files stay
            self.folder.rmdir()

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

    def recall(self, key: str) -> Entry | None:
        """The entry under `key`; None where there is none, or where its file is damaged."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            arrays, metadata = read_arrays(path)
            values, shapes = json.loads(metadata["values"]), json.loads(metadata["shapes"])
        except (InputError, KeyError, ValueError):
            return None
        if metadata.get("key") != key:
            return None
        return {**values, **{name: array.reshape(shapes[name]) for name, array in arrays.items()}}

    def keep(self, key: str, entry: Entry) -> None:
        """Store `entry` under `key`. Raises StorageFailure."""
        arrays = {name: value for name, value in entry.items() if isinstance(value, np.ndarray)}
        values = {name: value for name, value in entry.items() if name not in arrays}
        shapes = {name: array.shape for name, array in arrays.items()}
        metadata = {"key": key, "values": json.dumps(values), "shapes": json.dumps(shapes)}
        write_arrays(self._path(key), arrays, metadata)


@dataclass(frozen=True)
class PrefixedJournal:
    """A journal with a prefix before all keys, which separates them from others in the same folder."""

    inner: Journal
    prefix: str

    def recall(self, key: str) -> Entry | None:
        """The entry under `key`, or None."""
        return self.inner.recall(f"{self.prefix}/{key}")

    def keep(self, key: str, entry: Entry) -> None:
        """Store `entry` under `key`. Raises StorageFailure."""
        self.inner.keep(f"{self.prefix}/{key}", entry)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, without an incomplete last one; none where there is no file.

    Raises InputError that names the line where any other is no JSON.
    """
    try:
        lines = [line for line in path.read_bytes().split(b"\n") if line] if path.exists() else []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number}, is no JSON: {error}.") from error
    return rows


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON-lines file, completely or not at all. Raises NotFinite, StorageFailure."""
    write_text(path, "".join(map(_line, rows)))


def lock(path: Path) -> int:
    """Lock a file until the descriptor that is returned is closed, or this process is killed.

    Raises RunMismatch where another process has locked it, StorageFailure.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageFailure(f"The run folder {path.parent} cannot be written: {error.strerror}.") from error
    if sys.platform == "win32":
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise RunMismatch(f"Another process is working in {path.parent}. Wait for it, or choose another folder with --output.") from None
    except OSError as error:  # some network file systems have no locks
        warnings.warn(f"{path.parent} cannot be locked ({error.strerror}): keep to one process.", stacklevel=3)
    return handle


def is_partial_file(path: Path) -> bool:
    """Whether this is an incomplete file that a kill left (of `files.write_bytes`)."""
    return path.name.startswith(".") and path.name.endswith(".part")


def remove_partial_files(*folders: Path) -> None:
    """Delete incomplete files that a kill left."""
    for path in (path for folder in folders for path in folder.glob(".*.part")):
        path.unlink(missing_ok=True)


def _line(row: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise NotFinite(f"A row of results holds NaN or infinity: {dict(row)!r}.") from error
