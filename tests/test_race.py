"""Nobody who could have won is given up, and giving up saves questions (law 11)."""

import numpy as np
import pytest

from resect.race import Tally, never, race, winners


def contest(values, sign=1.0, ceiling=1.0):
    """An `ask` over a matrix of values [candidates, questions], one question at a time, and how many were asked."""
    asked = []

    def ask(place, tally, enough):
        while not (tally.complete or enough(tally)):
            value = sign * values[place][tally.asked]
            tally = Tally(tally.asked + 1, tally.of, tally.total + value, ceiling, tally.margin + value)
            asked.append(place)
        return tally

    return ask, Tally(0, values.shape[1], 0.0, ceiling), asked


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["right or wrong", "loss"])
def test_the_race_ends_as_the_full_grid(seed, kind):
    random = np.random.default_rng(seed)
    share = random.uniform(0.2, 0.9, (12, 1))
    right = (random.random((12, 40)) < share).astype(float)
    values, sign, ceiling = (right, 1.0, 1.0) if kind == "right or wrong" else (random.exponential(1, (12, 40)) / share, -1.0, 0.0)
    totals = sign * values.sum(axis=1)
    best = float(np.median(totals))
    ask, start, asked = contest(values, sign, ceiling)
    tallies = race(ask, 12, start, best, scout=5)
    highest = totals.max()
    assert winners(tallies, best) == [place for place in range(12) if totals[place] == pytest.approx(highest, abs=1e-12)]
    for tally, total in zip(tallies, totals, strict=True):
        assert tally.reach >= total - 1e-9  # what it is said to reach is no less than what it would have come to
        assert tally.complete or tally.reach < highest
    assert len(asked) <= values.size
    assert len(asked) < values.size or kind == "loss"


def test_without_the_bound_everybody_is_asked_everything():
    ask, start, asked = contest(np.zeros((3, 7)))
    tallies = race(ask, 3, start, 5.0, bound=False)
    assert [tally.complete for tally in tallies] == [True] * 3
    assert len(asked) == 21


def test_ties_with_the_best_are_asked_in_full_and_ties_with_no_edit_win_nothing():
    values = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])
    ask, start, _ = contest(values)
    assert winners(race(ask, 3, start, 1.0), 1.0) == [0, 1]
    ask, start, _ = contest(values)
    assert winners(race(ask, 3, start, 2.0), 2.0) == []


def test_no_candidate_no_winner():
    ask, start, _ = contest(np.zeros((1, 3)))
    assert race(ask, 0, start, 0.0) == []
    assert winners([], 0.0) == []


def test_progress_comes_to_its_end():
    told = []
    ask, start, _ = contest(np.eye(6))
    race(ask, 6, start, 0.5, scout=2, progress=lambda stage, done, total: told.append((stage, done, total)))
    stages = {stage for stage, _, _ in told}
    assert all((stage, 0, 6) in told and (stage, 6, 6) in told for stage in stages)
    assert not never(start)
