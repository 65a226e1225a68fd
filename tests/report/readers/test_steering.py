"""Steered answers: what is said of how sure a change is, of answers that are empty, and what to try."""

import pytest

from report.language_folder import MINDS, choice, steered
from resect.core.number_format import PLAIN, MetricFormat
from resect.report.readers.steering import SteeringResult, with_distinct_names
from resect.report.tables.language_tables import strengths_table
from resect.runs.schemas.languages import SteeringFile

SHARES = MetricFormat()


def result(befores, afters, to="fr", **more):
    """A result with answers in these languages; "" for an answer that is empty."""
    rows = [
        {
            "prompt": f"question {n}",
            "before": MINDS[before][1] if before else " ",
            "after": MINDS[after][1] if after else "",
            "identified": {"before": before or None, "after": after or None},
        }
        for n, (before, after) in enumerate(zip(befores, afters, strict=True))
    ]
    shares = {"before": befores.count(to) / len(befores), "after": afters.count(to) / len(afters)}
    told = {"language_accuracy": {**shares, "interval": [-0.1, 0.2]}, "quality": None, "empty": None, "n": len(rows)}
    return SteeringResult.of(SteeringFile.model_validate({**steered(to), "answers": rows, **told, **more}))


@pytest.mark.parametrize(
    ("befores", "afters", "certainty", "remarks"),
    [
        (["en"] * 4, ["en"] * 4, "none changed", ["no answer changed; try a larger --strength, or --mode difference."]),
        (["en"] * 4, ["es"] * 4, "none changed", ["no answer changed its language; try a larger --strength, or --mode difference."]),
        (["fr"] * 4, ["fr"] * 4, "none changed", ["no answer changed; try a larger --strength, or --mode difference."]),
        (["en"] * 4, ["fr", "en", "en", "en"], "+25.0 (too few to say)", []),
        (["en", "fr"] * 2, ["fr", "en"] * 2, "0.0 (too few to say)", []),
        (["en"] * 20, ["fr"] * 2 + ["en"] * 18, "+10.0 (-10.0 to +20.0)", []),
        (["fr"] * 4, ["fr", "en", "en", "en"], "-75.0 (too few to say)", []),
    ],
)
def test_what_is_said_of_a_change(befores, afters, certainty, remarks):
    found = result(befores, afters)
    assert found.change(SHARES) == certainty and found.remarks() == remarks


@pytest.mark.parametrize(
    ("number", "interval", "is_said"),
    [
        (20, [-0.2, -0.01], True),
        (20, [-0.2, 0.0], False),
        (20, [-0.2, 0.1], False),
        (20, [0.0, 0.2], False),
        (20, None, False),
        (19, [-0.2, -0.01], False),
    ],
)
def test_that_it_got_worse_is_said_only_where_the_interval_excludes_0(number, interval, is_said):
    told = {"language_accuracy": {"before": 1.0, "after": 0.9, "interval": interval}}
    found = result(["fr"] * number, ["fr"] * (number - 2) + ["en"] * 2, **told).remarks()
    worse = "it got worse: fewer answers are in that language than before; try less --strength, or another --mode."
    assert found == ([worse] if is_said else [])


def test_a_choice_says_on_how_many_prompts_and_what_accuracy_alone_would_have_taken():
    befores, afters = ["en"] * 4, ["fr"] * 4
    chosen = "strength 2 was chosen, on 5 prompts; what is reported is of the 4 others."
    alone = "by language accuracy alone, strength 8 would have been chosen (75.0 %); it breaks guards: repetition is high."
    assert result(befores, afters, strength=2.0, choice=choice(2.0, 2.0)).remarks() == [chosen]
    assert result(befores, afters, strength=2.0, choice=choice(2.0, 8.0)).remarks() == [chosen, alone]
    broken = result(befores, afters, strength=2.0, choice=choice(2.0, 2.0), breaks=["same answer"]).remarks()
    assert broken[1] == "the answers break a guard (same answer); those of the prompts that chose it break none."


def test_no_strength_may_be_better_than_none():
    none = result(["en"] * 4, ["en"] * 4, strength=None, choice=choice(None, 8.0))
    assert none.name == "to fr, away from en (set, no strength chosen)"
    assert none.remarks() == [
        "no strength that keeps the guards is better than no steering, on 5 prompts; what is reported is of the 4 others. "
        "No plan is written.",
        "by language accuracy alone, strength 8 would have been chosen (75.0 %); it breaks guards: repetition is high.",
    ]
    (free,) = result(["en"] * 4, ["en"] * 4, strength=None, choice=choice(None, None, None)).remarks()
    assert free.startswith("no strength is better than no steering")


def test_one_strength_that_breaks_a_guard_is_said_in_one_sentence():
    (said,) = result(["en"] * 4, ["fr"] * 4, breaks=["repetition 1.0 % → 60.0 %", "empty answers 0.0 % → 25.0 %"]).remarks()
    assert said == (
        "the answers break a guard (repetition 1.0 % → 60.0 %; empty answers 0.0 % → 25.0 %); the strength was requested, so it is applied."
    )


def test_the_table_has_a_row_for_each_strength_and_the_chosen_one_stands_out():
    assert strengths_table(result(["en"], ["fr"])) is None
    table = strengths_table(result(["en"] * 4, ["fr"] * 4, choice=choice(2.0, 8.0)), PLAIN)
    assert table.columns == ("strength", "language accuracy", "repetition", "same answer", "empty", "guards broken")
    assert table.rows == (
        ("no steering", "0.0 %", "0.0 %", "20.0 %", "1", ""),
        ("2", "50.0 %", "10.0 %", "20.0 %", "0", "none"),
        ("8", "75.0 %", "90.0 %", "20.0 %", "0", "repetition is high"),
    )
    assert table.strong == (1,)
    assert strengths_table(result(["en"], ["en"], strength=None, choice=choice(None, 8.0))).strong == (0,)


def test_no_interval_is_invented():
    found = result(["en"] * 20, ["fr"] * 2 + ["en"] * 18)
    assert result(["en"] * 20, ["fr"] * 20, language_accuracy={"before": 0, "after": 1}).change(SHARES) == "+100.0"
    assert found.moved == 2
    assert result(["en"], ["fr"], language_accuracy=None).change(SHARES) == "\N{EN DASH}"


def test_the_other_mode_is_not_proposed_where_it_was_used():
    assert result(["en"], ["en"], mode="difference").remarks() == ["no answer changed; try a larger --strength."]


def test_empty_answers_are_counted_where_nobody_told():
    assert result(["", "en", ""], ["", "fr", "fr"]).empty == (2, 1)
    assert result(["", "en", ""], ["", "fr", "fr"], empty={"before": 5, "after": 4}).empty == (5, 4)


def test_answers_whose_language_is_unclear_are_counted():
    assert result(["en"], ["fr"], untold={"before": 1, "after": 0}).uncounted == ("1 unclear", "")
    assert result(["", "en"], ["", "fr"], untold={"before": 0, "after": 3}).uncounted == ("1 empty", "1 empty, 3 unclear")


def test_results_that_would_be_called_the_same_are_told_apart():
    one, other = result(["en"], ["fr"]), result(["en"], ["fr"], strength=4.0)
    names = [each.name for each in with_distinct_names({"fr-from-en-set": one, "fr-from-en-set-2": one, "fr-from-en-set-4": other})]
    assert names == [
        "to fr, away from en (set) [fr-from-en-set]",
        "to fr, away from en (set) [fr-from-en-set-2]",
        "to fr, away from en (set, strength 4)",
    ]
