"""The exhibits of the analyses that any method may offer: from their results to tables and curves with a note. Needs no torch."""

from collections.abc import Mapping, Sequence

from resect.core.exhibits import SHARE, Curve, Exhibit, Table
from resect.core.number_format import BROKEN_PERPLEXITY, DASH, PLAIN, MetricFormat

from .analysis import Result

LOSS, SHARES = MetricFormat("logloss"), MetricFormat("accuracy")
#: The ends of the range in which `temperature.best_temperature` searches; a test holds them equal, since exhibits load no torch.
LOWEST, HIGHEST = 1e-3, 1e3
#: A loss that rises by no more than this share, or this much, is as good as equal.
ROUNDING, FAINT = 0.005, 0.0005


def describe_paraphrases(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """The share of facts that are right in all their wordings."""
    edited, change, per_fact = result.get("edited"), result.get("difference"), result.get("per_fact")
    number = "" if per_fact is None else f", {PLAIN.number(per_fact)} paraphrases each on average"
    note = f"Right in all wordings: {SHARES.pair(result['base'], edited)} of {result['n_facts']:,} facts{number}."
    note += " A fact counts only where every one of its paraphrases is answered right."
    cell = DASH
    if change is not None:
        sure = f"{SHARES.change_interval(change['interval'])}; {PLAIN.p_value(change['p_value'])}"
        cell = f"{SHARES.change(change['mean'])}\n{sure}"
    columns = ("facts", "before", "after", "change, in points")
    row = ("right in all wordings", SHARES.value(result["base"]), SHARES.value(edited), cell)
    return [Table("Facts that are right in every paraphrase", columns, [row], note)]


def describe_frequency(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Accuracy by how often a fact occurs in a corpus, as bars and as a table."""
    metric = result.get("metric", "accuracy")
    figures, bins = MetricFormat(metric), result["bins"]
    lines = list(zip(bins, result["n"], result["base"], result["edited"], strict=True))
    ends = {name: values for name, values in (("before", result["base"]), ("after", result["edited"])) if set(values) != {None}}
    by_bin = ", ".join(f"{name} {figures.pair(base, edited)} (n = {n})" for name, n, base, edited in lines if n)
    unknown = f" How often {result['unknown']:,} other facts occur is not known." if result.get("unknown") else ""
    note = f"{metric.capitalize()} by occurrences in {result['source']}: {by_bin}.{unknown}"
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


def describe_perplexity(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
    """Perplexity of plain text with a sliding window."""
    base, edited, stride = result["base"], result["edited"], result["stride"]
    change = DASH if edited is None or not base else f"{PLAIN.signed(100 * (edited / base - 1), 1)} %"
    windows = "" if stride is None else f", windows of {result['window']:,} tokens by steps of {stride:,}"
    note = f"{PLAIN.number(base)} before, {PLAIN.number(edited)} after ({result['tokens']:,} tokens{windows})."
    note += " This text is beyond the model: its perplexity says nothing." if base > BROKEN_PERPLEXITY else ""
    note += f" {result['how']}" if result.get("how") else ""
    title = f"{result.get('kind', 'perplexity').capitalize()}, less is better"
    return [Table(title, ("text", "before", "after", "change"), [(result["text"], base, edited, change)], note)]


def describe_temperature(result: Result, plan: Mapping[str, float]) -> Sequence[Exhibit]:
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
    conclusion = ", so that the gain is one of calibration" if best else ""
    if plain:
        conclusion = ", so not only the calibration suffers" if best else ", so that only the calibration suffers"
    losses = [LOSS.pair(base[name], edited[name]) for name in ("before", "after")]
    return f"Log loss {losses[0]}; with the best temperature {losses[1]}{conclusion}."


def _at_the_end(temperature: float) -> str:
    """That a temperature is an end of the range that was searched; empty where it is inside."""
    if LOWEST < temperature < HIGHEST:
        return ""
    return f" (the {'lower' if temperature <= LOWEST else 'upper'} end of the search)"
