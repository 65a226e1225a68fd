"""What a plan does, on a terminal: neurons by layer and role, matrices by how far they are reduced, the steps of a composition."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resect.core.address import Site
from resect.core.number_format import DASH, PLAIN
from resect.core.site_maps import role_order
from resect.report.readers.plan_summary import PlanSummary, Reduction
from resect.report.readers.rank_search import RankSearch, step_name

LAYERS_SHOWN, STEPS_SHOWN = 24, 40


def cut_neurons(plan: PlanSummary) -> RenderableType | None:
    """How many neurons are cut in each layer (rows) and role (columns)."""
    counts = {site: len(units) for site, units in plan.units.items()}
    most = max(counts.values(), default=0)
    cells = {site: Text(str(number), style="bold red" if 2 * number > most else "red") for site, number in counts.items()}
    return _by_layer(cells) if cells else None


def reductions(plan: PlanSummary) -> RenderableType | None:
    """How far matrices are reduced, in each layer (rows) and role (columns); of one that is reduced twice, both."""
    by_site: dict[Site, list[Reduction]] = {}
    for reduction in plan.reductions:
        by_site.setdefault(reduction.site, []).append(reduction)
    if not by_site:
        return None
    cells = {site: Text(", then ".join(map(_setting, same)), style="red") for site, same in by_site.items()}
    zeroed = [str(reduction.site) for reduction in plan.reductions if reduction.is_zeroed]
    warning = [Text(f"Rank 0: nothing is left of {', '.join(zeroed)}.", style="yellow")] if zeroed else []
    return Group(_by_layer(cells), *warning)


def composition(search: RankSearch) -> RenderableType | None:
    """The steps that were kept, with the metric on select and on test after each."""
    if len(search.steps) < 2:
        return None
    figures, table = search.figures(PLAIN), Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", "kept", "select", "test"):
        table.add_column(heading, justify="left" if heading == "kept" else "right")
    for number, step in enumerate(search.steps[:STEPS_SHOWN]):
        table.add_row(str(number or ""), step_name(step), figures.value(step.select), figures.value(step.test))
    return _with_rest(table, len(search.steps) - STEPS_SHOWN, "steps")


def _setting(reduction: Reduction) -> str:
    if reduction.kind == "prune_weights":
        return reduction.setting
    rank = DASH if reduction.rank is None else f"{reduction.rank:,}" + ("" if reduction.full is None else f"/{reduction.full:,}")
    return f"{reduction.setting} (rank {rank})"


def _by_layer(cells: Mapping[Site, Text]) -> RenderableType:
    """A table of layers (and experts) by role."""
    roles = sorted({site.role for site in cells}, key=role_order)
    layers = dict.fromkeys(
        _layer(site) for site in sorted(cells, key=lambda site: (site.stack != "encoder", site.layer, site.expert or -1))
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", *roles):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for layer in list(layers)[:LAYERS_SHOWN]:
        row = {site.role: cell for site, cell in cells.items() if _layer(site) == layer}
        table.add_row(layer, *(row.get(role, Text("·", style="dim")) for role in roles))
    return _with_rest(table, len(layers) - LAYERS_SHOWN, "layers")


def _with_rest(table: Table, rest: int, what: str) -> RenderableType:
    return Group(table, Text(f"… and {rest:,} {what} more")) if rest > 0 else table


def _layer(site: Site) -> str:
    """The address without its role."""
    return str(site).removesuffix(f".{site.role}")
