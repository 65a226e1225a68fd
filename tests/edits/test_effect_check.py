"""The effect check: measured effects, errors for plans without effect, and cases where no effect is no error."""

import numpy as np
import pytest
import torch

import contracts
import pico
from resect.core.address import Neurons
from resect.core.errors import NoEffect, NotFinite
from resect.edits.effect_check import verify_effect
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Scale, Shift
from resect.edits.plan import Plan


def probe(name, model):
    return lambda: pico.output(name, model).float().numpy()


def test_an_effect_is_measured_and_undone():
    on = contracts.subject("llama")
    before = contracts.bits(on.model)
    plan = Plan((Scale({"decoder.0.up": [1, 2]}), Shift({"decoder.1.post": [3]}, 0.5), ReduceRank("decoder.1.down", 0.5)))
    effect = verify_effect(plan, on.model, probe("llama", on.model))
    with plan.applied(on.model):
        largest = float((on.logits() - on.base).abs().max())
    assert effect.forms == ("weights", "activations", "weights")
    assert (effect.tensors_changed, effect.hooks) == (2, 1)
    assert effect.max_change == pytest.approx(largest)
    assert effect.units_touched == effect.units_fired == 2 + 1 + 24
    contracts.assert_same_bits(before, on.model)
    assert contracts.hooks(on.model) == 0


def test_an_empty_plan_is_a_valid_result_and_runs_no_probe():
    on = contracts.subject("llama")
    effect = verify_effect(Plan((Scale(Neurons()),)), on.model, lambda: pytest.fail("the probe ran"))
    assert (effect.tensors_changed, effect.hooks, effect.max_change, effect.units_touched) == (0, 0, None, 0)


@pytest.mark.parametrize(
    "edit",
    [Scale({"decoder.0.up": [1, 2]}, 1.0), PruneWeights("decoder.0.up", 0.0), Shift({"decoder.0.post": [1]}, 0.0)],
)
def test_a_plan_that_changes_nothing_is_an_error(edit):
    on = contracts.subject("llama-biased")
    with pytest.raises(NoEffect):
        verify_effect(Plan((edit,)), on.model, probe("llama-biased", on.model))


def test_a_plan_that_was_applied_already_has_no_further_effect():
    model = pico.build("llama")
    plan = Plan((Scale({"decoder.0.v": [1, 2]}),))
    plan.write(model)
    effect = verify_effect(plan, model, probe("llama", model))  # the units are no longer active
    assert (effect.max_change, effect.units_fired) == (0.0, 0)


def test_units_that_are_inactive_in_the_probe_are_no_error():
    model = pico.build("opt")
    layer = model.model.decoder.layers[0]
    layer.fc1.bias.data[[3, 5]] = -1e4  # after ReLU these are never active
    plan = Plan((Scale({"decoder.0.up": [3, 5]}),))
    effect = verify_effect(plan, model, probe("opt", model))
    assert (effect.max_change, effect.units_fired, effect.units_touched) == (0.0, 0, 2)
    assert effect.tensors_changed == 2


def test_a_change_below_half_precision_is_no_error():
    model = pico.build("llama", dtype=torch.bfloat16)
    effect = verify_effect(Plan((Scale({"decoder.0.post": [1]}, 1.0 + 1e-6),)), model, probe("llama", model))
    assert effect.max_change == 0.0
    assert effect.units_fired == 1


def test_a_probe_that_does_not_depend_on_the_model_is_an_error():
    on = contracts.subject("llama")
    with pytest.raises(NoEffect, match="same to the last bit"):
        verify_effect(Plan((Scale({"decoder.0.post": [1]}),)), on.model, lambda: on.logits().numpy() * 0)


def test_a_plan_that_gives_nan_is_an_error():
    on = contracts.subject("llama")
    outputs = iter([np.zeros(3), np.array([0.0, np.nan, 1.0])])
    with pytest.raises(NotFinite):
        verify_effect(Plan((Scale({"decoder.0.post": [1]}),)), on.model, lambda: next(outputs))
