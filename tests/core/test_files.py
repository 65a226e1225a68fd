"""A file is there whole or not at all, and an error names it."""

import os
from pathlib import Path

import numpy as np
import pytest

from resect.core.errors import InputError, StorageFailure
from resect.core.files import read_arrays, read_json, read_text, write_arrays, write_bytes, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"ü": [1, None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"ü": [1, None]}
    arrays = {"x": np.arange(6.0).reshape(2, 3).T, "n": np.array([1, 2], dtype=np.int64)}
    write_arrays(tmp_path / "a.safetensors", arrays, {"k": "v"})
    found, metadata = read_arrays(tmp_path / "a.safetensors")
    assert metadata == {"k": "v"}
    assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype for name in arrays)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a"
    write_bytes(target, b"old")
    blocked = tmp_path / "folder"
    blocked.mkdir()
    with pytest.raises(StorageFailure, match="folder"):
        write_bytes(blocked, b"new")
    with pytest.raises(StorageFailure):
        write_bytes(target / "below a file", b"new")
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a", "folder"]


def test_a_full_disk_is_a_failure_that_keeps_the_old_file() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(StorageFailure, match="kept"):
        write_bytes(Path("/dev/full/x"), b"new")


@pytest.mark.parametrize(("content", "says"), [(b'{"a": ', "cut off"), (b"\xff\xfe", "UTF-8")])
def test_damaged_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        read_json(tmp_path / "plan.json", "plan")
    assert "plan.json" in str(error.value)
    with pytest.raises(InputError, match="No such file"):
        read_text(tmp_path / "absent")
