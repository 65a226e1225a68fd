"""The check of an export finds every difference from the base with the plan applied: a weight, a logit, a token."""

from dataclasses import replace

import pytest
import torch

import checkpoints
import pico
from resect.core.errors import Failure
from resect.edits.plan import Plan
from resect.export.check_exact import EditedBase, LoadingOptions, compare_exact, probe_export, probe_logits
from resect.models.language_model import LanguageModel

CPU, FLOAT32 = torch.device("cpu"), LoadingOptions(torch.float32, {})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    checkpoints.saved(folder, "t5")
    return folder, EditedBase(folder, Plan(), FLOAT32, CPU).probe()


def test_a_model_equals_itself(base):
    folder, results = base
    compare_exact(results, probe_export(folder, FLOAT32, CPU))


def test_one_bit_of_one_weight_is_found_and_named(base, tmp_path):
    def change(model):
        values = model.shared.weight.data.view(torch.int32)
        values[11, 5] ^= 1  # a token that no probe contains

    checkpoints.saved(tmp_path, "t5", change=change)
    with pytest.raises(Failure, match=r"1 of its \d+ tensors are not those .*shared\.weight among them"):
        compare_exact(base[1], probe_export(tmp_path, FLOAT32, CPU))


def test_other_logits_and_other_tokens_are_found(base):
    results = base[1]
    with pytest.raises(Failure, match="its logits are not those"):
        compare_exact(results, replace(results, logits=(results.logits[0] + 1e-6, *results.logits[1:])))
    with pytest.raises(Failure, match="its tokenizer encodes texts differently"):
        compare_exact(results, replace(results, token_ids=((1, 2), *results.token_ids[1:])))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5", "bert"])
def test_the_probes_run_through_all_of_the_model(name):
    """Every weight matrix, of every stack, changes the logits of the probes."""
    model = LanguageModel.of(pico.build(name), pico.tokenizer(name))
    before = probe_logits(model)
    for site in model.anatomy.sites:
        weight = model.anatomy.weight(site).clone()
        model.anatomy.write(site, None, weight * 1.5)
        assert not all(torch.equal(first, second) for first, second in zip(before, probe_logits(model), strict=True)), site
        model.anatomy.write(site, None, weight)


def test_a_context_that_is_too_short_for_the_long_probes_still_has_one():
    config = pico.PICO["gpt2"]()
    config.n_positions = 8
    short = LanguageModel.of(pico.head_class("gpt2").from_config(config), pico.tokenizer("gpt2"))
    assert [found.shape[1] for found in probe_logits(short)] == [2]
