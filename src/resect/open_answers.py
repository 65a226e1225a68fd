"""Open answers: what a model writes to questions under any plan, which language that is in, and how good it is.

Knows plans, questions and those who judge by the text alone; knows neither how a plan was found nor where results are kept.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .bundles import listed
from .errors import InputError, PromptTooLong
from .languages import Identifier, known, same
from .model import LanguageModel
from .plan import Plan
from .work import Engine, Entry, InMemory, InProcess, Journal, Progress, map_once, silent

#: What a question is wrapped in, and by what repeated tokens are held down.
TEMPLATE = "Q: {question}{suffix}\nA:"
REPETITION_PENALTY = 1.1
#: Tokens that are written to an open question, where nothing else is said.
NEW_TOKENS = 128
#: Prompts, or answers to be rated, that are one item of work, whatever the engine.
PIECE = 32
#: How many requests a judge has at a time.
REQUESTS = 8
#: What rows of answers call the random control of a text's own language.
RANDOM = "random"
#: A question, an answer, and the language of the question.
Asked = tuple[str, str, str]
#: Whose units were off, and the language of the text.
_Key = tuple[str | None, str]


class Tells(Protocol):
    """Tells the language of texts, as `languages.Identifier` does."""

    def of(self, texts: Sequence[str]) -> list[str | None]:
        """The code of each text's language; None where none can be told."""


class Rates(Protocol):
    """Rates answers, as `judge.Judge` does. Is asked from several threads."""

    def rate(self, question: str, answer: str, language: str) -> int | None:
        """From 1 to 5; None where the judge gave no number."""


@dataclass(frozen=True)
class Rated:
    """Texts with what was found out about each: the language that they are in, and their quality from 1 to 5 (None: not told)."""

    texts: tuple[str, ...]
    identified: tuple[str | None, ...]
    quality: tuple[int | None, ...]

    def said_in(self, language: str) -> list[bool]:
        """Whether each text is found to be in this language."""
        return [found is not None and same(language, found) for found in self.identified]

    def accuracy(self, language: str) -> float:
        """The share of the texts that are found to be in this language."""
        return float(np.mean(self.said_in(language)))

    @property
    def mean_quality(self) -> float | None:
        """Over the texts that have one; None where none has."""
        found = [number for number in self.quality if number is not None]
        return float(np.mean(found)) if found else None


@dataclass(frozen=True)
class Writing:
    """The work: what one model writes to some prompts under one plan, which is in force wherever the work is done."""

    model: LanguageModel
    plan: Plan
    new_tokens: int

    def around(self) -> AbstractContextManager[object]:
        """The plan, applied. Raises WrongModel, NotWritable, Conflict."""
        return self.plan.applied(self.model)

    def __call__(self, prompts: tuple[str, ...]) -> Entry:
        """Texts, in the order of the prompts. Raises NotFinite, OutOfMemory."""
        return {"texts": self.model.generate(prompts, self.new_tokens, repetition_penalty=REPETITION_PENALTY)}


def ask(
    model: LanguageModel,
    plan: Plan,
    prompts: Sequence[str],
    *,
    new_tokens: int = NEW_TOKENS,
    engine: Engine | None = None,
    journal: Journal | None = None,
    progress: Progress = silent,
    stage: str = "answering",
) -> list[str]:
    """What the model writes to each prompt under the plan: greedy, repetition penalty 1.1, special tokens left out.

    Raises as `check`, and NotFinite, OutOfMemory, WrongModel, NotWritable, Conflict before anything is written.
    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: nothing.
    """
    plan.forms_for(model)
    check(model, prompts, new_tokens)
    pieces = [tuple(prompts[start : start + PIECE]) for start in range(0, len(prompts), PIECE)]
    how = [new_tokens, REPETITION_PENALTY, model.encoder.chat]
    keys = [f"open answers/{plan.digest}/{_digest([how, piece])}" for piece in pieces]
    work: dict[str, Any] = {"engine": engine or InProcess(), "journal": journal or InMemory(), "progress": progress, "stage": stage}
    return [str(text) for entry in map_once(Writing(model, plan, new_tokens), pieces, keys, **work) for text in listed(entry["texts"])]


def likeliest() -> Identifier:
    """The identifier that answers are measured by: it takes the likeliest language. Raises InputError where lingua is not installed.

    One that has to be sure passes over short answers, and over half of them in English, so that languages could not be compared.
    """
    return Identifier(sure=0.0)


def check(model: LanguageModel, prompts: Sequence[str], new_tokens: int) -> None:
    """Raises InputError for a masked model, no prompt or no token to write, PromptTooLong where prompts and answers do not fit."""
    if model.kind == "masked":
        raise InputError(f"{model.name or 'This model'} fills masks and writes no text, so that it has no open answers.")
    if not prompts or new_tokens < 1:
        raise InputError(f"Open answers need a prompt and a token to write, or more; there are {len(prompts)} and {new_tokens}.")
    try:
        model.openings(prompts, new_tokens)
    except PromptTooLong as error:
        raise PromptTooLong(f"{error} Or let it write less than {new_tokens} tokens (--new-tokens).") from error


def rated(texts: Sequence[str], identifier: Tells | None, ratings: Iterable[int | None] | None = None) -> Rated:
    """Texts with their languages, and with the ratings that were asked for them."""
    identified = identifier.of(texts) if identifier is not None and texts else [None] * len(texts)
    return Rated(tuple(texts), tuple(identified), (None,) * len(texts) if ratings is None else tuple(ratings))


def rate(
    judge: Rates | None,
    asked: Iterable[Asked],
    *,
    journal: Journal | None = None,
    progress: Progress = silent,
    stage: str = "rating answers",
) -> dict[Asked, int | None]:
    """What the judge says of each (question, answer, language), asked once where it comes up again; None of all without a judge.

    Raises what the judge raises.
    """
    distinct = list(dict.fromkeys(asked))
    if judge is None:
        return dict.fromkeys(distinct)
    pieces = [tuple(distinct[start : start + PIECE]) for start in range(0, len(distinct), PIECE)]
    # Ratings of another judge are not taken for this one's.
    keys = [f"ratings/{_digest([[str(getattr(judge, name, '')) for name in ('url', 'model')], piece])}" for piece in pieces]
    with ThreadPoolExecutor(REQUESTS) as threads:
        work = lambda piece: {"quality": list(threads.map(lambda each: judge.rate(*each), piece))}
        entries = list(map_once(work, pieces, keys, engine=InProcess(), journal=journal or InMemory(), progress=progress, stage=stage))
    return dict(zip(distinct, [number for entry in entries for number in listed(entry["quality"])], strict=True))


@dataclass(frozen=True)
class _Condition:
    """Whose units are off (None: nobody's, "random": as many at random), by the language of the text."""

    off: str | None
    plan: Callable[[str], Plan]


def open_questions(
    model: LanguageModel,
    questions: Mapping[str, Sequence[str]],
    plans: Mapping[str, Plan],
    control: Mapping[str, Plan] | None,
    *,
    identifier: Tells | None,
    judge: Rates | None,
    suffix: str | Mapping[str, str] = "",
    new_tokens: int = NEW_TOKENS,
    engine: Engine | None = None,
    journal: Journal | None = None,
    progress: Progress = silent,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Answers to open questions of each language: by the model as it is, under each language's plan, and under a random control.

    Parameters
    ----------
    questions : by language
    plans : by language, what turns its units off; where a plan is empty, its answers are those of the model as it is
    control : by language, a random plan like its own, under which only its own questions are asked
    suffix : put behind each question; by language where it differs
    identifier : for the language accuracy, which is None of a language that it does not know
    judge : for the quality

    Returns the rows of answers.jsonl, and a summary: `n` {language: questions}; `language_accuracy` and `quality`, each {"base", "random"}
    {language of the text: mean} and "deactivated" {language off: {language of the text: mean}}, None where nobody tells; `unjudged`, how
    many answers the judge gave no number; `new_tokens`. Accuracy: share of all answers, in [0, 1], those without letters counting as
    wrong; quality: mean of the ratings from 1 to 5. Raises as `ask` does, of all languages before the first is asked.

    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: who tells the language, who judges.
    """
    prompts = {language: worded(asked, language, suffix) for language, asked in questions.items()}
    conditions = _conditions(plans, control)
    plan_of = {(each.off, language): each.plan(language) for language in prompts for each in conditions}
    asking = {key: plan for key, plan in plan_of.items() if key[0] is None or not plan.is_empty}
    for (_, language), plan in asking.items():
        plan.forms_for(model)
        check(model, prompts[language], new_tokens)
    told = _Together(progress, "answering open questions", sum(math.ceil(len(prompts[language]) / PIECE) for _, language in asking))
    work: dict[str, Any] = {"new_tokens": new_tokens, "engine": engine, "journal": journal, "progress": told}
    said = {key: ask(model, plan, prompts[key[1]], **work) for key, plan in asking.items()}
    texts = {key: said[key] if key in said else said[None, key[1]] for key in plan_of}
    asked = {key: list(zip(questions[key[1]], said, itertools.repeat(key[1]))) for key, said in texts.items()}
    quality = rate(judge, itertools.chain(*asked.values()), journal=journal, progress=progress)
    found = {key: rated(said, identifier, [quality[each] for each in asked[key]]) for key, said in texts.items()}
    told_apart = {language: not isinstance(identifier, Identifier) or known(language) for language in questions}
    accuracy = lambda key: found[key].accuracy(key[1]) if told_apart[key[1]] else None
    rows = [row for language in questions for row in _rows(language, prompts[language], conditions, found)]
    unjudged = 0 if judge is None else sum(row["quality"] is None for row in rows)
    return rows, {
        "n": {language: len(asked) for language, asked in questions.items()},
        "language_accuracy": None if identifier is None else _table(conditions, questions, accuracy),
        "quality": None if judge is None else _table(conditions, questions, lambda key: found[key].mean_quality),
        "unjudged": unjudged,
        "new_tokens": new_tokens,
    }


class _Together:
    """The Progress of several stages as one."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total, self._done = progress, stage, total, 0
        progress(stage, 0, total)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """One item more is done, of whichever stage."""
        if done:
            self._done += 1
            self._progress(self._stage, self._done, self._total)


def _conditions(plans: Mapping[str, Plan], control: Mapping[str, Plan] | None) -> list[_Condition]:
    found = [_Condition(None, lambda language: Plan())]
    if control is not None:
        found.append(_Condition(RANDOM, lambda language: control.get(language, Plan())))
    return found + [_Condition(off, lambda language, plan=plan: plan) for off, plan in plans.items()]  # type: ignore[misc]


def worded(questions: Sequence[str], language: str, suffix: str | Mapping[str, str]) -> list[str]:
    """The prompts in which open questions of a language are asked."""
    behind = suffix if isinstance(suffix, str) else suffix.get(language, "")
    return [TEMPLATE.replace("{suffix}", behind).replace("{question}", question) for question in questions]


def _rows(language: str, prompts: Sequence[str], conditions: Sequence[_Condition], found: Mapping[_Key, Rated]) -> Iterator[dict[str, Any]]:
    """A row an answer, those to one question together."""
    for number, prompt in enumerate(prompts):
        for condition in conditions:
            answers = found[condition.off, language]
            yield {
                "id": f"{language}/{number}",
                "language": language,
                "deactivated": condition.off,
                "prompt": prompt,
                "answer": answers.texts[number],
                "identified": answers.identified[number],
                "quality": answers.quality[number],
            }


def _table(conditions: Sequence[_Condition], languages: Mapping[str, Any], value: Callable[[_Key], float | None]) -> dict[str, Any]:
    rows = {each.off: {language: value((each.off, language)) for language in languages} for each in conditions}
    off = {name: row for name, row in rows.items() if name not in (None, RANDOM)}
    return {"base": rows[None], "random": rows.get(RANDOM), "deactivated": off}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()[:32]
