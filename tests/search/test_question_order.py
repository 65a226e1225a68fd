"""Every question comes once, hard ones early, and a batch that does not fit into memory is made smaller."""

import dataclasses

import numpy as np
import pytest

import pico
from resect.core.errors import OutOfMemory
from resect.core.execution import MemoryJournal, Workers
from resect.models.language_model import LanguageModel
from resect.search.question_order import QuestionOrder


@dataclasses.dataclass
class Batch:
    pairs: tuple
    sure: np.ndarray
    most: int

    def evaluate(self):
        if len(self.pairs) > self.most:
            raise OutOfMemory("too many")
        return (self.sure[list(self.pairs)] > 0).astype(float), self.sure[list(self.pairs)]


@dataclasses.dataclass
class Known:
    """Questions of known margins; their length is their number."""

    sure: np.ndarray
    model: LanguageModel
    most: int = 1000
    metric: str = "accuracy"
    less_is_better: bool = False
    digest: str = "x"

    @property
    def pairs(self):
        return len(self.sure)

    def length(self, pair):
        return pair % 7 + 1

    def batch(self, pairs):
        return Batch(tuple(pairs), self.sure, self.most)


def order_of(sure, size=4, most=1000, workers=None):
    questions = Known(sure, LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"), batch_size=size), most)
    return QuestionOrder.of(questions, "answers", workers), questions


@pytest.mark.parametrize("count", [1, 3, 8, 100])
def test_every_question_comes_once(count):
    found, _ = order_of(np.random.default_rng(count).normal(size=count))
    assert sorted(pair for batch in found.batches for pair in batch.pairs) == list(range(count))
    assert max(len(batch.pairs) for batch in found.batches) <= 4
    assert 1 <= found.screening_questions <= count


def test_the_first_are_spread_over_what_is_wrong_and_then_the_hardest_come():
    sure = np.random.default_rng(0).normal(size=200)
    found, _ = order_of(sure)
    order = [pair for batch in found.batches for pair in batch.pairs]
    first, rest = order[: found.screening_questions], order[found.screening_questions :]
    wrong = sure[sure <= 0]
    assert sure[first].max() <= 0
    assert abs(sure[first].mean() - wrong.mean()) < 0.1
    assert {sure[first].min(), sure[first].max()} == {wrong.min(), wrong.max()}
    early, late = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    assert sure[early].mean() < sure[late].mean() - 1


def test_where_nothing_is_wrong_every_question_comes_too():
    found, _ = order_of(np.arange(1.0, 40.0))
    assert sorted(pair for batch in found.batches for pair in batch.pairs) == list(range(39))


def test_memory_that_runs_out_makes_batches_smaller():
    found, questions = order_of(np.arange(20.0), size=16, most=5)
    assert max(len(batch.pairs) for batch in found.batches) <= 5
    assert questions.model.batcher.sizes["answers"] <= 5


def test_one_that_does_not_fit_is_an_error():
    with pytest.raises(OutOfMemory):
        order_of(np.arange(5.0), most=0)


def test_margins_are_recalled():
    journal = MemoryJournal()
    first, _ = order_of(np.arange(30.0), workers=Workers(journal=journal))
    again, _ = order_of(np.arange(30.0), most=0, workers=Workers(journal=journal))  # nothing is evaluated
    assert [batch.pairs for batch in first.batches] == [batch.pairs for batch in again.batches]
