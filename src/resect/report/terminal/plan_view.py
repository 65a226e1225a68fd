"""Which neurons a plan cuts, on a terminal: by layer and role."""

from rich.text import Text

from resect.core.address import Site, expert_order, role_order
from resect.report.readers.plan_summary import PlanSummary
from resect.report.text.split_table import SplitTable

LAYERS_SHOWN = 24


def cut_neurons(plan: PlanSummary) -> SplitTable | None:
    """How many neurons are cut in each layer, or expert (rows) and role (columns); None where none are."""
    counts = {site: len(units) for site, units in plan.units.items()}
    if not counts:
        return None
    roles, most = sorted({site.role for site in counts}, key=role_order), max(counts.values())
    in_order = sorted(counts, key=lambda site: (site.stack != "encoder", site.layer, expert_order(site.expert)))
    layers = list(dict.fromkeys(map(_layer, in_order)))
    rows = []
    for layer in layers[:LAYERS_SHOWN]:
        here = {site.role: number for site, number in counts.items() if _layer(site) == layer}
        rows.append([Text(layer), *(_cell(here.get(role, 0), most) for role in roles)])
    if len(layers) > LAYERS_SHOWN:
        rows.append([Text(f"… and {len(layers) - LAYERS_SHOWN:,} layers more"), *(Text("") for _ in roles)])
    return SplitTable(["", *roles], rows)


def _layer(site: Site) -> str:
    """The address without its role."""
    return str(site).removesuffix(f".{site.role}")


def _cell(number: int, most: int) -> Text:
    return Text(str(number), style="bold red" if 2 * number > most else "red") if number else Text("·", style="dim")
