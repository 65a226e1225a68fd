"""Shows progress on standard error: bars on a terminal, a few plain lines anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from resect.core.execution import Progress, no_progress

#: Seconds between two lines about one stage.
LINE_INTERVAL = 20.0


class Lines:
    """The Progress that writes a line when a stage opens, when it closes, and every `LINE_INTERVAL` seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started: dict[str, float] = {}
        self._last_line: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Write the line that is due, if any."""
        now = time.monotonic()
        if stage not in self._started or done == 0:
            self._started[stage] = self._last_line[stage] = now
            self._write(f"{stage} …" if total == 0 else f"{stage}: 0 of {total}")
        elapsed = now - self._started[stage]
        if 0 < done >= total:
            self._write(f"{stage}: done in {elapsed:.0f} s")
            del self._started[stage]
        elif done and now - self._last_line[stage] >= LINE_INTERVAL:
            self._last_line[stage] = now
            left = elapsed / done * (total - done)
            self._write(f"{stage}: {done} of {total}, about {left:.0f} s left")

    def _write(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


@contextmanager
def show_progress(quiet: bool) -> Iterator[Progress]:
    """A Progress that shows what is reported to it for as long as the context lasts; `quiet`: that shows nothing."""
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if quiet:
        yield no_progress
    elif not console.is_terminal:
        yield Lines(console)
    else:
        columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
        description = TextColumn("{task.description}", markup=False)
        with Bars(description, *columns, console=console, refresh_per_second=4, redirect_stdout=False) as bars:
            stages: dict[str, int] = {}

            def update(stage: str, done: int, total: int) -> None:
                if stage not in stages:
                    stages[stage] = bars.add_task(stage, total=total)
                bars.update(stages[stage], completed=done, total=total)  # type: ignore[arg-type]

            yield update
