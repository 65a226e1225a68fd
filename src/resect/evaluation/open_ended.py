"""Open answers: what a model writes to questions under any plan, which language that is in, and how good it is.

Knows plans, questions and those who judge by the text alone; knows neither how a plan was found nor where results are kept.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from resect.core.errors import InputError, PromptTooLong
from resect.core.execution import Engine, Entry, Journal, LocalEngine, MemoryJournal, Progress, as_list, map_resumable, no_progress
from resect.data.language_id import LanguageIdentifier, known
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel

from .answer_ratings import PIECE, RatedAnswers, Rates, Tells, digest_of, rate, rated
from .answer_ratings import likeliest as likeliest

#: What a question is wrapped in, and by what repeated tokens are held down.
TEMPLATE = "Q: {question}{suffix}\nA:"
REPETITION_PENALTY = 1.1
#: Tokens that are written to an open question, where nothing else is said.
NEW_TOKENS = 128
#: What rows of answers call the random control of a text's own language.
RANDOM = "random"
#: Whose units were off, and the language of the text.
_Key = tuple[str | None, str]


@dataclass(frozen=True)
class Writing:
    """The work: what one model writes to some prompts under one plan, which is in force wherever the work is done."""

    model: LanguageModel
    plan: Plan
    new_tokens: int

    def context(self) -> AbstractContextManager[object]:
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
    progress: Progress = no_progress,
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
    keys = [f"open answers/{plan.digest}/{digest_of([how, piece])}" for piece in pieces]
    work: dict[str, Any] = {"engine": engine or LocalEngine(), "journal": journal or MemoryJournal(), "progress": progress, "stage": stage}
    return [
        str(text) for entry in map_resumable(Writing(model, plan, new_tokens), pieces, keys, **work) for text in as_list(entry["texts"])
    ]


def check(model: LanguageModel, prompts: Sequence[str], new_tokens: int) -> None:
    """Raises InputError for a masked model, no prompt or no token to write, PromptTooLong where prompts and answers do not fit."""
    if model.kind == "masked":
        raise InputError(f"{model.name or 'This model'} fills masks and writes no text, so that it has no open answers.")
    if not prompts or new_tokens < 1:
        raise InputError(f"Open answers need a prompt and a token to write, or more; there are {len(prompts)} and {new_tokens}.")
    try:
        model.openings(prompts, new_tokens)
    except PromptTooLong as error:
        most = fitting(model, prompts)  # which raises by itself where the prompts alone are too long
        raise PromptTooLong(f"{error} Or let it write less: behind the longest of them --new-tokens {most} fits.") from error


def fitting(model: LanguageModel, prompts: Sequence[str]) -> int | None:
    """The most tokens that can be written behind the longest of these prompts; None where any number can.

    Raises PromptTooLong where not one can.
    """
    longest = max(len(each.input_ids) for each in model.openings(prompts, 1))
    return model.context - longest if model.kind == "causal" and model.context is not None else None


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
    progress: Progress = no_progress,
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
    {language of the text: mean} and "deactivated" {language off: {language of the text: mean}}, None where nobody tells; `empty`, of the
    same shape: how many answers hold nothing, or white space only; `untold`, of the same shape, None where nobody tells: how many are not
    empty, but have too few letters to be told; `unjudged`, how many answers the judge gave no number; `new_tokens`. Accuracy: share of all
    answers, in [0, 1], those that are empty or untold counting as wrong; quality: mean of the ratings from 1 to 5. Raises as `ask` does,
    of all languages before the first is asked.

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
    told_apart = {language: not isinstance(identifier, LanguageIdentifier) or known(language) for language in questions}
    accuracy = lambda key: found[key].accuracy(key[1]) if told_apart[key[1]] else None
    rows = [row for language in questions for row in _rows(language, prompts[language], conditions, found)]
    unjudged = 0 if judge is None else sum(row["quality"] is None for row in rows)
    return rows, {
        "n": {language: len(asked) for language, asked in questions.items()},
        "language_accuracy": None if identifier is None else _table(conditions, questions, accuracy),
        "quality": None if judge is None else _table(conditions, questions, lambda key: found[key].mean_quality),
        "empty": _table(conditions, questions, lambda key: found[key].empty),
        "untold": None if identifier is None else _table(conditions, questions, lambda key: found[key].untold),
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


def _rows(
    language: str, prompts: Sequence[str], conditions: Sequence[_Condition], found: Mapping[_Key, RatedAnswers]
) -> Iterator[dict[str, Any]]:
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
