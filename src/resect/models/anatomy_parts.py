"""What an anatomy returns: where a matrix is stored (`Slot`), where values can be observed (`Tap`), and the number of neurons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .families import Rows
from .layout import BIAS, WEIGHT, When


@dataclass(frozen=True)
class Slot:
    """Where a weight matrix is stored.

    path : of a module, from the model's root
    rows : of a fused weight, those of this matrix (None: all)
    transposed : whether it is stored [in, out]
    weight, bias : the names of the module's parameters
    expert : its number on the first axis of both, where they hold one matrix of each expert
    """

    path: str
    rows: Rows
    transposed: bool
    weight: str = WEIGHT
    bias: str = BIAS
    expert: int | None = None

    @property
    def name(self) -> str:
        """The name of the parameter that holds the matrix, from the model's root."""
        return f"{self.path}.{self.weight}"


@dataclass(frozen=True)
class Tap:
    """Where a moment, or a matrix's output, can be observed and changed.

    path : of a module, from the model's root
    when : at its input or output; with a `weight`, at those of the product with this parameter, or at the output of the activation function
    part : positions on the last axis (None: all)
    flat : whether the tensor is [batch · tokens, width], else [batch, tokens, width]
    weight : a parameter of the module, or "" where the module's own input or output is meant
    expert : of an expert that only some tokens reach: the tensor is [tokens that reach it, width]
    """

    path: str
    when: When
    part: Rows
    flat: bool
    weight: str = ""
    expert: int | None = None


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
