"""A guard of a composition without a task: what the model then writes. Knows reductions, own text and limits; knows no given text.

Plain text may become more probable while the model loses what it knows, most of all where that text is foreign to it. A reduction is kept
only if, with it, text of the model's own writing stays as probable and its greedy samples repeat no more, within limits. Source: ours.
"""

import math

from resect.core.errors import NotFinite
from resect.core.execution import Workers, journal_key
from resect.core.number_format import PLAIN
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.own_text import OWN_TEXT, OwnText, Writing
from resect.runs.guard_limits import GuardLimits
from resect.search.edited_model import EditEvaluator

#: The largest rise of a mean loss (nats) that is written as a rise of the perplexity: a factor of 2 · 10⁴³.
LARGEST_RISE = 100.0


class WritingGuard:
    """Whether a composition may keep a reduction, by what the model then writes.

    Parameters
    ----------
    own : text that is not reported on; None, of a model that writes none: everything is accepted
    evaluator : applies reductions in this process
    limits : `perplexity`: by which share that of own text may rise; `collapse`: by how much repetition may, as a share; None: any
    workers : its journal keeps losses and samples

    `broken`: by refused reduction what it breaks, and what that costs. Raises NotFinite, OutOfMemory for the unedited model.
    """

    def __init__(self, own: OwnText | None, evaluator: EditEvaluator, limits: GuardLimits, workers: Workers) -> None:
        self._own, self._evaluator, self._limits, self._workers = own, evaluator, limits, workers
        self.broken: dict[ReduceRank, tuple[str, ...]] = {}

    def accepts(self, edits: tuple[ReduceRank, ...]) -> bool:
        """Returns whether these reductions may be kept, the new one last. Raises NotWritable, OutOfMemory."""
        self.broken[edits[-1]] = () if self._own is None else self._costs(self._own, edits)
        return not self.broken[edits[-1]]

    def _costs(self, own: OwnText, edits: tuple[ReduceRank, ...]) -> tuple[str, ...]:
        """What these reductions break; repetition is measured only where the own text stays probable."""
        if self._limits.perplexity is not None:
            rise = self._loss(own, edits) - self._loss(own, ())
            if rise > LARGEST_RISE:
                return (f"{OWN_TEXT} no longer predicted",)
            if rise > math.log1p(self._limits.perplexity):
                return (f"{OWN_TEXT} {PLAIN.signed(100 * math.expm1(rise), 1)} %",)
        if self._limits.collapse is not None:
            rise = self._repetition(own, edits) - self._repetition(own, ())
            if rise > self._limits.collapse:
                return (f"repetition {PLAIN.signed(100 * rise, 1)} points",)
        return ()

    def _loss(self, own: OwnText, edits: tuple[ReduceRank, ...]) -> float:
        """The mean negative log-probability of a token of own text; infinite where it is not finite."""

        def measure() -> dict[str, float | None]:
            with self._evaluator.applied_together(edits):
                try:
                    return {"loss": own.loss()}
                except NotFinite:
                    if not edits:
                        raise
                    return {"loss": None}

        loss = self._workers.remember(journal_key(own.digest, "loss", Plan(edits).digest), measure)["loss"]
        return math.inf if loss is None else float(loss)

    def _repetition(self, own: OwnText, edits: tuple[ReduceRank, ...]) -> float:
        """The repetition of greedy samples, in [0, 1]."""

        def measure() -> dict[str, float]:
            with self._evaluator.applied_together(edits):
                return {"repetition": Writing(0.0, own.continuations()).repetition}

        return float(self._workers.remember(journal_key(own.digest, "repetition", Plan(edits).digest), measure)["repetition"])
