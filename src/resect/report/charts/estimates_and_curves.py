"""Small SVG drawings from plain numbers: estimates on one axis, a curve, a shift. Knows no run and no task.

Colours are classes, and charts.css gives them theirs: one page, or a file of its own, themes light, dark and print. Widths
are such that the text stays readable where a drawing is scaled to the width of a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from resect.core.number_format import PAGE

from .oldaxes import BOTTOM, FEW, Plane, decades, marked, numbered
from .oldsvg import EDGE, SIZE, WIDTH, along, drawing, element, escaped, extent, fitted, label, room_for, text, tick_label, ticks


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
    decimal: bool = False,
    named: str = "n",
    level: tuple[str, float] | None = None,
) -> str:
    """Values against a size, with the chosen size marked, and numbers at as many points as there is room for.

    Parameters
    ----------
    points : (size, value) in any order; sizes from 0 on
    across, upwards : what the axes say
    share : values are shares in [0, 1], written in per cent
    logarithmic : the axis of sizes is that of log(1 + size)
    decimal : the axis of values is that of log10(value); values are above 0
    named : what the chosen size is called
    level : a value that all are seen against, and what it is called: a broken line
    """
    write, ordered = PAGE.percent if share else PAGE.number, sorted(points)
    bend = math.log10 if decimal else float
    seen = [bend(value) for _, value in ordered] + ([] if level is None else [bend(level[1])])
    low, high = room_for(seen, share)
    low -= 0.15 * (high - low) if decimal else 0.0  # room for the last number, below the line
    rounds = decades(low, high) if decimal else [(tick, label(tick, share)) for tick in ticks(low, high)]
    most = max([1.0 if logarithmic else 0.0, *(size for size, _ in ordered)]) or 1.0
    left = max([extent(told) for _, told in rounds], default=0.0) + 8
    plane = Plane(left, low, high, most, logarithmic)
    places = [plane.place(size, bend(value)) for size, value in ordered]
    line = element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_="curve")
    heads = [text(fitted(upwards, WIDTH), 0, 16, class_="muted")]
    heads.append(text(fitted(across, WIDTH - left - EDGE), (left + WIDTH - EDGE) / 2, BOTTOM + 38, text_anchor="middle", class_="muted"))
    at = next((number for number, (size, _) in enumerate(ordered) if size == chosen), None)
    numbers = [write(value) for _, value in ordered]
    if at is not None:
        numbers[at] = f"{named} = {PAGE.number(ordered[at][0])}: {numbers[at]}"
    told = "; ".join(f"{PAGE.number(size)}: {write(value)}" for size, value in ordered[:FEW])
    lines = [] if level is None else plane.level(level[0], bend(level[1]))
    parts = [*heads, *plane.axes(rounds), *lines, line, *marked(places, at), *numbered(places, numbers, at, left)]
    return drawing(WIDTH, BOTTOM + 46, title, told if at is None else f"Chosen: {numbers[at]}. {told}", parts)


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


def _interval(row: Bar, share: bool) -> str:
    """The interval in words that follow the value; in per cent, of which the sign stands only once."""
    if row.low is None or row.high is None:
        return ""
    low, high = (PAGE.percent(end, unit=False) if share else PAGE.number(end) for end in (row.low, row.high))
    return f"  ({low} to {high})"
