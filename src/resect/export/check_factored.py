"""Proof that an export with factors is the base model with the plan applied, as near as numbers that are rounded can be.

Three claims. (1) Every tensor that is no factor is the same to the last bit. (2) What each module with factors computes, in float64 and
with the factors as they are stored, is W·x of the applied plan's matrix W to within MATRIX_ROUNDINGS roundings of the stored dtype (in the
Frobenius norm, by random vectors): factors cost two, the matrix that they are held against one. (3) The logits are no further from those
of the applied plan than LOGIT_FACTOR times what rounding the same matrices does to these. That distance is measured, not derived.

Loads one model after the other, never two at once, and keeps no matrix of the first.
"""

import copy
import gc
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy
from resect.models.factored_linear import FactoredMatrix, by_module, rest_of, rows_of
from resect.models.language_model import LanguageModel

from .check_exact import Evidence, Loading, check_same_tensors, edited_base, evidence_of, logits, refused

#: Random vectors that each matrix is multiplied with.
VECTORS = 64
#: How far a product of factors may be from the matrix, in roundings u of the stored dtype; and beyond that, in roundings of the arithmetic.
MATRIX_ROUNDINGS, ARITHMETIC_ROUNDINGS = 4.0, 128.0
#: How far the logits may be, in what rounding the matrices does to them, and in roundings of the largest logit.
LOGIT_FACTOR = 4.0


@dataclass(frozen=True)
class Nearness:
    """How near an export came, and how near it had to. `matrix`: relative, in the Frobenius norm; `logit`: the largest difference."""

    matrix: float
    matrix_bound: float
    logit: float
    logit_bound: float

    def sentence(self) -> str:
        """What people should know of it."""
        return (
            "Checked: loaded again, all that is no factor equals the base with the plan applied, to the last bit; the factors' products "
            f"are its matrices to within {self.matrix:.1e} of their norm (allowed: {self.matrix_bound:.1e}), and its logits to within "
            f"{self.logit:.1e} (allowed: {self.logit_bound:.1e}): factors are rounded twice, a matrix once."
        )


@dataclass(frozen=True)
class Base:
    """What the base model with the plan applied says: evidence; what each module's matrix makes of random vectors; the largest allowed
    difference of a logit, by probe.
    """

    evidence: Evidence
    products: Mapping[str, Float64[Tensor, "out vectors"]]
    allowed: tuple[float, ...]


def evidence_of_base(
    folder: Path, plan: Plan, loading: Loading, device: torch.device, allow_other_model: bool, matrices: Sequence[FactoredMatrix]
) -> Base:
    """What the base model with the plan applied says, `matrices` being those that the export has as factors. Raises NoEffect, NotFinite."""
    model, tokenizer = edited_base(folder, plan, loading, allow_other_model)
    anatomy = Anatomy.of(model)
    products = {}
    for path, held in by_module(matrices).items():
        weight = model.get_submodule(path).weight.detach()
        whole = weight.T if anatomy.slot(held[0].site).transposed else weight
        products[path] = whole.double() @ _vectors(path, whole.shape[1])
    evidence = evidence_of(model.to(device), tokenizer)
    steps = {matrix.site: _rounding(loading, matrix) for matrix in matrices}
    for site, step in steps.items():
        weight = anatomy.weight(site)
        anatomy.write(site, None, weight * (1 + 2 * step * _signs(str(site), weight)))
    shaken = logits(LanguageModel.of(model, tokenizer))
    arithmetic = torch.finfo(loading.dtype).eps / 2
    pairs = zip(evidence.logits, shaken, strict=True)
    allowed = tuple(LOGIT_FACTOR * (_furthest(first, second) + arithmetic * float(first.abs().max())) for first, second in pairs)
    return Base(evidence, products, allowed)


def check_near(base: Base, folder: Path, loading: Loading, device: torch.device, matrices: Sequence[FactoredMatrix]) -> Nearness:
    """Load an export, and hold it against the base with the plan applied. Raises Failure where it is not as near as it has to be."""
    gc.collect()  # the base may be held in a cycle, and two models may be more than there is room for
    model, tokenizer = loading.parts(folder)
    modules = by_module(matrices)
    found = [_distance(path, model, base, loading, held) for path, held in modules.items()]
    export = evidence_of(model.to(device), tokenizer)
    inside = tuple(f"{path}." for path in modules)
    plain = lambda digests: {name: digest for name, digest in digests.items() if not name.startswith(inside) or name.endswith(".bias")}
    check_same_tensors(replace(base.evidence, digests=plain(base.evidence.digests)), replace(export, digests=plain(export.digests)))
    off = [_furthest(first, second) for first, second in zip(base.evidence.logits, export.logits, strict=True)]
    worst = max(range(len(off)), key=lambda place: off[place] - base.allowed[place])
    if not off[worst] <= base.allowed[worst]:
        raise refused(
            f"a logit is {off[worst]:.2e} away from that of the base with the plan applied, and {base.allowed[worst]:.2e} is allowed"
        )
    distance, bound = max(found, key=lambda pair: pair[0] / pair[1])
    return Nearness(distance, bound, off[worst], base.allowed[worst])


def _distance(path: str, model: nn.Module, base: Base, loading: Loading, matrices: Sequence[FactoredMatrix]) -> tuple[float, float]:
    """How far what a module computes is from the matrix' own products, and how far it may be, relative. Raises Failure."""
    anatomy = Anatomy.of(model)
    module: Any = copy.deepcopy(model.get_submodule(path)).double()
    module.bias = None
    products = base.products[path]
    with torch.inference_mode():
        found = module(_vectors(path, module.in_features).T).T
    out = len(products)
    found_and_bounds = []
    for matrix in matrices:
        rows = rows_of(anatomy, matrix.site, out)
        wide = torch.finfo(torch.promote_types(loading.dtype, torch.float32)).eps / 2
        bound = MATRIX_ROUNDINGS * _rounding(loading, matrix) + ARITHMETIC_ROUNDINGS * wide
        distance = _relative(found[rows], products[rows])
        if not distance <= bound:
            raise refused(f"the factors of {matrix.site} are {distance:.2e} away from its matrix, relative, and {bound:.2e} is allowed")
        found_and_bounds.append((distance, bound))
    rest = rest_of(anatomy, [matrix.site for matrix in matrices], out)
    if rest and _relative(found[rest], products[rest]) > ARITHMETIC_ROUNDINGS * torch.finfo(torch.float64).eps:
        raise refused(f"the rows of {path} that are not factored are not those of the base with the plan applied")
    return max(found_and_bounds, key=lambda pair: pair[0] / pair[1])


def _rounding(loading: Loading, matrix: FactoredMatrix) -> float:
    """The largest relative error of rounding to the dtype that a matrix is stored in."""
    return torch.finfo(loading.stored.get(f"{matrix.module}.weight", loading.dtype)).eps / 2


def _relative(found: Tensor, wanted: Tensor) -> float:
    norm, off = float(wanted.norm()), float((found - wanted).norm())
    return off / norm if norm else off


def _furthest(first: Tensor, second: Tensor) -> float:
    return float((first.double() - second.double()).abs().max())


def _vectors(name: str, size: int) -> Float64[Tensor, "size vectors"]:
    return torch.randn(size, VECTORS, dtype=torch.float64, generator=_generator(name))


def _signs(name: str, like: Tensor) -> Tensor:
    drawn = torch.randint(2, like.shape, generator=_generator(name), dtype=torch.int8)
    return (2 * drawn - 1).to(like)


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))
