"""Which matrices of a plan are stored as two factors, and those factors.

Knows edits and matrices; no file, and nothing of how a model computes with factors (`resect.models.factored_linear` does).
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

from .base_checkpoint import BaseCheckpoint
from .checkpoint import CheckpointFiles

#: left [out, rank] = U·diag(S) and right [rank, in] = Vᵀ.
Factors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FactorSelection:
    """What of a plan is stored as factors.

    Attributes
    ----------
    edits : number of the edit in the plan (from 0) to the matrix
    dense : sentences on the matrices of reduced rank that are stored as they are
    """

    edits: Mapping[int, FactoredMatrix]
    dense: tuple[str, ...]

    @property
    def matrices(self) -> tuple[FactoredMatrix, ...]:
        """The matrices that are stored as factors."""
        return tuple(self.edits.values())

    @classmethod
    def of(cls, plan: Plan, anatomy: Anatomy) -> "FactorSelection":
        """Select the matrices of which a ReduceRank is the last edit, and whose factors have fewer numbers.

        Raises InputError where there is none.
        """
        edits: dict[int, FactoredMatrix] = {}
        dense = []
        for number, edit in enumerate(plan.edits):
            if not isinstance(edit, ReduceRank):
                continue
            later = [at for at in range(number + 1, len(plan.edits)) if _changes_weight(plan, at, edit.site, anatomy)]
            if any(isinstance(plan.edits[at], ReduceRank) for at in later):
                continue  # the later one decides
            matrix = FactoredMatrix.of(edit.site, edit.rank(anatomy.shape(edit.site)), anatomy)
            if later:
                dense.append(
                    f"{edit.site} stays dense: a {plan.edits[later[-1]].kind} (edit {later[-1]}) changes it after its rank is reduced"
                )
            elif edit.site.is_routed:
                dense.append(f"{edit.site} stays dense: one parameter holds the matrices of all experts of its layer")
            elif matrix.saved <= 0:
                size = f"{matrix.shape[0]:,} × {matrix.shape[1]:,}"
                dense.append(f"{edit.site} stays dense: at rank {matrix.rank:,}, its factors have no fewer numbers than its {size}")
            else:
                edits[number] = matrix
        if not edits:
            why = "; ".join(dense[:3]) or ("the plan is empty" if plan.is_empty else "no edit of the plan reduces a rank")
            raise InputError(
                f"Nothing of this plan can be stored as factors ({why}); leave out --format factored to store the matrices as they are."
            )
        return cls(edits, tuple(dense))


@dataclass(frozen=True)
class FactoringSummary:
    """What is stored as factors, and the bytes before and after.

    Attributes
    ----------
    matrices : those stored as factors
    dense : sentences on the matrices of reduced rank that are stored as they are
    matrix_bytes : of these matrices, dense and as factors
    weight_bytes : of all files of weights, the base's and the export's
    """

    matrices: tuple[FactoredMatrix, ...]
    dense: tuple[str, ...]
    matrix_bytes: tuple[int, int]
    weight_bytes: tuple[int, int]

    @classmethod
    def of(cls, selection: FactorSelection, base: BaseCheckpoint, written: CheckpointFiles) -> "FactoringSummary":
        """Returns the summary of an export."""
        dense, factored = 0, 0
        for matrix in selection.matrices:
            size = base.loading.stored_dtypes.get(f"{matrix.module}.weight", base.loading.dtype).itemsize
            dense, factored = dense + size * (matrix.numbers + matrix.saved), factored + size * matrix.numbers
        before, after = (sum(map(files.size, files.shards)) for files in (base.files, written))
        return cls(selection.matrices, selection.dense, (dense, factored), (before, after))

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object."""
        pair = lambda sizes: {"before": sizes[0], "after": sizes[1]}
        return {
            "matrices": [matrix.to_json() for matrix in self.matrices],
            "dense": list(self.dense),
            "bytes": {"matrices": pair(self.matrix_bytes), "weights": pair(self.weight_bytes)},
        }


def factors_of(edit: ReduceRank, weight: Float[Tensor, "out inside"], family: str = "") -> Factors:
    """Returns U·diag(S) and Vᵀ of the reduced matrix, in the matrix' dtype. Raises NotFinite.

    With u the rounding of that dtype (2⁻²⁴ in float32, 2⁻⁸ in bfloat16, 2⁻¹¹ in float16), and W the reduced matrix before any rounding,
    ‖left · right − W‖ ≤ (2u + u²) · ‖W‖ in the Frobenius norm, plus the decomposition's own error: rounding U·diag(S) costs u · ‖S‖ since
    the rows of Vᵀ are orthonormal, rounding Vᵀ costs the same since they are of length 1, and ‖S‖ = ‖W‖. The dense export rounds the
    multiplied matrix once, which costs u · ‖W‖.
    """
    rank = edit.rank((weight.shape[0], weight.shape[1]))
    matrix = official_matrix(weight, rank, edit.seed or 0, family) if edit.variant == "official" else weight
    left, right = Decomposition.of(matrix, str(edit.site)).factors(rank, edit.keep)
    return left.to(weight.dtype).contiguous(), right.to(weight.dtype).contiguous()


def write_and_factor(plan: Plan, anatomy: Anatomy, selection: FactorSelection) -> dict[Site, Factors]:
    """Write the plan into the weights, except for the selected edits: their factors are returned, and their matrices stay unchanged.

    Raises NotWritable, Conflict, before anything is changed; NotFinite.
    """
    forms = plan.choose_forms(anatomy, "weights")
    factors: dict[Site, Factors] = {}
    for number, (edit, form) in enumerate(zip(plan.edits, forms, strict=True)):
        if number in selection.edits and isinstance(edit, ReduceRank):
            factors[edit.site] = factors_of(edit, anatomy.weight(edit.site), anatomy.family)
        else:
            edit.apply_as(anatomy, form)
    return factors


def replacements_of(model: nn.Module, factors: Mapping[Site, Factors]) -> dict[str, dict[str, Tensor]]:
    """Returns the name of each weight that factors replace, to the tensors that replace it, by parameter name.

    `model` still has the weights: rows of a fused weight that are not factored are taken from it.
    """
    anatomy = Anatomy.of(model)
    replacements: dict[str, dict[str, Tensor]] = {}
    for site, (left, right) in factors.items():
        slot = anatomy.slot(site)
        tensors = replacements.setdefault(f"{slot.path}.weight", {})
        prefix = f"{slot.path}." if slot.rows is None else f"{slot.path}.{site.role}."
        tensors |= {f"{prefix}left.weight": left, f"{prefix}right.weight": right} if left.shape[1] else {}
    for name, tensors in replacements.items():
        sites = [site for site in factors if f"{anatomy.slot(site).path}.weight" == name]
        weight = model.get_parameter(name).data
        fused = weight.T if anatomy.slot(sites[0]).transposed else weight
        rest = rest_of(anatomy, sites, len(fused))
        if rest:
            tensors[name.removesuffix("weight") + "rest.weight"] = fused[rest].contiguous()
    return replacements


def install_factors(model: nn.Module, factored: FactoredFiles, factors: Mapping[Site, Factors]) -> None:
    """Replace the modules that hold the matrices by modules with these factors; biases stay."""
    replacements = replacements_of(model, factors)
    biases = {path: module.bias for path, module in model.named_modules() if f"{path}.weight" in replacements}
    for path in factored.install(model):
        model.get_submodule(path).bias = biases[path]
    for tensors in replacements.values():
        for name, tensor in tensors.items():
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, nn.Parameter(tensor, requires_grad=False))


def _changes_weight(plan: Plan, number: int, site: Site, anatomy: Anatomy) -> bool:
    return any(touch.site == site and touch.axis != "bias" for touch in plan.edits[number].written_slices(anatomy))
