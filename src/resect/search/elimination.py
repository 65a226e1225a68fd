"""Races: which of many candidates do best at the same questions, each asked only as far as it can still win.

Knows numbers only, no task and no model. The outcome is that of asking everybody everything: a candidate is given up once not even
the best value at every question that is left would bring it up to the best total so far. Nor does it depend on who asks how many at once:
one that was asked further than it had to be, since another's total was not known yet, is taken back to where one by one it had stopped.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from resect.core.execution import Workers

STAGE = "asking who can still win"
#: How many of the most promising candidates are asked in full before the others, so that the best total is high early.
FULLY_SCORED_FIRST = 8
Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class PartialScore:
    """How far a candidate was asked.

    Parameters
    ----------
    asked, of : questions so far, and in all
    total : sum of their values; more is better
    ceiling : the most that one question can add
    margin : how sure the answers were right, in sum: tells equals apart, and decides nothing
    seconds : spent
    """

    asked: int
    of: int
    total: float
    ceiling: float
    margin: float = 0.0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether everything was asked."""
        return self.asked == self.of

    @property
    def reach(self) -> float:
        """The best total that is still possible: exact, since values that are added in one order never fall behind it."""
        return self.total + (self.of - self.asked) * self.ceiling


@dataclass(frozen=True)
class Threshold:
    """What a candidate must come up to.

    Parameters
    ----------
    total : to be equalled
    beaten : whether it must be more than equalled
    most : questions that are asked at most, for now
    bound : whether one that cannot come up to it any more is given up
    """

    total: float = -math.inf
    beaten: bool = False
    most: int | None = None
    bound: bool = True

    def stops(self, tally: PartialScore) -> bool:
        """Whether there is nothing more to ask."""
        if tally.complete or (self.most is not None and tally.asked >= self.most):
            return True
        return self.bound and self._below(tally.reach)

    def is_cleared(self, tally: PartialScore) -> bool:
        """Whether everything was asked, and the total will do."""
        return tally.complete and not self._below(tally.total)

    def raised(self, total: float) -> "Threshold":
        """The bar at this total, if that is higher."""
        return replace(self, total=max(self.total, total))

    def settled(self, tally: PartialScore, trail: Sequence[PartialScore]) -> PartialScore:
        """How far a candidate is asked that is asked no further than it must: a tally of its trail, or where it stood before."""
        return next((each for each in (tally, *trail) if self.stops(each)), trail[-1] if trail else tally)

    def _below(self, total: float) -> bool:
        return total < self.total or (self.beaten and total == self.total)


#: The bar for one that is asked everything.
NO_THRESHOLD = Threshold(bound=False)


@dataclass(frozen=True)
class CandidateBatch(Generic[Candidate]):
    """Candidates that are asked one after the other by whoever takes them, since they have much in common.

    Parameters
    ----------
    candidates, tallies : as many of each; how far each was asked before
    bar : as it is known by now; it may lag behind, never be ahead
    then : who clears the bar changes nothing for those after it, raises it, or ends the heat
    kept : candidates that stay beside each of these
    """

    candidates: tuple[Candidate, ...]
    tallies: tuple[PartialScore, ...]
    bar: Threshold
    then: Literal["go on", "raise", "end"] = "go on"
    kept: tuple[Candidate, ...] = ()


#: For each candidate of a heat that was asked, its tallies, one after each batch of questions.
ScoreHistories = Sequence[Sequence[PartialScore]]


class CandidateEvaluator(Protocol[Candidate]):
    """Where candidates are asked: all the same questions, in one fixed order, each beside those that are kept."""

    def ask(self, heats: Iterable[CandidateBatch[Candidate]]) -> Generator[ScoreHistories, None, None]:
        """Yield the trails of each heat, in order. Heats are taken as they are needed, some of them ahead."""

    def recalled(self, candidate: Candidate, kept: tuple[Candidate, ...], tally: PartialScore) -> PartialScore:
        """Its tally as it was kept, if it was asked further than this one."""

    def keep(self, candidate: Candidate, kept: tuple[Candidate, ...], tally: PartialScore) -> None:
        """Keep a tally: after a kill it is not asked so far again."""


def eliminate(
    course: CandidateEvaluator[Candidate],
    teams: Sequence[Sequence[Candidate]],
    start: PartialScore,
    best: float,
    *,
    scout: int = 0,
    bound: bool = True,
    workers: Workers | None = None,
) -> list[PartialScore]:
    """The tallies of all candidates, team by team; every one that reaches the highest total is complete.

    First all are asked the first `scout` questions, then those that did best there in full, then the rest in their order (a climb
    through the layers, where that is cheap), as far as they can still win.

    Parameters
    ----------
    teams : candidates that have much in common; those of one team that stand next to each other are asked in one heat
    start : of a candidate that was asked nothing
    best : the total to beat or to equal: that of no edit at all
    scout : how many of the first questions; best such as most candidates get wrong and a good one gets right
    bound : whether anybody is given up; else all are asked everything
    """
    running = _Elimination(course, teams, start, best, workers or Workers())
    count = len(running.tallies)
    if not bound:
        running.run(range(count), "asking every candidate everything", "go on", bound=False)
        return running.tallies
    running.run(range(count), "asking every candidate a few questions", "go on", most=scout)
    promising = sorted(range(count), key=lambda place: (*_promise(running.tallies[place]), place))[:FULLY_SCORED_FIRST]
    running.run([*sorted(promising), *(place for place in range(count) if place not in promising)], STAGE, "raise")
    return running.tallies


class _Elimination(Generic[Candidate]):
    """A race under way: how far everybody was asked, and the best total of those who were asked everything."""

    def __init__(
        self,
        course: CandidateEvaluator[Candidate],
        teams: Sequence[Sequence[Candidate]],
        start: PartialScore,
        best: float,
        workers: Workers,
    ) -> None:
        self._course, self._progress = course, workers.progress
        self._candidates = [candidate for team in teams for candidate in team]
        self._team_of = [number for number, team in enumerate(teams) for _ in team]
        self.tallies, self._best = [start] * len(self._candidates), best

    def run(self, order: Sequence[int], stage: str, then: Literal["go on", "raise"], **bar: Any) -> None:
        """Ask candidates in this order, as far as the bar lets them."""
        heats = [tuple(places) for _, places in itertools.groupby(order, key=self._team_of.__getitem__)]
        done = 0
        self._progress(stage, 0, len(order))
        with closing(self._course.ask(self._heat(places, then, Threshold(self._best, **bar)) for places in heats)) as found:
            for places, trails in zip(heats, found, strict=True):
                for place, trail in zip(places, trails, strict=True):
                    self._settle(place, trail, Threshold(self._best, **bar))
                    if then == "raise" and self.tallies[place].complete:
                        self._best = max(self._best, self.tallies[place].total)
                    done += 1
                    self._progress(stage, done, len(order))

    def _heat(self, places: tuple[int, ...], then: Literal["go on", "raise"], bar: Threshold) -> CandidateBatch[Candidate]:
        for place in places:
            self.tallies[place] = self._course.recalled(self._candidates[place], (), self.tallies[place])
        return CandidateBatch(tuple(self._candidates[place] for place in places), tuple(self.tallies[place] for place in places), bar, then)

    def _settle(self, place: int, trail: Sequence[PartialScore], bar: Threshold) -> None:
        before = self.tallies[place]
        self.tallies[place] = bar.settled(before, trail)
        if self.tallies[place] != before:
            self._course.keep(self._candidates[place], (), self.tallies[place])


class CompositionStep(NamedTuple, Generic[Candidate]):
    """A candidate of a climb that was asked: how far, and whether it is kept."""

    candidate: Candidate
    tally: PartialScore
    is_kept: bool


class GreedyComposition(Generic[Candidate]):
    """From team to team: of each, the first candidate is kept that clears the bar beside those that were kept before.

    Parameters
    ----------
    team : gives the candidates of a team by its number, in the order in which they are asked
    teams : how many
    rises : whether each that is kept sets the bar for those after it
    """

    def __init__(
        self,
        course: CandidateEvaluator[Candidate],
        team: Callable[[int], Sequence[Candidate]],
        teams: int,
        start: PartialScore,
        bar: Threshold,
        *,
        rises: bool,
    ) -> None:
        self._course, self._team, self._teams, self._start, self._rises = course, team, teams, start, rises
        self.bar, self.kept = bar, list[Candidate]()
        self._next = 0  # the team that is sent next
        self._sent: deque[tuple[int, CandidateBatch[Candidate]]] = deque()

    def steps(self) -> Iterator[list[CompositionStep[Candidate]]]:
        """For each team, in order, its candidates that were asked."""
        done = 0
        while done < self._teams:
            self._next = done
            self._sent.clear()
            with closing(self._course.ask(self._heats())) as found:
                for trails in found:
                    team, heat = self._sent.popleft()
                    if len(heat.kept) == len(self.kept):  # else it was sent before somebody was kept, and is sent again
                        done = team + 1
                        yield self._settled(team, heat, trails)

    def _heats(self) -> Iterator[CandidateBatch[Candidate]]:
        while self._next < self._teams:
            team, kept = self._next, tuple(self.kept)
            self._next += 1
            candidates = tuple(self._team(team))
            tallies = tuple(self._course.recalled(candidate, kept, self._start) for candidate in candidates)
            heat = CandidateBatch(candidates, tallies, self.bar, "end", kept)
            self._sent.append((team, heat))
            yield heat

    def _settled(self, team: int, heat: CandidateBatch[Candidate], trails: ScoreHistories) -> list[CompositionStep[Candidate]]:
        steps = []
        for candidate, before, trail in zip(
            heat.candidates, heat.tallies, trails, strict=False
        ):  # who comes after one that is kept is not asked
            tally = self.bar.settled(before, trail)
            if tally != before:
                self._course.keep(candidate, heat.kept, tally)
            steps.append(CompositionStep(candidate, tally, self.bar.is_cleared(tally)))
        if steps and steps[-1].is_kept:
            self.kept.append(steps[-1].candidate)
            self.bar = self.bar.raised(steps[-1].tally.total) if self._rises else self.bar
            self._next = team + 1
        return steps


def _promise(tally: PartialScore) -> tuple[float, float]:
    """Less is more promising: by what was right so far, and among equals by how surely."""
    return -tally.total / max(1, tally.asked), -tally.margin / max(1, tally.asked)


def best_candidates(tallies: Sequence[PartialScore], best: float) -> list[int]:
    """The candidates whose total is the highest and above `best`; none where nobody's is."""
    highest = max((tally.total for tally in tallies if tally.complete), default=best)
    return [place for place, tally in enumerate(tallies) if tally.complete and tally.total == highest > best]
