"""Choose a size by an objective: golden section, grid, first drop.

Knows numbers only: an objective is a function of a size, closed over whatever it needs, so that a search cannot reach the test split. No
size is evaluated twice.
"""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from resect.core.errors import InputError
from resect.core.execution import Entry, Workers, journal_key

SizeChoice = Literal["golden", "grid", "first-drop"]
Scale = Literal["log", "linear"]
CHOICES: tuple[SizeChoice, ...] = ("golden", "grid", "first-drop")
SCALES: tuple[Scale, ...] = ("log", "linear")
#: The bracket at which golden section stops and evaluates every size that is left (the CRISPR authors' code).
TOLERANCE = 4
STAGE = "choosing n"
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Trial:
    """A size that was evaluated. `score` in the objective's unit, higher is better."""

    size: int
    score: float
    seconds: float


class CachedObjective:
    """An objective whose values are stored in the journal, and whose progress is reported."""

    def __init__(self, objective: Callable[[int], float], name: str, expected: int, workers: Workers) -> None:
        self._objective, self._name, self._expected, self._workers = objective, name, expected, workers
        self.trials: dict[int, Trial] = {}
        workers.progress(STAGE, 0, expected)

    def __call__(self, size: int) -> float:
        """Returns the score of `size`; the objective is called once."""
        if size not in self.trials:
            entry = self._workers.remember(journal_key(self._name, size), lambda: self._evaluate(size))
            self.trials[size] = Trial(size, entry["score"], entry["seconds"])
            self._workers.progress(STAGE, len(self.trials), max(self._expected, len(self.trials)))
        return self.trials[size].score

    def _evaluate(self, size: int) -> Entry:
        start = time.monotonic()
        return {"score": self._objective(size), "seconds": time.monotonic() - start}

    def close(self) -> None:
        """Reports that nothing more will be evaluated."""
        self._workers.progress(STAGE, len(self.trials), len(self.trials))


def best(trials: Sequence[Trial], digits: int | None = None, ties: Literal["smaller", "earlier"] = "smaller") -> Trial:
    """Returns the trial of the highest score. Ties go to the smaller size, or to the one that was evaluated earlier.

    Parameters
    ----------
    digits : scores are rounded to so many decimals before they are compared (None: not at all)
    """

    def rank(place: int) -> tuple[float, int]:
        score = trials[place].score if digits is None else round(trials[place].score, digits)
        return -score, trials[place].size if ties == "smaller" else place

    return trials[min(range(len(trials)), key=rank)]


def choose_size(
    objective: Callable[[int], float],
    limit: int,
    choose: str = "golden",
    *,
    scale: str = "log",
    name: str = "choose",
    workers: Workers | None = None,
) -> list[Trial]:
    """Evaluates the objective at sizes from 0 to `limit`, as `choose` says; returns the trials in the order of evaluation.

    Size 0 always comes first, since every other is compared with it.

    Parameters
    ----------
    choose : golden: golden section (Kiefer 1953) down to a bracket of 4, then every size of it; where the objective has one peak, that
        peak (on the log scale: within 0.5 %). grid: every size. first-drop: upwards, to the first size after which the objective falls.
    scale : of golden section. "log": units are ordered by their scores, so that the second ten matter less than the first, and a peak
        among few is not stepped over; "linear": as the CRISPR authors' code does it. Both evaluate at most `most_evaluations` sizes.
    name : distinguishes searches in the journal
    workers : only their journal and progress are used

    Raises InputError for a choice or scale that does not exist, or a negative limit.
    """
    if choose not in CHOICES or scale not in SCALES:
        raise InputError(f"n is chosen by one of {', '.join(CHOICES)} on a scale of {', '.join(SCALES)}, not {choose!r}, {scale!r}.")
    if limit < 0:
        raise InputError(f"The most neurons that may be cut is 0 or more, not {limit}.")
    evaluate = CachedObjective(objective, name, most_evaluations(choose, limit), workers or Workers())
    evaluate(0)
    if choose == "golden":
        _golden_section(evaluate, limit, scale)
    else:
        for size in range(1, limit + 1):
            if evaluate(size) < evaluate(size - 1) and choose == "first-drop":
                break
    evaluate.close()
    return list(evaluate.trials.values())


def most_evaluations(choose: str, limit: int) -> int:
    """Returns the most sizes that are evaluated: by golden section 0, one for each narrowing and one more, and the last bracket's five."""
    if choose != "golden" or limit <= TOLERANCE:
        return limit + 1
    narrowings = math.ceil(math.log(limit / TOLERANCE) / -math.log(_GOLDEN))
    return min(limit + 1, 1 + narrowings + 1 + TOLERANCE + 1)


def _golden_section(evaluate: CachedObjective, limit: int, scale: str) -> None:
    low, high, most = 0, limit, most_evaluations("golden", limit)
    while high - low > TOLERANCE and len(evaluate.trials) < most:
        left, right = _inner(low, high, evaluate.trials, scale)
        # Where neither differs from size 0, both are too small to have an effect; a function with one peak has no such three values.
        no_effect = scale == "log" and evaluate(left) == evaluate(right) == evaluate(0)
        if evaluate(left) >= evaluate(right) and not no_effect:  # a tie keeps the smaller sizes
            high = right
        else:
            low = left
    for size in range(low, high + 1):
        if len(evaluate.trials) < most:
            evaluate(size)


def _inner(low: int, high: int, known: Collection[int], scale: str) -> tuple[int, int]:
    """Returns two sizes inside the bracket at the golden ratio; one that is known already replaces the nearer."""
    there, back = (math.log1p, math.expm1) if scale == "log" else (float, float)
    start, width = there(low), there(high) - there(low)
    pair = [min(max(round(back(start + share * width)), low + 1), high - 1) for share in (1 - _GOLDEN, _GOLDEN)]
    inside = [size for size in known if low < size < high]
    if inside:
        size, place = min(((size, place) for size in inside for place in (0, 1)), key=lambda one: abs(one[0] - pair[one[1]]))
        pair[place] = size
    left, right = sorted(pair)
    if left == right:
        left, right = (left, right + 1) if right + 1 < high else (left - 1, right)
    return left, right
