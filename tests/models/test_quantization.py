"""Quantised models: they load as they are and as plain ones, are read as they compute, and are known as the full model's kin."""

import importlib.util
import json

import pytest
import torch

import quantized
from resect.core.address import Site
from resect.core.errors import BadModel, BadPlan, WrongModel
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.jobs.inputs import weights_digest
from resect.models import quantization
from resect.models.fingerprint import ModelIdentity, nearly_equal
from resect.models.loading import load_config, load_model
from resect.models.plain_weights import is_plain, plain_values, readable_matrix
from resect.models.quantization import Quantization, origin_of

IDS = torch.arange(10, 40)[None]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return quantized.save(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def written(full, tmp_path_factory):
    """Returns a function: scheme to the path of the same model in that form."""
    paths = {}

    def path(scheme):
        if scheme not in paths:
            paths[scheme] = quantized.write(scheme, full, tmp_path_factory.mktemp(scheme))
        return paths[scheme]

    return path


def loaded(path, **settings):
    return load_model(path, device="cpu", dtype="float32", **settings)


def logits(model):
    with torch.no_grad():
        return model.model(IDS).logits


@pytest.mark.parametrize("scheme", quantized.COMPUTING)
def test_a_model_stays_quantised_and_has_the_anatomy_of_the_full_one(written, full, scheme):
    model, base = loaded(written(scheme)), loaded(full)
    assert not all(map(is_plain, model.model.parameters()))
    assert model.anatomy.sites == base.anatomy.sites and model.anatomy.moments == base.anatomy.moments
    assert {site: model.anatomy.shape(site) for site in model.anatomy.sites} == {s: base.anatomy.shape(s) for s in base.anatomy.sites}
    assert model.anatomy.parameters == base.anatomy.parameters
    assert len(model.notes) == 1 and "--dequantize" in model.notes[0] and not base.notes
    assert model.kind == "causal" and model.logprobs(["hello"], [" you"]).shape == (1,)


@pytest.mark.parametrize("scheme", [*quantized.QUANTISED, "gguf-f32"])
def test_dequantised_weights_are_plain_in_any_dtype_and_near_the_full_ones(written, full, scheme):
    base = loaded(full)
    model = load_model(written(scheme), device="cpu", dtype="bfloat16", dequantize=True)
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.bfloat16}
    assert all(map(is_plain, model.model.parameters()))
    for site in base.anatomy.sites:
        exact, unpacked = base.anatomy.weight(site), model.anatomy.weight(site).float()
        assert float((exact - unpacked).norm() / exact.norm()) < (0.05 if "8" in scheme or "f32" in scheme else 0.2), site
    assert model.tokenizer("hello you")["input_ids"] == base.tokenizer("hello you")["input_ids"]


@pytest.mark.parametrize("scheme", quantized.COMPUTING)
def test_a_matrix_is_read_as_the_numbers_with_which_the_model_computes(written, scheme):
    model, plain = loaded(written(scheme)), loaded(written(scheme), dequantize=True)
    for compute in (False, True):  # the first forward pass moves the scales of 8-bit weights
        for site in model.anatomy.sites:
            assert torch.allclose(readable_matrix(model.anatomy, site), plain.anatomy.weight(site), atol=1e-6)
        if not compute:
            logits(model)
    # 8-bit kernels round activations as well.
    assert float((logits(model) - logits(plain)).norm() / logits(plain).norm()) < (0.05 if scheme == "bitsandbytes-8" else 1e-5)


@pytest.mark.parametrize("scheme", ["bitsandbytes-8", "bitsandbytes-4", "gptq"])
def test_layers_that_store_matrices_the_other_way_are_read_and_unpacked_the_right_way(scheme, tmp_path):
    base = loaded(quantized.save(tmp_path / "full", quantized.build_gpt2()))
    path = quantized.write(scheme, tmp_path / "full", tmp_path / scheme)
    forms = [loaded(path, dequantize=True)] if scheme == "gptq" else [loaded(path), loaded(path, dequantize=True)]
    for model in forms:
        for site in base.anatomy.sites:
            exact = base.anatomy.weight(site)
            assert float((readable_matrix(model.anatomy, site) - exact).norm() / exact.norm()) < 0.2, site
        ModelIdentity.of(model, base.anatomy.sites).check(base)
    edit = Scale({"decoder.1.up": [3, 5], "decoder.0.o": [7]})
    with edit.applied(forms[-1]) as form:
        assert form == "weights"
        written = logits(forms[-1])
    with edit.applied(forms[0], "activations"):
        assert float((logits(forms[0]) - written).norm() / written.norm()) < 0.05


def test_values_in_blocks_with_a_scale_each_are_read_as_on_a_gpu():
    quantized.need("accelerate")
    from transformers.integrations.finegrained_fp8 import FP8Linear

    weight = torch.randn(40, 72)
    blocks = torch.nn.functional.pad(weight, (0, 24, 0, 24)).reshape(2, 32, 3, 32)
    scales = blocks.abs().amax((1, 3)) / 448
    module = FP8Linear(72, 40, block_size=(32, 32))
    spread = scales.repeat_interleave(32, 0).repeat_interleave(32, 1)[:40, :72]
    module.weight = torch.nn.Parameter((weight / spread).to(module.weight.dtype), requires_grad=False)
    module.weight_scale_inv = torch.nn.Parameter(scales)
    assert float((plain_values(module) - weight).norm() / weight.norm()) < 0.05


@pytest.mark.parametrize("scheme", quantized.QUANTISED)
@pytest.mark.parametrize("dequantize", [False, True])
def test_identities_of_a_quantised_model_and_the_full_one_match_and_those_of_another_do_not(written, full, scheme, dequantize, tmp_path):
    if scheme in quantized.UNPACKED and not dequantize:
        pytest.skip("cannot be loaded without its packages")
    base, other = loaded(full), loaded(quantized.save(tmp_path, quantized.build(seed=1)))
    model = loaded(written(scheme), dequantize=dequantize)
    sites = base.anatomy.sites
    identity, again = (ModelIdentity.of(model, sites) for _ in range(2))
    assert all(matrix.values for matrix in identity.matrices)
    assert ModelIdentity.from_json(json.loads(json.dumps(identity.to_json()))) == identity == again
    identity.check(model)
    exact = ModelIdentity.of(base, sites)
    with pytest.raises(WrongModel):
        identity.check(other)
    with pytest.raises(WrongModel):
        ModelIdentity.of(other, sites).check(model)
    identity.check(other, shapes_only=True)
    if scheme == "awq":  # it rescales channels, so that its values are no approximation
        with pytest.raises(WrongModel):
            identity.check(base)
        return
    identity.check(base)
    exact.check(model)
    assert (identity | exact).matrices == (exact | identity).matrices == exact.matrices
    assert "tolerance" in identity.to_json() and "tolerance" not in exact.to_json()


def test_one_matrix_is_enough_to_tell_two_models_apart(full, tmp_path):
    coarsest = Quantization("gguf", 2.0).tolerance
    for seed in range(1, 20):
        first, second = (torch.randn(16, generator=torch.Generator().manual_seed(seed + 100 * part)) for part in (0, 1))
        assert not nearly_equal(first.tolist(), second.tolist(), coarsest)
        assert nearly_equal(first.tolist(), (first + coarsest / 3 * second).tolist(), coarsest)


def test_an_identity_without_a_tolerance_is_exact_and_a_wrong_one_is_refused(full):
    base = loaded(full)
    value = ModelIdentity.of(base, base.anatomy.sites[:2]).to_json()
    assert all(matrix.tolerance == 0 for matrix in ModelIdentity.from_json(value).matrices)
    for wrong in ([], {"decoder.0.q": "much"}, {"decoder.0.q": -1}, {"decoder.0.q": 1.0}):
        with pytest.raises(BadPlan):
            ModelIdentity.from_json(value | {"tolerance": wrong})


@pytest.mark.parametrize("scheme", [*quantized.COMPUTING, "gguf-q4"])
def test_the_digest_of_all_weights_sees_a_change_of_a_scale(written, scheme):
    model = loaded(written(scheme))
    before = weights_digest(model)
    assert weights_digest(loaded(written(scheme))) == before
    module = model.anatomy.module("decoder.1.down")
    with torch.no_grad():
        if scheme == "bitsandbytes-8":
            module.weight.SCB[3] *= 2
        elif scheme == "bitsandbytes-4":
            module.weight.quant_state.absmax[3] += 1
        elif scheme == "torchao-8":
            module.weight.scale[3] *= 2
        else:
            module.weight[3, 5] *= 2
    assert weights_digest(model) != before


@pytest.mark.parametrize("scheme", quantized.QUANTISED)
def test_what_is_missing_is_named_with_what_to_install(written, scheme, monkeypatch):
    path, method = written(scheme), scheme.rpartition("-")[0] if scheme[-1].isdigit() and scheme != "fp8" else scheme
    found = importlib.util.find_spec
    packages = quantization._EXTRA_PACKAGES.get("gguf" if scheme.startswith("gguf") else method, ())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in packages else found(name, *rest))
    with pytest.raises(BadModel) as raised:
        loaded(path)
    if scheme in quantized.UNPACKED:
        assert "pip install" in str(raised.value) and "--dequantize" in str(raised.value)
    else:
        assert "pip install 'resect[quantized]'" in str(raised.value) and packages[0] in str(raised.value)


@pytest.mark.parametrize(
    ("stated", "bits"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        ({"quant_method": "gptq", "bits": 3}, 3),
        ({"quant_method": "fp8"}, 8),
        ({"quant_method": "mxfp4"}, 4),
        ({"quant_method": "hqq", "nbits": 2}, 2),
        ({"quant_method": "quanto", "weights": "int4"}, 4),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}, 4),
        ({"quant_method": "torchao", "quant_type": "float8_weight_only"}, 8),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 8}}, "b": {"weights": {"num_bits": 4}}}},
            4,
        ),
        ({"quant_method": "of tomorrow"}, None),
    ],
)
def test_the_bits_are_those_of_the_configuration(full, stated, bits):
    config = load_config(str(full))
    assert Quantization.of_config(config) is None
    config.quantization_config = stated
    found = Quantization.of_config(config)
    assert found == Quantization(stated["quant_method"], bits)
    assert 0 < found.tolerance < 1


def test_a_model_that_was_never_quantised_has_no_origin(full):
    assert origin_of(loaded(full).model) is None
    assert origin_of(None) is None


def test_a_method_that_nobody_can_unpack_is_refused_with_a_way_out(full, tmp_path):
    import shutil

    shutil.copytree(full, tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "vptq"}
    (tmp_path / "odd" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match="could not be loaded"):
        loaded(tmp_path / "odd", dequantize=True)


def test_a_plan_of_a_four_bit_model_fits_the_full_one(written, full):
    model, base = loaded(written("bitsandbytes-4")), loaded(full)
    plan = Plan((Scale({"decoder.1.up": [3, 5], "decoder.0.post": [7]}),)).for_model(model)
    assert plan.check(base) == [] and plan.check(model) == []
    assert Plan.from_json(plan.to_json()) == plan
    with plan.applied(model), plan.applied(base):
        pass
    assert Site.parse("decoder.0.down") in plan.model.shapes
