"""Hooks at the products inside of a module: what a weight multiplies, and what comes out, where the weight has no module of its own.

Mixtures of experts hold the matrices of all experts in one parameter, and each token is multiplied by those of a few. Values are the same
to the last bit with hooks and without them, unless a hook returns other values. Knows parameters and products; knows no site.
"""

import weakref
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from torch import nn

from .layout import When
from .product_watch import Key, ProductHook, ProductWatch


@dataclass(frozen=True)
class ProductHandle:
    """Removes one hook."""

    hooks: "_ModuleHooks"
    key: Key
    hook: ProductHook

    def remove(self) -> None:
        """Remove the hook; a second time does nothing."""
        self.hooks.remove(self.key, self.hook)


def register_product_hook(module: nn.Module, weight: str, when: When, hook: ProductHook) -> ProductHandle:
    """Calls a hook whenever a module multiplies by one of its parameters.

    Parameters
    ----------
    weight : the parameter's name
    when : "input": before the product, with what is multiplied; "output": with the product and its bias; "activation": with what the
        activation function returns for the product, or for a part of it
    hook : called once for a product, of all experts together or of one, as the module computes them; hooks see what earlier ones returned

    A run of the module raises NotYet where its products are not seen (a fused kernel computes them).
    """
    hooks = _of_modules.setdefault(module, _ModuleHooks())
    hooks.add(module, (weight, when), hook)
    return ProductHandle(hooks, (weight, when), hook)


class _ModuleHooks:
    """The product hooks of one module. While there are some, each run of the module is watched."""

    def __init__(self) -> None:
        self.by_key: dict[Key, list[ProductHook]] = defaultdict(list)
        self._handles: list[Any] = []
        self._watches: list[ProductWatch] = []

    def add(self, module: nn.Module, key: Key, hook: ProductHook) -> None:
        self.by_key[key].append(hook)
        if not self._handles:
            leave = module.register_forward_hook(self._leave, always_call=True)
            self._handles = [module.register_forward_pre_hook(self._enter, with_kwargs=True), leave]

    def remove(self, key: Key, hook: ProductHook) -> None:
        if hook in self.by_key.get(key, ()):
            self.by_key[key].remove(hook)
            if not self.by_key[key]:
                del self.by_key[key]
        while not self.by_key and self._handles:
            self._handles.pop().remove()

    def _enter(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        watch = ProductWatch(module, self.by_key, (*arguments, *named.values()))
        watch.open()
        self._watches.append(watch)

    def _leave(self, module: nn.Module, _arguments: object, output: object) -> None:
        if self._watches:
            self._watches.pop().close(module, is_complete=output is not None)


_of_modules: "weakref.WeakKeyDictionary[nn.Module, _ModuleHooks]" = weakref.WeakKeyDictionary()
