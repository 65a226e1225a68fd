"""Draws a curve exhibit: lines with marks and numbers, or bars from 0, over the axes of `axes.py`. Knows no run."""

from collections.abc import Mapping, Sequence

from resect.core.exhibits import SHARE, TONES, Curve
from resect.core.number_format import PAGE

from .axes import HEIGHT, LEGEND, TOP, Axes, Numbers, Place
from .svg import EDGE, SMALL, WIDTH, element, image, shortened, text, text_width

#: Up to so many points each has a mark and, where there is room, a number; the description lists as many.
FEW = 40
#: The widest bar.
BAR = 34.0


def curve_chart(curve: Curve) -> str:
    """Returns the curve as an SVG image."""
    legend, top = _legend(curve)
    axes = Axes.of(curve, top)
    parts = [*axes.drawn(), *legend]
    numbers = Numbers(axes)
    if curve.reference is not None:
        name, y = shortened(curve.reference[0], WIDTH / 2), axes.y(curve.reference[1])
        parts += [axes.across(y, "reference"), text(name, WIDTH - EDGE, y - 5, text_anchor="end", class_="muted")]
        numbers.avoid((WIDTH - EDGE - text_width(name), y - 17, WIDTH - EDGE, y - 1))
    parts += _bars(curve, axes) if curve.bars else _lines(curve, axes, numbers)
    return image(WIDTH, top + HEIGHT + 46, curve.title, _description(curve), parts)


def _tones(curve: Curve) -> Mapping[str, str]:
    """The tone of each series: as the exhibit says, else by its order."""
    return {name: curve.tones.get(name, TONES[place % len(TONES)]) for place, name in enumerate(curve.series)}


def _is_dashed(name: str, curve: Curve) -> bool:
    """Whether a line is dashed, since an earlier series has its colour."""
    return not curve.bars and list(curve.series).index(name) >= len(TONES)


def _legend(curve: Curve) -> tuple[list[str], float]:
    """What each colour is, where there are several; and where the plotted area begins below it."""
    if len(curve.series) < 2:
        return [], TOP
    parts, x, line = list[str](), 0.0, 0
    for name, tone in _tones(curve).items():
        label = shortened(f"{name}{' (dashed)' if _is_dashed(name, curve) else ''}", WIDTH - 24)
        if x and x + 18 + text_width(label) > WIDTH:
            x, line = 0.0, line + 1
        y = 27 + LEGEND * line
        parts.append(element("rect", x=x, y=y, width=12, height=12, rx=2, class_=f"bar {tone}"))
        parts.append(text(label, x + 18, y + 11))
        x += 36 + text_width(label)
    return parts, TOP + LEGEND * (line + 1)


def _write(value: float, curve: Curve) -> str:
    return PAGE.percent(value, unit=len(curve.series) == 1 and not curve.bars) if curve.unit == SHARE else PAGE.number(value)


def _lines(curve: Curve, axes: Axes, numbers: Numbers) -> list[str]:
    """Each series as a line; of few points also their marks and numbers, the most important first."""
    parts, marks = list[str](), list[str]()
    is_few = max(map(len, curve.series.values()), default=0) <= FEW
    marked = None if curve.marked is None else curve.marked[1]
    drawn: list[tuple[list[tuple[float, float]], list[Place]]] = []
    for name, tone in _tones(curve).items():
        points = sorted((x, y) for x, y in curve.series[name] if y is not None)
        places = [(axes.x(x), axes.y(y)) for x, y in points]
        drawn.append((points, places))
        parts.append(
            element(
                "polyline",
                points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places),
                class_=f"line {tone}{' dashed' if _is_dashed(name, curve) else ''}",
            )
        )
        shown = [place for point, place in zip(points, places, strict=True) if is_few or point[0] == marked]
        marks += [element("circle", cx=x, cy=y, r=4.0, class_=f"dot {tone}") for x, y in shown]
        numbers.avoid_marks(shown)
        numbers.avoid_line(places)
    if marked is not None:
        x = axes.x(marked)
        parts.append(element("line", x1=x, x2=x, y1=axes.top, y2=axes.bottom, class_="reference"))
        numbers.avoid_line([(x, axes.top), (x, axes.bottom)])
    for points, places in drawn:
        for place, (x, y) in enumerate(points):
            if x == marked and curve.marked is not None:
                marks.append(element("circle", cx=places[place][0], cy=places[place][1], r=6.5, class_="mark after"))
                label = f"{curve.marked[0]} = {PAGE.number(x)}: " if curve.marked[0] else ""
                marks += numbers.write(f"{label}{_write(y, curve)}", places[place], is_strong=True, is_needed=True)
    for points, places in drawn:
        needed = _ends_and_extremes(points)
        for place in dict.fromkeys((*needed, *(range(len(points)) if is_few else ()))):
            if points[place][0] != marked:
                marks += numbers.write(_write(points[place][1], curve), places[place], is_needed=place in needed)
    return [*parts, *marks]


def _ends_and_extremes(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of the first and last point, and of the highest and lowest."""
    if not points:
        return []
    by_height = sorted(range(len(points)), key=lambda place: points[place][1])
    return list(dict.fromkeys((0, len(points) - 1, by_height[-1], by_height[0])))


def _bars(curve: Curve, axes: Axes) -> list[str]:
    """Bars side by side at each category; series below 0 hang under those above it."""
    tones, parts = _tones(curve), list[str]()
    below = [name for name, points in curve.series.items() if any((y or 0) < 0 for _, y in points)]
    above = [name for name in curve.series if name not in below]
    slots = max(len(below), len(above), 1)
    width = min(BAR, (axes.pitch - 8) / slots)
    zero = axes.y(0.0)
    for name, points in curve.series.items():
        slot = (below if name in below else above).index(name)
        for category, value in points:
            if value is None:
                continue
            x, y = axes.x(category) - width * slots / 2 + width * slot, axes.y(value)
            size = {"y": min(y, zero), "height": max(abs(y - zero), 0.5)}
            parts.append(element("rect", x=x + 1, width=width - 2, **size, class_=f"bar {tones[name]}"))
            label = _write(value, curve)
            if text_width(label, SMALL) <= width + 8 and (value or not below):
                parts.append(text(label, x + width / 2, y + 13 if value < 0 else y - 4, text_anchor="middle", class_="smaller"))
    return [*parts, axes.across(zero, "axis")]


def _description(curve: Curve) -> str:
    parts = []
    for name, points in curve.series.items():
        known = [(x, y) for x, y in sorted(points, key=lambda point: point[0]) if y is not None][:FEW]
        names = (curve.x_names[int(x)] if curve.x_names else PAGE.number(x) for x, _ in known)
        parts.append(f"{name}: {', '.join(f'{x} {_write(y, curve)}' for x, (_, y) in zip(names, known, strict=True))}")
    return "; ".join(parts)
