"""Factored modules equal the layers that they replace, and a folder of them loads, or is refused with the reason."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

import checkpoints
import pico
from resect.core.address import Site
from resect.core.errors import BadModel, NotWritable
from resect.edits.matrices import ReduceRank
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.export.export import export
from resect.models.anatomy import Anatomy
from resect.models.factored_linear import (
    FACTORED_INDEX,
    FACTORED_JSON,
    FACTORED_WEIGHTS,
    FactoredFiles,
    FactoredLinear,
    PartlyFactoredLinear,
    factored_modules,
)
from resect.models.loading import load_model

SITES = ("decoder.0.q", "decoder.1.up", "decoder.1.down")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A factored export in several files, not to be changed, the base model, and the plan."""
    folder = tmp_path_factory.mktemp("factored")
    model = checkpoints.saved(folder / "base", "gpt2")
    plan = Plan(ReduceRank(site, rho) for site, rho in zip(SITES, (0.2, 0.3, 0.0), strict=True)).for_model(model)
    export(plan, str(folder / "base"), folder / "out", as_format="factored", verify=False)
    return folder / "out", model, plan


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the export, to be damaged."""
    return shutil.copytree(exported[0], tmp_path / "model")


def filled(module):
    generator = torch.Generator().manual_seed(1)
    for path, parameter in list(module.named_parameters()):
        inner, _, name = path.rpartition(".")
        setattr(module.get_submodule(inner), name, nn.Parameter(torch.randn(parameter.shape, generator=generator)))
    return module


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_it_computes_the_product_of_its_factors(rank, bias):
    module = filled(FactoredLinear(7, 5, rank, bias=bias))
    values = torch.randn(2, 4, 5)
    expected = nn.functional.linear(values, module.dense(), module.bias)
    torch.testing.assert_close(module(values), expected)
    assert sum(parameter.numel() for parameter in module.parameters()) == rank * 12 + 7 * bias
    assert torch.linalg.matrix_rank(module.dense()) == rank


@pytest.mark.parametrize(
    "parts", [{"k": (range(2, 5), 2)}, {"q": ((0, 3, 6), 1), "v": ((2, 5), 0)}, {"q": (range(4), 2), "k": (range(4, 8), 1)}]
)
def test_rows_of_a_fused_layer_keep_their_order(parts):
    module = filled(PartlyFactoredLinear(8, 5, parts, bias=True))
    values, dense = torch.randn(3, 5), module.dense()
    torch.testing.assert_close(module(values), nn.functional.linear(values, dense, module.bias))
    for role, (rows, _) in parts.items():
        torch.testing.assert_close(dense[list(rows)], module.get_submodule(role).dense())
    if module.rest_rows:
        assert torch.equal(dense[module.rest_rows], module.rest.weight)


def test_gradients_pass_through_after_a_pass_without_gradients():
    module = filled(PartlyFactoredLinear(8, 5, {"k": (range(2, 5), 2)}))
    with torch.inference_mode():
        module(torch.randn(3, 5))
    values = torch.randn(3, 5, requires_grad=True)
    module(values).sum().backward()
    torch.testing.assert_close(values.grad, module.dense().sum(0).expand(3, 5))


@pytest.mark.parametrize("old", [nn.Linear(5, 7), Conv1D(7, 5)])
def test_models_can_read_the_shape_and_dtype_of_the_weight(old):
    module = FactoredLinear(7, 5, 2, transposed=isinstance(old, Conv1D)).to(torch.bfloat16)
    assert (module.weight.shape, module.weight.dtype) == (old.weight.shape, torch.bfloat16)
    assert module.weight.is_meta  # a computation with it fails


def test_construction_draws_no_random_number():
    state = torch.random.get_rng_state()
    FactoredLinear(7, 5, 2, bias=True)
    assert torch.equal(torch.random.get_rng_state(), state)


# -- a folder of them ----------------------------------------------------------------------------------------------------


def test_load_model_loads_it_as_its_own_class(exported):
    folder, base, plan = exported
    model = load_model(str(folder), device="cpu")
    assert type(model.model) is type(base)
    assert sorted(factored_modules(model.model)) == [
        "transformer.h.0.attn.c_attn",
        "transformer.h.1.mlp.c_fc",
        "transformer.h.1.mlp.c_proj",
    ]
    with plan.applied(base, "weights"):
        torch.testing.assert_close(pico.output("gpt2", model.model), pico.output("gpt2", base), rtol=1e-5, atol=1e-5)
    assert not hasattr(model.model.config, "transformers_weights")
    assert model.generate(["Who was it?"], max_new_tokens=2)


def test_its_matrices_cannot_be_edited_but_its_units_can(exported):
    model = load_model(str(exported[0]), device="cpu")
    with pytest.raises(NotWritable, match=r"decoder\.1\.up has no parameter weight in a FactoredLinear"):
        ReduceRank("decoder.1.up", 0.1).write(model)
    with pytest.raises(NotWritable):
        model.anatomy.weight("decoder.0.q")
    before = pico.output("gpt2", model.model)
    with Plan((Scale({"decoder.1.up": [1, 2]}), Scale({"decoder.0.up": [3]}))).applied(model) as forms:
        assert forms == ("activations", "weights")
        assert not torch.equal(pico.output("gpt2", model.model), before)
    assert torch.equal(pico.output("gpt2", model.model), before)


def test_saving_multiplies_the_factors_out_for_plain_transformers(exported, tmp_path):
    folder, base, plan = exported
    load_model(str(folder), device="cpu").model.save_pretrained(tmp_path)
    again = checkpoints.loaded(tmp_path, "gpt2")
    with plan.applied(base, "weights"):
        expected = base.state_dict()
        for name, tensor in again.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_plain_transformers_refuses_it_instead_of_filling_in_random_numbers(exported):
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        checkpoints.loaded(exported[0], "gpt2")


def test_its_dtype_can_be_chosen(exported):
    model = load_model(str(exported[0]), device="cpu", dtype="bfloat16").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.slow
def test_a_hub_id_is_loaded_from_the_cache(exported, tmp_path):
    """The cache as after a download of a factored export and of its plain base. No network: HF_HUB_OFFLINE."""
    commit = "0123456789" * 4
    for name, source in (("cut", exported[0]), ("plain", exported[0].parent / "base")):
        repository = tmp_path / f"models--someone--{name}"
        shutil.copytree(source, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    code = """
import resect
from resect.models.factored_linear import factored_modules
for name in ("cut", "plain"):
    print(len(factored_modules(resect.load_model(f"someone/{name}", device="cpu").model)))
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120, env=environment).stdout
    assert out.split() == ["3", "0"]


def change(entry):
    def damage(folder):
        value = json.loads((folder / FACTORED_JSON).read_text())
        entry(value)
        (folder / FACTORED_JSON).write_text(json.dumps(value))

    return damage


def without_a_factor(folder):
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        save_file({name: tensor for name, tensor in tensors.items() if "c_fc.left" not in name}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / FACTORED_JSON).write_text("{"), r"damaged factored\.json.*cut off.*export it again"),
        (lambda folder: (folder / FACTORED_JSON).write_text("[]"), "damaged factored.json: it is an object with schema, weights"),
        (change(lambda value: value.update(schema=2)), "its schema is 2, and this version of resect reads 1 to 1"),
        (change(lambda value: value.update(weights="../model.safetensors")), "it is an object with schema, weights"),
        (change(lambda value: value["matrices"][0].pop("rank")), "a factored matrix has site, module, shape and rank"),
        (change(lambda value: value["matrices"][0].update(rank=True)), "are integers"),
        (change(lambda value: value["matrices"][0].update(rank=25)), r"rank of decoder\.0\.q is from 0 to 24, not 25"),
        (change(lambda value: value["matrices"][0].update(site="decoder.0.qq")), "damaged factored.json"),
        (change(lambda value: value["matrices"].append(value["matrices"][0])), "listed twice"),
        (change(lambda value: value["matrices"][0].update(site="decoder.9.q")), r"decoder\.9\.q as 24 × 24 at .*config.json of this gpt2"),
        (change(lambda value: value["matrices"][0].update(module="lm_head")), "at lm_head, which does not match the config.json"),
        (change(lambda value: value["matrices"][1].update(rank=3)), "weights of the folder .* could not be loaded"),
        (change(lambda value: value["matrices"].pop(1)), r"lacks 1 of the weights .* among them transformer\.h\.1\.mlp\.c_fc\.weight"),
        (without_a_factor, r"lacks 1 of the weights"),
        (lambda folder: (folder / FACTORED_INDEX).unlink(), "weights of the folder .* could not be loaded"),
        (lambda folder: next(folder.glob("model-*")).unlink(), "weights of the folder .* could not be loaded"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_folder_is_refused_with_the_reason(copy, damage, message):
    damage(copy)
    with pytest.raises(BadModel, match=message):
        load_model(str(copy), device="cpu")


def test_a_folder_without_the_description_is_refused(copy):
    (copy / FACTORED_JSON).unlink()
    with pytest.raises(BadModel, match=r"no file named model\.safetensors"):
        load_model(str(copy), device="cpu")


def test_the_description_returns_what_was_written(exported):
    described = FactoredFiles.find(str(exported[0]))
    assert described.weights == FACTORED_INDEX != FACTORED_WEIGHTS
    assert [str(matrix.site) for matrix in described.matrices] == list(SITES)
    anatomy = Anatomy.of(exported[1])
    assert [(matrix.shape, matrix.rank) for matrix in described.matrices] == [
        (anatomy.shape(Site.parse(site)), rank) for site, rank in zip(SITES, (4, 7, 0), strict=True)
    ]
    assert FactoredFiles.find(str(exported[0].parent / "base")) is None
