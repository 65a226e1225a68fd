"""A table as colours, with the text of each cell in it: an SVG from plain numbers. Knows no run and no task.

It keeps a size of its own, by its labels: let it scroll. Colours are classes, as in charts.py.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from resect.core.number_format import PAGE

from .oldsvg import SIZE, drawing, element, escaped, extent, fitted, text, wrapped

LINE = 17.0
#: How opaque the strongest colour is: text stays readable on it, in light and in dark.
STRONGEST = 0.5
#: Units between the lines that hatch a bound.
HATCH = 7.0
#: Size of the text in dense cells.
SMALL = 12.0

Place = tuple[int, int]


@dataclass(frozen=True)
class Shade:
    """How strong the colour of a value is: from `floor` on, up to `most` away from it. Never so strong that text would be hard to read."""

    floor: float
    most: float

    @classmethod
    def of(cls, cells: Sequence[Sequence[float | None]], diverging: bool = False, floor: float = 0.0) -> "Shade":
        """The one that these cells need. Drawings that are to be compared share one."""
        base = 0.0 if diverging else floor
        return cls(base, max((abs(value - base) for row in cells for value in row if value is not None), default=0.0))

    def look(self, value: float | None) -> dict[str, object]:
        """Class and strength of a cell."""
        if value is None or not self.most or value == self.floor:
            return {"class_": "cell empty"}
        strength = 0.1 + (STRONGEST - 0.1) * min(abs(value - self.floor) / self.most, 1.0)
        return {"class_": "cell up" if value > self.floor else "cell down", "fill_opacity": strength}


@dataclass(frozen=True)
class _Frame:
    """Where the cells lie."""

    left: float
    top: float
    wide: float
    tall: float

    def corner(self, row: int, column: int) -> tuple[float, float]:
        return self.left + self.wide * column, self.top + self.tall * row

    def middle(self, row: int) -> float:
        """Where a text in the middle of a row stands."""
        return self.top + self.tall * (row + 0.5) + 4.5


def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]] | None = None,
    diverging: bool = False,
    *,
    title: str = "Heat map",
    floor: float = 0.0,
    corner: str = "",
    shade: Shade | None = None,
    bounds: Collection[Place] = (),
    chosen: Collection[Place] = (),
    dense: bool = False,
) -> str:
    """A heat map.

    Parameters
    ----------
    cells : [rows, columns]; None: nothing there
    texts : what the cells say; by default their numbers
    diverging : shaded both ways from 0, in two colours; else one way, from `floor` to the largest
    corner : what rows and columns are, above the labels of the rows
    shade : where several drawings share their colours
    bounds : cells (row, column) whose value is only a bound: hatched, without a colour
    chosen : cells with a frame
    dense : smaller text in narrower cells, so that two fit side by side
    """
    said = texts or [["" if value is None else PAGE.number(value) for value in row] for row in cells]
    heads = [wrapped(name, 84.0, 4) for name in columns]
    names = [fitted(name, 230.0) for name in rows]
    widths = [extent(one, SMALL if dense else SIZE) + (5 if dense else 10) for row in said for one in row]
    wide = max([34.0, *(extent(line) + 7 for head in heads for line in head), *widths])
    left = max(extent(name) for name in (*names, fitted(corner, 230.0))) + 12
    frame = _Frame(left, LINE * max((len(head) for head in heads), default=1) + 10, wide, 27.0 if len(rows) <= 20 else 22.0)
    parts = [*_heads(columns, heads, frame), *([text(fitted(corner, 230.0), 2, frame.top - 9, class_="muted")] if corner else [])]
    look = (shade or Shade.of(cells, diverging, floor)).look
    for number, (name, row, told) in enumerate(zip(rows, cells, said, strict=True)):
        y = frame.middle(number)
        parts.append(element("g", element("title", escaped(name)), text(names[number], left - 10, y, text_anchor="end")))
        for place, (value, content) in enumerate(zip(row, told, strict=True)):
            at = (number, place)
            parts += _hatched(frame, at) if at in bounds else [_box(frame, at, **look(value))]
            parts += [_box(frame, at, class_="cell chosen")] if at in chosen else []
            kind = "strong" if at in chosen and not dense else "value" if value and at not in bounds else "muted"
            x = frame.corner(*at)[0] + wide / 2
            parts += [text(content, x, y, text_anchor="middle", class_=f"{kind} small" if dense else kind)] if content else []
    told = "; ".join(f"{name}: {_in_words(columns, row, texts)}" for name, row, texts in zip(rows, cells, said, strict=True) if any(row))
    width, height = frame.corner(len(rows), len(columns))
    return drawing(width + 4, height + 4, title, told, parts)


def _heads(columns: Sequence[str], heads: Sequence[Sequence[str]], frame: _Frame) -> list[str]:
    """The labels of the columns, upwards from the first row."""
    parts = []
    for number, (name, head) in enumerate(zip(columns, heads, strict=True)):
        x = frame.left + frame.wide * (number + 0.5)
        lines = [text(line, x, frame.top - 9 - LINE * back, text_anchor="middle") for back, line in enumerate(reversed(head))]
        parts.append(element("g", element("title", escaped(name)), *lines))
    return parts


def _box(frame: _Frame, at: Place, **attributes: object) -> str:
    x, y = frame.corner(*at)
    return element("rect", x=x + 1, y=y + 1, width=frame.wide - 2, height=frame.tall - 2, rx=3, **attributes)


def _hatched(frame: _Frame, at: Place) -> list[str]:
    """A cell under slanting lines, which end at its edges."""
    x, y = frame.corner(*at)
    wide, tall = frame.wide - 4, frame.tall - 4
    lines, start = [], HATCH
    while start < wide + tall:
        ends = (min(start, wide), max(0.0, start - wide)), (max(0.0, start - tall), min(start, tall))
        lines.append("M" + "L".join(f"{x + 2 + across:.1f} {y + 2 + down:.1f}" for across, down in ends))
        start += HATCH
    return [_box(frame, at, class_="cell bound"), element("path", d="".join(lines), class_="hatch")]


def _in_words(columns: Sequence[str], row: Sequence[float | None], told: Sequence[str]) -> str:
    return ", ".join(f"{name} {content}" for name, value, content in zip(columns, row, told, strict=True) if value)
