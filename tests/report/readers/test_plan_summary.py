"""What a plan does, in words: neurons as before, matrices by ρ and rank, and that rank 0 leaves nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from resect.core.address import Site
from resect.core.number_format import PAGE
from resect.edits.matrices import ReduceRank
from resect.report.readers.plan_summary import PlanSummary, Reduction, rank_of
from resect.runs.schemas.plan import PlanFile
from resect.runs.schemas.rows import TrialLine

NEURONS = {"kind": "scale", "factor": 0.0, "neurons": {"decoder.3.up": [5, 17], "encoder.0.q": [1]}}
REDUCED = {"kind": "reduce_rank", "site": "decoder.10.gate", "rho": 0.05, "keep": "largest"}
SHAPES = {"shapes": {"decoder.10.gate": [1024, 256]}}
TRIED = TrialLine(site="decoder.10.gate", rho=0.05, rank=12, score=0.5)


def done(*edits, model=SHAPES, trials=()):
    return PlanSummary.of(PlanFile.model_validate({"model": model, "edits": list(edits)}), trials)


@pytest.mark.parametrize(
    ("edits", "says", "brief"),
    [
        ((NEURONS,), "Cutting 3 neurons", "3 neurons"),
        ((REDUCED,), "Reducing decoder.10.gate to rank 12 of 256", "decoder.10.gate ρ 0.05"),
        ((REDUCED, {**REDUCED, "site": "decoder.9.down"}), "Reducing 2 matrices", "decoder.10.gate ρ 0.05 and 1 more"),
        (({**REDUCED, "rho": 0.001},), "Zeroing decoder.10.gate", "decoder.10.gate ρ 0.001"),
        (({**REDUCED, "keep": "smallest"},), "Keeping only the smallest", "decoder.10.gate ρ 0.05, smallest"),
        ((NEURONS, REDUCED), "Cutting 3 neurons and changing 1 matrix", "3 neurons, decoder.10.gate ρ 0.05"),
        (({"kind": "prune_weights", "site": "decoder.1.up", "fraction": 0.9},), "Dropping the smallest 90 %", "decoder.1.up 90 % pruned"),
        ((), "Cutting 0 neurons", "nothing"),
    ],
)
def test_a_plan_is_told_in_words(edits, says, brief):
    found = done(*edits)
    assert found.action().startswith(says) and found.brief() == brief


def test_a_rank_that_the_plan_does_not_tell_comes_from_the_candidates():
    assert done(REDUCED, model=None).reductions[0].ranks() == "its rank is not known"
    assert done(REDUCED, model=None, trials=[TRIED]).reductions[0].ranks() == "rank 12"


def test_rank_0_is_said():
    nothing = Reduction(Site.parse("decoder.3.up"), 0.001, rank=0, full=96)
    assert nothing.line(PAGE) == "decoder.3.up, ρ 0.001: rank 0 of 96: the matrix is zeroed"
    assert Reduction(Site.parse("decoder.3.up"), 0.0).is_zeroed


def test_words_follow_what_is_touched():
    neurons, one, both, nothing = done(NEURONS), done(REDUCED), done(REDUCED, REDUCED), done(trials=[TRIED])
    assert (neurons.noun, one.noun, nothing.noun, done().noun) == ("cut", "reduction", "reduction", "cut")
    assert (neurons.subject, one.subject, both.subject) == ("these neurons are", "this matrix is", "these matrices are")
    assert "neurons" in neurons.control and "other matrices" in one.control


@given(rho=st.floats(0, 0.999), full=st.integers(1, 5000), official=st.booleans())
def test_ranks_are_those_of_the_edit(rho, full, official):
    edit = ReduceRank("decoder.3.up", rho, variant="official", seed=0) if official else ReduceRank("decoder.3.up", rho)
    assert rank_of(rho, full, official) == edit.rank((full, 2 * full))


@pytest.mark.parametrize("damage", [{"rho": "a lot"}, {"rho": -1}, {"rho": None}, {"rho": True}])
def test_a_damaged_edit_is_refused(damage):
    with pytest.raises(ValidationError, match="rho"):
        done({**REDUCED, **damage})


def test_a_unit_of_two_edits_counts_once():
    assert done(NEURONS, {**NEURONS, "neurons": {"decoder.3.up": [17, 18]}}).neurons == 4
