"""The layouts of GPTQ and AWQ: what was packed value by value comes out again."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import quantized
from resect.core.errors import BadModel
from resect.models.packed_integers import awq_weight, gptq_weight, unpack_bits, unpacked_checkpoint

BITS = (2, 3, 4, 8)


@given(st.data(), st.sampled_from(BITS))
def test_integers_come_out_of_their_words(data, bits):
    values = data.draw(st.lists(st.lists(st.integers(0, 2**bits - 1), min_size=64, max_size=64), min_size=1, max_size=3))
    rows = torch.tensor(values, dtype=torch.int32)
    assert torch.equal(unpack_bits(quantized.words(rows, bits), bits), rows)


def naive(weight, bits, least_zero=0):
    """Returns what the integers, scales and zero points of `levels` stand for, value by value."""
    integers, scales, zeros = quantized.levels(weight, bits)
    zeros = zeros.clamp(min=least_zero)
    out = torch.empty(weight.shape)
    for row in range(weight.shape[0]):
        for column in range(weight.shape[1]):
            group = column // quantized.GROUP
            out[row, column] = (integers[row, column] - zeros[row, group]) * scales[row, group]
    return out


@pytest.mark.parametrize("bits", BITS)
def test_a_gptq_matrix_is_that_of_its_integers_scales_and_zeros(bits):
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    parts = quantized.pack_gptq(weight, bits)
    expected = naive(weight, bits, least_zero=1)
    assert torch.equal(gptq_weight(parts, bits, quantized.GROUP), expected)
    without_index = {name: tensor for name, tensor in parts.items() if name != "g_idx"}
    assert torch.equal(gptq_weight(without_index, bits, quantized.GROUP), expected)
    newer = parts | {"qzeros": quantized.words(quantized.levels(weight, bits)[2].clamp(min=1).T, bits)}
    assert torch.equal(gptq_weight(newer, bits, quantized.GROUP, zero_offset=0), expected)


def test_rows_of_a_gptq_matrix_belong_to_the_groups_of_the_index():
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    parts = quantized.pack_gptq(weight)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    integers = unpack_bits(parts["qweight"].T, 4)[:, order]
    shuffled = parts | {"qweight": quantized.words(integers, 4).T, "g_idx": parts["g_idx"][order]}
    assert torch.equal(gptq_weight(shuffled, 4, quantized.GROUP), gptq_weight(parts, 4, quantized.GROUP)[:, order])


def test_an_awq_matrix_is_that_of_its_integers_scales_and_zeros():
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(awq_weight(quantized.pack_awq(weight), 4, quantized.GROUP), naive(weight, 4))


def test_one_group_may_be_all_rows():
    weight = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    parts = {name: tensor for name, tensor in quantized.pack_gptq(weight).items() if name != "g_idx"}
    assert torch.equal(gptq_weight(parts, 4, -1), gptq_weight(parts, 4, quantized.GROUP))


@pytest.fixture
def checkpoint(tmp_path):
    return quantized.write("gptq", quantized.save(tmp_path / "full"), tmp_path / "gptq")


STATED = {"quant_method": "gptq", "bits": 4, "group_size": quantized.GROUP}


def test_a_checkpoint_in_several_files_is_one(checkpoint):
    whole = unpacked_checkpoint(checkpoint, STATED)
    tensors = load_file(checkpoint / "model.safetensors")
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, chosen in parts.items():
        save_file({name: tensors[name] for name in chosen}, checkpoint / file)
    index = {"weight_map": {name: file for file, chosen in parts.items() for name in chosen}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    (checkpoint / "model.safetensors").unlink()
    again = unpacked_checkpoint(checkpoint, STATED)
    assert whole.keys() == again.keys() and all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (STATED | {"bits": 5}, "5 bits"),
        (STATED | {"bits": 8}, "no layer of gptq"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "gemv"),
        ({"quant_method": "awq", "bits": 8}, "AWQ stores 4 bits"),
    ],
)
def test_a_layout_that_is_not_covered_is_refused(checkpoint, stated, said):
    with pytest.raises(BadModel, match=said):
        unpacked_checkpoint(checkpoint, stated)


def test_damaged_and_plain_files_are_refused(checkpoint, tmp_path):
    with pytest.raises(BadModel, match="no tensor there is packed"):
        unpacked_checkpoint(tmp_path / "full", STATED)
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadModel, match="could not be read"):
        unpacked_checkpoint(checkpoint, STATED)
