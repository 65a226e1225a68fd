"""The exhibits of all analyses: from what analyses.json holds of each to tables, curves and heat maps with a note. No torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from resect.core.exhibits import SHARE, Curve, Exhibit, Table
from resect.core.number_format import BROKEN_PERPLEXITY, DASH, PLAIN, MetricFormat

from .matrix_exhibits import LOSS, SHARES, Result, components, growth, loss, reduction, spectra

#: The ends of the range in which `temperature.best_temperature` searches; a test holds them equal, since exhibits load no torch.
LOWEST, HIGHEST = 1e-3, 1e3
#: A loss that rises by no more than this share, or this much, is as good as equal.
ROUNDING, FAINT = 0.005, 0.0005


def exhibits(analyses: Mapping[str, Result], plan: Mapping[str, Any] | None = None) -> tuple[Exhibit, ...]:
    """Returns the exhibits of these analyses, one section for each.

    Parameters
    ----------
    analyses : name to result, as in analyses.json
    plan : the object of plan.json; what the run selected is marked
    """
    edits = (plan or {}).get("edits") or ()
    shares = {str(edit["site"]): float(edit["rho"]) for edit in edits if "rho" in edit}
    found = list[Exhibit]()
    for name, (section, describe) in _SECTIONS.items():
        if name in analyses:
            first, *others = describe(analyses[name], shares)
            limit = analyses[name].get("limit")
            limited = f" Evaluated on at most {limit:,} examples of the task." if isinstance(limit, int) else ""
            found += [replace(exhibit, section=section) for exhibit in (replace(first, note=f"{first.note}{limited}"), *others)]
    return tuple(found)


def _paraphrases(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """The share of facts that are right in all their wordings."""
    edited, change, per_fact = result.get("edited"), result.get("difference"), result.get("per_fact")
    each = "" if per_fact is None else f", {PLAIN.number(per_fact)} paraphrases each on average"
    note = f"Right in all wordings: {SHARES.pair(result['base'], edited)} of {result['n_facts']:,} facts{each}."
    note += " A fact counts only where every one of its paraphrases is answered right."
    moved = DASH
    if change is not None:
        sure = f"{SHARES.change_interval(change['interval'])}; {PLAIN.p_value(change['p_value'])}"
        moved = f"{SHARES.change(change['mean'])}\n{sure}"
    columns = ("facts", "before", "after", "change, in points")
    row = ("right in all wordings", SHARES.value(result["base"]), SHARES.value(edited), moved)
    return [Table("Facts that are right in every paraphrase", columns, [row], note)]


def _frequency(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Accuracy by how often a fact occurs in a corpus, as bars and as a table."""
    metric = result.get("metric", "accuracy")
    figures, bins = MetricFormat(metric), result["bins"]
    lines = list(zip(bins, result["n"], result["base"], result["edited"], strict=True))
    ends = {name: values for name, values in (("before", result["base"]), ("after", result["edited"])) if set(values) != {None}}
    told = ", ".join(f"{name} {figures.pair(base, edited)} (n = {n})" for name, n, base, edited in lines if n)
    unknown = f" How often {result['unknown']:,} other facts occur is not known." if result.get("unknown") else ""
    note = f"{metric.capitalize()} by occurrences in {result['source']}: {told}.{unknown}"
    note += " An occurrence is a text that holds both subject and answer. A bin with few examples says little."
    curve = Curve(
        f"{metric.capitalize()} by how often a fact occurs",
        "occurrences of the fact",
        metric,
        {name: [(float(place), value) for place, value in enumerate(values)] for name, values in ends.items()},
        note,
        unit=SHARE if figures.is_share else "",
        x_names=bins,
        bars=True,
        tones={name: tone for name, tone in (("before", "muted"), ("after", "main")) if name in ends},
    )
    rows = [
        (name, n, figures.value(base), figures.value(edited), figures.change(None if None in (base, edited) else edited - base))
        for name, n, base, edited in lines
    ]
    columns = ("occurrences", "examples", "before", "after", "change, in points")
    return [curve, Table(f"{metric.capitalize()} by frequency", columns, rows)]


def _perplexity(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Perplexity of plain text with a sliding window."""
    base, edited, stride = result["base"], result["edited"], result["stride"]
    change = DASH if edited is None or not base else f"{PLAIN.signed(100 * (edited / base - 1), 1)} %"
    windows = "" if stride is None else f", windows of {result['window']:,} tokens by steps of {stride:,}"
    note = f"{PLAIN.number(base)} before, {PLAIN.number(edited)} after ({result['tokens']:,} tokens{windows})."
    note += " This text is beyond the model: its perplexity says nothing." if base > BROKEN_PERPLEXITY else ""
    note += f" {result['how']}" if result.get("how") else ""
    title = f"{result.get('kind', 'perplexity').capitalize()}, less is better"
    return [Table(title, ("text", "before", "after", "change"), [(result["text"], base, edited, change)], note)]


def _temperature(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """A temperature that repairs the calibration."""
    rows = [
        (name, f"{PLAIN.number(part['temperature'])}{_at_the_end(part['temperature'])}", part["before"], part["after"])
        for name, part in (("before", result["base"]), ("after", result["edited"]))
        if part
    ]
    note = f"{calibrated(result['base'], result['edited'] or {})} Fitted on select; the log loss is of test, less is better."
    note += " A temperature above 1 makes answers less sure; it changes no ranking."
    columns = ("model", "temperature", "log loss without it", "log loss with it")
    return [Table("Temperature that fits best", columns, rows, note.strip())]


def calibrated(base: Result, edited: Result) -> str:
    """Returns whether an edit costs more than calibration, as a sentence; empty where that is not known."""
    if any(part.get(name) is None for part in (base, edited) for name in ("before", "after")):
        return ""
    plain, best = (edited[name] > base[name] * (1 + ROUNDING) and edited[name] - base[name] > FAINT for name in ("before", "after"))
    says = ", so that the gain is one of calibration" if best else ""
    if plain:
        says = ", so not only the calibration suffers" if best else ", so that only the calibration suffers"
    losses = [LOSS.pair(base[name], edited[name]) for name in ("before", "after")]
    return f"Log loss {losses[0]}; with the best temperature {losses[1]}{says}."


def _at_the_end(temperature: float) -> str:
    """That a temperature is an end of the range that was searched; empty where it is inside."""
    if LOWEST < temperature < HIGHEST:
        return ""
    return f" (the {'lower' if temperature <= LOWEST else 'upper'} end of the search)"


#: The section and the exhibits of each analysis, in the order in which they are shown.
_SECTIONS: Mapping[str, tuple[str, Callable[[Result, Mapping[str, float]], Sequence[Exhibit]]]] = {
    "loss": ("Loss of every reduction", loss),
    "spectra": ("Singular values", spectra),
    "reduction": ("How far reduction goes", reduction),
    "components": ("Answers of the smallest components", components),
    "growth": ("Answers gained and lost", growth),
    "paraphrases": ("Right in every paraphrase", _paraphrases),
    "frequency": ("Accuracy by frequency of the fact", _frequency),
    "perplexity": ("Perplexity of plain text", _perplexity),
    "temperature": ("Calibration by temperature", _temperature),
}
