"""The records behind a grid, as flat objects, and the unit of its numbers. Knows no run and no form."""

from collections.abc import Sequence
from typing import Any

from resect.runs.reference_scores import balanced_means, reference_scores
from resect.runs.schemas.comparison import ComparisonFile, Measurement, PairedChange

from .grid_formats import Column


def spread(measured: Measurement) -> dict[str, Any]:
    """A measurement, flat."""
    low, high = measured.interval or (None, None)
    return {"mean": measured.mean, "low": low, "high": high, "std_over_instructions": measured.std_over_instructions}


def changed(change: float | None, paired: PairedChange | None) -> dict[str, Any]:
    """A change, flat; with an interval where it was measured as a difference of pairs."""
    low, high, p_value = (None, None, None) if paired is None else (*paired.interval, paired.p_value)
    return {"change": change, "change_low": low, "change_high": high, "p_value": p_value}


def read_against(comparison: ComparisonFile, measured: str) -> dict[str, Any]:
    """Chance, the best constant answer, the mean over tags, and the verdict in a word, flat; of the edit alone there is a verdict.

    measured : the key of the measurement in comparison.json
    """
    scores = {kind: score for kind, _, score in reference_scores(comparison)}
    balanced = balanced_means(comparison).get({"base": "before", "edited": "after"}.get(measured, ""))
    word = comparison.verdict.word if comparison.verdict is not None and measured == "edited" else ""
    return {"chance": scores.get("chance"), "constant": scores.get("constant"), "balanced": balanced, "verdict": word}


def unit(columns: Sequence[Column]) -> str:
    """What the numbers of these columns are."""
    shares, losses = ([column for column in columns if column.is_loss == lossy] for lossy in (False, True))
    parts = ["Accuracy on held-out examples, mean over the instructions, in per cent; changes in points."] if shares else []
    if any(column.metric == "generation" for column in shares):
        parts.append("The answer is the most probable choice, or where a heading says generation, the text that is generated.")
    if any(column.metric.startswith("top") for column in shares):
        parts.append("Where a heading says top: the right answer's first token is among so many most probable ones.")
    if losses:
        parts.append("Log loss on held-out examples where a heading says so: less is better.")
    return " ".join(parts)
