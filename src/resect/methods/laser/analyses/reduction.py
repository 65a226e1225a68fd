"""How far a reduction helps: a matrix at every share of its rank down to nothing, then its block and its layer left out, on *select*.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), appendix C.2 and figure 8. Differs from the source in: what it is to remove a layer
is unpublished; here its blocks add nothing to the residual stream.
"""

from collections.abc import Iterable
from typing import Any

from resect.core.address import Neurons, Site
from resect.edits.matrices import ReduceRank
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.models.anatomy import Anatomy

from .measures import Measured, Measures
from .study import Study, number, with_others

#: The last matrix of each block: what it gives is what the block adds to the residual stream.
_LAST = ("o", "cross_o", "down")


def reduction(study: Study) -> dict[str, Any]:
    """Loss and share of right answers of the plan's matrix, reduced by itself, as its ρ falls from 1 (as it is) over the recipe's to 0.

    `without_block`: the matrix' own block (feed-forward, attention or cross-attention) adds nothing; `without_layer`: none of its layer's
    blocks does. Of a composition each matrix by itself, the others as they were: those after the first under "others".
    Raises NotFinite, NotWritable, OutOfMemory, PromptTooLong.
    """
    measures = Measures(study)
    return with_others([_of_one(study, measures, edit) for edit in study.reductions])


def silenced(anatomy: Anatomy, site: Site, roles: tuple[str, ...] = _LAST) -> Plan:
    """The plan under which blocks of a matrix' layer add nothing: the matrices that end them, and their biases, are set to 0."""
    there = [each for each in anatomy.sites if (each.stack, each.layer) == (site.stack, site.layer) and each.role in roles]
    rows: dict[Site | str, Iterable[int]] = {each: range(anatomy.width(each)) for each in there}
    return Plan((Scale(Neurons(rows), 0.0),))


def block_of(site: Site) -> str:
    """The role of the matrix that ends the block which a matrix is in."""
    if site.role in ("gate", "up", "down"):
        return "down"
    return "cross_o" if site.role.startswith("cross_") else "o"


def _of_one(study: Study, measures: Measures, chosen: ReduceRank) -> dict[str, Any]:
    site, anatomy = chosen.site, study.model.anatomy
    shares = [rho for rho in study.falling if rho > 0] + [0.0]
    by_rank: dict[int, Measured] = {}
    found, stage = [measures.base()], f"reducing {site} to nothing"
    study.workers.progress(stage, 0, len(shares))
    for done, rho in enumerate(shares, start=1):
        edit = study.reduced(site, rho, chosen)
        rank = study.rank(edit)
        if rank not in by_rank:
            by_rank[rank] = measures.of(edit)
        found.append(by_rank[rank])
        study.workers.progress(stage, done, len(shares))
    block = measures.under(silenced(anatomy, site, (block_of(site),)), f"without the block of {site}")
    layer = measures.under(silenced(anatomy, site), f"without the layer of {site}")
    return {
        "site": str(site),
        "rhos": [1.0, *shares],
        "loss": [number(each.loss.mean()) for each in found],
        "accuracy": [number(each.right.mean()) for each in found],
        "without_block": _both(block),
        "without_layer": _both(layer),
        "metric": study.right_by,
        "n_pairs": measures.pairs,
        "split": "select",
    }


def _both(measured: Measured) -> dict[str, float | None]:
    return {"loss": number(measured.loss.mean()), "accuracy": number(measured.right.mean())}
