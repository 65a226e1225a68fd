"""Plain values of weights that are stored in another way: quantised, or offloaded by accelerate.

Knows how each library stores a weight; knows no checkpoint. Reads the values of one matrix, and replaces those of a whole model.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from resect.core.address import Site
from resect.core.errors import BadModel, NotWritable

from .anatomy import Anatomy
from .storage import PLAIN_DTYPES, select_rows


def readable_matrix(anatomy: Anatomy, site: Site) -> Float[Tensor, "out inside"] | None:
    """Returns the values with which a matrix computes, as [out, in], a copy where it is quantised; None where they cannot be read."""
    try:
        weight = anatomy.weight(site)
    except NotWritable:
        weight = None
    if weight is not None and not weight.is_meta:
        return weight
    slot = anatomy.slot(site)
    stored = plain_values(anatomy.module(site), slot.weight)
    if stored is None:
        return None
    stored = stored if slot.expert is None else stored[slot.expert]
    # bitsandbytes puts layers that store [out, in] in the place of GPT-2's, which store [in, out].
    is_transposed = slot.transposed and not isinstance(anatomy.module(site), nn.Linear)
    return select_rows(stored.T if is_transposed else stored, slot.rows)


@torch.no_grad()
def plain_values(module: nn.Module, name: str = "weight") -> Tensor | None:
    """Returns the values with which a module computes in place of its parameter `name`; None where this storage is not known."""
    weight = getattr(module, name, None)
    if isinstance(weight, Tensor) and weight.is_meta:
        weight = _offloaded(module, name)
    if not isinstance(weight, Tensor):
        return None
    kind = type(weight).__name__
    if kind == "Params4bit":
        return _from_bitsandbytes_4bit(weight)
    if kind == "Int8Params":
        return _from_bitsandbytes_8bit(module, weight)
    if type(weight.data) is not Tensor and hasattr(weight, "dequantize"):  # torchao
        return torch.Tensor(weight.dequantize().detach())
    scale = getattr(module, f"{name}_scale_inv", None)
    if isinstance(scale, Tensor):
        return _from_blocks(weight, scale, getattr(module, "block_size", None))
    return weight.detach() if weight.dtype in PLAIN_DTYPES and type(weight.data) is Tensor else None


def stored_tensors(module: nn.Module, name: str) -> Iterator[Tensor]:
    """Yields every tensor by which a module stores its parameter `name`: packed integers, scales, or the values on disk."""
    weight: Any = getattr(module, name)
    if weight.is_meta:
        offloaded = _offloaded(module, name)
        if offloaded is not None:
            yield offloaded
    elif hasattr(weight.data, "__tensor_flatten__"):
        yield from (getattr(weight.data, attribute) for attribute in weight.data.__tensor_flatten__()[0])
    else:
        yield weight.data
        state = getattr(weight, "quant_state", None)
        if state is not None:
            yield from (value for value in state.as_dict(packed=False).values() if isinstance(value, Tensor))
        scales = _row_scales(module, weight)
        if scales is not None:
            yield scales


def to_plain_weights(model: Any, method: str, dtype: torch.dtype | None = None) -> Any:
    """Returns a quantised Hugging Face model with plain weights in `dtype` (None: in that of its configuration), in place where possible.

    Parameters that transformers keeps in float32 beside half precision stay there.
    Raises NotWritable where neither transformers nor this module can unpack its method.
    """
    wanted = dtype or getattr(model.config, "dtype", None) or model.dtype
    return _cast(_unpacked(model, method, wanted), wanted)


def _unpacked(model: Any, method: str, wanted: torch.dtype) -> Any:
    if all(map(is_plain, model.parameters())):
        return model
    if method == "torchao":
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if type(parameter.data) is not Tensor:
                    values = plain_values(module, name)
                    if values is not None:
                        setattr(module, name, nn.Parameter(values.to(wanted), requires_grad=False))
        model.hf_quantizer.remove_quantization_config(model)
        return model
    try:
        return model.dequantize(dtype=wanted)
    except (NotImplementedError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise NotWritable(
            f"This version of transformers cannot turn weights of the method {method} into plain ones ({reason}); install a newer one, or "
            "load the unquantised model."
        ) from error


def restore_transposed(model: nn.Module, blueprint: nn.Module) -> None:
    """Put modules that store [in, out] back in the place of those that store [out, in], where `blueprint`, the same model, has them."""
    for path, module in blueprint.named_modules():
        found = model.get_submodule(path) if isinstance(module, Conv1D) else None
        if isinstance(found, nn.Linear):
            with torch.device("meta"):
                restored = Conv1D(found.out_features, found.in_features)
            restored.weight = nn.Parameter(found.weight.data.T.contiguous(), requires_grad=False)
            restored.bias = found.bias
            model.set_submodule(path, restored)


def transposed_names(names: Iterable[str], blueprint: nn.Module) -> list[str]:
    """Returns those of the names of stored weights that belong to modules which store [in, out]."""
    paths = [f".{path}" for path, module in blueprint.named_modules() if isinstance(module, Conv1D)]
    return [name for name in names if any(path.endswith(f".{name.removesuffix('.weight')}") for path in paths)]


def _cast(model: Any, wanted: torch.dtype) -> Any:
    """Cast the parameters that a checkpoint stores unquantised, in place."""
    kept = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ()) if wanted.itemsize == 2 else set()
    if wanted == torch.float16:
        kept |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, parameter in model.named_parameters():
        if is_plain(parameter) and not parameter.is_meta and not kept & set(name.split(".")):
            parameter.data = parameter.data.to(wanted)
    return model


def is_plain(parameter: nn.Parameter) -> bool:
    """Returns whether a parameter is plain numbers, also where they are on the meta device."""
    return type(parameter) is nn.Parameter and type(parameter.data) is Tensor and parameter.dtype in PLAIN_DTYPES


def check_plain(model: Any, source: str) -> None:
    """Raises BadModel where a model that was to be plain has a parameter of another kind."""
    for name, parameter in model.named_parameters():
        if not is_plain(parameter):
            kind = f"{type(parameter.data).__name__} of {parameter.dtype}"
            raise BadModel(f"{name} of {source} is still quantised ({kind}): --dequantize does not cover it. Give the unquantised model.")


def _offloaded(module: nn.Module, name: str) -> Tensor | None:
    """Returns a parameter that accelerate keeps on the CPU or on disk while the module does not compute."""
    hook = getattr(module, "_hf_hook", None)
    for single in getattr(hook, "hooks", (hook,)):
        values = getattr(single, "weights_map", None)
        if values is not None:
            try:
                kept = values[name]
            except KeyError:
                continue
            return kept if isinstance(kept, Tensor) else None
    return None


def _from_bitsandbytes_4bit(weight: Any) -> Tensor | None:
    if weight.quant_state is None:  # packed when it is first moved to a device
        return weight.data if weight.dtype in PLAIN_DTYPES else None
    from bitsandbytes.functional import dequantize_4bit

    return torch.Tensor(dequantize_4bit(weight.data, weight.quant_state))


def _from_bitsandbytes_8bit(module: nn.Module, weight: Any) -> Tensor | None:
    scales = _row_scales(module, weight)
    if scales is None:
        return None
    values: Tensor = weight.data.float() * (scales.float() / 127).reshape(-1, 1)
    return values


def _row_scales(module: nn.Module, weight: Any) -> Tensor | None:
    """Returns the scales of the rows of 8-bit weights: the first forward pass moves them from the weight to the module's state."""
    scales = getattr(weight, "SCB", None)
    scales = getattr(getattr(module, "state", None), "SCB", None) if scales is None else scales
    return scales if isinstance(scales, Tensor) else None


def _from_blocks(weight: Tensor, scale: Tensor, block: Any) -> Tensor:
    """Returns values times the scale of their block; `block`: [rows, columns] of one, None: one scale for all."""
    values, scales = weight.float(), scale.float()
    if scales.dim() < 2 or block is None:
        return values * scales
    rows, columns = (int(size) for size in block)
    spread = scales.repeat_interleave(rows, -2).repeat_interleave(columns, -1)
    return values * spread[..., : values.shape[-2], : values.shape[-1]]
