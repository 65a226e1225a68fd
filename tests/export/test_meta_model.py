"""A model without weights: which few tensors a plan needs, what they are called on disk, and which rows change."""

import pytest
import torch

import contracts
import pico
from resect.core.errors import BadModel
from resect.edits.neurons import Scale, Shift
from resect.edits.plan import Plan
from resect.export.meta_model import Skeleton
from resect.models.anatomy import Anatomy


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "llama-gqa", "gpt2", "phi3", "gpt-neox", "falcon-40b", "bert"])
def test_the_rows_that_it_names_are_all_that_a_plan_changes(name):
    model = pico.build(name)
    for edit in (edit for edit in contracts.some_edits(Anatomy.of(model)) if "weights" in contracts.forms(edit, Anatomy.of(model))):
        plan, skeleton = Plan((edit,)).for_model(model), Skeleton.of(pico.PICO[name]())
        skeleton.fill({key: model.get_parameter(key).data.clone() for key in skeleton.needs(plan)})
        written = skeleton.written(plan)
        plan.write(skeleton.anatomy)
        with plan.applied(model, "weights") as _:
            for key, parameter in model.named_parameters():
                if key in skeleton.needs(plan):
                    assert torch.equal(skeleton.parameter(key), parameter)
            after = {key: parameter.clone() for key, parameter in model.named_parameters()}
        for key, parameter in model.named_parameters():
            changed = (parameter != after[key]).flatten(1).any(1) if parameter.dim() > 1 else parameter != after[key]
            rows = {row for run in written.get(key, ()) for row in run}
            assert set(changed.nonzero().flatten().tolist()) <= rows


def test_few_rows_are_named_where_few_change_and_all_where_columns_do():
    skeleton = Skeleton.of(pico.PICO["llama"]())
    model = pico.build("llama")
    rows, columns = Scale({"decoder.1.up": [3, 4, 9]}), Scale({"decoder.0.post": [7]})
    plan = Plan((rows, columns))
    skeleton.fill({key: model.get_parameter(key).data.clone() for key in skeleton.needs(plan)})
    assert skeleton.written(plan) == {
        "model.layers.1.mlp.up_proj.weight": [range(3, 5), range(9, 10)],
        "model.layers.0.mlp.down_proj.weight": [range(24)],
    }
    skeleton.empty(["model.layers.1.mlp.up_proj.weight"])
    assert skeleton.parameter("model.layers.1.mlp.up_proj.weight").is_meta


def test_what_is_read_is_needed_too():
    model = pico.build("falcon-rw")
    plan = Plan((Shift({"decoder.0.post": [1]}, 1.0),)).for_model(model)
    down = "transformer.h.0.mlp.dense_4h_to_h"
    assert set(Skeleton.of(pico.PICO["falcon-rw"]()).needs(plan)) == {f"{down}.weight", f"{down}.bias"}


def test_names_in_memory_are_found_as_transformers_loads_them():
    skeleton = Skeleton.of(pico.PICO["gpt-neox"]())
    found = skeleton.names_of(
        ["gpt_neox.layers.0.attention.dense.weight", "embed_out.weight", "layers.1.mlp.dense_4h_to_h.bias", "nothing.weight"]
    )
    assert found == {
        "gpt_neox.layers.0.attention.dense.weight": ["gpt_neox.layers.0.attention.dense.weight"],
        "lm_head.weight": ["embed_out.weight"],
        "gpt_neox.layers.1.mlp.dense_4h_to_h.bias": ["layers.1.mlp.dense_4h_to_h.bias"],
    }


def test_a_model_without_a_language_head_is_refused():
    with pytest.raises(BadModel, match="No causal language model"):
        Skeleton.of(pico.PICO["decision-transformer"]())
