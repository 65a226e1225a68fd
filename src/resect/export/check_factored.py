"""Verifies that an export with factors is the base model with the plan applied, as closely as rounded numbers can be.

Three claims. (1) Every tensor that is no factor is equal to the last bit. (2) What each module with factors computes, in float64 and
with the factors as stored, equals W·x with the matrix W of the applied plan to within MATRIX_ROUNDINGS roundings of the stored dtype (in
the Frobenius norm, estimated with random vectors): factors cost two roundings, the matrix that they are compared with one. (3) The logits
deviate from those of the applied plan by at most LOGIT_FACTOR times what rounding the same matrices changes. That change is measured, not
derived.

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

from resect.models.anatomy import Anatomy
from resect.models.factored_linear import FactoredMatrix, by_module, rest_of, rows_of
from resect.models.language_model import LanguageModel

from .check_exact import EditedBase, LoadingOptions, ProbeResults, check_failure, compare_tensors, probe, probe_logits

#: Random vectors that each matrix is multiplied with.
VECTORS = 64
#: The largest relative deviation of a product of factors from the matrix: roundings of the stored dtype, plus roundings of the arithmetic.
MATRIX_ROUNDINGS, ARITHMETIC_ROUNDINGS = 4.0, 128.0
#: The largest deviation of a logit, relative to what rounding the matrices changes, and to the rounding of the largest logit.
LOGIT_FACTOR = 4.0


@dataclass(frozen=True)
class Deviation:
    """The largest deviations of an export, and their bounds. `matrix`: relative, in the Frobenius norm; `logit`: absolute."""

    matrix: float
    matrix_bound: float
    logit: float
    logit_bound: float

    def sentence(self) -> str:
        """Returns a sentence for users."""
        return (
            "Checked: loaded again, every tensor that is no factor equals the base with the plan applied, to the last bit. The products of "
            f"factors deviate from its matrices by {self.matrix:.1e} of their norm (allowed: {self.matrix_bound:.1e}), and the logits by "
            f"{self.logit:.1e} (allowed: {self.logit_bound:.1e}): factors are rounded twice, a matrix once."
        )


@dataclass(frozen=True)
class FactoredReference:
    """The base model with the plan applied, as the export is compared with it.

    Attributes
    ----------
    results : tensors, logits and tokens
    products : path of each module with factors to the product of its dense matrix with random vectors
    logit_bounds : the largest allowed deviation of a logit, by probe
    """

    results: ProbeResults
    products: Mapping[str, Float64[Tensor, "out vectors"]]
    logit_bounds: tuple[float, ...]


def factored_reference(base: EditedBase, matrices: Sequence[FactoredMatrix]) -> FactoredReference:
    """Returns what an export that stores `matrices` as factors is compared with. Raises NoEffect, NotFinite."""
    model, tokenizer = base.load()
    anatomy = Anatomy.of(model)
    products = {}
    for path, inside in by_module(matrices).items():
        weight = model.get_submodule(path).weight.detach()
        dense = weight.T if anatomy.slot(inside[0].site).transposed else weight
        products[path] = dense.double() @ _random_vectors(path, dense.shape[1])
    results = probe(model.to(base.device), tokenizer)
    for matrix in matrices:
        weight, relative = anatomy.weight(matrix.site), 2 * _rounding(base.loading, matrix)
        anatomy.write(matrix.site, None, weight * (1 + relative * _random_signs(str(matrix.site), weight)))
    rounded = probe_logits(LanguageModel.of(model, tokenizer))
    arithmetic = torch.finfo(base.loading.dtype).eps / 2
    pairs = zip(results.logits, rounded, strict=True)
    bounds = tuple(LOGIT_FACTOR * (_largest_difference(exact, other) + arithmetic * float(exact.abs().max())) for exact, other in pairs)
    return FactoredReference(results, products, bounds)


def compare_factored(
    base: FactoredReference, folder: Path, loading: LoadingOptions, device: torch.device, matrices: Sequence[FactoredMatrix]
) -> Deviation:
    """Load an export and compare it with the base with the plan applied. Raises Failure where it deviates too far."""
    gc.collect()  # the base may be part of a reference cycle, and memory may not suffice for two models
    model, tokenizer = loading.load(folder)
    modules = by_module(matrices)
    deviations = [_module_deviation(path, model, base, loading, inside) for path, inside in modules.items()]
    results = probe(model.to(device), tokenizer)
    prefixes = tuple(f"{path}." for path in modules)
    compare_tensors(_without_factors(base.results, prefixes), _without_factors(results, prefixes))
    differences = [_largest_difference(expected, actual) for expected, actual in zip(base.results.logits, results.logits, strict=True)]
    worst = max(range(len(differences)), key=lambda probe: differences[probe] - base.logit_bounds[probe])
    if not differences[worst] <= base.logit_bounds[worst]:  # NaN is refused too
        raise check_failure(
            f"a logit deviates by {differences[worst]:.2e} from that of the base with the plan applied, and {base.logit_bounds[worst]:.2e} "
            "is allowed"
        )
    deviation, bound = max(deviations, key=lambda pair: pair[0] / pair[1])
    return Deviation(deviation, bound, differences[worst], base.logit_bounds[worst])


def _without_factors(results: ProbeResults, prefixes: tuple[str, ...]) -> ProbeResults:
    """Only the tensors that have to be equal: all but the weights inside of modules with factors."""
    kept = {name: digest for name, digest in results.digests.items() if not name.startswith(prefixes) or name.endswith(".bias")}
    return replace(results, digests=kept)


def _module_deviation(
    path: str, model: nn.Module, base: FactoredReference, loading: LoadingOptions, matrices: Sequence[FactoredMatrix]
) -> tuple[float, float]:
    """Returns the largest relative deviation of a module's products from those of its matrices, and its bound. Raises Failure."""
    anatomy = Anatomy.of(model)
    module: Any = copy.deepcopy(model.get_submodule(path)).double()
    module.bias = None
    expected = base.products[path]
    with torch.inference_mode():
        products = module(_random_vectors(path, module.in_features).T).T
    out = len(expected)
    arithmetic = torch.finfo(torch.promote_types(loading.dtype, torch.float32)).eps / 2
    deviations = []
    for matrix in matrices:
        rows = rows_of(anatomy, matrix.site, out)
        bound = MATRIX_ROUNDINGS * _rounding(loading, matrix) + ARITHMETIC_ROUNDINGS * arithmetic
        deviation = _relative_difference(products[rows], expected[rows])
        if not deviation <= bound:  # NaN is refused too
            raise check_failure(
                f"the factors of {matrix.site} deviate by {deviation:.2e} from its matrix, relative, and {bound:.2e} is allowed"
            )
        deviations.append((deviation, bound))
    rest = rest_of(anatomy, [matrix.site for matrix in matrices], out)
    if rest and _relative_difference(products[rest], expected[rest]) > ARITHMETIC_ROUNDINGS * torch.finfo(torch.float64).eps:
        raise check_failure(f"the rows of {path} that are not factored are not those of the base with the plan applied")
    return max(deviations, key=lambda pair: pair[0] / pair[1])


def _rounding(loading: LoadingOptions, matrix: FactoredMatrix) -> float:
    """Returns the largest relative error of rounding to the stored dtype of a matrix."""
    return torch.finfo(loading.stored_dtypes.get(f"{matrix.module}.weight", loading.dtype)).eps / 2


def _relative_difference(actual: Tensor, expected: Tensor) -> float:
    norm, difference = float(expected.norm()), float((actual - expected).norm())
    return difference / norm if norm else difference


def _largest_difference(first: Tensor, second: Tensor) -> float:
    return float((first.double() - second.double()).abs().max())


def _random_vectors(name: str, size: int) -> Float64[Tensor, "size vectors"]:
    return torch.randn(size, VECTORS, dtype=torch.float64, generator=_generator(name))


def _random_signs(name: str, like: Tensor) -> Tensor:
    bits = torch.randint(2, like.shape, generator=_generator(name), dtype=torch.int8)
    return (2 * bits - 1).to(like)


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))
