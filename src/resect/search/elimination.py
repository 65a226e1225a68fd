"""Which of many candidates score best on the same questions, each evaluated only as far as it can still win.

The result is that of the full grid. A candidate is abandoned once even the best value at every remaining question would leave it below the
best total so far. The result does not depend on how many candidates are evaluated at once either: the score of one that was evaluated
further than necessary, because another's total was not known yet, is set back to where it would have stopped in sequence.

Knows numbers only, no task and no model.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from resect.core.execution import Workers

#: The most promising candidates, which are evaluated completely before the others, so that the best total is high early.
COMPLETED_FIRST = 8
Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class PartialScore:
    """The score of a candidate on the questions that it was evaluated on.

    Parameters
    ----------
    answered, questions : how many questions so far, and in all
    total : sum of their values; more is better
    ceiling : the most that one question can add
    margin : the sum of how confident the right answers were: orders candidates with equal totals, and decides nothing
    seconds : time spent
    """

    answered: int
    questions: int
    total: float
    ceiling: float
    margin: float = 0.0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every question is answered."""
        return self.answered == self.questions

    @property
    def reach(self) -> float:
        """The best total that is still possible: exact, since values that are added in one order never fall behind it."""
        return self.total + (self.questions - self.answered) * self.ceiling


@dataclass(frozen=True)
class Threshold:
    """The total that a candidate must reach.

    Parameters
    ----------
    total : the total to reach
    exceed : whether it must be exceeded
    most : at most so many questions, for now
    bound : whether a candidate that can no longer reach it is abandoned
    """

    total: float = -math.inf
    exceed: bool = False
    most: int | None = None
    bound: bool = True

    def stops(self, score: PartialScore) -> bool:
        """Returns whether a candidate with this score is evaluated no further."""
        if score.complete or (self.most is not None and score.answered >= self.most):
            return True
        return self.bound and self._below(score.reach)

    def is_met(self, score: PartialScore) -> bool:
        """Returns whether the score is complete and reaches the threshold."""
        return score.complete and not self._below(score.total)

    def raised(self, total: float) -> "Threshold":
        """Returns the threshold at this total, if that is higher."""
        return replace(self, total=max(self.total, total))

    def stopping_point(self, score: PartialScore, history: Sequence[PartialScore]) -> PartialScore:
        """Returns the first of the scores, the one before and then those of the history, at which the candidate stops."""
        return next((point for point in (score, *history) if self.stops(point)), history[-1] if history else score)

    def _below(self, total: float) -> bool:
        return total < self.total or (self.exceed and total == self.total)


#: The threshold of a candidate that is evaluated completely.
NO_THRESHOLD = Threshold(bound=False)


@dataclass(frozen=True)
class CandidateBatch(Generic[Candidate]):
    """Candidates that one process evaluates one after the other, since they have much in common.

    Parameters
    ----------
    candidates, scores : as many of each; the scores so far
    threshold : as far as it is known; it may be too low, never too high
    then : what a candidate that meets the threshold changes for those after it: nothing ("go on"), it raises it, or it ends the batch
    kept : candidates that are combined with each of these
    """

    candidates: tuple[Candidate, ...]
    scores: tuple[PartialScore, ...]
    threshold: Threshold
    then: Literal["go on", "raise", "end"] = "go on"
    kept: tuple[Candidate, ...] = ()


#: For each evaluated candidate of a batch its scores, one after each batch of questions.
ScoreHistories = Sequence[Sequence[PartialScore]]


class CandidateEvaluator(Protocol[Candidate]):
    """Evaluates candidates, all on the same questions in one fixed order, and stores their scores."""

    def evaluate(self, batches: Iterable[CandidateBatch[Candidate]]) -> Generator[ScoreHistories, None, None]:
        """Yields the histories of each batch, in order. Batches are taken as they are needed, some of them ahead."""

    def stored_score(self, candidate: Candidate, kept: tuple[Candidate, ...], score: PartialScore) -> PartialScore:
        """Returns the stored score if it is of more questions than this one, else this one."""

    def store_score(self, candidate: Candidate, kept: tuple[Candidate, ...], score: PartialScore) -> None:
        """Stores a score: after a kill these questions are not evaluated again."""


def eliminate(
    evaluator: CandidateEvaluator[Candidate],
    groups: Sequence[Sequence[Candidate]],
    start: PartialScore,
    best: float,
    *,
    screening_questions: int = 0,
    bound: bool = True,
    workers: Workers | None = None,
) -> list[PartialScore]:
    """Returns the scores of all candidates, group by group; every one that reaches the highest total is complete.

    All candidates are evaluated on the first `screening_questions`, then the best of them completely, then the others in their order, as
    far as they can still win.

    Parameters
    ----------
    groups : candidates that have much in common; neighbours of one group are evaluated in one batch
    start : the score before any question
    best : the total to reach: that of no edit at all
    screening_questions : how many of the first questions; best such that most candidates get them wrong and a good one gets them right
    bound : whether candidates are abandoned; else all are evaluated completely
    workers : only their progress is used
    """
    run = _Elimination(evaluator, groups, start, best, workers or Workers())
    count = len(run.scores)
    if not bound:
        run.evaluate(range(count), "evaluating every candidate completely", "go on", bound=False)
        return run.scores
    run.evaluate(range(count), "evaluating every candidate on a few questions", "go on", most=screening_questions)
    promising = sorted(range(count), key=lambda place: (*_promise(run.scores[place]), place))[:COMPLETED_FIRST]
    order = [*sorted(promising), *(place for place in range(count) if place not in promising)]
    run.evaluate(order, "evaluating candidates that can still win", "raise")
    return run.scores


class _Elimination(Generic[Candidate]):
    """The scores of all candidates so far, and the best complete total."""

    def __init__(
        self,
        evaluator: CandidateEvaluator[Candidate],
        groups: Sequence[Sequence[Candidate]],
        start: PartialScore,
        best: float,
        workers: Workers,
    ) -> None:
        self._evaluator, self._progress = evaluator, workers.progress
        self._candidates = [candidate for group in groups for candidate in group]
        self._group_of = [number for number, group in enumerate(groups) for _ in group]
        self.scores, self._best = [start] * len(self._candidates), best

    def evaluate(self, order: Sequence[int], stage: str, then: Literal["go on", "raise"], **threshold: Any) -> None:
        """Evaluates candidates in this order, as far as the threshold lets them."""
        batches = [tuple(places) for _, places in itertools.groupby(order, key=self._group_of.__getitem__)]
        done = 0
        self._progress(stage, 0, len(order))
        waiting = (self._batch(places, then, Threshold(self._best, **threshold)) for places in batches)
        with closing(self._evaluator.evaluate(waiting)) as results:
            for places, histories in zip(batches, results, strict=True):
                for place, history in zip(places, histories, strict=True):
                    self._settle(place, history, Threshold(self._best, **threshold))
                    if then == "raise" and self.scores[place].complete:
                        self._best = max(self._best, self.scores[place].total)
                    done += 1
                    self._progress(stage, done, len(order))

    def _batch(self, places: tuple[int, ...], then: Literal["go on", "raise"], threshold: Threshold) -> CandidateBatch[Candidate]:
        candidates = tuple(self._candidates[place] for place in places)
        for place, candidate in zip(places, candidates, strict=True):
            self.scores[place] = self._evaluator.stored_score(candidate, (), self.scores[place])
        return CandidateBatch(candidates, tuple(self.scores[place] for place in places), threshold, then)

    def _settle(self, place: int, history: Sequence[PartialScore], threshold: Threshold) -> None:
        before = self.scores[place]
        self.scores[place] = threshold.stopping_point(before, history)
        if self.scores[place] != before:
            self._evaluator.store_score(self._candidates[place], (), self.scores[place])


class CompositionStep(NamedTuple, Generic[Candidate]):
    """An evaluated candidate of a composition, its score, whether it is kept, and whether it met the threshold and was refused."""

    candidate: Candidate
    score: PartialScore
    is_kept: bool
    is_refused: bool = False


class GreedyComposition(Generic[Candidate]):
    """One candidate at most of each group, in order: the first that meets the threshold in combination with those kept before.

    The steps do not depend on how many batches an engine takes ahead: these assume the candidates that are kept when they are sent, and
    are sent again where one more is kept before their turn.

    Parameters
    ----------
    group : returns the candidates of a group by its number, in the order in which they are evaluated
    count : the number of groups
    start : the score before any question
    raises_threshold : whether each kept candidate's total is the threshold for those after it
    accepts : whether a composition may keep these candidates, all of them in order, the new one last; asked only of one that meets the
        threshold, in this process, in the order of the steps. After a refusal the rest of the group is evaluated. Default: it may
    """

    def __init__(
        self,
        evaluator: CandidateEvaluator[Candidate],
        group: Callable[[int], Sequence[Candidate]],
        count: int,
        start: PartialScore,
        threshold: Threshold,
        *,
        raises_threshold: bool,
        accepts: Callable[[tuple[Candidate, ...]], bool] | None = None,
    ) -> None:
        self._evaluator, self._group, self._count, self._start, self._raises = evaluator, group, count, start, raises_threshold
        self._accepts = accepts or (lambda candidates: True)
        self.threshold, self.kept = threshold, list[Candidate]()
        self._next, self._done = 0, 0  # the group that is sent next; the first one that is not settled
        self._rest: tuple[Candidate, ...] = ()  # of the first group that is not settled: what is to be sent after a refusal
        self._steps: list[CompositionStep[Candidate]] = []  # of that group, before the refusal
        self._sent: deque[tuple[int, CandidateBatch[Candidate]]] = deque()
        self._results: dict[int, tuple[CandidateBatch[Candidate], ScoreHistories]] = {}  # by group, of those that wait for their turn

    def steps(self) -> Iterator[list[CompositionStep[Candidate]]]:
        """Yields for each group, in order, its evaluated candidates."""
        while self._done < self._count:
            with closing(self._evaluator.evaluate(self._batches())) as results:
                for histories in results:
                    group, batch = self._sent.popleft()
                    if len(batch.kept) == len(self.kept):  # else it was sent before another candidate was kept, and is sent again
                        self._results[group] = batch, histories
                    while self._done in self._results:
                        if self._settle(*self._results.pop(self._done)):
                            steps, self._steps = self._steps, []
                            self._done += 1
                            yield steps

    def _batches(self) -> Iterator[CandidateBatch[Candidate]]:
        while self._rest or self._next < self._count:
            group, candidates = (self._done, self._rest) if self._rest else (self._next, tuple(self._group(self._next)))
            self._next, self._rest = max(self._next, group + 1), ()
            kept = tuple(self.kept)
            scores = tuple(self._evaluator.stored_score(candidate, kept, self._start) for candidate in candidates)
            batch = CandidateBatch(candidates, scores, self.threshold, "end", kept)
            self._sent.append((group, batch))
            yield batch

    def _settle(self, batch: CandidateBatch[Candidate], histories: ScoreHistories) -> bool:
        """Add the steps of a batch of the first group that is not settled, and return whether that settles the group."""
        # Candidates after one that meets the threshold have no history.
        for candidate, before, history in zip(batch.candidates, batch.scores, histories, strict=False):
            score = self.threshold.stopping_point(before, history)
            if score != before:
                self._evaluator.store_score(candidate, batch.kept, score)
            is_met = self.threshold.is_met(score)
            is_kept = is_met and self._accepts((*self.kept, candidate))
            self._steps.append(CompositionStep(candidate, score, is_kept, is_met and not is_kept))
            if is_kept:
                self.kept.append(candidate)
                self.threshold = self.threshold.raised(score.total) if self._raises else self.threshold
                self._next = self._done + 1
                self._results.clear()
                return True
        self._rest = batch.candidates[len(histories) :]
        return not self._rest


def _promise(score: PartialScore) -> tuple[float, float]:
    """Returns a sort key, less is more promising: by the total per question, and among equals by the margin."""
    return -score.total / max(1, score.answered), -score.margin / max(1, score.answered)
