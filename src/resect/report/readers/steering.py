"""Answers that were steered into a language, made sound, and what there is to say of them. Knows no page, no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resect.core.errors import InputError
from resect.core.number_format import DASH, MetricFormat

from .open_answers import Said, said_of, same, silence_of
from .tolerant import interval_of, number_of, object_of, whole_of

#: With fewer prompts nothing is said of how sure a change is.
FEWEST = 20


@dataclass(frozen=True)
class Pair:
    """A prompt with its answer before and after steering."""

    prompt: str
    before: Said
    after: Said


@dataclass(frozen=True)
class Steered:
    """Answers steered into a language. `accuracy`, `quality`: before and after; None where they were not measured.

    `empty`, `untold`: how many answers hold no text, and of how many others nobody can tell the language, before and after.
    `file`: its name, where two results could not be told apart without it.
    """

    to: str
    source: str | None
    mode: str
    strength: float | None
    n: int | None
    accuracy: tuple[float | None, float | None] | None
    interval: list[float] | None
    quality: tuple[float | None, float | None] | None
    pairs: tuple[Pair, ...]
    is_identified: bool = True
    empty: tuple[int, int] = (0, 0)
    untold: tuple[int, int] = (0, 0)
    file: str = ""

    @property
    def name(self) -> str:
        """What was done, in few words.

        >>> Steered("fr", "en", "set", 1.0, None, None, None, None, ()).name
        'to fr, away from en (set)'
        """
        away = f", away from {self.source}" if self.source else ""
        strength = "" if self.strength is None or self.strength == 1 else f", strength {self.strength:g}"
        return f"to {self.to}{away} ({self.mode}{strength}){self._file}"

    @property
    def short(self) -> str:
        """The same for a narrow column.

        >>> Steered("fr", "en", "set", 4.0, None, None, None, None, ()).short
        'fr from en, set 4'
        """
        away = f" from {self.source}" if self.source else ""
        strength = "" if self.strength is None or self.strength == 1 else f" {self.strength:g}"
        return f"{self.to}{away}, {self.mode}{strength}{self._file}"

    @property
    def silence(self) -> tuple[str, str]:
        """What cannot count as any language, before and after."""
        before, after = (silence_of(*numbers) for numbers in zip(self.empty, self.untold, strict=True))
        return before, after

    @property
    def number(self) -> int:
        """How many prompts were answered."""
        return len(self.pairs) if self.n is None else self.n

    @property
    def answer_changes(self) -> int | None:
        """How many answers came to be in that language, or no longer are; None where the languages were not identified."""
        if not self.is_identified or not self.pairs:
            return None
        return sum(self._is_there(pair.before) != self._is_there(pair.after) for pair in self.pairs)

    def certainty(self, figures: MetricFormat) -> str:
        """The change of language accuracy in points, and how sure it is."""
        if self.accuracy is None or None in self.accuracy:
            return DASH
        before, after = (value or 0.0 for value in self.accuracy)
        if self.answer_changes == 0:
            return "none changed"
        told = figures.change(after - before)
        if self.number < FEWEST:
            return f"{told} (too few to say)"
        return told if self.interval is None else f"{told} ({figures.change_interval(self.interval)})"

    def remarks(self) -> list[str]:
        """What there is to say of it, in sentences, and what to try."""
        found = []
        before, after = self.accuracy or (None, None)
        stronger = "try a larger --strength" + ("" if self.mode == "difference" else ", or --mode difference")
        if self.pairs and all(pair.before.text == pair.after.text for pair in self.pairs):
            found.append(f"no answer changed; {stronger}.")
        elif self.answer_changes == 0 and before is not None and before < 1:
            found.append(f"no answer changed its language; {stronger}.")
        elif before is not None and after is not None and after < before:
            found.append("it got worse: fewer answers are in that language than before; try less --strength, or another --mode.")
        return found

    @property
    def _file(self) -> str:
        return f" [{self.file}]" if self.file else ""

    def _is_there(self, said: Said) -> bool:
        return said.identified is not None and same(self.to, said.identified)


def steered_of(found: Mapping[str, Any]) -> Steered:
    """A result of `resect steer`. Raises InputError where it is none."""
    to, rows = found.get("to"), found.get("answers")
    if not isinstance(to, str) or not to or not isinstance(rows, list):
        raise InputError("It is damaged: it holds no language, or no answers.")
    pairs = tuple(pair for row in rows if (pair := _pair(object_of(row))) is not None)
    if rows and not pairs:
        raise InputError("It is damaged: it holds no prompt with its two answers.")
    accuracy, source, empty = object_of(found.get("language_accuracy")), found.get("from"), object_of(found.get("empty"))
    counted = (sum(not pair.before.text.strip() for pair in pairs), sum(not pair.after.text.strip() for pair in pairs))
    unclear = object_of(found.get("untold"))
    told = whole_of(empty.get("before")), whole_of(empty.get("after"))
    return Steered(
        to,
        str(source) if source else None,
        str(found.get("mode") or ""),
        number_of(found.get("strength")),
        whole_of(found.get("n")),
        _ends(accuracy),
        interval_of(accuracy),
        _ends(object_of(found.get("quality"))),
        pairs,
        bool(accuracy),
        (counted[0] if told[0] is None else told[0], counted[1] if told[1] is None else told[1]),
        (whole_of(unclear.get("before")) or 0, whole_of(unclear.get("after")) or 0),
    )


def apart(found: Mapping[str, Steered]) -> list[Steered]:
    """Results by the names of their files; those that would be called the same are told apart by these."""
    names = [each.name for each in found.values()]
    return [replace(each, file=file) if names.count(each.name) > 1 else each for file, each in found.items()]


def remarks(found: Sequence[Steered]) -> list[tuple[str, list[Steered]]]:
    """What there is to say, and of which results."""
    told: dict[str, list[Steered]] = {}
    for each in found:
        for sentence in each.remarks():
            told.setdefault(sentence, []).append(each)
    return list(told.items())


def _pair(row: Mapping[str, Any]) -> Pair | None:
    if not all(isinstance(row.get(name), str) for name in ("prompt", "before", "after")):
        return None
    seen, judged = object_of(row.get("identified")), object_of(row.get("quality"))
    before, after = (said_of(row[name], seen.get(name), judged.get(name)) for name in ("before", "after"))
    return Pair(row["prompt"], before, after)


def _ends(found: Mapping[str, Any]) -> tuple[float | None, float | None] | None:
    before, after = (number_of(found.get(name)) for name in ("before", "after"))
    return None if before is None and after is None else (before, after)
