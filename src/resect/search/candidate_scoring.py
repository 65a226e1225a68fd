"""Scores candidate edits of single matrices, all on the same questions in the same order, and stores their scores.

Knows questions, rank reductions and partial scores; knows no method, and no split but the one that it is given. `edited_model` evaluates
the candidates, `question_order` orders the questions.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

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

#: The fields of a score that a journal stores.
_STORED = ("answered", "total", "margin", "seconds")


class CandidateScorer:
    """Evaluates one candidate after the other on questions in a fixed order and fixed batches (an `elimination.CandidateEvaluator`).

    Parameters
    ----------
    questions : more is better, or less, as they say
    svd_cache : decompositions of the matrices
    state_memory : bytes of hidden states that may be cached; None: a quarter of what is free. What does not fit is computed again
    replay, positions, share : do not compute the layers below an edit, the positions that are not scored, a decomposition for each ρ
        again; no answer depends on them (positions that are left out may change the last bit)
    purpose : what the batches are for: how much memory a question takes
    workers : engine, journal and progress; default: this process, in memory, silent

    Attributes
    ----------
    base : the unedited model's value of each question, in their own order
    start : the score before any question
    screening_questions : how many of the first questions show which candidates are promising; the hardest come next
    evaluator : evaluates candidates in this process
    """

    def __init__(
        self,
        questions: QuestionSet,
        svd_cache: SvdCache,
        *,
        state_memory: int | None = None,
        replay: bool = True,
        positions: bool = True,
        share: bool = True,
        purpose: Purpose = "answers",
        workers: Workers | None = None,
    ) -> None:
        if questions.best_value is None:
            raise InputError("These questions have no best value, so that no candidate could ever be abandoned; take another metric.")
        self._questions, self._workers = questions, workers or Workers()
        self._sign = -1.0 if questions.less_is_better else 1.0
        order = QuestionOrder.of(questions, purpose, self._workers)
        self._batches, self.screening_questions, self.base = order.batches, order.screening_questions, order.values
        self.evaluator = EditEvaluator(
            questions.model,
            self._batches,
            self._sign,
            svd_cache,
            state_memory=state_memory,
            processes_on_machine=self._workers.engine.processes_on_machine,
            replay=replay and questions.replayable,
            positions=positions and questions.replayable,
            share=share,
        )
        self._key = journal_key("candidates", questions.digest, questions.metric, [batch.pairs for batch in self._batches])
        self.start = PartialScore(0, questions.pairs, 0.0, self._sign * questions.best_value)

    @property
    def base_total(self) -> float:
        """The unedited model's total, added up as a candidate's is, so that no gain comes from rounding."""
        total = 0.0
        for batch in self._batches:
            total += signed_sum(self._sign, self.base[list(batch.pairs)])
        return total

    def mean(self, total: float) -> float:
        """Returns a total as the metric's mean over all questions."""
        return self._sign * total / self._questions.pairs

    def evaluate(self, batches: Iterable[ReductionBatch]) -> Generator[ScoreHistories, None, None]:
        """Yields the histories of each batch of candidates. Raises NotFinite, NotWritable, OutOfMemory."""
        return self._workers.engine.map(self.evaluator, batches)

    def stored_score(self, candidate: ReduceRank, kept: tuple[ReduceRank, ...], score: PartialScore) -> PartialScore:
        """Returns the score in the journal if it is of more questions than this one, else this one."""
        entry = self._workers.journal.recall(self._score_key(candidate, kept))
        if entry is None or entry["answered"] <= score.answered:
            return score
        return replace(score, **{name: entry[name] for name in _STORED})

    def store_score(self, candidate: ReduceRank, kept: tuple[ReduceRank, ...], score: PartialScore) -> None:
        """Stores a score in the journal. Raises StorageFailure."""
        self._workers.journal.keep(self._score_key(candidate, kept), {name: getattr(score, name) for name in _STORED})

    def _score_key(self, candidate: ReduceRank, kept: tuple[ReduceRank, ...]) -> str:
        return journal_key(self._key, Plan((*kept, candidate)).digest)

    def complete_score(self, edit: ReduceRank) -> PartialScore:
        """Returns the score of one edit on every question. Raises as `evaluate`."""
        before = self.stored_score(edit, (), self.start)
        with closing(self.evaluate([CandidateBatch((edit,), (before,), NO_THRESHOLD)])) as results:
            score = NO_THRESHOLD.stopping_point(before, next(results)[0])
        self.store_score(edit, (), score)
        return score

    def values(self, edits: Sequence[ReduceRank]) -> Float64[np.ndarray, " pairs"]:
        """Returns the value of each question under several edits together, in the questions' own order. Raises as `evaluate`."""
        return self.evaluator.values(edits, self._questions.pairs)
