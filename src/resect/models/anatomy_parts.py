"""What an anatomy returns: where a matrix is stored (`Slot`), where values can be observed (`Tap`), and the number of neurons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .families import Rows


@dataclass(frozen=True)
class Slot:
    """Where a weight matrix is: the path of a module from the model's root, and the rows of its fused weight (None: all)."""

    path: str
    rows: Rows
    transposed: bool  # stored [in, out]


@dataclass(frozen=True)
class Tap:
    """Where a moment, or a matrix's output, can be observed and changed: at the input or output of a module.

    `part`: positions on the last axis (None: all). `flat`: the tensor is [batch · tokens, width], else [batch, tokens, width].
    """

    path: str
    when: Literal["input", "output"]
    part: Rows
    flat: bool


class NeuronCount(int):
    """The number of neurons: the output units of every matrix site (as CRISPR counts them). `by_role` adds up to it."""

    by_role: dict[str, int]

    @classmethod
    def of(cls, by_role: Mapping[str, int]) -> "NeuronCount":
        """Returns the count over all roles."""
        count = cls(sum(by_role.values()))
        count.by_role = dict(by_role)
        return count

    @property
    def total(self) -> int:
        """The number itself."""
        return int(self)

    def to_json(self) -> dict[str, Any]:
        """Returns `{"total": …, "by_role": {…}}`."""
        return {"total": self.total, "by_role": self.by_role}
