"""The order and the batches in which questions are evaluated again and again, such that a hopeless candidate is recognised early.

First come some questions spread over those that the unedited model gets wrong, then the hardest. Knows questions and how confidently a
model answers them; knows no edit.
"""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float64

from resect.core.errors import OutOfMemory
from resect.core.execution import Entry, Workers, journal_key
from resect.models.batching import Purpose
from resect.models.language_model import LanguageModel

#: With an automatic batch size there are at least so many batches, so that a candidate can be abandoned early, but none smaller than this.
FEWEST_BATCHES, SMALLEST_BATCH = 16, 8
#: Classes of difficulty; within one, questions are ordered by length.
DIFFICULTY_CLASSES = 6
#: Values of some questions, and how sure the model is to be right.
ValuesAndMargins = tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]


class AnswerableBatch(Protocol):
    """Questions that are evaluated at once, in the same forward calls each time."""

    @property
    def pairs(self) -> tuple[int, ...]:
        """The questions, in the order of the values."""

    def evaluate(self) -> ValuesAndMargins:
        """Returns their values and margins, with the model as it is now. Raises NotFinite, OutOfMemory."""


class QuestionSet(Protocol):
    """What candidates can be scored on: `Questions` of a task, or `Passages` of plain text."""

    @property
    def model(self) -> LanguageModel:
        """The model that answers."""

    @property
    def metric(self) -> str:
        """The name of a value."""

    @property
    def less_is_better(self) -> bool:
        """Whether a smaller value is the better one."""

    @property
    def best_value(self) -> float | None:
        """The best value of one question."""

    @property
    def digest(self) -> str:
        """A digest of everything that the values depend on, apart from the model; metrics may share it."""

    @property
    def pairs(self) -> int:
        """The number of questions."""

    @property
    def replayable(self) -> bool:
        """Whether they are evaluated in a fixed sequence of forward calls."""

    def length(self, pair: int) -> int:
        """Returns tokens of a question."""

    def batch(self, pairs: Sequence[int]) -> AnswerableBatch:
        """Returns questions that are evaluated at once."""


@dataclass(frozen=True)
class QuestionOrder:
    """Batches in the order of evaluation; the first `screening_questions` show which candidates are promising.

    `values`: of the unedited model, in the questions' own order.
    """

    batches: tuple[AnswerableBatch, ...]
    screening_questions: int
    values: Float64[np.ndarray, " pairs"]

    @classmethod
    def of(cls, questions: QuestionSet, purpose: Purpose, workers: Workers | None = None) -> "QuestionOrder":
        """Evaluates the unedited model once, and puts the hardest questions first. Raises NotFinite, OutOfMemory."""
        size, workers = _batch_size(questions, purpose), workers or Workers()
        key = journal_key("candidates", questions.digest, questions.metric, "unedited")
        entry = workers.remember(key, lambda: _evaluate_all(questions, purpose, size, workers))
        values, margins = (np.asarray(entry[name], dtype=np.float64) for name in ("values", "margins"))
        return cls(*_ordered(questions, margins, min(size, questions.model.batcher.sizes.get(purpose, size))), values)


def _batch_size(questions: QuestionSet, purpose: Purpose) -> int:
    pairs, batcher = questions.pairs, questions.model.batcher
    longest = max(questions.length(pair) for pair in range(pairs))
    size = batcher.size_for(longest, purpose)
    return min(size, max(SMALLEST_BATCH, math.ceil(pairs / FEWEST_BATCHES))) if batcher.is_automatic else size


def evaluate_batch(batch: AnswerableBatch) -> ValuesAndMargins:
    """Returns values and margins of a batch, as work for an engine."""
    return batch.evaluate()


def _evaluate_all(questions: QuestionSet, purpose: Purpose, size: int, workers: Workers) -> Entry:
    """Returns values and margins of the unedited model, in the questions' own order; a batch that memory cannot hold is halved."""
    values, margins = np.zeros(questions.pairs), np.zeros(questions.pairs)
    by_length = _longest_first(questions, range(questions.pairs))
    stage, done = "evaluating the unedited model", 0
    workers.progress(stage, 0, len(by_length))
    while done < len(by_length):
        parts = [by_length[start : start + size] for start in range(done, len(by_length), size)]
        try:
            with closing(workers.engine.map(evaluate_batch, map(questions.batch, parts))) as results:
                for part in parts:
                    values[part], margins[part] = next(results)
                    done += len(part)
                    workers.progress(stage, done, len(by_length))
        except OutOfMemory:
            if len(part) == 1:
                raise
            questions.model.batcher.sizes[purpose] = size = len(part) // 2
    return {"values": values, "margins": margins}


def _ordered(questions: QuestionSet, margins: Float64[np.ndarray, " pairs"], size: int) -> tuple[tuple[AnswerableBatch, ...], int]:
    """Returns batches, and how many questions come first that are spread over what the unedited model gets wrong.

    Those show best which candidates are promising, and cost nothing: no candidate can be abandoned before so many were missed.
    """
    by_margin = np.argsort(margins, kind="stable")
    wrong = len(by_margin) // 2 if questions.less_is_better else int((margins <= 0).sum())
    class_size = max(1, round(len(by_margin) / DIFFICULTY_CLASSES / size)) * size
    spread = np.unique(np.linspace(0, max(wrong, 1) - 1, min(class_size, max(wrong, 1))).round().astype(int))
    hardest = np.delete(by_margin, spread)
    classes = [by_margin[spread], *(hardest[start : start + class_size] for start in range(0, len(hardest), class_size))]
    batches: list[AnswerableBatch] = []
    for pairs in classes:
        ordered = _longest_first(questions, pairs.tolist())
        batches += [questions.batch(ordered[first : first + size]) for first in range(0, len(ordered), size)]
    return tuple(batches), len(spread)


def _longest_first(questions: QuestionSet, pairs: Sequence[int]) -> list[int]:
    return sorted(pairs, key=lambda pair: (-questions.length(pair), pair))
