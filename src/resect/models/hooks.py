"""Watch values and their gradients while a model runs, and reduce them as they come: no history is kept.

Knows where a unit can be seen (the anatomy's taps); does not know what the numbers are for. A watcher never changes what it watches:
forward hooks return None, so logits are the same to the last bit with and without it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from resect.core.address import Site

from .anatomy import Anatomy

#: What is told to a watcher: the site, the values and (for gradients) d(objective)/d(values), both [rows, tokens, units].
Seen = Callable[[Site, Tensor], None]
SeenWithGradient = Callable[[Site, Tensor, Tensor], None]


@contextlib.contextmanager
def forward_hooks(anatomy: Anatomy, sites: Sequence[Site], see: Seen) -> Iterator[None]:
    """Call `see(site, values)` each time that a forward pass comes by one of `sites`."""

    def watch(module_sites: Sequence[Site]) -> Callable[[Tensor], None]:
        def tell(values: Tensor) -> None:
            for site in module_sites:
                see(site, site_values(anatomy, site, values.detach()))

        return tell

    with _taps(anatomy, sites, watch):
        yield


@contextlib.contextmanager
def gradient_hooks(anatomy: Anatomy, sites: Sequence[Site], see: SeenWithGradient) -> Iterator[None]:
    """Call `see(site, values, gradient)` in the backward pass, once for every forward pass that came by a site.

    Weights may be frozen: the embeddings' output is made to require a gradient, so that activations have one.
    The values are the forward pass's own tensors, held by autograd until the backward pass has come by; nothing outlives it.
    """

    def watch(module_sites: Sequence[Site]) -> Callable[[Tensor], None]:
        def remember(values: Tensor) -> None:
            held = values.detach()

            def tell(gradient: Tensor) -> None:
                for site in module_sites:
                    see(site, site_values(anatomy, site, held), site_values(anatomy, site, gradient))

            values.register_hook(tell)

        return remember

    with contextlib.ExitStack() as stack:
        for embedding in anatomy.embeddings:
            handle = embedding.register_forward_hook(_require_gradient)
            stack.callback(handle.remove)
        stack.enter_context(_taps(anatomy, sites, watch))
        yield


@contextlib.contextmanager
def _taps(anatomy: Anatomy, sites: Sequence[Site], watch: Callable[[Sequence[Site]], Callable[[Tensor], None]]) -> Iterator[None]:
    """Hooks at the modules of `sites`; several sites of one fused module share one hook."""
    together: dict[tuple[str, str], list[Site]] = {}
    for site in sites:
        tap = anatomy.tap(site)
        together.setdefault((tap.path, tap.when), []).append(site)
    handles: list[RemovableHandle] = []
    try:
        for (_, when), group in together.items():
            module, tell = anatomy.module(group[0]), watch(group)
            if when == "input":
                handles.append(module.register_forward_pre_hook(_before(tell)))
            else:
                handles.append(module.register_forward_hook(_after(tell)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def site_values(anatomy: Anatomy, site: Site, values: Tensor) -> Tensor:
    """A site's share of what its tap shows, a view where the units lie together."""
    where = anatomy.tap(site).part
    if where is None:
        return values
    return values[..., where] if isinstance(where, slice) else values[..., torch.as_tensor(where, device=values.device)]


def _before(tell: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        tell(inputs[0])

    return hook


def _after(tell: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
        tell(output)

    return hook


def _require_gradient(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
    if output.is_leaf and not output.requires_grad:
        output.requires_grad_(True)
