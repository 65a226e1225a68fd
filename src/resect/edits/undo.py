"""Undo: what an edit overwrote, to be restored bit for bit.

Knows parameters, slices and hooks; does not know what was written, or why.
"""

import itertools
import weakref
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from resect.models.storage import Index


class Handle(Protocol):
    """Removes a hook."""

    def remove(self) -> None:
        """Remove the hook; a second time does nothing."""


_serial = itertools.count()
_active: "weakref.WeakSet[Undo]" = weakref.WeakSet()


class Undo:
    """The slices that an edit overwrote, and the hooks that it registered. Leave its `with` block, or call `restore()`.

    Nothing is computed: the old values are restored bit for bit, last in, first out. Of several edits the last must be
    restored first (Plan and ExitStack do so). Restoring twice does nothing the second time.
    """

    def __init__(self) -> None:
        self._slices: list[tuple[nn.Parameter, Index, Tensor]] = []
        self._handles: list[Handle] = []
        self._inner: list[Undo] = []
        self._number = next(_serial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def save(self, parameter: nn.Parameter, index: Index) -> None:
        """Save the present values of `parameter.data[index]`."""
        self._slices.append((parameter, index, parameter.data[index].clone()))
        _active.add(self)

    def add_hook(self, handle: Handle) -> None:
        """Save a hook, to be removed."""
        self._handles.append(handle)

    def add(self, later: "Undo") -> None:
        """Restore `later` too, before what is saved here already."""
        self._inner.append(later)

    def restore(self) -> None:
        """Restore everything."""
        while self._inner:
            self._inner.pop().restore()
        while self._handles:
            self._handles.pop().remove()
        while self._slices:
            _restore_slice(*self._slices[-1])
            self._slices.pop()
        _active.discard(self)

    @property
    def hook_count(self) -> int:
        """The number of registered hooks."""
        return len(self._handles) + sum(inner.hook_count for inner in self._inner)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters of which slices are saved, each once."""
        parameters = [parameter for parameter, _, _ in self._slices]
        parameters += [parameter for inner in self._inner for parameter in inner.parameters]
        return list({id(parameter): parameter for parameter in parameters}.values())

    @property
    def changed_count(self) -> int:
        """How many of `parameters` have other values now than before."""
        return sum(not torch.equal(parameter.data, unedited_values(parameter)) for parameter in self.parameters)


def _restore_slice(parameter: nn.Parameter, index: Index, values: Tensor) -> None:
    device = parameter.device  # the model may have been moved in the meantime
    local_index = tuple(part.to(device) if isinstance(part, Tensor) else part for part in index)
    with torch.no_grad():
        parameter.data[local_index] = values.to(device)


def unedited_values(parameter: nn.Parameter) -> Tensor:
    """Returns a parameter's values before all edits that are applied now: its own, or a copy where there is such an edit."""
    undos = [undo for undo in _active if any(saved is parameter for saved, _, _ in undo._slices)]
    if not undos:
        return parameter.data
    original = nn.Parameter(parameter.data.clone(), requires_grad=False)
    for undo in sorted(undos, key=lambda undo: -undo._number):
        for saved, index, values in reversed(undo._slices):
            if saved is parameter:
                _restore_slice(original, index, values)
    return original.data
