"""The run folder: started, continued with the same settings, refused with other ones, cleared.

Knows how a folder is opened, locked and compared with a recipe; its files are in `run_files`.
"""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resect.core.errors import InputError, RunMismatch, StorageFailure
from resect.core.files import write_json

from .journal import FolderJournal, is_partial_file, lock, remove_partial_files
from .recipe import Recipe
from .run_files import (
    COMPARISON,
    COUNTS,
    ENVIRONMENT,
    EXAMPLES,
    FILES,
    INPUTS,
    JOURNAL,
    LOCK,
    MATRIX,
    NO_WORK,
    PACKAGES,
    PART,
    PLAN,
    PLANS,
    RECIPE,
    SCORES,
    STEERED,
    TRIALS,
    RunFiles,
)

_ELSEWHERE = "choose another folder with --output, or start this one anew with --fresh."


class Run(RunFiles):
    """A run folder: `open` to work in it, `load` to read it.

    While it is open, no other process can open it; `close`, leaving the `with` block, or a kill releases it.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.journal = FolderJournal(folder / JOURNAL)
        self._release: weakref.finalize[Any, Any] | None = None

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        recipe: Recipe,
        inputs: Mapping[str, str] | None = None,
        fresh: bool = False,
    ) -> "Run":
        """Start a run in a new or empty folder, or continue one with the same recipe.

        Parameters
        ----------
        inputs : digests of what the job reads (see `agree`)
        fresh : delete what an earlier run left, and nothing else

        Settings are replaced as long as no work is finished. Raises RunMismatch for a folder with other files, other settings, or a
        damaged recipe; StorageFailure.
        """
        run = cls(Path(folder), recipe.anchored())
        _make(run.folder)
        _refuse_other_files(run.folder)
        run._release = weakref.finalize(run, os.close, lock(run.folder / LOCK))
        try:
            stored = None if fresh or not (run.folder / RECIPE).exists() else _recipe_of(run.folder)
            if stored is None or run._is_untouched():
                _clear(run.folder)
                run.recipe.save(run.folder / RECIPE)
            else:
                run._check_settings(stored)
            remove_partial_files(run.folder, run.folder / JOURNAL, run.folder / PLANS, run.folder / STEERED)
            run.note()
            run.agree(inputs or {})
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Run":
        """A run folder to read. Raises RunMismatch where it is none."""
        path = Path(folder)
        if not (path / RECIPE).exists():
            what = "is no run folder: it holds no recipe.toml" if path.is_dir() else "does not exist"
            if path.is_file():
                home = next((str(parent) for parent in path.parents if cls.is_run(parent)), None)
                what = "is a file" + ("" if home is None else f" of the run in {home}: name that folder")
            raise RunMismatch(f"{folder} {what}. The commands of methods write run folders (see `resect list methods`).")
        return cls(path, _recipe_of(path))

    @staticmethod
    def is_run(folder: str | os.PathLike[str]) -> bool:
        """Whether a job has worked in this folder; a recipe alone makes no run."""
        return (Path(folder) / RECIPE).exists() and (Path(folder) / ENVIRONMENT).exists()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None and self._is_untouched():  # wrong input leaves no folder behind
            _clear(self.folder)
            (self.folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other files stay
                self.folder.rmdir()
        self.close()

    def close(self) -> None:
        """Release the folder for other processes."""
        if self._release is not None:
            self._release()

    def _is_untouched(self) -> bool:
        """Whether no work is finished, so that nothing would be lost, or mixed, with other settings."""
        done = (SCORES, TRIALS, PLAN, COMPARISON, EXAMPLES, COUNTS, MATRIX)
        entries = self.journal.count - sum(self.journal.recall(name) is not None for name in NO_WORK)
        return not (entries or _part_numbers(self.folder) or any((self.folder / name).exists() for name in done))

    def _check_settings(self, stored: Recipe) -> None:
        """Raises RunMismatch for settings that would change the result."""
        changes = [f"{key} (there {_shown(stored, key)}, now {_shown(self.recipe, key)})" for key in stored.differs(self.recipe)]
        if changes:
            raise RunMismatch(f"{self.folder} was made with other settings: {', '.join(changes)}. Repeat those, {_ELSEWHERE}")

    def agree(self, inputs: Mapping[str, str]) -> None:
        """Store digests of what the job reads; a digest is never replaced by another one.

        Raises RunMismatch where the data, the wording or the model behind an unchanged path has changed.
        """
        stored: dict[str, Any] = dict(self.journal.recall(INPUTS) or {})
        changed = [name for name in inputs if stored.get(name, inputs[name]) != inputs[name]]
        if changed:
            raise RunMismatch(
                f"{self.folder} was made with another {' and '.join(changed)}: the settings are the same, but what "
                f"they point at has changed. Restore it, {_ELSEWHERE}"
            )
        if not inputs.items() <= stored.items():
            self.journal.keep(INPUTS, {**stored, **inputs})

    def part(self, number: int, recipe: Recipe, inputs: Mapping[str, str] | None = None) -> "Run":
        """The run folder of trial `number`, from 1, started or continued. Raises like `open`."""
        return Run.open(self.folder / f"{PART}{number}", recipe, inputs)

    def parts(self) -> tuple["Run", ...]:
        """The trials that have a folder, in order."""
        return tuple(Run.load(self.folder / f"{PART}{number}") for number in sorted(_part_numbers(self.folder)))

    def note(self, **facts: Any) -> None:
        """Add to environment.json how the work is done: device, threads, batch size, seconds. Raises StorageFailure."""
        stored = self.environment()
        versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
        environment = {**stored, "platform": platform.platform(), "versions": versions, **facts}
        if environment != stored:
            write_json(self.folder / ENVIRONMENT, environment)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Returns a run folder to read: .recipe, .plan_json(), .comparison(), .trials(), .examples(), … Raises RunMismatch where it is none."""
    return Run.load(folder)


def _shown(recipe: Recipe, key: str) -> str:
    """The value of a setting, in a message."""
    value = recipe.get(key)
    return "not set" if value is None or value == () else repr(value)


def _recipe_of(folder: Path) -> Recipe:
    try:
        return Recipe.load(folder / RECIPE)
    except InputError as error:
        raise RunMismatch(f"The run in {folder} has a damaged recipe: {error} Repair it, {_ELSEWHERE}") from error


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunMismatch(f"{folder} is a file; choose another folder with --output.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailure(f"The run folder {folder} cannot be created: {error.strerror}.") from error


def _refuse_other_files(folder: Path) -> None:
    """Raises RunMismatch for a folder that is no run and is not empty."""
    # A recipe alone is a file of the user; together with the lock, it is what a kill left of a run that had just started.
    if (folder / RECIPE).exists() and ((folder / ENVIRONMENT).exists() or (folder / LOCK).exists()):
        return
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK and not is_partial_file(path))
    if others:
        some = ", ".join(others[:3]) + (" …" if len(others) > 3 else "")
        raise RunMismatch(f"{folder} is no run folder, and it holds {some}. Choose another folder with --output.")


def _clear(folder: Path) -> None:
    """Delete the files of a run, and nothing else. The recipe is deleted last: a kill leaves a run, or no run."""
    remove_partial_files(folder, folder / JOURNAL, folder / PLANS, folder / STEERED)
    for number in _part_numbers(folder):
        inner = folder / f"{PART}{number}"
        _clear(inner)
        if {path.name for path in inner.iterdir()} <= {LOCK}:
            shutil.rmtree(inner)
    FolderJournal(folder / JOURNAL).clear()
    for name in (PLANS, STEERED):
        for path in (folder / name).glob("*.json"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files stay
            (folder / name).rmdir()
    for name in reversed(FILES):
        (folder / name).unlink(missing_ok=True)


def _part_numbers(folder: Path) -> list[int]:
    numbers = (path.name.removeprefix(PART) for path in folder.glob(f"{PART}*") if (path / RECIPE).exists())
    return [int(number) for number in numbers if number.isdecimal()]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
