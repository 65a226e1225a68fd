"""Edits of quantised and offloaded models: located and recorded as with plain weights, applied to activations, undone to the last bit."""

import numpy as np
import pytest
import torch

import quantized
from resect.core.address import Neurons
from resect.core.errors import NotWritable
from resect.edits.matrices import PruneWeights, ReduceRank
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.jobs.inputs import weights_digest
from resect.methods.crispr.attribution import attribute
from resect.methods.lape.activation_counter import count_activations
from resect.models.fingerprint import ModelIdentity
from resect.models.loading import load_model

IDS = torch.arange(10, 40)[None]
#: Parts of the tiny model that accelerate keeps on disk, and copies to the CPU while they compute.
ON_DISK = {"model.layers.1": "disk", "model.embed_tokens": "disk", "model.layers.0": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
DEVICES = ON_DISK | {"model.rotary_emb": "cpu"}
FORMS = (*quantized.COMPUTING, "offloaded")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A folder with a model that has biases: edits that are folded into one read the matrix beside it."""
    return quantized.save(tmp_path_factory.mktemp("full"), quantized.build(bias=True))


@pytest.fixture(scope="module", params=FORMS)
def pair(request, full, tmp_path_factory):
    """The same model twice: quantised or offloaded, and with plain weights in memory."""
    if request.param == "offloaded":
        quantized.need("accelerate")
        return load_model(full, device_map=dict(DEVICES)), load_model(full, device="cpu")
    path = quantized.write(request.param, full, tmp_path_factory.mktemp(request.param))
    return load_model(path, device="cpu"), load_model(path, device="cpu", dequantize=True)


def tolerance(model):
    """How far values may differ: the 8-bit kernels of bitsandbytes round activations as well."""
    kinds = {type(parameter).__name__ for parameter in model.model.parameters()}
    return 0.1 if "Int8Params" in kinds else 1e-4


def logits(model):
    with torch.no_grad():
        return model.model(IDS).logits


def near(first, second, share):
    first, second = (torch.as_tensor(np.asarray(values), dtype=torch.float64) for values in (first, second))
    return float((first - second).norm()) <= share * float(second.norm())


class Products:
    """Keeps value times gradient at every site, summed over the tokens."""

    def __init__(self):
        self.sums = {}

    def begin(self, logprobs):
        self.logprobs = logprobs

    def add(self, site, values, gradient, lengths):
        self.sums[site] = (values * gradient).double().sum(dim=(0, 1)).cpu()


def attributed(model):
    products = Products()
    rows = [model.tokens("hello", " you"), model.tokens("the heath", " here")]
    attribute(model, (*model.anatomy.sites, *model.anatomy.moments), rows, products)
    return products


def test_gradients_reach_the_activations_through_frozen_weights(pair):
    model, plain = pair
    found, expected = attributed(model), attributed(plain)
    assert found.sums.keys() == expected.sums.keys() == {*model.anatomy.sites, *model.anatomy.moments}
    share = 3 * tolerance(model)
    assert near(found.logprobs, expected.logprobs, share)
    assert near(torch.cat(list(found.sums.values())), torch.cat(list(expected.sums.values())), share)
    assert all(parameter.grad is None for parameter in model.model.parameters())


def test_activations_are_counted(pair):
    model = pair[0]
    windows = np.random.default_rng(0).integers(10, 200, (6, 16))
    before = logits(model)
    found, expected = (count_activations(one, windows, rows=3) for one in pair)
    assert torch.equal(logits(model), before)
    assert found.tokens == expected.tokens
    for site, counts in expected.active.items():
        assert near(found.active[site], counts, tolerance(model)), site


@pytest.mark.parametrize(
    "edit",
    [
        Scale({"decoder.1.up": [3, 5], "decoder.1.q": [0, 9]}, 0.0),
        Scale({"decoder.1.post": [7, 8]}, -0.5),
        Clamp({"decoder.1.act": [4, 100]}, 0.0),
        Clamp({"decoder.1.post": [4, 100]}, 0.7),
        Shift({"decoder.1.post": [2, 30]}, 1.5),
    ],
    ids=lambda edit: f"{edit.kind} at {edit.sites[-1]}",
)
def test_edits_of_units_change_activations_as_they_change_plain_weights_and_are_undone_exactly(pair, edit):
    model, plain = pair
    before, digest = logits(model), weights_digest(model)
    with edit.applied(model) as form, edit.applied(plain, "weights"):
        assert form == "activations"
        assert not torch.equal(logits(model), before)
        assert near(logits(model), logits(plain), tolerance(model))
    assert torch.equal(logits(model), before)
    assert weights_digest(model) == digest


@pytest.mark.parametrize("edit", [ReduceRank("decoder.1.up", 0.1), PruneWeights("decoder.1.down", 0.5)], ids=lambda edit: edit.kind)
def test_edits_of_whole_matrices_are_refused_with_a_way_out_before_anything_is_touched(pair, edit):
    model, plain = pair
    before = logits(model)
    with pytest.raises(NotWritable) as raised, edit.applied(model):
        pass
    is_offloaded = any(parameter.is_meta for parameter in model.model.parameters())
    assert ("all weights in memory" if is_offloaded else "--dequantize") in str(raised.value)
    assert torch.equal(logits(model), before)
    with edit.applied(plain) as form:
        assert form == "weights"
    assert Plan((edit,)).check(model) and not Plan((edit,)).check(plain)


def test_the_weight_form_of_a_constant_needs_the_matrix_beside_the_bias(pair):
    model, _ = pair
    with pytest.raises(NotWritable, match=r"decoder\.1\.down"):
        Shift({"decoder.1.post": [2]}, 1.0).write(model)


def test_an_offloaded_matrix_has_a_fingerprint(full):
    quantized.need("accelerate")
    offloaded, plain = load_model(full, device_map=dict(DEVICES)), load_model(full, device="cpu")
    sites = plain.anatomy.sites
    assert offloaded.fingerprint(sites) == plain.fingerprint(sites)
    assert ModelIdentity.of(offloaded, sites).matrices == ModelIdentity.of(plain, sites).matrices
    assert weights_digest(offloaded) == weights_digest(plain)
    assert np.array_equal(offloaded.logprobs(["hello"], [" you"]), plain.logprobs(["hello"], [" you"]))
    assert offloaded.forward.device == torch.device("cpu")


def test_a_plan_of_a_quantised_model_is_one_of_the_plain_one(pair):
    model, plain = pair
    plan = Plan((Scale(Neurons({"decoder.1.up": [1, 2], "decoder.0.act": [3]})),)).for_model(model)
    assert plan.check(plain) == []
