"""A study: a model, the plan that a run found for it, the task that it was found by, and who does the work. Knows no file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resect.core.address import Site
from resect.core.errors import InputError
from resect.core.execution import Workers
from resect.data.tasks.task import Task
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.models.language_model import LanguageModel


@dataclass(frozen=True)
class Study:
    """What an analysis is of.

    Parameters
    ----------
    plan : what the run found; empty where nothing helped
    task : by which it was found; None where it was found without one
    metric : by which the run chose and compared
    sites : the matrices that were searched
    like : an edit whose rule every reduction here follows (what is kept, how it is decomposed); its site and ρ do not matter
    rhos : the shares of the rank that were tried
    texts, text_name : plain text, by documents
    seed : of resampling
    state_memory : bytes of hidden states that may be held; None: a quarter of what is free
    """

    model: LanguageModel
    plan: Plan
    task: Task | None
    metric: str
    factors: SvdCache
    sites: tuple[Site, ...] = ()
    like: ReduceRank | None = None
    rhos: tuple[float, ...] = ()
    texts: tuple[str, ...] = field(default=(), repr=False)
    text_name: str = ""
    seed: int = 0
    state_memory: int | None = None
    workers: Workers = field(default_factory=Workers, repr=False)

    @property
    def reductions(self) -> tuple[ReduceRank, ...]:
        """The reductions of the plan, in its order."""
        return tuple(edit for edit in self.plan.edits if isinstance(edit, ReduceRank))

    @property
    def falling(self) -> tuple[float, ...]:
        """The shares that were tried, the gentlest first."""
        return tuple(sorted(set(self.rhos), reverse=True))

    @property
    def is_free(self) -> bool:
        """Whether some answer of the task is free text."""
        return self.task is not None and any(isinstance(example.gold, str) for example in self.task.examples)

    @property
    def right_by(self) -> str:
        """The metric by which an answer is right or wrong: the run's own, or where that is the log loss the task's way of answering."""
        if self.metric != "logloss":
            return self.metric
        return "generation" if self.is_free else "accuracy"

    def questions(self, split: str, metric: str | None = None) -> Questions:
        """A split of the task, by default under the metric that tells right from wrong. Raises InputError without a task, EmptySplit."""
        if self.task is None:
            raise InputError("This run has no task, so that there is nothing to ask.")
        return Questions(self.model, self.task, self.task.split(split), metric or self.right_by)

    def reduced(self, site: Site, rho: float, like: ReduceRank | None = None) -> ReduceRank:
        """A reduction of a matrix by the same rule as `like`, or as the study's own."""
        rule = like or self.like
        return ReduceRank(site, rho) if rule is None else replace(rule, site=site, rho=rho)

    def rank(self, edit: ReduceRank) -> int:
        """The rank that an edit leaves its matrix with."""
        return edit.rank(self.model.anatomy.shape(edit.site))


def number(value: float) -> float | None:
    """A number as JSON has it: None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def with_others(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was found of the first matrix of a plan; of a composition's others under "others"."""
    first, *others = parts
    return {**first, "others": others} if others else first
