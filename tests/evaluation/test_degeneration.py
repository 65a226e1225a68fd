"""Degeneration of written answers: what repeats, is always the same, or is empty is measured as counted by hand; guards refuse its rise."""

import pytest

import bilingual
from resect.core.errors import BadRecipe
from resect.evaluation.degeneration import Degeneration
from resect.evaluation.own_text import repeated_share
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import answers_limit

#: 6 runs of four words, of which 3 occurred before.
REPEATED = "eau avec leur eau avec leur eau avec leur"
PLAIN = "maison avec eau parce"


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return bilingual.model()


def shares(*values: float) -> Degeneration:
    """Answers with these shares: repetition, the most frequent text, empty ones of ten."""
    return Degeneration(10, values[0], values[1], round(10 * values[2]))


def test_the_measures_are_those_of_a_count_by_hand(model: LanguageModel) -> None:
    found = Degeneration.of(model, [REPEATED, PLAIN, f" {PLAIN}\n", "", " \n"])
    assert repeated_share(model.tokenizer(REPEATED)["input_ids"]) == 0.5
    assert found == Degeneration(5, 0.5 / 5, 2 / 5, 2)
    assert found.empty_share == 0.4
    assert Degeneration.of(model, ["", ""]) == Degeneration(2, 0.0, 0.0, 2), "empty answers are not the same text"
    assert found.to_json() == {"repetition": 0.1, "most_frequent": 0.4, "empty": 2}


def test_each_rise_beyond_the_limit_breaks_its_own_guard() -> None:
    before = shares(0.1, 0.2, 0.1)
    assert shares(0.21, 0.2, 0.1).broken_guards(before, 0.1) == ("repetition 10.0 % → 21.0 %",)
    assert shares(0.1, 0.4, 0.1).broken_guards(before, 0.1) == ("same answer 20.0 % → 40.0 %",)
    assert shares(0.1, 0.2, 0.3).broken_guards(before, 0.1) == ("empty answers 10.0 % → 30.0 %",)
    assert len(shares(0.9, 0.9, 0.9).broken_guards(before, 0.1)) == 3
    assert shares(0.9, 0.9, 0.9).broken_guards(before, None) == ()


def test_a_rise_by_the_limit_is_allowed_and_so_is_any_fall() -> None:
    for before in range(9):
        assert shares(before / 10 + 0.1, before / 10 + 0.1, before / 10 + 0.1).broken_guards(shares(*[before / 10] * 3), 0.1) == ()
    assert shares(0.0, 0.1, 0.0).broken_guards(shares(0.9, 0.9, 0.9), 0.0) == ()


def test_written_answers_have_one_limit() -> None:
    assert answers_limit([]) == 0.1
    assert answers_limit(["collapse=0.25"]) == 0.25
    assert answers_limit(["none"]) is None
    assert answers_limit(["collapse=none"]) is None
    for entries in (["disambig=3"], ["tags=3"], ["perplexity=0.1"], ["collapse"], ["collapse=-1"], ["none", "collapse=0.1"]):
        with pytest.raises(BadRecipe, match=r"They have one, collapse=SHARE.*Tags do not exist here, and perplexity is no guard"):
            answers_limit(entries)
