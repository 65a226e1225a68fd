"""Does the set of right answers only grow with the reduction? What each step gains and loses, compared with the step before, on *select*.

Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), section 5.1, which claims that it does. Differs from the source in: nothing.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.edits.matrices import ReduceRank
from resect.methods.analyses.study import Study, with_others

from .measures import Measurements


def growth(study: Study) -> dict[str, Any]:
    """Returns the right answers of the plan's matrix, reduced by itself, at each ρ from the gentlest on, compared with the ρ before.

    The first is compared with no reduction. Numbers are pairs of example and instruction; `base`: how many are right without a reduction.
    Of a composition each matrix by itself: those after the first under "others". Raises NotFinite, NotWritable, OutOfMemory, PromptTooLong.
    """
    measurements = Measurements(study)
    return with_others([_of_matrix(study, measurements, edit) for edit in study.reductions])


def steps(rights: Sequence[Float64[np.ndarray, " pairs"]]) -> dict[str, list[int]]:
    """Returns how many are right at each step after the first, and how many became right or wrong since the step before."""
    pairs = list(itertools.pairwise([right == 1 for right in rights]))
    return {
        "right": [int(now.sum()) for _, now in pairs],
        "gained": [int((now & ~before).sum()) for before, now in pairs],
        "lost": [int((before & ~now).sum()) for before, now in pairs],
    }


def _of_matrix(study: Study, measurements: Measurements, edit: ReduceRank) -> dict[str, Any]:
    base, rhos = measurements.base().right, study.falling
    report = study.counter(f"right answers as {edit.site} is reduced", len(rhos))
    rights = [outcomes.right for outcomes in measurements.at_shares(edit.site, rhos, report, edit)]
    return {
        "site": str(edit.site),
        "rhos": list(rhos),
        **steps([base, *rights]),
        "base": int((base == 1).sum()),
        "metric": study.right_by,
        "n_pairs": measurements.pairs,
        "split": "select",
    }
