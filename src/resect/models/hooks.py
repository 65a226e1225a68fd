"""Hooks: calls a function with the values at sites, and with their gradients, while a model runs. No history is kept.

Knows the taps of an anatomy; does not know what the values are for. Values are never changed: forward hooks return None, so logits are
the same to the last bit with and without them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from resect.core.address import Site

from .anatomy import Anatomy
from .layout import When
from .product_hooks import ProductHandle, register_product_hook
from .product_rows import Product
from .product_watch import ProductHook

#: Called with the site, the values and (for gradients) d(objective)/d(values), both [rows, tokens, units]. At an expert that a router
#: chooses, values are [tokens that reach it, units]; beside gradients both are [all tokens, units], 0 where a token does not reach it.
#: There is no call where no token does.
SiteCallback = Callable[[Site, Tensor], None]
GradientCallback = Callable[[Site, Tensor, Tensor], None]


@contextlib.contextmanager
def forward_hooks(anatomy: Anatomy, sites: Sequence[Site], callback: SiteCallback) -> Iterator[None]:
    """Call `callback(site, values)` each time a forward pass computes one of `sites`."""

    def make_hook(module_sites: Sequence[Site]) -> Callable[[Tensor, Product | None], None]:
        def on_values(values: Tensor, product: Product | None) -> None:
            for site in module_sites:
                own = _own_rows(site, values.detach(), product)
                if own is not None:
                    callback(site, site_values(anatomy, site, own))

        return on_values

    with _registered(anatomy, sites, make_hook):
        yield


@contextlib.contextmanager
def gradient_hooks(anatomy: Anatomy, sites: Sequence[Site], callback: GradientCallback) -> Iterator[None]:
    """Call `callback(site, values, gradient)` in the backward pass, once for every forward pass that computed a site.

    Weights may be frozen: the embeddings' output is made to require a gradient, so that activations have one.
    The values are the forward pass's own tensors, which autograd keeps until the backward pass; nothing outlives it.
    """

    def make_hook(module_sites: Sequence[Site]) -> Callable[[Tensor, Product | None], None]:
        def on_values(values: Tensor, product: Product | None) -> None:
            detached = values.detach()

            def on_gradient(gradient: Tensor) -> None:
                for site in module_sites:
                    pair = [_own_rows(site, tensor, product) for tensor in (detached, gradient)]
                    if all(own is not None for own in pair):
                        parts = (site_values(anatomy, site, own) for own in pair if own is not None)
                        callback(site, *(part if product is None else product.spread(_expert(site), part) for part in parts))

            values.register_hook(on_gradient)

        return on_values

    with contextlib.ExitStack() as stack:
        for embedding in anatomy.embeddings:
            handle = embedding.register_forward_hook(_require_gradient)
            stack.callback(handle.remove)
        stack.enter_context(_registered(anatomy, sites, make_hook))
        yield


@contextlib.contextmanager
def _registered(
    anatomy: Anatomy, sites: Sequence[Site], make_hook: Callable[[Sequence[Site]], Callable[[Tensor, Product | None], None]]
) -> Iterator[None]:
    """Register hooks at the modules of `sites`; several sites of one fused module, or of one mixture of experts, share one hook."""
    by_tap: dict[tuple[str, str, When], list[Site]] = {}
    for site in sites:
        tap = anatomy.tap(site)
        by_tap.setdefault((tap.path, tap.weight, tap.when), []).append(site)
    handles: list[RemovableHandle | ProductHandle] = []
    try:
        for (_, weight, when), group in by_tap.items():
            module, on_values = anatomy.module(group[0]), make_hook(group)
            if weight:
                handles.append(register_product_hook(module, weight, when, _product_hook(on_values)))
            elif when == "input":
                handles.append(module.register_forward_pre_hook(_input_hook(on_values)))
            else:
                handles.append(module.register_forward_hook(_output_hook(on_values)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def site_values(anatomy: Anatomy, site: Site, values: Tensor) -> Tensor:
    """Returns a site's part of the values at its tap, a view where the units are contiguous."""
    part = anatomy.tap(site).part
    if part is None:
        return values
    return values[..., part] if isinstance(part, slice) else values[..., torch.as_tensor(part, device=values.device)]


def _expert(site: Site) -> int | None:
    return site.expert if site.is_routed else None


def _own_rows(site: Site, values: Tensor, product: Product | None) -> Tensor | None:
    """Returns the values at the tokens that a site sees; None where it sees none."""
    return values if product is None else replace(product, values=values).of(_expert(site))


def _product_hook(on_values: Callable[[Tensor, Product | None], None]) -> ProductHook:
    def hook(product: Product) -> None:
        on_values(product.values, product)

    return hook


def _input_hook(on_values: Callable[[Tensor, Product | None], None]) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        on_values(inputs[0], None)

    return hook


def _output_hook(on_values: Callable[[Tensor, Product | None], None]) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        on_values(output, None)

    return hook


def _require_gradient(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
    if output.is_leaf and not output.requires_grad:
        output.requires_grad_(True)
