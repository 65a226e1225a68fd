"""The numbers of a comparison as Markdown: tables, and sentences on the difference and on what stands beside it.

Reads the object of comparison.json, and measures nothing. What was not measured is left out.
"""

from collections.abc import Mapping
from typing import Any

from resect.core.number_format import BROKEN_PERPLEXITY, PLAIN, MetricFormat, before_after, few_groups_note, fixed_and_broken, sample_sizes

from .markdown import escaped, table, without_folders

ROWS_SHOWN = 120
_ROWS = {"base": "before", "edited": "**after**", "control": "random cuts of the same size (mean of three)"}
_BASELINES = {"cc": "before, contextual calibration (CC)", "dc": "before, domain-context calibration (DC)"}
#: How shares of anything are written.
PLAIN_SHARES = MetricFormat()
_BIAS = {"ambig": "ambiguous questions", "disambig": "clear questions"}


def numbers(comparison: Mapping[str, Any]) -> list[str]:
    """All numbers of a comparison, a paragraph or a table each."""
    figures = MetricFormat(str(comparison["metric"]))
    sizes = sample_sizes(comparison)
    asked = f"On examples of {escaped(comparison['task'])} that the search never saw ({sizes}), by {escaped(figures.metric)}:"
    told = [asked, _estimates(comparison, figures), *filter(None, [few_groups_note(comparison["n_groups"])])]
    if comparison.get("difference"):
        told.append(_difference(comparison["difference"], figures))
    told += _tags(comparison, figures) + _composition(comparison, figures)
    effects = _effects(comparison, figures)
    lists = {"Asked in another way:": _others(comparison), "BBQ's bias scores:": _bias(comparison), "Side effects:": effects}
    for title, lines in lists.items():
        told += [title, "\n".join(lines)] if lines else []
    return told if effects else [*told, "Side effects were not measured."]


def _estimates(comparison: Mapping[str, Any], figures: MetricFormat) -> str:
    held = {label: comparison.get(name) for name, label in _ROWS.items()}
    held |= {_BASELINES.get(name, escaped(name)): estimate for name, estimate in (comparison.get("baselines") or {}).items()}
    rows = []
    for label, estimate in held.items():
        if estimate is not None:
            mean, spread = figures.value(estimate["mean"]), figures.value(estimate["std_over_instructions"])
            rows.append([label, mean, figures.interval(estimate.get("interval")), spread])
    return table(["", escaped(figures.metric), "95 % interval", "± over instructions"], rows)


def _difference(change: Mapping[str, Any], figures: MetricFormat) -> str:
    interval = change["interval"]
    sure = f"95 % interval {figures.change_interval(interval)}; {escaped(PLAIN.p_value(change['p_value']))}, {escaped(change['test'])}"
    told = f"Change: **{figures.change(change['mean'], unit=True)}** ({sure}): {figures.verdict(interval)}."
    return f"{told} {fixed_and_broken(change)}."


def _tags(comparison: Mapping[str, Any], figures: MetricFormat) -> list[str]:
    columns = {"before": comparison["base"], "after": comparison.get("edited"), "random cuts": comparison.get("control")}
    means = {heading: held.get("by_tag") or {} for heading, held in columns.items() if held is not None}
    tags = list(means["before"])[:ROWS_SHOWN]
    rows = [[escaped(tag), *(figures.value(held.get(tag)) for held in means.values())] for tag in tags]
    return ["By kind of example:", table(["", *means], rows)] if rows else []


def _others(comparison: Mapping[str, Any]) -> list[str]:
    told = []
    for name, held in (comparison.get("other_metrics") or {}).items():
        if held and name == "trials":
            figures = MetricFormat(str(comparison["metric"]))
            means = ", ".join(map(figures.value, held["edited"]))
            told.append(
                f"- {len(held['edited'])} trials with other samples: {means} after (standard deviation {figures.value(held['std'])})"
            )
        elif held and name == "select":
            figures = MetricFormat(str(held["metric"]))
            told.append(
                f"- {escaped(figures.metric)} on the examples that the plan was chosen by: {figures.pair(held['base'], held['chosen'])}"
            )
        elif held and name == "paraphrases":
            facts = f"- facts that are answered rightly in all wordings ({held['n_facts']:,} facts, {held['per_fact']:.3g} wordings each)"
            told.append(f"{facts}: {PLAIN_SHARES.pair(held['base'], held.get('edited'))}{_sure(held.get('difference'), PLAIN_SHARES)}")
        elif isinstance(held, Mapping) and isinstance(held.get("base"), Mapping):
            figures = MetricFormat(name)
            after = (held.get("edited") or {}).get("mean")
            told.append(
                f"- {escaped(name)}: {figures.pair(held['base']['mean'], after)}{_sure(held.get('difference'), figures)}{_unmatched(held)}"
            )
    return told


def _unmatched(held: Mapping[str, Any]) -> str:
    """How many generated texts were no choice."""
    shares = held.get("unmatched") or {}
    if shares.get("base") is None:
        return ""
    return f"; texts that were none of the choices: {PLAIN_SHARES.pair(shares['base'], shares.get('edited'))}"


def _composition(comparison: Mapping[str, Any], figures: MetricFormat) -> list[str]:
    """How the numbers went while matrix after matrix was added."""
    steps = (comparison.get("other_metrics") or {}).get("composition") or []
    if len(steps) < 2:
        return []
    rows = []
    for step in steps[:ROWS_SHOWN]:
        site, rho, rank = step.get("site"), step.get("rho"), step.get("rank")
        name = "none (base)" if site is None else f"`{escaped(site)}`"
        numbers = ["" if rho is None else f"{rho:g}", "" if rank is None else f"{rank:,}"]
        rows.append([name, *numbers, figures.value(step.get("select")), figures.value(step.get("test"))])
    head = ["matrix added", "ρ", "rank", f"{escaped(figures.metric)} on select", "on test"]
    return ["Matrix after matrix, each on what the earlier ones left:", table(head, rows)]


def _effects(comparison: Mapping[str, Any], figures: MetricFormat) -> list[str]:
    told = []
    for name, held in (comparison.get("side_effects") or {}).items():
        if not held or held.get("base") is None:
            continue
        if name == "perplexity":
            of = f" of {escaped(without_folders(held['text']))}" if held.get("text") else ""
            tokens = f", {held['tokens']:,} tokens" if held.get("tokens") else ""
            change = before_after(PLAIN.number, held["base"], held.get("edited"))
            says = "less is better" if held["base"] <= BROKEN_PERPLEXITY else "this text is beyond the model, before and after: it says nothing"
            told.append(f"- {escaped(held.get('kind') or name)}{of}{tokens}: {change} ({says})")
        else:
            by = MetricFormat(str(held.get("metric") or figures.metric))
            told.append(f"- {escaped(name)}: {by.pair(held['base'], held.get('edited'))}{_sure(held.get('difference'), by)}")
    return told


def _sure(change: Mapping[str, Any] | None, figures: MetricFormat) -> str:
    if not change:
        return ""
    return f" (change {figures.change(change['mean'], unit=True)}, 95 % interval {figures.change_interval(change['interval'])})"


def _bias(comparison: Mapping[str, Any]) -> list[str]:
    scores = comparison.get("bias_scores") or {}
    before, after = scores.get("base") or {}, scores.get("edited") or {}
    told = []
    for name, means in _BIAS.items():
        if before.get(name) is not None:
            change = before_after(PLAIN.signed, before[name], after.get(name))
            told.append(f"- {means}: {change} (0: none; +1: every answer with the stereotype; -1: every answer against it)")
    return told
