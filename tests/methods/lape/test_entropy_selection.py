"""The arithmetic of selection, against the published values and a reference that follows METHODS.md word by word."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resect.core.errors import InputError, NotFinite
from resect.methods.lape.entropy_selection import (
    entropy,
    select_by_entropy,
    select_most_active,
    select_random,
    specificity,
    variation_gap,
)


def test_the_published_values():
    values = np.array([[0.45, 0.01, 0.01, 0.01, 0.02], [0.18, 0.18, 0.02, 0.01, 0.01], [0.2] * 5]).T
    assert entropy(values).round(4).tolist() == [0.4583, 1.0529, 1.6094]


def test_a_unit_that_is_never_active_is_never_selected():
    values = np.zeros((3, 4))
    assert np.isinf(entropy(values)).all()
    assert select_by_entropy(values, 1.0, 0.0).sizes == (0, 0, 0)
    values[1, 2] = 0.5
    assert select_by_entropy(values, 1.0, 0.5).sizes == (0, 1, 0)


def naive(values, fraction, quantile):
    """METHODS.md, section 2, sentence by sentence, in Python's own numbers."""
    languages, units = len(values), len(values[0])
    flat = sorted(value for row in values for value in row)
    threshold = flat[max(round(quantile * len(flat)), 1) - 1]
    entropies = {}
    for unit in range(units):
        column = [values[language][unit] for language in range(languages)]
        if any(value > threshold for value in column):
            shares = [value / sum(sorted(column)) for value in sorted(column)]
            entropies[unit] = -sum(share * math.log(share) for share in shares if share > 0)
    lowest = sorted(entropies, key=lambda unit: (entropies[unit], unit))[: round(fraction * units)]
    return [sorted(unit for unit in lowest if values[language][unit] > threshold) for language in range(languages)]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 5),
    st.integers(1, 40),
    st.integers(1, 20),
    st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    st.sampled_from([0, 0.5, 0.95, 1]),
    st.integers(0, 9999),
)
def test_selection_is_the_reference_to_the_tie(languages, units, tokens, fraction, quantile, seed):
    values = np.random.default_rng(seed).integers(0, tokens + 1, (languages, units)) / tokens  # few values: many ties
    chosen = select_by_entropy(values, fraction, quantile)
    expected = naive(values.tolist(), fraction, quantile)
    if languages < 8:  # numpy adds fewer than eight numbers one by one, as Python does
        assert [chosen.units(row).tolist() for row in range(languages)] == expected


def test_ties_are_broken_by_layer_then_by_unit():
    values = np.array([[0.9, 0.1, 0.9, 0.9], [0.1, 0.9, 0.1, 0.1]])
    assert [select_by_entropy(values, 0.5, 0.5).units(row).tolist() for row in (0, 1)] == [[0], [1]]
    permuted = np.array([[0.3, 0.2, 0.1], [0.1, 0.3, 0.2], [0.2, 0.1, 0.3]])  # the same three values in other languages
    assert len(set(entropy(permuted).tolist())) == 1


def test_a_unit_belongs_to_every_language_above_the_threshold_and_equal_is_not_above():
    values = np.array([[0.9, 0.2], [0.9, 0.1], [0.5, 0.0]])
    chosen = select_by_entropy(values, 1.0, 4 / 6)  # the threshold: 0.5, the fourth of six
    assert chosen.threshold == 0.5
    assert [chosen.units(row).tolist() for row in range(3)] == [[0], [0], []]


def test_one_language_has_no_entropy():
    with pytest.raises(InputError, match="two or more"):
        select_by_entropy(np.ones((1, 3)), 0.1, 0.5)
    with pytest.raises(NotFinite):
        select_by_entropy(np.array([[1.0], [np.nan]]), 0.1, 0.5)
    with pytest.raises(InputError, match="shares"):
        select_by_entropy(np.ones((2, 3)), 1.5, 0.5)


def test_negative_means_count_as_zero_in_the_entropy():
    assert entropy(np.array([[0.5], [-3.0]])).tolist() == [0.0]
    assert np.isinf(entropy(np.array([[-0.5], [-3.0]]))).all()


def test_lap_selects_the_most_active_units_and_none_below_its_threshold():
    values = np.array([[0.99, 0.97, 0.96, 0.5], [0.2, 0.98, 0.1, 0.95]])
    chosen = select_most_active(values, (2, 3), 0.95)
    assert [chosen.units(row).tolist() for row in (0, 1)] == [[0, 1], [1]]
    assert select_most_active(values, (0, 0), 0.95).sizes == (0, 0)


def test_random_units_have_the_given_numbers_and_depend_on_the_seed():
    sizes = (3, 0, 7)
    assert select_random(20, sizes, 1).sizes == sizes
    assert (select_random(20, sizes, 1).mask == select_random(20, sizes, 1).mask).all()
    assert (select_random(20, sizes, 1).mask != select_random(20, sizes, 2).mask).any()


def test_specificity_is_finite_and_high_for_few_languages():
    values = np.array([[0.5, 0.2, 0.0], [0.0, 0.2, 0.0]])
    assert specificity(values).round(12).tolist() == [round(math.log(2), 12), 0.0, 0.0]


def test_the_variation_gap_is_high_where_only_other_languages_change():
    changes = np.array([[0.0, 0.3, 0.1], [0.3, 0.3, 0.0], [0.3, 0.3, 0.0]])
    gaps = variation_gap(changes)
    assert gaps[:, 1].tolist() == [0, 0, 0]
    assert gaps[:, 0].tolist() == [0.3, 0, 0]
