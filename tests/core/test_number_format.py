"""How numbers are written: alike on every face, with the sign that they have, and never more sure than they are."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resect.core.number_format import (
    DASH,
    FEWEST_GROUPS,
    PAGE,
    PLAIN,
    MetricFormat,
    NumberStyle,
    arrow,
    few_groups,
    fixed_and_broken,
    plural,
    sample_sizes,
)

FACES = [PLAIN, PAGE, NumberStyle("~", "m")]
SHARES = st.floats(0, 1)
CHANGES = st.floats(-1, 1)
ANY = st.floats(-1e14, 1e14)


def read(told, face=PLAIN):
    """The number that a text starts with."""
    return float(told.replace(face.minus, "-").split(face.blank)[0].replace(",", ""))


@pytest.mark.parametrize("metric", ["accuracy", "generation", "logloss", "top10"])
@pytest.mark.parametrize("face", FACES)
def test_nothing_is_a_dash(metric, face):
    figures = MetricFormat(metric, face)
    written = [figures.value, figures.aligned, figures.interval, figures.change, figures.changes, face.number, face.percent, face.signed]
    assert {write(None) for write in written} == {DASH}
    assert figures.pair(None, None) == DASH
    assert face.p_value(None) == "p unknown"


@given(value=SHARES)
def test_a_share_is_in_per_cent_and_a_loss_as_it_is(value):
    share, loss = MetricFormat().value(value), MetricFormat("logloss").value(value)
    assert share.endswith(" %") and math.isclose(read(share), 100 * value, abs_tol=0.05001)
    assert math.isclose(read(loss), value, rel_tol=1e-3)
    assert MetricFormat("generation").value(value) == share
    assert MetricFormat().aligned(value) == share.removesuffix(" %")


@given(value=ANY)
def test_a_number_keeps_its_size_and_its_sign(value):
    for face in FACES:
        told = face.number(value)
        assert math.isclose(read(told, face), value, rel_tol=1e-3)
        assert told.startswith(face.minus) == (value < 0)


@given(value=CHANGES, metric=st.sampled_from(["accuracy", "logloss"]))
def test_a_change_has_the_sign_of_what_is_written(value, metric):
    told = MetricFormat(metric).change(value)
    assert told[0] == {1: "+", -1: "-", 0: "0"}[(read(told) > 0) - (read(told) < 0)]
    assert "-" not in MetricFormat(metric, PAGE).change(value)
    assert MetricFormat(metric).change(value, unit=True) == told + (" points" if metric == "accuracy" else "")


@pytest.mark.parametrize("zero", [0.0, -0.0, 1e-9, -1e-9])
def test_what_is_written_as_zero_has_no_sign(zero):
    assert MetricFormat().change(zero) == "0.0" and MetricFormat("logloss").change(zero) == "0.000"
    assert MetricFormat().value(zero) == "0.0 %" and PLAIN.signed(zero, 2) == "0.00"


@given(ends=st.tuples(SHARES, SHARES).map(sorted), metric=st.sampled_from(["accuracy", "logloss"]))
def test_an_interval_runs_from_low_to_high_with_its_unit_once(ends, metric):
    figures = MetricFormat(metric)
    for told, write in ((figures.interval(ends), figures.value), (figures.changes(ends), figures.change)):
        low, high = told.split(" to ")
        assert high == write(ends[1]) and low == write(ends[0]).removesuffix(" %")
        assert read(low) <= read(high)


@given(value=ANY, share=SHARES)
def test_faces_differ_in_nothing_but_blank_and_minus(value, share):
    def on(face):
        figures = MetricFormat("accuracy", face)
        told = [face.number(value), face.percent(share), face.signed(value), face.p_value(share), figures.interval([share, 1.0])]
        return [*told, figures.change(-share, unit=True), figures.pair(share, None), figures.aligned(share)]

    for plain, page in zip(on(PLAIN), on(PAGE), strict=True):
        assert page.replace(PAGE.minus, "-").replace(PAGE.blank, " ") == plain
        assert plain.isascii() and "-" not in page


def test_pairs_tell_before_and_after_where_there_is_an_after():
    assert MetricFormat().pair(0.607, 0.816) == "60.7 % → 81.6 %"
    assert arrow(PLAIN.number, 12.345, 12.5) == "12.35 → 12.5" and arrow(PLAIN.signed, 0.4, None) == "+0.400"


@given(p=st.floats(0, 1, exclude_min=True))
def test_a_small_p_is_a_bound_and_never_zero(p):
    told = PLAIN.p_value(p)
    assert told == "p < 0.001" if p < 0.001 else math.isclose(float(told.removeprefix("p = ")), p, abs_tol=0.00051)


@given(ends=st.tuples(CHANGES, CHANGES).map(sorted))
def test_less_loss_is_a_gain(ends):
    share, loss = MetricFormat().verdict(ends), MetricFormat("logloss").verdict(ends)
    assert {share, loss} in ({"improved", "worsened"}, {"no clear change"})
    assert (share == "improved") == (ends[0] > 0)
    assert MetricFormat().gain(ends[0]) == -MetricFormat("logloss").gain(ends[0])


def test_things_are_counted_in_their_number():
    assert [plural(number, "groups") for number in (0, 1, 2, 1000, None)] == [
        *("0 groups", "1 group", "2 groups", "1,000 groups", "an unknown number of groups")
    ]
    assert sample_sizes({"n_examples": 1, "n_groups": 2, "n_instructions": 10}) == "1 example, 2 groups, 10 instructions"
    assert fixed_and_broken({"fixed": 1, "broken": 2000}) == "1 answer fixed, 2,000 broken"


def test_what_became_better_is_told_in_the_words_of_the_metric():
    change = {"fixed": 1, "broken": 2000}
    assert MetricFormat("top5").turned(change) == fixed_and_broken(change)
    assert MetricFormat("logloss").turned(change) == "1 golden answer became more probable, 2,000 less probable"


def test_too_few_groups_are_said():
    assert few_groups(FEWEST_GROUPS - 1) and not few_groups(FEWEST_GROUPS) and not few_groups(None)


def test_figures_are_values():
    assert MetricFormat("logloss", PAGE) == MetricFormat("logloss", PAGE) != MetricFormat("logloss")
    with pytest.raises(dataclasses.FrozenInstanceError):
        MetricFormat().metric = "logloss"
