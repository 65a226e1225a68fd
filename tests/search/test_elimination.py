"""Nobody who could have won is given up, and giving up saves questions (law 11)."""

import itertools
from collections import deque

import numpy as np
import pytest

from resect.core.execution import Workers
from resect.search.elimination import NO_THRESHOLD, GreedyComposition, PartialScore, Threshold, best_candidates, eliminate


class Contest:
    """A course over a matrix of values [candidates, questions], one question at a time.

    `ahead`: so many heats are taken before the first is answered, as an engine of several workers does. `asked`: who was asked, in order.
    """

    def __init__(self, values, sign=1.0, ceiling=1.0, ahead=0):
        self.values, self.sign, self.ceiling, self.ahead = values, sign, ceiling, ahead
        self.asked, self.kept = [], {}
        self.start = PartialScore(0, values.shape[1], 0.0, ceiling)

    def ask(self, heats):
        heats, waiting = iter(heats), deque()
        while True:
            waiting.extend(itertools.islice(heats, self.ahead + 1 - len(waiting)))
            if not waiting:
                return
            heat = waiting.popleft()
            yield self.trails(heat)

    def trails(self, heat):
        bar, found = heat.bar, []
        for candidate, tally in zip(heat.candidates, heat.tallies, strict=True):
            trail = []
            while not bar.stops(tally):
                value = self.sign * self.value(candidate, heat.kept, tally.asked)
                tally = PartialScore(tally.asked + 1, tally.of, tally.total + value, self.ceiling, tally.margin + value)
                trail.append(tally)
                self.asked.append(candidate)
            found.append(trail)
            if heat.then == "end" and bar.is_cleared(tally):
                break
            if heat.then == "raise" and tally.complete:
                bar = bar.raised(tally.total)
        return found

    def value(self, candidate, kept, question):
        return float(self.values[candidate][question] * ((1 + np.sin(sum(kept))) / 2 if kept else 1.0))

    def recalled(self, candidate, kept, tally):
        held = self.kept.get((candidate, kept))
        return held if held is not None and held.asked > tally.asked else tally

    def keep(self, candidate, kept, tally):
        self.kept[candidate, kept] = tally


def singles(count):
    return [[place] for place in range(count)]


def threes(count):
    return [list(range(first, min(count, first + 3))) for first in range(0, count, 3)]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["right or wrong", "loss"])
def test_the_race_ends_as_the_full_grid(seed, kind):
    random = np.random.default_rng(seed)
    share = random.uniform(0.2, 0.9, (12, 1))
    right = (random.random((12, 40)) < share).astype(float)
    values, sign, ceiling = (right, 1.0, 1.0) if kind == "right or wrong" else (random.exponential(1, (12, 40)) / share, -1.0, 0.0)
    totals = sign * values.sum(axis=1)
    best = float(np.median(totals))
    course = Contest(values, sign, ceiling)
    tallies = eliminate(course, singles(12), course.start, best, scout=5)
    highest = totals.max()
    assert best_candidates(tallies, best) == [place for place in range(12) if totals[place] == pytest.approx(highest, abs=1e-12)]
    for tally, total in zip(tallies, totals, strict=True):
        assert tally.reach >= total - 1e-9  # what it is said to reach is no less than what it would have come to
        assert tally.complete or tally.reach < highest
    assert len(course.asked) <= values.size
    assert len(course.asked) < values.size or kind == "loss"


def test_without_the_bound_everybody_is_asked_everything():
    course = Contest(np.zeros((3, 7)))
    tallies = eliminate(course, singles(3), course.start, 5.0, bound=False)
    assert [tally.complete for tally in tallies] == [True] * 3
    assert len(course.asked) == 21


def test_ties_with_the_best_are_asked_in_full_and_ties_with_no_edit_win_nothing():
    values = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])
    for best, won in ((1.0, [0, 1]), (2.0, [])):
        course = Contest(values)
        assert best_candidates(eliminate(course, singles(3), course.start, best), best) == won


def test_no_candidate_no_winner():
    course = Contest(np.zeros((1, 3)))
    assert eliminate(course, [], course.start, 0.0) == []
    assert best_candidates([], 0.0) == []


def test_progress_comes_to_its_end():
    told = []
    course = Contest(np.eye(6))
    eliminate(
        course,
        threes(6),
        course.start,
        0.5,
        scout=2,
        workers=Workers(progress=lambda stage, done, total: told.append((stage, done, total))),
    )
    stages = {stage for stage, _, _ in told}
    assert all((stage, 0, 6) in told and (stage, 6, 6) in told for stage in stages)
    assert not NO_THRESHOLD.stops(course.start)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("teams", [singles, threes])
@pytest.mark.parametrize("ahead", [1, 4, 100])
def test_who_asks_several_at_once_comes_to_the_same_tallies(seed, teams, ahead):
    random = np.random.default_rng(seed)
    values = (random.random((20, 40)) < random.uniform(0.2, 0.9, (20, 1))).astype(float)
    one, several = Contest(values), Contest(values, ahead=ahead)
    best = float(np.median(values.sum(axis=1)))
    assert eliminate(several, teams(20), several.start, best, scout=5) == eliminate(one, teams(20), one.start, best, scout=5)
    assert several.kept == one.kept
    assert set(several.asked) == set(one.asked)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ahead", [0, 1, 4, 100])
@pytest.mark.parametrize("rises", [True, False])
def test_a_climb_keeps_the_first_of_each_team_that_clears_the_bar(seed, ahead, rises):
    random = np.random.default_rng(seed)
    values = random.random((12, 10)) * random.uniform(0.5, 1.0, (12, 1))
    course, teams = Contest(values, ahead=ahead), threes(12)
    climb = GreedyComposition(course, teams.__getitem__, len(teams), course.start, Threshold(3.0, beaten=True), rises=rises)
    steps = list(climb.steps())
    kept, bar, wanted = (), 3.0, []
    for team in teams:
        asked = []
        for candidate in team:
            total = sum(course.value(candidate, kept, question) for question in range(10))
            asked.append((candidate, total > bar))
            if total > bar:
                kept, bar = (*kept, candidate), total if rises else bar
                break
        wanted.append(asked)
    assert [[(candidate, is_kept) for candidate, _, is_kept in found] for found in steps] == wanted
    assert tuple(climb.kept) == kept
    again = GreedyComposition(
        Contest(values, ahead=ahead), teams.__getitem__, len(teams), course.start, Threshold(3.0, beaten=True), rises=rises
    )
    again._course.kept = course.kept  # as after a kill: one by one, nobody is asked anew
    assert list(again.steps()) == steps
    assert ahead or not again._course.asked
