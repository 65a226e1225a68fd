"""A temperature that repairs the calibration: found on *select*, measured on *test*, for the model as it was and as the plan leaves it.

Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), section 4.2, over the choices of an example.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.core.errors import NotFinite
from resect.edits.plan import Plan

from .study import Study

#: The temperatures between which is looked, and how often the span is halved: to 1e-12 of its logarithm.
LOWEST, HIGHEST, HALVINGS = 1e-3, 1e3, 60
Scores = Sequence[Float64[np.ndarray, " _"]]


def temperature(study: Study) -> dict[str, Any]:
    """For "base" and "edited": the temperature of least log loss on *select*, and the log loss on *test* before and after it.

    The log loss is over the choices: −log softmax(log P / T) of the golden one, so that all choices together have probability 1.
    Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), section 5.1, which says that it would help, and nothing more. Differs from the
    source in: how is unpublished. Raises BadTask for answers that are free text, NotFinite, OutOfMemory.
    """
    select, test = study.questions("select", "accuracy"), study.questions("test", "accuracy")
    found: dict[str, Any] = {}
    for name, plan in (("base", Plan()), ("edited", study.plan)):
        rows = [
            (row for column in each.all_logprobs(plan, stage=f"scoring the choices, {name}", workers=study.workers) for row in column)
            for each in (select, test)
        ]
        gold = [each.gold.tolist() * len(each.task.instructions) for each in (select, test)]
        seen, held_out = (centred(*each) for each in zip(rows, gold, strict=True))
        best = best_temperature(seen)
        found[name] = {"temperature": best, "before": log_loss(held_out, 1.0), "after": log_loss(held_out, best)}
    return {**found, "split": "test", "found_on": "select"}


def centred(rows: Iterable[Float64[np.ndarray, " _"]], gold: Iterable[int]) -> list[Float64[np.ndarray, " _"]]:
    """Each pair's log-probabilities, less that of its golden choice. Raises NotFinite where that has probability 0."""
    with np.errstate(invalid="ignore"):
        found = [row - row[right] for row, right in zip(rows, gold, strict=True)]
    lost = sum(bool(np.isnan(row).any() or np.isposinf(row).any()) for row in found)
    if lost:
        raise NotFinite(f"{lost} of {len(found)} golden choices have probability 0: no temperature mends that. Try --dtype float32.")
    return found


def log_loss(rows: Scores, at: float) -> float:
    """Mean of −log softmax(scores / T) of the golden choice, whose score is 0 (`centred`)."""
    return math.fsum(float(np.logaddexp.reduce(row / at)) for row in rows) / len(rows)


def best_temperature(rows: Scores) -> float:
    """The temperature of least log loss (`centred` scores), between 0.001 and 1,000.

    The loss is convex in 1/T, so that its slope there, the mean score under softmax(scores / T), changes sign once. At the lower end
    where every golden choice is the most probable, since no answer is too sure then; 1 where no temperature matters.
    """
    if slope(rows, 1.0) == 0:
        return 1.0
    low, high = math.log(LOWEST), math.log(HIGHEST)
    if slope(rows, LOWEST) <= 0:
        return LOWEST
    if slope(rows, HIGHEST) >= 0:
        return HIGHEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(rows, math.exp(middle)) > 0 else (low, middle)
    return math.exp((low + high) / 2)


def slope(rows: Scores, at: float) -> float:
    """The derivative of the log loss by 1/T: positive where a higher temperature is better."""
    total = []
    for row in rows:
        finite = row[np.isfinite(row)]
        weights = np.exp(finite / at - np.logaddexp.reduce(finite / at))
        total.append(float(weights @ finite))
    return math.fsum(total) / len(rows)
