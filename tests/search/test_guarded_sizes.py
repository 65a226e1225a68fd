"""A guarded choice of a size is the best accepted size; without guards it is the choice without guards."""

import numpy as np
import pytest

from resect.search.guarded_sizes import choose_guarded_size
from resect.search.size_search import best, choose_size


@pytest.mark.parametrize("seed", range(60))
def test_of_a_grid_the_choice_is_that_of_brute_force(seed):
    random = np.random.default_rng(seed)
    scores = random.integers(0, 12, 25) / 12
    accepted = random.random(25) < random.choice([0.0, 0.2, 0.7])
    accepted[0] = True
    checked = []
    found = choose_guarded_size(
        lambda size: float(scores[size]), 24, lambda size: bool(accepted[size]) and not checked.append(size), best, "grid"
    )
    expected = max(np.flatnonzero(accepted), key=lambda size: (scores[size], -size))
    assert found.chosen.size == expected
    assert found.by_score.size == int(np.argmax(scores))
    assert len(checked) == len(set(checked))
    assert {trial.size: trial.score for trial in found.trials} == {size: scores[size] for size in range(25)}


@pytest.mark.parametrize("choose", ["golden", "grid", "first-drop"])
def test_a_choice_that_breaks_no_guard_stands_as_it_was(choose):
    score = lambda size: -abs(size - 30) / 30.0
    plain = choose_size(score, 100, choose)
    found = choose_guarded_size(score, 100, lambda size: True, best, choose)
    assert [(trial.size, trial.score) for trial in found.trials] == [(trial.size, trial.score) for trial in plain]
    assert found.chosen is found.by_score


@pytest.mark.parametrize("choose", ["golden", "grid", "first-drop"])
def test_where_every_cut_breaks_a_guard_nothing_is_chosen(choose):
    found = choose_guarded_size(lambda size: float(size), 40, lambda size: size == 0, best, choose)
    assert (found.chosen.size, found.by_score.size) == (0, 40)


def test_golden_section_finds_the_largest_harmless_cut():
    """The score rises with n, and beyond 12 every cut breaks a guard."""
    found = choose_guarded_size(lambda size: float(size), 200, lambda size: size <= 12, best)
    assert found.by_score.size > 12
    assert found.chosen.size == 12
