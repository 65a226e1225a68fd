"""Undo: exact, once, and also where a write fails half way."""

from contextlib import ExitStack

import pytest
import torch

import contracts
import pico
from resect.core.errors import NotFinite
from resect.edits.matrices import ReduceRank
from resect.edits.neurons import Scale
from resect.edits.undo import unedited_values


def test_a_write_that_fails_half_way_is_undone():
    model = pico.build("llama")
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    before = contracts.bits(model)

    class Both(Scale):
        def _write(self, anatomy):
            super()._write(anatomy)
            ReduceRank("decoder.1.up", 0.5).write(anatomy)

    with pytest.raises(NotFinite):
        Both({"decoder.0.up": [0]}).write(model)
    contracts.assert_same_bits(before, model)


def test_undo_restores_on_leaving_and_once_more_without_effect():
    model = pico.build("bert")
    before = contracts.bits(model)
    with Scale({"encoder.0.up": [1]}).write(model) as undo:
        parameter = undo.parameters[0]
        assert not torch.equal(parameter.data, unedited_values(parameter))
    undo.restore()
    contracts.assert_same_bits(before, model)
    assert torch.equal(unedited_values(parameter), parameter.data)


def test_the_unedited_values_are_known_inside_several_edits():
    model = pico.build("llama")
    parameter = model.model.layers[0].mlp.down_proj.weight
    original = parameter.data.clone()
    with ExitStack() as undo:
        for edit in (
            Scale({"decoder.0.post": [1, 2]}),
            ReduceRank("decoder.0.down", 0.2),
            Scale({"decoder.0.down": [3]}, 2.0),
        ):
            undo.enter_context(edit.applied(model))
            assert torch.equal(unedited_values(parameter), original)
    undo = Scale({"decoder.0.post": [1, 2]}).write(model)
    del undo  # without its Undo the edit is permanent: these are the values of the model now
    assert torch.equal(unedited_values(parameter), parameter.data)
