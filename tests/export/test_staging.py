"""A folder appears under its name when it is complete, and not before."""

import os
import shutil
import subprocess
import sys

import pytest

from resect.core.errors import InputError, StorageFailure
from resect.export.staging import check_free_space, check_target, staged_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_its_name_when_the_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "out"
    with staged_folder(target) as part:
        (part / "a").write_text("1")
        assert not target.exists()
        assert part.parent == target.parent
    assert (target / "a").read_text() == "1"
    assert names(tmp_path / "deep") == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_stays_when_it_does_not(tmp_path, error):
    with pytest.raises(error), staged_folder(tmp_path / "out") as part:
        (part / "a").write_text("1")
        raise error
    assert names(tmp_path) == []


def test_an_empty_folder_is_taken_over_and_one_that_was_filled_meanwhile_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    with staged_folder(tmp_path / "empty") as part:
        (part / "a").write_text("1")
    assert names(tmp_path / "empty") == ["a"]
    with pytest.raises(StorageFailure, match="could not be written"), staged_folder(tmp_path / "busy") as part:
        (part / "a").write_text("1")
        (tmp_path / "busy").mkdir()
        (tmp_path / "busy" / "other").write_text("2")
    assert names(tmp_path / "busy") == ["other"]
    assert names(tmp_path) == ["busy", "empty"]


def test_what_a_kill_left_is_swept(tmp_path):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "old").write_text("0")
    (tmp_path / ".out.lock").write_text("")
    with staged_folder(tmp_path / "out") as part:
        assert names(part) == []
    assert names(tmp_path) == ["out"]


def test_two_at_once_notice_each_other(tmp_path):
    with staged_folder(tmp_path / "out") as part:
        (part / "a").write_text("1")
        with pytest.raises(InputError, match=r"Another process is writing .*out; wait for it.*--to"), staged_folder(tmp_path / "out"):
            pass
    assert names(tmp_path / "out") == ["a"]


def test_a_place_that_cannot_be_written_is_a_failure(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageFailure, match="could not be written"), staged_folder(tmp_path / "file" / "out"):
        pass


def test_free_space_is_checked_before_anything_is_written(tmp_path):
    devices = []
    check_free_space(tmp_path / "not" / "yet" / "there", lambda disk: devices.append(disk) or 1)
    assert devices == [tmp_path.stat().st_dev]
    with pytest.raises(StorageFailure, match=r"needs 1,048,576,000 MiB, and [\d,]+ MiB are free there; free space"):
        check_free_space(tmp_path / "out", lambda disk: 2**20 * 1_048_576_000)


def test_a_target_is_followed_to_where_it_is(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert check_target(tmp_path / "link", tmp_path / "base") == tmp_path / "elsewhere"
    (tmp_path / "back").symlink_to(tmp_path / "base")
    with pytest.raises(InputError, match="own folder"):
        check_target(tmp_path / "back" / "x", tmp_path / "base")
    assert os.listdir(tmp_path / "base") == []


#: Puts a file into `out` while it is a mount point: of a file system of its own, or of another folder.
MOUNTED = """
import subprocess, sys
from pathlib import Path
from resect.export.staging import check_free_space, check_target, staged_folder
out, kind = Path(sys.argv[1]), sys.argv[2]
mount = ["-t", "tmpfs", "none"] if kind == "disk" else ["--bind", str(out.with_name("real"))]
subprocess.run(["mount", *mount, str(out)], check=True)
(out / ".resect.part").mkdir() if kind == "disk" else None  # as a kill may leave it
(out / "lost+found").mkdir() if kind == "disk" else None
target = check_target(out, None)
devices = []
check_free_space(target, lambda disk: devices.append(disk) or 1)
assert devices == [out.stat().st_dev]
with staged_folder(target) as part:
    (part / "config.json").write_text("1")
    (part / "sub").mkdir()
    (part / "sub" / "a").write_text("2")
    assert not (out / "config.json").exists()
try:
    with staged_folder(Path(sys.argv[1])) as part:
        raise ValueError
except ValueError:
    pass
print(sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.name != "lost+found"))
"""


@pytest.mark.parametrize("kind", ["disk", "folder"])
def test_a_mount_point_is_filled_from_within(tmp_path, kind):
    (tmp_path / "out").mkdir()
    (tmp_path / "real").mkdir()
    alone = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    command = [*alone, sys.executable, "-c", MOUNTED, tmp_path / "out", kind]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "['config.json', 'sub', 'sub/a']\n"), done.stderr
    assert names(tmp_path) == ["out", "real"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_whose_parent_cannot_be_written_is_filled_from_within(tmp_path):
    (tmp_path / "locked" / "out").mkdir(parents=True)
    (tmp_path / "locked").chmod(0o555)
    try:
        with staged_folder(check_target(tmp_path / "locked" / "out", None)) as part:
            (part / "a").write_text("1")
        assert names(tmp_path / "locked" / "out") == ["a"]
    finally:
        (tmp_path / "locked").chmod(0o755)
