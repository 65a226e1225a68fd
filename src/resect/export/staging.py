"""A folder that appears under its name when it is whole, and not before. Knows nothing of what is in it.

Where a folder cannot take that name by being renamed (an empty one is there already and is a mount point, or its parent cannot be written),
the work is done inside of it, and what was made is moved up when all of it is there, `config.json` last: without it, it is no model.
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
#: What is in the folder itself while work is done inside of it; and what file systems put into their roots.
_PART, _LOCK, _FOREIGN = ".resect.part", ".resect.lock", "lost+found"
_LAST = "config.json"


def check_target(to: Path, source: Path | None) -> Path:
    """Where a folder that is made from the folder `source` can be put: `to`, its links followed.

    Raises InputError where something is there already (an empty folder will do), and where it would lie in the source.
    """
    target = Path(os.path.realpath(to))
    origin = None if source is None else Path(os.path.realpath(source))
    if target == origin or origin in target.parents:
        raise InputError(f"{to} {'is' if target == origin else 'lies in'} the base model's own folder; give another one with --to.")
    if target.exists() and not target.is_dir():
        raise InputError(f"{to} is a file; give a new folder with --to.")
    held = _held(target)
    if held:
        some = ", ".join(held[:3]) + (" …" if len(held) > 3 else "")
        raise InputError(f"{to} is not empty (it holds {some}); give a new folder with --to, or empty this one.")
    return target


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, which takes its name when the block ends well, and is deleted when it does not.

    What a kill left of an earlier attempt is deleted first. Raises InputError where another process is at it, StorageFailure.
    """
    inside = _must_stay(target)
    part = target / _PART if inside else target.with_name(f".{target.name}.part")
    guard = target / _LOCK if inside else target.with_name(f".{target.name}.lock")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = lock(guard)
        if not os.fstat(handle).st_nlink:  # its name was taken away by another process that has just finished
            os.close(handle)
            raise RunMismatch(f"{guard} is gone.")
    except RunMismatch as error:
        raise InputError(f"Another process is writing {target}; wait for it, or give another folder with --to.") from error
    except StorageFailure as error:
        raise StorageFailure(f"{target} could not be written: {error.__cause__}. Give another folder with --to.") from error
    try:
        with writing(target):
            _remove(part)
            part.mkdir()
        yield part
        with writing(target):
            _settle(part)
            if inside:
                _move_up(part, target)
            else:
                _rename(part, target)
    finally:
        with contextlib.suppress(OSError):  # the error that led here says more
            _remove(part)
        guard.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Tell of files that cannot be written in our words. Raises StorageFailure."""
    try:
        yield
    except OSError as error:
        raise StorageFailure(
            f"{target} could not be written ({error.strerror or error}), and nothing was left under that name. Make room there, or give "
            "another folder with --to."
        ) from error


def refuse_too_little_room(target: Path, room: Callable[[int], int]) -> None:
    """Raises StorageFailure where there is less left for `target`, which need not exist, than `room` bytes of that disk (its st_dev)."""
    there = next(folder for folder in (target, *target.parents) if folder.exists())
    needed, free = room(there.stat().st_dev), shutil.disk_usage(there).free
    if free < needed:
        raise StorageFailure(
            f"{target} needs {needed / MIB:,.0f} MiB, and {free / MIB:,.0f} MiB are free there; make room, or give a folder on another "
            "disk with --to."
        )


def _must_stay(target: Path) -> bool:
    """Whether a folder is there that no other can take the place of."""
    return target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))


def _held(target: Path) -> list[str]:
    """What is in a folder, but for what an attempt inside of it may have left."""
    ours = {_PART, _LOCK, _FOREIGN} if _must_stay(target) else set()
    return sorted(path.name for path in target.iterdir() if path.name not in ours) if target.exists() else []


def _rename(part: Path, target: Path) -> None:
    try:
        if target.exists():  # empty, or this fails
            target.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _move_up(part, target)  # mounted from the same disk, which does not show
    else:
        part.rename(target)


def _move_up(part: Path, target: Path) -> None:
    if _held(target):
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


def _settle(folder: Path) -> None:
    """See that all files are on the disk, so that a power cut after the renaming finds them whole. Raises OSError."""
    if os.name == "nt":  # there, only what is open for writing can be flushed
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
