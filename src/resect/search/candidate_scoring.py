"""A sweep: one set of questions, asked again and again of a model of which one matrix is changed.

Knows questions, matrices and how a candidate stands, and who asks; knows no method, and no split but what it was handed. How a candidate is
asked fast is in `station`.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.core.errors import InputError
from resect.core.execution import Workers, journal_key
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.models.batching import Purpose

from .edited_model import EditEvaluator, ReductionBatch, signed_sum
from .elimination import NO_THRESHOLD, CandidateBatch, PartialScore, ScoreHistories
from .question_order import QuestionOrder, QuestionSet

#: What a journal keeps of a candidate.
_KEPT = ("asked", "total", "margin", "seconds")


class CandidateScorer:
    """Questions in a fixed order and fixed batches, hardest first, to be asked under one change after the other (a `race.Course`).

    Parameters
    ----------
    asked : the questions; more is better, or less, as they say
    factors : where decompositions come from
    state_memory : bytes of hidden states that may be held; None: a quarter of what is free. What does not fit is run again
    replay, positions, share : leave out the layers below, the positions that are not scored, the decomposition for each ρ; no answer
        depends on them (a position left out may change the last bit)
    purpose : what the batches are for: how much memory a question takes
    workers : engine, journal and progress; default: this process, in memory, silent

    Attributes
    ----------
    base : the unedited model's value of each question, in their own order
    start : the tally of a candidate that was asked nothing
    scout : how many of the first questions tell who is promising; then come the hardest
    station : where the questions are asked, in this process
    """

    def __init__(
        self,
        asked: QuestionSet,
        factors: SvdCache,
        *,
        state_memory: int | None = None,
        replay: bool = True,
        positions: bool = True,
        share: bool = True,
        purpose: Purpose = "answers",
        workers: Workers | None = None,
    ) -> None:
        if asked.best_value is None:
            raise InputError("These questions have no best value, so that no candidate could ever be given up; take another metric.")
        self.asked, self.model = asked, asked.model
        self._workers = workers or Workers()
        self._sign = -1.0 if asked.less_is_better else 1.0
        lineup = QuestionOrder.of(asked, purpose, self._workers)
        self._bundles, self.scout, self.base = lineup.batches, lineup.scout, lineup.values
        replay, positions = replay and asked.replayable, positions and asked.replayable
        self.station = EditEvaluator(
            self.model,
            self._bundles,
            self._sign,
            factors,
            limit=state_memory,
            neighbours=self._workers.engine.processes_on_machine,
            replay=replay,
            positions=positions,
            share=share,
        )
        self._key_of_questions = journal_key("sweep", asked.digest, asked.metric, [bundle.pairs for bundle in self._bundles])
        self.start = PartialScore(0, asked.pairs, 0.0, self._sign * asked.best_value)

    @property
    def base_total(self) -> float:
        """The unedited model's total, as a tally counts it."""
        total = 0.0
        for bundle in self._bundles:  # added up as a candidate's total is, so that no gain is made of rounding
            total += signed_sum(self._sign, self.base[list(bundle.pairs)])
        return total

    def mean(self, total: float) -> float:
        """A total as the metric's mean over all questions."""
        return self._sign * total / self.asked.pairs

    def ask(self, heats: Iterable[ReductionBatch]) -> Generator[ScoreHistories, None, None]:
        """Ask on under each candidate of each heat; none of what is kept stands below it. Raises NotFinite, NotWritable, OutOfMemory."""
        return self._workers.engine.map(self.station, heats)

    def recalled(self, candidate: ReduceRank, kept: tuple[ReduceRank, ...], tally: PartialScore) -> PartialScore:
        """Its tally as the journal has it, if it was asked further than this one."""
        held: Any = self._workers.journal.recall(self._key(candidate, kept))
        if held is None or held["asked"] <= tally.asked:
            return tally
        return replace(tally, **{name: held[name] for name in _KEPT})

    def keep(self, candidate: ReduceRank, kept: tuple[ReduceRank, ...], tally: PartialScore) -> None:
        """Keep a tally in the journal."""
        self._workers.journal.keep(self._key(candidate, kept), {name: getattr(tally, name) for name in _KEPT})

    def _key(self, candidate: ReduceRank, kept: tuple[ReduceRank, ...]) -> str:
        return journal_key(self._key_of_questions, Plan((*kept, candidate)).digest)

    def asked_all(self, edit: ReduceRank) -> PartialScore:
        """Ask everything under one edit; what was asked before a kill is recalled. Raises as `ask`."""
        before = self.recalled(edit, (), self.start)
        with closing(self.ask([CandidateBatch((edit,), (before,), NO_THRESHOLD)])) as found:
            tally = NO_THRESHOLD.settled(before, next(found)[0])
        self.keep(edit, (), tally)
        return tally

    def values(self, edits: Sequence[ReduceRank]) -> Float64[np.ndarray, " pairs"]:
        """The value of each question under some edits at once, in the questions' own order, asked here. Raises as `ask`."""
        return self.station.values(edits, self.asked.pairs)
