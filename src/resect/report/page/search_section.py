"""How the plan was searched, by the form of the candidates: sizes as a curve, matrices × ρ as heat maps, the steps of a composition."""

from collections.abc import Sequence

from resect.core.address import role_order
from resect.core.exhibits import SHARE, Curve, Exhibit, Table
from resect.core.number_format import DASH, PAGE, MetricFormat
from resect.core.site_maps import Cell, site_maps
from resect.report.readers.noise_search import NoiseSearch
from resect.report.readers.plan_summary import PlanSummary
from resect.report.readers.rank_search import RankSearch, score, short_score
from resect.report.readers.run_contents import RunContents
from resect.report.tables.run_tables import figures_of
from resect.report.tables.search_tables import chosen_size, composition_table, sizes_table
from resect.report.text.changed_answers import QuotedText
from resect.runs.guarded_search import GuardedSearch, breaks, has_broken
from resect.runs.schemas.rows import TrialLine

from .blocks import Answer, Block, Fold, Paragraph, Quotation, Quotations, Section
from .exhibit_section import exhibit_blocks

#: Candidates that are listed as numbers; trials.jsonl has all.
MOST = 400


def search_sections(contents: RunContents) -> list[Section]:
    """Returns the sections on the search: none where no candidate is known."""
    plan = contents.plan_or_kind
    noise = NoiseSearch.of(contents.comparison, contents.trials)
    if noise is not None:
        return [_noise(noise)]
    sections = []
    sizes = sorted((trial for trial in contents.trials if trial.size is not None), key=lambda trial: trial.size or 0.0)
    figures = figures_of(contents.comparison)
    table = sizes_table(contents, figures)
    if table is not None:
        chosen = chosen_size(contents)
        sections.append(_sizes(sizes, table, figures.metric, chosen, _guards(contents)))
    search = RankSearch.of(contents.trials, contents.comparison)
    if search is not None:
        sections.append(_ranks(search, plan, _guards(contents)))
        sections += [_composition(search)] if len(search.steps) > 1 else []
    return sections


def _guards(contents: RunContents) -> list[Block]:
    """What guards held in the search, and what they changed; empty where nothing was guarded."""
    guarded = GuardedSearch.of(contents.comparison)
    if guarded is None:
        return []
    table = guarded.table(PAGE)
    told = guarded.sentences(PAGE) if table is None else [guarded.limits(PAGE)]
    return [*(Paragraph(sentence) for sentence in told if sentence), *([] if table is None else [table])]


def _sizes(trials: Sequence[TrialLine], table: Table, metric: str, chosen: tuple[int, float] | None, guards: Sequence[Block]) -> Section:
    """The score on the select split against the number of units that are changed, a line for each factor."""
    figures, label = MetricFormat(metric, PAGE), f"{metric}, select split"
    factors = sorted({trial.factor or 0.0 for trial in trials})
    names = {factors[0]: metric}
    if len(factors) > 1:
        is_chosen = lambda factor: chosen is not None and chosen[0] > 0 and factor == chosen[1]
        names = {factor: (f"times {factor:g}" if factor else "cut") + (", chosen" if is_chosen(factor) else "") for factor in factors}
    series = {
        name: [(trial.size or 0.0, trial.score) for trial in trials if (trial.factor or 0.0) == factor] for factor, name in names.items()
    }
    marked = None if chosen is None else ("n", float(chosen[0]))
    unit = SHARE if figures.is_share else ""
    blocks = list[Block](guards)
    if len(trials) > 2:
        neurons = "neurons" if any(factors) else "neurons cut"
        curve = Curve(f"{label}, by n", neurons, label, series, unit=unit, x_log=True, marked=marked)
        blocks += exhibit_blocks([curve], headings=False)
        blocks.append(Fold("The candidates as numbers", (table,), is_printed=True))
    else:
        blocks.append(table)
    title = "How many, and by which factor" if len(factors) > 1 else "How many were cut"
    return Section("search", "Search", title, (_optimistic(metric),), blocks)


def _optimistic(metric: str) -> str:
    return f"The {metric} shown here is that on the select split, which chose the plan: it is optimistic, and not the result."


def _ranks(search: RankSearch, plan: PlanSummary, guards: Sequence[Block]) -> Section:
    """The score of each matrix at each share ρ of its rank, and the candidates as numbers."""
    figures, early = search.figures(PAGE), sum(not trial.complete for trial in search.candidates)
    if search.is_composed:
        reading = (
            "Each number is that of a reduction on top of what was kept before it; framed ones were kept. At each matrix ρ is tried from "
            "the smallest up; the first that improves the select split is kept, and larger ones are not tried (blank)."
        )
    else:
        reading = "A row is a layer (from 0), a column a share ρ of the rank. The colour is full from the strongest fifth on."
    if 2 * early > len(search.candidates):
        reading += " Most candidates were stopped early; “resect analyse RUN loss” draws the complete map, each matrix by itself."
    blocks: list[Block] = [Paragraph(sentence) for sentence in (*search.sentences(), search.outcome(plan, PAGE))]
    if search.base is not None:
        blocks.append(Paragraph(f"The model without an edit: {figures.value(search.base)} on select."))
    blocks += guards
    blocks += exhibit_blocks(_rank_maps(search, plan, early)) if search.rhos else []
    if search.candidates:
        blocks.append(Fold("The candidates as numbers", (_candidates(search, figures),), is_printed=len(search.candidates) <= 40))
    return Section("search", "Search", "Search", (reading if search.rhos else "", _optimistic(search.metric)), blocks)


def _rank_maps(search: RankSearch, plan: PlanSummary, early: int) -> Sequence[Exhibit]:
    figures, columns = search.figures(PAGE), [f"{rho:g}" for rho in search.rhos]
    reduced = [trial for trial in search.candidates if trial.rho is not None]
    cells: dict[Cell, TrialLine] = {(trial.site, f"{trial.rho:g}"): trial for trial in reduced if trial.site is not None}
    kept = {cell for cell, trial in cells.items() if trial.kept} or {(edit.site, f"{edit.share:g}") for edit in plan.reductions}
    legend = {"up": "better", "down": "worse"} | ({"framed": "kept" if search.is_composed else "chosen"} if plan.reductions else {})
    if early:
        legend["bounds"] = f"stopped early: {'at most' if figures.is_share else 'at least'} this, a bound and no score"
    base = search.base
    return site_maps(
        f"{search.metric} on select",
        {cell: None if base is None else trial.score for cell, trial in cells.items()},
        columns,
        texts={cell: short_score(trial, figures) for cell, trial in cells.items()},
        framed=kept,
        bounds={cell for cell, trial in cells.items() if not trial.complete},
        center=base or 0.0,
        lower_is_better=not figures.is_share,
        unit=SHARE if figures.is_share else "",
        legend=legend,
    )


def _candidates(search: RankSearch, figures: MetricFormat) -> Table:
    """The candidates in the order of their scores, the best first."""
    ordered = sorted(search.candidates, key=lambda trial: (trial.complete, figures.gain(trial.score or 0.0)), reverse=True)
    is_guarded = has_broken(ordered)
    rows = [
        (str(trial.site), DASH if trial.rho is None else f"{trial.rho:g}", trial.rank, score(trial, figures), trial.examples)
        + ((breaks(trial),) if is_guarded else ())
        for trial in ordered[:MOST]
    ]
    more = f"; {len(ordered) - MOST:,} more are in trials.jsonl" if len(ordered) > MOST else ""
    title = f"Candidates, the best first; ≤ and ≥ are bounds of those that were stopped early{more}"
    columns = ("matrix", "ρ", "rank", f"{search.metric} (select)", "answers", *(("breaks",) if is_guarded else ()))
    return Table(title, columns, rows)


def _composition(search: RankSearch) -> Section:
    """The steps of a composition, on select and on test."""
    figures, steps = search.figures(PAGE), search.steps
    series = {
        name: [(float(place), value) for place, value in enumerate(values)]
        for name, values in (("test", [step.test for step in steps]), ("select, which decided", [step.select for step in steps]))
        if any(value is not None for value in values)
    }
    label, names = f"{search.metric} after each", list(map(str, range(len(steps))))
    title = f"{search.metric} as reductions are added"
    curve = Curve(title, "reductions kept", label, series, unit=SHARE if figures.is_share else "", x_names=names)
    how = "From left to right, each step keeps one more reduction; 0 is the model without an edit."
    but = "Select decided what is kept, so its line can only improve. The result is the line on test, which chose nothing."
    blocks = [*exhibit_blocks([curve] if series else [], headings=False), composition_table(search)]
    return Section("composition", "Composition", "Composition", (how, but), blocks)


def _noise(search: NoiseSearch) -> Section:
    """A search on plain text: the rank above noise of each matrix, and which reductions were kept."""
    candidates = [trial for trial in search.candidates if trial.site is not None]
    cells: dict[Cell, TrialLine] = {(trial.site, trial.site.role): trial for trial in candidates if trial.site is not None}
    roles = sorted({role for _, role in cells}, key=role_order)
    maps = site_maps(
        "Ranks above noise",
        {cell: None if trial.rho is None else 1 - trial.rho for cell, trial in cells.items()},
        roles,
        by_role=False,
        texts={cell: "all" if trial.rho is None else PAGE.number(trial.rank) for cell, trial in cells.items()},
        framed={cell for cell, trial in cells.items() if trial.kept},
        bounds={cell for cell, trial in cells.items() if trial.rho is not None and not trial.kept},
        legend={"up": "the stronger, the more was dropped", "bounds": _undone(candidates), "framed": "kept"},
    )
    is_guarded = any(trial.broken for trial in candidates)
    rows = [
        (str(trial.site), "all" if trial.rho is None else f"{trial.rho:g}", trial.rank, PAGE.number(trial.score))
        + (("; ".join(trial.broken),) if is_guarded else ())
        for trial in candidates
    ]
    columns = ("matrix", "ρ", "rank", "perplexity then") + (("limit exceeded",) if is_guarded else ())
    table = Table("Matrices in the order in which they were tried", columns, rows)
    how = "From the last layer down, each matrix was tried once, on top of what was kept before. A cell is the rank that is left."
    but = "Half of the passages decided; the other half is what is reported. One text is no proof for others."
    fold = Fold("The matrices as numbers", (table,), is_printed=len(rows) <= 40)
    sentences = [Paragraph(sentence) for sentence in (search.extent(PAGE), search.writing(PAGE), search.foreign(PAGE)) if sentence]
    return Section("search", "Search", "Search", (how, but), (*sentences, *exhibit_blocks(maps), fold, *_samples(search)))


def _undone(candidates: Sequence[TrialLine]) -> str:
    """Why reductions were undone."""
    return "undone: the text became too improbable" + (", or the model wrote worse" if any(trial.broken for trial in candidates) else "")


def _samples(search: NoiseSearch) -> list[Fold]:
    """What the model writes greedily, before and after, side by side."""
    quotations = [
        Quotation(
            f"sample {number}",
            QuotedText.of(texts.prompt),
            [((_sample("before", texts.base), _sample("after", texts.edited)), "")],
        )
        for number, texts in enumerate(search.samples.texts, start=1)
    ]
    return [Fold("What the model writes, before and after", (Quotations(quotations),))] if quotations else []


def _sample(name: str, text: str) -> Answer:
    return Answer(name, QuotedText.of(text) if text.strip() else QuotedText("(nothing)"))
