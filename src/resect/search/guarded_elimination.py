"""The best of many candidates among those that break no guard, each evaluated only as far as it can still win.

The result is that of the full grid: the highest total among the candidates that are accepted and better than no edit. Guards are checked
for candidates that are about to win, and for no others. Knows numbers only, no task and no model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from resect.core.execution import Workers

from .elimination import CandidateEvaluator, PartialScore, eliminate

Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class AcceptedBest:
    """The outcome: places among the candidates, group by group.

    Parameters
    ----------
    chosen : the best accepted candidate; None: none is better than no edit
    by_score : the best candidate, accepted or not
    scores : of all candidates; every one that reaches the total of the chosen one is complete
    """

    chosen: int | None
    by_score: int | None
    scores: list[PartialScore]


def best_accepted(
    evaluator: CandidateEvaluator[Candidate],
    groups: Sequence[Sequence[Candidate]],
    start: PartialScore,
    base: float,
    *,
    accepts: Callable[[Candidate], bool],
    order_ties: Callable[[Sequence[Candidate]], Sequence[int]],
    screening_questions: int = 0,
    bound: bool = True,
    workers: Workers | None = None,
) -> AcceptedBest:
    """Returns the accepted candidate of the highest total above that of no edit.

    Parameters
    ----------
    groups, start, screening_questions, bound, workers : see `eliminate`
    base : the total of no edit
    accepts : whether a candidate may win; called once at most for each
    order_ties : of candidates with equal totals their order, the best first; called for two or more
    """
    candidates = [candidate for group in groups for candidate in group]
    scores, refused, accepted = [start] * len(candidates), set[int](), set[int]()
    by_score: int | None = None
    chosen: int | None = None
    while True:
        left = [place for place in range(len(candidates)) if place not in refused]
        goal = base if chosen is None else scores[chosen].total
        found = eliminate(
            evaluator,
            _without(groups, refused),
            start,
            goal,
            screening_questions=screening_questions,
            bound=bound,
            workers=workers,
        )
        for place, score in zip(left, found, strict=True):
            scores[place] = score
        before, chosen = len(refused), None
        for place in _ranked(left, scores, base, lambda tied: order_ties([candidates[place] for place in tied])):
            by_score = place if by_score is None else by_score
            if place in accepted or accepts(candidates[place]):
                accepted.add(place)
                chosen = place
                break
            refused.add(place)
        if len(refused) == before:
            return AcceptedBest(chosen, by_score, scores)


def _without(groups: Sequence[Sequence[Candidate]], refused: set[int]) -> list[list[Candidate]]:
    """Returns the groups without the refused candidates."""
    left, place = list[list[Candidate]](), 0
    for group in groups:
        left.append([candidate for number, candidate in enumerate(group, start=place) if number not in refused])
        place += len(group)
    return left


def _ranked(
    places: Sequence[int], scores: Sequence[PartialScore], base: float, order_ties: Callable[[Sequence[int]], Sequence[int]]
) -> Iterator[int]:
    """Yields the complete candidates above the base, the highest total first; equal totals are ordered only when it is their turn."""
    tied: dict[float, list[int]] = {}
    for place in places:
        if scores[place].complete and scores[place].total > base:
            tied.setdefault(scores[place].total, []).append(place)
    for total in sorted(tied, reverse=True):
        equal = tied[total]
        yield from (equal[number] for number in order_ties(equal)) if len(equal) > 1 else equal
