"""The run folder: what a job has done and found. The only module that knows its file names.

    recipe.toml           the settings; written first, so that a folder without it is no run
    environment.json      versions, device, threads, the batch size that was found
    journal/              one file for each finished work item: the whole of resume
    scores.safetensors  trials.jsonl  plan.json  comparison.json  examples.jsonl
    analyses.json         what was analysed of a finished run, and added to
    counts.safetensors  matrix.json  plans/<language>.json  answers.jsonl  steered/<what>.json      of lape
    trial-1/ …            with several trials: each a run folder of its own

Every file is written whole or not at all; `trials.jsonl` grows by lines, and a torn last line is dropped. Knows no
model and no method: plans and scores save themselves, and come back as plain data.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .errors import InputError, RunMismatch, StorageFailure
from .files import read_json, write_json
from .journal import FolderJournal, append_line, is_torn, lock, read_lines, sweep, write_lines
from .recipe import Recipe
from .scores import Scores

RECIPE, ENVIRONMENT, JOURNAL, SCORES = "recipe.toml", "environment.json", "journal", "scores.safetensors"
TRIALS, PLAN, COMPARISON, EXAMPLES = "trials.jsonl", "plan.json", "comparison.json", "examples.jsonl"
ANALYSES, REPORT, LOCK, PART = "analyses.json", "report.html", ".lock", "trial-"
COUNTS, MATRIX, ANSWERS, PLANS, STEERED = "counts.safetensors", "matrix.json", "answers.jsonl", "plans", "steered"
FILES = (RECIPE, ENVIRONMENT, SCORES, TRIALS, PLAN, COMPARISON, EXAMPLES, ANALYSES, COUNTS, MATRIX, ANSWERS, REPORT)
PACKAGES = ("resect", "torch", "transformers", "tokenizers", "safetensors", "numpy")
#: Entries of the journal that are no finished work.
INPUTS, BATCH_SIZES = "inputs", "batch sizes"
NO_WORK = (INPUTS, BATCH_SIZES)
_ELSEWHERE = "choose another folder with --output, or start this one anew with --fresh."


class Saves(Protocol):
    """A value that writes itself into a file: a plan, scores."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""


class Run:
    """A run folder. `open` it to work in it, `load` it to read.

    While it is open to work in, no other process can open it so; `close`, leaving a `with` block, or a kill ends that.
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
        """Begin a run in a new or empty folder, or go on in one that holds the same recipe.

        `inputs` are digests of what the job reads (see `agree`). `fresh` deletes what an earlier run left, no more.
        Where no work is finished yet, other settings take the place of those that are there.
        Raises RunMismatch where the folder holds other things, other settings, or a damaged recipe; StorageFailure.
        """
        run = cls(Path(folder), recipe.anchored())
        _make(run.folder)
        _refuse_foreign(run.folder)
        run._release = weakref.finalize(run, os.close, lock(run.folder / LOCK))
        try:
            held = None if fresh or not (run.folder / RECIPE).exists() else _recipe_of(run.folder)
            if held is None or run._is_untouched():
                _clear(run.folder)
                run.recipe.save(run.folder / RECIPE)
            else:
                run._match(held)
            sweep(run.folder, run.folder / JOURNAL, run.folder / PLANS, run.folder / STEERED)
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
            raise RunMismatch(f"{folder} {what}. A run folder is what `resect crispr`, `laser` and `lape` write.")
        return cls(path, _recipe_of(path))

    @staticmethod
    def is_run(folder: str | os.PathLike[str]) -> bool:
        """Whether a job has worked in this folder (a recipe that merely lies somewhere makes no run)."""
        return (Path(folder) / RECIPE).exists() and (Path(folder) / ENVIRONMENT).exists()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None and self._is_untouched():  # wrong input leaves no folder behind
            _clear(self.folder)
            (self.folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what is not ours stays
                self.folder.rmdir()
        self.close()

    def close(self) -> None:
        """Let others work in this folder."""
        if self._release is not None:
            self._release()

    def _is_untouched(self) -> bool:
        """Whether no work is finished: nothing would be lost, and nothing mixed, by starting with other settings."""
        done = (SCORES, TRIALS, PLAN, COMPARISON, EXAMPLES, COUNTS, MATRIX)
        entries = self.journal.count - sum(self.journal.recall(name) is not None for name in NO_WORK)
        return not (entries or _part_numbers(self.folder) or any((self.folder / name).exists() for name in done))

    def _match(self, held: Recipe) -> None:
        other = held.differs(self.recipe)
        told = [f"{name} (there {getattr(held, name)!r}, now {getattr(self.recipe, name)!r})" for name in other]
        if told:
            raise RunMismatch(f"{self.folder} was made with other settings: {', '.join(told)}. Repeat those, {_ELSEWHERE}")

    def agree(self, inputs: Mapping[str, str]) -> None:
        """Record digests of what the job reads; a name keeps its digest for as long as the folder lives.

        Raises RunMismatch where the data, the wording or the model behind an unchanged path has changed.
        """
        held: dict[str, Any] = dict(self.journal.recall(INPUTS) or {})
        changed = [name for name in inputs if held.get(name, inputs[name]) != inputs[name]]
        if changed:
            raise RunMismatch(
                f"{self.folder} was made with another {' and '.join(changed)}: the settings are the same, but what "
                f"they point at has changed. Restore it, {_ELSEWHERE}"
            )
        if not inputs.items() <= held.items():
            self.journal.keep(INPUTS, {**held, **inputs})

    def part(self, number: int, recipe: Recipe, inputs: Mapping[str, str] | None = None) -> "Run":
        """The run folder of trial `number`, from 1, begun or gone on with. Raises like `open`."""
        return Run.open(self.folder / f"{PART}{number}", recipe, inputs)

    def parts(self) -> tuple["Run", ...]:
        """The trials that there are, in order."""
        return tuple(Run.load(self.folder / f"{PART}{number}") for number in sorted(_part_numbers(self.folder)))

    def keep_plan(self, plan: Saves) -> None:
        """Keep the final plan. Raises StorageFailure."""
        plan.save(self.folder / PLAN)

    def keep_scores(self, scores: Saves) -> None:
        """Keep what the method saw. Raises StorageFailure."""
        scores.save(self.folder / SCORES)

    def keep_comparison(self, comparison: Mapping[str, Any]) -> None:
        """Keep the comparison, as JSON. Raises StorageFailure."""
        write_json(self.folder / COMPARISON, comparison)

    def keep_examples(self, examples: Iterable[Mapping[str, Any]]) -> None:
        """Keep every example × instruction pair that changed. Raises StorageFailure."""
        write_lines(self.folder / EXAMPLES, examples)

    def keep_counts(self, counts: Saves) -> None:
        """Keep how often units fired, by language. Raises StorageFailure."""
        counts.save(self.folder / COUNTS)

    def keep_matrix(self, matrix: Mapping[str, Any]) -> None:
        """Keep what each language's units do to each language's text, as JSON. Raises StorageFailure."""
        write_json(self.folder / MATRIX, matrix)

    def keep_plans(self, plans: Mapping[str, Saves]) -> None:
        """Keep the plan of each language, in place of those that are there. Raises StorageFailure."""
        for language, plan in plans.items():
            plan.save(self.folder / PLANS / f"{language}.json")
        for path in set((self.folder / PLANS).glob("*.json")) - {self.folder / PLANS / f"{language}.json" for language in plans}:
            path.unlink()

    def keep_answers(self, answers: Iterable[Mapping[str, Any]]) -> None:
        """Keep open answers, one line each. Raises StorageFailure."""
        write_lines(self.folder / ANSWERS, answers)

    def keep_steered(self, name: str, found: Mapping[str, Any]) -> Path:
        """Keep what came of a steering, and say where. Raises StorageFailure."""
        path = self.folder / STEERED / f"{name}.json"
        write_json(path, found)
        return path

    def keep_analyses(self, analyses: Mapping[str, Any]) -> None:
        """Keep what was analysed, in place of what is there. Raises StorageFailure."""
        write_json(self.folder / ANALYSES, analyses)

    def write_trials(self, trials: Iterable[Mapping[str, Any]]) -> None:
        """Keep these candidates in place of those that are there. Raises StorageFailure."""
        write_lines(self.folder / TRIALS, trials)

    def append_trial(self, trial: Mapping[str, Any]) -> None:
        """Keep one candidate more. One that is there already stays, unless it was incomplete. Raises StorageFailure."""
        held, key = {_candidate(row): row for row in self.trials()}, _candidate(trial)
        if key not in held:
            append_line(self.folder / TRIALS, trial)
        elif trial.get("complete") and not held[key].get("complete"):
            self.write_trials({**held, key: dict(trial)}.values())

    def note(self, **facts: Any) -> None:
        """Add to environment.json how the work is done: device, threads, batch size, seconds. Raises StorageFailure."""
        held = self.environment()
        versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
        wanted = {**held, "platform": platform.platform(), "versions": versions, **facts}
        if wanted != held:
            write_json(self.folder / ENVIRONMENT, wanted)

    @property
    def is_finished(self) -> bool:
        """Whether the job came to its end."""
        if self.recipe.record_only:
            return (self.folder / COUNTS).exists()
        return (self.folder / PLAN).exists() and (self.folder / COMPARISON).exists()

    @property
    def plan_path(self) -> Path:
        """Where the plan is, or will be."""
        return self.folder / PLAN

    @property
    def plans_folder(self) -> Path:
        """Where the plans of single languages are, or will be."""
        return self.folder / PLANS

    @property
    def counts_path(self) -> Path:
        """Where the counts of a run of lape are. Raises InputError where the run has none."""
        return self._there(COUNTS, "counts")

    def environment(self) -> dict[str, Any]:
        """How the work was done; empty where that is not known."""
        try:
            found = read_json(self.folder / ENVIRONMENT)
        except InputError:
            return {}
        return dict(found) if isinstance(found, Mapping) else {}

    def plan_json(self) -> dict[str, Any]:
        """The plan, as JSON. Raises InputError where the run has none yet."""
        return dict(read_json(self._there(PLAN, "plan"), "plan"))

    def comparison(self) -> dict[str, Any]:
        """The comparison, as JSON. Raises InputError where the run has none yet."""
        return dict(read_json(self._there(COMPARISON, "comparison"), "comparison"))

    def matrix(self) -> dict[str, Any]:
        """What each language's units do to each language's text. Raises InputError where the run has no matrix."""
        return dict(read_json(self._there(MATRIX, "matrix"), "matrix"))

    def plans(self) -> dict[str, dict[str, Any]]:
        """The plan of each language, as JSON, in the order of their names. Raises InputError where one is damaged."""
        return {path.stem: dict(read_json(path, "plan")) for path in sorted((self.folder / PLANS).glob("*.json"))}

    def answers(self) -> list[dict[str, Any]]:
        """The open answers; none where none were asked for. Raises InputError for a damaged line."""
        return read_lines(self.folder / ANSWERS)

    def steered(self) -> dict[str, dict[str, Any]]:
        """What came of each steering, by name. Raises InputError where a file is damaged."""
        return {path.stem: dict(read_json(path, "file of a steering")) for path in sorted((self.folder / STEERED).glob("*.json"))}

    def analyses(self) -> dict[str, Any]:
        """What was analysed, by name; empty where nothing was. Raises InputError where the file is damaged."""
        try:
            found = read_json(self.folder / ANALYSES, "file of analyses") if (self.folder / ANALYSES).exists() else {}
        except InputError as error:
            raise InputError(f"{error} Delete it, and analyse again.") from error
        if not isinstance(found, Mapping):
            raise InputError(f"{self.folder / ANALYSES} is damaged: it holds no object. Delete it, and analyse again.")
        return dict(found)

    def scores(self) -> Scores:
        """What the method saw. Raises InputError where the run has none yet."""
        return Scores.load(self._there(SCORES, "scores"))

    def trials(self) -> list[dict[str, Any]]:
        """The candidates so far. Raises InputError for a line other than the last that is no JSON."""
        return read_lines(self.folder / TRIALS)

    def examples(self) -> list[dict[str, Any]]:
        """The example × instruction pairs that changed. Raises InputError where the run has none yet."""
        return read_lines(self._there(EXAMPLES, "list of changed examples"))

    def _there(self, name: str, what: str) -> Path:
        path = self.folder / name
        if not path.exists():
            finish = f"`resect run {self.folder / RECIPE}` finishes it."
            raise InputError(f"The run in {self.folder} has no {what} yet ({name} is missing). {finish}")
        return path


def _recipe_of(folder: Path) -> Recipe:
    try:
        return Recipe.load(folder / RECIPE)
    except InputError as error:
        raise RunMismatch(f"The run in {folder} has a damaged recipe: {error} Mend it, {_ELSEWHERE}") from error


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunMismatch(f"{folder} is a file; choose another folder with --output.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailure(f"The run folder {folder} cannot be made: {error.strerror}.") from error


def _refuse_foreign(folder: Path) -> None:
    # A recipe alone is somebody's own; beside the lock, it is what a kill left of a run that had just begun.
    if (folder / RECIPE).exists() and ((folder / ENVIRONMENT).exists() or (folder / LOCK).exists()):
        return
    foreign = sorted(path.name for path in folder.iterdir() if path.name != LOCK and not is_torn(path))
    if foreign:
        some = ", ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise RunMismatch(f"{folder} is no run folder, and it holds {some}. Choose another folder with --output.")


def _clear(folder: Path) -> None:
    """Take away what a run made, and nothing else. The recipe goes last: a kill leaves a run, or no run."""
    sweep(folder, folder / JOURNAL, folder / PLANS, folder / STEERED)
    for number in _part_numbers(folder):
        inner = folder / f"{PART}{number}"
        _clear(inner)
        if {path.name for path in inner.iterdir()} <= {LOCK}:
            shutil.rmtree(inner)
    FolderJournal(folder / JOURNAL).clear()
    for name in (PLANS, STEERED):
        for path in (folder / name).glob("*.json"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what is not ours stays
            (folder / name).rmdir()
    for name in reversed(FILES):
        (folder / name).unlink(missing_ok=True)


def _part_numbers(folder: Path) -> list[int]:
    numbers = (path.name.removeprefix(PART) for path in folder.glob(f"{PART}*") if (path / RECIPE).exists())
    return [int(number) for number in numbers if number.isdecimal()]


def _candidate(trial: Mapping[str, Any]) -> str:
    """What makes two rows the same candidate: everything but how it went."""
    outcome = ("score", "examples", "complete", "seconds")
    return json.dumps({name: value for name, value in trial.items() if name not in outcome}, sort_keys=True)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
