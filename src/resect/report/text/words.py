"""Settings and metrics in words. Knows no page."""

from pathlib import Path

from resect.runs.recipe import Recipe


def duration(seconds: float | None) -> str:
    """A duration in words."""
    if seconds is None:
        return "unknown"
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def model_name(recipe: Recipe) -> str:
    """The name of the model: the last part of its folder or id."""
    return Path(recipe.model).name or recipe.model


def answered(metric: str) -> str:
    """How an answer is taken from the model."""
    if metric == "generation":
        return "by generation: the model writes its answer, and what does not match is wrong"
    if metric == "logloss":
        return "by log loss: the negative logarithm of the right answer's probability; less is better"
    if metric.startswith("top") and metric[3:].isdecimal():
        return f"by top-{metric[3:]} accuracy: right where the answer's token is among the {metric[3:]} most probable"
    if metric == "perplexity":
        return "by perplexity on plain text; less is better"
    return "by scoring: the choice that the model finds most probable is its answer"
