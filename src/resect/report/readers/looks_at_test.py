"""How often the *test* split of a run was looked at with its model: from the ledger next to the run folder, or the run's own count."""

from collections.abc import Sequence
from dataclasses import dataclass

from resect.core.number_format import plural
from resect.runs.looks import LOOKS, looks_next_to
from resect.runs.run_folder import Run
from resect.runs.schemas.work import EnvironmentFile

#: Names of runs that a sentence holds; of more, how many there are.
NAMED = 5


@dataclass(frozen=True)
class LooksAtTest:
    """The looks at one *test* split with one model.

    Parameters
    ----------
    task : the name of the task
    number : how many looks
    runs : the names of the run folders, or commands, that looked
    damaged : lines of the ledger that could not be read
    """

    task: str
    number: int
    runs: Sequence[str] = ()
    damaged: int = 0

    @classmethod
    def of(cls, run: Run, environment: EnvironmentFile) -> "LooksAtTest | None":
        """The looks at the *test* split of a run; None where the run has none, or is older than the ledger.

        Where the ledger next to the folder lacks looks that the run knows of, the folder was moved, and the run's own count is used.
        """
        own = environment.looks
        if own is None:
            return None
        looks, damaged = looks_next_to(run, own.data, own.weights)
        if len(looks) < own.number:
            return cls(own.task, own.number, own.runs, damaged)
        return cls(own.task, len(looks), tuple(look.run for look in looks), damaged)

    def sentence(self) -> str:
        """How often *test* was looked at, and what that means; empty where it was not looked at under an edit."""
        damaged = f" {plural(self.damaged, 'lines')} of {LOOKS} could not be read." if self.damaged else ""
        if self.number == 0:
            return damaged.strip()
        if self.number == 1:
            return f"This is the first look at the test split of {self.task} with this model.{damaged}"
        shown = list(self.runs[:NAMED]) + ([f"{len(self.runs) - NAMED:,} more"] if len(self.runs) > NAMED else [])
        names = f": by {', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else ""
        return (
            f"The test split of {self.task} has been looked at {self.number:,} times with this model{names}. "
            f"Each further look makes a chance find more likely.{damaged}"
        )
