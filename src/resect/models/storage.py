"""How a matrix is stored: where its entries stand in a parameter, and whether they are plain numbers at all.

Knows parameters and indices; which matrix of which family is meant is `anatomy`'s to say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resect.core.address import Stack
from resect.core.errors import BadModel, InputError, NotWritable

from .families import Blocks, Kind, Rows, number

#: What a stored weight may be to be read and written as it is; anything else is quantised.
PLAIN_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: The units of a matrix, from 0: any sequence of integers, a tensor or array of them, or None for all.
Units = Sequence[int] | Tensor | np.ndarray | None
#: What to put between the brackets of a parameter.
Index = tuple[slice | Tensor, ...]
_CLASSES = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "encoder-decoder": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING",
}


def at_least_float32(values: Tensor) -> Tensor:
    """Returns the values in float32, or as they are where they are float64: half precision is too coarse to compute with."""
    return values if values.dtype == torch.float64 else values.float()


def plain_parameter(module: nn.Module, name: str, what: str, *, meta: bool = False) -> nn.Parameter:
    """The parameter `name` of a module, if it holds plain numbers that the module computes with as they are.

    `meta`: whether one without values will do. Raises NotWritable otherwise; `what` names it in the message.
    """
    if "base_layer" in module._modules:
        kind = type(module).__name__
        raise NotWritable(f"{what} has an adapter on it (a {kind}); merge it into the model first (merge_and_unload).")
    parameter = getattr(module, name, None)
    if not isinstance(parameter, nn.Parameter):
        raise NotWritable(
            f"{what} has no {name} of its own in a {type(module).__name__}; load the model with plain weights, or use the activation form."
        )
    if type(parameter) is not nn.Parameter or type(parameter.data) is not Tensor or parameter.dtype not in PLAIN_DTYPES:
        raise NotWritable(
            f"{what} is stored as {type(parameter).__name__} of {parameter.dtype}, quantised or spread out; "
            "load the model unquantised on one machine, or use the activation form."
        )
    if parameter.is_meta and not meta:
        reason = "is offloaded" if hasattr(module, "_hf_hook") else "is on the meta device and has no values"
        raise NotWritable(f"{what} {reason}; load the model with all weights in memory, or use the activation form.")
    return parameter


def positions(units: Units, part: Rows, size: int, what: str, device: torch.device) -> slice | Tensor:
    """Where the units of a matrix stand on their axis of the stored weight. Raises InputError for one that is not."""
    if units is None and not isinstance(part, tuple):
        return slice(None) if part is None else part
    wanted = torch.arange(size) if units is None else torch.as_tensor(units, dtype=torch.long).cpu().reshape(-1)
    if wanted.numel() and not 0 <= int(wanted.min()) <= int(wanted.max()) < size:
        bad = next(unit for unit in wanted.tolist() if not 0 <= unit < size)
        raise InputError(f"There is no unit {bad} at {what}: it has {size}, 0 to {size - 1}.")
    if isinstance(part, tuple):
        wanted = torch.tensor(part, dtype=torch.long)[wanted]
    elif part is not None:
        wanted = wanted + part.start
    return wanted.to(device)


def taken(stored: Tensor, part: Rows) -> Tensor:
    """The rows of one role: a view where they are a slice, else a copy."""
    return stored if part is None else stored[part if isinstance(part, slice) else list(part)]


def crossed(first: slice | Tensor, second: slice | Tensor) -> Index:
    """The index of a rectangle of a matrix: each of `first` with each of `second`."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first[:, None], second[None, :]
    return first, second


def find_stacks(name: str, root: nn.Module, stacks: Mapping[Stack, Blocks], sizes: Any) -> tuple[str, tuple[Stack, ...]]:
    """What stands before a family's paths in this model ("" or a path that ends in a dot), and which stacks it has.

    Found by what is there, not by the class, so that any head, and a model inside another, will do. Raises BadModel.
    """
    found: dict[str, list[Stack]] = {}
    for path, module in root.named_modules():
        for stack, blocks in stacks.items():
            if f".{path}".endswith(f".{blocks.at}") and _fits(module, blocks, number(blocks.layers, sizes)):
                found.setdefault(path.removesuffix(blocks.at), []).append(stack)
    if len(found) == 1:
        prefix, present = found.popitem()
        return prefix, tuple(stack for stack in stacks if stack in present)
    wanted = " and ".join(
        f"{blocks.at} ({number(blocks.layers, sizes)} times {', '.join(dict.fromkeys(blocks.parts.values()))})"
        for blocks in stacks.values()
    )
    raise BadModel(
        f"This {type(root).__name__} is said to be a {name}, but {wanted} is found "
        f"{'in more than one place' if found else 'nowhere'}; give a whole model of Hugging Face transformers 5, "
        "with its blocks as its configuration says."
    )


def count_from_configuration(config: Any, kind: Kind) -> int | None:
    """How many parameters a model of this configuration has, tied ones once; None where transformers has no class."""
    import transformers  # slow, and needed only here

    for mapping in (getattr(transformers, _CLASSES[kind]), transformers.MODEL_MAPPING):
        make: Any = mapping.get(type(config), None)
        if make is not None:
            with torch.device("meta"):
                return int(make(config).num_parameters())
    return None


def _fits(found: nn.Module, blocks: Blocks, layers: int) -> bool:
    if not isinstance(found, nn.ModuleList) or len(found) != layers or not layers:
        return False
    names = {path for path, _ in found[0].named_modules()}
    return names.issuperset(blocks.parts.values())
