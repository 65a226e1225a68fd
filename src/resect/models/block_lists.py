"""The lists of blocks of a model, of those that text reaches, and the embeddings before them. Knows modules and their calls; no role."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resect.core.address import STACKS, Stack
from resect.core.errors import UnknownFamily

from .tiny_model import Calls, TinyModel, named_linears


@dataclass(frozen=True)
class BlockList:
    """The blocks of one stack, their paths from the root.

    path : of their list; of the first one, where they are in several
    paths : of the blocks
    lists : of all lists
    """

    path: str
    stack: Stack
    paths: tuple[str, ...]
    lists: tuple[str, ...]

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Returns the blocks of a model. Raises AttributeError where it has other ones."""
        return [model.get_submodule(path) for path in self.paths]


def block_lists(config: Any, tiny: TinyModel, calls: dict[str, Calls]) -> list[BlockList]:
    """Returns the blocks of each stack: the elements of the outermost lists of modules with matrices that run. Raises UnknownFamily.

    The blocks of several lists are one stack, in the order in which they begin to compute.
    """
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
    by_stack = {stack: tuple(path for path in paths if _stack(path, tiny) == stack) for stack in STACKS}
    return [_joined(stack, own, tiny) for stack, own in by_stack.items() if own]


def _joined(stack: Stack, lists: tuple[str, ...], tiny: TinyModel) -> BlockList:
    if len(lists) == 1:
        paths = [f"{lists[0]}.{name}" for name, _ in tiny.model.get_submodule(lists[0]).named_children()]
        return BlockList(lists[0], stack, tuple(paths), lists)
    elements = [path for own in lists for path in _elements(own, tiny.model.get_submodule(own))]
    order = tiny.order(elements)
    paths = sorted((path for path in elements if path in order), key=lambda path: order[path])
    first = next(own for own in lists if paths[0].startswith(f"{own}."))
    return BlockList(first, stack, tuple(paths), lists)


def _elements(path: str, module: nn.Module) -> Iterator[str]:
    """Yields the paths of the elements of a list, and of the lists in it."""
    for name, inner in module.named_children():
        if isinstance(inner, nn.ModuleList):
            yield from _elements(f"{path}.{name}", inner)
        else:
            yield f"{path}.{name}"


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
