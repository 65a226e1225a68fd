"""What could not be read of a run folder: what it is, why, and how to get it. Knows no file."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from resect.core.errors import ResectError
from resect.runs.run_files import RECIPE
from resect.runs.run_folder import Run

from .shell_commands import near, program

T = TypeVar("T")


@dataclass(frozen=True)
class Gap:
    """Something that a run does not hold: what it is, why it is not there, and how to get it ("" where no command would)."""

    what: str
    why: str
    how: str


def gap(run: Run, what: str, why: str) -> Gap:
    """A gap that the job fills when it goes on."""
    # The error's own advice is left out: the command stands apart.
    return Gap(what, why.partition(" `resect run ")[0], f"{program()} run {shlex.quote(near(str(run.folder / RECIPE)))}")


class Tries:
    """Reads what may be missing or damaged. `gaps`: what could not be read."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.gaps: list[Gap] = []

    def __call__(self, what: str, read: Callable[[], T], nothing: T) -> T:
        """What `read` finds, or `nothing` and a gap. Raises nothing for what is missing or damaged."""
        try:
            return read()
        except ResectError as error:
            self.gaps.append(gap(self.run, what, str(error)))
        except (TypeError, ValueError, KeyError, AttributeError) as error:  # valid JSON, but not what was kept there
            self.gaps.append(gap(self.run, what, f"It is damaged: it holds something else than a run keeps there ({error})."))
        return nothing
