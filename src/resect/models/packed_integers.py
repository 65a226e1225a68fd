"""Weights in the published layouts of GPTQ and AWQ: integers packed into words of 32 bits, with scales and zero points of groups of rows.

Knows tensors by name; knows no model. transformers computes with these layouts by packages that need a GPU, or one compiler more; to unpack
them needs neither.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resect.core.errors import BadModel

WORD = 32
#: AWQ's order of the columns of a word: at bit 4·i stands column ORDER[i].
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_PARTS = ("qweight", "qzeros", "scales", "g_idx")


def unpack_bits(words: Int[Tensor, "rows words"], bits: int) -> Int[Tensor, "rows values"]:
    """Returns the unsigned integers of `bits` bits in each row of words, from the lowest bit of the first word on.

    >>> unpack_bits(torch.tensor([[0x21]], dtype=torch.int32), 4)[:, :3]
    tensor([[1, 2, 0]], dtype=torch.int32)
    """
    if WORD % bits == 0:
        whole: Tensor = (words[..., None] >> torch.arange(0, WORD, bits, dtype=torch.int32)) & (2**bits - 1)
        return whole.reshape(words.shape[0], -1)
    single = ((words[..., None] >> torch.arange(WORD, dtype=torch.int32)) & 1).to(torch.uint8)  # 3 bits run on from word to word
    grouped = single.reshape(words.shape[0], -1, bits).to(torch.int32)
    values: Tensor = (grouped << torch.arange(bits, dtype=torch.int32)).sum(dim=-1, dtype=torch.int32)
    return values


def gptq_weight(tensors: Mapping[str, Tensor], bits: int, group_size: int, *, zero_offset: int = 1) -> Float[Tensor, "out inside"]:
    """Returns the matrix of one layer in the layout of GPTQ, in float32.

    Parameters
    ----------
    tensors : qweight [in · bits / 32, out], qzeros [groups, out · bits / 32], both int32; scales [groups, out]; maybe g_idx [in]
    bits : 2, 3, 4 or 8
    group_size : rows of a group, -1: all; g_idx, where it is given, says which group a row is of
    zero_offset : what is added to a stored zero point: 1, but 0 in the format gptq_v2

    Source: Frantar et al. 2023 (arXiv:2210.17323), as AutoGPTQ stores it. Differs from the source in: nothing.
    """
    integers = unpack_bits(tensors["qweight"].T, bits).T  # [in, out]
    scales = tensors["scales"].float()
    zeros = unpack_bits(tensors["qzeros"], bits)[:, : scales.shape[1]] + zero_offset
    inside = integers.shape[0]
    group = tensors.get("g_idx")
    rows = group.long() if group is not None else torch.arange(inside) // (group_size if group_size > 0 else inside)
    return ((integers - zeros[rows]).float() * scales[rows]).T.contiguous()


def awq_weight(tensors: Mapping[str, Tensor], bits: int, group_size: int) -> Float[Tensor, "out inside"]:
    """Returns the matrix of one layer in the layout of AWQ ("gemm"), in float32.

    `tensors`: qweight [in, out · bits / 32], qzeros [groups, out · bits / 32], both int32; scales [groups, out]. `bits`: 4.
    Source: Lin et al. 2024 (arXiv:2306.00978), as AutoAWQ stores it. Differs from the source in: nothing.
    """
    integers, zeros = (_awq_columns(tensors[name], bits) for name in ("qweight", "qzeros"))
    inside = integers.shape[0]
    rows = torch.arange(inside) // (group_size if group_size > 0 else inside)
    return ((integers - zeros[rows]).float() * tensors["scales"].float()[rows]).T.contiguous()


def _awq_columns(words: Tensor, bits: int) -> Tensor:
    per_word = WORD // bits
    if per_word != len(_AWQ_ORDER):
        raise BadModel(f"AWQ stores 4 bits a weight, not {bits}.")
    values = unpack_bits(words, bits).reshape(words.shape[0], -1, per_word)
    ordered = torch.empty_like(values)
    ordered[..., list(_AWQ_ORDER)] = values
    return ordered.reshape(words.shape[0], -1)


def unpacked_checkpoint(folder: Path, stated: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the tensors of a GPTQ or AWQ checkpoint by name, each packed matrix as one plain `weight` in float32.

    `stated`: the quantization_config. Raises BadModel for damaged files, a layout that is not covered, and parts that do not fit.
    """
    method, bits, group_size = stated.get("quant_method"), int(stated.get("bits", 4)), int(stated.get("group_size", 128))
    if method == "awq" and str(stated.get("version", "gemm")).lower() != "gemm":
        raise BadModel(f"{folder} is stored in AWQ's layout {stated.get('version')!r}; only 'gemm' is covered. Give the unquantised model.")
    if bits not in (2, 3, 4, 8):
        raise BadModel(f"{folder} states {bits} bits a weight; GPTQ and AWQ have 2, 3, 4 or 8.")
    offset = 0 if stated.get("checkpoint_format") == "gptq_v2" else 1
    packed: dict[str, dict[str, Tensor]] = {}
    plain: dict[str, Tensor] = {}
    for name, tensor in _tensors(folder).items():
        path, _, part = name.rpartition(".")
        if part in _PARTS:
            packed.setdefault(path, {})[part] = tensor
        else:
            plain[name] = tensor
    for path, parts in packed.items():
        try:
            if method == "awq":
                plain[f"{path}.weight"] = awq_weight(parts, bits, group_size)
            else:
                plain[f"{path}.weight"] = gptq_weight(parts, bits, group_size, zero_offset=offset)
        except (KeyError, IndexError, RuntimeError) as error:
            shapes = ", ".join(f"{part} {list(tensor.shape)}" for part, tensor in parts.items())
            raise BadModel(f"{path} in {folder} is no layer of {method} with {bits} bits: it has {shapes}. Get the model again.") from error
    if not packed:
        raise BadModel(f"The config.json of {folder} says {method}, but no tensor there is packed. Get the model again.")
    return plain


def _tensors(folder: Path) -> dict[str, Tensor]:
    try:
        files = [_SINGLE]
        if not (folder / _SINGLE).is_file():
            files = sorted(set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        return {name: tensor for file in files for name, tensor in load_file(folder / file).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BadModel(f"The weights of {folder} could not be read ({' '.join(str(error).split())[:160]}). Get the model again.") from error
