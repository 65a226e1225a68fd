"""What a run folder holds: every file by its name, written whole or not at all, and read back as plain data.

    recipe.toml           the settings; written first, so that a folder without it is no run
    environment.json      versions, device, threads, the batch size that was found
    journal/              one file for each finished work item: the whole of resume
    scores.safetensors  trials.jsonl  plan.json  comparison.json  examples.jsonl
    analyses.json         what was analysed, and added to
    exhibits.json         tables, curves and heat maps that the method shows in addition (see core/exhibits.py)
    counts.safetensors  matrix.json  plans/<language>.json  answers.jsonl  steered/<what>.json      of lape
    trial-1/ …            with several trials: each a run folder of its own

The only module that knows these names. `trials.jsonl` grows by lines, and a torn last line is dropped. Knows no model, no method, and not
how a folder is opened: plans, scores and counts save themselves.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from resect.core.errors import InputError
from resect.core.exhibits import Exhibit, from_json, replaced, to_json
from resect.core.files import read_json, write_json
from resect.core.scores import Scores

from .journal import append_line, read_lines, write_lines
from .recipe import Recipe

RECIPE, ENVIRONMENT, JOURNAL, SCORES = "recipe.toml", "environment.json", "journal", "scores.safetensors"
TRIALS, PLAN, COMPARISON, EXAMPLES = "trials.jsonl", "plan.json", "comparison.json", "examples.jsonl"
ANALYSES, EXHIBITS, REPORT, LOCK, PART = "analyses.json", "exhibits.json", "report.html", ".lock", "trial-"
COUNTS, MATRIX, ANSWERS, PLANS, STEERED = "counts.safetensors", "matrix.json", "answers.jsonl", "plans", "steered"
_STEERED_PLAN = ".plan.json"
FILES = (RECIPE, ENVIRONMENT, SCORES, TRIALS, PLAN, COMPARISON, EXAMPLES, ANALYSES, EXHIBITS, COUNTS, MATRIX, ANSWERS, REPORT)
PACKAGES = ("resect", "torch", "transformers", "tokenizers", "safetensors", "numpy")
#: Entries of the journal that are no finished work.
INPUTS, BATCH_SIZES = "inputs", "batch sizes"
NO_WORK = (INPUTS, BATCH_SIZES)


class Saves(Protocol):
    """A value that writes itself into a file: a plan, scores."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""


class RunFiles:
    """The files of a run folder.

    Attributes
    ----------
    folder : where they are, or will be
    recipe : the settings that they were made with
    """

    folder: Path
    recipe: Recipe

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
        """Keep what came of a steering, its plan beside it, and say where. Raises StorageFailure."""
        path = self.folder / STEERED / f"{name}.json"
        if "plan" in found:
            write_json(path.with_name(f"{name}{_STEERED_PLAN}"), found["plan"])
        write_json(path, found)
        return path

    def keep_analyses(self, analyses: Mapping[str, Any]) -> None:
        """Keep what was analysed, in place of what is there. Raises StorageFailure."""
        write_json(self.folder / ANALYSES, analyses)

    def keep_exhibits(self, exhibits: Iterable[Exhibit]) -> None:
        """Add exhibits to those that are stored; a section that both have is replaced, as is a damaged file. Raises StorageFailure."""
        try:
            stored = self.exhibits()
        except InputError:
            stored = ()
        write_json(self.folder / EXHIBITS, {"exhibits": [to_json(exhibit) for exhibit in replaced(stored, exhibits)]})

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

    def plan_paths(self, name: str) -> tuple[Path, ...]:
        """Where plans of this file name may be: the run's own, one language's, a steering's."""
        return (self.folder / PLAN, self.plans_folder / name, self.folder / STEERED / name)

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
        paths = (path for path in sorted((self.folder / STEERED).glob("*.json")) if not path.name.endswith(_STEERED_PLAN))
        return {path.stem: dict(read_json(path, "file of a steering")) for path in paths}

    def analyses(self) -> dict[str, Any]:
        """What was analysed, by name; empty where nothing was. Raises InputError where the file is damaged."""
        try:
            found = read_json(self.folder / ANALYSES, "file of analyses") if (self.folder / ANALYSES).exists() else {}
        except InputError as error:
            raise InputError(f"{error} Delete it, and analyse again.") from error
        if not isinstance(found, Mapping):
            raise InputError(f"{self.folder / ANALYSES} is damaged: it holds no object. Delete it, and analyse again.")
        return dict(found)

    def exhibits(self) -> tuple[Exhibit, ...]:
        """The exhibits of the method, in their order; none where it has none. Raises InputError where the file is damaged."""
        path = self.folder / EXHIBITS
        content = read_json(path, "list of exhibits") if path.exists() else {"exhibits": []}
        if not isinstance(content, Mapping) or not isinstance(content.get("exhibits"), list):
            raise InputError(f"{path} is damaged: it holds no list of exhibits.")
        return tuple(map(from_json, content["exhibits"]))

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


def _candidate(trial: Mapping[str, Any]) -> str:
    """What makes two rows the same candidate: everything but how it went."""
    outcome = ("score", "examples", "complete", "seconds")
    return json.dumps({name: value for name, value in trial.items() if name not in outcome}, sort_keys=True)
