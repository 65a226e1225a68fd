"""Whole files or none: atomic writes, and reads whose errors name the file. Knows nothing of what the files mean."""

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


def write_bytes(path: Path, content: bytes) -> None:
    """Write the whole file or nothing: to a temporary neighbour, synced, then renamed over `path`. Raises StorageFailure."""
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
    """Write a UTF-8 file, whole or not at all. Raises StorageFailure."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON with two blanks of indent and keys in the given order, whole or not at all. Raises StorageFailure."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path, what: str = "file") -> str:
    """The text of a UTF-8 file. Raises InputError that says whether it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"The {what} {path} is not UTF-8 (byte {error.start}).") from error
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read: {error.strerror}.") from error


def read_json(path: Path, what: str = "file") -> Any:
    """The value of a JSON file. Raises InputError that names the line where it breaks off."""
    try:
        return json.loads(read_text(path, what))
    except ValueError as error:
        raise InputError(f"The {what} {path} is no JSON, or is cut off: {error}.") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all. Raises StorageFailure."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(path, _in_order(safetensors.numpy.save(contiguous, dict(metadata))))


def _in_order(content: bytes) -> bytes:
    """The same safetensors file with its metadata in order: the library's own order is another in every process."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the values stay aligned
    return len(text).to_bytes(8, "little") + text + content[start:]


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file. Raises InputError where it is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}.") from error
