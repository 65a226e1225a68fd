"""What a model wrote in answer, made sound: open questions under each deactivation, and steered answers. Knows no page, no file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from ..sound import interval_of, number_of, numbers_of, object_of, whole_of

#: What stands in the place of a language where the units that are off are random ones.
RANDOM = "random"


@dataclass(frozen=True)
class Scored:
    """One measure of answers, by the language of the question: of the model as it is, with random units off, with a language's off."""

    base: Mapping[str, float]
    random: Mapping[str, float]
    off: Mapping[str, Mapping[str, float]]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of questions."""
        return tuple(dict.fromkeys(name for held in (self.base, *self.off.values()) for name in held))

    def own(self, language: str) -> float | None:
        """What became of a language's questions with its own units off."""
        return self.off.get(language, {}).get(language)


@dataclass(frozen=True)
class Questions:
    """Open questions: how many a language, the share of answers in the language of the question, their quality from 1 to 5."""

    n: Mapping[str, float]
    accuracy: Scored | None
    quality: Scored | None
    unjudged: int | None
    new_tokens: int | None


@dataclass(frozen=True)
class Said:
    """An answer: the language that it was identified as (None: none for sure), and its quality (None: not judged)."""

    text: str
    identified: str | None = None
    quality: float | None = None


@dataclass(frozen=True)
class Question:
    """A question with its answers, by whose units were off ("" none, "random")."""

    id: str
    language: str
    prompt: str
    answers: Mapping[str, Said]


@dataclass(frozen=True)
class Pair:
    """A prompt with its answer before and after steering."""

    prompt: str
    before: Said
    after: Said


@dataclass(frozen=True)
class Steered:
    """Answers steered into a language. `accuracy`, `quality`: before and after; None where they were not measured."""

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

    @property
    def name(self) -> str:
        """What was done, in few words.

        >>> Steered("fr", "en", "set", 1.0, None, None, None, None, ()).name
        'to fr, away from en (set)'
        """
        away = f", away from {self.source}" if self.source else ""
        strength = "" if self.strength is None or self.strength == 1 else f", strength {self.strength:g}"
        return f"to {self.to}{away} ({self.mode}{strength})"


def questions_of(comparison: Mapping[str, Any] | None) -> Questions | None:
    """Open questions as the other metrics of a comparison tell them; None where none were asked."""
    found = object_of(object_of((comparison or {}).get("other_metrics")).get("open_questions"))
    if not found:
        return None
    accuracy, quality = (_scored(object_of(found.get(name))) for name in ("language_accuracy", "quality"))
    return Questions(numbers_of(found.get("n")), accuracy, quality, whole_of(found.get("unjudged")), whole_of(found.get("new_tokens")))


def answer_of(row: object) -> tuple[str, str, str, str, Said]:
    """A line of answers.jsonl: id, language, prompt, whose units were off, what was said. Raises InputError that says what is missing."""
    value = object_of(row)
    lost = [name for name in ("language", "prompt", "answer") if not isinstance(value.get(name), str)]
    if lost:
        raise InputError(f"it has no {', '.join(lost)}")
    off = value.get("deactivated")
    said = _said(value["answer"], value.get("identified"), value.get("quality"))
    return str(value.get("id", "")), value["language"], value["prompt"], "" if off is None else str(off), said


def asked(rows: Iterable[tuple[str, str, str, str, Said]]) -> tuple[Question, ...]:
    """The answers of sound rows put together by their question, in order of appearance."""
    grouped: dict[tuple[str, str, str], dict[str, Said]] = {}
    for number, language, prompt, off, said in rows:
        grouped.setdefault((number, language, prompt), {})[off] = said
    return tuple(Question(*key, answers) for key, answers in grouped.items())


def steered_of(found: Mapping[str, Any]) -> Steered:
    """A result of `resect steer`. Raises InputError where it is none."""
    to, rows = found.get("to"), found.get("answers")
    if not isinstance(to, str) or not to or not isinstance(rows, list):
        raise InputError("It is damaged: it holds no language, or no answers.")
    pairs = tuple(pair for row in rows if (pair := _pair(object_of(row))) is not None)
    if rows and not pairs:
        raise InputError("It is damaged: it holds no prompt with its two answers.")
    accuracy, source = object_of(found.get("language_accuracy")), found.get("from")
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
    )


def _scored(found: Mapping[str, Any]) -> Scored | None:
    base, random = numbers_of(found.get("base")), numbers_of(found.get("random"))
    off = {str(name): numbers_of(held) for name, held in object_of(found.get("deactivated")).items()}
    return Scored(base, random, off) if base or any(off.values()) else None


def _said(text: object, identified: object, quality: object) -> Said:
    return Said(str(text), identified if isinstance(identified, str) and identified else None, number_of(quality))


def _pair(row: Mapping[str, Any]) -> Pair | None:
    if not all(isinstance(row.get(name), str) for name in ("prompt", "before", "after")):
        return None
    seen, judged = object_of(row.get("identified")), object_of(row.get("quality"))
    before, after = (_said(row[name], seen.get(name), judged.get(name)) for name in ("before", "after"))
    return Pair(row["prompt"], before, after)


def _ends(found: Mapping[str, Any]) -> tuple[float | None, float | None] | None:
    before, after = (number_of(found.get(name)) for name in ("before", "after"))
    return None if before is None and after is None else (before, after)
