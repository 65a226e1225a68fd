"""The search among reductions as a section of a page: a map for each role, the steps of a composition, what was reduced."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from resect.core.address import ROLES, Site
from resect.core.number_format import DASH, PAGE, MetricFormat
from resect.report.charts.heatmap import Shade, heat
from resect.report.charts.lines_and_bars import Series, lines
from resect.report.readers.denoising import Denoised
from resect.report.readers.laser_search import Sought, panels, row_name, searched, step_name
from resect.report.readers.plan_summary import Surgery
from resect.report.tables.tables import Table
from resect.runs.recipe import Recipe

from .sections import Figure, Fold, Section

#: Candidates that are told as numbers; trials.jsonl has all.
MOST = 400
#: Rows of one map (with experts there are many), from which on those that hold bounds alone are left out.
ROWS = 100

Cell = tuple[Site, float]


def search_section(recipe: Recipe, sought: Sought, surgery: Surgery) -> Section:
    """How the reduction was found."""
    figures = sought.figures(PAGE)
    words = (*searched(recipe, sought), *sought.outcome(surgery, PAGE))
    if sought.is_composed:
        how = (
            "Each number is that of a reduction put on top of what was kept before it; framed ones were kept. At each matrix ρ is tried "
            "from the smallest up; the first that improves select is kept, and larger ones are not tried (blank)."
        )
    else:
        how = (
            "A row is a layer (from 0), a column a share ρ of the rank. Colour: better or worse on select than the model as it is, full "
            "from the strongest fifth on."
        )
    early = sum(not each.is_complete for each in sought.candidates)
    if 2 * early > len(sought.candidates):
        how += " Most candidates were stopped early; the complete map is what “resect analyse RUN loss” draws"
        how += ", each matrix by itself." if sought.is_composed else "."
    but = f"The {sought.metric} drawn here is that on the select split, which chose: it flatters, and is not the result."
    keys = [("up", "better"), ("down", "worse")]
    if early:
        keys.append(("bound", f"stopped early: {'at most' if figures.gain(1.0) > 0 else 'at least'} this, a bound and no score"))
    keys += [("chosen", "kept" if sought.is_composed else "chosen")] if surgery.reductions else []
    drawn = _maps(sought, surgery, figures) if sought.rhos else []
    folds = (Fold("The candidates as numbers", table=_candidates(sought, figures)),) if sought.candidates else ()
    shown = tuple(keys) if drawn else ()
    note = "" if sought.base is None else f"The model as it is: {figures.value(sought.base)} on select."
    return Section(
        "search", "How it was found", "How it was found", how if drawn else "", but, words, tuple(drawn), None, folds, shown, note
    )


def composition_section(sought: Sought) -> Section | None:
    """The steps of a composition, on select and on test."""
    if len(sought.steps) < 2:
        return None
    figures, steps = sought.figures(PAGE), sought.steps
    series = [Series("select, which decided", [step.select for step in steps], "base"), Series("test", [step.test for step in steps])]
    series = [one for one in series if any(value is not None for value in one.values)]
    names = [str(number) for number in range(len(steps))]
    drawn = (
        lines(
            names,
            series,
            title=f"{sought.metric} as reductions add up",
            share=figures.is_share,
            across="reductions kept",
            upwards=f"{sought.metric} after each",
        )
        if series
        else ""
    )
    rows = [(f"{number} {step_name(step)}", figures.value(step.select), figures.value(step.test)) for number, step in enumerate(steps)]
    table = Table(f"The steps, {sought.metric}", ("kept", "select", "test"), tuple(rows))
    how = "From left to right, each step keeps one more reduction; 0 is the model as it is."
    but = "Select decided what is kept, so its line can only improve. What counts is the line on test, which nothing chose."
    chart = (Figure(Markup(drawn), "Composition"),) if drawn else ()
    return Section("composition", "Composition", "One on top of the other", how, but, (), chart, table)


def noise_section(found: Denoised) -> Section:
    """How a reduction without a task was found: a map of layers and roles."""
    how = "From the last layer down, each matrix was asked once, on top of what was kept before. A cell says the rank that is left."
    but = "Half of the passages decided; the other half is what is reported. One text is no proof for others."
    keys = (("up", "the stronger, the more was dropped"), ("bound", "taken back: the text became too improbable"), ("chosen", "kept"))
    drawn = []
    stacks = dict.fromkeys(each.site.stack for each in sorted(found.looked_at, key=lambda each: each.site.stack != "encoder"))
    for stack in stacks:
        here = {(row_name(each.site), each.site.role): each for each in found.looked_at if each.site.stack == stack}
        rows = list(dict.fromkeys(row_name(site) for site in sorted({each.site for each in here.values()})))
        roles = [role for role in ROLES if any(name == role for _, name in here)]
        cells = [[here.get((row, role)) for role in roles] for row in rows]
        places = {(r, c): each for r, row in enumerate(cells) for c, each in enumerate(row) if each is not None}
        gains = [[None if each is None or each.rho is None else 1 - each.rho for each in row] for row in cells]
        texts = [["" if each is None else "all" if each.rho is None else PAGE.number(each.rank) for each in row] for row in cells]
        bounds = {at for at, each in places.items() if each.rho is not None and not each.is_kept}
        kept = {at for at, each in places.items() if each.is_kept}
        title = f"Ranks above noise, {stack}"
        chart = heat(rows, roles, gains, texts, title=title, corner="layer", bounds=bounds, chosen=kept)
        drawn.append(Figure(Markup(chart), title, "natural", stack if len(stacks) > 1 else ""))
    rows_told = [
        (str(each.site), "all" if each.rho is None else f"{each.rho:g}", PAGE.number(each.rank), PAGE.number(each.perplexity))
        for each in found.looked_at
    ]
    table = Table("Matrices in the order in which they were asked", ("matrix", "ρ", "rank", "perplexity then"), tuple(rows_told))
    folds = (Fold("The matrices as numbers", table=table),)
    return Section("search", "How it was found", "How it was found", how, but, (found.extent(PAGE),), tuple(drawn), None, folds, keys)


def reductions_table(surgery: Surgery) -> Table:
    """What was reduced, matrix by matrix."""
    rows = []
    for each in surgery.reductions:
        rank = PAGE.number(each.rank) + (" (zeroed)" if each.is_zeroed else "") if each.rank is not None else DASH
        rows.append((str(each.site), each.setting, rank, PAGE.number(each.full)))
    return Table("Matrices that are reduced, layers counted from 0", ("matrix", "how far", "rank left", "of"), tuple(rows))


def maps(
    sites: Sequence[Site],
    rhos: Sequence[float],
    gains: Mapping[Cell, float | None],
    texts: Mapping[Cell, str],
    *,
    title: str,
    bounds: frozenset[Cell] = frozenset(),
    chosen: frozenset[Cell] = frozenset(),
) -> list[Figure]:
    """A heat map for each stack and role, all in the same colours: layers as rows, ρ as columns."""
    shade = _shade([gain for cell, gain in gains.items() if cell not in bounds and gain is not None])
    found, by_panel = [], panels(sites)
    stacks = {stack for stack, _ in by_panel}
    for (stack, role), everything in by_panel.items():
        here = [site for site in everything if len(everything) <= ROWS or _is_telling(site, rhos, gains, bounds)]
        cells = [[(site, rho) for rho in rhos] for site in here]
        marked = [{(r, c) for r, row in enumerate(cells) for c, cell in enumerate(row) if cell in some} for some in (bounds, chosen)]
        name = role if len(stacks) == 1 else f"{stack}, {role}"
        name += f" ({len(everything) - len(here):,} rows with nothing but bounds are left out)" if len(here) < len(everything) else ""
        drawn = heat(
            [row_name(site) for site in here],
            [f"{rho:g}" for rho in rhos],
            [[gains.get(cell) for cell in row] for row in cells],
            [[texts.get(cell, "") for cell in row] for row in cells],
            title=f"{title}, {name}",
            corner="layer",
            shade=shade,
            dense=True,
            bounds=marked[0],
            chosen=marked[1],
        )
        found.append(Figure(Markup(drawn), f"{title}, {name}", "natural", name))
    return found


def _is_telling(site: Site, rhos: Sequence[float], gains: Mapping[Cell, float | None], bounds: frozenset[Cell]) -> bool:
    """Whether there is more than bounds in the row of a matrix."""
    return any(gains.get((site, rho)) is not None and (site, rho) not in bounds for rho in rhos)


def _shade(gains: Sequence[float]) -> Shade:
    """One shade for all maps. It is full from the strongest fifth on, and at the best: a few ruins would leave the rest pale."""
    sizes = sorted(map(abs, gains))
    fifth = sizes[int(0.8 * (len(sizes) - 1))] if sizes else 0.0
    return Shade(0.0, max(fifth, max(gains, default=0.0)))


def chosen_cells(surgery: Surgery) -> frozenset[Cell]:
    """The cells of what a plan reduces."""
    return frozenset((each.site, each.share) for each in surgery.reductions)


def _maps(sought: Sought, surgery: Surgery, figures: MetricFormat) -> list[Figure]:
    cells = {(each.site, each.rho): each for each in sought.candidates if each.rho is not None}
    base = sought.base
    gains = {cell: None if base is None else figures.gain(each.score - base) for cell, each in cells.items()}
    texts = {cell: each.briefly(figures) for cell, each in cells.items()}
    bounds = frozenset(cell for cell, each in cells.items() if not each.is_complete)
    kept = frozenset(cell for cell, each in cells.items() if each.kept) or chosen_cells(surgery)
    return maps(sought.sites, sought.rhos, gains, texts, title=f"{sought.metric} on select", bounds=bounds, chosen=kept)


def _candidates(sought: Sought, figures: MetricFormat) -> Table:
    """The candidates in the order of their score, the best first."""
    ordered = sorted(sought.candidates, key=lambda each: (each.is_complete, figures.gain(each.score)), reverse=True)
    rows = [
        (
            str(each.site),
            DASH if each.rho is None else f"{each.rho:g}",
            PAGE.number(each.rank),
            each.exactly(figures),
            PAGE.number(each.asked),
        )
        for each in ordered[:MOST]
    ]
    more = f"; {len(ordered) - MOST:,} more are in trials.jsonl" if len(ordered) > MOST else ""
    head = ("matrix", "ρ", "rank", f"{sought.metric} (select)", "answers")
    return Table(f"Candidates, the best first; ≤ and ≥ are bounds of those that were stopped early{more}", head, tuple(rows))
