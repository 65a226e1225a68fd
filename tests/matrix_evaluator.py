"""A candidate evaluator whose values are a matrix, for tests of searches."""

import itertools
from collections import deque
from collections.abc import Sequence

import numpy as np

from resect.search.elimination import PartialScore


class MatrixEvaluator:
    """Evaluates candidates by a matrix of values [candidates, questions], one question at a time.

    `ahead`: so many batches are taken before the first is finished, as an engine of several workers does. `evaluated`: candidates.
    """

    def __init__(self, values, sign=1.0, ceiling=1.0, ahead=0):
        self.values, self.sign, self.ceiling, self.ahead = values, sign, ceiling, ahead
        self.evaluated, self.stored = [], {}
        self.start = PartialScore(0, values.shape[1], 0.0, ceiling)

    def evaluate(self, batches):
        batches, waiting = iter(batches), deque()
        while True:
            waiting.extend(itertools.islice(batches, self.ahead + 1 - len(waiting)))
            if not waiting:
                return
            batch = waiting.popleft()
            yield self.histories(batch)

    def histories(self, batch):
        threshold, histories = batch.threshold, []
        for candidate, score in zip(batch.candidates, batch.scores, strict=True):
            history = []
            while not threshold.stops(score):
                value = self.sign * self.value(candidate, batch.kept, score.answered)
                score = PartialScore(score.answered + 1, score.questions, score.total + value, self.ceiling, score.margin + value)
                history.append(score)
                self.evaluated.append(candidate)
            histories.append(history)
            if batch.then == "end" and threshold.is_met(score):
                break
            if batch.then == "raise" and score.complete:
                threshold = threshold.raised(score.total)
        return histories

    def value(self, candidate, kept, question):
        return float(self.values[candidate][question] * ((1 + np.sin(sum(kept))) / 2 if kept else 1.0))

    def stored_score(self, candidate, kept, score):
        stored = self.stored.get((candidate, kept))
        return stored if stored is not None and stored.answered > score.answered else score

    def store_score(self, candidate, kept, score):
        self.stored[candidate, kept] = score


def singles(count):
    return [[place] for place in range(count)]


def threes(count):
    return [list(range(first, min(count, first + 3))) for first in range(0, count, 3)]


def best_candidates(scores: Sequence[PartialScore], best: float) -> list[int]:
    """Returns the places of the candidates whose total is the highest and above `best`; empty where no total is."""
    highest = max((score.total for score in scores if score.complete), default=best)
    return [place for place, score in enumerate(scores) if score.complete and score.total == highest > best]
