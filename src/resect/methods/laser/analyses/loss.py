"""The loss of every reduction: each matrix at each share of its rank, on *select*, nobody given up. Knows no plan.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), figure 2. Differs from the source in: nothing.
"""

from typing import Any

from .measures import Measured, Measures
from .study import Study, number


def loss(study: Study) -> dict[str, Any]:
    """Mean log loss of the golden answers, and the share of right ones, by matrix (rows) and ρ (columns, falling).

    `accuracy` is the share by the study's own measure of a right answer, which `metric` names. Numbers that are not finite are None.
    Raises NotFinite, NotWritable, OutOfMemory, PromptTooLong.
    """
    measures, rhos = Measures(study), study.falling
    base = _means(measures.base())
    losses, shares = list[list[float | None]](), list[list[float | None]]()
    stage, total = "the loss of every reduction", len(study.sites) * len(rhos)
    study.workers.progress(stage, 0, total)
    for site in study.sites:
        by_rank: dict[int, dict[str, float | None]] = {}
        row = []
        for rho in reversed(rhos):
            edit = study.reduced(site, rho)
            rank = study.rank(edit)
            if rank not in by_rank:
                by_rank[rank] = _means(measures.of(edit))
            row.append(by_rank[rank])
            study.workers.progress(stage, len(losses) * len(rhos) + len(row), total)
        losses.append([means["loss"] for means in reversed(row)])
        shares.append([means["accuracy"] for means in reversed(row)])
    return {
        "sites": list(map(str, study.sites)),
        "rhos": list(rhos),
        "loss": losses,
        "accuracy": shares,
        "base": base,
        "metric": study.right_by,
        "n_pairs": measures.pairs,
        "split": "select",
    }


def _means(measured: Measured) -> dict[str, float | None]:
    return {"loss": number(measured.loss.mean()), "accuracy": number(measured.right.mean())}
