"""The axes of a curve exhibit: where a point is, tick lines and labels, and where numbers have room. The only axes there are.

x is a number from 0 on (linear, or logarithmic as log(1 + x)) or the index of a category; y is a number (linear or logarithmic).
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resect.core.exhibits import SHARE, Curve
from resect.core.number_format import PAGE

from .svg import (
    EDGE,
    SMALL,
    WIDTH,
    Box,
    centered,
    element,
    overlaps,
    padded_range,
    position,
    shortened,
    text,
    text_width,
    tick_label,
    ticks,
)

#: Top of the plotted area without a legend, its height, and the height of a line of the legend.
TOP, HEIGHT, LEGEND = 46.0, 158.0, 18.0

Place = tuple[float, float]
#: A tick of the y axis: its position (a logarithm where the axis is logarithmic), and its label.
Tick = tuple[float, str]


@dataclass(frozen=True)
class Axes:
    """The plotted area. `low`, `high`: its ends on the y axis, as logarithms where that is logarithmic; `right`: the largest x."""

    curve: Curve
    left: float
    top: float
    low: float
    high: float
    right: float
    y_ticks: Sequence[Tick]

    @classmethod
    def of(cls, curve: Curve, top: float) -> "Axes":
        """The axes that show all points and the reference line of a curve."""
        points = [point for series in curve.series.values() for point in series]
        bend = math.log10 if curve.y_log else float
        seen = [bend(float(y)) for _, y in points if y is not None] + ([bend(curve.reference[1])] if curve.reference else [])
        low, high = _bar_range(seen) if curve.bars else padded_range(seen, curve.unit == SHARE)
        if curve.y_log:
            low -= 0.15 * (high - low)  # room for numbers below the line
        is_count = curve.bars and all(y.is_integer() for y in seen)
        y_ticks = _decades(low, high) if curve.y_log else [(tick, tick_label(tick, curve.unit == SHARE)) for tick in ticks(low, high)]
        y_ticks = [(tick, label) for tick, label in y_ticks if tick.is_integer() or not is_count]
        left = max((text_width(label) for _, label in y_ticks), default=0.0) + 8
        right = max([1.0 if curve.x_log else 0.0, *(x for x, _ in points)]) or 1.0
        return cls(curve, left, top, low, high, right, y_ticks)

    @property
    def bottom(self) -> float:
        """The y of the x axis on the drawing."""
        return self.top + HEIGHT

    @property
    def pitch(self) -> float:
        """The width of a category."""
        return (WIDTH - EDGE - self.left) / max(len(self.curve.x_names), 1)

    def x(self, value: float) -> float:
        """Where a value of the x axis is on the drawing."""
        if self.curve.x_names:
            return self.left + self.pitch * (value + 0.5)
        bend = math.log1p if self.curve.x_log else float
        return position(bend(value), 0.0, bend(self.right), self.left + 8, WIDTH - EDGE - 8)

    def y(self, value: float) -> float:
        """Where a value of the y axis is on the drawing."""
        return position(math.log10(value) if self.curve.y_log else value, self.low, self.high, self.bottom, self.top)

    def across(self, y: float, kind: str) -> str:
        """A horizontal line over the plotted area, at a y of the drawing."""
        return element("line", x1=self.left, x2=WIDTH - EDGE, y1=y, y2=y, class_=kind)

    def drawn(self) -> list[str]:
        """Labels of both axes, a line at each tick of y, and as many labels along x as do not touch each other."""
        middle, curve = (self.left + WIDTH - EDGE) / 2, self.curve
        label = curve.y_label if curve.unit in ("", SHARE) else f"{curve.y_label} ({curve.unit})"
        parts = [text(shortened(label, WIDTH - 2), 2, 16, class_="muted")]
        parts.append(text(shortened(curve.x_label, WIDTH - self.left), middle, self.bottom + 38, text_anchor="middle", class_="muted"))
        for tick, label in self.y_ticks:
            y = position(tick, self.low, self.high, self.bottom, self.top)
            parts += [self.across(y, "grid"), text(label, self.left - 6, y + 4.5, text_anchor="end", class_="muted")]
        end = -math.inf
        for x, name in self._x_labels():
            room = max(1.6 * self.pitch, 30.0) if curve.x_names else WIDTH
            label, box = centered(shortened(name, room, SMALL), x, self.bottom + 18, SMALL)
            if name and box[0] > end + (1 if curve.x_names else 8):
                parts.append(label)
                end = box[2]
        return parts

    def _x_labels(self) -> Iterable[tuple[float, str]]:
        if self.curve.x_names:
            return [(self.x(float(place)), name) for place, name in enumerate(self.curve.x_names)]
        if not self.curve.x_log:
            is_count = all(x.is_integer() for series in self.curve.series.values() for x, _ in series)
            return [(self.x(tick), PAGE.number(tick)) for tick in ticks(0.0, self.right) if tick.is_integer() or not is_count]
        powers = range(int(math.log10(self.right)) + 1)
        values = [0.0, *(float(factor * 10**power) for power in powers for factor in (1, 3) if factor * 10**power <= self.right)]
        return [(self.x(value), PAGE.number(value)) for value in values]


def _bar_range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the y axis of bars: 0, and room for a number at the end of each bar."""
    high, low = max([0.0, *values]), min([0.0, *values])
    room = 0.14 * (high - low) or 1.0
    return (low - room if low < 0 else 0.0), high + room


def _decades(low: float, high: float) -> list[Tick]:
    """Round ticks of a logarithmic axis; ends and ticks are logarithms to the base 10.

    >>> [label for _, label in _decades(-0.2, 2.1)]
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


class Numbers:
    """Numbers at points: each where it covers no other text or mark, and no line if possible."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._taken: list[Box] = []
        self._lines: list[Box] = []

    def avoid(self, *boxes: Box) -> None:
        """Keep boxes free."""
        self._taken += boxes

    def avoid_marks(self, places: Iterable[Place]) -> None:
        """Keep the marks of points free."""
        self.avoid(*((x - 5, y - 5, x + 5, y + 5) for x, y in places))

    def avoid_line(self, places: Sequence[Place]) -> None:
        """Keep a line free where possible."""
        for start, end in itertools.pairwise(places):
            steps = max(1, int(math.dist(start, end) / 8))
            for step in range(steps + 1):
                x, y = (a + (b - a) * step / steps for a, b in zip(start, end, strict=True))
                self._lines.append((x - 1, y - 1, x + 1, y + 1))

    def write(self, content: str, place: Place, *, is_strong: bool = False, is_needed: bool = False) -> list[str]:
        """The number above or below a point; nothing where there is no room. `is_needed`: it may cover a line."""
        (x, y), width = place, text_width(content) * (1.15 if is_strong else 1.0) + 6
        starts = [min(max(start, self._axes.left + 4), WIDTH - width) for start in (x - width / 2, x + 4, x - width - 4)]
        boxes = [(start, base - 12, start + width, base + 4) for start in starts for base in (y - 12, y + 22)]
        free = [box for box in boxes if box[1] > self._axes.top - 26 and box[3] < self._axes.bottom and not overlaps(box, self._taken)]
        best = [box for box in free if not overlaps(box, self._lines)] or (free if is_needed else [])
        if not best:
            return []
        self.avoid(best[0])
        kind = "strong" if is_strong else "value"
        return [text(content, best[0][0] + width / 2, best[0][3] - 4, text_anchor="middle", class_=kind)]
