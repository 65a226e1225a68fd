"""Analyses of the units of languages, as sections of a page: by layer, overlap, similarity of sentences, stability. Knows no file."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from resect.core.address import STACKS, Neurons
from resect.core.number_format import DASH, PAGE
from resect.report.charts.estimates_and_curves import curve
from resect.report.charts.heatmap import heat
from resect.report.charts.lines_and_bars import Series, lines
from resect.report.readers.unit_sets import Layers, Overlap, Similarity, Stability
from resect.report.tables.tables import Table
from resect.report.text.lape_sentences import farthest

from .sections import Figure, Fold, Section

#: Pairs that are named in a sentence.
PAIRS = 4
#: Units of a language that are named; of more, the plan tells.
UNITS = 2000
#: From so many layers on the map of layers and languages is folded.
DEEP = 40


def layers(found: Layers | None, units: Mapping[str, Neurons]) -> Section | None:
    """Units by layer and language, and which they are; None where neither is known."""
    which = _units(units)
    if found is None:
        return None if which is None else Section("units", "Which units", "Which units", "Counted from 0 in each layer.", folds=(which,))
    how = (
        "How many units each language has in each layer. A unit of two languages counts for both. The published picture is a U: most lie "
        "at the bottom and at the top."
    )
    but = "How many lie in a layer says nothing about how much each of them does."
    drawn, folds = [], []
    several = len({site.stack for site in found.sites}) > 1
    for stack in STACKS:
        if any(site.stack == stack for site in found.sites):
            curves, chart, is_deep = _stack(found, stack, several)
            drawn += curves
            if is_deep:
                folds.append(Fold(f"Layer by layer{f', {stack}' if several else ''}", (chart,)))
            else:
                drawn.append(chart)
    folds.append(Fold("The units of each language as numbers", table=_totals(found)))
    folds += [] if which is None else [which]
    return Section("layers", "By layer", "Units by layer and language", how, but, (), tuple(drawn), None, tuple(folds))


def _stack(found: Layers, stack: str, named: bool) -> tuple[list[Figure], Figure, bool]:
    """A stack: the units of all languages as a curve where there are layers enough for one, the map, and whether that is a tall one."""
    languages, heading = list(found.units), stack.capitalize() if named else ""
    by_layer: dict[int, list[int]] = {}
    for place, site in enumerate(found.sites):
        if site.stack == stack:
            by_layer.setdefault(site.layer, []).append(place)  # experts of one layer are counted together
    depths = sorted(by_layer)
    rows = [[float(sum(found.units[name][place] for place in by_layer[depth])) for name in languages] for depth in depths]
    title, curves = f"Units by layer, {stack}", []
    if len(depths) > 2:
        totals = [(float(depth), sum(row)) for depth, row in zip(depths, rows, strict=True)]
        line = curve(totals, title=title, share=False, logarithmic=False, across="layer", upwards="units of all languages")
        curves = [Figure(Markup(line), title, heading=heading)]
    texts = [[f"{value:,.0f}" if value else "·" for value in row] for row in rows]
    title = f"Units by layer and language, {stack}"
    chart = heat([str(depth) for depth in depths], languages, rows, texts, title=title, corner="layer", dense=True)
    return curves, Figure(Markup(chart), title, "natural", heading), len(depths) > DEEP


def _totals(found: Layers) -> Table:
    """How many units each language has, and what part of all units that is."""
    sizes = [size for size in found.width if size is not None]
    every = sum(sizes) if len(sizes) == len(found.width) else 0
    rows = []
    for name, row in found.units.items():
        share = f"{100 * sum(row) / every:.2g}{PAGE.blank}%" if every else DASH
        rows.append((name, f"{sum(row):,}", share, _place(found, row)))
    of = f" of {every:,}" if every else ""
    return Table(f"Units of each language{of}", ("language", "units", "of all", "most in layer"), tuple(rows))


def _place(found: Layers, row: Sequence[int]) -> str:
    """The site that holds most of a language's units."""
    if not any(row):
        return DASH
    site = found.sites[max(range(len(row)), key=row.__getitem__)]
    return f"{site.stack} {site.layer}"


def _units(found: Mapping[str, Neurons]) -> Fold | None:
    """All of them as a table that is folded; None where there are none."""
    rows = []
    for name, neurons in found.items():
        left = UNITS
        for site, units in neurons.items():
            told = ", ".join(map(str, units[:left]))
            rows.append(
                (f"{name} {site}", f"{len(units):,}", told if len(units) <= left else f"{told} … (all of them in plans/{name}.json)")
            )
            left = max(0, left - len(units))
    table = Table("Units of each language, counted from 0", ("language and layer", "units", "which"), tuple(rows), is_text=True)
    return Fold("Which units", table=table) if rows else None


def overlap(found: Overlap) -> Section:
    """Which units languages share."""
    names = found.languages
    size = len(names)
    cells = [[None if row == column else found.jaccard[row][column] for column in range(size)] for row in range(size)]
    texts = [[PAGE.number(value) if value else "·" for value in row] for row in found.shared]
    drawn = heat(names, names, cells, texts, title="Units that languages share", dense=True)
    ranked = sorted(
        (
            (found.jaccard[row][column] or 0.0, _told(found, row, column))
            for row in range(size)
            for column in range(row + 1, size)
            if found.shared[row][column]
        ),
        reverse=True,
    )
    words = (
        f"Most alike (units in common, Jaccard): {', '.join(told for _, told in ranked[:PAIRS])}."
        if ranked
        else "No two languages share a unit."
    )
    how = (
        "How many units two languages have in common; on the diagonal, how many a language has. The colour: that number as a part of the "
        "units that either of them has (Jaccard)."
    )
    but = "Languages that share units need not be related: a common script, or words in the other language, will do."
    rows = [(name, *(PAGE.signed(value, 2).removeprefix("+") for value in row)) for name, row in zip(names, found.jaccard, strict=True)]
    folds = (
        Fold("The Jaccard indices as numbers", table=Table("Shared units as a part of those that either has", ("", *names), tuple(rows))),
    )
    figure = (Figure(Markup(drawn), "Units that languages share", "natural"),)
    return Section("overlap", "Overlap", "Units that languages share", how, but, (words,), figure, None, folds)


def _told(found: Overlap, row: int, column: int) -> str:
    jaccard = PAGE.signed(found.jaccard[row][column], 2).removeprefix("+")
    return f"{found.languages[row]} and {found.languages[column]} ({PAGE.number(found.shared[row][column])}, {jaccard})"


def similarity(found: Similarity) -> Section:
    """How alike parallel sentences are inside the model, layer by layer."""
    series = [Series("parallel sentences", _short(found.mean)), Series("unrelated sentences", _short(found.unrelated), "base")]
    series = [one for one in series if any(value is not None for value in one.values)]
    names = [str(layer) for layer in found.layers]
    title = "Similarity of sentences by layer"
    drawn = lines(names, series, title=title, across="layer (0: embeddings)", upwards="mean cosine", share=False)
    words = [told] if (told := farthest(found)) else []
    how = (
        "The same sentences in two languages: the cosine of their mean hidden states, averaged over sentences and pairs of languages. The "
        "published picture is an upside-down U: in the middle, languages lie closest together."
    )
    but = "A cosine alone says little, since all states of a layer may point the same way: read it against that of unrelated sentences."
    pairs = list(found.pairs)
    cells = [list(found.pairs[name]) for name in pairs]
    texts = [["" if value is None else f"{value:.2f}" for value in row] for row in cells]
    lowest = min((value for row in cells for value in row if value is not None), default=0.0)
    chart = heat(pairs, names, cells, texts, title="Similarity by pair of languages and layer", corner="layer", floor=lowest, dense=True)
    folds = (Fold("Pair by pair", (Figure(Markup(chart), "Pair by pair", "natural"),)),) if pairs else ()
    figure = (Figure(Markup(drawn), title),)
    return Section("similarity", "Similarity", "Parallel sentences, layer by layer", how, but, tuple(words), figure, None, folds)


def stability(found: Stability) -> Section:
    """Whether another amount of text, or another half of it, would have given the same units."""
    known = [step for step in found.steps if step.jaccard is not None]
    drawn: tuple[Figure, ...] = ()
    words, folds = [], []
    if len(known) > 1:
        series = Series("Jaccard", _short([step.jaccard for step in known]))
        title, names = "The set as there is more text", [_thousands(step.tokens) for step in known]
        upwards = "how alike the two sets are (Jaccard)"
        chart = lines(names, [series], title=title, across="tokens of each language", upwards=upwards, share=False)
        drawn = (Figure(Markup(chart), title),)
    elif known:
        words.append(
            f"After {known[0].tokens:,} tokens of each language: Jaccard {known[0].jaccard:.2f} with the set of half as much text."
        )
    if found.halves is not None:
        tokens = "" if found.halves.tokens is None else f" (at least {found.halves.tokens:,} tokens of each language)"
        words.append(f"Two halves of the text{tokens}, each by itself, give sets with a Jaccard index of {found.halves.jaccard:.2f}.")
        rows = tuple((name, f"{value:.2f}") for name, value in found.halves.by_language.items())
        table = Table("The units of two halves of the text (Jaccard)", ("language", "in common"), rows)
        folds += [Fold("The two halves, language by language", table=table)] if rows else []
    how = (
        "Selected again and again while the text was read: how much of the set stays as the text doubles? Jaccard: what two sets share, as "
        "a part of what either has; 1 is the same set."
    )
    but = "Two halves hold half as much text as the whole: the final set is steadier than they are."
    steps = tuple(
        (f"{step.tokens:,}", PAGE.number(step.units), DASH if step.jaccard is None else f"{step.jaccard:.3f}") for step in found.steps
    )
    folds += (
        [Fold("The steps as numbers", table=Table("The set at each step", ("tokens of each language", "units", "Jaccard"), steps))]
        if steps
        else []
    )
    return Section("stability", "Stability", "Would more text have changed it?", how, but, tuple(words), drawn, None, tuple(folds))


def _short(values: Sequence[float | None]) -> list[float | None]:
    """Values with three digits after the point: more would not fit beside a curve."""
    return [None if value is None else round(value, 3) for value in values]


def _thousands(tokens: int) -> str:
    """A number of tokens, short enough for an axis.

    >>> _thousands(65_536), _thousands(2_097_152), _thousands(900)
    ('65.5k', '2.1M', '900')
    """
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if tokens >= size:
            return f"{tokens / size:.3g}{letter}" if tokens < 10 * size or letter == "k" else f"{tokens / size:.0f}{letter}"
    return str(tokens)
