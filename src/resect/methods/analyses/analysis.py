"""What an analysis of a finished run is: a computation, what it needs of the run, and how its result is shown. Knows no analysis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from resect.core.exhibits import Exhibit
from resect.data.tasks.task import Task

#: What analyses.json holds of an analysis.
Result: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Analysis:
    """One analysis.

    Parameters
    ----------
    compute : from a `Study` (and the options) to JSON values, whose keys are those of analyses.json
    summary : what it computes, in one sentence
    section : the heading of its exhibits
    describe : from its result, and the shares of their rank that the plan keeps of matrices, by address, to exhibits
    needs_plan : whether it compares before and after
    needs_task : whether it needs questions
    needs_choices : whether it needs answers that are choices
    options : names of further arguments of `compute`; one of them is needed
    lacks : why it does not fit a task, in a sentence after its name; None where it does
    """

    compute: Callable[..., dict[str, Any]]
    summary: str
    section: str
    describe: Callable[[Result, Mapping[str, float]], Sequence[Exhibit]]
    needs_plan: bool = True
    needs_task: bool = True
    needs_choices: bool = False
    options: tuple[str, ...] = ()
    lacks: Callable[[Task], str | None] = lambda task: None

    def exhibits(self, result: Result, plan: Mapping[str, Any] | None = None) -> tuple[Exhibit, ...]:
        """Returns what shows its result. `plan`: the object of plan.json, so that what the run selected is marked."""
        edits = (plan or {}).get("edits") or ()
        shares = {str(edit["site"]): float(edit["rho"]) for edit in edits if "rho" in edit}
        first, *others = self.describe(result, shares)
        limit = result.get("limit")
        limited = f" Evaluated on at most {limit:,} examples of the task." if isinstance(limit, int) else ""
        return tuple(replace(exhibit, section=self.section) for exhibit in (replace(first, note=f"{first.note}{limited}"), *others))


Analyses: TypeAlias = Mapping[str, Analysis]


def exhibits(analyses: Analyses, results: Mapping[str, Result], plan: Mapping[str, Any] | None = None) -> tuple[Exhibit, ...]:
    """Returns the exhibits of several results by name, a section for each analysis, in the order of the analyses."""
    return tuple(exhibit for name, each in analyses.items() if name in results for exhibit in each.exhibits(results[name], plan))
