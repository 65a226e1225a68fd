"""The values of one product, and which rows belong to which expert, and to which token: one class for each way to compute experts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from resect.core.errors import NotYet


class ProductRows(ABC):
    """The rows of a product. `token_of_row`: the number of the token of each row, counted over the module's input; None: unknown."""

    token_of_row: Tensor | None

    @property
    @abstractmethod
    def row_count(self) -> int:
        """The number of rows."""

    @abstractmethod
    def rows(self, expert: int) -> Any:
        """Returns an index of the rows of an expert, or None where no token reaches it."""

    def tokens(self, expert: int) -> Tensor | None:
        """Returns the numbers of the tokens that reach an expert, in the order of its rows; None where none does, or they are unknown."""
        rows = self.rows(expert)
        return None if rows is None or self.token_of_row is None else self.token_of_row[rows]


@dataclass(frozen=True)
class Every(ProductRows):
    """One matrix and all tokens: no expert has rows of its own."""

    token_of_row: Int[Tensor, " rows"] | None

    @property
    def row_count(self) -> int:
        """The number of rows, 0 where it is unknown."""
        return 0 if self.token_of_row is None else len(self.token_of_row)

    def rows(self, expert: int) -> None:
        """Returns None."""
        return


@dataclass(frozen=True)
class OneExpert(ProductRows):
    """One expert, whose rows are all of the product: experts are computed one after the other."""

    expert: int
    token_of_row: Int[Tensor, " rows"] | None
    row_count: int = 0

    def rows(self, expert: int) -> slice | None:
        """Returns all rows, of this expert."""
        return slice(None) if expert == self.expert and self.row_count else None


@dataclass(frozen=True)
class Sorted(ProductRows):
    """Rows in the order of the experts: those of expert e end at ends[e]."""

    ends: tuple[int, ...]
    token_of_row: Int[Tensor, " rows"] | None

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return self.ends[-1]

    def rows(self, expert: int) -> slice | None:
        """Returns the rows of an expert."""
        start, stop = self.ends[expert - 1] if expert else 0, self.ends[expert]
        return slice(start, stop) if stop > start else None


@dataclass(frozen=True)
class Mixed(ProductRows):
    """Rows of one expert each, in any order: each row is multiplied by a copy of its expert's matrix."""

    expert_of_row: Int[Tensor, " rows"]
    token_of_row: Int[Tensor, " rows"] | None

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return len(self.expert_of_row)

    def rows(self, expert: int) -> Tensor | None:
        """Returns the numbers of the rows of an expert."""
        found = (self.expert_of_row == expert).nonzero().flatten()
        return found if len(found) else None


@dataclass(frozen=True)
class Stacked(ProductRows):
    """Every expert computes every token, [experts, tokens, units]; the input of those that are not routed to it is 0."""

    reached: Bool[Tensor, "experts tokens"]
    token_of_row: None = None

    @property
    def row_count(self) -> int:
        """The number of experts times that of tokens."""
        return self.reached.numel()

    def rows(self, expert: int) -> tuple[int, Tensor] | None:
        """Returns the expert, and the tokens that reach it."""
        found = self.reached[expert].nonzero().flatten()
        return (expert, found) if len(found) else None

    def tokens(self, expert: int) -> Tensor:
        """Returns the tokens that reach an expert."""
        return self.reached[expert].nonzero().flatten()


@dataclass(frozen=True)
class Product:
    """The values at one place of one product.

    values : [rows, units], or [experts, tokens, units]
    place : which of them are of which expert, and of which token
    tokens : the number of tokens that the module was given
    """

    values: Tensor
    place: ProductRows
    tokens: int

    def of(self, expert: int | None) -> Tensor | None:
        """Returns the values of the tokens that reach an expert, [tokens, units]; None where none does. No expert: all of them."""
        if expert is None:
            return self.values
        rows = self.place.rows(expert)
        return None if rows is None else self.values[rows]

    def spread(self, expert: int | None, values: Tensor) -> Tensor:
        """Returns values of the tokens that reach an expert as those of all tokens, [tokens, units]; 0 at the others. Raises NotYet."""
        if expert is None:
            return values
        tokens = self.place.tokens(expert)
        if tokens is None:
            raise NotYet("Which tokens reach an expert of this model is not known, so that nothing can be attributed to its units.")
        return values.new_zeros((self.tokens, values.shape[-1])).index_copy_(0, tokens, values)

    def with_values(self, expert: int | None, values: Tensor) -> Tensor:
        """Returns a copy of all values, with others for one expert."""
        if expert is None:
            return values
        changed = self.values.clone()
        changed[self.place.rows(expert)] = values
        return changed
