"""The way back: what an edit overwrote, and how to put it there again.

Knows parameters, slices and hooks; not what was put into them, nor why.
"""

import itertools
import weakref
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from resect.models.storage import Index

_serial = itertools.count()
_active: "weakref.WeakSet[Undo]" = weakref.WeakSet()


class Undo:
    """The way back from an edit: the slices that it overwrote, and the hooks that it hung up. Leave it, or `restore()`.

    Nothing is computed: what was there is put back, bit for bit, last in, first out. Of several edits the last must be
    restored first (a Plan and ExitStack see to that). Restoring twice does nothing the second time.
    """

    def __init__(self) -> None:
        self._slices: list[tuple[nn.Parameter, Index, Tensor]] = []
        self._handles: list[RemovableHandle] = []
        self._inner: list[Undo] = []
        self._number = next(_serial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def keep(self, parameter: nn.Parameter, index: Index) -> None:
        """Remember what `parameter.data[index]` holds now."""
        self._slices.append((parameter, index, parameter.data[index].clone()))
        _active.add(self)

    def hang(self, handle: RemovableHandle) -> None:
        """Remember a hook, to be taken down."""
        self._handles.append(handle)

    def then(self, later: "Undo") -> None:
        """Restore `later` too, before what this one holds already."""
        self._inner.append(later)

    def restore(self) -> None:
        """Put everything back as it was."""
        while self._inner:
            self._inner.pop().restore()
        while self._handles:
            self._handles.pop().remove()
        while self._slices:
            _put_back(*self._slices[-1])
            self._slices.pop()
        _active.discard(self)

    @property
    def hooks(self) -> int:
        """How many hooks hang."""
        return len(self._handles) + sum(inner.hooks for inner in self._inner)

    @property
    def tensors(self) -> list[nn.Parameter]:
        """The parameters of which slices are held, each once."""
        own = [parameter for parameter, _, _ in self._slices]
        own += [parameter for inner in self._inner for parameter in inner.tensors]
        return list({id(parameter): parameter for parameter in own}.values())

    @property
    def changed(self) -> int:
        """How many of `tensors` hold other values now than before."""
        return sum(not torch.equal(parameter.data, unedited(parameter)) for parameter in self.tensors)


def _put_back(parameter: nn.Parameter, index: Index, held: Tensor) -> None:
    here = parameter.device  # the model may have been moved meanwhile
    place = tuple(part.to(here) if isinstance(part, Tensor) else part for part in index)
    with torch.no_grad():
        parameter.data[place] = held.to(here)


def unedited(parameter: nn.Parameter) -> Tensor:
    """What a parameter held before any edit that is in force now: itself, or a copy where there is such an edit."""
    touching = [undo for undo in _active if any(each is parameter for each, _, _ in undo._slices)]
    if not touching:
        return parameter.data
    original = nn.Parameter(parameter.data.clone(), requires_grad=False)
    for undo in sorted(touching, key=lambda undo: -undo._number):
        for each, index, held in reversed(undo._slices):
            if each is parameter:
                _put_back(original, index, held)
    return original.data
