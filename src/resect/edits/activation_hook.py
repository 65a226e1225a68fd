"""The activation form of edits: a hook that changes some units of the values at a tap. Knows a tap; does not know which edit it serves."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from resect.core.address import Site
from resect.models.anatomy import Anatomy
from resect.models.product_hooks import register_product_hook
from resect.models.product_rows import Product

from .undo import Handle

#: Maps the values of some units, [..., units], to their new values.
ActivationChange = Callable[[Tensor], Tensor]


class ActivationHook:
    """Changes some units of the values at a site's tap, and nothing else."""

    def __init__(self, anatomy: Anatomy, site: Site, units: tuple[int, ...], change: ActivationChange) -> None:
        self._tap = anatomy.tap(site)
        part = self._tap.part
        if part is None:
            self._positions = list(units)
        else:
            positions = range(part.stop)[part] if isinstance(part, slice) else part
            self._positions = [positions[unit] for unit in units]
        self._change = change
        self._indices: dict[torch.device, Tensor] = {}  # by device: a list would be copied there at every call

    def register(self, module: nn.Module) -> Handle:
        """Register it at the module of the tap."""
        if self._tap.weight:
            return register_product_hook(module, self._tap.weight, self._tap.when, self.of_product)
        if self._tap.when == "input":
            return module.register_forward_pre_hook(self.before)
        return module.register_forward_hook(self.after)

    def changed(self, values: Tensor) -> Tensor:
        """Returns a copy of the values with the units changed."""
        if values.device not in self._indices:
            self._indices[values.device] = torch.tensor(self._positions, device=values.device)
        index = self._indices[values.device]
        return values.index_copy(-1, index, self._change(values.index_select(-1, index)).to(values.dtype))

    def before(self, _module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns a module's arguments, the first one changed."""
        return self.changed(arguments[0]), *arguments[1:]

    def after(self, _module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        """Returns a module's output, changed."""
        return self.changed(output)

    def of_product(self, product: Product) -> Tensor | None:
        """Returns the values of a product, changed at the tokens that reach the site; None where none does."""
        own = product.of(self._tap.expert)
        return None if own is None else product.with_values(self._tap.expert, self.changed(own))
