"""No candidate that could have won is abandoned, and abandoning saves questions (law 11)."""

import numpy as np
import pytest

from matrix_evaluator import MatrixEvaluator, best_candidates, singles, threes
from resect.core.execution import Workers
from resect.search.elimination import NO_THRESHOLD, GreedyComposition, Threshold, eliminate


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["right or wrong", "loss"])
def test_the_result_is_that_of_the_full_grid(seed, kind):
    random = np.random.default_rng(seed)
    share = random.uniform(0.2, 0.9, (12, 1))
    right = (random.random((12, 40)) < share).astype(float)
    values, sign, ceiling = (right, 1.0, 1.0) if kind == "right or wrong" else (random.exponential(1, (12, 40)) / share, -1.0, 0.0)
    totals = sign * values.sum(axis=1)
    best = float(np.median(totals))
    evaluator = MatrixEvaluator(values, sign, ceiling)
    scores = eliminate(evaluator, singles(12), evaluator.start, best, screening_questions=5)
    highest = totals.max()
    assert best_candidates(scores, best) == [place for place in range(12) if totals[place] == pytest.approx(highest, abs=1e-12)]
    for score, total in zip(scores, totals, strict=True):
        assert score.reach >= total - 1e-9  # what it is said to reach is no less than what it would have come to
        assert score.complete or score.reach < highest
    assert len(evaluator.evaluated) <= values.size
    assert len(evaluator.evaluated) < values.size or kind == "loss"


def test_without_the_bound_every_candidate_is_evaluated_completely():
    evaluator = MatrixEvaluator(np.zeros((3, 7)))
    scores = eliminate(evaluator, singles(3), evaluator.start, 5.0, bound=False)
    assert [score.complete for score in scores] == [True] * 3
    assert len(evaluator.evaluated) == 21


def test_ties_with_the_best_are_evaluated_completely_and_ties_with_no_edit_win_nothing():
    values = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])
    for best, won in ((1.0, [0, 1]), (2.0, [])):
        evaluator = MatrixEvaluator(values)
        assert best_candidates(eliminate(evaluator, singles(3), evaluator.start, best), best) == won


def test_no_candidate_no_winner():
    evaluator = MatrixEvaluator(np.zeros((1, 3)))
    assert eliminate(evaluator, [], evaluator.start, 0.0) == []
    assert best_candidates([], 0.0) == []


def test_progress_ends_at_its_total():
    reported = []
    evaluator = MatrixEvaluator(np.eye(6))
    eliminate(
        evaluator,
        threes(6),
        evaluator.start,
        0.5,
        screening_questions=2,
        workers=Workers(progress=lambda stage, done, total: reported.append((stage, done, total))),
    )
    stages = {stage for stage, _, _ in reported}
    assert all((stage, 0, 6) in reported and (stage, 6, 6) in reported for stage in stages)
    assert not NO_THRESHOLD.stops(evaluator.start)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("groups_of", [singles, threes])
@pytest.mark.parametrize("ahead", [1, 4, 100])
def test_several_candidates_at_once_come_to_the_same_scores(seed, groups_of, ahead):
    random = np.random.default_rng(seed)
    values = (random.random((20, 40)) < random.uniform(0.2, 0.9, (20, 1))).astype(float)
    one, several = MatrixEvaluator(values), MatrixEvaluator(values, ahead=ahead)
    best = float(np.median(values.sum(axis=1)))
    assert eliminate(several, groups_of(20), several.start, best, screening_questions=5) == eliminate(
        one, groups_of(20), one.start, best, screening_questions=5
    )
    assert several.stored == one.stored
    assert set(several.evaluated) == set(one.evaluated)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ahead", [0, 1, 4, 100])
@pytest.mark.parametrize("rises", [True, False])
def test_a_composition_keeps_the_first_of_each_group_that_meets_the_threshold(seed, ahead, rises):
    random = np.random.default_rng(seed)
    values = random.random((12, 10)) * random.uniform(0.5, 1.0, (12, 1))
    evaluator, groups, threshold = MatrixEvaluator(values, ahead=ahead), threes(12), Threshold(3.0, exceed=True)
    composition = GreedyComposition(evaluator, groups.__getitem__, len(groups), evaluator.start, threshold, raises_threshold=rises)
    steps = list(composition.steps())
    kept, least, wanted = (), 3.0, []
    for group in groups:
        evaluated = []
        for candidate in group:
            total = sum(evaluator.value(candidate, kept, question) for question in range(10))
            evaluated.append((candidate, total > least))
            if total > least:
                kept, least = (*kept, candidate), total if rises else least
                break
        wanted.append(evaluated)
    assert [[(step.candidate, step.is_kept) for step in group] for group in steps] == wanted
    assert tuple(composition.kept) == kept
    again = GreedyComposition(
        MatrixEvaluator(values, ahead=ahead),
        groups.__getitem__,
        len(groups),
        evaluator.start,
        Threshold(3.0, exceed=True),
        raises_threshold=rises,
    )
    again._evaluator.stored = evaluator.stored  # as after a kill: one by one, nothing is evaluated again
    assert list(again.steps()) == steps
    assert ahead or not again._evaluator.evaluated


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ahead", [0, 1, 4, 100])
@pytest.mark.parametrize("rises", [True, False])
@pytest.mark.parametrize("groups_of", [singles, threes])
def test_a_composition_with_a_guard_is_that_of_a_plain_loop(seed, ahead, rises, groups_of):
    random = np.random.default_rng(seed)
    values = random.random((12, 10)) * random.uniform(0.5, 1.0, (12, 1))
    refused, asked = random.random((13, 12)) < 0.6, []

    def accepts(candidates):
        asked.append(candidates)
        return not refused[len(candidates), candidates[-1]]

    evaluator, groups, threshold = MatrixEvaluator(values, ahead=ahead), groups_of(12), Threshold(3.0, exceed=True)
    arguments = (groups.__getitem__, len(groups), evaluator.start, threshold)
    composition = GreedyComposition(evaluator, *arguments, raises_threshold=rises, accepts=accepts)
    steps = list(composition.steps())
    kept, least, wanted, questions = (), 3.0, [], []
    for group in groups:
        evaluated = []
        for candidate in group:
            total = sum(evaluator.value(candidate, kept, question) for question in range(10))
            is_met = total > least
            if is_met:
                questions.append((*kept, candidate))
            is_kept = is_met and not refused[len(kept) + 1, candidate]
            evaluated.append((candidate, is_kept, is_met and not is_kept))
            if is_kept:
                kept, least = (*kept, candidate), total if rises else least
                break
        wanted.append(evaluated)
    assert [[(step.candidate, step.is_kept, step.is_refused) for step in group] for group in steps] == wanted
    assert tuple(composition.kept) == kept
    assert asked == questions
    plain = MatrixEvaluator(values)
    assert list(GreedyComposition(plain, *arguments, raises_threshold=rises, accepts=accepts).steps()) == steps  # scores too
    assert evaluator.stored == plain.stored
    evaluator.evaluated.clear()
    assert list(GreedyComposition(evaluator, *arguments, raises_threshold=rises, accepts=accepts).steps()) == steps
    assert ahead or not evaluator.evaluated  # as after a kill: one by one, nothing is evaluated again


@pytest.mark.parametrize("ahead", [0, 1, 4, 100])
def test_a_refusal_evaluates_no_question_twice(ahead):
    evaluator, groups = MatrixEvaluator(np.ones((12, 10)), ahead=ahead), threes(12)
    composition = GreedyComposition(
        evaluator, groups.__getitem__, len(groups), evaluator.start, Threshold(3.0), raises_threshold=False, accepts=lambda _: False
    )
    assert [[step.is_refused for step in group] for group in composition.steps()] == [[True] * 3] * 4
    assert len(evaluator.evaluated) == 12 * 10
