"""One run of a module, watched by a function mode of torch: its products with its own parameters, and of which tokens they are.

The module's own code runs unchanged, whichever implementation it is. Weights are recognised by identity, by memory (a view of one expert's
matrix), or as rows that were chosen from a parameter; tokens are followed from the module's input on. Knows no site, and not who asks.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from resect.core.errors import NotYet

from .layout import When
from .product_rows import Every, Mixed, OneExpert, Product, ProductRows, Sorted, Stacked

_PRODUCTS = {"linear", "matmul", "__matmul__", "mm", "bmm", "grouped_mm", "_grouped_mm", "grouped_mm_fallback"}
_ADDITIONS = {"add", "__add__", "add_", "__iadd__"}
_MULTIPLICATIONS = {"mul", "__mul__", "multiply"}
#: Activation functions that are called without a module.
_ACTIVATIONS = {"silu", "gelu", "relu", "mish", "hardswish"}
_CASTS = {"type", "to", "float", "half", "bfloat16", "double"}
_VIEWS = {"view", "reshape", "unsqueeze", "squeeze", "contiguous", *_CASTS}


#: Receives a product, and returns other values in the place of its own, or None.
ProductHook = Callable[[Product], Tensor | None]
#: The name of a parameter, and what of its product is observed.
Key = tuple[str, When]


@dataclass
class _Incomplete:
    """A product whose bias is still to be added, or whose axis of single rows is still to be removed."""

    weight: str
    place: ProductRows
    values: Tensor
    needs_bias: bool


class ProductWatch(TorchFunctionMode):
    """One run of a module: sees its products, and of which tokens they are."""

    def __init__(self, module: nn.Module, hooks: Mapping[Key, list[ProductHook]], arguments: Sequence[Any]) -> None:
        super().__init__()
        self._hooks = hooks
        self._own = {name: own for name, own in module._parameters.items() if own is not None}
        # By the identity of tensors, which are kept, so that no other one gets the same.
        self._kept: list[Tensor] = []
        self._tokens: dict[int, Tensor] = {}
        self._chosen: dict[int, tuple[str, Tensor]] = {}
        self._casts: dict[int, str] = {}
        self._sigmoids: set[int] = set()
        self._incomplete: _Incomplete | None = None
        self._last: ProductRows | None = None
        self._is_used = False
        given = next((value for value in arguments if isinstance(value, Tensor)), None)
        self._count = 0 if given is None else given.shape[:-1].numel()
        if given is not None:
            self._remember(self._tokens, given, torch.arange(self._count, device=given.device))
        self._stack = ExitStack()
        self._activations = [weight for weight, when in hooks if when == "activation"]
        own_function = next((child for name, child in module.named_children() if name.startswith("act")), None)
        self._is_inline = own_function is None
        if self._activations and own_function is not None:
            self._stack.callback(own_function.register_forward_hook(self._after_activation).remove)

    def open(self) -> None:
        """Begin to watch."""
        self._stack.enter_context(self)

    def close(self, module: nn.Module, is_complete: bool) -> None:
        """End watching. Raises NotYet where the run is complete, and no product was seen."""
        self._stack.close()
        if is_complete and self._count and not self._is_used:
            raise NotYet(
                f"The products of a {type(module).__name__} are not seen: a kernel computes them in one piece. Load the model with "
                'experts_implementation="eager", which computes the same.'
            )

    def _remember(self, where: dict[int, Any], tensor: Tensor, value: Any) -> None:
        self._kept.append(tensor)
        where[id(tensor)] = value

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _PRODUCTS:
            return self._multiply(func, args, kwargs)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and args and isinstance(args[0], Tensor):
            return self._follow(name, args, result)
        return result

    # -- what is not a product ---------------------------------------------------------------------------------------------

    def _follow(self, name: str, args: tuple[Any, ...], result: Tensor) -> Tensor:
        """Follows tokens, chosen weights, incomplete products, and an activation function without a module."""
        first, second = args[0], args[1] if len(args) > 1 else None
        if self._incomplete is not None and any(value is self._incomplete.values for value in args):
            return self._completed(name, result)
        if name == "__getitem__" and isinstance(second, Tensor) and second.dim() == 1 and second.dtype != torch.bool:
            weight = self._name_of(first)
            if weight is not None:
                self._remember(self._chosen, result, (weight, second))
            elif id(first) in self._tokens:
                self._remember(self._tokens, result, self._tokens[id(first)][second])
        elif name == "repeat_interleave" and id(first) in self._tokens:
            self._remember(self._tokens, result, self._tokens[id(first)].repeat_interleave(int(args[1])))
        elif name in _CASTS and (cast := self._name_of(first)) is not None:
            self._remember(self._casts, result, cast)
        elif name in _VIEWS and id(first) in self._tokens:
            self._remember(self._tokens, result, self._tokens[id(first)])
        elif name == "sigmoid":
            self._kept.append(result)
            self._sigmoids.add(id(result))
        elif self._is_inline and self._activations:
            is_product = name in _MULTIPLICATIONS and bool({id(first), id(second)} & self._sigmoids)  # x · sigmoid(a · x)
            return self._changed_activation(result) if is_product or name in _ACTIVATIONS else result
        return result

    def _completed(self, name: str, result: Tensor) -> Tensor:
        assert self._incomplete is not None
        product, self._incomplete = self._incomplete, None
        if name in _ADDITIONS and product.needs_bias:
            product = replace(product, needs_bias=False)
        elif name not in _VIEWS:
            raise NotYet(f"The product with {product.weight} of a mixture of experts is not complete when {name} uses it.")
        if product.needs_bias:
            self._incomplete = replace(product, values=result)
            return result
        new = self._called(product.weight, "output", result, product.place)
        if new is not result and name in ("add_", "__iadd__"):  # whose result is not read
            return result.copy_(new)
        return new

    def _after_activation(self, _module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        return self._changed_activation(output)

    def _changed_activation(self, values: Tensor) -> Tensor:
        for weight in self._activations:
            values = values if self._last is None else self._called(weight, "activation", values, self._last)
        return values

    # -- products ----------------------------------------------------------------------------------------------------------

    def _multiply(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)][:2]
        weight, factor = next(((name, value) for value in tensors if (name := self._weight_of(value)) is not None), ("", None))
        if factor is None:
            return func(*args, **kwargs)
        self._is_used = True
        given = next(value for value in tensors if value is not factor)
        place = self._last = self._place(weight, factor, given, args, kwargs)
        single = (-1 if given.shape[-1] == 1 else 1) if isinstance(place, Mixed) and given.dim() == 3 else None
        if (weight, "input") in self._hooks:
            rows = given if single is None else given.squeeze(single)
            new = self._called(weight, "input", rows, place)
            if new is not rows:
                new = new if single is None else new.unsqueeze(single)
                args = tuple(new if value is given else value for value in args)
                kwargs = {name: new if value is given else value for name, value in kwargs.items()}
        result: Tensor = func(*args, **kwargs)
        if (weight, "output") not in self._hooks:
            return result
        is_biased = func.__name__ == "linear" and (len(args) > 2 or kwargs.get("bias") is not None)
        needs_bias = not is_biased and self._own.get("bias" if weight == "weight" else f"{weight}_bias") is not None
        if needs_bias or single is not None:
            self._incomplete = _Incomplete(weight, place, result, needs_bias)
            return result
        return self._called(weight, "output", result, place)

    def _called(self, weight: str, when: When, values: Tensor, place: ProductRows) -> Tensor:
        count = place.reached.shape[1] if isinstance(place, Stacked) else self._count
        for hook in list(self._hooks.get((weight, when), ())):
            new = hook(Product(values, place, count))
            values = values if new is None else new
        return values

    def _name_of(self, value: Tensor) -> str | None:
        """Returns the name of the parameter that a tensor is."""
        return next((name for name, own in self._own.items() if own is value), None)

    def _weight_of(self, value: Tensor) -> str | None:
        """Returns the name of the parameter that a factor is, or is a part of."""
        if id(value) in self._chosen:
            return self._chosen[id(value)][0]
        return self._casts.get(id(value)) or next((name for name, own in self._own.items() if _is_part_of(value, own)), None)

    def _place(self, weight: str, factor: Tensor, given: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ProductRows:
        own, tokens = self._own[weight], self._tokens.get(id(given))
        if id(factor) in self._chosen:
            return Mixed(self._chosen[id(factor)][1], self._last.token_of_row if tokens is None and self._last is not None else tokens)
        if own.dim() == 2:
            return Every(tokens)
        if tokens is None and self._last is not None and self._last.row_count == given.shape[:-1].numel():
            tokens = self._last.token_of_row  # the second product of an expert
        ends = kwargs.get("offs", args[2] if len(args) > 2 else None)
        if ends is not None and factor.dim() == 3:
            return Sorted(tuple(ends.tolist()), tokens)
        if factor.dim() == 3:
            is_second = isinstance(self._last, Stacked) and self._last.reached.shape == given.shape[:-1]
            return self._last if is_second and self._last is not None else Stacked((given != 0).any(-1))
        expert = (factor.storage_offset() - own.storage_offset()) // own[0].numel()
        return OneExpert(expert, tokens, given.shape[:-1].numel())


def _is_part_of(value: Tensor, parameter: Tensor) -> bool:
    """Returns whether a tensor is a parameter, or a view of a part of it."""
    if value.untyped_storage().data_ptr() != parameter.untyped_storage().data_ptr() or value.dtype != parameter.dtype:
        return False
    return parameter.storage_offset() <= value.storage_offset() < parameter.storage_offset() + parameter.numel()
