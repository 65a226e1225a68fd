"""Exhibits: what a method shows in addition to plan and comparison, as titled tables, curves and heat maps.

An exhibit is plain data. A method returns exhibits, the run folder stores them in exhibits.json, and a report draws them. Knows no method,
no file and no drawing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from types import NoneType
from typing import Any, TypeAlias

from .errors import InputError

#: What a cell of a table holds. Text is shown as it is (what follows a line break is shown less prominently), a number with four
#: significant digits, None as a dash.
Cell: TypeAlias = str | float | None
#: One point of a series: x, and y or None where nothing was measured.
Point: TypeAlias = tuple[float, float | None]
#: The unit of values that are fractions in [0, 1]: they are shown in percent.
SHARE = "share"
#: How a series may look: the accented colour, a muted one (a baseline), the colour of what got worse.
TONES = ("main", "muted", "bad")
#: What the legend of a heat map may explain: colours above and below the center, framed cells, hatched cells.
LEGEND = ("up", "down", "framed", "bounds")


@dataclass(frozen=True)
class Table:
    """A table. The first cell of each row names the row.

    Parameters
    ----------
    section : the heading under which a report groups exhibits; the title if empty
    strong : indices of rows that stand out
    is_text : the cells are sentences, not numbers
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    section: str = ""
    strong: Sequence[int] = ()
    is_text: bool = False

    def __post_init__(self) -> None:
        _check_fields(self)
        _set(self, columns=_texts(self.columns), rows=tuple(tuple(map(_cell, row)) for row in self.rows), strong=tuple(self.strong))
        _check(all(len(row) == len(self.columns) for row in self.rows), self.title, f"each row needs {len(self.columns)} cells")
        _check(all(0 <= row < len(self.rows) for row in self.strong), self.title, "a row that stands out does not exist")


@dataclass(frozen=True)
class Curve:
    """One or more series of values over one axis.

    Parameters
    ----------
    series : name to points (x, y), in any order
    unit : `SHARE`, or the name of the unit, or empty
    x_names : names of x = 0, 1, 2, …: then x is the index of a category
    x_log, y_log : logarithmic axes; that of x is log(1 + x) and has room for 0, values of y are positive
    marked : name and x of a position that stands out, such as ("n", 12.0)
    reference : name and y of a horizontal line that the series are read against
    bars : draw bars from 0 instead of lines
    tones : name of a series to one of `TONES`
    """

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[Point]]
    note: str = ""
    section: str = ""
    unit: str = ""
    x_names: Sequence[str] = ()
    x_log: bool = False
    y_log: bool = False
    marked: tuple[str, float] | None = None
    reference: tuple[str, float] | None = None
    bars: bool = False
    tones: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fields(self)
        series = {str(name): tuple((float(x), _number(y)) for x, y in points) for name, points in self.series.items()}
        _set(self, series=series, x_names=_texts(self.x_names), tones=dict(self.tones))
        for name in ("marked", "reference"):
            pair = getattr(self, name)
            _set(self, **{name: None if pair is None else (str(pair[0]), float(pair[1]))})
        points = [point for series_points in series.values() for point in series_points]
        xs = [x for x, _ in points] + ([self.marked[1]] if self.marked else [])
        ys = [y for _, y in points if y is not None] + ([self.reference[1]] if self.reference else [])
        known = {float(index) for index in range(len(self.x_names))}
        _check(all(map(math.isfinite, (*xs, *ys))), self.title, "its coordinates are finite numbers")
        _check(not known or known.issuperset(xs), self.title, f"x is one of the {len(known)} categories")
        _check(not self.x_log or all(x >= 0 for x in xs), self.title, "x is not negative on a logarithmic axis")
        _check(not self.y_log or all(y > 0 for y in ys), self.title, "y is positive on a logarithmic axis")
        _check(all(tone in TONES for tone in self.tones.values()), self.title, f"a tone is one of {', '.join(TONES)}")


@dataclass(frozen=True)
class HeatMap:
    """A matrix of values as coloured cells.

    Parameters
    ----------
    values : [rows, columns]; None: not measured
    unit : `SHARE`, or the name of the unit, or empty
    corner : what the row labels are, such as "layer"
    texts : [rows, columns] of what the cells say instead of their values; empty: the values
    digits : digits after the decimal point of a value that is no share; None: four significant digits
    center : the value without colour; values above and below it have two colours
    full : the distance from `center` at which a colour is strongest, so that several maps can share one scale; None: the largest distance
    lower_is_better : swap the two colours
    framed, bounds : (row, column) of cells with a frame, and of cells that are hatched because their value is only a bound
    legend : what a colour or mark means, by its name in `LEGEND`
    """

    title: str
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    values: Sequence[Sequence[float | None]]
    unit: str = ""
    note: str = ""
    section: str = ""
    corner: str = ""
    texts: Sequence[Sequence[str]] = ()
    digits: int | None = None
    center: float = 0.0
    full: float | None = None
    lower_is_better: bool = False
    framed: Sequence[tuple[int, int]] = ()
    bounds: Sequence[tuple[int, int]] = ()
    legend: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fields(self)
        _set(self, row_labels=_texts(self.row_labels), column_labels=_texts(self.column_labels), texts=tuple(map(_texts, self.texts)))
        _set(self, values=tuple(tuple(map(_number, row)) for row in self.values), legend=dict(self.legend))
        _set(self, framed=_places(self.framed), bounds=_places(self.bounds))
        height, width = len(self.row_labels), len(self.column_labels)
        for cells in (self.values, self.texts or self.values):
            fits = len(cells) == height and all(len(row) == width for row in cells)
            _check(fits, self.title, f"there are {height} × {width} cells")
        inside = all(0 <= row < height and 0 <= column < width for row, column in (*self.framed, *self.bounds))
        _check(inside, self.title, "a cell that is framed or hatched does not exist")
        _check(all(name in LEGEND for name in self.legend), self.title, f"a legend explains {', '.join(LEGEND)}")


Exhibit: TypeAlias = Table | Curve | HeatMap
#: What the value of a field may be, by the type that is declared.
_PLAIN: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    float: (int, float),
    int | None: (int, NoneType),
    float | None: (int, float, NoneType),
}
KINDS: Mapping[str, type[Exhibit]] = {"table": Table, "curve": Curve, "heat map": HeatMap}


def to_json(exhibit: Exhibit) -> dict[str, Any]:
    """The JSON object of an exhibit: its kind and those of its fields that differ from their defaults."""
    kind = next(name for name, exhibit_type in KINDS.items() if isinstance(exhibit, exhibit_type))
    values = ((item, getattr(exhibit, item.name)) for item in fields(exhibit))
    return {"kind": kind, **{item.name: value for item, value in values if value != _default(item)}}


def from_json(value: Any) -> Exhibit:
    """The exhibit of a JSON object; unknown keys are ignored. Raises InputError that says what is wrong with it."""
    kind = KINDS.get(str(value.get("kind"))) if isinstance(value, Mapping) else None
    if kind is None:
        raise InputError(f"An exhibit is an object whose kind is one of {', '.join(KINDS)}.")
    title = value.get("title")
    if not isinstance(title, str):
        raise InputError("An exhibit needs a title.")
    known = {item.name for item in fields(kind)}
    try:
        return kind(**{name: _frozen(part) for name, part in value.items() if name in known})
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise InputError(f"The exhibit {title!r} is damaged: {error}.") from error


def by_section(exhibits: Iterable[Exhibit]) -> dict[str, list[Exhibit]]:
    """The exhibits by their section, in order of appearance."""
    sections: dict[str, list[Exhibit]] = {}
    for exhibit in exhibits:
        sections.setdefault(exhibit.section or exhibit.title, []).append(exhibit)
    return sections


def replaced(old: Iterable[Exhibit], new: Iterable[Exhibit]) -> tuple[Exhibit, ...]:
    """The old exhibits with those of `new` added; sections that `new` has too are replaced where they are."""
    sections = by_section(old) | by_section(new)
    return tuple(exhibit for exhibits in sections.values() for exhibit in exhibits)


def _default(item: Field[Any]) -> Any:
    """The default of a field; a value that equals nothing where the field is required."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def _frozen(value: Any) -> Any:
    """A JSON value with tuples for lists."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {name: _frozen(part) for name, part in value.items()} if isinstance(value, dict) else value


def _check(holds: bool, title: str, rule: str) -> None:
    if not holds:
        raise InputError(f"The exhibit {title!r} is damaged: {rule}.")


def _check_fields(exhibit: Exhibit) -> None:
    """Raises ValueError for a field that is no text, number or switch where it must be one."""
    for item in fields(exhibit):
        value, allowed = getattr(exhibit, item.name), _PLAIN.get(item.type, (object, bool))
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ValueError(f"{item.name} is {value!r}")


def _set(exhibit: Exhibit, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(exhibit, name, value)


def _cell(value: Any) -> Cell:
    return value if isinstance(value, str) else _number(value)


def _number(value: Any) -> float | None:
    """A number; None where it is None or not finite."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return value if math.isfinite(value) else None


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ValueError(f"{values!r} is no list of texts")
    return tuple(map(str, values))


def _places(values: Iterable[Any]) -> tuple[tuple[int, int], ...]:
    return tuple((int(row), int(column)) for row, column in values)
