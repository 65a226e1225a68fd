"""Compute only the positions that are scored, in the last layer and the head.

Keys and values of the last layer are needed at every position; queries, the attention's output and the feed-forward block only where a
label is scored. Their matrices return zeros elsewhere, so that all shapes, and with them the model's own code, stay the same.

Knows modules; knows no token and no task.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from resect.models.anatomy import Anatomy

from .layer_cache import shadowed

#: Matrices of the last block whose output is not used at positions that are not scored.
_NARROW = ("q", "o", "cross_q", "cross_o", "gate", "up", "down")


class ScoredPositions:
    """Narrows the last block of the main stack, and the head of a model that has no argument `logits_to_keep`.

    Logits at the scored positions are those of a full run up to rounding (a product of fewer rows may be summed in another order); at
    other positions they mean nothing.
    """

    def __init__(self, anatomy: Anatomy, *, head: bool) -> None:
        stack = list(anatomy.layers)[-1]
        last = anatomy.layers[stack] - 1
        sites = [site for site in anatomy.sites if (site.stack, site.layer) == (stack, last)]
        # A weight that is also that of keys or values is needed everywhere.
        everywhere = {anatomy.slot(site).path for site in sites if site.role not in _NARROW}
        modules = [anatomy.module(site) for site in sites if anatomy.slot(site).path not in everywhere]
        outer = anatomy.head if head else None
        self._modules = list({id(module): module for module in (*modules, outer) if module is not None}.values())

    @contextlib.contextmanager
    def __call__(self, columns: Int[Tensor, "rows scored"]) -> Iterator[None]:
        """Computes these columns only, in calls of [rows, tokens, …] (or [rows · tokens, …]) in this context."""
        with contextlib.ExitStack() as stack:
            for module in self._modules:
                stack.enter_context(shadowed(module, _narrowed(module.forward, columns)))
            yield


def _narrowed(forward: Callable[[Tensor], Tensor], columns: Tensor) -> Callable[[Tensor], Any]:
    def narrowed(values: Tensor) -> Tensor:
        rows = columns.shape[0]
        tokens = values.shape[-2] if values.ndim == 3 else values.shape[0] // rows
        flat = values.reshape(rows * tokens, values.shape[-1])
        wanted = (columns.to(flat.device) + torch.arange(rows, device=flat.device)[:, None] * tokens).flatten()
        outputs = forward(flat[wanted])
        everywhere = outputs.new_zeros(rows * tokens, outputs.shape[-1])
        everywhere[wanted] = outputs
        return everywhere.reshape(*values.shape[:-1], outputs.shape[-1])

    return narrowed
