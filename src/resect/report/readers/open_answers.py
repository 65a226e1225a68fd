"""What a model wrote in answer to open questions, with units of languages deactivated. Knows no page, no file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from resect.runs.schemas.comparison import AnswerMeasure, ByLanguage, ComparisonFile
from resect.runs.schemas.rows import AnswerLine

#: What `deactivated` of an answer is where the units are random ones.
RANDOM = "random"


@dataclass(frozen=True)
class AnswerScores:
    """One measure of answers, by the language of the question.

    base : of the model without an edit
    random : with as many random units deactivated
    deactivated : with the units of a language deactivated, by that language
    """

    base: Mapping[str, float]
    random: Mapping[str, float]
    deactivated: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, measure: AnswerMeasure | None) -> "AnswerScores | None":
        """The measure of comparison.json; None where nothing was measured."""
        if measure is None:
            return None
        scores = cls(_known(measure.base), _known(measure.random), {name: _known(row) for name, row in measure.deactivated.items()})
        return scores if scores.base or any(scores.deactivated.values()) else None

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of questions."""
        return tuple(dict.fromkeys(name for row in (self.base, *self.deactivated.values()) for name in row))

    def own(self, language: str) -> float | None:
        """The score of a language's questions with its own units deactivated."""
        return self.deactivated.get(language, {}).get(language)


@dataclass(frozen=True)
class OpenQuestionScores:
    """Open questions.

    n : the number of questions, by language
    accuracy : the share of answers in the language of the question
    quality : the mean rating, from 1 to 5
    empty, unidentified : how many answers hold no text, and of how many others the language is not known
    """

    n: Mapping[str, int]
    accuracy: AnswerScores | None
    quality: AnswerScores | None
    unjudged: int | None
    new_tokens: int | None
    empty: AnswerScores | None = None
    unidentified: AnswerScores | None = None

    @classmethod
    def of(cls, comparison: ComparisonFile | None) -> "OpenQuestionScores | None":
        """The open questions of comparison.json; None where there were none."""
        questions = None if comparison is None else comparison.other_metrics.open_questions
        if questions is None:
            return None
        measures = (questions.language_accuracy, questions.quality, questions.empty, questions.untold)
        accuracy, quality, empty, unidentified = map(AnswerScores.of, measures)
        return cls(questions.n, accuracy, quality, questions.unjudged, questions.new_tokens, empty, unidentified)

    def uncounted(self, language: str) -> tuple[str, str, str]:
        """The answers that count as in no language: without an edit, with the language's own units deactivated, with random ones."""
        rows = [
            (None, None, None) if scores is None else (scores.base.get(language), scores.own(language), scores.random.get(language))
            for scores in (self.empty, self.unidentified)
        ]
        base, own, random = (uncounted(*numbers) for numbers in zip(*rows, strict=True))
        return base, own, random


@dataclass(frozen=True)
class WrittenAnswer:
    """An answer, the language that it was identified as (None: not known), and its rating (None: not rated)."""

    text: str
    identified: str | None = None
    quality: float | None = None


@dataclass(frozen=True)
class QuestionAnswers:
    """A question with its answers, by whose units were deactivated ("": none, "random": random ones)."""

    id: str
    language: str
    prompt: str
    answers: Mapping[str, WrittenAnswer]


def by_question(rows: Iterable[AnswerLine]) -> tuple[QuestionAnswers, ...]:
    """The answers by question, in order of appearance."""
    grouped: dict[tuple[str, str, str], dict[str, WrittenAnswer]] = {}
    for row in rows:
        answers = grouped.setdefault((row.id, row.language, row.prompt), {})
        answers[row.deactivated or ""] = WrittenAnswer(row.answer, row.identified or None, row.quality)
    return tuple(QuestionAnswers(*key, answers) for key, answers in grouped.items())


def empty_answers(questions: Iterable[QuestionAnswers]) -> AnswerScores | None:
    """How many answers hold no text, counted from the answers themselves; None without answers."""
    counts: dict[str, dict[str, float]] = {}
    for question in questions:
        for off, answer in question.answers.items():
            row = counts.setdefault(off, {})
            row[question.language] = row.get(question.language, 0) + (not answer.text.strip())
    return AnswerScores(counts.pop("", {}), counts.pop(RANDOM, {}), counts) if counts else None


def is_same_language(wanted: str, identified: str) -> bool:
    """Whether two codes of languages mean the same one, whatever the region.

    >>> is_same_language("zh-CN", "zh"), is_same_language("fr", "en")
    (True, False)
    """
    return re.split("[-_]", wanted.lower())[0] == re.split("[-_]", identified.lower())[0]


def uncounted(empty: float | None, unclear: float | None) -> str:
    """How many answers are empty, and of how many the language is unclear; empty where there is none of either.

    >>> uncounted(2, 1), uncounted(0, None)
    ('2 empty, 1 unclear', '')
    """
    return ", ".join(f"{number:,.0f} {what}" for number, what in ((empty, "empty"), (unclear, "unclear")) if number)


def _known(row: ByLanguage | None) -> dict[str, float]:
    return {name: value for name, value in (row or {}).items() if value is not None}
