"""The exhibits of LAPE's analyses: units by layer, overlap, similarity of sentences, stability. From what analyses.json holds; no torch."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from resect.core.address import Site
from resect.core.exhibits import Curve, Exhibit, HeatMap, Table
from resect.core.number_format import plural
from resect.core.site_maps import Cell, site_maps

#: The result of an analysis: its part of analyses.json.
Result = Mapping[str, Any]
#: Pairs of languages that a note names.
PAIRS = 4


def exhibits(analyses: Mapping[str, Result]) -> tuple[Exhibit, ...]:
    """Returns the exhibits of these analyses, one section for each. `analyses`: name to result, as in analyses.json."""
    return tuple(
        replace(exhibit, section=section)
        for name, (section, describe) in _SECTIONS.items()
        if name in analyses
        for exhibit in describe(analyses[name])
    )


def _layers(result: Result) -> Sequence[Exhibit]:
    """Units by layer and language: their sum as a curve for each stack, heat maps, and totals."""
    sites, languages = [replace(Site.parse(site), expert=None) for site in result["sites"]], list(result["units"])
    counts = Counter[Cell]()
    for language, row in result["units"].items():
        for site, number in zip(sites, row, strict=True):  # experts of one layer are counted together
            counts[site, language] += number
    texts = {cell: f"{number:,}" if number else "·" for cell, number in counts.items()}
    curves = []
    for stack in dict.fromkeys(site.stack for site in sites):
        totals = Counter[int]()
        for (site, _), number in counts.items():
            if site.stack == stack:
                totals[site.layer] += number
        if len(totals) > 2:
            points = {"units": [(float(layer), float(number)) for layer, number in sorted(totals.items())]}
            curves.append(Curve(f"Units of all languages by layer, {stack}", "layer", "units of all languages", points))
    every, rows = sum(result["width"]), []
    for language in languages:
        total = sum(number for (_, name), number in counts.items() if name == language)
        most = max(sites, key=lambda site: counts[site, language])
        share = f"{100 * total / every:.2g} %" if every else None
        rows.append((language, total, share, f"{most.stack} {most.layer}" if total else None))
    note = (
        "A unit of two languages counts for both. In the published picture most units are in the lowest and highest layers. How many units "
        "a layer has is no measure of what they do."
    )
    table = Table(f"Units of each language, of {every:,} in all", ("language", "units", "of all", "most in layer"), rows, note)
    maps = site_maps("Units by layer and language", dict(counts), languages, by_role=False, texts=texts)
    return [table, *curves, *maps]


def _overlap(result: Result) -> Sequence[Exhibit]:
    """The units that each two languages share."""
    names, shared, jaccard = result["languages"], result["shared"], result["jaccard"]
    size = range(len(names))
    pairs = sorted(((jaccard[i][j], i, j) for i in size for j in size if i < j and shared[i][j]), reverse=True)[:PAIRS]
    alike = ", ".join(f"{names[i]} and {names[j]} ({shared[i][j]:,}, {value:.2f})" for value, i, j in pairs)
    alike = f"Most alike (units in common, Jaccard index): {alike}." if pairs else "No two languages share a unit."
    note = (
        f"{alike} A cell: how many units two languages have in common, and in parentheses that number divided by the units that either has "
        "(Jaccard index), which is also its colour. Languages that share units need not be related: a common script, or words of one in "
        "text of the other, are enough."
    )
    values = tuple(tuple(None if i == j else jaccard[i][j] for j in size) for i in size)
    texts = [["·" if not shared[i][j] else f"{shared[i][j]:,}" + ("" if i == j else f" ({jaccard[i][j]:.2f})") for j in size] for i in size]
    return [HeatMap("Units that languages share", names, names, values, note=note, texts=texts)]


def _similarity(result: Result) -> Sequence[Exhibit]:
    """The similarity of parallel sentences at each layer, over all languages and by pair."""
    layers, mean, unrelated, pairs = result["layers"], result["mean"], result["unrelated"], result["pairs"]
    gap, layer, related, other = max(zip([a - b for a, b in zip(mean, unrelated, strict=True)], layers, mean, unrelated, strict=True))
    note = (
        f"{plural(result['n_sentences'], 'sentences')} in {plural(len(result['languages']), 'languages')}. Most unlike unrelated "
        f"sentences after layer {layer}: {related:.3f} against {other:.3f}, {gap:.3f} more. A value: the cosine of the mean hidden states "
        "of one sentence in two languages, averaged; in the published picture it is highest in the middle. All states of a layer may point "
        "the same way: compare with unrelated sentences."
    )
    series = {
        name: [(float(layer), round(value, 3)) for layer, value in zip(layers, values, strict=True)]
        for name, values in (("parallel sentences", mean), ("unrelated sentences", unrelated))
    }
    lowest = min((value for row in pairs.values() for value in row), default=0.0)
    curve = Curve("Similarity of sentences by layer", "layer (0: embeddings)", "mean cosine", series, note)
    title, columns = "Similarity by pair of languages and layer", tuple(map(str, layers))
    rows = tuple(map(tuple, pairs.values()))
    by_pair = HeatMap(title, tuple(pairs), columns, rows, digits=2, center=lowest, corner="layer")
    return [curve, by_pair] if pairs else [curve]


def _stability(result: Result) -> Sequence[Exhibit]:
    """How similar the selected set is to that from half of the text, at each step, and between two halves of the text."""
    halves = result["halves"]
    steps = [
        (min(step["tokens"]), step["units"], None if step["jaccard"] is None else round(step["jaccard"], 3)) for step in result["steps"]
    ]
    known = [(tokens, jaccard) for tokens, _, jaccard in steps if jaccard is not None]
    sentences = []
    if halves is not None:
        tokens = "" if halves["tokens"] is None else f" (at least {min(map(min, halves['tokens'])):,} tokens of each language)"
        sentences.append(f"two halves of the text{tokens} select sets with a Jaccard index of {halves['jaccard']:.2f}")
    if known:
        sentences.append(f"the last doubling of the text left {known[-1][1]:.2f}")
    note = f"How stable the selection is (1: the same units): {'; '.join(sentences)}." if sentences else ""
    note += " Two halves hold half as much text as the run: its own set is more stable than theirs." if halves is not None else ""
    rows = [(f"{tokens:,}", units, jaccard) for tokens, units, jaccard in steps]
    exhibits: list[Exhibit] = [
        Table("The selected set after each step of reading", ("tokens of each language", "units", "Jaccard"), rows, note)
    ]
    if len(known) > 1:
        points = {"Jaccard index": [(float(place), jaccard) for place, (_, jaccard) in enumerate(known)]}
        names = [_thousands(tokens) for tokens, _ in known]
        label = "Jaccard index with the set from half of the text"
        exhibits.append(Curve("The selected set as text is added", "tokens of each language", label, points, x_names=names))
    if halves is not None and halves["by_language"]:
        alike = [(name, value if value is None else round(value, 2)) for name, value in halves["by_language"].items()]
        exhibits.append(Table("The units of two halves of the text", ("language", "Jaccard index"), alike))
    return exhibits


def _thousands(tokens: int) -> str:
    """A number of tokens, short enough for an axis.

    >>> _thousands(65_536), _thousands(2_097_152), _thousands(900)
    ('65.5k', '2.1M', '900')
    """
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if tokens >= size:
            return f"{tokens / size:.3g}{letter}" if tokens < 10 * size or letter == "k" else f"{tokens / size:.0f}{letter}"
    return str(tokens)


#: The section and the exhibits of each analysis, in the order in which they are shown.
_SECTIONS: Mapping[str, tuple[str, Callable[[Result], Sequence[Exhibit]]]] = {
    "layers": ("Units by layer and language", _layers),
    "overlap": ("Units that languages share", _overlap),
    "similarity": ("Similarity of parallel sentences", _similarity),
    "stability": ("Stability of the selection", _stability),
}
