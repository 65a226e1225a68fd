"""What was analysed of a run, as sections of a page: how each is read, and what it does not show. Knows no file."""

from collections.abc import Sequence

from markupsafe import Markup

from ..figures import DASH, PAGE, Figures
from .analyses import Analyses, Components, Frequency, Growth, Levels, Losses, Paraphrases, Perplexity, Spectrum, Temperature
from .categories import Series, columns, lines
from .charts import Bar, bars, curve
from .searchmaps import chosen_cells, maps
from .sections import Figure, Fold, Section
from .surgery import Surgery
from .tables import Table
from .terminal import shortened

#: Spectra that are drawn (the others are in the table), points of one, and answers that are quoted.
DRAWN, POINTS, QUOTED = 6, 240, 20
#: Singular values below this part of the largest are drawn as if they were it: on a logarithmic axis 0 has no place.
FAINTEST = 1e-6
SHARES, LOSSES = Figures("accuracy", PAGE), Figures("logloss", PAGE)


def sections(found: Analyses, surgery: Surgery) -> list[Section]:
    """One section for each thing that was analysed."""
    made = [
        None if found.loss is None else _losses(found.loss, surgery),
        _spectra(found.spectra, surgery) if found.spectra else None,
        None if found.reduction is None else _levels(found.reduction, surgery),
        None if found.components is None else _components(found.components),
        None if found.growth is None else _growth(found.growth),
        None if found.paraphrases is None else _paraphrases(found.paraphrases),
        None if found.frequency is None else _frequency(found.frequency),
        None if found.perplexity is None else _perplexity(found.perplexity),
        None if found.temperature is None else _temperature(found.temperature),
    ]
    return [section for section in made if section is not None]


def _losses(found: Losses, surgery: Surgery) -> Section:
    """Log loss, and accuracy, of every reduction."""
    chosen, base, figures = chosen_cells(surgery), found.base.get("loss"), LOSSES
    folds = []
    drawn = _map(found, found.loss, base, figures, "log loss", chosen)
    if found.accuracy is not None:
        shares = _map(found, found.accuracy, found.base.get("accuracy"), SHARES, "accuracy", chosen)
        told = "" if "accuracy" not in found.base else f" (the model as it is: {SHARES.value(found.base['accuracy'])})"
        folds.append(Fold(f"The same map in accuracy, per cent{told}", tuple(shares)))
    keys = (("up", "better"), ("down", "worse"), *((("chosen", "chosen"),) if chosen else ()))
    how = "Log loss of the right answers with one matrix reduced to a share ρ of its rank; less is better. A row is a layer."
    but = "Here every number is a score, and none a bound. Of many cells some look better by luck: what counts is the test split."
    asked = "" if found.n_pairs is None else f" on {found.n_pairs:,} answers"
    note = "" if base is None else f"The model as it is: {figures.value(base)}{asked}."
    return Section("loss", "Loss of every reduction", "Loss of every reduction", how, but, (), tuple(drawn), None, tuple(folds), keys, note)


def _map(
    found: Losses, table: Sequence[Sequence[float | None]], base: float | None, figures: Figures, title: str, chosen: frozenset[object]
) -> list[Figure]:
    values = {(site, rho): value for site, row in zip(found.sites, table, strict=True) for rho, value in zip(found.rhos, row, strict=True)}
    gains = {cell: None if value is None or base is None else figures.gain(value - base) for cell, value in values.items()}
    texts = {cell: "" if value is None else figures.aligned(value) for cell, value in values.items()}
    marked = frozenset(cell for cell in values if cell in chosen)
    return maps(found.sites, found.rhos, gains, texts, title=title, chosen=marked)


def _spectra(found: Sequence[Spectrum], surgery: Surgery) -> Section:
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


def _levels(found: Levels, surgery: Surgery) -> Section:
    """One matrix reduced up to nothing, and its block and layer taken out."""
    places = [*map(_rho, found.rhos), "block", "layer"]
    chosen = next((each.share for each in surgery.reductions if each.site == found.site), None)
    at = found.rhos.index(chosen) if chosen in found.rhos else None
    drawn = []
    for name, values, figures in (("log loss", found.loss, LOSSES), ("accuracy", found.accuracy, SHARES)):
        if values is None:
            continue
        key = "loss" if name == "log loss" else name
        series = Series(name, (*values, found.without["block"].get(key), found.without["layer"].get(key)), apart=2)
        level = values[found.rhos.index(1.0)] if 1.0 in found.rhos else None
        chart = lines(
            places,
            [series],
            title=f"{name} as {found.site} shrinks",
            share=figures.is_share,
            level=level,
            chosen=at,
            across="ρ that is left; then without the whole block, layer",
            upwards=name,
        )
        drawn.append(Figure(Markup(chart), f"{name} of {found.site}"))
    how = (
        f"{found.site} with less and less of its rank, up to nothing (0), then without its whole block and its whole layer. "
        "The broken line across is the full matrix."
    )
    but = "Where the line stays level even at 0, the matrix is not needed here; that says nothing about other tasks."
    return Section("reduction", "Too much reduction", "How far reduction goes", how, but, (), tuple(drawn))


def _components(found: Components) -> Section:
    """What the smallest components answer, and how near that is to the right answer."""
    points = [(kept, value) for kept, value in zip(found.kept, found.cosine, strict=True) if value is not None]
    of = "" if found.n_examples is None else f", mean over {found.n_examples:,} examples"
    drawn: tuple[Figure, ...] = ()
    if len(points) > 1:
        chart = curve(
            points,
            title="Cosine as more components are kept",
            share=False,
            logarithmic=False,
            across="share of the components kept, the smallest first",
            upwards=f"cosine of right and given answer{of}",
        )
        drawn = (Figure(Markup(chart), "Cosine"),)
    rows = [(shortened(each["prompt"]), each["gold"], each["base"], each["edited"], each["smallest"]) for each in found.answers[:QUOTED]]
    more = f"; {len(found.answers) - QUOTED:,} more are in the run folder" if len(found.answers) > QUOTED else ""
    head = ("prompt", "right", "before", "reduced", "smallest components alone")
    table = Table(f"What is answered{more}", head, tuple(rows), is_text=True) if rows else None
    how = (
        f"{found.site} with nothing but its smallest components: what does the model answer then? The curve: how near that answer comes "
        "to the right one as more of them are kept."
    )
    but = "Only examples that were wrong before and right after the reduction; they show what the removed components said there, no more."
    return Section("components", "Smallest components", "What the smallest components say", how, but, (), drawn, table)


def _growth(found: Growth) -> Section:
    """Whether the right answers only grow in number as a matrix is reduced."""
    names = [*map(_rho, found.rhos)]
    series = [Series("became right", found.gained), Series("became wrong", found.lost, "second")]
    drawn = columns(
        names,
        series,
        title=f"Answers gained and lost as {found.site} shrinks",
        share=False,
        mirrored=True,
        across="ρ, from the gentlest on",
        upwards="answers, against the step before",
    )
    numbers = zip(names, found.right, found.gained, found.lost, strict=True)
    rows = [(name, PAGE.number(right), PAGE.number(gained), PAGE.number(lost)) for name, right, gained, lost in numbers]
    table = Table("Right answers at each step", ("ρ", "right", "gained", "lost"), tuple(rows))
    lost_any = sum(value or 0 for value in found.lost)
    says = "Nothing that was right is ever lost." if not lost_any else f"{PAGE.number(lost_any)} times a right answer is lost on the way."
    how = f"Each column is a step: {found.site} at one ρ against the one before. Above the line: answers that became right; below: wrong."
    but = "If the right set only grew, there would be nothing below the line."
    return Section(
        "growth", "Gained and lost", "Does the right set only grow?", how, but, (says,), (Figure(Markup(drawn), "Growth"),), table
    )


def _paraphrases(found: Paraphrases) -> Section:
    """The share of facts that are right in all their wordings."""
    rows = [Bar("before", found.base, kind="before")]
    rows += [] if found.edited is None else [Bar("after", found.edited, kind="after")]
    drawn = bars(rows, title="Facts that are right in every paraphrase", reference=found.base)
    of = "" if found.n_facts is None else f"{found.n_facts:,} facts"
    each = "" if found.per_fact is None else f", {PAGE.number(found.per_fact)} paraphrases each on average"
    words = [f"{of}{each}."] if of else []
    if found.difference is not None:
        change = found.difference
        sure = f"95 % interval {SHARES.changes(change['interval'])}; {PAGE.p_value(change['p_value'])}"
        words.append(f"Change {SHARES.change(change['mean'], unit=True)} ({sure}).")
    how = "A fact counts only if every one of its paraphrases is answered right."
    but = "It is stricter than accuracy, so it is lower; a gain here says that an answer holds in other words too."
    figure = (Figure(Markup(drawn), "Paraphrases"),)
    return Section("paraphrases", "All paraphrases", "Right in every paraphrase", how, but, tuple(words), figure)


def _frequency(found: Frequency) -> Section:
    """Accuracy by how often a fact occurs in a corpus."""
    series = [Series("before", found.base, "base"), Series("after", found.edited)]
    series = [one for one in series if any(value is not None for value in one.values)]
    drawn = (
        columns(found.bins, series, title="Accuracy by how often a fact occurs", across="how often the fact occurs", upwards="accuracy")
        if series
        else ""
    )
    numbers = zip(found.bins, found.n, found.base, found.edited, strict=True)
    rows = [
        (name, PAGE.number(n), SHARES.value(base), SHARES.value(edited), SHARES.change(_apart(base, edited)))
        for name, n, base, edited in numbers
    ]
    table = Table("Accuracy by frequency, changes in points", ("occurrences", "examples", "before", "after", "change"), tuple(rows))
    source = f" Counted in {found.source}." if found.source else ""
    how = f"Examples by how often subject and answer stand in one text of a corpus.{source}"
    but = "Where a bin holds few examples, its columns say little: look at their number."
    figure = (Figure(Markup(drawn), "Frequency"),) if drawn else ()
    return Section("frequency", "By frequency", "Rare and frequent facts", how, but, (), figure, table)


def _perplexity(found: Perplexity) -> Section:
    """Perplexity with a sliding window."""
    change = DASH if found.edited is None or not found.base else f"{PAGE.signed(100 * (found.edited / found.base - 1), 1)}{PAGE.blank}%"
    row = (found.text, PAGE.number(found.base), PAGE.number(found.edited), change)
    table = Table("Perplexity, less is better", ("text", "before", "after", "change"), (row,))
    sizes = [("windows of", found.window), ("a stride of", found.stride)]
    told = " and ".join(f"{name} {size:,}" for name, size in sizes if size is not None)
    tokens = "" if found.tokens is None else f" over {found.tokens:,} tokens"
    how = f"Perplexity of plain text{tokens}" + (f", with {told} tokens." if told else ".")
    but = "With a sliding window every token is predicted from a long context. One text is no proof for others."
    return Section("perplexity", "Perplexity", "Plain text, window by window", how, but, (), (), table)


def _temperature(found: Temperature) -> Section:
    """A temperature that repairs the calibration."""
    rows = []
    for name, held in (("before the reduction", found.base), ("after the reduction", found.edited)):
        if held:
            rows.append((name, *(PAGE.number(held.get(key)) for key in ("temperature", "before", "after"))))
    head = ("model", "temperature", "log loss without it", "log loss with it")
    table = Table("Temperature, found on select; log loss on test, less is better", head, tuple(rows))
    how = "Log loss punishes an answer that is too sure. A temperature above 1 makes answers less sure; it changes no ranking."
    but = "If the loss after the reduction falls to that before once a temperature is set, the reduction hurt the calibration only."
    return Section("temperature", "Temperature", "Calibration by temperature", how, but, (), (), table)


def _rho(rho: float) -> str:
    """A share as the paper writes it, short enough for an axis: .05."""
    return f"{rho:g}".replace("0.", ".")


def _apart(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
