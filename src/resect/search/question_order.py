"""A line-up: in which order and in which batches questions are asked again and again, so that a hopeless candidate shows early.

Some questions come first that are spread over what the unedited model gets wrong, then the hardest. Knows questions and how sure a model is
of them; knows no edit.
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

#: An automatic batch size leaves at least so many bundles, so that a hopeless candidate is given up early, and no smaller ones than this.
PARTS, LEAST_BUNDLE = 16, 8
#: How many classes of difficulty there are; within one, questions of like length stand together.
CLASSES = 6
#: Values of some questions, and how sure the model is to be right.
ValuesAndMargins = tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]


class AnswerableBatch(Protocol):
    """Questions that are asked at once, in the same forward calls each time."""

    @property
    def pairs(self) -> tuple[int, ...]:
        """Which ones, in the order of the values."""

    def ask(self) -> ValuesAndMargins:
        """Their values and margins, with the model as it is now. Raises NotFinite, OutOfMemory."""


class QuestionSet(Protocol):
    """What can be swept over: `Questions`, or passages of plain text."""

    @property
    def model(self) -> LanguageModel:
        """Who is asked."""

    @property
    def metric(self) -> str:
        """What a value is."""

    @property
    def less_is_better(self) -> bool:
        """Whether a smaller value is the better one."""

    @property
    def best_value(self) -> float | None:
        """The best value of one question."""

    @property
    def digest(self) -> str:
        """What the answers depend on, apart from the model; answers that are asked alike may share it."""

    @property
    def pairs(self) -> int:
        """How many questions."""

    @property
    def replayable(self) -> bool:
        """Whether they are asked in a fixed sequence of forward calls."""

    def length(self, pair: int) -> int:
        """Tokens of a question."""

    def bundle(self, pairs: Sequence[int]) -> AnswerableBatch:
        """Questions to be asked in one batch."""


@dataclass(frozen=True)
class QuestionOrder:
    """Batches in the order in which they are asked; the first `scout` questions tell who is promising.

    `values`: of the unedited model, in the questions' own order.
    """

    batches: tuple[AnswerableBatch, ...]
    scout: int
    values: Float64[np.ndarray, " pairs"]

    @classmethod
    def of(cls, asked: QuestionSet, purpose: Purpose, workers: Workers | None = None) -> "QuestionOrder":
        """Ask the model as it is, once, and put the hardest to the front. Raises NotFinite, OutOfMemory."""
        size = _batch_size(asked, purpose)
        values, margins = _asked_once(asked, purpose, size, workers or Workers())
        return cls(*_in_order(asked, margins, min(size, asked.model.batches.sizes.get(purpose, size))), values)


def _batch_size(asked: QuestionSet, purpose: Purpose) -> int:
    pairs, batches = asked.pairs, asked.model.batches
    longest = max(asked.length(pair) for pair in range(pairs))
    size = batches.size(longest, purpose)
    return min(size, max(LEAST_BUNDLE, math.ceil(pairs / PARTS))) if batches.is_automatic else size


def answers_of(batch: AnswerableBatch) -> ValuesAndMargins:
    """What a batch is answered with, as work for an engine."""
    return batch.ask()


def _asked_once(asked: QuestionSet, purpose: Purpose, size: int, workers: Workers) -> ValuesAndMargins:
    """Values and margins of the unedited model, in the questions' own order."""
    key = journal_key("sweep", asked.digest, asked.metric, "unedited")
    entry = workers.remember(key, lambda: _ask_all(asked, purpose, size, workers))
    return np.asarray(entry["values"], dtype=np.float64), np.asarray(entry["margins"], dtype=np.float64)


def _ask_all(asked: QuestionSet, purpose: Purpose, size: int, workers: Workers) -> Entry:
    values, margins = np.zeros(asked.pairs), np.zeros(asked.pairs)
    by_length = sorted(range(asked.pairs), key=lambda pair: (-asked.length(pair), pair))
    stage, done = "asking the model as it is", 0
    workers.progress(stage, 0, len(by_length))
    while done < len(by_length):
        parts = [by_length[start : start + size] for start in range(done, len(by_length), size)]
        try:
            with closing(workers.engine.map(answers_of, map(asked.bundle, parts))) as found:
                for part in parts:
                    values[part], margins[part] = next(found)
                    done += len(part)
                    workers.progress(stage, done, len(by_length))
        except OutOfMemory:
            if len(part) == 1:
                raise
            asked.model.batches.sizes[purpose] = size = len(part) // 2
    return {"values": values, "margins": margins}


def _in_order(asked: QuestionSet, margins: Float64[np.ndarray, " pairs"], size: int) -> tuple[tuple[AnswerableBatch, ...], int]:
    """Batches, and how many questions stand first that are spread over what the unedited model gets wrong.

    Those tell best who is promising, and cost nothing: nobody can be given up before so much was missed. Then come the hardest.
    """
    by_margin = np.argsort(margins, kind="stable")
    wrong = len(by_margin) // 2 if asked.less_is_better else int((margins <= 0).sum())
    class_size = max(1, round(len(by_margin) / CLASSES / size)) * size
    spread = np.unique(np.linspace(0, max(wrong, 1) - 1, min(class_size, max(wrong, 1))).round().astype(int))
    hardest = np.delete(by_margin, spread)
    classes = [by_margin[spread], *(hardest[start : start + class_size] for start in range(0, len(hardest), class_size))]
    batches: list[AnswerableBatch] = []
    for pairs in classes:  # of like difficulty; like lengths together
        like = sorted(pairs.tolist(), key=lambda pair: (-asked.length(pair), pair))
        batches += [asked.bundle(like[first : first + size]) for first in range(0, len(like), size)]
    return tuple(batches), len(spread)
