"""A table for a terminal of any width: as many columns side by side as there is room for, the others below. Knows no run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from resect.core import exhibits
from resect.core.number_format import DASH, PLAIN

from .printable import plain

#: Blanks between columns; room that names of rows have at least, and headings at most, before they go on in another line.
GAP, NAME_LEAST, HEADING_MOST = 2, 14, 20


@dataclass(frozen=True)
class SplitTable:
    """A table whose columns that do not fit follow below, each time with the names of the rows. A row without cells is a heading.

    head : of all columns, the first of which names the rows
    rows : cells, as many in each; a cell may have several lines, and is never cut
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = self._widths()
        name = min(widths[0], max(NAME_LEAST, options.max_width // 3, options.max_width - sum(GAP + width for width in widths[1:])))
        part, used = list[int](), name
        for place, width in enumerate(widths[1:], start=1):
            if part and used + GAP + width > options.max_width:
                yield self._part(part, name, widths)
                yield Text("")
                part, used = [], name
            part.append(place)
            used += GAP + width
        yield self._part(part, name, widths)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        most = sum(self._widths()) + GAP * (len(self.head) - 1)
        return Measurement(min(options.max_width, NAME_LEAST), min(options.max_width, most))

    def _widths(self) -> list[int]:
        """The width of each column; a long heading goes on in another line."""
        cells = [max((_width(row[place].plain) for row in self.rows), default=0) for place in range(len(self.head))]
        return [max(width, min(_width(name), HEADING_MOST)) for width, name in zip(cells, self.head, strict=True)]

    def _part(self, places: Sequence[int], name: int, widths: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        table.add_column(Text(self.head[0]), width=name, overflow="fold")
        for place in places:
            table.add_column(Text(self.head[place]), width=widths[place], justify="right", overflow="fold")
        for row in self._shown(places):
            table.add_row(row[0], *(row[place] for place in places))
        return table

    def _shown(self, places: Sequence[int]) -> list[Sequence[Text]]:
        """The rows of a part: of some columns only, those that have a number there, and the headings above them."""
        if len(places) == len(self.head) - 1:
            return list(self.rows)
        shown, heading = list[Sequence[Text]](), None
        for row in self.rows:
            cells = {row[place].plain.strip() for place in places}
            if cells == {""}:
                heading = row
            elif cells - {"", DASH}:
                shown += [row] if heading is None else [heading, row]
                heading = None
        return shown


def drawn(exhibit: exhibits.Table, most: int | None = None) -> RenderableType:
    """An exhibit's table, or its first rows, without its title; sentences are wrapped, numbers never cut."""
    head, rows = [plain(column) for column in exhibit.columns], exhibit.rows[:most]
    cells = [[Text(_cell(cell), style="bold" if number in exhibit.strong else "") for cell in row] for number, row in enumerate(rows)]
    if len(rows) < len(exhibit.rows):
        cells.append([Text(f"… and {len(exhibit.rows) - len(rows):,} more"), *(Text("") for _ in head[1:])])
    if not exhibit.is_text:
        return SplitTable(head, cells)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column in head:
        table.add_column(Text(column), overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _cell(cell: exhibits.Cell) -> str:
    return plain(cell) if isinstance(cell, str) else PLAIN.number(cell)


def _width(text: str) -> int:
    """The width of the widest line."""
    return max(map(cell_len, text.split("\n")))
