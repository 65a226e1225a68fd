"""Edits of complete matrices: ReduceRank, PruneWeights.

They know linear algebra and one matrix, and have a weight form only: without the weights there is nothing to decompose.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from resect.core.address import MATRIX_ROLES, STACKS, Neurons, Site, expert_order, role_order
from resect.core.errors import BadAddress, InputError, NotFinite, UnknownName
from resect.models.anatomy import Anatomy
from resect.models.storage import at_least_float32

from .base import Edit, RandomSubstitutes, TensorSlice, finite_number
from .svd import Decomposition, Keep, check_finite, floor_of_share, official_matrix, official_rank

Variant = Literal["exact", "official"]
Select = Literal["smallest", "random"]


@dataclass(frozen=True)
class MatrixEdit(Edit):
    """An edit of one matrix, or of each expert's matrix of one role in a layer (`decoder.3.experts.up`). `site` may be an address."""

    site: Site

    def _validate(self) -> None:
        if not isinstance(self.site, Site | str):
            raise BadAddress(f"The site of a {self.kind} is an address such as 'decoder.3.up', not {self.site!r}.")
        site = Site.of(self.site)
        if site.is_moment:
            raise InputError(f"A {self.kind} is of a matrix ({', '.join(MATRIX_ROLES)}); {site} is a moment and has no weight.")
        object.__setattr__(self, "site", site)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The one site."""
        return (self.site,)

    @property
    def complete_matrices(self) -> tuple[Site, ...]:
        """The one site."""
        return (self.site,)

    def units(self, anatomy: Anatomy) -> Neurons:
        """Returns all rows."""
        rows: dict[Site | str, range] = {site: range(anatomy.width(site)) for site in anatomy.each(self.site)}
        return Neurons(rows)

    def check_fits(self, anatomy: Anatomy) -> None:
        """Raises UnknownName for a site that the model does not have."""
        anatomy.shape(self.site)

    def written_slices(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """Returns the complete matrix, or each expert's, without its bias."""
        return tuple(TensorSlice(site, "rows") for site in anatomy.each(self.site))

    def down_columns(self, anatomy: Anatomy) -> dict[Site, frozenset[int]]:
        """Returns all columns, of a `down`."""
        columns = frozenset(range(anatomy.shape(self.site)[1]))
        return dict.fromkeys(anatomy.each(self.site), columns) if self.site.role == "down" else {}

    def each(self, anatomy: Anatomy) -> "tuple[Self, ...]":
        """Returns the same edit of each matrix by itself."""
        return tuple(replace(self, site=site) for site in anatomy.each(self.site))


@dataclass(frozen=True)
class ReduceRank(MatrixEdit):
    """Replaces a matrix [out, in] by its best approximation of rank ⌊ρ · min(out, in)⌋ (Eckart–Young; Frobenius norm).

    Parameters
    ----------
    site : a matrix
    rho : in [0, 1); rank 0 sets the matrix to 0 (not its bias)
    keep : "largest": the approximation. "smallest": as many components, those of the smallest singular values
    variant : "exact", or "official": the approximation and the rank of the authors' code, `largest` only
    seed : not negative; given with "official", and only there. The same seed gives the same matrix, on the same kind of device

    The exact decomposition is in float32 or better whatever the weights' dtype (`svd` says how exact). With "largest", applying it twice
    equals applying it once. Raises InputError, UnknownName; applying it NotFinite, NotWritable. Source: LASER (arXiv:2312.13558), the
    operator (τ, ℓ, ρ). Differs from the source in: nothing ("exact"; the authors' code approximates); the seed, which theirs does not
    have ("official").
    """

    kind: ClassVar[str] = "reduce_rank"
    rho: float
    keep: Keep = "largest"
    variant: Variant = "exact"
    seed: int | None = None

    def __init__(self, site: Site | str, rho: float, keep: Keep = "largest", variant: Variant = "exact", seed: int | None = None) -> None:
        self._set_fields(site=site, rho=rho, keep=keep, variant=variant, seed=seed)

    def _validate(self) -> None:
        super()._validate()
        object.__setattr__(self, "rho", finite_number("rho of a reduce_rank", self.rho))
        if not 0 <= self.rho < 1:
            raise InputError(f"The rho of a reduce_rank is in [0, 1), the share of the rank that is kept, not {self.rho!r}.")
        _one_of("keep", self.keep, get_args(Keep))
        _one_of("variant", self.variant, get_args(Variant))
        if self.variant == "official" and self.keep != "largest":
            raise InputError(
                "A reduce_rank with variant='official' keeps the largest components; only variant='exact' computes the smallest."
            )
        _check_seed(f"A reduce_rank with variant={self.variant!r}", self.seed, needed=self.variant == "official")

    def rank(self, shape: tuple[int, int]) -> int:
        """Returns the rank to which a matrix of this shape is reduced.

        >>> ReduceRank("decoder.3.up", 0.29).rank((100, 400))
        29
        """
        return official_rank(self.rho, shape) if self.variant == "official" else floor_of_share(self.rho, min(shape))

    def reduced(self, weight: Float[Tensor, "out inside"], family: str = "") -> Float[Tensor, "out inside"]:
        """Returns the reduced matrix, in its own dtype; it depends on the model's family for "official" only. Raises NotFinite."""
        return self.reduced_from(weight, Decomposition.of(weight, str(self.site)) if self.variant == "exact" else None, family)

    def reduced_from(
        self, weight: Float[Tensor, "out inside"], decomposition: Decomposition | None, family: str = ""
    ) -> Float[Tensor, "out inside"]:
        """Returns the same to the last bit as `reduced`, given the matrix' decomposition, which serves all ρ; "official" needs none."""
        rank = self.rank((weight.shape[0], weight.shape[1]))
        if self.variant == "official":
            check_finite(weight, str(self.site))
            return official_matrix(weight, rank, self.seed or 0, family).to(weight.dtype)
        if decomposition is None:
            raise ValueError("An exact reduction needs the matrix' decomposition.")
        return decomposition.matrix(rank, self.keep).to(weight.dtype)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object: `kind`, and the fields that are set; the variant only where it is not "exact"."""
        value = super().to_json()
        return {name: entry for name, entry in value.items() if (name, entry) != ("variant", "exact")}

    @property
    def replaceable_matrices(self) -> tuple[Site, ...]:
        """The one site."""
        return (self.site,)

    def random_like(self, substitutes: RandomSubstitutes) -> "ReduceRank":
        """Returns the same reduction of another matrix."""
        return replace(self, site=substitutes.matrices[self.site])

    def _write(self, anatomy: Anatomy) -> None:
        for edit in self.each(anatomy):
            anatomy.write(edit.site, None, edit.reduced(anatomy.weight(edit.site), anatomy.family))


@dataclass(frozen=True)
class PruneWeights(MatrixEdit):
    """Sets ⌊fraction · out · in⌋ weights of a matrix to 0.

    Parameters
    ----------
    site : a matrix
    fraction : in [0, 1], the share that is dropped
    select : "smallest" in size (equal ones: by row, then column), or "random"
    seed : not negative; given with "random", and only there. The same seed drops the same weights, and other ones at another site

    Raises InputError, UnknownName; applying it NotFinite. Source: absolute pruning of LASER (arXiv:2312.13558). Differs from
    the source in: nothing (the authors' code drops one weight more, and all that are as large as it).
    """

    kind: ClassVar[str] = "prune_weights"
    fraction: float
    select: Select = "smallest"
    seed: int | None = None

    def __init__(self, site: Site | str, fraction: float, select: Select = "smallest", seed: int | None = None) -> None:
        self._set_fields(site=site, fraction=fraction, select=select, seed=seed)

    def _validate(self) -> None:
        super()._validate()
        object.__setattr__(self, "fraction", finite_number("fraction of a prune_weights", self.fraction))
        if not 0 <= self.fraction <= 1:
            raise InputError(f"The fraction of a prune_weights is in [0, 1], the share that is dropped, not {self.fraction!r}.")
        _one_of("select", self.select, get_args(Select))
        _check_seed(f"A prune_weights with select={self.select!r}", self.seed, needed=self.select == "random")

    def dropped_positions(self, weight: Float[Tensor, "out inside"]) -> Tensor:
        """Returns the flat positions (row · in + column) of the dropped weights. Raises NotFinite."""
        count = floor_of_share(self.fraction, weight.numel())
        if self.select == "random":
            index, path = role_order(self.site.role)
            role = index + zlib.crc32(path.encode())  # of a path: whatever other paths there are
            site = (STACKS.index(self.site.stack), self.site.layer, role, expert_order(self.site.expert) - expert_order(None))
            drawn = np.random.default_rng([self.seed or 0, *site]).choice(weight.numel(), count, replace=False, shuffle=False)
            return torch.from_numpy(drawn).to(weight.device)
        sizes = at_least_float32(weight).abs().flatten()
        if not bool(torch.isfinite(sizes).all()):
            raise NotFinite(f"{self.site} holds NaN or infinity, so that its smallest weights are unknown; look at the checkpoint.")
        if count == 0:
            return torch.empty(0, dtype=torch.long, device=weight.device)
        threshold = sizes.kthvalue(count).values
        below = (sizes < threshold).nonzero().flatten()
        return torch.cat([below, (sizes == threshold).nonzero().flatten()[: count - len(below)]])

    def random_like(self, substitutes: RandomSubstitutes) -> "PruneWeights":
        """Returns as many weights of the same matrix, at random."""
        return PruneWeights(self.site, self.fraction, "random", int(substitutes.rng.integers(2**31)))

    def _write(self, anatomy: Anatomy) -> None:
        for edit in self.each(anatomy):
            weight = anatomy.weight(edit.site)
            values = weight.flatten().clone()
            values[edit.dropped_positions(weight)] = 0.0
            anatomy.write(edit.site, None, values.view(weight.shape))


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UnknownName(what, str(value), allowed)


def _check_seed(what: str, seed: object, *, needed: bool) -> None:
    if needed != (seed is not None):
        raise InputError(f"{what} has {'a' if needed else 'no'} seed, not seed={seed!r}.")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise InputError(f"A seed is an integer from 0 on, not {seed!r}.")
