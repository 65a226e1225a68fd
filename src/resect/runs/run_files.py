"""The files of a run folder: their names, how they are written (completely or not at all), and how they are read back as plain data.

    recipe.toml           the settings; written first, so that a folder without it is no run
    environment.json      versions, device, threads, the batch sizes that were found
    journal/              one file for each finished work item, from which an interrupted job goes on
    scores.safetensors  trials.jsonl  plan.json  comparison.json  examples.jsonl
    exhibits.json         tables, curves and heat maps that the method shows
    analyses.json         results of later analyses
    counts.safetensors  matrix.json  plans/<language>.json  answers.jsonl  steered/<name>.json      of a run on corpora by language
    trial-1/ …            with several trials: each a run folder of its own

The only module that knows these names; their schemas are in `schemas`. Knows no model, no method, and not how a folder is opened: plans,
scores and counts save themselves.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from resect.core import exhibits as core_exhibits
from resect.core.errors import InputError
from resect.core.exhibits import Exhibit
from resect.core.files import read_json, write_json
from resect.core.scores import Scores

from .journal import read_lines, write_lines
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
    """A value that writes itself into a file: a plan, scores, counts."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, completely or not at all."""


class RunFiles:
    """The files of a run folder. What writes one raises StorageFailure where the disk is full; JSON with NaN raises NotFinite.

    Attributes
    ----------
    folder : where they are, or will be
    recipe : the settings of the job
    """

    folder: Path
    recipe: Recipe

    def keep_plan(self, plan: Saves) -> None:
        """Store the final plan."""
        plan.save(self.folder / PLAN)

    def keep_scores(self, scores: Saves) -> None:
        """Store the scores by which the method chose."""
        scores.save(self.folder / SCORES)

    def keep_comparison(self, comparison: Mapping[str, Any]) -> None:
        """Store the object of comparison.json."""
        write_json(self.folder / COMPARISON, comparison)

    def keep_examples(self, examples: Iterable[Mapping[str, Any]]) -> None:
        """Store the pairs of example and instruction whose answer changed."""
        write_lines(self.folder / EXAMPLES, examples)

    def keep_matrix(self, matrix: Mapping[str, Any]) -> None:
        """Store the object of matrix.json."""
        write_json(self.folder / MATRIX, matrix)

    def keep_plans(self, plans: Mapping[str, Saves]) -> None:
        """Store the plan of each language, in place of those that are there."""
        paths = {language: self.folder / PLANS / f"{language}.json" for language in plans}
        for language, plan in plans.items():
            plan.save(paths[language])
        for path in set((self.folder / PLANS).glob("*.json")) - set(paths.values()):
            path.unlink()

    def keep_answers(self, answers: Iterable[Mapping[str, Any]]) -> None:
        """Store open answers, one line each."""
        write_lines(self.folder / ANSWERS, answers)

    def keep_steered(self, name: str, result: Mapping[str, Any]) -> Path:
        """Store a result of steering, and its plan in a file of its own; returns the path of the result."""
        path = self.folder / STEERED / f"{name}.json"
        if "plan" in result:
            write_json(path.with_name(f"{name}{_STEERED_PLAN}"), result["plan"])
        write_json(path, result)
        return path

    def keep_analyses(self, analyses: Mapping[str, Any]) -> None:
        """Store results of analyses by name, in place of those that are there."""
        write_json(self.folder / ANALYSES, analyses)

    def keep_exhibits(self, exhibits: Iterable[Exhibit]) -> None:
        """Store what the method shows, in place of what is there."""
        write_json(self.folder / EXHIBITS, [core_exhibits.to_json(exhibit) for exhibit in exhibits])

    def write_trials(self, trials: Iterable[Mapping[str, Any]]) -> None:
        """Store these candidates in place of those that are there."""
        write_lines(self.folder / TRIALS, trials)

    @property
    def is_finished(self) -> bool:
        """Whether the job came to its end."""
        if not self.recipe.compares:
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

    def steered_paths(self) -> list[Path]:
        """The results of steering, in the order of their names."""
        return [path for path in sorted((self.folder / STEERED).glob("*.json")) if not path.name.endswith(_STEERED_PLAN)]

    @property
    def counts_path(self) -> Path:
        """Where the counts are. Raises InputError where the run has none."""
        return self._existing(COUNTS, "counts")

    def environment(self) -> dict[str, Any]:
        """How the work was done; empty where that is not known."""
        try:
            value = read_json(self.folder / ENVIRONMENT)
        except InputError:
            return {}
        return dict(value) if isinstance(value, Mapping) else {}

    def plan_json(self) -> dict[str, Any]:
        """The object of plan.json. Raises InputError where the run has no plan yet."""
        return dict(read_json(self._existing(PLAN, "plan"), "plan"))

    def comparison(self) -> dict[str, Any]:
        """The object of comparison.json. Raises InputError where the run has no comparison yet."""
        return dict(read_json(self._existing(COMPARISON, "comparison"), "comparison"))

    def matrix(self) -> dict[str, Any]:
        """The object of matrix.json. Raises InputError where the run has no matrix."""
        return dict(read_json(self._existing(MATRIX, "matrix"), "matrix"))

    def plans(self) -> dict[str, dict[str, Any]]:
        """The plan of each language, in the order of their names. Raises InputError where one is damaged."""
        return {path.stem: dict(read_json(path, "plan")) for path in sorted((self.folder / PLANS).glob("*.json"))}

    def answers(self) -> list[dict[str, Any]]:
        """The open answers; none where there were no questions. Raises InputError for a damaged line."""
        return read_lines(self.folder / ANSWERS)

    def steered(self) -> dict[str, dict[str, Any]]:
        """The results of steering, by name. Raises InputError where a file is damaged."""
        return {path.stem: dict(read_json(path, "result of steering")) for path in self.steered_paths()}

    def analyses(self) -> dict[str, Any]:
        """Results of analyses by name; empty where there are none. Raises InputError where the file is damaged."""
        if not (self.folder / ANALYSES).exists():
            return {}
        try:
            value = read_json(self.folder / ANALYSES, "file of analyses")
        except InputError as error:
            raise InputError(f"{error} Delete it, and analyse again.") from error
        if not isinstance(value, Mapping):
            raise InputError(f"{self.folder / ANALYSES} is damaged: it holds no object. Delete it, and analyse again.")
        return dict(value)

    def exhibits(self) -> tuple[Exhibit, ...]:
        """What the method shows; empty where it shows nothing. Raises InputError where the file is damaged."""
        if not (self.folder / EXHIBITS).exists():
            return ()
        value = read_json(self.folder / EXHIBITS, "file of exhibits")
        if not isinstance(value, list):
            raise InputError(f"{self.folder / EXHIBITS} is damaged: it holds no list.")
        return tuple(map(core_exhibits.from_json, value))

    def scores(self) -> Scores:
        """The scores by which the method chose. Raises InputError where the run has none yet."""
        return Scores.load(self._existing(SCORES, "scores"))

    def trials(self) -> list[dict[str, Any]]:
        """The candidates so far. Raises InputError for a line other than the last that is no JSON."""
        return read_lines(self.folder / TRIALS)

    def examples(self) -> list[dict[str, Any]]:
        """The pairs of example and instruction whose answer changed. Raises InputError where the run has none yet."""
        return read_lines(self._existing(EXAMPLES, "list of changed examples"))

    def _existing(self, name: str, what: str) -> Path:
        path = self.folder / name
        if not path.exists():
            finish = f"`resect run {self.folder / RECIPE}` finishes it."
            raise InputError(f"The run in {self.folder} has no {what} yet ({name} is missing). {finish}")
        return path
