"""Open answers: what a model writes to questions under any plan, which language that is in, and how good it is.

Knows plans, questions and those who judge by the text alone; knows neither how a plan was found nor where results are kept.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.errors import InputError, PromptTooLong
from resect.core.execution import Entry, Workers, as_list, journal_key
from resect.data.language_id import LanguageIdentifier, is_supported
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel

from .answer_ratings import ITEM_SIZE, AnswerRater, RatedAnswers, TextIdentifier, rate_answers, rated_answers

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
    """The work: what one model writes under a plan; an item is a plan and some prompts."""

    model: LanguageModel
    new_tokens: int

    def __call__(self, item: tuple[Plan, tuple[str, ...]]) -> Entry:
        """Texts, in the order of the prompts. Raises NotFinite, OutOfMemory, WrongModel, NotWritable, Conflict."""
        plan, prompts = item
        with plan.applied(self.model):
            return {"texts": self.model.generate(prompts, self.new_tokens, repetition_penalty=REPETITION_PENALTY)}


def ask(
    model: LanguageModel,
    plan: Plan,
    prompts: Sequence[str],
    *,
    new_tokens: int = NEW_TOKENS,
    stage: str = "answering",
    workers: Workers | None = None,
) -> list[str]:
    """What the model writes to each prompt under the plan: greedy, repetition penalty 1.1, special tokens left out.

    Raises as `check`, and NotFinite, OutOfMemory, WrongModel, NotWritable, Conflict before anything is written.
    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: nothing.
    """
    plan.forms_for(model)
    check(model, prompts, new_tokens)
    return _answers(model, [(plan, prompts)], new_tokens, stage, workers)[0]


def _answers(
    model: LanguageModel, asked: Sequence[tuple[Plan, Sequence[str]]], new_tokens: int, stage: str, workers: Workers | None
) -> list[list[str]]:
    """What the model writes to each prompt under each plan."""
    pieces = [[(plan, tuple(prompts[start : start + ITEM_SIZE])) for start in range(0, len(prompts), ITEM_SIZE)] for plan, prompts in asked]
    items = list(itertools.chain(*pieces))
    settings = [new_tokens, REPETITION_PENALTY, model.encoder.chat]
    keys = [journal_key("open answers", plan.digest, [settings, piece]) for plan, piece in items]
    texts = (
        [str(text) for text in as_list(entry["texts"])]
        for entry in (workers or Workers()).map(Writing(model, new_tokens), items, keys, stage=stage)
    )
    return [[text for _ in of for text in next(texts)] for of in pieces]


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
    identifier: TextIdentifier | None,
    judge: AnswerRater | None,
    suffix: str | Mapping[str, str] = "",
    new_tokens: int = NEW_TOKENS,
    workers: Workers | None = None,
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
    asked_under = [(plan, prompts[language]) for (_, language), plan in asking.items()]
    said = dict(zip(asking, _answers(model, asked_under, new_tokens, "answering open questions", workers), strict=True))
    texts = {key: said[key] if key in said else said[None, key[1]] for key in plan_of}
    asked = {key: list(zip(questions[key[1]], said, itertools.repeat(key[1]))) for key, said in texts.items()}
    quality = rate_answers(judge, itertools.chain(*asked.values()), workers=workers)
    found = {key: rated_answers(said, identifier, [quality[each] for each in asked[key]]) for key, said in texts.items()}
    told_apart = {language: not isinstance(identifier, LanguageIdentifier) or is_supported(language) for language in questions}
    accuracy = lambda key: found[key].accuracy(key[1]) if told_apart[key[1]] else None
    rows = [row for language in questions for row in _rows(language, prompts[language], conditions, found)]
    unjudged = 0 if judge is None else sum(row["quality"] is None for row in rows)
    return rows, {
        "n": {language: len(asked) for language, asked in questions.items()},
        "language_accuracy": None if identifier is None else _table(conditions, questions, accuracy),
        "quality": None if judge is None else _table(conditions, questions, lambda key: found[key].mean_quality),
        "empty": _table(conditions, questions, lambda key: found[key].empty),
        "untold": None if identifier is None else _table(conditions, questions, lambda key: found[key].unidentified),
        "unjudged": unjudged,
        "new_tokens": new_tokens,
    }


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
                "identified": answers.languages[number],
                "quality": answers.quality[number],
            }


def _table(conditions: Sequence[_Condition], languages: Mapping[str, Any], value: Callable[[_Key], float | None]) -> dict[str, Any]:
    rows = {each.off: {language: value((each.off, language)) for language in languages} for each in conditions}
    off = {name: row for name, row in rows.items() if name not in (None, RANDOM)}
    return {"base": rows[None], "random": rows.get(RANDOM), "deactivated": off}
