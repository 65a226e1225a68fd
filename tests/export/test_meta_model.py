"""A model without weights: which few tensors a plan needs and changes, and what they are called on disk."""

import pytest
import torch

import contracts
import pico
from resect.core.errors import BadModel
from resect.edits.neurons import Scale, Shift
from resect.edits.plan import Plan
from resect.export.meta_model import MetaModel
from resect.models.anatomy import Anatomy


@pytest.mark.parametrize("name", ["t5", "llama-gqa", "gpt2", "phi3", "gpt-neox", "falcon-40b", "bert"])
def test_a_plan_needs_these_tensors_only_and_changes_those_that_are_named(name):
    model = pico.build(name)
    for edit in (edit for edit in contracts.some_edits(Anatomy.of(model)) if "weights" in contracts.forms(edit, Anatomy.of(model))):
        plan, meta_model = Plan((edit,)).for_model(model), MetaModel.of(pico.PICO[name]())
        needed, written = meta_model.needed_parameters(plan), meta_model.written_parameters(plan)
        assert set(written) <= set(needed)
        meta_model.set_values({key: model.get_parameter(key).data.clone() for key in needed})
        plan.write(meta_model.anatomy)
        with plan.applied(model, "weights") as _:
            for key in needed:
                assert torch.equal(meta_model.parameter(key), model.get_parameter(key))
            after = {key: parameter.clone() for key, parameter in model.named_parameters()}
        assert {key for key, parameter in model.named_parameters() if not torch.equal(parameter, after[key])} <= set(written)


def test_values_can_be_dropped():
    meta_model, name = MetaModel.of(pico.PICO["llama"]()), "model.layers.1.mlp.up_proj.weight"
    assert meta_model.written_parameters(Plan((Scale({"decoder.1.up": [3, 4, 9]}),))) == (name,)
    meta_model.set_values({name: pico.build("llama").get_parameter(name).data})
    assert not meta_model.parameter(name).is_meta
    meta_model.drop_values([name])
    assert meta_model.parameter(name).is_meta


def test_what_is_read_is_needed_too():
    model = pico.build("falcon-rw")
    plan = Plan((Shift({"decoder.0.post": [1]}, 1.0),)).for_model(model)
    down = "transformer.h.0.mlp.dense_4h_to_h"
    assert set(MetaModel.of(pico.PICO["falcon-rw"]()).needed_parameters(plan)) == {f"{down}.weight", f"{down}.bias"}


def test_names_in_memory_are_found_as_transformers_loads_them():
    meta_model = MetaModel.of(pico.PICO["gpt-neox"]())
    found = meta_model.stored_names(
        ["gpt_neox.layers.0.attention.dense.weight", "embed_out.weight", "layers.1.mlp.dense_4h_to_h.bias", "nothing.weight"]
    )
    assert found == {
        "gpt_neox.layers.0.attention.dense.weight": ["gpt_neox.layers.0.attention.dense.weight"],
        "lm_head.weight": ["embed_out.weight"],
        "gpt_neox.layers.1.mlp.dense_4h_to_h.bias": ["layers.1.mlp.dense_4h_to_h.bias"],
    }


def test_a_model_without_a_language_head_is_refused():
    with pytest.raises(BadModel, match="No causal language model"):
        MetaModel.of(pico.PICO["decision-transformer"]())
