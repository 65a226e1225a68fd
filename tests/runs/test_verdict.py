"""A verdict that cannot flatter: everything measured can veto a gain, and noise can claim nothing."""

import pytest

from resect.runs.guard_limits import GuardLimits
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.verdict import judge, limits_of


def change(mean, half=0.05, **by_tag):
    return {
        "mean": mean,
        "interval": [mean - half, mean + half],
        "by_tag": {tag: value for tag, (value, _) in by_tag.items()},
        "interval_by_tag": {tag: [value - width, value + width] for tag, (value, width) in by_tag.items()},
    }


def measured(mean, **by_tag):
    return {"mean": mean, "interval": [mean - 0.05, mean + 0.05], "by_tag": by_tag}


def comparison(before=0.6, after=0.8, **changed):
    value = {
        "task": "t",
        "metric": "accuracy",
        "base": measured(before),
        "edited": measured(after),
        "control": measured(before),
        "difference": change(after - before),
        "answers": {"constant": {"label": "the unknown option", "score": 0.5}},
    }
    return ComparisonFile.model_validate({**value, **changed})


def word(*arguments, **changed):
    return judge(comparison(*arguments, **changed)).word


def test_a_gain_beyond_chance_control_and_constants_helps():
    verdict = judge(comparison())
    assert verdict.word == "helps"
    assert verdict.reasons == ("accuracy 60.0 % → 80.0 %: +20.0 points (95 % interval +15.0 to +25.0)",)


def test_a_gain_whose_interval_holds_zero_is_none():
    assert word(difference=change(0.04)) == "no reliable change"


def test_a_gain_that_random_edits_reach_is_none():
    verdict = judge(comparison(control=measured(0.78)))
    assert verdict.word == "no reliable change"
    assert "random edits" in verdict.reasons[-1]


def test_a_gain_that_a_constant_answer_has_too_is_none():
    verdict = judge(comparison(0.27, 0.478, control=measured(0.27)))
    assert verdict.word == "no reliable change"
    assert verdict.reasons[-1] == "always the unknown option scores 50.0 % without reading the question"


def test_the_run_on_a_real_model_that_answers_undetermined_to_everything_damages():
    """SmolLM2-135M-Instruct on BBQ age: +20.7 points, and what became of the rest."""
    base, edited = measured(0.271, ambig=0.071, disambig=0.471), measured(0.478, ambig=0.943, disambig=0.014)
    frequent = {
        "base": {"label": "the first option", "share": 0.5, "wrong_share": 0.4},
        "edited": {"label": "the unknown option", "share": 0.96, "wrong_share": 0.98},
        "is_certain": True,
    }
    verdict = judge(
        comparison(
            base=base,
            edited=edited,
            control=measured(0.27),
            difference=change(0.207, 0.08, ambig=(0.872, 0.1), disambig=(-0.457, 0.15)),
            side_effects={"perplexity": {"base": 49.0, "edited": 100.0, "kind": "perplexity"}},
            answers={"constant": {"label": "the unknown option", "score": 0.5}, "most_frequent": frequent},
        )
    )
    assert verdict.word == "damages"
    reasons = "; ".join(verdict.reasons)
    for part in ("disambig 47.1 % → 1.4 %", "perplexity of plain text 49 → 100 (+104.1 %)", "the unknown option in 98.0 %", "+20.7 points"):
        assert part in reasons


def test_a_run_without_a_gain_whose_perplexity_tripled_damages():
    effects = {
        "perplexity": {"base": 132.0, "edited": 475.0, "kind": "perplexity"},
        "glue/rte": {"base": 0.34, "edited": 0.28, "metric": "accuracy", "difference": change(-0.06, 0.02)},
    }
    verdict = judge(comparison(after=0.61, difference=change(0.01), side_effects=effects))
    assert verdict.word == "damages"
    assert "132 → 475" in verdict.reasons[0]
    assert any("glue/rte 34.0 % → 28.0 %" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("loss", "width", "expected"),
    [(-0.02, 0.01, "helps"), (-0.05, 0.02, "helps, at a price"), (-0.05, 0.06, "helps"), (-0.15, 0.05, "damages")],
    ids=["small", "price", "may be chance", "damage"],
)
def test_a_tag_counts_by_its_interval_and_its_size(loss, width, expected):
    assert word(difference=change(0.2, x=(0.3, 0.1), y=(loss, width))) == expected


@pytest.mark.parametrize(("after", "expected"), [(10.4, "helps"), (10.6, "helps, at a price"), (12.1, "damages"), (None, "damages")])
def test_perplexity_has_a_price_and_a_veto(after, expected):
    assert word(side_effects={"perplexity": {"base": 10.0, "edited": after, "kind": "perplexity"}}) == expected


@pytest.mark.parametrize("beyond", [{"base": 20_000.0}, {"base": 900.0, "is_beyond": True}])
def test_a_text_beyond_the_model_says_nothing(beyond):
    assert word(side_effects={"perplexity": {"edited": 60_000.0, "kind": "perplexity", **beyond}}) == "helps"


def test_a_loss_without_a_gain_is_damage_however_small_its_price():
    assert word(after=0.61, difference=change(0.01, x=(-0.05, 0.02))) == "damages"


def test_one_constant_answer_for_another_is_called_that():
    frequent = {
        "base": {"label": "the first option", "share": 0.99, "wrong_share": 0.99},
        "edited": {"label": "the unknown option", "share": 0.97, "wrong_share": 0.96},
        "is_certain": False,
    }
    verdict = judge(comparison(0.33, 0.5, answers={"most_frequent": frequent}))
    assert verdict.word == "replaces one constant answer by another"
    assert "99.0 %" in verdict.reasons[0]
    assert "97.0 %" in verdict.reasons[0]


@pytest.mark.parametrize(("mean", "half", "expected"), [(0.15, 0.05, "helps"), (0.01, 0.05, "helps, at a price"), (-0.2, 0.05, "damages")])
def test_generated_answers_count_too(mean, half, expected):
    generation = {"base": measured(0.6), "edited": measured(0.6 + mean), "difference": change(mean, half)}
    assert word(other_metrics={"generation": generation}) == expected


def test_texts_that_match_no_choice_count():
    generation = {"base": measured(0.6), "difference": change(0.1), "unmatched": {"base": 0.0, "edited": 0.5}}
    assert word(other_metrics={"generation": generation}) == "helps, at a price"


def test_less_log_loss_is_a_gain_and_more_of_it_for_a_tag_is_a_loss():
    gained = comparison(2.0, 1.5, metric="logloss", answers=None, control=measured(2.0))
    assert judge(gained).word == "helps"
    lost = {**gained.model_dump(by_alias=True), "difference": change(-0.5, 0.05, x=(0.9, 0.1))}
    lost["base"]["by_tag"] = {"x": 2.0}
    assert judge(ComparisonFile.model_validate(lost)).word == "damages"


def test_nothing_changed_says_why_and_what_guards_refused():
    assert "no candidate was better" in judge(comparison(), is_empty=True).reasons[0]
    refused = {"name": "a cut of 1 neurons", "score": 0.4, "broken": [{"guard": "disambig", "sentence": "disambig 47 % → 1 %"}]}
    verdict = judge(comparison(other_metrics={"guards": {"refused": refused}}), is_empty=True)
    assert verdict.word == "no reliable change"
    assert "disambig 47 % → 1 %" in verdict.reasons[0]


def test_limits_come_from_the_recipe_and_stand_in_the_verdict():
    price, damage = limits_of({"guard": ("none",), "damage": ("tags=20", "perplexity=none")})
    assert price == GuardLimits()
    assert (damage.of_tag("x"), damage.perplexity) == (0.2, None)
    lost = comparison(difference=change(0.2, y=(-0.15, 0.05)))
    verdict = judge(lost, price=price, damage=damage)
    assert verdict.word == "helps, at a price"
    assert verdict.limits["damage"] == {"tags": 0.2, "perplexity": None, "collapse": 0.2}
