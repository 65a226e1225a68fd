"""The laws of edits and plans (DESIGN.md, "Laws"), each a function of a model and an edit, or of a model.

Each law is defined here; `test_contracts` applies them to edits and families. Laws 7, 10, 11 and 12 are not about edits alone and are
next to the tests of what they are about.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import pico
from resect.core.address import Neurons
from resect.core.errors import NotWritable
from resect.edits.base import Edit
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import ModelIdentity


@dataclass(frozen=True)
class Subject:
    """A model that laws are applied to, and its logits without any edit."""

    name: str
    model: torch.nn.Module
    anatomy: Anatomy
    base: torch.Tensor
    identity: ModelIdentity

    def logits(self):
        return pico.output(self.name, self.model)


@functools.cache
def subject(name):
    model = pico.build(name)
    anatomy = Anatomy.of(model)
    return Subject(name, model, anatomy, pico.output(name, model), ModelIdentity.of(anatomy, anatomy.sites))


def bits(model):
    """Every parameter and buffer, as bytes."""
    return {path: tensor.contiguous().flatten().view(torch.uint8).clone() for path, tensor in model.state_dict().items()}


def assert_same_bits(before, model):
    after = bits(model)
    assert before.keys() == after.keys()
    changed = [path for path in before if not torch.equal(before[path], after[path])]
    assert not changed, changed


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def units_of(anatomy, sites, share=0.3, seed=0):
    """Some units of each site, the same for the same seed."""
    rng = np.random.default_rng(seed)
    counts = {site: min(anatomy.width(site), max(2, round(share * anatomy.width(site)))) for site in sites}
    return Neurons({site: rng.choice(anatomy.width(site), count, replace=False).tolist() for site, count in counts.items()})


@functools.cache
def some_edits(anatomy):
    """At least one edit of each kind, at every role of the last layer of each stack, and at its moments."""
    last = {stack: layers - 1 for stack, layers in anatomy.layers.items()}
    matrices = [site for site in anatomy.sites if site.layer == last[site.stack]]
    rng = np.random.default_rng(1)
    edits = [Scale(units_of(anatomy, matrices), 0.0), Scale(units_of(anatomy, matrices), -0.5)]
    for role in ("act", "post"):
        neurons = units_of(anatomy, [site for site in anatomy.moments if site.layer == last[site.stack] and site.role == role])
        if not neurons:  # an activation function without a module
            continue
        values = {site: rng.normal(size=len(units)).tolist() for site, units in neurons.items()}
        edits += [
            Scale(neurons, 0.0),
            Scale(neurons, 1.7),
            Clamp(neurons, 0.0),
            Clamp(neurons, values),
            Shift(neurons, 0.8),
        ]
    reduced = {site.role: site for site in matrices}  # with two stacks, of the second
    edits += [ReduceRank(site, 0.3) for site in reduced.values()]
    up, down = (next(site for site in matrices if site.role == role) for role in ("up", "down"))
    edits += [ReduceRank(up, 0.29, "smallest"), ReduceRank(up, 0.0), ReduceRank(down, 0.3, variant="official", seed=5)]
    return [*edits, PruneWeights(matrices[1], 0.4), PruneWeights(down, 0.4), PruneWeights(up, 0.5, "random", seed=7)]


@functools.cache
def forms(edit, anatomy):
    return [form for form in ("weights", "activations") if not edit.problems(anatomy, form)]


# -- of an edit --------------------------------------------------------------------------------------------------------


def law_1_undo_is_exact(on: Subject, edit: Edit):
    before = bits(on.model)
    for form in forms(edit, on.anatomy):
        undo = edit.apply_as(on.anatomy, form)
        assert (undo.changed_count, undo.hook_count > 0) == ((len(undo.parameters), False) if form == "weights" else (0, True))
        undo.restore()
        assert_same_bits(before, on.model)
        assert hooks(on.model) == 0


def law_3_twice_is_once(on: Subject, edit: Edit):
    if not (isinstance(edit, PruneWeights | Clamp) or getattr(edit, "factor", None) == 0.0 or getattr(edit, "keep", "") == "largest"):
        return
    for form in forms(edit, on.anatomy):
        with edit.apply_as(on.anatomy, form):
            once = {path: tensor.clone() for path, tensor in on.model.state_dict().items()} if form == "weights" else on.logits()
            with edit.apply_as(on.anatomy, form):
                if form == "weights":
                    torch.testing.assert_close(on.model.state_dict(), once, rtol=1e-4, atol=1e-5)
                else:
                    assert torch.equal(on.logits(), once)


def law_6_both_forms_are_equal(on: Subject, edit: Edit):
    logits = []
    for form in forms(edit, on.anatomy):
        with edit.apply_as(on.anatomy, form):
            logits.append(on.logits())
        assert not torch.equal(logits[-1], on.base), form
    if len(logits) == 2:
        assert_close(logits[0], logits[1], on.base)


def law_5_json_returns_the_edit(on: Subject, edit: Edit):
    plan = Plan((edit,), on.identity)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert hash(again) == hash(plan)
    assert again.digest == plan.digest


def an_impossible_form_is_refused_before_anything_is_touched(on: Subject, edit: Edit):
    before = bits(on.model)
    for form in {"weights", "activations"} - set(forms(edit, on.anatomy)):
        with pytest.raises(NotWritable), edit.applied(on.anatomy, form):
            pass
    assert_same_bits(before, on.model)
    with edit.applied(on.anatomy) as form:
        assert form == forms(edit, on.anatomy)[0]


LAWS_OF_EDITS = (
    law_1_undo_is_exact,
    law_3_twice_is_once,
    law_5_json_returns_the_edit,
    law_6_both_forms_are_equal,
    an_impossible_form_is_refused_before_anything_is_touched,
)

# -- of a model --------------------------------------------------------------------------------------------------------


def law_1_undo_is_exact_in_bfloat16(on: Subject):
    model = pico.build(on.name, dtype=torch.bfloat16)
    before = bits(model)
    anatomy = Anatomy.of(model)
    for edit in some_edits(anatomy):
        if "weights" in forms(edit, anatomy):
            edit.write(anatomy).restore()
    assert_same_bits(before, model)


def law_2_the_empty_plan_is_the_identity(on: Subject):
    before = bits(on.model)
    for plan in (Plan(), Plan((Scale(Neurons()),))):
        assert plan.is_empty
        with plan.applied(on.anatomy):
            assert_same_bits(before, on.model)
            assert torch.equal(on.logits(), on.base)


def law_4_disjoint_edits_commute(on: Subject):
    edits = [edit for edit in some_edits(on.anatomy) if "weights" in forms(edit, on.anatomy)]
    slices = {id(edit): {written.site for written in edit.written_slices(on.anatomy)} for edit in edits}
    pairs = [(a, b) for a, b in itertools.combinations(edits, 2) if not slices[id(a)] & slices[id(b)]]
    assert pairs
    for first, second in pairs[:: max(1, len(pairs) // 6)]:
        with first.applied(on.anatomy), second.applied(on.anatomy):
            one = bits(on.model)
        with second.applied(on.anatomy), first.applied(on.anatomy):
            assert_same_bits(one, on.model)


def law_6_holds_for_plans(on: Subject):
    """Several edits are applied in the plan's order, also where some of them are written into the weights."""
    moments = [site for site in on.anatomy.moments if site.layer == 0]
    act, post = ([site for site in moments if site.role == role] for role in ("act", "post"))
    first = Scale(units_of(on.anatomy, post), 0.5)
    plan = Plan((first, Shift(units_of(on.anatomy, act, seed=2), 0.4), Clamp(units_of(on.anatomy, post), -0.3), first))
    with plan.applied(on.anatomy, "activations"):
        expected = on.logits()
    if not plan.check(on.anatomy):  # where `down` has a bias it is a Conflict
        with plan.applied(on.anatomy):
            assert_close(on.logits(), expected, on.base)
    else:
        assert on.anatomy.has_bias(post[0].at("down"))
    if on.anatomy.has_bias(post[0].at("down")) and not on.anatomy.has_gate(post[0]):
        one, other = (Neurons({site: range(*units) for site in post}) for units in ((0, 4), (4, 9)))
        plan = Plan((Scale(one, 0.5), Clamp(other, -0.3), Scale(units_of(on.anatomy, on.anatomy.sites[:4]), 0.2)))
        with plan.applied(on.anatomy) as forms_used:
            assert set(forms_used) == {"weights"}
            written = on.logits()
        with plan.applied(on.anatomy, "activations"):
            assert_close(on.logits(), written, on.base)


def law_8_an_exception_restores(on: Subject):
    before = bits(on.model)
    for form in ("weights", "activations"):
        edits = [edit for edit in some_edits(on.anatomy)[:7] if form in forms(edit, on.anatomy) and edit.only_scales]
        with pytest.raises(KeyboardInterrupt), Plan(edits).applied(on.anatomy, form):
            raise KeyboardInterrupt
        assert_same_bits(before, on.model)
        assert hooks(on.model) == 0


def the_model_stays_itself(on: Subject):
    before, kind = list(on.model.state_dict()), type(on.model)
    classes = [type(module) for module in on.model.modules()]
    for form in ("weights", "activations"):
        with Plan((some_edits(on.anatomy)[0],)).applied(on.model, form):
            assert list(on.model.state_dict()) == before
            assert type(on.model) is kind
            assert [type(module) for module in on.model.modules()] == classes


LAWS_OF_MODELS = (
    law_1_undo_is_exact_in_bfloat16,
    law_2_the_empty_plan_is_the_identity,
    law_4_disjoint_edits_commute,
    law_6_holds_for_plans,
    law_8_an_exception_restores,
    the_model_stays_itself,
)


def assert_close(first, second, base):
    """Equal up to float32 rounding of sums in another order."""
    scale = float(base.abs().max())
    assert float((first - second).abs().max()) <= 2e-5 * max(scale, 1.0), float((first - second).abs().max())
