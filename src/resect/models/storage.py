"""Storage of a matrix: the positions of its entries in a parameter, and whether these are plain numbers.

Knows parameters and indices; `anatomy` knows the matrices of a family.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resect.core.address import Stack
from resect.core.errors import BadModel, InputError, NotWritable

from .families import Kind, Rows
from .layout import StackLayout

#: Dtypes of weights that are read and written as they are; any other is quantised.
PLAIN_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: The units of a matrix, from 0: any sequence of integers, a tensor or array of them, or None for all.
Units = Sequence[int] | Tensor | np.ndarray | None
#: An index of a parameter, as in `parameter[index]`.
Index = tuple[int | slice | Tensor, ...]
_PLAIN = "use the activation form, which edits of units have, or load the model with plain weights: --dequantize (dequantize=True)"
_MODEL_MAPPINGS = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "encoder-decoder": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING",
}


def at_least_float32(values: Tensor) -> Tensor:
    """Returns the values in float32, or as they are where they are float64: half precision is too coarse to compute with."""
    return values if values.dtype == torch.float64 else values.float()


def plain_parameter(module: nn.Module, name: str, what: str, *, meta: bool = False) -> nn.Parameter:
    """Returns the parameter `name` of a module, if the module computes with its numbers as they are.

    `meta`: whether a parameter without values is accepted. Raises NotWritable otherwise; `what` names it in the message.
    """
    if "base_layer" in module._modules:
        kind = type(module).__name__
        raise NotWritable(f"{what} has an adapter on it (a {kind}); merge it into the model first (merge_and_unload).")
    parameter = getattr(module, name, None)
    if not isinstance(parameter, nn.Parameter):
        raise NotWritable(f"{what} has no parameter {name} in a {type(module).__name__}; {_PLAIN}.")
    if type(parameter) is not nn.Parameter or type(parameter.data) is not Tensor or parameter.dtype not in PLAIN_DTYPES:
        raise NotWritable(
            f"{what} is stored as {type(parameter).__name__} of {parameter.dtype}, quantised or distributed; {_PLAIN}, on one machine."
        )
    if parameter.is_meta and not meta:
        reason = "is offloaded" if hasattr(module, "_hf_hook") else "is on the meta device and has no values"
        raise NotWritable(f"{what} {reason}; load the model with all weights in memory, or use the activation form.")
    return parameter


def unit_positions(units: Units, part: Rows, size: int, what: str, device: torch.device) -> slice | Tensor:
    """Returns the positions of units on their axis of the stored weight. Raises InputError for a unit that does not exist."""
    if units is None and not isinstance(part, tuple):
        return slice(None) if part is None else part
    positions = torch.arange(size) if units is None else torch.as_tensor(units, dtype=torch.long).cpu().reshape(-1)
    if positions.numel() and not 0 <= int(positions.min()) <= int(positions.max()) < size:
        bad = next(unit for unit in positions.tolist() if not 0 <= unit < size)
        raise InputError(f"There is no unit {bad} at {what}: it has {size}, 0 to {size - 1}.")
    if isinstance(part, tuple):
        positions = torch.tensor(part, dtype=torch.long)[positions]
    elif part is not None:
        positions = positions + part.start
    return positions.to(device)


def select_rows(stored: Tensor, part: Rows) -> Tensor:
    """Returns the rows of one role: a view where they are a slice, else a copy."""
    return stored if part is None else stored[part if isinstance(part, slice) else list(part)]


def expert_index(expert: int | None) -> Index:
    """Returns the first entry of an index, of an expert's own matrix in a parameter of all of them; empty without experts."""
    return () if expert is None else (expert,)


def rectangle_index(first: slice | Tensor, second: slice | Tensor) -> Index:
    """Returns the index of a rectangle of a matrix: each of `first` with each of `second`."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first[:, None], second[None, :]
    return first, second


def find_stacks(name: str, root: nn.Module, stacks: Mapping[Stack, StackLayout]) -> tuple[str, tuple[Stack, ...]]:
    """Returns the prefix of a family's paths in this model ("" or a path that ends in a dot), and which stacks it has.

    Modules decide, not the class, so that any head, and a model inside another one, is accepted. Raises BadModel.
    """
    candidates: dict[str, list[Stack]] = {}
    for path, module in root.named_modules():
        for stack, layout in stacks.items():
            if f".{path}".endswith(f".{layout.path}") and _matches(root, path.removesuffix(layout.path), module, layout):
                candidates.setdefault(path.removesuffix(layout.path), []).append(stack)
    if len(candidates) == 1:
        prefix, present = candidates.popitem()
        return prefix, tuple(stack for stack in stacks if stack in present)
    expected = " and ".join(
        f"{layout.path} ({len(layout.blocks)} times {', '.join(sorted(layout.blocks[0].paths if layout.blocks else ()))})"
        for layout in stacks.values()
    )
    raise BadModel(
        f"This {type(root).__name__} is a {name} by its configuration, but {expected} exists "
        f"{'in more than one place' if candidates else 'nowhere'}; give a complete model of Hugging Face transformers 5, "
        "with its blocks as its configuration describes them."
    )


def count_parameters(config: Any, kind: Kind) -> int | None:
    """Returns the number of parameters of a model of this configuration, tied ones once; None where transformers has no class."""
    import transformers  # slow, and needed only here

    for mapping in (getattr(transformers, _MODEL_MAPPINGS[kind]), transformers.MODEL_MAPPING):
        model_class: Any = mapping.get(type(config), None)
        if model_class is not None:
            with torch.device("meta"):
                return int(model_class(config).num_parameters())
    return None


def _matches(root: nn.Module, prefix: str, module: nn.Module, layout: StackLayout) -> bool:
    if not isinstance(module, nn.ModuleList) or not layout.blocks:
        return False
    try:
        blocks = [root.get_submodule(f"{prefix}{path}") for path in layout.block_paths] or list(module)
    except AttributeError:
        return False
    if len(blocks) != len(layout.blocks):
        return False
    checked = set()  # blocks of one class and one layout have the same modules
    for block, expected in zip(blocks, layout.blocks, strict=True):
        if (type(block), id(expected)) in checked:
            continue
        checked.add((type(block), id(expected)))
        names = {path for path, _ in block.named_modules()}
        if not names.issuperset(expected.paths):
            return False
    return True
