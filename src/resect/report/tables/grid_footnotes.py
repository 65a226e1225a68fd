"""What was changed, run by run, below a table: how many neurons were cut, or which matrix was reduced and how far. Knows no run folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

HEADS = ("model", "task", "method", "what was changed")


@dataclass(frozen=True)
class Done:
    """What one run changed, on one line: of a model, on a task, by a method."""

    model: str
    task: str
    method: str
    what: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As they stand in a table."""
        return self.model, self.task, self.method, self.what


def text(done: Sequence[Done]) -> RenderableType:
    """For a terminal: a line a run; where a value is that of the line above, nothing is repeated."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(HEADS):
        widest = max(cell_len(each.cells[place]) for each in done)
        table.add_column(head, overflow="fold", no_wrap=False, min_width=min(widest, 8))
    before = ""
    for each in done:
        table.add_row(*(Text(cell) for cell in ("" if each.model == before else each.model, *each.cells[1:])))
        before = each.model
    return Group(table, Text(""))


def latex(done: Sequence[Done], escaped: Callable[[str], str]) -> list[str]:
    """A tabular, line by line; `escaped` is how text is written."""
    heads = " & ".join(map(escaped, HEADS)) + r" \\"
    rows = [" & ".join(map(escaped, each.cells)) + r" \\" for each in done]
    return [r"\par\medskip", r"\begin{tabular}{llll}", r"\toprule", heads, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
