"""How specific the units of languages are, in words: first what speaks against it. Knows numbers; no page, no terminal."""

from dataclasses import dataclass

from resect.core.number_format import PLAIN, NumberStyle, plural
from resect.report.readers.language_matrix import LanguageMatrix

from .language_sentences import listed, rise

#: Texts that another language's units hurt more than their own do: so many are named.
NAMED = 3


@dataclass(frozen=True)
class LanguageVerdict:
    """What the matrix says.

    word : in a few words
    is_clear : whether nothing speaks against it
    doubts, findings : what speaks against it, and what it shows; a sentence each
    """

    word: str
    is_clear: bool
    doubts: tuple[str, ...]
    findings: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it."""
        return " ".join((*self.doubts, *self.findings))


def language_verdict(matrix: LanguageMatrix, style: NumberStyle = PLAIN) -> LanguageVerdict:
    """What the matrix says.

    "Specific" is said only where for every language with units the own text suffers most, and the whole 95 % interval of its change is
    above 0, above the change with as many random units, and above the change of the text that suffers next.
    """
    known, sure = matrix.with_units, matrix.sure
    if not known:
        nothing = "No language has units of its own: nothing was deactivated, and the model stays as it is."
        return LanguageVerdict("No units", False, (), (nothing,))
    doubts = _doubts(matrix, style)
    findings = (_own_text(matrix), *_sizes(matrix, style), _without(matrix))
    return LanguageVerdict(_word(matrix), len(sure) == len(known) and not doubts, tuple(doubts), tuple(filter(None, findings)))


def chance(matrix: LanguageMatrix) -> str:
    """How often a language's own text would suffer most by chance alone."""
    return f"1 in {len(matrix.languages)}"


def _word(matrix: LanguageMatrix) -> str:
    known, sure = matrix.with_units, matrix.sure
    if matrix.selector == "random":
        return "Random units"
    if len(matrix.as_random) == len(known):
        return "No more than random units do"
    if len(sure) == len(known):
        if matrix.control is None:
            return "Specific, without a control"
        return "Specific by row, not by column" if matrix.hurt_more else "Specific"
    return "Partly specific" if sure else "Not sure" if matrix.specific else "Not specific"


def _doubts(matrix: LanguageMatrix, style: NumberStyle) -> list[str]:
    """What speaks against it."""
    doubts = []
    if matrix.selector == "random":
        expected = len(matrix.with_units) / len(matrix.languages)
        doubts.append(
            f"These units were drawn at random: by chance alone, any language's own text suffers most with a chance of {chance(matrix)}, "
            f"so that of {plural(len(matrix.with_units), 'languages')} about {expected:.2g} would."
        )
    if matrix.unsure:
        doubts.append(f"Not beyond chance: {listed(matrix.unsure)} (the 95 % interval of the own change is not above 0).")
    if matrix.unmeasured:
        doubts.append(f"Without an interval: {listed(matrix.unmeasured)}; how sure the own change is, is not known.")
    if matrix.as_random:
        doubts.append(f"For {listed(matrix.as_random)}, random units do as much.")
    if matrix.near_random:
        doubts.append(f"For {listed(matrix.near_random)}, the interval of the own change reaches down to what random units do.")
    if matrix.near_next:
        doubts.append(f"For {listed(matrix.near_next)}, the interval of the own change reaches down to the text that suffers next most.")
    if matrix.hurt_more:
        named = [
            f"{text}'s text suffers more from {mine}'s units ({style.signed(change)}) than from its own ({style.signed(own)})"
            for text, mine, change, own in matrix.hurt_more[:NAMED]
        ]
        more = len(matrix.hurt_more) - len(named)
        doubts.append(f"Read by column: {'; '.join(named)}{f'; and so on for {more} more' if more else ''}.")
    if matrix.control is None and matrix.selector != "random":
        doubts.append("Random units were not deactivated, so that there is no control.")
    return doubts


def _own_text(matrix: LanguageMatrix) -> str:
    """For how many languages the own text suffers most, what chance would give, and what suffers more where it does not."""
    known, specific = matrix.with_units, matrix.specific
    hurts = "Deactivating a language's units hurts its own text more than any other"
    by_chance = f" By chance it would be {chance(matrix)} each."
    if len(specific) == len(known):
        return f"{hurts}, for all {len(known):,} languages.{by_chance}" if len(known) > 1 else f"{hurts}.{by_chance}"
    rivals = {name: matrix.languages[place] for name, place in zip(matrix.languages, matrix.strongest, strict=True) if place is not None}
    others = [
        f"{name} ({rivals[name]} suffers more)" if rivals.get(name) not in (None, name) else name for name in known if name not in specific
    ]
    return f"{hurts} for {len(specific):,} of {len(known):,} languages; not for {listed(others)}.{by_chance}"


def _sizes(matrix: LanguageMatrix, style: NumberStyle) -> list[str]:
    """How large the changes are: on the diagonal, with each language's own draw of random units, off the diagonal."""
    own = sorted((change, name) for name in matrix.with_units if (change := matrix.own_of(name)) is not None)
    if not own:
        return []
    ends = [own[0], own[-1]] if len(own) > 1 else own
    extent = " to ".join(f"{style.signed(change)} ({name}; perplexity {rise(change, style)})" for change, name in ends)
    sentences = [f"The mean negative log-probability of a token of the own text changes by {extent} nats."]
    pairs = [(change - random, name, change, random) for change, name in own if (random := matrix.random_of(name)) is not None]
    if pairs:
        _, name, change, random = min(pairs)
        nearest = f"{name}, {style.signed(change)} against {style.signed(random)}"
        sentences.append(f"As many random units, drawn for each language by itself, come nearest for {nearest}.")
    if matrix.others:
        mine, theirs, change = matrix.others[0]
        mean = sum(other[2] for other in matrix.others) / len(matrix.others)
        extent = f"{style.signed(mean)} on average, at most {style.signed(change)} ({mine}'s units, {theirs}'s text)"
        sentences.append(f"Other languages' text changes by {extent}.")
    return sentences


def _without(matrix: LanguageMatrix) -> str:
    if not matrix.without_units:
        return ""
    have = "has no units: its row is" if len(matrix.without_units) == 1 else "have no units: their rows are"
    return f"{listed(matrix.without_units)} {have} that of the model without an edit."
