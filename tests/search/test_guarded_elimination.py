"""A guarded search finds what a guarded search of the full grid finds, and checks guards only for candidates that are about to win."""

import numpy as np
import pytest

from matrix_evaluator import MatrixEvaluator, singles, threes
from resect.search.guarded_elimination import best_accepted


def brute_force(values, base, accepted, order_ties):
    """The accepted candidate of the highest total above the base; None where there is none."""
    totals = [float(row.sum()) for row in values]
    for total in sorted({total for total in totals if total > base}, reverse=True):
        tied = [place for place, value in enumerate(totals) if value == total]
        order = [tied[number] for number in order_ties(tied)]
        if any(accepted[place] for place in order):
            return next(place for place in order if accepted[place])
    return None


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("groups", [singles, threes])
@pytest.mark.parametrize("ahead", [0, 4])
def test_the_result_is_that_of_the_guarded_full_grid(seed, groups, ahead):
    random = np.random.default_rng(seed)
    values = (random.random((24, 30)) < random.uniform(0.3, 0.7, (24, 1))).astype(float)
    base, accepted = 15.0, random.random(24) < random.choice([0.0, 0.1, 0.5, 1.0])
    evaluator, checked = MatrixEvaluator(values, ahead=ahead), []

    def accepts(place):
        checked.append(place)
        return bool(accepted[place])

    backwards = lambda tied: list(range(len(tied)))[::-1]
    found = best_accepted(evaluator, groups(24), evaluator.start, base, accepts=accepts, order_ties=backwards, screening_questions=5)
    assert found.chosen == brute_force(values, base, accepted, backwards)
    assert found.by_score == brute_force(values, base, np.ones(24, dtype=bool), backwards)
    assert len(checked) == len(set(checked)), "a candidate was checked twice"
    goal = base if found.chosen is None else values[found.chosen].sum()
    assert all(score.complete or score.reach < goal for score in found.scores), "a candidate that could win was abandoned"


def test_without_refusals_guards_cost_no_question():
    values = (np.random.default_rng(3).random((20, 40)) < 0.5).astype(float)
    plain, guarded = MatrixEvaluator(values), MatrixEvaluator(values)
    first = lambda tied: list(range(len(tied)))
    always = best_accepted(plain, singles(20), plain.start, 15.0, accepts=lambda place: True, order_ties=first)
    asked = []
    best_accepted(guarded, singles(20), guarded.start, 15.0, accepts=lambda place: not asked.append(place), order_ties=first)
    assert asked == [always.chosen]
    assert guarded.evaluated == plain.evaluated
