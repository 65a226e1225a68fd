"""Choose a size by an objective among those that break no guard. Knows numbers only.

The search without guards comes first: where its choice breaks none, it stands. Where it does, the same search runs again on an objective
that is −∞ at sizes that break one; a guard is checked only at a size that would win.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resect.core.execution import Workers

from .size_search import Trial, choose_size


@dataclass(frozen=True)
class GuardedSizes:
    """The outcome.

    Parameters
    ----------
    trials : every size that was evaluated, once, with its own score, in the order of evaluation
    chosen : the best that breaks no guard; size 0 where none is better
    by_score : what the score alone chooses
    """

    trials: tuple[Trial, ...]
    chosen: Trial
    by_score: Trial


def choose_guarded_size(
    objective: Callable[[int], float],
    limit: int,
    accepts: Callable[[int], bool],
    best: Callable[[Sequence[Trial]], Trial],
    choose: str = "golden",
    *,
    scale: str = "log",
    name: str = "choose",
    workers: Workers | None = None,
) -> GuardedSizes:
    """Returns the size that `best` takes among those that `accepts` lets pass; size 0 always passes.

    With choose = "grid" that is the best of all accepted sizes. Other parameters and errors as of `choose_size`.
    """
    workers = workers or Workers()
    trials = {trial.size: trial for trial in choose_size(objective, limit, choose, scale=scale, name=name, workers=workers)}
    by_score = best(list(trials.values()))
    if by_score.size == 0 or accepts(by_score.size):
        return GuardedSizes(tuple(trials.values()), by_score, by_score)
    verdicts = {0: True, by_score.size: False}
    winner = trials[0]

    def guarded(size: int) -> float:
        nonlocal winner
        if size not in trials:
            start = time.monotonic()
            score = objective(size)
            trials[size] = Trial(size, score, time.monotonic() - start)
        trial = trials[size]
        if best([winner, trial]) is winner:  # it would not win
            return -math.inf if verdicts.get(size) is False else trial.score
        if size not in verdicts:
            verdicts[size] = accepts(size)
        if not verdicts[size]:
            return -math.inf
        winner = trial
        return trial.score

    choose_size(guarded, limit, choose, scale=scale, name=name, workers=Workers(progress=workers.progress))
    return GuardedSizes(tuple(trials.values()), winner, by_score)
