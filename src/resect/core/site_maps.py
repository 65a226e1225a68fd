"""Heat maps of values at sites: a row for each layer (and expert), one map for each stack, or for each stack and role. Knows no method."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .address import ALL_EXPERTS, SHARED_EXPERT, STACKS, Site, expert_order, role_order
from .exhibits import HeatMap

#: One value: the site, and the column it belongs to.
Cell = tuple[Site, str]
#: With more rows than this (a model with experts), rows of nothing but bounds are left out of a map.
MOST_ROWS = 100


def site_maps(
    title: str,
    values: Mapping[Cell, float | None],
    columns: Sequence[str],
    *,
    by_role: bool = True,
    texts: Mapping[Cell, str] | None = None,
    framed: Collection[Cell] = (),
    bounds: Collection[Cell] = (),
    note: str = "",
    center: float = 0.0,
    lower_is_better: bool = False,
    **options: Any,
) -> tuple[HeatMap, ...]:
    """Returns heat maps that share one colour scale: full at the best value, and from the strongest fifth on.

    A few ruined candidates would leave all other cells pale if the farthest value set the scale.

    Parameters
    ----------
    columns : in their order; a cell that `values` lacks is empty
    by_role : one map for each role; else one for each stack, whose columns may be the roles
    texts : what cells say instead of their values
    framed, bounds : as of `HeatMap`
    note : of the first map
    options : other fields of `HeatMap`, the same for all maps
    """
    sign = -1 if lower_is_better else 1
    gains = [sign * (value - center) for cell, value in values.items() if value is not None and cell not in bounds]
    sizes = sorted(map(abs, gains))
    full = max(sizes[int(0.8 * (len(sizes) - 1))], max(gains)) if sizes else None
    maps: list[HeatMap] = []
    groups = _groups({site for site, _ in values}, by_role)
    for name, sites in groups.items():
        shown = [site for site in sites if len(sites) <= MOST_ROWS or _is_scored(site, columns, values, bounds)]
        rows: dict[str, list[Site]] = {}
        for site in shown:
            rows.setdefault(_row_label(site), []).append(site)
        cells = [[_cell(same_row, column, values) for column in columns] for same_row in rows.values()]
        places = {cell: (row, column) for row, line in enumerate(cells) for column, cell in enumerate(line)}
        left_out = f" ({len(sites) - len(shown):,} rows with nothing but bounds are left out)" if len(shown) < len(sites) else ""
        maps.append(
            HeatMap(
                f"{title}{f', {name}' if name else ''}{left_out}",
                tuple(rows),
                columns,
                tuple(tuple(values.get(cell) for cell in line) for line in cells),
                texts=() if texts is None else tuple(tuple(texts.get(cell, "") for cell in line) for line in cells),
                framed=tuple(place for cell, place in places.items() if cell in framed),
                bounds=tuple(place for cell, place in places.items() if cell in bounds),
                note="" if maps else note,
                corner="layer",
                center=center,
                full=full,
                lower_is_better=lower_is_better,
                **options,
            )
        )
    return tuple(maps)


def _groups(sites: Collection[Site], by_role: bool) -> dict[str, list[Site]]:
    """The sites of each map in the order of the layers, by the map's name."""
    order = lambda site: (STACKS.index(site.stack), role_order(site.role) if by_role else (), site.layer, expert_order(site.expert))
    ordered = sorted(sites, key=order)
    stacks = {site.stack for site in sites}
    groups: dict[str, list[Site]] = {}
    for site in ordered:
        parts = [site.stack] if len(stacks) > 1 else []
        groups.setdefault(", ".join(parts + ([site.role] if by_role else [])), []).append(site)
    return groups


def _is_scored(site: Site, columns: Sequence[str], values: Mapping[Cell, float | None], bounds: Collection[Cell]) -> bool:
    """Whether there is more than bounds in the row of a site."""
    return any(values.get((site, column)) is not None and (site, column) not in bounds for column in columns)


def _row_label(site: Site) -> str:
    if site.expert is None:
        return str(site.layer)
    name = {SHARED_EXPERT: "shared expert", ALL_EXPERTS: "all experts"}.get(site.expert, f"expert {site.expert}")
    return f"{site.layer}, {name}"


def _cell(sites: Sequence[Site], column: str, values: Mapping[Cell, float | None]) -> Cell:
    """The cell of a row and a column: where a row holds several sites, the one that has a value there."""
    return next(((site, column) for site in sites if (site, column) in values), (sites[0], column))
