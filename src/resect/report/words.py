"""Numbers and settings in words, for people who read a report. Knows recipes and metrics, no page."""

from dataclasses import dataclass
from pathlib import Path

from ..recipe import Recipe
from .drawing import percent, short

#: Between a number and what belongs to it.
NARROW = "\N{NO-BREAK SPACE}"

#: A perplexity from which on a model is lost: no better than guessing among as many tokens.
LOST = 10_000


@dataclass(frozen=True)
class Figures:
    """How the values of a metric are written: shares in per cent, losses as they are; nothing as a dash."""

    metric: str = "accuracy"

    @property
    def share(self) -> bool:
        """Whether values are shares in [0, 1]."""
        return self.metric != "logloss"

    def value(self, value: float | None) -> str:
        """A value."""
        return "–" if value is None else percent(value) if self.share else short(value)

    def interval(self, ends: list[float] | None) -> str:
        """Where a value lies with 95 % confidence."""
        if ends is None:
            return "–"
        return f"{self.value(ends[0]).removesuffix(f'{NARROW}%')} to {self.value(ends[1])}"

    def gain(self, value: float | None, unit: bool = False) -> str:
        """A change, with its sign; of shares in points."""
        if value is None:
            return "–"
        if not self.share:
            return signed(value)
        return signed(100 * value, 1) + (f"{NARROW}points" if unit else "")

    def gains(self, ends: list[float] | None) -> str:
        """Where a change lies with 95 % confidence."""
        return "–" if ends is None else f"{self.gain(ends[0])} to {self.gain(ends[1])}"


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign; a zero has none.

    >>> signed(-0.25, 1), signed(-0.0001), signed(None)
    ('−0.2', '0.000', '–')
    """
    if value is None:
        return "–"
    told = f"{value:+.{digits}f}"
    return told[1:] if not float(told) else told.replace("-", "−")


def number(value: float | None) -> str:
    """A number with four digits that count, or a dash."""
    return "–" if value is None else short(value)


def count(number: int | None, what: str) -> str:
    """How many there are of something.

    >>> count(1, "examples"), count(2300, "examples")
    ('1 example', '2,300 examples')
    """
    return f"an unknown number of {what}" if number is None else f"{number:,} {what if number != 1 else what.removesuffix('s')}"


def p_value(value: float | None) -> str:
    """How surprising a change would be without any effect."""
    return "p unknown" if value is None else f"p{NARROW}<{NARROW}0.001" if value < 0.001 else f"p{NARROW}={NARROW}{value:.3f}"


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
        return f"{100 * recipe.fraction:g}{NARROW}% of all are cut, as asked; nothing was searched."
    ways = {"golden": "golden section", "grid": "trying every number", "first-drop": "going up to the first drop"}
    most = f"0.1{NARROW}% of all, or 50 where that is more"
    if recipe.largest is not None:
        most = f"{recipe.largest:,}"
    elif recipe.max_fraction is not None:
        most = f"{100 * recipe.max_fraction:g}{NARROW}% of all"
    return f"How many to cut was chosen by {ways[recipe.choose]} on the select split, from 0 to {most}."


def asked(metric: str) -> str:
    """How an answer is taken from the model."""
    if metric == "generation":
        return "by generation: the model writes its answer, and what matches no choice is wrong"
    if metric == "logloss":
        return "by log loss: the negative logarithm of the right answer's probability"
    return "by scoring: the choice that the model finds most probable is its answer"
