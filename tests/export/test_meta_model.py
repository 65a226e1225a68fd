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
def test_the_rows_that_it_names_are_all_that_a_plan_changes(name):
    model = pico.build(name)
    for edit in (edit for edit in contracts.some_edits(Anatomy.of(model)) if "weights" in contracts.forms(edit, Anatomy.of(model))):
        plan, meta_model = Plan((edit,)).for_model(model), MetaModel.of(pico.PICO[name]())
        needed = meta_model.needed_parameters(plan)
        meta_model.set_values({key: model.get_parameter(key).data.clone() for key in needed})
        changed = meta_model.changed_rows(plan)
        plan.write(meta_model.anatomy)
        with plan.applied(model, "weights") as _:
            for key in needed:
                assert torch.equal(meta_model.parameter(key), model.get_parameter(key))
            after = {key: parameter.clone() for key, parameter in model.named_parameters()}
        for key, parameter in model.named_parameters():
            differs = (parameter != after[key]).flatten(1).any(1) if parameter.dim() > 1 else parameter != after[key]
            rows = {row for run in changed.get(key, ()) for row in run}
            assert set(differs.nonzero().flatten().tolist()) <= rows


def test_few_rows_are_named_where_few_change_and_all_where_columns_do():
    meta_model, model = MetaModel.of(pico.PICO["llama"]()), pico.build("llama")
    plan = Plan((Scale({"decoder.1.up": [3, 4, 9]}), Scale({"decoder.0.post": [7]})))
    meta_model.set_values({key: model.get_parameter(key).data.clone() for key in meta_model.needed_parameters(plan)})
    assert meta_model.changed_rows(plan) == {
        "model.layers.1.mlp.up_proj.weight": [range(3, 5), range(9, 10)],
        "model.layers.0.mlp.down_proj.weight": [range(24)],
    }
    meta_model.drop_values(["model.layers.1.mlp.up_proj.weight"])
    assert meta_model.parameter("model.layers.1.mlp.up_proj.weight").is_meta


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
