"""Where a plan edits a model: maps by layer and role, matrices that are reduced, units by address, and the ranking of scores. No file."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from resect.core.address import Neurons, role_order
from resect.core.exhibits import Curve, HeatMap, Table
from resect.core.number_format import PAGE, plural
from resect.core.scores import Scores
from resect.core.site_maps import Cell, site_maps
from resect.report.readers.plan_summary import PlanSummary
from resect.report.tables.run_tables import reductions_table

from .blocks import Block, Fold, Paragraph, Section
from .exhibit_section import exhibit_blocks

#: In a deeper model, only layers with an edit are on the map.
LAYERS = 32
#: Scores that are drawn: three times as many as units are cut, within these bounds; units that are listed.
RANKS, UNITS = (50, 400), 2000


def plan_section(plan: PlanSummary, scores: Scores | None, units: Mapping[str, Neurons], file_digest: str) -> Section:
    """Returns where the edits are. `units`: by name of the plans, where there are several; `file_digest`: SHA-256 of plan.json."""
    blocks, about = list[Block](), []
    if units:
        about.append(f"{plural(plan.neurons, 'units')} in the plans of {plural(len(units), 'languages')}, one plan for each.")
    elif plan.units:
        about.append(f"{PAGE.number(plan.neurons)} in all, counted by layer (from 0) and role: the matrix whose rows are cut.")
        blocks += exhibit_blocks(_map(plan, scores))
    if plan.reductions:
        about.append("Of each matrix, only the largest components stay, up to the rank that is left. Nothing else of the model changes.")
        blocks.append(reductions_table(plan))
    named = units or ({"": plan.units} if plan.units else {})
    if named:
        blocks.append(Fold("Every unit that is edited", (_units(named),)))
    blocks.append(Paragraph(f"SHA-256 of plan.json: {file_digest}. Digest of its content (Plan.digest): {plan.digest}.", "note"))
    return Section("where", "Where", "Where the edits are", about or [f"Nothing is {plan.past}."], blocks)


def _map(plan: PlanSummary, scores: Scores | None) -> tuple[HeatMap, ...]:
    """The number of edited units by layer and role, one map for each stack."""
    counts = Counter[Cell]()
    for site, indices in plan.units.items():
        counts[replace(site, expert=None), site.role] += len(indices)
    edited = {(site.stack, site.layer) for site, _ in counts}
    known = {replace(site, expert=None) for site in (*(scores or ()), *plan.units) if site.stack in {stack for stack, _ in edited}}
    depth = max(site.layer for site in known) + 1
    shown = {site for site in known if depth <= LAYERS or (site.stack, site.layer) in edited}
    cells: dict[Cell, float | None] = {(site, site.role): float(counts[site, site.role]) for site in shown}
    texts = {cell: f"{value:,.0f}" if value else "·" for cell, value in cells.items()}
    roles = sorted({site.role for site in shown}, key=role_order)
    title = "Units that are edited" if depth <= LAYERS else "Units that are edited, in the layers that have any"
    return site_maps(title, cells, roles, by_role=False, texts=texts)


def _units(named: Mapping[str, Neurons]) -> Table:
    """Every unit by address; of a plan of very many, the first."""
    rows = []
    for name, neurons in named.items():
        left, file = UNITS, f"plans/{name}.json" if name else "plan.json"
        for site, indices in neurons.items():
            shown = ", ".join(map(str, indices[:left]))
            shown += f" … (all of them in {file})" if len(indices) > left else ""
            rows.append((f"{name} {site}".strip(), f"{len(indices):,}", shown))
            left = max(0, left - len(indices))
    return Table("Units that are edited, counted from 0", ("address", "units", "which"), rows, is_text=True)


def ranking_section(scores: Scores, plan: PlanSummary | None) -> Section | None:
    """Returns the highest scores in their order, and the place up to which units are cut; None for fewer than three scores."""
    if scores.count < 3:
        return None
    wanted = 0 if plan is None else plan.neurons
    top = scores.top(min(scores.count, max(RANKS[0], min(3 * wanted, RANKS[1]))))
    values = sorted((float(scores[site][unit]) for site, units in top.items() for unit in units), reverse=True)
    points = [(float(place), value) for place, value in enumerate(values, start=1)]
    marked = ("n", float(wanted)) if wanted else None
    curve = Curve("The highest scores of all units", "rank", "score", {"score": points}, marked=marked)
    meaning = scores.meaning.removeprefix("high: ")
    about = [f"A high score: {meaning}."] if meaning else []
    return Section("ranking", "Scores", "The highest scores", about, exhibit_blocks([curve], headings=False))
