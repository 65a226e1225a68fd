"""Limits as they are written, and what they mean."""

import math

import pytest

from resect.core.errors import BadRecipe
from resect.runs.guard_limits import GuardLimits


def test_what_is_not_named_keeps_its_default():
    limits = GuardLimits.parse(["disambig=5", "collapse=0.3"])
    assert (limits.of_tag("disambig"), limits.of_tag("ambig"), limits.perplexity, limits.collapse) == (0.05, 0.03, 0.05, 0.3)
    assert limits.named_tags == ("disambig",)


def test_each_limit_and_all_of_them_can_be_taken_off():
    limits = GuardLimits.parse(["tags=none", "perplexity=none"])
    assert (limits.of_tag("ambig"), limits.perplexity, limits.collapse) == (math.inf, None, 0.1)
    assert not limits.is_none
    assert GuardLimits.parse(["none"]).is_none
    assert GuardLimits.parse(["tags=none", "perplexity=none", "collapse=none"]).is_none
    assert limits.to_json() == {"tags": None, "perplexity": None, "collapse": 0.1}


def test_zero_allows_no_loss_at_all():
    assert GuardLimits.parse(["tags=0"]).of_tag("x") == 0


@pytest.mark.parametrize("entry", ["disambig", "=3", "disambig=much", "perplexity=-1", "collapse=nan", ""])
def test_what_is_no_limit_is_refused_with_the_form_of_one(entry):
    with pytest.raises(BadRecipe, match="TAG=POINTS"):
        GuardLimits.parse([entry, "tags=3"])
