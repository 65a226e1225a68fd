"""The inputs of an analysis: a model, the plan of a run and its task, and the workers. Knows no file."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resect.core.address import Site
from resect.core.errors import InputError
from resect.core.execution import Workers
from resect.data.tasks.task import Task
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Answers, Questions
from resect.models.language_model import LanguageModel


@dataclass(frozen=True)
class Study:
    """The inputs of an analysis.

    Parameters
    ----------
    plan : the plan of the run; empty where nothing helped
    task : the task that chose it; None where there was none
    metric : the metric by which the run chose and compared
    sites : the matrices that were searched
    like : an edit whose rule all reductions follow (what is kept, how it is decomposed); its site and ρ do not matter
    rhos : the shares of the rank that were tried
    texts, text_name : plain text, by documents
    seed : of resampling
    state_memory : the most bytes of cached hidden states; None: a quarter of what is free
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
        """Returns the reductions of the plan, in its order."""
        edits = [edit for edit in self.plan.edits if isinstance(edit, ReduceRank)]
        return tuple(each for edit in edits for each in edit.each(self.model.anatomy))

    @property
    def falling(self) -> tuple[float, ...]:
        """Returns the shares that were tried, the gentlest reduction first."""
        return tuple(sorted(set(self.rhos), reverse=True))

    @property
    def is_free(self) -> bool:
        """Whether some answer of the task is free text."""
        return self.task is not None and any(isinstance(example.gold, str) for example in self.task.examples)

    @property
    def right_by(self) -> str:
        """Returns the metric by which an answer is right: the run's own, or where that is the log loss the task's way of answering."""
        if self.metric != "logloss":
            return self.metric
        return "generation" if self.is_free else "accuracy"

    def questions(self, split: str, metric: str | None = None) -> Questions:
        """Returns a split of the task, by default under the metric `right_by`. Raises InputError without a task, EmptySplit."""
        if self.task is None:
            raise InputError("This run has no task, so that there are no questions.")
        return Questions(self.model, self.task, self.task.split(split), metric or self.right_by)

    def before_and_after(self, questions: Questions) -> tuple[Answers, Answers]:
        """Returns the answers without an edit and under the plan. Raises what evaluating raises."""
        base = questions.answers(Plan(), stage="answers without an edit", workers=self.workers)
        return base, questions.answers(self.plan, stage="answers of the edited model", workers=self.workers)

    def reduced(self, site: Site, rho: float, like: ReduceRank | None = None) -> ReduceRank:
        """Returns a reduction of a matrix by the rule of `like`, by default the study's own."""
        rule = like or self.like
        return ReduceRank(site, rho) if rule is None else replace(rule, site=site, rho=rho)

    def counter(self, stage: str, total: int) -> Callable[[], None]:
        """Returns a function that reports one more finished step of `total` at each call."""
        done = itertools.count()
        report = lambda: self.workers.progress(stage, next(done), total)
        report()
        return report

    def rank(self, edit: ReduceRank) -> int:
        """Returns the rank that an edit leaves its matrix with."""
        return edit.rank(self.model.anatomy.shape(edit.site))


def with_others(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the result for the first matrix of a plan; those for the others of a composition are under "others"."""
    first, *others = parts
    return {**first, "others": others} if others else first
