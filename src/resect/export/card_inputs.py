"""What an export's card is made from: the plan, the base's own card, and the run that found the plan, looked at before anything is written.

Knows runs and the card; no weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resect.core.errors import RunMismatch
from resect.core.files import write_json, write_text
from resect.edits.plan import Plan
from resect.runs.run_files import COMPARISON, MATRIX
from resect.runs.run_folder import Run

from .card import card, front_matter
from .checkpoint import CARD, PLAN


@dataclass(frozen=True)
class Told:
    """What the card tells, but for what is only known when the weights are written."""

    plan: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, plan: Plan, base_card: Path, run: Run | None, base_model: str) -> "Told":
        """Gather it, with a run's numbers where its plan is this one. Raises RunMismatch where these cannot be told, InputError."""
        settings = {"base_model": base_model, "base_front_matter": front_matter(base_card)}
        found = None if run is None else _run_of(plan, run)
        if found is None:
            return cls(plan.to_json(), settings)
        try:
            measured = _measured(plan, found)
            told = cls(plan.to_json(), settings | {"recipe": found.recipe, "environment": found.environment(), **measured})
            told.card()  # now, and not when gigabytes are written
            damage = "" if _is_finite(measured) else "it holds NaN or infinity"
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            damage = f"it has no {error}" if isinstance(error, KeyError) else f"it holds something else than a run keeps there: {error}"
        if damage:
            raise RunMismatch(
                f"{_source(found)} of the run in {found.folder} is damaged ({damage}), so that the card cannot tell its numbers. Run it "
                "again (--fresh), or give a copy of the plan outside the run: the card then tells no numbers."
            )
        return told

    def save(self, folder: Path, factored: Mapping[str, Any] | None = None) -> None:
        """Write plan and card. Raises StorageFailure."""
        write_json(folder / PLAN, self.plan)
        write_text(folder / CARD, self.card(factored))

    def card(self, factored: Mapping[str, Any] | None = None) -> str:
        """The text of README.md. `factored`: as `card` takes it."""
        return card(self.plan, **self.settings, factored=factored)


def _is_finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list) else not isinstance(value, float) or math.isfinite(value)


def _source(run: Run) -> str:
    return MATRIX if run.recipe.method == "lape" else COMPARISON


def _measured(plan: Plan, run: Run) -> dict[str, Any]:
    """What the run measured with this very plan: its comparison, or of one language's plan its row of the matrix."""
    if run.recipe.method != "lape":
        return {"comparison": run.comparison()}
    language = next((name for name, held in run.plans().items() if Plan.from_json(held).digest == plan.digest), None)
    return {} if language is None else {"language": language, "matrix": run.matrix()}


def _run_of(plan: Plan, run: Run) -> Run | None:
    """The finished run whose numbers are those of this very plan: of several trials the one that found it, for on top stand their means."""
    runs = [each for each in (*run.parts(), run) if each.is_finished and not each.recipe.record_only]
    return next(
        (each for each in runs if plan.digest in {Plan.from_json(held).digest for held in (each.plan_json(), *each.plans().values())}), None
    )
