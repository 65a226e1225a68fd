"""Hooks: calls a function with the values at sites, and with their gradients, while a model runs. No history is kept.

Knows the taps of an anatomy; does not know what the values are for. Values are never changed: forward hooks return None, so logits are
the same to the last bit with and without them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from resect.core.address import Site

from .anatomy import Anatomy

#: Called with the site, the values and (for gradients) d(objective)/d(values), both [rows, tokens, units].
SiteCallback = Callable[[Site, Tensor], None]
GradientCallback = Callable[[Site, Tensor, Tensor], None]


@contextlib.contextmanager
def forward_hooks(anatomy: Anatomy, sites: Sequence[Site], callback: SiteCallback) -> Iterator[None]:
    """Call `callback(site, values)` each time a forward pass computes one of `sites`."""

    def make_hook(module_sites: Sequence[Site]) -> Callable[[Tensor], None]:
        def on_values(values: Tensor) -> None:
            for site in module_sites:
                callback(site, site_values(anatomy, site, values.detach()))

        return on_values

    with _registered(anatomy, sites, make_hook):
        yield


@contextlib.contextmanager
def gradient_hooks(anatomy: Anatomy, sites: Sequence[Site], callback: GradientCallback) -> Iterator[None]:
    """Call `callback(site, values, gradient)` in the backward pass, once for every forward pass that computed a site.

    Weights may be frozen: the embeddings' output is made to require a gradient, so that activations have one.
    The values are the forward pass's own tensors, which autograd keeps until the backward pass; nothing outlives it.
    """

    def make_hook(module_sites: Sequence[Site]) -> Callable[[Tensor], None]:
        def on_values(values: Tensor) -> None:
            detached = values.detach()

            def on_gradient(gradient: Tensor) -> None:
                for site in module_sites:
                    callback(site, site_values(anatomy, site, detached), site_values(anatomy, site, gradient))

            values.register_hook(on_gradient)

        return on_values

    with contextlib.ExitStack() as stack:
        for embedding in anatomy.embeddings:
            handle = embedding.register_forward_hook(_require_gradient)
            stack.callback(handle.remove)
        stack.enter_context(_registered(anatomy, sites, make_hook))
        yield


@contextlib.contextmanager
def _registered(anatomy: Anatomy, sites: Sequence[Site], make_hook: Callable[[Sequence[Site]], Callable[[Tensor], None]]) -> Iterator[None]:
    """Register hooks at the modules of `sites`; several sites of one fused module share one hook."""
    by_tap: dict[tuple[str, str], list[Site]] = {}
    for site in sites:
        tap = anatomy.tap(site)
        by_tap.setdefault((tap.path, tap.when), []).append(site)
    handles: list[RemovableHandle] = []
    try:
        for (_, when), group in by_tap.items():
            module, on_values = anatomy.module(group[0]), make_hook(group)
            if when == "input":
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


def _input_hook(on_values: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        on_values(inputs[0])

    return hook


def _output_hook(on_values: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        on_values(output)

    return hook


def _require_gradient(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
    if output.is_leaf and not output.requires_grad:
        output.requires_grad_(True)
