"""Settings in words, for people who read a report. Knows recipes and metrics, no page."""

from pathlib import Path

from ..figures import PAGE
from ..recipe import Recipe


def duration(seconds: float | None) -> str:
    """A time as people say it."""
    if seconds is None:
        return "unknown"
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def model_name(recipe: Recipe) -> str:
    """What people call the model: the last part of its folder or id."""
    return Path(recipe.model).name or recipe.model


def method(recipe: Recipe) -> list[str]:
    """What was done, in sentences. `recipe`: with what its variant presets filled in, where that is known."""
    source = "as its paper writes it" if recipe.variant == "paper" else "as its authors' code does it"
    kind = "largest value" if recipe.tokens == "max" else "mean"
    weight = "weighs each example by the probability of its wrong answer" if recipe.confusion_weight else "weighs all examples alike"
    skill = f"use for the right answer is taken off (λ = {recipe.skill:g})" if recipe.skill else "nothing is taken off for skill"
    where = "every matrix of the blocks" if recipe.sites == ("*",) else f"what matches {', '.join(recipe.sites)}"
    score = "each neuron has a score, how much of the model's preference for a wrong answer runs through it"
    cut = "Those with the highest scores are cut: their weights and their bias are set to 0."
    told = [f"CRISPR, {source} (Yang et al., ACL 2024): {score}. {cut}"]
    told.append(f"The score takes the {kind} over the tokens of an example and {weight}; {skill}. Looked at: {where}.")
    told.append(chosen(recipe))
    if recipe.variant == "official":
        told.append("The splits of the authors' code overlap: what chose n may be among what is reported here.")
    return told


def chosen(recipe: Recipe) -> str:
    """How many neurons are cut, and who says so."""
    if recipe.n is not None:
        return f"{recipe.n:,} are cut, as asked; nothing was searched."
    if recipe.fraction is not None:
        return f"{100 * recipe.fraction:g}{PAGE.blank}% of all are cut, as asked; nothing was searched."
    ways = {"golden": "golden section", "grid": "trying every number", "first-drop": "going up to the first drop"}
    most = f"0.1{PAGE.blank}% of all, or 50 where that is more"
    if recipe.largest is not None:
        most = f"{recipe.largest:,}"
    elif recipe.max_fraction is not None:
        most = f"{100 * recipe.max_fraction:g}{PAGE.blank}% of all"
    return f"How many to cut was chosen by {ways[recipe.choose]} on the select split, from 0 to {most}."


def answered(metric: str) -> str:
    """How an answer is taken from the model."""
    if metric == "generation":
        return "by generation: the model writes its answer, and what matches no choice is wrong"
    if metric == "logloss":
        return "by log loss: the negative logarithm of the right answer's probability"
    return "by scoring: the choice that the model finds most probable is its answer"
