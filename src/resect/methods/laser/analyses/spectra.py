"""Singular values, effective rank and noise edge of matrices, before and after the plan. Knows no task."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.core.address import Site
from resect.core.execution import journal_key
from resect.edits.matrices import ReduceRank
from resect.edits.svd import Decomposition
from resect.edits.svd_cache import effective_rank, weight_digest
from resect.methods.analyses.study import Study
from resect.methods.laser.marchenko_pastur import noise_edge

#: Digits of a singular value: float32 has no more.
_DIGITS = 7


def spectra(study: Study) -> dict[str, Any]:
    """Returns singular values (falling), ranks and noise edge by matrix: first those of the plan, then all that were searched.

    `after` is None where the plan does not reduce the matrix. Effective rank: Roy & Vetterli 2007 (`svd_cache.effective_rank`); noise
    edge: Marchenko–Pastur (`marchenko_pastur.noise_edge`). Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), appendix C.1.
    Raises NotFinite, NotWritable.
    """
    chosen = {edit.site: edit for edit in study.reductions}
    sites = list(dict.fromkeys((*chosen, *study.sites)))
    result, report = {}, study.counter("decomposing", len(sites))
    for site in sites:
        result[str(site)] = _spectrum(study, site, chosen.get(site))
        report()
    return result


def _spectrum(study: Study, site: Site, edit: ReduceRank | None) -> dict[str, Any]:
    values, shape = _values(study, site), study.model.anatomy.shape(site)
    reduced = None if edit is None else _reduced(study, edit, values)
    return {
        "values": [float(f"{value:.{_DIGITS}g}") for value in values],
        "effective_rank": {"before": effective_rank(values), "after": None if reduced is None else effective_rank(reduced)},
        "rank": {"full": len(values), "after": None if edit is None else study.rank(edit)},
        "noise_edge": noise_edge(values, shape),
    }


def _reduced(study: Study, edit: ReduceRank, values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " r"]:
    """The singular values of the reduced matrix that are not 0."""
    rank = study.rank(edit)
    if edit.variant == "exact":
        return values[:rank] if edit.keep == "largest" else values[len(values) - rank :]
    matrix = edit.reduced(study.model.anatomy.weight(edit.site), study.model.anatomy.family)
    reduced: Float64[np.ndarray, " r"] = Decomposition.of(matrix, str(edit.site)).values[:rank].cpu().double().numpy()
    return reduced


def _values(study: Study, site: Site) -> Float64[np.ndarray, " k"]:
    key = journal_key("spectrum", weight_digest(study.model.anatomy.weight(site)))
    return np.asarray(study.workers.remember(key, lambda: {"values": study.factors.singular_values(site)})["values"], dtype=np.float64)
