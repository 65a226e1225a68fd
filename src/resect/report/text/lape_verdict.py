"""How sure the matrix of a run of LAPE is, in words: first what speaks against it. Knows numbers; no page, no terminal."""

from dataclasses import dataclass

from resect.core.number_format import PLAIN, NumberStyle, plural
from resect.report.readers.deactivation import Effects
from resect.report.readers.unit_sets import Stability

from .lape_sentences import listed, rise

#: Texts that another language's units hurt more than their own do: so many are named.
NAMED = 3


@dataclass(frozen=True)
class Verdict:
    """What the matrix says. `word`: in a few words; `is_clear`: nothing is to be said against it.

    `doubts`: what is to be said against it, a sentence each; `says`: what it shows; `sentence`: all of it, the doubts first.
    """

    word: str
    is_clear: bool
    doubts: tuple[str, ...]
    says: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it."""
        return " ".join((*self.doubts, *self.says))


def verdict(effects: Effects, face: NumberStyle = PLAIN) -> Verdict:
    """What the matrix says, for those who read it on `face`.

    "Specific" is said only where of every language with units the own text suffers most, and the whole 95 % interval of that lies above 0,
    above what as many random units do to it, and above the change of the text that suffers next.
    """
    known, sure = effects.with_units, effects.sure
    if not known:
        return Verdict(
            "No units", False, (), ("No language has units of its own: nothing was switched off, and the model stays as it is.",)
        )
    doubts = _doubts(effects, face)
    says = (_first(effects), *_sizes(effects, face), _without(effects))
    is_clear = len(sure) == len(known) and not doubts
    return Verdict(_word(effects), is_clear, tuple(doubts), tuple(part for part in says if part))


def chance(effects: Effects) -> str:
    """How often a language's own text would suffer most by chance alone."""
    return f"1 in {len(effects.languages)}"


def steadiness(found: Stability | None) -> str:
    """How much of the selected set another part of the text would have left, as a sentence; "" where that was not measured."""
    if found is None:
        return ""
    parts = []
    if found.halves is not None:
        parts.append(f"two halves of the text, each by itself, select sets with a Jaccard index of {found.halves.jaccard:.2f}")
    known = [step for step in found.steps if step.jaccard is not None]
    if known:
        parts.append(f"the last doubling of the text left {known[-1].jaccard:.2f}")
    return f"How steady the selection is (1: the same units): {'; '.join(parts)}." if parts else ""


def _word(effects: Effects) -> str:
    known, sure = effects.with_units, effects.sure
    if effects.selector == "random":
        return "Random units"
    if len(effects.as_random) == len(known):
        return "No more than random units do"
    if len(sure) == len(known):
        if effects.control is None:
            return "Specific, without a control"
        return "Specific by row, not by column" if effects.hurt_more else "Specific"
    return "Partly specific" if sure else "Not sure" if effects.specific else "Not specific"


def _doubts(effects: Effects, face: NumberStyle) -> list[str]:
    """What is to be said against it."""
    found = []
    if effects.selector == "random":
        expected = len(effects.with_units) / len(effects.languages)
        found.append(
            f"These units were drawn at random: by chance alone, any language's own text suffers most with a chance of {chance(effects)}, "
            f"so that of {plural(len(effects.with_units), 'languages')} about {expected:.2g} would."
        )
    if effects.unsure:
        found.append(f"Not beyond chance: {listed(effects.unsure)} (the 95 % interval of the own change does not lie above 0).")
    if effects.unmeasured:
        found.append(f"Without an interval: {listed(effects.unmeasured)}; how sure the own change is, is not known.")
    if effects.as_random:
        found.append(f"For {listed(effects.as_random)}, random units do as much.")
    if effects.near_random:
        found.append(f"For {listed(effects.near_random)}, the interval of the own change reaches down to what random units do.")
    if effects.near_next:
        found.append(f"For {listed(effects.near_next)}, the interval of the own change reaches down to the text that suffers next most.")
    if effects.hurt_more:
        named = [
            f"{text}'s text suffers more from {mine}'s units ({face.signed(change)}) than from its own ({face.signed(own)})"
            for text, mine, change, own in effects.hurt_more[:NAMED]
        ]
        more = len(effects.hurt_more) - len(named)
        found.append(f"Read by column: {'; '.join(named)}{f'; and so on for {more} more' if more else ''}.")
    if effects.control is None and effects.selector != "random":
        found.append("Random units were not switched off, so that there is no control.")
    return found


def _first(effects: Effects) -> str:
    """For how many languages the own text suffers most, what chance would give, and what suffers more where it does not."""
    known, specific = effects.with_units, effects.specific
    told = "Switching off a language's units hurts its own text more than any other"
    by_chance = f" By chance it would be {chance(effects)} each."
    if len(specific) == len(known):
        return f"{told}, for all {len(known):,} languages.{by_chance}" if len(known) > 1 else f"{told}.{by_chance}"
    rivals = {name: effects.languages[place] for name, place in zip(effects.languages, effects.strongest, strict=True) if place is not None}
    other = [
        f"{name} ({rivals[name]} suffers more)" if rivals.get(name) not in (None, name) else name for name in known if name not in specific
    ]
    return f"{told} for {len(specific):,} of {len(known):,} languages; not for {listed(other)}.{by_chance}"


def _sizes(effects: Effects, face: NumberStyle) -> list[str]:
    """How large the changes are: on the diagonal, of each language's own draw of random units, beside the diagonal."""
    own = sorted((change, name) for name in effects.with_units if (change := effects.own_of(name)) is not None)
    if not own:
        return []
    ends = [own[0], own[-1]] if len(own) > 1 else own
    range_of = " to ".join(f"{face.signed(change)} ({name}; perplexity {rise(change, face)})" for change, name in ends)
    told = [f"The mean negative log-probability of a token of the own text changes by {range_of} nats."]
    pairs = [(change - random, name, change, random) for change, name in own if (random := effects.random_of(name)) is not None]
    if pairs:
        _, name, change, random = min(pairs)
        nearest = f"{name}, {face.signed(change)} against {face.signed(random)}"
        told.append(f"As many random units, drawn for each language by itself, come nearest for {nearest}.")
    if effects.others:
        mine, theirs, change = effects.others[0]
        mean = sum(each[2] for each in effects.others) / len(effects.others)
        other = f"{face.signed(mean)} on average, at most {face.signed(change)} ({mine}'s units, {theirs}'s text)"
        told.append(f"Other languages' text changes by {other}.")
    return told


def _without(effects: Effects) -> str:
    if not effects.without_units:
        return ""
    have = "has no units: its row is" if len(effects.without_units) == 1 else "have no units: their rows are"
    return f"{listed(effects.without_units)} {have} the model as it was."
