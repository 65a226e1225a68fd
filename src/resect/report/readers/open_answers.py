"""What a model wrote in answer to open questions under each deactivation, made sound. Knows no page, no file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from resect.core.errors import InputError

from .tolerant import number_of, numbers_of, object_of, whole_of

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
    """Open questions: how many a language, the share of answers in the language of the question, their quality from 1 to 5.

    `empty`: how many answers hold no text; `untold`: of how many others nobody can tell the language; None where that is not told.
    """

    n: Mapping[str, float]
    accuracy: Scored | None
    quality: Scored | None
    unjudged: int | None
    new_tokens: int | None
    empty: Scored | None = None
    untold: Scored | None = None

    def silence(self, language: str) -> tuple[str, str, str]:
        """What cannot count as any language: of the model as it is, with the language's own units off, with random ones off."""
        held = [
            (None, None, None) if found is None else (found.base.get(language), found.own(language), found.random.get(language))
            for found in (self.empty, self.untold)
        ]
        base, own, random = (silence_of(*numbers) for numbers in zip(*held, strict=True))
        return base, own, random


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


def questions_of(comparison: Mapping[str, Any] | None) -> Questions | None:
    """Open questions as the other metrics of a comparison tell them; None where none were asked."""
    found = object_of(object_of((comparison or {}).get("other_metrics")).get("open_questions"))
    if not found:
        return None
    accuracy, quality = (_scored(object_of(found.get(name))) for name in ("language_accuracy", "quality"))
    empty, untold = (_scored(object_of(found.get(name))) for name in ("empty", "untold"))
    counts = whole_of(found.get("unjudged")), whole_of(found.get("new_tokens"))
    return Questions(numbers_of(found.get("n")), accuracy, quality, *counts, empty, untold)


def answer_of(row: object) -> tuple[str, str, str, str, Said]:
    """A line of answers.jsonl: id, language, prompt, whose units were off, what was said. Raises InputError that says what is missing."""
    value = object_of(row)
    lost = [name for name in ("language", "prompt", "answer") if not isinstance(value.get(name), str)]
    if lost:
        raise InputError(f"it has no {', '.join(lost)}")
    off = value.get("deactivated")
    said = said_of(value["answer"], value.get("identified"), value.get("quality"))
    return str(value.get("id", "")), value["language"], value["prompt"], "" if off is None else str(off), said


def asked(rows: Iterable[tuple[str, str, str, str, Said]]) -> tuple[Question, ...]:
    """The answers of sound rows put together by their question, in order of appearance."""
    grouped: dict[tuple[str, str, str], dict[str, Said]] = {}
    for number, language, prompt, off, said in rows:
        grouped.setdefault((number, language, prompt), {})[off] = said
    return tuple(Question(*key, answers) for key, answers in grouped.items())


def same(wanted: str, found: str) -> bool:
    """Whether the code of a language says the same as one that was identified, whatever the region.

    >>> same("zh-CN", "zh"), same("fr", "en")
    (True, False)
    """
    return re.split("[-_]", wanted.lower())[0] == re.split("[-_]", found.lower())[0]


def silence_of(empty: float | None, untold: float | None) -> str:
    """How many answers are empty, and of how many the language is unclear; "" where none is.

    >>> silence_of(2, 1), silence_of(0, None)
    ('2 empty, 1 unclear', '')
    """
    return ", ".join(f"{number:,.0f} {what}" for number, what in ((empty, "empty"), (untold, "unclear")) if number)


def empties(found: Iterable[Question]) -> Scored | None:
    """How many answers hold no text, counted from the answers themselves: as a summary tells it, where it does."""
    held: dict[str, dict[str, float]] = {}
    for question in found:
        for off, said in question.answers.items():
            row = held.setdefault(off, {})
            row[question.language] = row.get(question.language, 0) + (not said.text.strip())
    return Scored(held.pop("", {}), held.pop(RANDOM, {}), held) if held else None


def _scored(found: Mapping[str, Any]) -> Scored | None:
    base, random = numbers_of(found.get("base")), numbers_of(found.get("random"))
    off = {str(name): numbers_of(held) for name, held in object_of(found.get("deactivated")).items()}
    return Scored(base, random, off) if base or any(off.values()) else None


def said_of(text: object, identified: object, quality: object) -> Said:
    """An answer; what is no name of a language, or no number, is not known."""
    return Said(str(text), identified if isinstance(identified, str) and identified else None, number_of(quality))
