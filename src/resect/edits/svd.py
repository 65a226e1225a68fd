"""Singular value decomposition of one matrix, exact for its dtype, and its approximation of any rank.

Knows linear algebra and one matrix; does not know where it is in a model.

**By the Gram matrix.** A matrix that is stored in 32 bits or less is decomposed with the eigenvectors U of W·Wᵀ (of Wᵀ·W where that
is smaller), in float64: W_r = U_r · (U_rᵀ · W). Squaring costs half of float64's digits, yet the result is more accurate than
a float32 decomposition of W itself, since nothing depends on the eigenvalues: they only choose the subspace, and W itself is
projected on it. With ε64 and ε32 the rounding of the dtypes, σ₁ the largest singular value, σ_r the last one kept, and
g = σ_r − σ_{r+1} the gap after it, the error of the subspace is

    the Gram matrix, float64:    about ε64 · σ₁² / (g · (σ_r + σ_{r+1}))     and so  ‖W_r − exact‖ ≲ min(σ_r, ε64 · σ₁² / g)
    decomposition in float32:    about ε32 · σ₁ / g                          and so  ‖W_r − exact‖ ≲ min(σ_r, ε32 · σ₁ · σ_r / g)

(Davis and Kahan 1970; LAPACK's backward error). The first is smaller wherever σ_r > σ₁ · ε64 / ε32 = 2e-9 · σ₁; below that, the complete
component is less than rounding W to float32 has lost. Where g is 0 several best approximations exist, and all are equally near to W:
‖W − W_r‖ is right in any case. Singular values are the lengths of the rows of Uᵀ·W, not roots of eigenvalues, so that small ones keep
their digits too. Float64 weights have no wider type for the squares, and are decomposed directly.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from resect.core.errors import NotFinite
from resect.models.storage import at_least_float32

Keep = Literal["largest", "smallest"]
#: Columns that are converted to float64 at once.
_CHUNK = 2048


def floor_of_share(fraction: float, of: int) -> int:
    """Returns ⌊fraction · of⌋ for the fraction as it is written in decimals, not for the nearest float.

    >>> floor_of_share(0.29, 100), int(0.29 * 100)
    (29, 28)
    """
    return math.floor(Fraction(repr(float(fraction))) * of)


def check_finite(weight: Tensor, name: str) -> None:
    """Raises NotFinite where a matrix contains NaN or infinity; `name` is what the error calls it."""
    if not bool(torch.isfinite(weight).all()):
        raise NotFinite(
            f"{name} of shape {list(weight.shape)} contains NaN or infinity and cannot be decomposed; check the checkpoint, or "
            "leave the matrix out of the sites."
        )


@dataclass(frozen=True)
class Decomposition:
    """A matrix W [out, in] = left · diag(values) · right, values descending; float64 for a float64 matrix, else float32.

    `left` has orthonormal columns and `right` orthonormal rows; on the longer side those of a value below 1e-7 · values[0], which float32
    cannot distinguish from 0 in W, may be shorter than 1.
    """

    left: Float[Tensor, "out k"]
    values: Float[Tensor, " k"]
    right: Float[Tensor, "k inside"]

    @classmethod
    def of(cls, weight: Float[Tensor, "out inside"], name: str = "A matrix") -> "Decomposition":
        """Returns the exact decomposition, k = min(out, in), O(out · in · k). `name` is what an error calls the matrix.

        For its accuracy see the top of this module. It needs memory for two float64 squares of size k in addition to the result.
        Raises NotFinite.
        """
        check_finite(weight, name)
        if weight.dtype == torch.float64:
            return cls(*torch.linalg.svd(weight, full_matrices=False))
        return cls.from_basis(weight, _eigenvectors(weight if weight.shape[0] <= weight.shape[1] else weight.T))

    @classmethod
    def from_basis(cls, weight: Float[Tensor, "out inside"], basis: Float[Tensor, "k k"]) -> "Decomposition":
        """Returns a decomposition again, from the matrix and the `basis` of it: the cheaper part of the work. Not for float64."""
        if weight.shape[0] <= weight.shape[1]:
            return cls(basis, *_projected(weight, basis))
        values, left = _projected(weight.T, basis)
        return cls(left.T, values, basis.T)

    @property
    def basis(self) -> Float[Tensor, "k k"]:
        """The singular vectors of the shorter side, as columns."""
        return self.left if self.left.shape[0] <= self.right.shape[1] else self.right.T

    def factors(self, rank: int, keep: Keep = "largest") -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank inside"]]:
        """Returns U·diag(S) and Vᵀ: their product is the best approximation of that rank, or the sum of the smallest components."""
        kept = slice(0, rank) if keep == "largest" else slice(len(self.values) - rank, None)
        return self.left[:, kept] * self.values[kept], self.right[kept]

    def matrix(self, rank: int, keep: Keep = "largest") -> Float[Tensor, "out inside"]:
        """Returns the product of `factors`; rank 0 is the zero matrix."""
        first, second = self.factors(rank, keep)
        return first @ second


def _eigenvectors(weight: Float[Tensor, "few many"]) -> Float[Tensor, "few few"]:
    """Returns the eigenvectors of W · Wᵀ, as columns, those of the largest eigenvalues first; in float32, computed in float64."""
    gram = torch.zeros(weight.shape[0], weight.shape[0], dtype=torch.float64, device=weight.device)
    for part in weight.split(_CHUNK, dim=1):
        exact = part.double()
        gram.addmm_(exact, exact.T)
    vectors: Tensor = torch.linalg.eigh(gram).eigenvectors
    return vectors.flip(1).float().contiguous()


def _projected(
    weight: Float[Tensor, "few many"], basis: Float[Tensor, "few few"]
) -> tuple[Float[Tensor, " few"], Float[Tensor, "few many"]]:
    """Returns the lengths of the rows of basisᵀ · W, descending, and the rows divided by them."""
    projection = basis.T.double()
    rows = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)
    squares = torch.zeros(len(rows), dtype=torch.float64, device=weight.device)
    for start in range(0, weight.shape[1], _CHUNK):
        part = projection @ weight[:, start : start + _CHUNK].double()
        squares += part.square().sum(dim=1)
        rows[:, start : start + _CHUNK] = part
    # Eigenvalues that are nearly 0 are in no certain order; each length must be at least the next one.
    values = squares.sqrt().float().flip(0).cummax(0).values.flip(0)
    rows /= torch.where(values > 0, values, torch.inf)[:, None]
    return values, rows


#: Power iterations of the authors' code, by family; 2 elsewhere.
_ITERATIONS = {"roberta": 20, "decision_transformer": 20}


def official_rank(rho: float, shape: tuple[int, int]) -> int:
    """Returns the rank of LASER's code: int(min(out, in) · ((10 − rate) · 0.1)) in floats, with rate = 10 · (1 − ρ) as it is typed there.

    >>> official_rank(0.01, (4096, 11008)), official_rank(0.28, (100, 100))
    (40, 27)
    """
    rate = float(10 * (1 - Fraction(repr(float(rho)))))
    return int(min(shape) * ((10 - rate) * 0.1))


def official_matrix(weight: Float[Tensor, "out inside"], rank: int, seed: int, family: str = "") -> Float[Tensor, "out inside"]:
    """Returns the approximation of LASER's code, `torch.svd_lowrank`, in float32 or better; the global generator is not changed.

    Its random matrix is drawn by the generator of the weight's device (the CPU's, where a device has none), seeded with `seed`. A rank of
    0 gives zeros. Source: the authors' code. Differs from the source in: the seed, which theirs does not have.
    """
    exact = at_least_float32(weight)
    if rank == 0:
        return torch.zeros_like(exact)
    movable = exact if exact.device.type in ("cpu", "cuda") else exact.cpu()
    generator = torch.default_generator
    if movable.is_cuda:
        torch.cuda.init()
        generator = torch.cuda.default_generators[movable.get_device()]
    state = generator.get_state()
    try:
        generator.manual_seed(seed)
        left, values, right = torch.svd_lowrank(movable, q=rank, niter=_ITERATIONS.get(family, 2))
    finally:
        generator.set_state(state)
    return ((left * values) @ right.T).to(exact.device)
