"""A folder that appears under its name when it is complete, and not before. Knows nothing of its content.

Where a folder cannot get its name by renaming (an empty folder of that name is a mount point, or its parent is not writable), it is built
inside that folder, and its files are moved up at the end, `config.json` last: without it, the folder is no model.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resect.core.errors import InputError, RunMismatch, StorageFailure
from resect.runs.journal import lock

MIB = 2**20
#: Names inside a target that cannot be replaced: the folder under construction, its lock, and what file systems put into their roots.
_PART, _LOCK, _FOREIGN = ".resect.part", ".resect.lock", "lost+found"
_LAST = "config.json"


def check_target(to: Path, source: Path | None) -> Path:
    """Returns the folder that an export of `source` may create: `to`, with links resolved.

    Raises InputError where it exists and is not an empty folder, and where it is in the source.
    """
    target = Path(os.path.realpath(to))
    origin = None if source is None else Path(os.path.realpath(source))
    if target == origin or origin in target.parents:
        place = "the base model's own folder" if target == origin else "inside the base model's own folder"
        raise InputError(f"{to} is {place}; give another one with --to.")
    if target.exists() and not target.is_dir():
        raise InputError(f"{to} is a file; give a new folder with --to.")
    names = _content(target)
    if names:
        some = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        raise InputError(f"{to} is not empty (it contains {some}); give a new folder with --to, or empty this one.")
    return target


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new folder that becomes `target` when the block ends, and is deleted when the block raises.

    What a killed process left of an earlier attempt is deleted first. Raises InputError where another process writes it, StorageFailure.
    """
    inside = _must_stay(target)
    part = target / _PART if inside else target.with_name(f".{target.name}.part")
    lock_path = target / _LOCK if inside else target.with_name(f".{target.name}.lock")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = lock(lock_path)
        if not os.fstat(handle).st_nlink:  # another process has just finished, and deleted it
            os.close(handle)
            raise RunMismatch(f"{lock_path} is gone.")
    except RunMismatch as error:
        raise InputError(f"Another process is writing {target}; wait for it, or give another folder with --to.") from error
    except StorageFailure as error:
        raise StorageFailure(f"{target} could not be written: {error.__cause__}. Give another folder with --to.") from error
    try:
        with storage_errors(target):
            _remove(part)
            part.mkdir()
        yield part
        with storage_errors(target):
            _sync(part)
            if inside:
                _move_up(part, target)
            else:
                _rename(part, target)
    finally:
        with contextlib.suppress(OSError):  # the error that led here is the more informative one
            _remove(part)
        lock_path.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Raises StorageFailure for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise StorageFailure(
            f"{target} could not be written ({error.strerror or error}), and nothing was left under that name. Free space there, or give "
            "another folder with --to."
        ) from error


def check_free_space(target: Path, bytes_needed: Callable[[int], int]) -> None:
    """Raises StorageFailure where a device has less free than `target`, which need not exist, needs of it. The device is its st_dev."""
    existing = next(folder for folder in (target, *target.parents) if folder.exists())
    needed, free = bytes_needed(existing.stat().st_dev), shutil.disk_usage(existing).free
    if free < needed:
        raise StorageFailure(
            f"{target} needs {needed / MIB:,.0f} MiB, and {free / MIB:,.0f} MiB are free there; free space, or give a folder on another "
            "disk with --to."
        )


def _must_stay(target: Path) -> bool:
    """Whether it is a folder that cannot be replaced by another."""
    return target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))


def _content(target: Path) -> list[str]:
    """Returns the names in a folder, without those that an earlier attempt inside of it may have left."""
    ignored = {_PART, _LOCK, _FOREIGN} if _must_stay(target) else set()
    return sorted(path.name for path in target.iterdir() if path.name not in ignored) if target.exists() else []


def _rename(part: Path, target: Path) -> None:
    try:
        if target.exists():  # empty, or this fails
            target.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _move_up(part, target)  # a mount point of the same disk, which `_must_stay` cannot see
    else:
        part.rename(target)


def _move_up(part: Path, target: Path) -> None:
    if _content(target):
        raise OSError(errno.ENOTEMPTY, "it was filled meanwhile")
    moved = []
    try:
        for path in sorted(part.iterdir(), key=lambda path: (path.name == _LAST, path.name)):
            moved.append(target / path.name)
            shutil.move(path, moved[-1])
    except BaseException:
        for path in moved:
            _remove(path)
        raise


def _sync(folder: Path) -> None:
    """Flush all files to the disk, so that they survive a power failure after the renaming. Raises OSError."""
    if os.name == "nt":  # Windows can flush only files that are open for writing
        return
    for path in (folder, *folder.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
