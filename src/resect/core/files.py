"""Reads and writes files: atomic writes, and reads whose errors name the file and the line. Does not know what the files mean."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from .errors import InputError, StorageFailure

#: What editors on Windows put in front of UTF-8 text; no part of it.
BYTE_ORDER_MARK = "\ufeff"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: to a temporary file next to it, synced, then renamed. Raises StorageFailure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageFailure(
            f"{path} could not be written ({error.strerror}). Finished work is kept; once there is room, the same command goes on."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file completely or not at all. Raises StorageFailure."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented by two blanks, keys in the given order, completely or not at all. Raises StorageFailure."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path, what: str = "file", *, raises: type[InputError] = InputError, line_ends: bool = False) -> str:
    """Returns the text of a UTF-8 file without its byte order mark; line ends are normalised, unless `line_ends` keeps them as they are.

    Raises `raises`, which names the file, and the line that is not UTF-8. `what` is what the error calls the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise raises(f"The {what} {path} cannot be read: {error.strerror}.") from error
    try:
        text = content.decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise raises(f"{path}:{line}: the {what} is not UTF-8 (byte {error.start} of the file); save it as UTF-8.") from error
    return text if line_ends else text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, what: str = "file", *, raises: type[InputError] = InputError) -> tuple[str, ...]:
    """Returns the lines of a UTF-8 file, stripped of white space, without blank ones. Raises `raises`, also where no line is left."""
    lines = tuple(line.strip() for line in read_text(path, what, raises=raises).split("\n") if line.strip())
    if not lines:
        raise raises(f"The {what} {path} holds no line of text.")
    return lines


def read_json(path: Path, what: str = "file") -> Any:
    """Returns the value of a JSON file. Raises InputError that names the line where it breaks off."""
    try:
        return json.loads(read_text(path, what))
    except ValueError as error:
        raise InputError(f"The {what} {path} is no JSON, or is cut off: {error}.") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file completely or not at all. Raises StorageFailure."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(path, _with_sorted_metadata(safetensors.numpy.save(contiguous, dict(metadata))))


def _with_sorted_metadata(content: bytes) -> bytes:
    """Returns the same safetensors file with its metadata sorted: the library's own order differs from process to process."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the values stay aligned
    return len(text).to_bytes(8, "little") + text + content[start:]


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays and the metadata of a safetensors file. Raises InputError where it is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}.") from error
