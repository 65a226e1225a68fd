"""The proof finds what is not the base with the plan applied: a weight, a logit, a token."""

from dataclasses import replace

import pytest
import torch

import checkpoints
import pico
from resect.core.errors import Failure
from resect.edits.plan import Plan
from resect.export.check_exact import Loading, check_same, evidence_of_base, evidence_of_export, logits
from resect.models.language_model import LanguageModel

CPU, FLOAT32 = torch.device("cpu"), Loading(torch.float32, {})


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof")
    checkpoints.saved(folder, "t5")
    return folder, evidence_of_base(folder, Plan(), FLOAT32, CPU, False)


def test_a_model_testifies_to_itself(evidence):
    folder, found = evidence
    check_same(found, evidence_of_export(folder, FLOAT32, CPU))


def test_one_bit_of_one_weight_is_found_and_named(evidence, tmp_path):
    def change(model):
        values = model.shared.weight.data.view(torch.int32)
        values[11, 5] ^= 1  # a token that no probe contains

    checkpoints.saved(tmp_path, "t5", change=change)
    with pytest.raises(Failure, match=r"1 of its \d+ tensors are not those .*shared\.weight among them"):
        check_same(evidence[1], evidence_of_export(tmp_path, FLOAT32, CPU))


def test_other_logits_and_other_tokens_are_found(evidence):
    found = evidence[1]
    with pytest.raises(Failure, match="its logits are not those"):
        check_same(found, replace(found, logits=(found.logits[0] + 1e-6, *found.logits[1:])))
    with pytest.raises(Failure, match="its tokenizer encodes texts in another way"):
        check_same(found, replace(found, ids=((1, 2), *found.ids[1:])))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5", "bert"])
def test_the_probes_run_through_all_of_the_model(name):
    """Every weight matrix, of every stack, has a say in the logits of the probes."""
    model = LanguageModel.of(pico.build(name), pico.tokenizer(name))
    before = logits(model)
    for site in model.anatomy.sites:
        weight = model.anatomy.weight(site).clone()
        model.anatomy.write(site, None, weight * 1.5)
        assert not all(torch.equal(first, second) for first, second in zip(before, logits(model), strict=True)), site
        model.anatomy.write(site, None, weight)


def test_a_context_that_is_too_short_for_the_long_probes_still_has_one():
    config = pico.PICO["gpt2"]()
    config.n_positions = 8
    short = LanguageModel.of(pico.head_class("gpt2").from_config(config), pico.tokenizer("gpt2"))
    assert [found.shape[1] for found in logits(short)] == [2]
