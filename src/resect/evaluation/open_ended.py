"""Open-ended answers: the texts that a model generates to questions under any plan, their languages and their quality.

Knows plans, questions, and raters of texts; knows neither how a plan was found nor where results are stored.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.errors import InputError, PromptTooLong
from resect.core.execution import Entry, Workers, journal_key
from resect.core.marked_text import filled
from resect.data.language_id import LanguageIdentifier, is_supported
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel

from .answer_ratings import ITEM_SIZE, AnswerRater, RatedAnswers, TextIdentifier, rate_answers, rated_answers

#: The prompt of a question, and the penalty on repeated tokens.
TEMPLATE = "Q: {question}{suffix}\nA:"
REPETITION_PENALTY = 1.1
#: The longest answer, in tokens, by default.
NEW_TOKENS = 128
#: The name of the random control in rows of answers.
RANDOM = "random"
#: The language whose units are off (or RANDOM, or None), and the language of the text.
_Condition = tuple[str | None, str]


@dataclass(frozen=True)
class GenerationWork:
    """Generated texts, as work for an engine; an item is a plan and some prompts."""

    model: LanguageModel
    new_tokens: int

    def __call__(self, item: tuple[Plan, tuple[str, ...]]) -> Entry:
        """Generates texts, in the order of the prompts. Raises NotFinite, OutOfMemory, WrongModel, NotWritable, Conflict."""
        plan, prompts = item
        with plan.applied(self.model):
            return {"texts": self.model.generate(prompts, self.new_tokens, repetition_penalty=REPETITION_PENALTY)}


def generate_answers(
    model: LanguageModel,
    plan: Plan,
    prompts: Sequence[str],
    *,
    new_tokens: int = NEW_TOKENS,
    stage: str = "answering",
    workers: Workers | None = None,
) -> list[str]:
    """Returns the answer to each prompt under the plan: greedy, repetition penalty 1.1, without special tokens.

    Raises as `check_prompts`, and NotFinite, OutOfMemory, WrongModel, NotWritable, Conflict before anything is generated.
    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: nothing.
    """
    plan.choose_forms(model)
    check_prompts(model, prompts, new_tokens)
    return _generate(model, [(plan, prompts)], new_tokens, stage, workers)[0]


def _generate(
    model: LanguageModel, requests: Sequence[tuple[Plan, Sequence[str]]], new_tokens: int, stage: str, workers: Workers | None
) -> list[list[str]]:
    """Returns the answers to each request, which is a plan and prompts."""
    items = [(plan, tuple(part)) for plan, prompts in requests for part in _parts(prompts)]
    settings = [new_tokens, REPETITION_PENALTY, model.encoder.wording]
    keys = [journal_key("open answers", plan.digest, [settings, part]) for plan, part in items]
    entries = (workers or Workers()).map(GenerationWork(model, new_tokens), items, keys, stage=stage)
    texts = (text for entry in entries for text in entry["texts"])
    return [[next(texts) for _ in prompts] for _, prompts in requests]


def _parts(prompts: Sequence[str]) -> list[Sequence[str]]:
    return [prompts[start : start + ITEM_SIZE] for start in range(0, len(prompts), ITEM_SIZE)]


def check_prompts(model: LanguageModel, prompts: Sequence[str], new_tokens: int) -> None:
    """Raises InputError for a masked model, no prompt or no new token, PromptTooLong where prompts and answers do not fit the context."""
    if model.kind == "masked":
        raise InputError(f"{model.name or 'This model'} fills masks and generates no text, so that it has no open answers.")
    if not prompts or new_tokens < 1:
        raise InputError(f"Open answers need a prompt and a token to write, or more; there are {len(prompts)} and {new_tokens}.")
    try:
        model.encode_prompts(prompts, new_tokens)
    except PromptTooLong as error:
        most = longest_answer(model, prompts)  # which raises where the prompts alone are too long
        raise PromptTooLong(f"{error} Or generate less: after the longest of them --new-tokens {most} fits.") from error


def longest_answer(model: LanguageModel, prompts: Sequence[str]) -> int | None:
    """Returns how many tokens fit after the longest of these prompts; None where any number does. Raises PromptTooLong."""
    longest = max(len(opening.input_ids) for opening in model.encode_prompts(prompts, 1))
    return model.context - longest if model.kind == "causal" and model.context is not None else None


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
    """Returns answers to open questions of each language: by the unedited model, under each language's plan, and under a random control.

    Parameters
    ----------
    questions : by language
    plans : by language, the plan that switches its units off; where a plan is empty, its answers are those of the unedited model
    control : by language, a random plan of the same size, under which only its own questions are answered
    suffix : appended to each question; by language where it differs
    identifier : for the language accuracy, which is None for a language that it does not know
    judge : for the quality

    Returns the rows of answers.jsonl, and a summary: `n` {language: questions}; `language_accuracy` and `quality`, each {"base", "random"}
    {language of the text: mean} and "deactivated" {language off: {language of the text: mean}}, None where they are not measured; `empty`,
    of the same shape: how many answers are empty, or white space only; `untold`, of the same shape, None without an identifier: how many
    are not empty, but have too few letters to identify their language; `unjudged`: how many answers the judge gave no number; `new_tokens`.
    Accuracy: share of all answers, in [0, 1], those that are empty or unidentified counting as wrong; quality: mean of the ratings from 1
    to 5. Raises as `generate_answers`, for all languages before the first answer.

    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: the identifier and the judge.
    """
    prompts = {language: question_prompts(of, language, suffix) for language, of in questions.items()}
    plan_of = _conditions(questions, plans, control)
    # Under an empty plan the answers are those of the unedited model.
    generated = {(off, language): plan for (off, language), plan in plan_of.items() if off is None or not plan.is_empty}
    for (_, language), plan in generated.items():
        plan.choose_forms(model)
        check_prompts(model, prompts[language], new_tokens)
    requests = [(plan, prompts[language]) for (_, language), plan in generated.items()]
    texts = dict(zip(generated, _generate(model, requests, new_tokens, "answering open questions", workers), strict=True))
    texts = {(off, language): texts.get((off, language), texts[None, language]) for off, language in plan_of}
    to_rate = {key: list(zip(questions[key[1]], said, itertools.repeat(key[1]))) for key, said in texts.items()}
    quality = rate_answers(judge, itertools.chain(*to_rate.values()), workers=workers)
    rated = {key: rated_answers(said, identifier, [quality[answer] for answer in to_rate[key]]) for key, said in texts.items()}
    rows = [row for language in questions for row in _rows(language, prompts[language], rated)]

    def table(value: Callable[[RatedAnswers, str], float | None]) -> dict[str, Any]:
        values: dict[str | None, dict[str, Any]] = {}
        for (off, language), answers in rated.items():
            values.setdefault(off, {})[language] = value(answers, language)
        return {"base": values.pop(None), "random": values.pop(RANDOM, None), "deactivated": values}

    def accuracy(answers: RatedAnswers, language: str) -> float | None:
        is_known = not isinstance(identifier, LanguageIdentifier) or is_supported(language)
        return answers.accuracy(language) if is_known else None

    return rows, {
        "n": {language: len(of) for language, of in questions.items()},
        "language_accuracy": None if identifier is None else table(accuracy),
        "quality": None if judge is None else table(lambda answers, _: answers.mean_quality),
        "empty": table(lambda answers, _: answers.empty),
        "untold": None if identifier is None else table(lambda answers, _: answers.unidentified),
        "unjudged": 0 if judge is None else sum(row["quality"] is None for row in rows),
        "new_tokens": new_tokens,
    }


def _conditions(languages: Iterable[str], plans: Mapping[str, Plan], control: Mapping[str, Plan] | None) -> dict[_Condition, Plan]:
    """Returns the plan of each condition: nothing off, random units off, and each language's units off, for the text of each language."""
    conditions: dict[_Condition, Plan] = {}
    for language in languages:
        conditions[None, language] = Plan()
        if control is not None:
            conditions[RANDOM, language] = control.get(language, Plan())
        conditions |= {(off, language): plan for off, plan in plans.items()}
    return conditions


def question_prompts(questions: Sequence[str], language: str, suffix: str | Mapping[str, str]) -> list[str]:
    """Returns the prompts of open questions of a language."""
    appended = suffix if isinstance(suffix, str) else suffix.get(language, "")
    template = TEMPLATE.replace("{suffix}", appended)
    return [filled(template, {"{question}": question}) for question in questions]


def _rows(language: str, prompts: Sequence[str], rated: Mapping[_Condition, RatedAnswers]) -> Iterator[dict[str, Any]]:
    """Returns a row for each answer, those to one question together."""
    for number, prompt in enumerate(prompts):
        for (off, of), answers in rated.items():
            if of == language:
                yield {
                    "id": f"{language}/{number}",
                    "language": language,
                    "deactivated": off,
                    "prompt": prompt,
                    "answer": answers.texts[number],
                    "identified": answers.languages[number],
                    "quality": answers.quality[number],
                }
