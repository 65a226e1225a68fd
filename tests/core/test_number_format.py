"""Number format: the same numbers in every style, with their sign, and no false precision."""

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
    before_after,
    few_groups_note,
    fixed_and_broken,
    plural,
    sample_sizes,
)

STYLES = [PLAIN, PAGE, NumberStyle("~", "m")]
SHARES = st.floats(0, 1)
CHANGES = st.floats(-1, 1)
ANY = st.floats(-1e14, 1e14)


def parsed(text, style=PLAIN):
    """The number at the start of a text."""
    return float(text.replace(style.minus, "-").split(style.blank)[0].replace(",", ""))


@pytest.mark.parametrize("metric", ["accuracy", "generation", "logloss", "top10"])
@pytest.mark.parametrize("style", STYLES)
def test_what_was_not_measured_is_a_dash(metric, style):
    numbers = MetricFormat(metric, style)
    written = [
        numbers.value,
        numbers.aligned,
        numbers.interval,
        numbers.change,
        numbers.change_interval,
        style.number,
        style.percent,
        style.signed,
    ]
    assert {write(None) for write in written} == {DASH}
    assert numbers.pair(None, None) == DASH
    assert style.p_value(None) == "p unknown"


@given(value=SHARES)
def test_a_share_is_in_per_cent_and_a_loss_as_it_is(value):
    share, loss = MetricFormat().value(value), MetricFormat("logloss").value(value)
    assert share.endswith(" %") and math.isclose(parsed(share), 100 * value, abs_tol=0.05001)
    assert math.isclose(parsed(loss), value, rel_tol=1e-3)
    assert MetricFormat("generation").value(value) == share
    assert MetricFormat().aligned(value) == share.removesuffix(" %")


@given(value=ANY)
def test_a_number_keeps_its_size_and_its_sign(value):
    for style in STYLES:
        text = style.number(value)
        assert math.isclose(parsed(text, style), value, rel_tol=1e-3)
        assert text.startswith(style.minus) == (value < 0)


@given(value=CHANGES, metric=st.sampled_from(["accuracy", "logloss"]))
def test_a_change_has_the_sign_of_what_is_written(value, metric):
    text = MetricFormat(metric).change(value)
    assert text[0] == {1: "+", -1: "-", 0: "0"}[(parsed(text) > 0) - (parsed(text) < 0)]
    assert "-" not in MetricFormat(metric, PAGE).change(value)
    assert MetricFormat(metric).change(value, unit=True) == text + (" points" if metric == "accuracy" else "")


@pytest.mark.parametrize("zero", [0.0, -0.0, 1e-9, -1e-9])
def test_what_is_written_as_zero_has_no_sign(zero):
    assert MetricFormat().change(zero) == "0.0" and MetricFormat("logloss").change(zero) == "0.000"
    assert MetricFormat().value(zero) == "0.0 %" and PLAIN.signed(zero, 2) == "0.00"


@given(ends=st.tuples(SHARES, SHARES).map(sorted), metric=st.sampled_from(["accuracy", "logloss"]))
def test_an_interval_runs_from_low_to_high_with_its_unit_once(ends, metric):
    numbers = MetricFormat(metric)
    for text, write in ((numbers.interval(ends), numbers.value), (numbers.change_interval(ends), numbers.change)):
        low, high = text.split(" to ")
        assert high == write(ends[1]) and low == write(ends[0]).removesuffix(" %")
        assert parsed(low) <= parsed(high)


@given(value=ANY, share=SHARES)
def test_styles_differ_only_in_blank_and_minus(value, share):
    def written_in(style):
        numbers = MetricFormat("accuracy", style)
        text = [style.number(value), style.percent(share), style.signed(value), style.p_value(share), numbers.interval([share, 1.0])]
        return [*text, numbers.change(-share, unit=True), numbers.pair(share, None), numbers.aligned(share)]

    for plain, page in zip(written_in(PLAIN), written_in(PAGE), strict=True):
        assert page.replace(PAGE.minus, "-").replace(PAGE.blank, " ") == plain
        assert plain.isascii() and "-" not in page


def test_a_pair_without_a_second_value_is_the_first_alone():
    assert MetricFormat().pair(0.607, 0.816) == "60.7 % → 81.6 %"
    assert before_after(PLAIN.number, 12.345, 12.5) == "12.35 → 12.5" and before_after(PLAIN.signed, 0.4, None) == "+0.400"


@given(p=st.floats(0, 1, exclude_min=True))
def test_a_small_p_is_a_bound_and_never_zero(p):
    text = PLAIN.p_value(p)
    assert text == "p < 0.001" if p < 0.001 else math.isclose(float(text.removeprefix("p = ")), p, abs_tol=0.00051)


@given(ends=st.tuples(CHANGES, CHANGES).map(sorted))
def test_less_loss_is_a_gain(ends):
    share, loss = MetricFormat().verdict(ends), MetricFormat("logloss").verdict(ends)
    assert {share, loss} in ({"improved", "worsened"}, {"no clear change"})
    assert (share == "improved") == (ends[0] > 0)
    assert MetricFormat().gain(ends[0]) == -MetricFormat("logloss").gain(ends[0])


def test_nouns_agree_with_their_number():
    assert [plural(number, "groups") for number in (0, 1, 2, 1000, None)] == [
        *("0 groups", "1 group", "2 groups", "1,000 groups", "an unknown number of groups")
    ]
    assert sample_sizes({"n_examples": 1, "n_groups": 2, "n_instructions": 10}) == "1 example, 2 groups, 10 instructions"
    assert fixed_and_broken({"fixed": 1, "broken": 2000}) == "1 answer fixed, 2,000 broken"


def test_changed_answers_are_described_as_their_metric_counts_them():
    change = {"fixed": 1, "broken": 2000}
    assert MetricFormat("top5").answer_changes(change) == fixed_and_broken(change)
    assert MetricFormat("logloss").answer_changes(change) == "1 golden answer became more probable, 2,000 less probable"


def test_too_few_groups_are_noted():
    for is_share in (True, False):
        few, enough, unknown = (few_groups_note(number, is_share) for number in (FEWEST_GROUPS - 1, FEWEST_GROUPS, None))
        assert few.startswith("With fewer than six groups no change can be told from chance; ") and (enough, unknown) == ("", "")
    assert "wide" in few_groups_note(2) and "the range of the groups' means" in few_groups_note(2, is_share=False)
    assert "there is no interval" in few_groups_note(1)


@given(st.tuples(SHARES, SHARES), st.sampled_from(["accuracy", "logloss"]))
def test_one_group_has_no_interval(ends, metric):
    one, two, unknown = (MetricFormat(metric, n_groups=number) for number in (1, 2, None))
    assert one.interval(ends) == one.change_interval(ends) == DASH
    assert two.interval(ends) == unknown.interval(ends) != DASH and two.change_interval(ends) == unknown.change_interval(ends) != DASH


def test_a_metric_format_is_a_value():
    assert MetricFormat("logloss", PAGE) == MetricFormat("logloss", PAGE) != MetricFormat("logloss")
    with pytest.raises(dataclasses.FrozenInstanceError):
        MetricFormat().metric = "logloss"
