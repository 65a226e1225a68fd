"""The lists of blocks of a model, of those that text reaches, and the embeddings before them. Knows modules and their calls; no role."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resect.core.address import STACKS, Stack
from resect.core.errors import UnknownFamily

from .tiny_model import Calls, TinyModel, named_linears


@dataclass(frozen=True)
class BlockList:
    """A list of blocks: its path from the root, and of which stack."""

    path: str
    stack: Stack


def block_lists(config: Any, tiny: TinyModel, calls: dict[str, Calls]) -> list[BlockList]:
    """Returns the outermost lists of modules with matrices that run, one for each stack. Raises UnknownFamily."""
    paths: list[str] = []
    for path, module in tiny.model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in paths)
        if (
            isinstance(module, nn.ModuleList)
            and not inside
            and any(_runs(path, number, block, calls) for number, block in enumerate(module))
        ):
            paths.append(path)
    if not paths:
        raise UnknownFamily(f"{unknown(config)} It has no list of blocks with linear modules that runs.")
    lists = [BlockList(path, _stack(path, tiny)) for path in paths]
    for stack in STACKS:
        several = [found.path for found in lists if found.stack == stack]
        if len(several) > 1:
            raise UnknownFamily(f"{unknown(config)} Its {stack} is not one list of blocks, but {len(several)}: {', '.join(several)}.")
    return lists


def _runs(path: str, number: int, block: nn.Module, calls: dict[str, Calls]) -> bool:
    own = f"{path}.{number}"
    inner = [name for name, _ in named_linears(block) if name]
    return bool(calls[own].outputs or any(calls[f"{own}.{name}"].outputs for name in inner)) and bool(inner)


def _stack(path: str, tiny: TinyModel) -> Stack:
    if tiny.kind != "encoder-decoder":
        return "encoder" if tiny.kind == "masked" else "decoder"
    pieces = path.split(".")
    is_encoder = any("encoder" in piece for piece in pieces) and not any(piece in ("decoder", "text_decoder") for piece in pieces)
    return "encoder" if is_encoder else "decoder"


def embedding_paths(tiny: TinyModel, calls: dict[str, Calls], stack: Stack) -> list[str]:
    """Returns the embeddings that a stack's tokens are looked up in."""
    ids: Tensor = tiny.inputs["decoder_input_ids" if stack == "decoder" and tiny.kind == "encoder-decoder" else "input_ids"]
    modules = dict(tiny.model.named_modules())
    found = [path for path, own in calls.items() if isinstance(modules[path], nn.Embedding) and own.inputs]
    return [path for path in found if _looks_up(modules[path], calls[path], ids)]


def _looks_up(module: nn.Module, calls: Calls, ids: Tensor) -> bool:
    """Returns whether a module returns the rows of its weight for these tokens, maybe multiplied by a number."""
    weight: Any = module.weight
    if not torch.equal(calls.inputs[0], ids):
        return False
    rows, output = weight[ids], calls.outputs[0]
    return rows.shape == output.shape and bool(torch.allclose(output, rows * (output.norm() / rows.norm()), rtol=1e-3, atol=1e-4))


def common_path(paths: Sequence[str]) -> str:
    """Returns the path of the innermost module that contains all of these."""
    return os.path.commonpath([path.replace(".", "/") for path in paths]).replace("/", ".") if all(paths) else ""


def unknown(config: Any) -> str:
    """Returns the first sentence of a refusal."""
    return f"The family {config.model_type!r} has no line in the table of families, and its anatomy was not found."
