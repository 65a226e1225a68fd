"""What a run of LAPE says in sentences, and what to type next. Knows numbers and recipes; no page, no terminal."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resect.core.number_format import DASH, PLAIN, NumberStyle, few_groups_note, plural
from resect.report.readers.deactivation import Effects
from resect.report.readers.shell_commands import near, program
from resect.report.readers.unit_sets import Similarity
from resect.runs.recipe import Recipe
from resect.runs.run_files import COUNTS, PLANS

from .advice import command

#: The share of all units that is taken where nothing else is said (METHODS.md).
FRACTION = 0.01
#: From so many languages on they are not named one by one.
NAMED = 10
SELECTORS = {
    "lape": "the {share} of all units whose activation probabilities have the lowest entropy over the languages (LAPE)",
    "lave": "the {share} of all units whose mean activation values have the lowest entropy over the languages (LAVE)",
    "pv": "the {share} of all units whose changes under tuning on single languages have the lowest entropy over the languages (PV)",
    "lap": "units that are active at more than 95 % of a language's tokens (LAP), for each language as many as LAPE takes",
    "random": "units at random, for each language as many as LAPE takes",
}


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Names in a sentence; of very many, how many.

    >>> listed(["en", "fr", "ja"]), listed(["en"]), listed(["en", "fr", "ja"], most=2)
    ('en, fr and ja', 'en', '3 languages')
    """
    if len(names) > most:
        return f"{len(names):,} languages"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"


def subject(languages: Sequence[str]) -> str:
    """The languages of a run as its title has them."""
    return ", ".join(languages) if 0 < len(languages) <= NAMED else plural(len(languages), "languages")


def languages_of(recipe: Recipe) -> list[str]:
    """The languages whose text a recipe names, in its order."""
    return list(dict.fromkeys(entry.partition("=")[0] for entry in (*recipe.corpus, *recipe.valid, *recipe.counts) if "=" in entry))


def method(recipe: Recipe, face: NumberStyle = PLAIN) -> list[str]:
    """What was done, in sentences: recorded, selected, switched off."""
    share = f"{100 * (FRACTION if recipe.fraction is None else recipe.fraction):g}{face.blank}%"
    bar = f"{100 * recipe.quantile:g}{face.blank}%"
    recorded = (
        "Recorded (LAPE, Tang et al., ACL 2024): a unit of a feed-forward block is active at a token where the output of its activation "
        "function is above 0. At what share of each language's tokens is it?"
    )
    if not recipe.compares:
        return [recorded, "Only recorded: nothing was selected, nothing switched off."]
    selected = f"Selected: {SELECTORS[recipe.selector].format(share=share)}."
    if recipe.selector in ("lape", "lave", "pv"):
        selected += f" Only those count that some language lifts above the bar, below which {bar} of all values lie;"
        selected += " a unit belongs to every language that does."
    off = "Switched off: the activation of a language's units is set to 0, and held-out text of every language is read again."
    return [recorded, selected, off]


def read_from(recipe: Recipe) -> list[str]:
    """What text was read, and counts that were recorded elsewhere, in sentences."""
    told = [entry.replace("=", ": ", 1) for entry in recipe.corpus]
    told += [f"Counts recorded elsewhere: {entry}" for entry in recipe.counts]
    if recipe.corpus_tokens is not None:
        told.append(f"At most {recipe.corpus_tokens:,} tokens of each language were read.")
    if recipe.purity:
        told.append("Text that a language identifier found to be in another language was left out.")
    if recipe.until_stable:
        told.append("Reading stopped once twice the text had moved less than 5 % of what is selected, two times running.")
    return told


def held_out(recipe: Recipe, effects: Effects | None) -> list[str]:
    """On what text the numbers were measured, in sentences."""
    told = [entry.replace("=", ": ", 1) for entry in recipe.valid]
    told += [] if recipe.valid or not recipe.corpus else ["A tenth of each corpus, by a hash of each document; it was not counted."]
    if effects is not None and scored(effects):
        told.append(f"Measured on {scored(effects)}.")
    return told


def scored(effects: Effects) -> str:
    """How much held-out text the numbers are of; "" where that is not known."""
    tokens = [number for number in effects.tokens if number is not None]
    if not tokens:
        return ""
    size = f"{min(tokens):,}" if min(tokens) == max(tokens) else f"{min(tokens):,} to {max(tokens):,}"
    window = "" if effects.window is None else f", in windows of {effects.window:,}"
    return f"{size} tokens of each language{window}"


def few(effects: Effects) -> str:
    """What stands where intervals should, as a sentence; nothing where there is enough text, or nobody knows."""
    return few_groups_note(min((number for number in effects.windows if number is not None), default=None)).replace("groups", "windows")


def perplexity(value: float | None, face: NumberStyle = PLAIN) -> str:
    """A perplexity, with as many digits as all others of a column have.

    >>> perplexity(105.97), perplexity(58.5), perplexity(12345.6), perplexity(None)
    ('105.97', '58.50', '12,346', '–')
    """
    return face.number(value) if value is None or value >= 1000 else face.signed(value, 2).removeprefix("+")


def rise(change: float | None, face: NumberStyle = PLAIN) -> str:
    """By how much a perplexity rises where the mean negative log-probability changes by so many nats.

    >>> rise(0.145), rise(-0.0098), rise(None), rise(20.0)
    ('+15.6 %', '-1.0 %', '–', 'more than a thousandfold')
    """
    if change is None:
        return DASH
    if change > math.log(1000):
        return "more than a thousandfold"
    return f"{face.signed(100 * math.expm1(change), 1)}{face.blank}%"


def next_commands(recipe: Recipe, folder: Path, effects: Effects | None) -> list[tuple[str, str]]:
    """What to do now: pairs of a reason and a command."""
    if effects is None:
        return []
    clear = sorted(
        (
            (change, name)
            for name, change in zip(effects.languages, effects.own, strict=True)
            if change is not None and name in effects.with_units
        ),
        reverse=True,
    )
    found = [] if not clear else _use(recipe, folder, clear[0][1])
    tries: list[tuple[str, dict[str, Any]]] = []
    fraction = FRACTION if recipe.fraction is None else recipe.fraction
    if effects.unsure and recipe.valid_tokens is not None:
        tries.append(("measure on all the held-out text there is:", {"valid_tokens": None}))
    if recipe.selector != "lape":
        tries.append(("choose by LAPE instead:", {"selector": "lape", "checkpoint": ()}))
    elif (len(effects.specific) < len(effects.languages) or effects.unsure) and fraction < 0.05:
        tries.append(("take more units:", {"fraction": min(5 * fraction, 0.05) or 0.05}))
    if recipe.selector == "lape" and effects.with_units:
        tries.append(("compare with units by their mean activation (LAVE):", {"selector": "lave"}))
    return [*found, *((reason, again(recipe, folder, **changes)) for reason, changes in tries)]


def _use(recipe: Recipe, folder: Path, language: str) -> list[tuple[str, str]]:
    """What to do with the units of a language."""
    model, run = shlex.quote(near(recipe.model)), shlex.quote(near(str(folder)))
    plan = shlex.quote(near(str(folder / PLANS / f"{language}.json")))
    to = shlex.quote(f"{Path(recipe.model).name}-without-{language}")
    return [
        (
            f"make it answer in {language} (one prompt a line):",
            f"{program()} steer {model} --run {run} --to {language} --prompts your-prompts.txt",
        ),
        (f"ask it with the units of {language} off:", f"{program()} try {model} --plan {plan} --prompt {shlex.quote('…')}"),
        (f"write the model without the units of {language} as a checkpoint:", f"{program()} export {plan} --model {model} --to {to}"),
    ]


def again(recipe: Recipe, folder: Path, **changes: Any) -> str:
    """The command line with some settings changed; where held-out text is named, from the counts that are there, not recorded anew."""
    if recipe.valid and (folder / COUNTS).exists():
        recorded = {"corpus": (), "corpus_tokens": None, "purity": False, "until_stable": False, "counts": (str(folder / COUNTS),)}
        return command(recipe.with_settings(**recorded), folder, **changes)
    return command(recipe, folder, **changes)


def farthest(found: Similarity) -> str:
    """How many sentences there were, and where they lie farthest apart from unrelated ones."""
    words = []
    if found.n_sentences is not None and found.languages:
        words.append(f"{plural(found.n_sentences, 'sentences')} in {plural(len(found.languages), 'languages')}.")
    apart = [
        (one - other, layer, one, other)
        for layer, one, other in zip(found.layers, found.mean, found.unrelated, strict=True)
        if one is not None and other is not None
    ]
    if apart:
        gap, layer, one, other = max(apart)
        words.append(f"Farthest apart from unrelated ones after layer {layer}: {one:.3f} against {other:.3f}, {gap:.3f} more.")
    return " ".join(words)
