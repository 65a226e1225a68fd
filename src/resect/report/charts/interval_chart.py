"""Draws measurements with their 95 % intervals under each other, and the change of one share as a small arrow. Knows no run."""

from collections.abc import Sequence
from dataclasses import dataclass

from resect.core.number_format import PAGE

from .svg import (
    EDGE,
    SIZE,
    WIDTH,
    centered,
    element,
    escaped,
    image,
    padded_range,
    position,
    shortened,
    text,
    text_width,
    tick_label,
    ticks,
)

#: Height of a row, and where in it the mark is; height of the line of text above the rows that names a value.
ROW, MIDDLE, NAMED = 52.0, 33.0, 22.0


@dataclass(frozen=True)
class IntervalRow:
    """One measurement; `interval`: its 95 % interval. `kind` is the class of its mark: before, after, control, cc, dc, constant, other."""

    label: str
    mean: float
    interval: Sequence[float] | None = None
    kind: str = "other"


def interval_chart(
    rows: Sequence[IntervalRow],
    *,
    title: str,
    is_share: bool = True,
    reference: float | None = None,
    named: tuple[str, float] | None = None,
) -> str:
    """Returns the measurements on one axis, one under the other; label and numbers are above each.

    Parameters
    ----------
    is_share : values are in [0, 1] and written in per cent
    reference : a value to compare with: a broken line through all rows
    named : another one, with its name, which is written above the rows: a dotted line
    """
    seen = [value for row in rows for value in (row.mean, *(row.interval or ()))]
    low, high = padded_range(seen if named is None else [*seen, named[1]], is_share)
    top = 0.0 if named is None else NAMED
    middles, parts = [2 + top + ROW * number + MIDDLE for number in range(len(rows))], []
    lines = [(tick, "grid") for tick in ticks(low, high)] + ([] if reference is None else [(reference, "reference")])
    lines += [] if named is None else [(named[1], "reference dotted")]
    for value, kind in lines:
        x = position(value, low, high, EDGE, WIDTH - EDGE)
        parts += [element("line", x1=x, x2=x, y1=middle - 10, y2=middle + 10, class_=kind) for middle in middles]
        parts += [centered(tick_label(value, is_share), x, 16 + top + ROW * len(rows))[0]] if kind == "grid" else []
    if named is not None:
        parts += _name(named, position(named[1], low, high, EDGE, WIDTH - EDGE), is_share)
    for row, middle in zip(rows, middles, strict=True):
        ends = [position(value, low, high, EDGE, WIDTH - EDGE) for value in (*(row.interval or ()), row.mean)]
        parts += [*_words(row, middle - 18, is_share), *_mark(row.kind, ends, middle)]
    description = "; ".join(f"{row.label}: {_value(row, is_share)}{_interval(row, is_share)}" for row in rows)
    if named is not None:
        description += f"; {_named(named, is_share)}"
    return image(WIDTH, 24 + top + ROW * len(rows), title, description, parts)


def _name(named: tuple[str, float], x: float, is_share: bool) -> list[str]:
    """The name of a value above its line, and the beginning of that line."""
    label = shortened(_named(named, is_share), WIDTH)
    return [centered(label, x, 13)[0], element("line", x1=x, x2=x, y1=17, y2=NAMED + 2, class_="reference dotted")]


def _named(named: tuple[str, float], is_share: bool) -> str:
    return f"{named[0]} {PAGE.percent(named[1]) if is_share else PAGE.number(named[1])}"


def _words(row: IntervalRow, y: float, is_share: bool) -> list[str]:
    value, interval = _value(row, is_share), _interval(row, is_share)
    label = shortened(row.label, WIDTH - text_width(f"{value}{interval}", SIZE * 1.05) - 10)
    spans = element("tspan", escaped(value), class_="strong") + element("tspan", escaped(interval), class_="muted")
    bold = {"class_": "strong"} if row.kind == "after" else {}
    return [text(label, 0, y, **bold), element("text", spans, x=WIDTH, y=y, text_anchor="end")]


def _mark(kind: str, ends: Sequence[float], y: float) -> list[str]:
    """The interval and the mean at their places; each kind has its shape, so that no one needs colours."""
    *interval, x = ends
    parts = [element("line", x1=interval[0], x2=interval[1], y1=y, y2=y, class_=f"whisker {kind}")] if interval else []
    if kind in ("before", "after"):
        return [*parts, element("circle", cx=x, cy=y, r=6.5, class_=f"mark {kind}")]
    if kind == "control":
        points = f"{x:.1f},{y - 7.5:.1f} {x + 7.5:.1f},{y:.1f} {x:.1f},{y + 7.5:.1f} {x - 7.5:.1f},{y:.1f}"
        return [*parts, element("polygon", points=points, class_="mark control")]
    if kind == "constant":
        points = f"{x:.1f},{y - 7.5:.1f} {x + 7.5:.1f},{y + 5.5:.1f} {x - 7.5:.1f},{y + 5.5:.1f}"
        return [*parts, element("polygon", points=points, class_="mark constant")]
    return [*parts, element("rect", x=x - 5.5, y=y - 5.5, width=11, height=11, class_=f"mark {kind}")]


def _value(row: IntervalRow, is_share: bool) -> str:
    return PAGE.percent(row.mean) if is_share else PAGE.number(row.mean)


def _interval(row: IntervalRow, is_share: bool) -> str:
    if row.interval is None:
        return ""
    low, high = (PAGE.percent(end, unit=False) if is_share else PAGE.number(end) for end in row.interval)
    return f"  ({low} to {high})"


def change_arrow(before: float, after: float) -> str:
    """Returns two shares on a line from 0 to 1 and the way between them: decoration next to the numbers."""
    width, y, kind = 120.0, 8.0, "" if after >= before else " down"
    first, last = (position(value, 0.0, 1.0, 7.0, width - 7) for value in (before, after))
    parts = [
        element("line", x1=7, x2=width - 7, y1=y, y2=y, class_="grid"),
        element("line", x1=first, x2=last, y1=y, y2=y, class_=f"way{kind}"),
        element("circle", cx=first, cy=y, r=4.0, class_="mark before"),
        element("circle", cx=last, cy=y, r=4.5, class_=f"mark{kind or ' after'}"),
    ]
    size = {"viewBox": "0 0 120 16", "width": 120, "height": 16}
    return element("svg", *parts, xmlns="http://www.w3.org/2000/svg", class_="chart", aria_hidden="true", **size)
