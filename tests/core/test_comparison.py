"""The laws of a paired comparison, and that it claims an effect where there is none in about 2.5 % of the cases."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resect.core.comparison import Comparison, Difference, Estimate, difference, estimate
from resect.core.errors import InputError, NotFinite
from resect.core.intervals import Interval


def outcomes(random, examples=40, instructions=3, accuracy=0.6):
    return (random.random((examples, instructions)) < accuracy).astype(float)


def stories(examples, size=4):
    return [f"story {row // size}" for row in range(examples)]


def single(examples):
    return [str(row) for row in range(examples)]


def paired(fixed, broken, unchanged):
    """One instruction, single examples: base and edited."""
    base = np.array([0] * fixed + [1] * broken + [1] * unchanged, dtype=float)
    edited = np.array([1] * fixed + [0] * broken + [1] * unchanged, dtype=float)
    return base, edited


def test_nothing_changed_is_no_difference():
    for examples in (3, 24, 200):
        base = outcomes(np.random.default_rng(0), examples)
        result = difference(base, base.copy(), stories(examples))
        assert (result.mean, result.p_value) == (0, 1)
        assert -result.interval.low == result.interval.high > 0, "other groups might have changed"
        assert (result.fixed, result.broken, result.verdict) == (0, 0, "no clear change")


@pytest.mark.parametrize("examples", [80, 200])
def test_swapping_base_and_edited_mirrors_everything(examples):
    random = np.random.default_rng(1)
    base, edited = outcomes(random, examples), outcomes(random, examples, accuracy=0.95)
    there, back = difference(base, edited, stories(examples), 7), difference(edited, base, stories(examples), 7)
    assert back.mean == -there.mean
    assert back.interval == (-there.interval.high, -there.interval.low)
    assert (back.p_value, back.fixed, back.broken) == (there.p_value, there.broken, there.fixed)
    assert (there.verdict, back.verdict) == ("improved", "worsened")


@pytest.mark.parametrize("examples", [40, 200])
def test_the_order_of_the_examples_does_not_matter(examples):
    random = np.random.default_rng(2)
    base, edited, groups = outcomes(random, examples), outcomes(random, examples), stories(examples)
    order = random.permutation(examples)
    mixed = [groups[row] for row in order]
    assert difference(base[order], edited[order], mixed, 3) == difference(base, edited, groups, 3)
    assert estimate(base[order], mixed, seed=3) == estimate(base, groups, seed=3)


def test_the_comparison_is_paired():
    """What both runs share drops out: the same change on easier examples is the same difference."""
    random = np.random.default_rng(3)
    base, change = random.normal(size=(100, 2)), random.normal(0.5, 1, size=(100, 2))
    shifted = base + 100 * random.random((100, 1))
    here, there = difference(base, base + change, stories(100)), difference(shifted, shifted + change, stories(100))
    assert here.interval == pytest.approx(there.interval, abs=1e-9)
    assert here.p_value == there.p_value


def test_instructions_of_a_group_are_kept_together():
    """Repeating an instruction adds no evidence."""
    random = np.random.default_rng(4)
    base, edited = outcomes(random, 100, 1), outcomes(random, 100, 1, 0.7)
    once = difference(base, edited, stories(100))
    often = difference(base.repeat(10, axis=1), edited.repeat(10, axis=1), stories(100))
    assert (often.interval, often.p_value) == (pytest.approx(once.interval), once.p_value)


def test_mcnemar_is_used_only_where_it_is_right():
    base, edited = paired(9, 1, 30)
    assert difference(base, edited, single(40)).test == "exact McNemar"
    assert difference(base, edited, single(40)).p_value == pytest.approx(stats.binomtest(9, 10).pvalue)
    assert "sign-flip" in difference(base, edited, stories(40)).test
    assert "sign-flip" in difference(base + 0.5 * edited, edited, single(40)).test
    both = np.stack([base, base], axis=1), np.stack([edited, edited], axis=1)
    assert "sign-flip" in difference(*both, single(40)).test


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_the_sign_flip_test_is_the_full_enumeration(changes):
    change = np.array(changes, dtype=float)
    groups = [f"g{row}" for row in range(len(changes)) for _ in range(2)]
    edited = np.stack([change, np.zeros_like(change)], axis=1).reshape(-1)
    result = difference(np.zeros_like(edited), edited, groups)
    flips = [abs(np.dot(signs, change)) for signs in itertools.product((-1, 1), repeat=len(changes))]
    assert result.p_value == pytest.approx(np.mean([flip >= abs(change.sum()) for flip in flips]))
    assert result.test == "sign-flip over groups (exact)"


def test_drawn_halves_agree_with_all_of_them():
    """21 groups are drawn, 20 gone through: a 21st that changes nothing may change little."""
    random = np.random.default_rng(5)
    base, edited = outcomes(random, 80), outcomes(random, 80, accuracy=0.7)
    more = np.concatenate([base, np.ones((4, 3))]), np.concatenate([edited, np.ones((4, 3))])
    exact, drawn = difference(base, edited, stories(80)), difference(*more, stories(84))
    assert drawn.test == "sign-flip over groups (10,000 draws)"
    assert drawn.p_value == pytest.approx(exact.p_value, abs=5 * math.sqrt(exact.p_value / 10_000))
    assert drawn.interval == pytest.approx(exact.interval, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.sampled_from([0, 9, 80]), st.booleans())
def test_interval_and_test_never_contradict_each_other(fixed, broken, unchanged, grouped):
    base, edited = paired(fixed, broken, unchanged + 1)
    result = difference(base, edited, stories(len(base), 2) if grouped else single(len(base)))
    assert result.p_value <= 0.05 or not (result.improved or result.worsened)
    shifted = difference(base + 2, edited + 2, stories(len(base), 2) if grouped else single(len(base)))  # values without bounds
    assert (shifted.p_value <= 0.05) == (shifted.improved or shifted.worsened)
    assert result.interval.low <= result.mean <= result.interval.high


def test_four_fixed_and_none_broken_of_a_hundred_is_no_clear_change():
    result = difference(*paired(4, 0, 96), single(100))
    assert result.verdict == "no clear change"
    assert difference(*paired(6, 0, 94), single(100)).verdict == "improved"


def test_few_groups_claim_nothing():
    """Under six groups no draw of signs is rarer than 5 %."""
    base, edited = np.zeros((20, 4)), np.ones((20, 4))
    low, high = difference(base, edited, stories(20)).interval
    assert low <= 0 < high == 1
    assert difference(base, edited, ["one"] * 20).verdict == "no clear change"
    assert difference(np.zeros((24, 4)), np.ones((24, 4)), stories(24)).verdict == "improved"
    low, high = estimate(edited, stories(20)).interval
    assert 0 < low < high == 1


def naive_interval(change, groups, random):
    """What is wrong: a bootstrap of single examples."""
    values = change.mean(axis=1)
    means = values[random.integers(0, len(values), size=(400, len(values)))].mean(axis=1)
    return Interval(*np.quantile(means, [0.025, 0.975]))


def claimed(interval_of, runs=1000, n_groups=14):
    """The share of runs that claim an effect, up or down, where each group leans to one side by a fair coin."""
    random = np.random.default_rng(6)
    claims = 0
    for _ in range(runs):
        lean = random.choice([-0.4, 0.4], size=(n_groups, 1, 1))
        base = random.random((n_groups, 4, 3)) < 0.5 - lean * (random.random((n_groups, 1, 1)) < 0.6)
        edited = random.random((n_groups, 4, 3)) < 0.5 + lean * (random.random((n_groups, 1, 1)) < 0.6)
        shape = (4 * n_groups, 3)
        base, edited = base.reshape(shape).astype(float), edited.reshape(shape).astype(float)
        low, high = interval_of(base, edited, random)
        claims += low > 0 or high < 0
    return claims / runs


def test_no_effect_is_claimed_as_one_in_5_percent_of_the_cases():
    """2.5 % up and 2.5 % down; the band is four standard deviations of 1,000 coin flips."""
    groups = stories(56)
    ours = claimed(lambda base, edited, _: difference(base + 2, edited + 2, groups).interval)  # values without bounds
    naive = claimed(lambda base, edited, random: naive_interval(edited - base, groups, random))
    band = 4 * math.sqrt(0.05 * 0.95 / 1000)
    assert abs(ours - 0.05) < band
    assert abs(naive - 0.05) > band, "the simulation could not tell a wrong interval from a right one"


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [21, 58, 116])
def test_skewed_changes_are_claimed_as_a_gain_in_5_percent_of_the_cases_at_most(n_groups):
    """A tenth of the groups loses everything, the others gain a little, on average nothing."""
    random, claims, runs = np.random.default_rng(7), 0, 300
    for _ in range(runs):
        base = np.full(n_groups, 0.0)
        edited = np.where(random.random(n_groups) < 0.1, 0.0, 1 / 9)
        base[edited == 0] = 1.0
        claims += difference(base, edited, single(n_groups)).improved
    assert claims / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_the_interval_covers_a_true_effect():
    random = np.random.default_rng(8)
    covered = 0
    for _ in range(600):
        lean = 0.2 + 0.3 * random.standard_normal(15)
        change = lean.repeat(4)[:, None] + random.standard_normal((60, 2))
        low, high = difference(np.zeros((60, 2)), change, stories(60)).interval
        covered += low <= 0.2 <= high
    assert abs(covered / 600 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 600)


def test_an_estimate_holds_mean_spread_and_means_by_tag():
    values = outcomes(np.random.default_rng(9), 120, 3)
    tags = [("ambig",) if row % 2 else ("clear", "long") for row in range(120)]
    result, even = estimate(values, stories(120), tags), values[::2].mean()
    assert result.mean == pytest.approx(values.mean())
    assert result.std_over_instructions == pytest.approx(np.std(values.mean(axis=0)))
    assert result.by_tag == pytest.approx({"ambig": values[1::2].mean(), "clear": even, "long": even})
    assert result.interval.low < result.mean < result.interval.high
    # Student's interval over the groups' means: the same quantity by a formula, for values without bounds.
    means = values.reshape(30, 12).mean(axis=1)
    student = stats.t.interval(0.95, 29, means.mean(), stats.sem(means))
    assert estimate(values + 2, stories(120)).interval == pytest.approx(np.array(student) + 2, abs=0.01)
    assert result.interval.low < student[0]
    assert student[1] < result.interval.high
    assert result.interval_by_tag["long"] == estimate(values[::2], stories(120)[::2]).interval
    assert estimate(values[:, 0], stories(120)).std_over_instructions == 0


def test_every_tag_of_a_change_has_its_interval():
    random = np.random.default_rng(11)
    base, edited = outcomes(random, 80), outcomes(random, 80)
    tags = [("even",) if row % 2 == 0 else ("odd",) for row in range(80)]
    result = difference(base, edited, stories(80), 3, tags)
    alone = difference(base[::2], edited[::2], stories(80)[::2], 3)
    assert (result.by_tag["even"], result.interval_by_tag["even"]) == (alone.mean, alone.interval)


def test_groups_of_different_sizes_weigh_by_their_pairs():
    values = np.array([1.0, 0, 0, 0])
    assert estimate(values, ["a", "b", "b", "b"]).mean == 0.25


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_nan_is_refused(wrong):
    values = np.ones((8, 2))
    values[3, 1] = wrong
    with pytest.raises(NotFinite, match="1 of the 16"):
        estimate(values, stories(8))
    with pytest.raises(NotFinite):
        difference(np.ones((8, 2)), values, stories(8))
    with pytest.raises(NotFinite, match=r"other_metrics\.logloss\.base"):
        comparison(other_metrics={"logloss": {"base": wrong}}).to_json()


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(InputError, match="equal shapes"):
        difference(np.ones((8, 2)), np.ones((8, 3)), stories(8))
    for values, groups in ((np.ones((8, 2)), stories(7)), (np.ones((0, 2)), []), (np.ones((2, 2, 2)), stories(2))):
        with pytest.raises(InputError, match=r"\[examples, instructions\]"):
            estimate(values, groups)
    with pytest.raises(InputError, match="tags"):
        estimate(np.ones((8, 2)), stories(8), [("a",)])


def comparison(**changed):
    random = np.random.default_rng(10)
    base, edited, groups = outcomes(random), outcomes(random), stories(40)
    result = Comparison(
        task="demo",
        metric="accuracy",
        n_examples=40,
        n_instructions=3,
        n_groups=10,
        base=estimate(base, groups),
        edited=estimate(edited, groups),
        difference=difference(base, edited, groups, tags=[("ambig",)] * 40),
        baselines={"cc": estimate(base, groups), "dc": None},
        side_effects={"perplexity": {"base": 10.0, "edited": 10.5}},
        bias_scores={"base": {"ambig": 0.1, "disambig": None}, "edited": {"ambig": 0.0, "disambig": None}},
    )
    return Comparison(**{**vars(result), **changed})


def test_a_comparison_survives_json():
    for result in (comparison(), comparison(edited=None, control=None, difference=None, bias_scores=None)):
        text = json.dumps(result.to_json(), allow_nan=False)
        assert Comparison.from_json(json.loads(text)) == result


def test_comparison_json_has_the_public_keys():
    value = comparison().to_json()
    assert list(value) == [
        *("schema", "task", "metric", "n_examples", "n_instructions", "n_groups", "base", "edited", "control"),
        *("baselines", "difference", "side_effects", "other_metrics", "bias_scores", "answers", "verdict"),
    ]
    assert set(value["base"]) == {"mean", "interval", "std_over_instructions", "by_tag", "interval_by_tag"}
    assert set(value["difference"]) >= {"mean", "interval", "p_value", "test", "fixed", "broken"}
    assert value["control"] is None
    assert value["baselines"]["dc"] is None
    assert value["schema"] == 1


def test_what_is_no_comparison_is_refused():
    value = comparison().to_json()
    with pytest.raises(InputError, match="'n_groups' is missing"):
        Comparison.from_json({name: part for name, part in value.items() if name != "n_groups"})
    with pytest.raises(InputError, match="schema 2"):
        Comparison.from_json({**value, "schema": 2})
    with pytest.raises(InputError, match="interval"):
        Estimate.from_json({**value["base"], "interval": [1]})
    with pytest.raises(InputError, match="p_value"):
        Difference.from_json({**value["base"], "test": "x"})
