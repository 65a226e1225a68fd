"""Draws a heat map exhibit: coloured cells with their texts, framed and hatched ones. Knows no run.

A heat map has a natural size, which its labels give it: a page lets it scroll. The strongest colour is half opaque, so that the text of
every cell stays readable in light and in dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from resect.core.exhibits import SHARE, HeatMap
from resect.core.number_format import PAGE

from .svg import element, escaped, image, shortened, text, text_width, wrapped

LINE, TEXT = 17.0, 12.0
#: The most room of a row's label and of a line of a column's.
ROW_ROOM, COLUMN_ROOM = 230.0, 84.0
#: Opacity of the strongest colour.
STRONGEST = 0.5
#: Distance between the lines that hatch a cell.
HATCH = 7.0

Texts = Sequence[Sequence[str]]


def heat_map(exhibit: HeatMap) -> str:
    """Returns the heat map as an SVG image."""
    texts = exhibit.texts or [[cell_text(value, exhibit) for value in row] for row in exhibit.values]
    heads = [wrapped(name, COLUMN_ROOM, 4) for name in exhibit.column_labels]
    names = [shortened(name, ROW_ROOM) for name in exhibit.row_labels]
    grid = _grid(exhibit, texts, heads, names)
    parts = [text(shortened(exhibit.corner, ROW_ROOM), 2, grid.top - 9, class_="muted")] if exhibit.corner else []
    for number, (label, lines) in enumerate(zip(exhibit.column_labels, heads, strict=True)):
        x = grid.left + grid.width * (number + 0.5)
        drawn = (text(line, x, grid.top - 9 - LINE * up, text_anchor="middle") for up, line in enumerate(reversed(lines)))
        parts.append(element("g", element("title", escaped(label)), *drawn))
    strongest = exhibit.full or _farthest(exhibit)
    framed, bounds = set(exhibit.framed), set(exhibit.bounds)
    for row, label in enumerate(exhibit.row_labels):
        y = grid.top + grid.height * (row + 0.5) + 4.5
        parts.append(element("g", element("title", escaped(label)), text(names[row], grid.left - 10, y, text_anchor="end")))
        for column, (value, content) in enumerate(zip(exhibit.values[row], texts[row], strict=True)):
            is_bound = (row, column) in bounds
            parts += grid.hatched(row, column) if is_bound else [grid.box(row, column, **_colour(value, exhibit, strongest))]
            parts += [grid.box(row, column, class_="cell framed")] if (row, column) in framed else []
            kind = "small" if value and not is_bound else "muted small"
            x = grid.left + grid.width * (column + 0.5)
            parts += [text(content, x, y, text_anchor="middle", class_=kind)] if content else []
    bottom, right = grid.top + grid.height * len(names), grid.left + grid.width * len(heads)
    return image(right + 4, bottom + 4, exhibit.title, _description(exhibit, texts), parts)


def cell_text(value: float | None, exhibit: HeatMap) -> str:
    """Returns how a value of the exhibit is written in its cell: without its unit, empty where nothing was measured."""
    if value is None:
        return ""
    if exhibit.unit == SHARE:
        return PAGE.percent(value, unit=False)
    return PAGE.number(value) if exhibit.digits is None else PAGE.signed(value, exhibit.digits).removeprefix("+")


@dataclass(frozen=True)
class _Grid:
    """Where the cells are: the corner of the first, and the size of each."""

    left: float
    top: float
    width: float
    height: float

    def box(self, row: int, column: int, **attributes: object) -> str:
        x, y = self.left + self.width * column, self.top + self.height * row
        return element("rect", x=x + 1, y=y + 1, width=self.width - 2, height=self.height - 2, rx=3, **attributes)

    def hatched(self, row: int, column: int) -> list[str]:
        """A cell under slanting lines, which end at its edges."""
        x, y = self.left + self.width * column + 2, self.top + self.height * row + 2
        width, height = self.width - 4, self.height - 4
        lines, start = [], HATCH
        while start < width + height:
            ends = (min(start, width), max(0.0, start - width)), (max(0.0, start - height), min(start, height))
            lines.append("M" + "L".join(f"{x + across:.1f} {y + down:.1f}" for across, down in ends))
            start += HATCH
        return [self.box(row, column, class_="cell bound"), element("path", d="".join(lines), class_="hatch")]


def _grid(exhibit: HeatMap, texts: Texts, heads: Texts, names: Sequence[str]) -> _Grid:
    cells = (content for row in texts for content in row)
    width = max([34.0, *(text_width(line) + 7 for head in heads for line in head), *(text_width(cell, TEXT) + 8 for cell in cells)])
    left = max(text_width(name) for name in (*names, shortened(exhibit.corner, ROW_ROOM))) + 12
    return _Grid(left, LINE * max(map(len, heads), default=1) + 10, width, 27.0 if len(names) <= 20 else 22.0)


def _farthest(exhibit: HeatMap) -> float:
    return max((abs(value - exhibit.center) for row in exhibit.values for value in row if value is not None), default=0.0)


def _colour(value: float | None, exhibit: HeatMap, strongest: float) -> dict[str, object]:
    """The class and the opacity of a cell."""
    if value is None or not strongest or value == exhibit.center:
        return {"class_": "cell empty"}
    strength = 0.1 + (STRONGEST - 0.1) * min(abs(value - exhibit.center) / strongest, 1.0)
    is_up = (value > exhibit.center) != exhibit.lower_is_better
    return {"class_": "cell up" if is_up else "cell down", "fill_opacity": strength}


def _description(exhibit: HeatMap, texts: Texts) -> str:
    rows = []
    for name, values, contents in zip(exhibit.row_labels, exhibit.values, texts, strict=True):
        cells = zip(exhibit.column_labels, values, contents, strict=True)
        rows.append((name, ", ".join(f"{column} {content}" for column, value, content in cells if value)))
    return "; ".join(f"{name}: {cells}" for name, cells in rows if cells)
