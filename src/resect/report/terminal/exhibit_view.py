"""An exhibit on a terminal: a table. Knows no run folder."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resect.core import exhibits
from resect.core.number_format import PLAIN
from resect.report.text.printable import plain


def table(exhibit: exhibits.Table, most: int) -> RenderableType:
    """A table under its title, with its first rows."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for place, heading in enumerate(exhibit.columns):
        drawn.add_column(Text(plain(heading)), justify="right" if place and not exhibit.is_text else "left", overflow="fold")
    for number, row in enumerate(exhibit.rows[:most]):
        drawn.add_row(*(Text(_cell(cell)) for cell in row), style="bold" if number in exhibit.strong else "")
    rest = len(exhibit.rows) - most
    return Group(Text(plain(exhibit.title), style="italic"), drawn, *([Text(f"… and {rest:,} rows more, on the page")] if rest > 0 else []))


def _cell(cell: exhibits.Cell) -> str:
    """The text of a cell on one line."""
    return " ".join(plain(cell).split()) if isinstance(cell, str) else PLAIN.number(cell)
