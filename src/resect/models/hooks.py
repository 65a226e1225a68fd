"""Hooks: calls a function with the values at sites, and with their gradients, while a model runs. No history is kept.

Knows the taps of an anatomy; does not know what the values are for. Values are never changed: forward hooks return None, so logits are
the same to the last bit with and without them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from resect.core.address import Site

from .anatomy import Anatomy
from .anatomy_parts import Tap
from .layout import When
from .product_hooks import ProductHandle, register_product_hook
from .product_rows import Product
from .product_watch import ProductHook

#: Called with the site, the values and (for gradients) d(objective)/d(values), both [rows, tokens, units]. At an expert that a router
#: chooses, values are [tokens that reach it, units]; beside gradients both are [all tokens, units], 0 where a token does not reach it.
#: There is no call where no token does.
SiteCallback = Callable[[Site, Tensor], None]
GradientCallback = Callable[[Site, Tensor, Tensor], None]
#: The sites that share a hook, each with its tap; and what the hook does with all values there.
SiteTaps = Sequence[tuple[Site, Tap]]
OnValues = Callable[[Tensor, Product | None], None]


@contextlib.contextmanager
def forward_hooks(anatomy: Anatomy, sites: Sequence[Site], callback: SiteCallback) -> Iterator[None]:
    """Call `callback(site, values)` each time a forward pass computes one of `sites`."""

    def make_hook(taps: SiteTaps) -> OnValues:
        def on_values(values: Tensor, product: Product | None) -> None:
            for site, tap in taps:
                own = _own_values(tap, values.detach(), product)
                if own is not None:
                    callback(site, own)

        return on_values

    with _registered(anatomy, sites, make_hook):
        yield


@contextlib.contextmanager
def gradient_hooks(anatomy: Anatomy, sites: Sequence[Site], callback: GradientCallback) -> Iterator[None]:
    """Call `callback(site, values, gradient)` in the backward pass, once for every forward pass that computed a site.

    Weights may be frozen: the embeddings' output is made to require a gradient, so that activations have one.
    The values are the forward pass's own tensors, which autograd keeps until the backward pass; nothing outlives it.
    """

    def make_hook(taps: SiteTaps) -> OnValues:
        def on_values(values: Tensor, product: Product | None) -> None:
            detached = values.detach()

            def on_gradient(gradient: Tensor) -> None:
                for site, tap in taps:
                    own, slope = (_own_values(tap, tensor, product) for tensor in (detached, gradient))
                    if own is not None and slope is not None:
                        spread = (lambda part: part) if product is None else partial(product.spread, tap.expert)
                        callback(site, spread(own), spread(slope))

            values.register_hook(on_gradient)

        return on_values

    with contextlib.ExitStack() as stack:
        for embedding in anatomy.embeddings:
            handle = embedding.register_forward_hook(_require_gradient)
            stack.callback(handle.remove)
        stack.enter_context(_registered(anatomy, sites, make_hook))
        yield


@contextlib.contextmanager
def _registered(anatomy: Anatomy, sites: Sequence[Site], make_hook: Callable[[SiteTaps], OnValues]) -> Iterator[None]:
    """Register hooks at the modules of `sites`; several sites of one fused module, or of one mixture of experts, share one hook."""
    by_place: dict[tuple[str, str, When], list[tuple[Site, Tap]]] = {}
    for site in sites:
        tap = anatomy.tap(site)
        by_place.setdefault((tap.path, tap.weight, tap.when), []).append((site, tap))
    handles: list[RemovableHandle | ProductHandle] = []
    try:
        for (_, weight, when), taps in by_place.items():
            module, on_values = anatomy.module(taps[0][0]), make_hook(taps)
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


def _own_values(tap: Tap, values: Tensor, product: Product | None) -> Tensor | None:
    """Returns the values of a tap's units, a view where they are contiguous, at the tokens that it sees; None where it sees none."""
    rows = values if product is None else replace(product, values=values).of(tap.expert)
    if rows is None or tap.part is None:
        return rows
    return rows[..., tap.part] if isinstance(tap.part, slice) else rows[..., torch.as_tensor(tap.part, device=rows.device)]


def _product_hook(on_values: OnValues) -> ProductHook:
    def hook(product: Product) -> None:
        on_values(product.values, product)

    return hook


def _input_hook(on_values: OnValues) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        on_values(inputs[0], None)

    return hook


def _output_hook(on_values: OnValues) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        on_values(output, None)

    return hook


def _require_gradient(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
    if output.is_leaf and not output.requires_grad:
        output.requires_grad_(True)
