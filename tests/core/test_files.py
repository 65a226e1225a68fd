"""Files are written completely or not at all, read in one way, and named in errors."""

import os
from pathlib import Path

import numpy as np
import pytest

from resect.core.errors import BadTask, InputError, StorageFailure
from resect.core.files import read_arrays, read_json, read_lines, read_text, write_arrays, write_bytes, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"ü": [1, None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"ü": [1, None]}
    arrays = {"x": np.arange(6.0).reshape(2, 3).T, "n": np.array([1, 2], dtype=np.int64)}
    write_arrays(tmp_path / "a.safetensors", arrays, {"k": "v"})
    loaded, metadata = read_arrays(tmp_path / "a.safetensors")
    assert metadata == {"k": "v"}
    assert all(np.array_equal(loaded[name], arrays[name]) and loaded[name].dtype == arrays[name].dtype for name in arrays)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
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


def test_a_byte_order_mark_and_windows_line_ends_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\n  two \rthree")
    assert read_text(tmp_path / "a.txt") == "one\n\n  two \nthree"
    assert read_text(tmp_path / "a.txt", line_ends=True) == "one\r\n\r\n  two \rthree"
    assert read_lines(tmp_path / "a.txt") == ("one", "two", "three")


def test_an_error_names_the_line_and_is_of_the_wanted_kind(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n\xff")
    with pytest.raises(BadTask, match=r"a\.txt:2: the list is not UTF-8"):
        read_text(tmp_path / "a.txt", "list", raises=BadTask)
    (tmp_path / "a.txt").write_bytes(b" \n\n")
    with pytest.raises(BadTask, match=r"list .*holds no line"):
        read_lines(tmp_path / "a.txt", "list", raises=BadTask)
