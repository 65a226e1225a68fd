"""The check of an export with factors finds what is not the base with the plan applied: a factor, a row, a bias, another weight."""

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
from resect.core.errors import Failure
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.export.check_exact import EditedBase, LoadingOptions
from resect.export.check_factored import Deviation, compare_factored, factored_reference
from resect.export.export import export
from resect.models.factored_linear import FACTORED_WEIGHTS, FactoredFiles

CPU, FLOAT32 = torch.device("cpu"), LoadingOptions(torch.float32, {})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A factored export, what it is compared with, and which matrices are factors."""
    folder = tmp_path_factory.mktemp("factored")
    checkpoints.saved(folder / "base", "gpt2", shard="1GB")
    plan = Plan((ReduceRank("decoder.1.q", 0.2), ReduceRank("decoder.1.up", 0.2), ReduceRank("decoder.0.down", 0.0)))
    export(plan, str(folder / "base"), folder / "out", as_format="factored", verify=False)
    matrices = FactoredFiles.find(str(folder / "out")).matrices
    return folder / "out", factored_reference(EditedBase(folder / "base", plan, FLOAT32, CPU), matrices), matrices


def test_an_export_deviates_little_from_its_base(made):
    folder, base, matrices = made
    found = compare_factored(base, folder, FLOAT32, CPU, matrices)
    assert 0 < found.matrix < 1e-6 < found.matrix_bound
    assert found.logit <= found.logit_bound < 1e-3
    assert "to the last bit" in found.sentence()
    assert f"{found.matrix:.1e}" in found.sentence()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("h.1.mlp.c_fc.left.weight", r"the factors of decoder\.1\.up deviate by .* from its matrix"),
        ("h.1.attn.c_attn.q.right.weight", r"the factors of decoder\.1\.q deviate"),
        ("h.1.attn.c_attn.rest.weight", r"the rows of .*h\.1\.attn\.c_attn that are not factored are not those"),
        ("h.1.mlp.c_fc.bias", r"1 of its \d+ tensors are not those .*h\.1\.mlp\.c_fc\.bias among them"),
        ("h.0.mlp.c_fc.weight", r"1 of its \d+ tensors are not those .*h\.0\.mlp\.c_fc\.weight among them"),
    ],
)
def test_one_number_that_is_wrong_is_found(made, tmp_path, part, message):
    folder, base, matrices = made
    copy = shutil.copytree(folder, tmp_path / "copy")
    tensors = load_file(copy / FACTORED_WEIGHTS)
    name = next(name for name in tensors if name.endswith(part))
    tensors[name].view(-1)[5] += 0.01
    save_file(tensors, copy / FACTORED_WEIGHTS, {"format": "pt"})
    with pytest.raises(Failure, match=f"written and loaded again, and its check failed: .*{message}"):
        compare_factored(base, copy, FLOAT32, CPU, matrices)


@pytest.mark.slow
def test_logits_and_tokens_are_compared(made):
    folder, base, matrices = made
    off = dataclasses.replace(base.results, logits=(base.results.logits[0] + 0.01, *base.results.logits[1:]))
    with pytest.raises(Failure, match=r"a logit deviates by 1\.00e-02 from that of the base .*is allowed"):
        compare_factored(dataclasses.replace(base, results=off), folder, FLOAT32, CPU, matrices)
    other = dataclasses.replace(base.results, token_ids=((1, 2), *base.results.token_ids[1:]))
    with pytest.raises(Failure, match="tokenizer"):
        compare_factored(dataclasses.replace(base, results=other), folder, FLOAT32, CPU, matrices)


def test_nan_is_a_deviation(made):
    folder, base, matrices = made
    lost = dataclasses.replace(base.results, logits=tuple(torch.full_like(each, torch.nan) for each in base.results.logits))
    with pytest.raises(Failure, match="a logit deviates by nan"):
        compare_factored(dataclasses.replace(base, results=lost), folder, FLOAT32, CPU, matrices)


def test_the_bounds_are_reported():
    assert "allowed: 4.0e-03" in Deviation(1e-3, 4e-3, 0.1, 0.5).sentence()
