"""Whether a selection still changes as text is added: its Jaccard index with the selection from half of the text, at each doubling.

Knows counts and a function that selects from them; does not know methods, texts or models.
"""

from collections.abc import Callable, Mapping
from typing import Any

from resect.core.address import Neurons
from resect.core.execution import Journal

from .counts import Counts
from .unit_sets import jaccard

#: Selects the units of each language from counts.
Select = Callable[[Counts], Mapping[str, Neurons]]
#: The selection counts as stable where its Jaccard index with that from half of the text is this high, at so many doublings in a row.
STABLE, DOUBLINGS = 0.95, 2
_CRITERION = f"a Jaccard index of {STABLE} or more with the selection from half of the text, at {DOUBLINGS} doublings in a row"
STOPPED = f"Recording stopped where the selection was stable: {_CRITERION}."
NOT_STOPPED = f"The selection was not yet stable when the text ended ({_CRITERION})."
TOO_SHORT = (
    "The text ended before the stability of the selection could be measured, which takes four shards of every language "
    f"({_CRITERION}); with --tokens shards are smaller."
)


class StabilityTracker:
    """The selections during a recording, each compared with the one before.

    Parameters
    ----------
    select : None: nothing is selected, and there are no steps
    key, journal : where steps are stored
    anew : forget the stored ones
    """

    def __init__(self, select: Select | None, key: str, journal: Journal, *, anew: bool) -> None:
        self._select, self._key, self._journal = select, key, journal
        if anew:
            journal.keep(key, {"steps": [], "units": None})
        entry: Any = journal.recall(key) or {"steps": [], "units": None}
        self._steps: list[dict[str, Any]] = list(entry["steps"])
        self._last = None if entry["units"] is None else {name: Neurons(units) for name, units in entry["units"].items()}

    def update(self, rounds: int, counts: Callable[[], Counts]) -> None:
        """Select from the counts after so many rounds, unless that is done. Raises what `select` raises, StorageFailure."""
        if self._select is None or (self._steps and self._steps[-1]["rounds"] >= rounds):
            return
        so_far = counts()
        units = self._select(so_far)
        number = sum(neurons.count for neurons in units.values())
        shared = jaccard(self._last, units) if self._last is not None and number else None  # an empty set has no index
        self._steps.append({"rounds": rounds, "tokens": list(so_far.tokens), "units": number, "jaccard": shared})
        self._last = dict(units)
        self._journal.keep(self._key, {"steps": list(self._steps), "units": {name: neurons.to_json() for name, neurons in units.items()}})

    @property
    def steps(self) -> tuple[dict[str, Any], ...]:
        """Returns the steps as `Recording.steps` has them."""
        return tuple({name: step[name] for name in ("tokens", "units", "jaccard")} for step in self._steps)

    @property
    def is_stable(self) -> bool:
        """Whether the criterion holds at the last doublings of the text."""
        return self._is_known and min(self._doublings[-DOUBLINGS:]) >= STABLE

    @property
    def note(self) -> str:
        """Returns a sentence on whether the selection became stable."""
        return STOPPED if self.is_stable else NOT_STOPPED if self._is_known else TOO_SHORT

    @property
    def _doublings(self) -> list[float]:
        """The Jaccard index at each doubling of the text."""
        rounds = [step for step in self._steps if step["rounds"].bit_count() == 1]
        return [step["jaccard"] or 0.0 for step in rounds[1:]]

    @property
    def _is_known(self) -> bool:
        return len(self._doublings) >= DOUBLINGS
