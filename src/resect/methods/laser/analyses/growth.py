"""Does the right set only grow with the reduction? The answers that each step gains and loses against the step before, on *select*.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), section 5.1, which claims that it does. Differs from the source in: nothing.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.edits.matrices import ReduceRank

from .measures import Measures
from .study import Study, with_others


def growth(study: Study) -> dict[str, Any]:
    """Right answers of the plan's matrix, reduced by itself, at each ρ from the gentlest on, against the ρ before (first: no reduction).

    Numbers are pairs of example and instruction; `base` is how many are right without any reduction. Of a composition each matrix by
    itself: those after the first under "others". Raises NotFinite, NotWritable, OutOfMemory, PromptTooLong.
    """
    measures = Measures(study)
    return with_others([_of_one(study, measures, edit) for edit in study.reductions])


def steps(rights: Sequence[Float64[np.ndarray, " pairs"]]) -> dict[str, list[int]]:
    """How many are right at each step after the first, and how many became so, or are so no more, since the step before."""
    after = [each == 1 for each in rights]
    pairs = list(itertools.pairwise(after))
    return {
        "right": [int(now.sum()) for _, now in pairs],
        "gained": [int((now & ~before).sum()) for before, now in pairs],
        "lost": [int((before & ~now).sum()) for before, now in pairs],
    }


def _of_one(study: Study, measures: Measures, chosen: ReduceRank) -> dict[str, Any]:
    stage, rhos = f"what is right as {chosen.site} shrinks", study.falling
    base = measures.base().right
    rights, by_rank = [base], dict[int, Any]()
    study.workers.progress(stage, 0, len(rhos))
    for done, rho in enumerate(rhos, start=1):
        edit = study.reduced(chosen.site, rho, chosen)
        rank = study.rank(edit)
        if rank not in by_rank:
            by_rank[rank] = measures.of(edit).right
        rights.append(by_rank[rank])
        study.workers.progress(stage, done, len(rhos))
    return {
        "site": str(chosen.site),
        "rhos": list(rhos),
        **steps(rights),
        "base": int((base == 1).sum()),
        "metric": study.right_by,
        "n_pairs": measures.pairs,
        "split": "select",
    }
