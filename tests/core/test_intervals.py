"""Intervals and p-values of a mean over groups; `test_comparison` tests what they claim without and with an effect."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resect.core.intervals import GroupHalves, Interval, bounded_interval, mcnemar


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_binomial_test(fixed, broken):
    changed = fixed + broken
    expected = 1.0
    if changed:
        brute = sum(math.comb(changed, k) for k in range(changed + 1) if abs(2 * k - changed) >= abs(fixed - broken))
        expected = brute / 2**changed
        assert expected == pytest.approx(stats.binomtest(fixed, changed).pvalue)
    assert mcnemar(fixed, broken) == pytest.approx(expected)


def test_groups_count_by_their_pairs():
    values = np.array([[1.0], [0], [0], [0]])
    assert GroupHalves.of(values, ["a", "b", "b", "b"], 0).totals.tolist() == [[1, 1], [0, 3]]


def test_an_interval_is_moved_only_where_it_contradicts_the_p_value():
    halves = GroupHalves.of(np.array([[1.0]] * 9 + [[0.0]] * 3), [str(row) for row in range(12)], 0)
    interval = halves.interval(include=0.0)
    assert halves.consistent_with(interval, 0.01).low > 0
    assert halves.consistent_with(Interval(0.2, 0.9), 0.01) == Interval(0.2, 0.9)
    assert halves.consistent_with(Interval(0.2, 0.9), 0.3).low == 0


@pytest.mark.parametrize(("right", "answers"), [(0, 42), (10, 42), (42, 42), (1, 3)])
def test_of_single_answers_the_bounded_interval_is_that_of_clopper_and_pearson(right, answers):
    values = np.array([1.0] * right + [0.0] * (answers - right))
    low, high = bounded_interval(values, np.ones(answers), 0, 1)
    exact = stats.binomtest(right, answers).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.006)


def test_a_bounded_interval_does_not_depend_on_scale_or_order():
    random = np.random.default_rng(0)
    sums, counts = random.random(30), np.ones(30)
    low, high = bounded_interval(sums, counts, 0, 1)
    order = random.permutation(30)
    assert bounded_interval(sums[order], counts, 0, 1) == (low, high)
    assert bounded_interval(3 * sums, 3 * counts, 0, 1) == pytest.approx((low, high))
    assert bounded_interval(-sums, counts, -1, 0) == (-high, -low)
    assert 0 < low < sums.mean() < high < 1


def test_one_group_says_almost_nothing():
    low, high = bounded_interval(np.array([0.5]), np.ones(1), 0, 1)
    assert low < 0.02
    assert high > 0.98
