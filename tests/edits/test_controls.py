"""Controls: of the same size and kind, other units, seeded and distinct."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

import contracts
from resect.core.address import Neurons
from resect.core.errors import InputError, UnknownName, WrongModel
from resect.edits.controls import like
from resect.edits.effect_check import verify_effect
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan


def counts(neurons):
    return {site: len(units) for site, units in neurons.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "llama", "gpt2", "bert", "falcon-40b"])
def test_every_control_is_of_the_plans_size_and_kind(name):
    on = contracts.subject(name)
    for edit in contracts.some_edits(on.anatomy):
        for control in like(Plan((edit,)), on.model, seed=3):
            (random,) = control.edits
            assert random.kind == edit.kind
            assert control.model is None
            assert random != edit
            if isinstance(edit, Scale | Clamp | Shift):
                assert counts(random.neurons) == counts(edit.neurons)
                assert not (random.neurons & edit.neurons)
            if isinstance(edit, Scale):
                assert random.factor == edit.factor
            if isinstance(edit, Clamp | Shift):
                for site in edit.neurons:
                    assert sorted(random.values_at(site)) == sorted(edit.values_at(site))
            if isinstance(edit, ReduceRank):
                assert (random.site.role, random.rho, random.keep) == (edit.site.role, edit.rho, edit.keep)
                assert (random.variant, random.seed) == (edit.variant, edit.seed)
                assert random.site.layer != edit.site.layer
            if isinstance(edit, PruneWeights):
                assert (random.site, random.fraction, random.select) == (edit.site, edit.fraction, "random")
            assert control.check(on.model) == []


def test_draws_are_seeded_and_distinct():
    on = contracts.subject("llama")
    plan = Plan((Scale({"decoder.0.up": [1]}), PruneWeights("decoder.0.q", 0.1)))
    first = like(plan, on.model, seed=0, draws=8)
    assert first == like(plan, on.model, seed=0, draws=8)
    assert first[:3] == like(plan, on.model, seed=0)
    assert len(set(first)) == 8
    assert first != like(plan, on.model, seed=1, draws=8)
    units = like(Plan((plan.edits[0],)), on.model, seed=0, draws=30)
    assert len(set(units)) >= 29
    values = Shift({"decoder.0.post": [1, 2, 3, 4]}, {"decoder.0.post": [1, 2, 3, 4]})
    orders = {control.edits[0].values for control in like(Plan((values,)), on.model, seed=0, draws=6)}
    assert len(orders) > 1


def test_the_plans_own_units_are_not_drawn_while_there_are_others():
    on = contracts.subject("llama")
    for count, spared in ((20, True), (21, False), (40, False)):
        own = Neurons({"decoder.0.up": range(count)})
        (control,) = like(Plan((Scale(own),)), on.model, seed=0, draws=1)
        assert control.edits[0].neurons.count == count
        assert (not control.edits[0].neurons & own) == spared


def test_units_that_two_edits_share_are_shared_in_a_control():
    on = contracts.subject("bert")
    plan = Plan(
        (
            Scale({"encoder.0.act": [1, 2]}, 2.0),
            Scale({"encoder.0.post": [2, 3]}, 3.0),
            Shift({"encoder.0.post": [4, 5]}, 1.0),
        )
    )
    for control in like(plan, on.model, seed=0, draws=5):
        act, post, shifted = (set(next(iter(edit.neurons.values()))) for edit in control.edits)
        assert len(act & post) == 1
        assert not shifted & (act | post)
        assert control.check(on.model) == []


def test_a_matrix_without_others_of_its_role_is_replaced_by_the_most_similar():
    on = contracts.subject("t5")
    every_up = [site for site in on.anatomy.sites if site.role == "up"]
    for own in (every_up, every_up[:-1]):
        plan = Plan(ReduceRank(site, 0.1) for site in own)
        for control in like(plan, on.model, seed=0):
            assert len(set(control.sites)) == len(own)
            assert not set(control.sites) & set(own)  # a control that contains a part of the plan would show a part of its effect
    (one,) = (like(Plan((ReduceRank(every_up[0], 0.1),)), on.model, seed=0, draws=1)[0].sites,)
    assert one[0].role == "up" and one[0].stack == every_up[0].stack


def test_equal_draws_are_returned_once():
    on = contracts.subject("llama")
    controls = like(Plan((ReduceRank("decoder.0.down", 0.1),)), on.model, seed=0)
    assert [str(control.sites[0]) for control in controls] == ["decoder.1.down"]


def test_a_plan_of_all_matrices_has_no_control():
    on = contracts.subject("llama")
    assert like(Plan(ReduceRank(site, 0.1) for site in on.anatomy.sites), on.model, seed=0) == ()


def test_the_controls_of_an_empty_plan_are_empty():
    on = contracts.subject("llama")
    for empty in (Plan(), Plan((Scale(Neurons()),))):
        controls = like(empty, on.model, seed=0)
        assert len(controls) == 3
        assert all(control.is_empty for control in controls)
        assert verify_effect(controls[0], on.model, lambda: on.logits().numpy()).max_change is None
    assert like(Plan(), on.anatomy, seed=0, draws=0) == ()


def test_impossible_requests_are_refused():
    on = contracts.subject("llama")
    with pytest.raises(InputError, match="seed"):
        like(Plan(), on.model, seed=-1)
    with pytest.raises(WrongModel):
        like(Plan((Scale({"decoder.0.up": [1000]}),)), on.model, seed=0)
    with pytest.raises(UnknownName):
        like(Plan((ReduceRank("decoder.7.up", 0.1),)), on.model, seed=0)


@dataclass(frozen=True)
class Halve(Scale):
    """A kind of edit that `controls` does not know."""

    kind: ClassVar[str] = "halve"

    def __init__(self, neurons):
        self._set_fields(neurons=neurons, factor=0.5)

    def random_like(self, substitutes):
        return Halve(substitutes.of(self.neurons))


def test_a_new_kind_of_edit_has_controls_of_its_own():
    on = contracts.subject("llama")
    own = Neurons({"decoder.0.up": [1, 2]})
    for control in like(Plan((Halve(own),)), on.model, seed=0):
        assert isinstance(control.edits[0], Halve)
        assert control.edits[0].neurons.count == 2 and not control.edits[0].neurons & own
