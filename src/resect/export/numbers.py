"""The numbers of a comparison as Markdown: tables, and sentences on the difference and on what stands beside it.

Reads the object of comparison.json, and measures nothing. What was not measured is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .markdown import escaped, table, without_folders

ROWS_SHOWN = 120
_ROWS = {"base": "before", "edited": "**after**", "control": "random cuts of the same size (mean of three)"}
_BASELINES = {"cc": "before, contextual calibration (CC)", "dc": "before, domain-context calibration (DC)"}
_BIAS = {"ambig": "ambiguous questions", "disambig": "clear questions"}


@dataclass(frozen=True)
class Scale:
    """How a metric's values are written: shares in per cent, losses as they are."""

    metric: str

    @property
    def is_share(self) -> bool:
        """Whether it lies in [0, 1], and more is better; else it is a loss."""
        return self.metric != "logloss"

    def value(self, value: float | None) -> str:
        """A value, or a dash."""
        return "–" if value is None else f"{100 * value:.1f} %" if self.is_share else f"{value:.4g}"

    def change(self, value: float) -> str:
        """A difference of two values."""
        return f"{100 * value:+.1f} points" if self.is_share else f"{value:+.3f}"

    def pair(self, before: float, after: float | None) -> str:
        """A value before and after."""
        return self.value(before) + ("" if after is None else f" → {self.value(after)}")

    def verdict(self, low: float, high: float) -> str:
        """What the interval of a difference says."""
        if low <= 0 <= high:
            return "no clear change"
        return "improved" if (low > 0) == self.is_share else "worsened"


def numbers(comparison: Mapping[str, Any]) -> list[str]:
    """All numbers of a comparison, a paragraph or a table each."""
    scale = Scale(str(comparison["metric"]))
    counts = ", ".join(f"{comparison[f'n_{what}']:,} {what}" for what in ("examples", "groups", "instructions"))
    told = [f"On examples of {escaped(comparison['task'])} that the search never saw ({counts}), by {escaped(scale.metric)}:"]
    told.append(_estimates(comparison, scale))
    if comparison.get("difference"):
        told.append(_difference(comparison["difference"], scale))
    told += _tags(comparison, scale)
    effects = _effects(comparison, scale)
    lists = {"Asked in another way:": _others(comparison), "BBQ's bias scores:": _bias(comparison), "Side effects:": effects}
    for title, lines in lists.items():
        told += [title, "\n".join(lines)] if lines else []
    return told if effects else [*told, "Side effects were not measured."]


def _estimates(comparison: Mapping[str, Any], scale: Scale) -> str:
    held = {label: comparison.get(name) for name, label in _ROWS.items()}
    held |= {_BASELINES.get(name, escaped(name)): estimate for name, estimate in (comparison.get("baselines") or {}).items()}
    rows = []
    for label, estimate in held.items():
        if estimate is not None:
            low, high = estimate.get("interval") or (None, None)
            spread = scale.value(estimate["std_over_instructions"])
            rows.append([label, scale.value(estimate["mean"]), f"{scale.value(low)} to {scale.value(high)}", spread])
    return table(["", escaped(scale.metric), "95 % interval", "± over instructions"], rows)


def _difference(change: Mapping[str, Any], scale: Scale) -> str:
    low, high = change["interval"]
    p = "p < 0.001" if change["p_value"] < 0.001 else f"p = {change['p_value']:.3f}"
    sure = f"95 % interval {scale.change(low)} to {scale.change(high)}; {escaped(p)}, {escaped(change['test'])}"
    counts = f"{change['fixed']:,} answers were fixed, {change['broken']:,} broken"
    return f"Change: **{scale.change(change['mean'])}** ({sure}): {scale.verdict(low, high)}. {counts}."


def _tags(comparison: Mapping[str, Any], scale: Scale) -> list[str]:
    columns = {"before": comparison["base"], "after": comparison.get("edited"), "random cuts": comparison.get("control")}
    means = {heading: held.get("by_tag") or {} for heading, held in columns.items() if held is not None}
    tags = list(means["before"])[:ROWS_SHOWN]
    rows = [[escaped(tag), *(scale.value(held.get(tag)) for held in means.values())] for tag in tags]
    return ["By kind of example:", table(["", *means], rows)] if rows else []


def _others(comparison: Mapping[str, Any]) -> list[str]:
    told = []
    for name, held in (comparison.get("other_metrics") or {}).items():
        if held and name == "trials":
            scale = Scale(str(comparison["metric"]))
            means = ", ".join(map(scale.value, held["edited"]))
            told.append(f"- {len(held['edited'])} trials with other samples: {means} after (standard deviation {scale.value(held['std'])})")
        elif held and held.get("base"):
            scale = Scale(name)
            after = (held.get("edited") or {}).get("mean")
            told.append(f"- {escaped(name)}: {scale.pair(held['base']['mean'], after)}{_sure(held.get('difference'), scale)}")
    return told


def _effects(comparison: Mapping[str, Any], scale: Scale) -> list[str]:
    told = []
    for name, held in (comparison.get("side_effects") or {}).items():
        if not held or held.get("base") is None:
            continue
        if name == "perplexity":
            of = f" of {escaped(without_folders(held['text']))}" if held.get("text") else ""
            tokens = f", {held['tokens']:,} tokens" if held.get("tokens") else ""
            losses = Scale("logloss").pair(held["base"], held.get("edited"))
            told.append(f"- {escaped(held.get('kind') or name)}{of}{tokens}: {losses} (less is better)")
        else:
            told.append(f"- {escaped(name)}: {scale.pair(held['base'], held.get('edited'))}{_sure(held.get('difference'), scale)}")
    return told


def _sure(change: Mapping[str, Any] | None, scale: Scale) -> str:
    if not change:
        return ""
    low, high = change["interval"]
    return f" (change {scale.change(change['mean'])}, 95 % interval {scale.change(low)} to {scale.change(high)})"


def _bias(comparison: Mapping[str, Any]) -> list[str]:
    scores = comparison.get("bias_scores") or {}
    before, after = scores.get("base") or {}, scores.get("edited") or {}
    told = []
    for name, means in _BIAS.items():
        if before.get(name) is not None:
            then = "" if after.get(name) is None else f" → {after[name]:+.3f}"
            told.append(
                f"- {means}: {before[name]:+.3f}{then} (0: none; +1: every answer with the stereotype; −1: every answer against it)"
            )
    return told
