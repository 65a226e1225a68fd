"""Steered answers: what is said of how sure a change is, of answers that are empty, and what to try."""

import pytest

from report.language_folder import MINDS, steered
from resect.core.number_format import MetricFormat
from resect.report.readers.steering import SteeringResult, with_distinct_names
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
        (
            ["fr"] * 4,
            ["fr", "en", "en", "en"],
            "-75.0 (too few to say)",
            ["it got worse: fewer answers are in that language than before; try less --strength, or another --mode."],
        ),
    ],
)
def test_what_is_said_of_a_change(befores, afters, certainty, remarks):
    found = result(befores, afters)
    assert found.change(SHARES) == certainty and found.remarks() == remarks


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
