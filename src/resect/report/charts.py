"""Small SVG drawings from plain numbers: estimates on one axis, a curve, a heat map. Knows no run and no task.

Colours are classes, and charts.css gives them theirs: one page, or a file of its own, themes light, dark and print. Widths
are such that the text stays readable where a drawing is scaled to the width of a phone; a heat map keeps its own size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ..figures import PAGE
from .drawing import (
    EDGE,
    SIZE,
    WIDTH,
    along,
    drawing,
    element,
    escaped,
    extent,
    fitted,
    label,
    room_for,
    text,
    tick_label,
    ticks,
    wrapped,
)
from .plane import BOTTOM, FEW, Plane, marked, numbered

LINE = 17.0
#: How opaque the strongest colour of a heat map is: text stays readable on it, in light and in dark.
STRONGEST = 0.5


@dataclass(frozen=True)
class Bar:
    """One estimate: `low` and `high` are its 95 % interval. `kind` is the class of its mark: before, after, control, cc, dc, other."""

    label: str
    mean: float
    low: float | None = None
    high: float | None = None
    kind: str = "other"


def bars(rows: Sequence[Bar], *, title: str = "Estimates", share: bool = True, reference: float | None = None) -> str:
    """Estimates with their intervals on one axis, one under the other; label and numbers stand above each.

    Parameters
    ----------
    share : values are shares in [0, 1], written in per cent
    reference : a value that all are seen against: a broken line through all rows
    """
    write = PAGE.percent if share else PAGE.number
    low, high = room_for([value for row in rows for value in (row.mean, row.low, row.high) if value is not None], share)
    pitch, top = 52.0, 2.0
    bottom = top + pitch * len(rows)
    middles = [top + pitch * number + 33 for number in range(len(rows))]
    parts = []
    for tick in ticks(low, high):
        x = along(tick, low, high, EDGE, WIDTH - EDGE)
        parts += [element("line", x1=x, x2=x, y1=middle - 10, y2=middle + 10, class_="grid") for middle in middles]
        parts.append(tick_label(label(tick, share), x, bottom + 14))
    if reference is not None:
        x = along(reference, low, high, EDGE, WIDTH - EDGE)
        parts += [element("line", x1=x, x2=x, y1=middle - 10, y2=middle + 10, class_="reference") for middle in middles]
    for number, row in enumerate(rows):
        parts += _bar(row, top + pitch * number, low, high, share)
    told = "; ".join(f"{row.label}: {write(row.mean)}{_interval(row, share)}" for row in rows)
    return drawing(WIDTH, bottom + 22, title, told, parts)


def _bar(row: Bar, top: float, low: float, high: float, share: bool) -> list[str]:
    """A row: its words above, its whisker and its mark below."""
    write, middle = PAGE.percent if share else PAGE.number, top + 33
    interval, value = _interval(row, share), write(row.mean)
    room = WIDTH - extent(f"{value}{interval}", SIZE * 1.05) - 10
    bold = {"class_": "strong"} if row.kind == "after" else {}
    spans = element("tspan", escaped(value), class_="strong") + element("tspan", escaped(interval), class_="muted")
    parts = [text(fitted(row.label, room), 0, top + 15, **bold), element("text", spans, x=WIDTH, y=top + 15, text_anchor="end")]
    if row.low is not None and row.high is not None:
        ends = [along(value, low, high, EDGE, WIDTH - EDGE) for value in (row.low, row.high)]
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=middle, y2=middle, class_=f"whisker {row.kind}"))
    x = along(row.mean, low, high, EDGE, WIDTH - EDGE)
    if row.kind in ("before", "after"):
        mark = element("circle", cx=x, cy=middle, r=6.5, class_=f"mark {row.kind}")
    elif row.kind == "control":
        points = f"{x:.1f},{middle - 7.5:.1f} {x + 7.5:.1f},{middle:.1f} {x:.1f},{middle + 7.5:.1f} {x - 7.5:.1f},{middle:.1f}"
        mark = element("polygon", points=points, class_="mark control")
    else:
        mark = element("rect", x=x - 5.5, y=middle - 5.5, width=11, height=11, class_=f"mark {row.kind}")
    return [*parts, mark]


def curve(
    points: Sequence[tuple[float, float]],
    chosen: float | None = None,
    *,
    title: str = "Accuracy against n",
    across: str = "neurons cut",
    upwards: str = "accuracy",
    share: bool = True,
    logarithmic: bool = True,
) -> str:
    """Values against a size, with the chosen size marked, and numbers at as many points as there is room for.

    Parameters
    ----------
    points : (size, value) in any order; sizes from 0 on
    across, upwards : what the axes say
    share : values are shares in [0, 1], written in per cent
    logarithmic : the axis of sizes is that of log(1 + size)
    """
    write, ordered = PAGE.percent if share else PAGE.number, sorted(points)
    low, high = room_for([value for _, value in ordered], share)
    most = max([1.0, *(size for size, _ in ordered)])
    left = max(extent(label(tick, share)) for tick in ticks(low, high)) + 8
    plane = Plane(left, low, high, most, logarithmic)
    places = [plane.place(*point) for point in ordered]
    line = element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_="curve")
    named = [text(fitted(upwards, WIDTH), 0, 16, class_="muted")]
    named.append(text(fitted(across, WIDTH - left - EDGE), (left + WIDTH - EDGE) / 2, BOTTOM + 38, text_anchor="middle", class_="muted"))
    at = next((number for number, (size, _) in enumerate(ordered) if size == chosen), None)
    numbers = [write(value) for _, value in ordered]
    if at is not None:
        numbers[at] = f"n = {PAGE.number(ordered[at][0])}: {numbers[at]}"
    told = "; ".join(f"{PAGE.number(size)}: {write(value)}" for size, value in ordered[:FEW])
    parts = [*named, *plane.axes(share), line, *marked(places, at), *numbered(places, numbers, at, left)]
    return drawing(WIDTH, BOTTOM + 46, title, told if at is None else f"Chosen: {numbers[at]}. {told}", parts)


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
) -> str:
    """A table as colours, with the text of each cell in it. It has a size of its own, by its labels: let it scroll.

    Parameters
    ----------
    cells : [rows, columns]; None: nothing there
    texts : what the cells say; by default their numbers
    diverging : shaded both ways from 0, in two colours; else one way, from `floor` to the largest
    corner : what rows and columns are, above the labels of the rows
    """
    said = texts or [["" if value is None else PAGE.number(value) for value in row] for row in cells]
    heads = [wrapped(name, 84.0, 4) for name in columns]
    names = [fitted(name, 230.0) for name in rows]
    wide = max([34.0, *(extent(line) + 7 for head in heads for line in head), *(extent(one) + 10 for row in said for one in row)])
    tall = 27.0 if len(rows) <= 20 else 22.0
    left = max(extent(name) for name in (*names, fitted(corner, 230.0))) + 12
    top = LINE * max((len(head) for head in heads), default=1) + 10
    parts = [text(fitted(corner, 230.0), 2, top - 9, class_="muted")] if corner else []
    for number, (name, head) in enumerate(zip(columns, heads, strict=True)):
        lines = [
            text(line, left + wide * (number + 0.5), top - 9 - LINE * back, text_anchor="middle")
            for back, line in enumerate(reversed(head))
        ]
        parts.append(element("g", element("title", escaped(name)), *lines))
    shade = _Shade.of(cells, diverging, floor)
    for number, (name, row, told) in enumerate(zip(rows, cells, said, strict=True)):
        y = top + tall * number
        parts.append(element("g", element("title", escaped(name)), text(names[number], left - 10, y + tall / 2 + 4.5, text_anchor="end")))
        for place, (value, content) in enumerate(zip(row, told, strict=True)):
            x = left + wide * place
            parts.append(element("rect", x=x + 1, y=y + 1, width=wide - 2, height=tall - 2, rx=3, **shade.look(value)))
            if content:
                parts.append(text(content, x + wide / 2, y + tall / 2 + 4.5, text_anchor="middle", class_=None if value else "muted"))
    told = "; ".join(
        f"{name}: {_row_in_words(columns, row, texts)}" for name, row, texts in zip(rows, cells, said, strict=True) if any(row)
    )
    return drawing(left + wide * len(columns) + 4, top + tall * len(rows) + 4, title, told, parts)


@dataclass(frozen=True)
class _Shade:
    """How strong the colour of a value is. Never so strong that text on it would be hard to read."""

    floor: float
    most: float

    @classmethod
    def of(cls, cells: Sequence[Sequence[float | None]], diverging: bool, floor: float) -> "_Shade":
        base = 0.0 if diverging else floor
        return cls(base, max((abs(value - base) for row in cells for value in row if value is not None), default=0.0))

    def look(self, value: float | None) -> dict[str, object]:
        if value is None or not self.most or value == self.floor:
            return {"class_": "cell empty"}
        strength = 0.1 + (STRONGEST - 0.1) * min(abs(value - self.floor) / self.most, 1.0)
        return {"class_": "cell up" if value > self.floor else "cell down", "fill_opacity": strength}


def shift(before: float, after: float) -> str:
    """Two shares on a line from 0 to 1, and the way from one to the other: decoration beside the numbers themselves."""
    wide, middle = 120.0, 8.0
    first, last = (along(value, 0.0, 1.0, 7.0, wide - 7) for value in (before, after))
    parts = [element("line", x1=7, x2=wide - 7, y1=middle, y2=middle, class_="grid")]
    parts.append(element("line", x1=first, x2=last, y1=middle, y2=middle, class_="way" if after >= before else "way down"))
    parts.append(element("circle", cx=first, cy=middle, r=4.0, class_="mark before"))
    parts.append(element("circle", cx=last, cy=middle, r=4.5, class_="mark after" if after >= before else "mark down"))
    size = {"viewBox": "0 0 120 16", "width": 120, "height": 16}
    return element("svg", *parts, xmlns="http://www.w3.org/2000/svg", class_="chart", aria_hidden="true", **size)


def standalone(svg: str) -> str:
    """The drawing as a file of its own: with its style, light or dark as the reader has it."""
    opening, end, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{opening}{end}<style>{style()}</style>{rest}\n'


@cache
def style() -> str:
    """The colours and the classes of all drawings, as CSS."""
    return (resources.files(__package__) / "charts.css").read_text(encoding="utf-8")


def _row_in_words(columns: Sequence[str], row: Sequence[float | None], told: Sequence[str]) -> str:
    return ", ".join(f"{name} {content}" for name, value, content in zip(columns, row, told, strict=True) if value)


def _interval(row: Bar, share: bool) -> str:
    """The interval in words that follow the value; in per cent, of which the sign stands only once."""
    if row.low is None or row.high is None:
        return ""
    low, high = (PAGE.percent(end, unit=False) if share else PAGE.number(end) for end in (row.low, row.high))
    return f"  ({low} to {high})"
