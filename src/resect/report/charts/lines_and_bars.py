"""Values over named places on one axis, as lines or as columns: SVG from plain numbers. Knows no run and no task.

Colours are classes, as in charts.py; the width is such that the text stays readable on a phone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from resect.core.number_format import PAGE

from .oldsvg import EDGE, WIDTH, Box, along, drawing, element, extent, fitted, label, meets, room_for, text, ticks

#: Where the plane begins and ends.
TOP, BOTTOM = 62.0, 220.0
#: Up to so many places each has its mark and, where there is room, its number.
FEW = 40
#: How much more room a place has that stands apart, and the size of the places' names.
ROOM, SMALL = 1.7, 11.5


@dataclass(frozen=True)
class Series:
    """A name and a value for each place (None: none there). `kind` is its class: main, base, second.

    `apart`: so many places at the end are no more steps of the same way: they have marks, and no line.
    """

    name: str
    values: Sequence[float | None]
    kind: str = "main"
    apart: int = 0


@dataclass(frozen=True)
class _Axes:
    """Where a place and a value lie."""

    left: float
    low: float
    high: float
    places: int
    apart: int = 0

    def across(self, place: float) -> float:
        """The middle of a place."""
        steps = self.places - self.apart
        return self.left + self.pitch * (place + 0.5 if place < steps else steps + ROOM * (place - steps + 0.5))

    def up(self, value: float) -> float:
        return along(value, self.low, self.high, BOTTOM, TOP)

    @property
    def pitch(self) -> float:
        return (WIDTH - EDGE - self.left) / max(self.places - self.apart + ROOM * self.apart, 1)


def lines(
    places: Sequence[str],
    series: Sequence[Series],
    *,
    title: str,
    across: str,
    upwards: str,
    share: bool = True,
    level: float | None = None,
    chosen: int | None = None,
) -> str:
    """Each series as a line over the places, in their order, with numbers where there is room.

    Parameters
    ----------
    across, upwards : what the axes say
    share : values are shares in [0, 1], written in per cent
    level : a value that all are seen against: a broken line
    chosen : the number of a place that stands out
    """
    values = [value for one in series for value in one.values if value is not None]
    axes = _axes(len(places), *room_for(values + ([] if level is None else [level]), share), share, max(one.apart for one in series))
    parts = [*_named(axes, places, across, upwards, share), *_legend(series)]
    if level is not None:
        parts.append(element("line", x1=axes.left, x2=WIDTH - EDGE, y1=axes.up(level), y2=axes.up(level), class_="reference"))
    if chosen is not None:
        x = axes.across(chosen)
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=BOTTOM, class_="reference"))
    taken: list[Box] = []
    marks, numbers = [], []
    for one in series:
        points = [(axes.across(place), axes.up(value)) for place, value in enumerate(one.values) if value is not None]
        joined = [
            (axes.across(place), axes.up(value))
            for place, value in enumerate(one.values[: len(one.values) - one.apart])
            if value is not None
        ]
        parts.append(element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in joined), class_=f"curve {one.kind}"))
        if len(places) <= FEW:
            marks += [element("circle", cx=x, cy=y, r=4.0, class_=f"dot {one.kind}") for x, y in points]
            taken += [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    for one in series:
        numbers += _numbers(axes, one, taken, share)
    return drawing(WIDTH, BOTTOM + 46, title, _in_words(places, series, share), [*parts, *marks, *numbers])


def columns(
    places: Sequence[str],
    series: Sequence[Series],
    *,
    title: str,
    across: str,
    upwards: str,
    share: bool = True,
    mirrored: bool = False,
) -> str:
    """Each place as a group of columns from 0, with their numbers. `mirrored`: the second series goes down from 0."""
    values = [value for one in series for value in one.values if value is not None]
    most = max(values, default=0.0) * 1.12 or 1.0
    lowest = -max([0.0, *(value for one in series[1:] for value in one.values if value is not None)]) * 1.45 if mirrored else 0.0
    axes = _axes(len(places), lowest, min(most, 1.0) if share and max(values, default=1.0) <= 1 else most, share)
    parts = [*_named(axes, places, across, upwards, share, whole=True), *_legend(series)]
    side_by_side = 1 if mirrored else len(series)
    wide = min(34.0, (axes.pitch - 8) / side_by_side)
    for number, one in enumerate(series):
        downwards = mirrored and number > 0
        for place, value in enumerate(one.values):
            if value is None:
                continue
            x = axes.across(place) - wide * side_by_side / 2 + (0 if mirrored else wide * number)
            ends = sorted((axes.up(0.0), axes.up(-value if downwards else value)))
            parts.append(
                element("rect", x=x + 1, y=ends[0], width=wide - 2, height=max(ends[1] - ends[0], 0.5), class_=f"column {one.kind}")
            )
            told = PAGE.percent(value, unit=False) if share else PAGE.number(value)
            y = ends[1] + 13 if downwards else ends[0] - 4
            if extent(told, SMALL) <= wide + 8 and (value or not mirrored):
                parts.append(text(told, x + wide / 2, y, text_anchor="middle", class_="smaller"))
    parts.append(element("line", x1=axes.left, x2=WIDTH - EDGE, y1=axes.up(0.0), y2=axes.up(0.0), class_="axis"))
    return drawing(WIDTH, BOTTOM + 46, title, _in_words(places, series, share), parts)


def _axes(places: int, low: float, high: float, share: bool, apart: int = 0) -> _Axes:
    return _Axes(max(extent(label(abs(tick), share)) for tick in ticks(low, high)) + 8, low, high, places, apart)


def _named(axes: _Axes, places: Sequence[str], across: str, upwards: str, share: bool, whole: bool = False) -> list[str]:
    """The axes: round values, names of places as far as they do not touch, and what both are."""
    parts = [text(fitted(upwards, WIDTH), 0, 16, class_="muted")]
    for tick in ticks(axes.low, axes.high):
        if not share and whole and tick % 1:
            continue
        y = axes.up(tick)
        parts.append(element("line", x1=axes.left, x2=WIDTH - EDGE, y1=y, y2=y, class_="grid"))
        parts.append(text(label(abs(tick), share), axes.left - 6, y + 4.5, text_anchor="end", class_="muted"))
    end = -float("inf")
    for place, name in enumerate(places):
        room = axes.pitch * (ROOM if place >= axes.places - axes.apart else 1.0)
        told = fitted(name, max(room - 2, 30.0), SMALL)
        half = extent(told, SMALL) / 2
        x = min(max(axes.across(place), half + 1), WIDTH - half - 1)
        if x - half > end + 1:
            parts.append(text(told, x, BOTTOM + 18, text_anchor="middle", class_="muted smaller"))
            end = x + half
    middle = (axes.left + WIDTH - EDGE) / 2
    parts.append(text(fitted(across, WIDTH - axes.left), middle, BOTTOM + 38, text_anchor="middle", class_="muted"))
    return parts


def _legend(series: Sequence[Series]) -> list[str]:
    """What each colour is, where there is more than one."""
    if len(series) < 2:
        return []
    parts, x = [], 0.0
    for one in series:
        told = fitted(one.name, WIDTH / len(series) - 24)
        parts.append(element("rect", x=x, y=27, width=12, height=12, rx=2, class_=f"column {one.kind}"))
        parts.append(text(told, x + 18, 38))
        x += 18 + extent(told) + 18
    return parts


def _numbers(axes: _Axes, one: Series, taken: list[Box], share: bool) -> list[str]:
    """The numbers of a line at its ends, its highest and its lowest place, and wherever else they cover nothing."""
    known = [(place, value) for place, value in enumerate(one.values) if value is not None]
    if not known or len(one.values) > FEW:
        return []
    first = [known[0], known[-1], max(known, key=lambda at: at[1]), min(known, key=lambda at: at[1])]
    parts = []
    for place, value in dict.fromkeys((*first, *known)):
        told = PAGE.percent(value, unit=False) if share else PAGE.number(value)
        x, y, half = axes.across(place), axes.up(value), extent(told) / 2 + 2
        x = min(max(x, axes.left + half), WIDTH - half)
        boxes = [(x - half, base - 12, x + half, base + 3) for base in (y - 9, y + 20)]
        free = [box for box in boxes if box[1] > 44 and box[3] < BOTTOM + 2 and not meets(box, taken)]
        if free:
            taken.append(free[0])
            parts.append(text(told, x, free[0][3] - 3, text_anchor="middle"))
    return parts


def _in_words(places: Sequence[str], series: Sequence[Series], share: bool) -> str:
    write = PAGE.percent if share else PAGE.number
    told = []
    for one in series:
        values = (f"{name} {write(value)}" for name, value in list(zip(places, one.values, strict=True))[:FEW])
        told.append(f"{one.name}: {', '.join(values)}")
    return "; ".join(told)
