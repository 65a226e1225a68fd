"""What was analysed of matrices, as sections of a page: loss of every reduction, singular values, reduction up to nothing."""

from collections.abc import Sequence

from markupsafe import Markup

from resect.core.number_format import DASH, PAGE, MetricFormat
from resect.report.charts.estimates_and_curves import curve
from resect.report.charts.lines_and_bars import Series, lines
from resect.report.readers.analyses import Levels, Losses, Spectrum
from resect.report.readers.plan_summary import Surgery
from resect.report.tables.tables import Table
from resect.report.text.analysis_sentences import chosen as beside_base

from .laser_sections import chosen_cells, maps
from .sections import Figure, Fold, Section

#: Spectra that are drawn (the others are in the table), and points of one.
DRAWN, POINTS = 6, 240
#: Singular values below this part of the largest are drawn as if they were it: on a logarithmic axis 0 has no place.
FAINTEST = 1e-6
SHARES, LOSSES = MetricFormat("accuracy", PAGE), MetricFormat("logloss", PAGE)


def losses(found: Losses, surgery: Surgery) -> Section:
    """Log loss, and accuracy, of every reduction."""
    chosen, base, figures = chosen_cells(surgery), found.base.get("loss"), LOSSES
    folds = []
    drawn = _map(found, found.loss, base, figures, "log loss", chosen)
    if found.accuracy is not None:
        metric = found.asked.metric
        shares = _map(found, found.accuracy, found.base.get("accuracy"), SHARES, metric, chosen)
        told = "" if "accuracy" not in found.base else f" (the model as it is: {SHARES.value(found.base['accuracy'])})"
        folds.append(Fold(f"The same map in {metric}, per cent{told}", tuple(shares)))
    keys = (("up", "better"), ("down", "worse"), *((("chosen", "chosen"),) if chosen else ()))
    how = (
        "Log loss of the right answers with one matrix reduced to a share ρ of its rank; less is better. A row is a layer. The colour is "
        "full from the strongest fifth on."
    )
    but = "Here every number is a score, and none a bound. Of many cells some look better by luck: what counts is the test split."
    asked = "" if found.n_pairs is None else f" on {found.n_pairs:,} answers{found.asked.on}"
    plan = {"edits": [{"site": each.site, "rho": each.share} for each in surgery.reductions]}
    told = "" if base is None else f"The model as it is: {figures.value(base)}{asked}."
    note = " ".join(part for part in (told, beside_base(vars(found), plan)) if part)
    return Section("loss", "Loss of every reduction", "Loss of every reduction", how, but, (), tuple(drawn), None, tuple(folds), keys, note)


def _map(
    found: Losses, table: Sequence[Sequence[float | None]], base: float | None, figures: MetricFormat, title: str, chosen: frozenset[object]
) -> list[Figure]:
    values = {(site, rho): value for site, row in zip(found.sites, table, strict=True) for rho, value in zip(found.rhos, row, strict=True)}
    gains = {cell: None if value is None or base is None else figures.gain(value - base) for cell, value in values.items()}
    texts = {cell: "" if value is None else figures.aligned(value) for cell, value in values.items()}
    marked = frozenset(cell for cell in values if cell in chosen)
    return maps(found.sites, found.rhos, gains, texts, title=title, chosen=marked)


def spectra(found: Sequence[Spectrum], surgery: Surgery) -> Section:
    """Singular values of matrices, those that are reduced first."""
    reduced = {each.site for each in surgery.reductions}
    ordered = sorted(found, key=lambda each: each.site not in reduced)
    drawn = tuple(_spectrum(each) for each in ordered[:DRAWN] if len(each.values) > 2)
    rows = []
    for each in ordered:
        above = DASH if each.edge is None else f"{sum(value > each.edge for value in each.values):,}"
        effective = (PAGE.number(value) for value in each.effective)
        rows.append((str(each.site), PAGE.number(each.full), PAGE.number(each.kept), *effective, PAGE.number(each.edge), above))
    head = ("matrix", "rank", "kept", "effective rank before", "after", "noise edge", "values above it")
    table = Table("Ranks, of the matrices that were looked at", head, tuple(rows))
    how = (
        "The singular values of a matrix from the largest on, on a logarithmic axis. The broken line is the noise edge: what a matrix of "
        "noise alone would reach (Marchenko and Pastur). The mark is where the reduction cuts off."
    )
    but = (
        "Effective rank: the exponential of the entropy of the values (Roy and Vetterli 2007). A value below the edge need not be useless."
    )
    return Section("spectra", "Singular values", "Singular values", how, but, (), drawn, table)


def _spectrum(found: Spectrum) -> Figure:
    least = found.values[0] * FAINTEST if found.values[0] > 0 else 1.0
    values = [max(value, least) for value in found.values]
    step = max(1, len(values) // POINTS)
    kept = found.kept if found.kept and found.kept <= len(values) else None
    places = sorted({*range(0, len(values), step), len(values) - 1, *(() if kept is None else (kept - 1,))})
    points = [(float(place + 1), values[place]) for place in places]
    edge = ("noise edge", found.edge) if found.edge is not None and found.edge > 0 else None
    title = f"Singular values of {found.site}"
    drawn = curve(
        points,
        None if kept is None else float(kept),
        title=title,
        share=False,
        logarithmic=False,
        decimal=True,
        level=edge,
        across="component",
        upwards="singular value",
        named="rank",
    )
    return Figure(Markup(drawn), title, heading=str(found.site))


def levels(found: Sequence[Levels], surgery: Surgery) -> Section:
    """One matrix reduced up to nothing, and its block and layer taken out."""
    drawn = [figure for each in found for figure in _levels(each, surgery, named=len(found) > 1)]
    name = str(found[0].site) if len(found) == 1 else f"Each of {len(found):,} matrices by itself"
    how = (
        f"{name}, with less and less of its rank, up to nothing (0), then without its whole block and its whole layer; on answers"
        f"{found[0].asked.on}. The broken line across is the full matrix."
    )
    but = "Where the line stays level even at 0, the matrix is not needed here; that says nothing about other tasks."
    return Section("reduction", "Too much reduction", "How far reduction goes", how, but, (), tuple(drawn))


def _levels(found: Levels, surgery: Surgery, named: bool) -> list[Figure]:
    places = [*map(short, found.rhos), "block", "layer"]
    chosen = next((each.share for each in surgery.reductions if each.site == found.site), None)
    at = found.rhos.index(chosen) if chosen in found.rhos else None
    drawn = []
    for key, values in (("loss", found.loss), ("accuracy", found.accuracy)):
        if values is None:
            continue
        what = "log loss" if key == "loss" else found.asked.metric
        series = Series(what, (*values, found.without["block"].get(key), found.without["layer"].get(key)), apart=2)
        chart = lines(
            places,
            [series],
            title=f"{what} as {found.site} shrinks",
            share=key != "loss",
            level=values[found.rhos.index(1.0)] if 1.0 in found.rhos else None,
            chosen=at,
            across="ρ that is left; then without the whole block, layer",
            upwards=what,
        )
        drawn.append(Figure(Markup(chart), f"{what} of {found.site}", heading=str(found.site) if named else ""))
    return drawn


def short(rho: float) -> str:
    """A share as the paper writes it, short enough for an axis.

    >>> short(0.05), short(1.0), short(0.0)
    ('.05', '1', '0')
    """
    return f"{rho:g}".replace("0.", ".")
