"""The loss of every reduction: each matrix at each share of its rank, on *select*, no candidate stopped early. Knows no plan.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), figure 2. Differs from the source in: nothing.
"""

from typing import Any

from resect.methods.analyses.study import Study

from .measures import Measurements


def loss(study: Study) -> dict[str, Any]:
    """Returns the mean log loss of the golden answers, and the share of right ones, by matrix (rows) and ρ (columns, falling).

    `accuracy` is the share of right answers by the metric that `metric` names. Numbers that are not finite are None.
    Raises NotFinite, NotWritable, OutOfMemory, PromptTooLong.
    """
    measurements, rhos = Measurements(study), study.falling
    base = measurements.base().means
    report = study.counter("the loss of every reduction", len(study.sites) * len(rhos))
    rows = [[outcomes.means for outcomes in measurements.at_shares(site, rhos, report)] for site in study.sites]
    return {
        "sites": list(map(str, study.sites)),
        "rhos": list(rhos),
        "loss": [[means["loss"] for means in row] for row in rows],
        "accuracy": [[means["accuracy"] for means in row] for row in rows],
        "base": base,
        "metric": study.right_by,
        "n_pairs": measurements.pairs,
        "split": "select",
    }
