"""Whether a selected set still moves as text is added: its likeness to the set from half of the text, at each doubling.

Knows counts and a function that selects from them; knows no method, no text and no model.
"""

from collections.abc import Callable, Mapping
from typing import Any

from resect.core.address import Neurons
from resect.core.execution import Journal

from .counts import Counts
from .unit_sets import jaccard

#: What is selected from counts: the units of each language.
Select = Callable[[Counts], Mapping[str, Neurons]]
#: So alike (Jaccard index) are the sets from a text and from half of it, at so many doublings running: the set no longer moves.
STABLE, DOUBLINGS = 0.95, 2
_CRITERION = f"a Jaccard index of {STABLE} or more with the set from half of the text, at {DOUBLINGS} doublings running"
STOPPED = f"Recording stopped where the selected set no longer moved: {_CRITERION}."
NOT_STOPPED = f"The selected set had not stopped moving when the text ended ({_CRITERION})."
TOO_SHORT = (
    "The text ended before one could tell whether the selected set had stopped moving, which takes four shards of every language "
    f"({_CRITERION}); with --tokens shards are smaller."
)


class StabilityTracker:
    """The sets that were selected on the way, each beside the one before.

    Parameters
    ----------
    select : None: nothing is selected, and there are no steps
    key, journal : where steps are kept
    anew : forget those that were kept
    """

    def __init__(self, select: Select | None, key: str, journal: Journal, *, anew: bool) -> None:
        self._select, self._key, self._journal = select, key, journal
        if anew:
            journal.keep(key, {"steps": [], "units": None})
        entry: Any = journal.recall(key) or {"steps": [], "units": None}
        self._steps: list[dict[str, Any]] = list(entry["steps"])
        self._last = None if entry["units"] is None else {name: Neurons(units) for name, units in entry["units"].items()}

    def take(self, rounds: int, counts: Callable[[], Counts]) -> None:
        """Select from what there is after so many rounds, unless that was done. Raises what `select` raises, StorageFailure."""
        if self._select is None or (self._steps and self._steps[-1]["rounds"] >= rounds):
            return
        so_far = counts()
        units = self._select(so_far)
        number = sum(each.count for each in units.values())
        shared = jaccard(self._last, units) if self._last is not None and number else None  # an empty set is like nothing
        self._steps.append({"rounds": rounds, "tokens": list(so_far.tokens), "units": number, "jaccard": shared})
        self._last = dict(units)
        self._journal.keep(self._key, {"steps": list(self._steps), "units": {name: each.to_json() for name, each in units.items()}})

    @property
    def public(self) -> tuple[dict[str, Any], ...]:
        """As `Recording.steps` has them."""
        return tuple({name: step[name] for name in ("tokens", "units", "jaccard")} for step in self._steps)

    @property
    def is_stable(self) -> bool:
        """Whether the criterion holds at the last doublings of the text."""
        return self._can_tell and min(self._doublings[-DOUBLINGS:]) >= STABLE

    @property
    def told(self) -> str:
        """Whether the set stopped moving, in a sentence."""
        return STOPPED if self.is_stable else NOT_STOPPED if self._can_tell else TOO_SHORT

    @property
    def _doublings(self) -> list[float]:
        """The likeness at each doubling of the text."""
        rounds = [step for step in self._steps if step["rounds"].bit_count() == 1]
        return [step["jaccard"] or 0.0 for step in rounds[1:]]

    @property
    def _can_tell(self) -> bool:
        return len(self._doublings) >= DOUBLINGS
