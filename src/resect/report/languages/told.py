"""What a run of LAPE says in sentences, and what to type next. Knows numbers and recipes; no page, no terminal."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...contents import COUNTS, PLANS
from ...figures import PLAIN, Face, count, few_groups
from ...recipe import Recipe
from ..advice import command, near, program
from .effects import Effects

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


@dataclass(frozen=True)
class Verdict:
    """What the matrix says. `word`: in a few words; `is_clear`: nothing is to be said against it; `sentence`: all of it."""

    word: str
    is_clear: bool
    sentence: str


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
    return ", ".join(languages) if 0 < len(languages) <= NAMED else count(len(languages), "languages")


def languages_of(recipe: Recipe) -> list[str]:
    """The languages whose text a recipe names, in its order."""
    return list(dict.fromkeys(entry.partition("=")[0] for entry in (*recipe.corpus, *recipe.valid, *recipe.counts) if "=" in entry))


def verdict(effects: Effects, face: Face = PLAIN) -> Verdict:
    """What the matrix says, for those who read it on `face`."""
    known, specific = effects.with_units, effects.specific
    if not known:
        return Verdict("No units", False, "No language has units of its own: nothing was switched off, and the model stays as it is.")
    parts = [_first(effects), _sizes(effects, face)]
    if effects.unsure:
        parts.append(f"Not beyond chance: {listed(effects.unsure)} (the 95 % interval of the own change does not lie above 0).")
    if effects.as_random:
        parts.append(f"For {listed(effects.as_random)}, random units do as much.")
    if effects.without_units:
        have = "has no units: its row is" if len(effects.without_units) == 1 else "have no units: their rows are"
        parts.append(f"{listed(effects.without_units)} {have} the model as it was.")
    is_clear = len(specific) == len(known) and not (effects.unsure or effects.as_random)
    word = "Specific" if is_clear else "Partly specific" if specific else "Not specific"
    if len(effects.as_random) == len(known):
        word = "No more than random units do"
    return Verdict(word, is_clear, " ".join(part for part in parts if part))


def _first(effects: Effects) -> str:
    """For how many languages the own text suffers most, and what suffers more where it does not."""
    known, specific = effects.with_units, effects.specific
    told = "Switching off a language's units hurts its own text more than any other"
    if len(specific) == len(known):
        return f"{told}, for all {len(known):,} languages." if len(known) > 1 else f"{told}."
    rivals = {name: effects.languages[place] for name, place in zip(effects.languages, effects.strongest, strict=True) if place is not None}
    other = [
        f"{name} ({rivals[name]} suffers more)" if rivals.get(name) not in (None, name) else name for name in known if name not in specific
    ]
    return f"{told} for {len(specific):,} of {len(known):,} languages; not for {listed(other)}."


def _sizes(effects: Effects, face: Face) -> str:
    """How large the changes are: on the diagonal, of random units, beside the diagonal."""
    own = sorted(
        (change, name)
        for name, change in zip(effects.languages, effects.own, strict=True)
        if change is not None and name in effects.with_units
    )
    if not own:
        return ""
    (least, first), (most, last) = own[0], own[-1]
    ends = f"{face.signed(least)} ({first})" if len(own) == 1 else f"{face.signed(least)} ({first}) to {face.signed(most)} ({last})"
    told = f"The mean negative log-probability of a token of the own text changes by {ends} nats"
    random = [change for change in effects.random if change is not None]
    told += f"; with as many random units off: at most {face.signed(max(random))}" if random else ""
    if effects.others:
        mine, theirs, change = effects.others[0]
        mean = sum(each[2] for each in effects.others) / len(effects.others)
        told += (
            f"; of other languages' text: {face.signed(mean)} on average, at most {face.signed(change)} ({mine}'s units, {theirs}'s text)"
        )
    return f"{told}."


def method(recipe: Recipe, face: Face = PLAIN) -> list[str]:
    """What was done, in sentences: recorded, selected, switched off."""
    share = f"{100 * (FRACTION if recipe.fraction is None else recipe.fraction):g}{face.blank}%"
    bar = f"{100 * recipe.quantile:g}{face.blank}%"
    recorded = (
        "Recorded (LAPE, Tang et al., ACL 2024): a unit of a feed-forward block is active at a token where the output of its activation "
        "function is above 0. At what share of each language's tokens is it?"
    )
    if recipe.record_only:
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
    return few_groups(min((number for number in effects.windows if number is not None), default=None)).replace("groups", "windows")


def perplexity(value: float | None, face: Face = PLAIN) -> str:
    """A perplexity, with as many digits as all others of a column have.

    >>> perplexity(105.97), perplexity(58.5), perplexity(12345.6), perplexity(None)
    ('105.97', '58.50', '12,346', '–')
    """
    return face.number(value) if value is None or value >= 1000 else face.signed(value, 2).removeprefix("+")


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
