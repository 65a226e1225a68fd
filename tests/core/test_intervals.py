"""Intervals and p-values of a mean over groups; `test_comparison` tests what they claim without and with an effect."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resect.core.intervals import GroupHalves, Interval, mcnemar


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
