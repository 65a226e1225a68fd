"""The temperature that repairs the calibration: fitted on *select*, measured on *test*, before and after the plan.

Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), section 4.2, over the choices of an example.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.core.errors import NotFinite
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions

from .study import Study

#: The range of the search, and how often it is halved: down to 1e-12 of its logarithm.
LOWEST, HIGHEST, HALVINGS = 1e-3, 1e3, 60
Scores = Sequence[Float64[np.ndarray, " _"]]


def temperature(study: Study) -> dict[str, Any]:
    """Returns, for "base" and "edited", the temperature of lowest log loss on *select*, and the log loss on *test* without and with it.

    The log loss is over the choices: −log softmax(log P / T) of the golden one, so that all choices together have probability 1.
    Source: Sharma et al. 2024 (LASER, arXiv:2312.13558), section 5.1, which says only that it would help. Differs from the source
    in: how is unpublished. Raises BadTask for answers that are free text, NotFinite, OutOfMemory.
    """
    select, test = study.questions("select", "accuracy"), study.questions("test", "accuracy")
    result: dict[str, Any] = {}
    for name, plan in (("base", Plan()), ("edited", study.plan)):
        fitted, held_out = (_scores(study, questions, plan, f"scores of the choices, {name}") for questions in (select, test))
        best = best_temperature(fitted)
        result[name] = {"temperature": best, "before": log_loss(held_out, 1.0), "after": log_loss(held_out, best)}
    return {**result, "split": "test", "found_on": "select"}


def _scores(study: Study, questions: Questions, plan: Plan, stage: str) -> list[Float64[np.ndarray, " _"]]:
    """The centred scores of all pairs of a split."""
    columns = questions.all_logprobs(plan, stage=stage, workers=study.workers)
    return centred((row for column in columns for row in column), questions.gold.tolist() * len(questions.task.instructions))


def centred(rows: Iterable[Float64[np.ndarray, " _"]], gold: Iterable[int]) -> list[Float64[np.ndarray, " _"]]:
    """Returns the log-probabilities of each pair, less that of its golden choice. Raises NotFinite where that has probability 0."""
    with np.errstate(invalid="ignore"):
        scores = [row - row[right] for row, right in zip(rows, gold, strict=True)]
    impossible = sum(bool(np.isnan(row).any() or np.isposinf(row).any()) for row in scores)
    if impossible:
        raise NotFinite(f"{impossible} of {len(scores)} golden choices have probability 0, at any temperature. Try --dtype float32.")
    return scores


def log_loss(rows: Scores, at: float) -> float:
    """Returns the mean of −log softmax(scores / T) of the golden choice, whose score is 0 (`centred`)."""
    return math.fsum(float(np.logaddexp.reduce(row / at)) for row in rows) / len(rows)


def best_temperature(rows: Scores) -> float:
    """Returns the temperature of lowest log loss (`centred` scores), from 0.001 to 1,000.

    The loss is convex in 1/T: its slope, the mean score under softmax(scores / T), changes sign once. The lower end where every golden
    choice is the most probable; 1 where the temperature does not matter.
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
    """Returns the derivative of the log loss with respect to 1/T: positive where a higher temperature is better."""
    total = []
    for row in rows:
        finite = row[np.isfinite(row)]
        weights = np.exp(finite / at - np.logaddexp.reduce(finite / at))
        total.append(float(weights @ finite))
    return math.fsum(total) / len(rows)
