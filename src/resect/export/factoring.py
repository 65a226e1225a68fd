"""Which matrices of a plan can be kept as two factors, and those factors.

Knows edits and matrices; no file, and nothing of how a model computes with factors (that is `factored`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from resect.core.address import Site
from resect.core.errors import InputError
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd import Decomposition, official_matrix
from resect.models.anatomy import Anatomy
from resect.models.factored_linear import FactoredFiles, FactoredMatrix, rest_of

from .base_model import Original
from .checkpoint import Checkpoint

#: left [out, rank] = U·diag(S) and right [rank, in] = Vᵀ.
Factors = tuple[Tensor, Tensor]
_LEAVE_OUT = "leave out --format factored, and the matrices are stored as they are"


@dataclass(frozen=True)
class Choice:
    """What of a plan is kept as factors: number of the edit (from 0) to the matrix; and sentences on the reduced matrices that are not."""

    edits: Mapping[int, FactoredMatrix]
    dense: tuple[str, ...]

    @property
    def matrices(self) -> tuple[FactoredMatrix, ...]:
        """The matrices that are kept as factors."""
        return tuple(self.edits.values())

    @classmethod
    def of(cls, plan: Plan, anatomy: Anatomy) -> "Choice":
        """A matrix is kept as factors where a ReduceRank is the last edit that changes it, and the factors are fewer numbers than it has.

        Raises InputError where that holds of none.
        """
        edits: dict[int, FactoredMatrix] = {}
        dense = []
        for number, edit in enumerate(plan.edits):
            if not isinstance(edit, ReduceRank):
                continue
            later = [at for at in range(number + 1, len(plan.edits)) if _changes(plan, at, edit.site, anatomy)]
            if any(isinstance(plan.edits[at], ReduceRank) for at in later):
                continue  # that one will be looked at
            matrix = FactoredMatrix.of(edit.site, edit.rank(anatomy.shape(edit.site)), anatomy)
            if later:
                dense.append(
                    f"{edit.site} stays dense: a {plan.edits[later[-1]].kind} (edit {later[-1]}) changes it after its rank is reduced"
                )
            elif matrix.saved <= 0:
                size = f"{matrix.shape[0]:,} × {matrix.shape[1]:,}"
                dense.append(f"{edit.site} stays dense: at rank {matrix.rank:,}, its factors are no fewer numbers than its {size}")
            else:
                edits[number] = matrix
        if not edits:
            why = "; ".join(dense[:3]) or ("the plan is empty" if plan.is_empty else "no edit of the plan reduces a rank")
            raise InputError(f"Nothing of this plan can be stored as factors ({why}); {_LEAVE_OUT}.")
        return cls(edits, tuple(dense))


@dataclass(frozen=True)
class Saving:
    """What keeping factors saved, in bytes before and after. `matrices`: of those that are kept as factors; `weights`: of all their files.

    `dense`: sentences on the matrices of reduced rank that are stored as they are.
    """

    kept: tuple[FactoredMatrix, ...]
    dense: tuple[str, ...]
    matrices: tuple[int, int]
    weights: tuple[int, int]

    @classmethod
    def of(cls, choice: Choice, original: Original, written: Checkpoint) -> "Saving":
        """What an export saved."""
        held, kept = 0, 0
        for matrix in choice.matrices:
            size = original.loading.stored.get(f"{matrix.module}.weight", original.loading.dtype).itemsize
            held, kept = held + size * (matrix.numbers + matrix.saved), kept + size * matrix.numbers
        before, after = (sum(map(checkpoint.size, checkpoint.shards)) for checkpoint in (original.checkpoint, written))
        return cls(choice.matrices, choice.dense, (held, kept), (before, after))

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        pair = lambda sizes: {"before": sizes[0], "after": sizes[1]}
        return {
            "matrices": [matrix.to_json() for matrix in self.kept],
            "dense": list(self.dense),
            "bytes": {"matrices": pair(self.matrices), "weights": pair(self.weights)},
        }


def factors_of(edit: ReduceRank, weight: Float[Tensor, "out inside"], family: str = "") -> Factors:
    """U·diag(S) and Vᵀ of what the edit leaves of a matrix, in the matrix' dtype. Raises NotFinite.

    With u the rounding of that dtype (2⁻²⁴ in float32, 2⁻⁸ in bfloat16, 2⁻¹¹ in float16), and W the matrix before any rounding,
    ‖left · right − W‖ ≤ (2u + u²) · ‖W‖ in the Frobenius norm, and the decomposition's own error: rounding U·diag(S) costs u · ‖S‖ since
    the rows of Vᵀ are orthonormal, rounding Vᵀ costs the same since they are of length 1, and ‖S‖ = ‖W‖. One rounding of the
    multiplied matrix, which the dense export is, costs u · ‖W‖.
    """
    rank = edit.rank((weight.shape[0], weight.shape[1]))
    if edit.variant == "official":
        found = Decomposition.of(official_matrix(weight, rank, edit.seed or 0, family), str(edit.site))
    else:
        found = Decomposition.of(weight, str(edit.site))
    chosen = slice(0, rank) if edit.keep == "largest" else slice(len(found.values) - rank, None)
    left, right = found.left[:, chosen] * found.values[chosen], found.right[chosen]
    return left.to(weight.dtype).contiguous(), right.to(weight.dtype).contiguous()


def write(plan: Plan, anatomy: Anatomy, choice: Choice) -> dict[Site, Factors]:
    """Write the plan into the weights, but for the edits that leave factors: these are returned, and their matrices left alone.

    Raises NotWritable, Conflict, before anything is touched; NotFinite.
    """
    forms = plan.forms_for(anatomy, "weights")
    found: dict[Site, Factors] = {}
    for number, (edit, taken) in enumerate(zip(plan.edits, forms, strict=True)):
        if number in choice.edits and isinstance(edit, ReduceRank):
            found[edit.site] = factors_of(edit, anatomy.weight(edit.site), anatomy.family)
        else:
            edit.put(anatomy, taken)
    return found


def by_parameter(model: nn.Module, factors: Mapping[Site, Factors]) -> dict[str, dict[str, Tensor]]:
    """Name in memory of each weight that gives way, to the tensors that stand there instead, by name in memory.

    `model`: still has the weights; where a weight is fused, the rows that are not factored are taken from it.
    """
    anatomy = Anatomy.of(model)
    found: dict[str, dict[str, Tensor]] = {}
    for site, (left, right) in factors.items():
        slot = anatomy.slot(site)
        named = found.setdefault(f"{slot.path}.weight", {})
        prefix = f"{slot.path}." if slot.rows is None else f"{slot.path}.{site.role}."
        named |= {f"{prefix}left.weight": left, f"{prefix}right.weight": right} if left.shape[1] else {}
    for name, named in found.items():
        inside = [site for site in factors if f"{anatomy.slot(site).path}.weight" == name]
        weight = model.get_parameter(name).data
        whole = weight.T if anatomy.slot(inside[0]).transposed else weight
        rest = rest_of(anatomy, inside, len(whole))
        if rest:
            named[name.removesuffix("weight") + "rest.weight"] = whole[rest].contiguous()
    return found


def fill(model: nn.Module, factoring: FactoredFiles, factors: Mapping[Site, Factors]) -> None:
    """Put modules that hold these factors in the place of those that hold the matrices, biases kept."""
    tensors = by_parameter(model, factors)
    biases = {path: module.bias for path, module in model.named_modules() if f"{path}.weight" in tensors}
    for path in factoring.install(model):
        module = model.get_submodule(path)
        module.bias = biases[path]
    for named in tensors.values():
        for name, tensor in named.items():
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, nn.Parameter(tensor, requires_grad=False))


def _changes(plan: Plan, number: int, site: Site, anatomy: Anatomy) -> bool:
    return any(touch.site == site and touch.axis != "bias" for touch in plan.edits[number].touches(anatomy))
