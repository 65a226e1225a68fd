"""The plane of a curve: where sizes and values lie, its axes, its marks, and the numbers that find room. Knows no run."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from resect.core.number_format import PAGE

from .oldsvg import EDGE, WIDTH, Box, along, element, extent, meets, text, tick_label, ticks

#: Where the plane begins and ends, and up to how many points each has a mark.
TOP, BOTTOM = 52.0, 210.0
FEW = 40

Place = tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """Where a size and a value lie on the drawing of a curve."""

    left: float
    low: float
    high: float
    most: float
    logarithmic: bool

    def place(self, size: float, value: float) -> Place:
        """Where a point lies."""
        bend = math.log1p if self.logarithmic else float
        return (
            along(bend(size), 0.0, bend(self.most), self.left + 8, WIDTH - EDGE - 8),
            along(value, self.low, self.high, BOTTOM, TOP),
        )

    def axes(self, rounds: Sequence[tuple[float, str]]) -> list[str]:
        """Lines at round values with their labels, and round sizes that do not touch each other, the first of them 0."""
        parts, end = [], -math.inf
        for tick, told in rounds:
            y = self.place(0, tick)[1]
            parts.append(element("line", x1=self.left, x2=WIDTH - EDGE, y1=y, y2=y, class_="grid"))
            parts.append(text(told, self.left - 6, y + 4.5, text_anchor="end", class_="muted"))
        for size in self._sizes():
            told, x = PAGE.number(size), self.place(size, self.low)[0]
            if x - extent(told) / 2 > end + 8:
                parts.append(tick_label(told, x, BOTTOM + 18))
                end = x + extent(told) / 2
        return parts

    def level(self, name: str, value: float) -> list[str]:
        """A broken line at a value, with its name above it, at the right."""
        y = self.place(0, value)[1]
        line = element("line", x1=self.left, x2=WIDTH - EDGE, y1=y, y2=y, class_="reference")
        return [line, text(name, WIDTH - EDGE, y - 5, text_anchor="end", class_="muted")]

    def _sizes(self) -> list[float]:
        if not self.logarithmic:
            return ticks(0.0, self.most)
        powers = range(int(math.log10(self.most)) + 1)
        return [0.0, *(float(factor * 10**power) for power in powers for factor in (1, 3) if factor * 10**power <= self.most)]


def decades(low: float, high: float) -> list[tuple[float, str]]:
    """Round values of a logarithmic axis with their labels; `low`, `high` and the values are logarithms to the base 10.

    >>> [told for _, told in decades(-0.2, 2.1)]
    ['1', '10', '100']
    """
    for factors in ((1,), (1, 3), (1, 2, 5)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        values = [math.log10(factor * 10.0**power) for power in powers for factor in factors]
        inside = [value for value in values if low <= value <= high]
        if len(inside) >= 3 or factors[-1] == 5:
            step = -(-len(inside) // 5) or 1
            return [(value, PAGE.number(10**value)) for value in inside[::step]]
    return []


def marked(places: Sequence[Place], chosen: int | None) -> list[str]:
    """The marks of the points, that of the chosen one filled and with a line to the axis."""
    parts = []
    for number, (x, y) in enumerate(places):
        if number == chosen:
            parts.append(element("line", x1=x, x2=x, y1=y, y2=BOTTOM, class_="reference"))
            parts.append(element("circle", cx=x, cy=y, r=6.5, class_="mark after"))
        elif len(places) <= FEW:
            parts.append(element("circle", cx=x, cy=y, r=4.0, class_="mark before"))
    return parts


def numbered(places: Sequence[Place], numbers: Sequence[str], chosen: int | None, left: float) -> list[str]:
    """Numbers above or below their points: the chosen one's first, then those of the ends, then where they cover nothing."""
    few = len(places) <= FEW
    parts, taken = [], [(x - 5, y - 5, x + 5, y + 5) for place, (x, y) in enumerate(places) if few or place == chosen]
    way = [box for pair in itertools.pairwise(places) for box in _between(*pair)]
    if chosen is not None:
        way += _between(places[chosen], (places[chosen][0], BOTTOM))
    first = [place for place in (chosen, 0, len(places) - 1) if place is not None and 0 <= place < len(places)]
    for number in dict.fromkeys((*first, *range(len(places) if few else 0))):
        (x, y), wide = places[number], extent(numbers[number]) * (1.15 if number == chosen else 1.0) + 6
        starts = [min(max(start, left + 4), WIDTH - wide) for start in (x - wide / 2, x + 4, x - wide - 4)]
        boxes = [(start, base - 12, start + wide, base + 4) for start in starts for base in (y - 12, y + 22)]
        fits = [box for box in boxes if box[1] > 20 and box[3] < BOTTOM and not meets(box, taken)]
        free = [box for box in fits if not meets(box, way)] or (fits if number in first else [])
        if free:
            taken.append(free[0])
            kind = "strong" if number == chosen else "value"
            parts.append(text(numbers[number], free[0][0] + wide / 2, free[0][3] - 4, text_anchor="middle", class_=kind))
    return parts


def _between(one: Place, other: Place) -> list[Box]:
    """Points close together on the way from one to the other, as boxes."""
    steps = max(1, int(math.dist(one, other) / 8))
    ways = [(one[0] + (other[0] - one[0]) * step / steps, one[1] + (other[1] - one[1]) * step / steps) for step in range(steps + 1)]
    return [(x - 1, y - 1, x + 1, y + 1) for x, y in ways]
