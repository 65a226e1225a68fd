"""Sentences on a run on corpora by language: what was read, on what the numbers are, how large they are. Knows no page, no terminal."""

import math
from collections.abc import Sequence

from resect.core.number_format import DASH, PLAIN, NumberStyle, few_groups_note, plural
from resect.report.readers.language_matrix import LanguageMatrix
from resect.runs.recipe import Recipe

#: With more languages than this they are not named one by one.
NAMED = 10


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Names in a sentence; where there are very many, how many.

    >>> listed(["en", "fr", "ja"]), listed(["en"]), listed(["en", "fr", "ja"], most=2)
    ('en, fr and ja', 'en', '3 languages')
    """
    if len(names) > most:
        return f"{len(names):,} languages"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"


def subject(languages: Sequence[str]) -> str:
    """The languages of a run, for its title."""
    return ", ".join(languages) if 0 < len(languages) <= NAMED else plural(len(languages), "languages")


def text_read(recipe: Recipe) -> list[str]:
    """The text that was read, and counts that were recorded elsewhere, in sentences."""
    sentences = [entry.replace("=", ": ", 1) for entry in recipe.get("corpus", ())]
    sentences += [f"Counts recorded elsewhere: {entry}" for entry in recipe.get("counts", ())]
    if recipe.get("corpus_tokens") is not None:
        sentences.append(f"At most {recipe.corpus_tokens:,} tokens of each language were read.")
    if recipe.get("purity"):
        sentences.append("Text that a language identifier found to be in another language was left out.")
    if recipe.get("until_stable"):
        sentences.append("Reading stopped once twice the text had moved less than 5 % of what is selected, two times running.")
    return sentences


def held_out_text(recipe: Recipe, matrix: LanguageMatrix | None) -> list[str]:
    """The text that the numbers are of, in sentences."""
    valid = recipe.get("valid", ())
    sentences = [entry.replace("=", ": ", 1) for entry in valid]
    sentences += [] if valid or not recipe.get("corpus") else ["A tenth of each corpus, by a hash of each document; it was not counted."]
    if matrix is not None and scored_tokens(matrix):
        sentences.append(f"Measured on {scored_tokens(matrix)}.")
    return sentences


def scored_tokens(matrix: LanguageMatrix) -> str:
    """How much held-out text the numbers are of; empty where that is not known."""
    tokens = [number for number in matrix.tokens if number is not None]
    if not tokens:
        return ""
    size = f"{min(tokens):,}" if min(tokens) == max(tokens) else f"{min(tokens):,} to {max(tokens):,}"
    window = "" if matrix.window is None else f", in windows of {matrix.window:,}"
    return f"{size} tokens of each language{window}"


def few_windows_note(matrix: LanguageMatrix) -> str:
    """A sentence on intervals from very few windows; empty where there are enough, or their number is not known."""
    number = min((number for number in matrix.windows if number is not None), default=None)
    return few_groups_note(number, is_share=False).replace("group", "window")


def perplexity(value: float | None, style: NumberStyle = PLAIN) -> str:
    """A perplexity, with as many digits as all others of a column have.

    >>> perplexity(105.97), perplexity(58.5), perplexity(12345.6), perplexity(None)
    ('105.97', '58.50', '12,346', '–')
    """
    return style.number(value) if value is None or value >= 1000 else style.signed(value, 2).removeprefix("+")


def rise(change: float | None, style: NumberStyle = PLAIN) -> str:
    """By how much a perplexity rises where the mean negative log-probability changes by so many nats.

    >>> rise(0.145), rise(-0.0098), rise(None), rise(20.0)
    ('+15.6 %', '-1.0 %', '–', 'more than a thousandfold')
    """
    if change is None:
        return DASH
    if change > math.log(1000):
        return "more than a thousandfold"
    return f"{style.signed(100 * math.expm1(change), 1)}{style.blank}%"
