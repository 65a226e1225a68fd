"""How far the work is, on standard error: bars on a terminal, a few plain lines anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from resect.core.execution import Progress, no_progress

#: Seconds between two lines about one stage where there is no terminal.
SPARSE = 20.0


class Lines:
    """The Progress that writes a line when a stage opens, closes, and now and then between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say how far `stage` is, if it is time to."""
        now = time.monotonic()
        if stage not in self._started or done == 0:
            self._started[stage] = self._told[stage] = now
            self._console.print(f"{stage} …" if total == 0 else f"{stage}: 0 of {total}", soft_wrap=True)
        spent = now - self._started[stage]
        if 0 < done >= total:
            self._console.print(f"{stage}: done in {spent:.0f} s", soft_wrap=True)
            del self._started[stage]
        elif done and now - self._told[stage] >= SPARSE:
            self._told[stage] = now
            left = spent / done * (total - done)
            self._console.print(f"{stage}: {done} of {total}, about {left:.0f} s left", soft_wrap=True)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A Progress for the time of some work."""
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if quiet:
        yield no_progress
    elif not console.is_terminal:
        yield Lines(console)
    else:
        columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
        text = TextColumn("{task.description}", markup=False)
        with Bars(text, *columns, console=console, refresh_per_second=4, redirect_stdout=False) as bars:
            stages: dict[str, int] = {}

            def show(stage: str, done: int, total: int) -> None:
                if stage not in stages:
                    stages[stage] = bars.add_task(stage, total=total)
                bars.update(stages[stage], completed=done, total=total)  # type: ignore[arg-type]

            yield show
