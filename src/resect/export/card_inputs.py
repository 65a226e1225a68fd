"""What the model card of an export is written from: the plan, the base's own card, and the run that found the plan.

All of it is read and checked before anything is written. Knows run folders and the card; no weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resect.core.errors import InputError, RunMismatch
from resect.core.files import write_json, write_text
from resect.edits.plan import Plan
from resect.runs.run_files import COMPARISON, MATRIX
from resect.runs.run_folder import Run
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.languages import MatrixFile
from resect.runs.schemas.parts import Schema
from resect.runs.schemas.plan import PlanFile
from resect.runs.schemas.reading import read_file
from resect.runs.schemas.verdict import Verdict

from .card import Results, card, front_matter
from .checkpoint import CARD, PLAN

#: Fields without which a comparison cannot be reported.
_REQUIRED = ("task", "metric", "n_examples", "n_instructions", "n_groups", "base")


@dataclass(frozen=True)
class CardInputs:
    """The content of the card, except for what is known only when the weights are written."""

    plan: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, plan: Plan, base_card: Path, run: Run | None, base_model: str) -> "CardInputs":
        """Collect it, with a run's results where its plan is this one. Raises RunMismatch where these are damaged, InputError."""
        settings: dict[str, Any] = {"base_model": base_model, "base_front_matter": front_matter(base_card)}
        run = None if run is None else _run_of_plan(plan, run)
        if run is not None:
            settings |= {"recipe": run.recipe, "environment": run.environment(), "results": _results(plan, run)}
        return cls(plan.to_json(), settings)

    @property
    def verdict(self) -> str | None:
        """The verdict of the run on the plan, in a word; None where there is none."""
        verdict = self._verdict()
        return None if verdict is None else verdict.word

    def _verdict(self) -> Verdict | None:
        results = self.settings.get("results") or Results()
        return None if results.comparison is None else results.comparison.verdict

    def refuse_damage(self) -> None:
        """Raises InputError where the verdict of the run is that the plan damages the model."""
        verdict = self._verdict()
        if verdict is not None and verdict.word in ("damages", "replaces one constant answer by another"):
            raise InputError(
                f"The verdict on this plan is: {verdict.word}. {'; '.join(verdict.reasons)}. Search for one that does no harm (guards, "
                "--protect, --factor search), or export it all the same with --anyway."
            )

    def save(self, folder: Path, factored: Mapping[str, Any] | None = None) -> None:
        """Write plan and card. Raises StorageFailure."""
        write_json(folder / PLAN, self.plan)
        write_text(folder / CARD, card(PlanFile.model_validate(self.plan), **self.settings, factored=factored))


def _run_of_plan(plan: Plan, run: Run) -> Run | None:
    """Returns the finished run that has this very plan: of several trials the one that found it, since the run itself has their means."""
    for candidate in (*run.parts(), run):
        if candidate.is_finished and candidate.recipe.compares:
            plans = (candidate.plan_json(), *candidate.plans().values())
            if plan.digest in {Plan.from_json(value).digest for value in plans}:
                return candidate
    return None


def _results(plan: Plan, run: Run) -> Results:
    """Returns what the run measured with this very plan. Raises RunMismatch where it is damaged.

    A run with a matrix measured each language's plan, and not their union, which is its plan.json.
    """
    if not (run.folder / MATRIX).exists():
        return Results(comparison=_read(run.folder / COMPARISON, ComparisonFile, _REQUIRED))
    language = next((name for name, value in run.plans().items() if Plan.from_json(value).digest == plan.digest), None)
    if language is None:
        return Results()
    path = run.folder / MATRIX
    matrix = _read(path, MatrixFile, ())
    if language not in matrix.languages:
        raise _damaged(path, f"it has no row of {language}")
    return Results(matrix=matrix, language=language)


def _read(path: Path, schema: type[Schema], required: tuple[str, ...]) -> Schema:
    content, damages = read_file(path, schema)
    missing = [] if content is None else [name for name in required if name not in content.model_fields_set]
    if content is None or damages or missing:
        raise _damaged(path, str(damages[0]) if damages else f"it has no {missing[0]}")
    return content


def _damaged(path: Path, reason: str) -> RunMismatch:
    return RunMismatch(
        f"{path.name} of the run in {path.parent} is damaged ({reason}), so that the card cannot report its results. Run it "
        "again (--fresh), or give a copy of the plan outside the run: then the card reports no results."
    )
