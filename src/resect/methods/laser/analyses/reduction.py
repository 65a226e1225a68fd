"""How far a reduction helps: a matrix at every share of its rank down to 0, then without its block and its layer, on *select*.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), appendix C.2 and figure 8. Differs from the source in: what it is to remove a layer
is unpublished; here its blocks add nothing to the residual stream.
"""

from collections.abc import Iterable
from typing import Any

from resect.core.address import Neurons, Site
from resect.edits.matrices import ReduceRank
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.methods.analyses.study import Study, with_others
from resect.models.anatomy import Anatomy

from .measures import Measurements

#: The last matrix of each block: its output is what the block adds to the residual stream.
_LAST = ("o", "cross_o", "down")


def reduction(study: Study) -> dict[str, Any]:
    """Returns loss and share of right answers of the plan's matrix, reduced by itself, as ρ falls from 1 (the full matrix) to 0.

    `without_block`: the block of the matrix (feed-forward, attention or cross-attention) adds nothing; `without_layer`: no block of its
    layer does. Of a composition each matrix by itself: those after the first under "others".
    Raises NotFinite, NotWritable, OutOfMemory, PromptTooLong.
    """
    measurements = Measurements(study)
    return with_others([_of_matrix(study, measurements, edit) for edit in study.reductions])


def silenced(anatomy: Anatomy, site: Site, roles: tuple[str, ...] = _LAST) -> Plan:
    """Returns the plan under which blocks of a matrix' layer add nothing: their last matrices, and biases, are set to 0."""
    last = [other for other in anatomy.sites if (other.stack, other.layer) == (site.stack, site.layer) and other.role in roles]
    rows: dict[Site | str, Iterable[int]] = {other: range(anatomy.width(other)) for other in last}
    return Plan((Scale(Neurons(rows), 0.0),))


def block_of(site: Site) -> str:
    """Returns the role of the last matrix of the block that a matrix is in."""
    if site.role in ("gate", "up", "down"):
        return "down"
    return "cross_o" if site.role.startswith("cross_") else "o"


def _of_matrix(study: Study, measurements: Measurements, edit: ReduceRank) -> dict[str, Any]:
    site, anatomy = edit.site, study.model.anatomy
    rhos = [rho for rho in study.falling if rho > 0] + [0.0]
    report = study.counter(f"reducing {site} to nothing", len(rhos))
    means = [outcomes.means for outcomes in (measurements.base(), *measurements.at_shares(site, rhos, report, edit))]
    block = measurements.under(silenced(anatomy, site, (block_of(site),)), f"without the block of {site}")
    layer = measurements.under(silenced(anatomy, site), f"without the layer of {site}")
    return {
        "site": str(site),
        "rhos": [1.0, *rhos],
        "loss": [mean["loss"] for mean in means],
        "accuracy": [mean["accuracy"] for mean in means],
        "without_block": block.means,
        "without_layer": layer.means,
        "metric": study.right_by,
        "n_pairs": measurements.pairs,
        "split": "select",
    }
