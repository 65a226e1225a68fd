"""What the plan of each run changes, below a table: how many neurons, or which matrix and how far. Knows no run folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

HEADS = ("model", "task", "method", "what was changed")


@dataclass(frozen=True)
class PlanNote:
    """What the plan of one run changes, on one line: of a model, on a task, by a method."""

    model: str
    task: str
    method: str
    what: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The cells of a row."""
        return self.model, self.task, self.method, self.what


def text(notes: Sequence[PlanNote]) -> RenderableType:
    """For a terminal: a line a run; where a value is that of the line above, nothing is repeated."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(HEADS):
        widest = max(cell_len(note.cells[place]) for note in notes)
        table.add_column(head, overflow="fold", no_wrap=False, min_width=min(widest, 8))
    before = ""
    for note in notes:
        table.add_row(*(Text(cell) for cell in ("" if note.model == before else note.model, *note.cells[1:])))
        before = note.model
    return Group(table, Text(""))


def latex(notes: Sequence[PlanNote], escaped: Callable[[str], str]) -> list[str]:
    """A tabular, line by line; `escaped` is how text is written."""
    heads = " & ".join(map(escaped, HEADS)) + r" \\"
    rows = [" & ".join(map(escaped, note.cells)) + r" \\" for note in notes]
    return [r"\par\medskip", r"\begin{tabular}{llll}", r"\toprule", heads, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
