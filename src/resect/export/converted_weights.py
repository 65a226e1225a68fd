"""Parameters that transformers joins from several stored tensors while it loads them, and splits again while it saves them.

A checkpoint stores each expert's matrices by themselves; in memory one parameter holds those of all. Only the parameters that a plan
touches are joined, one by one, so that an export needs no memory for the rest of the model. Knows names and tensors; no plan, no file.
"""

import contextlib
import copy
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .safetensors_copy import EditedRows


@dataclass(frozen=True)
class ConvertedWeights:
    """Which stored tensors are joined to a parameter, and how.

    model : on the meta device
    converters : by source pattern, what transformers does with tensors of such a name
    sources : name of a parameter to the stored tensors that it is joined from, each with its source pattern, in the order of joining
    """

    model: Any
    converters: Mapping[str, Any]
    sources: Mapping[str, Sequence[tuple[str, str]]]

    def joined(self, name: str, read: Callable[[str], Tensor]) -> Tensor:
        """Returns a parameter's values; `read` returns those of a stored tensor. Raises KeyError where transformers makes other ones."""
        converter = copy.deepcopy(self.converters[self.sources[name][0][1]])
        for stored, pattern in self.sources[name]:
            converter.add_tensor(name, stored, pattern, read(stored))
        with _quiet():
            made = converter.convert(name, model=self.model, config=self.model.config)
        values = made[name]
        tensor: Tensor = values[0] if isinstance(values, list) else values
        return tensor.contiguous()

    def split(self, name: str, values: Tensor) -> dict[str, Tensor]:
        """Returns the stored tensors of a parameter with these values, by name: as transformers would save it."""
        from transformers.core_model_loading import revert_weight_conversion

        with _quiet():
            stored: dict[str, Tensor] = revert_weight_conversion(self.model, {name: values})
        return stored

    def returns_the_stored(self, name: str, read: Callable[[str], Tensor]) -> bool:
        """Returns whether a parameter, joined and split again, gives the stored tensors, to the last bit, under their own names."""
        try:
            split = self.split(name, self.joined(name, read))
        except (KeyError, ValueError, RuntimeError, AttributeError, TypeError, StopIteration):  # what transformers raises is not documented
            return False
        names = [stored for stored, _ in self.sources[name]]
        return set(split) == set(names) and all(torch.equal(split[stored], read(stored)) for stored in names)

    def edits(self, name: str, values: Tensor, read: Callable[[str], Tensor]) -> Iterator[tuple[str, EditedRows]]:
        """Yields the stored tensors that differ where a parameter has these values, with the rows that do."""
        for stored, new in self.split(name, values).items():
            rows = (new != read(stored)).flatten(1).any(1).nonzero().flatten().tolist() if new.dim() > 1 else []
            if rows:
                yield stored, EditedRows(new.contiguous(), [range(row, row + 1) for row in rows])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()):
        yield
