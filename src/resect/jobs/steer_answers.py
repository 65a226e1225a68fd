"""Steering: answers prompts with the unedited model and with a run's units activated, compares the answers, and stores them in the run.

Reads a run's counts and plans; prints nothing.
"""

import itertools
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from resect.core.address import Neurons
from resect.core.comparison import difference
from resect.core.errors import BadPlan, InputError
from resect.core.execution import Progress, Workers, no_progress
from resect.core.files import read_json
from resect.data.language_id import MIN_LETTERS, check_supported
from resect.edits.neurons import NeuronEdit
from resect.edits.plan import Plan
from resect.evaluation.answer_ratings import (
    AnswerRater,
    RatedAnswers,
    TextIdentifier,
    default_identifier,
    digest_of,
    rate_answers,
    rated_answers,
)
from resect.evaluation.open_ended import NEW_TOKENS, check_prompts, generate_answers, longest_answer
from resect.methods.lape.counts import Counts
from resect.methods.lape.steering import steering_plan, strength_of
from resect.models.language_model import LanguageModel
from resect.runs.run_files import COUNTS, STEERED
from resect.runs.run_folder import Run

from .session import journal_for

#: The key of prompts that are for every language.
ANY_LANGUAGE = ""
#: Prompts that an interval needs at least; from fewer it would claim more than they can show.
MIN_PROMPTS = 20
#: Two results that agree in these have the same answers, and the later one replaces the earlier.
_ANSWERS_DEPEND_ON = ("new_tokens", "prompts_digest", "plan")


def steer(
    model: LanguageModel,
    run: Run,
    to: Sequence[str],
    source: str | None = None,
    mode: str = "set",
    strength: float | None = None,
    prompts: Mapping[str, Sequence[str]] | None = None,
    *,
    new_tokens: int | None = None,
    template: str | None = None,
    identifier: TextIdentifier | Literal["auto"] | None = "auto",
    judge: AnswerRater | None = None,
    allow_other_model: bool = False,
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:
    """Returns a result for each language of `to`, with answers before and after steering; each is stored in the run's steered/<name>.json.

    Parameters
    ----------
    run : of LAPE, with counts and a plan for each language
    to : the languages to answer in
    source : the language whose units are deactivated; None: no units are
    mode, strength : as of `steering_plan`
    prompts : by language; those of `source` are answered (where it is None, those of the language in `to`), else those of "" (any language)
    new_tokens : the longest answer; None: 128, or with a warning as many tokens as the context leaves after the longest prompt
    template : text around a prompt, which replaces {prompt}; None: prompts as they are
    identifier : for the language accuracy; "auto": lingua, where it is installed and knows the language; None: it is not measured
    judge : for the quality; None: it is not measured
    allow_other_model : use the run's units in another model of the same shape

    Each result: `name` of its file; `to`, `from`, `mode`, `strength`; `n`, `new_tokens`, `prompts_digest`; `language_accuracy` (before and
    after, shares of the answers in [0, 1]; how many answers were `gained` and `lost`; interval, 95 %, and p_value of after − before, None
    under 20 prompts and where nothing changed) and `quality` (before and after, means of 1 to 5), None where they were not measured;
    `empty` and `untold`, before and after: how many answers are empty, or too short to identify their language (None: not measured), which
    count as wrong, with a warning; `plan`; `answers`, each with the prompt as the model read it. Answers to other prompts, of other length,
    or under another plan are stored in a file of their own (-2, -3, …); the same answers replace those that exist. Finished work is kept in
    the run's journal.

    Raises InputError, UnknownName, WrongModel, PromptTooLong before any prompt is answered; what answering and judging raise.
    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: as `steering_plan` does.
    """
    counts, units = _counts_and_units(model, run, allow_other_model)
    plans = {language: steering_plan(counts, units, language, source, mode, strength) for language in dict.fromkeys(to)}
    if not plans:
        raise InputError("No language to steer to is given; name one or more (--to).")
    worded = {language: _worded(_prompts_in(source or language, prompts or {}), template) for language in plans}
    for plan in plans.values():
        plan.choose_forms(model)
    new_tokens = _answer_length(model, worded.values(), new_tokens)
    workers = Workers(journal=journal_for(model, run.journal), progress=progress)
    identifiers = _identifiers(plans, identifier)
    results = []
    for language, plan in plans.items():
        settings = {"to": language, "from": source, "mode": mode, "strength": strength_of(mode, strength)}
        compared = _compare_answers(model, plan, worded[language], settings, identifiers[language], judge, new_tokens, workers)
        result = {**settings, **compared}
        name = _free_name(run.folder / STEERED, _file_name(settings, strength_of(mode)), result)
        results.append({"name": name, **result})
        run.keep_steered(name, results[-1])
        for sentence in _failed_answers(result, template):
            warnings.warn(f"{name}: {sentence}", stacklevel=2)
    return results


def _counts_and_units(model: LanguageModel, run: Run, allow_other_model: bool) -> tuple[Counts, dict[str, Neurons]]:
    """Returns a run's counts and each language's units. Unless other models are allowed, both must be of this very model."""
    plans = run.plans()
    if not (run.folder / COUNTS).exists():
        raise InputError(
            f"The run in {run.folder} is of {run.recipe.method}, and has no counts of activations by language. Give a finished run that "
            "recorded them, as one of `resect lape` does."
        )
    counts = Counts.load(run.counts_path)
    if not plans:
        raise InputError(f"The run in {run.folder} has counts, but no plans of languages: it only recorded, or is not finished.")
    if allow_other_model:  # without the identity of their model
        counts = Counts(counts.languages, counts.tokens, counts.active, counts.sums)
    counts.check(model)
    units = {}
    for language, content in plans.items():
        try:
            plan = Plan.from_json(content)
        except BadPlan as error:
            raise BadPlan(
                f"The plan of {language} in {run.plans_folder} is damaged: {error} `resect run {run.folder}` writes it again."
            ) from error
        plan.choose_forms(model, allow_other_model=allow_other_model)
        units[language] = Neurons()
        for edit in plan.edits:
            units[language] |= edit.neurons if isinstance(edit, NeuronEdit) else Neurons()
    return counts, units


def _prompts_in(language: str, prompts: Mapping[str, Sequence[str]]) -> Sequence[str]:
    suitable = prompts.get(language) or prompts.get(ANY_LANGUAGE)
    if not suitable:
        available = ", ".join(name for name in prompts if prompts[name]) or "none"
        raise InputError(
            f"There are no prompts in {language} (languages that have some: {available}); give a file of them, one a line (--prompts)."
        )
    return suitable


def _worded(prompts: Sequence[str], template: str | None) -> list[str]:
    """Returns the prompts in the template."""
    if template is None:
        return list(prompts)
    if "{prompt}" not in template:
        raise InputError(f"The template {template!r} has no place for the prompt; write {{prompt}} where it belongs.")
    return [template.replace("{prompt}", prompt) for prompt in prompts]


def _answer_length(model: LanguageModel, prompts: Collection[Sequence[str]], requested: int | None) -> int:
    """Returns the tokens of the longest answer: the requested number; else `NEW_TOKENS`, or with a warning as many as fit."""
    for some in prompts:
        check_prompts(model, some, 1 if requested is None else requested)
    if requested is not None:
        return requested
    fitting = min((length for some in prompts if (length := longest_answer(model, some)) is not None), default=NEW_TOKENS)
    if fitting >= NEW_TOKENS:
        return NEW_TOKENS
    warnings.warn(
        f"Answers end after {fitting} tokens at the latest, not {NEW_TOKENS}: after the longest prompt no more fit the model's context of "
        f"{model.context}.",
        stacklevel=3,
    )
    return fitting


def _identifiers(languages: Iterable[str], identifier: TextIdentifier | Literal["auto"] | None) -> dict[str, TextIdentifier | None]:
    """Returns the identifier for each language; None, with a warning, where lingua is not installed or does not know the language."""
    if identifier != "auto":
        return dict.fromkeys(languages, identifier)
    by_language: dict[str, TextIdentifier | None] = {}
    lingua: TextIdentifier | None = None
    for language in languages:
        by_language[language] = None
        try:
            check_supported([language])
            by_language[language] = lingua = lingua or default_identifier()
        except InputError as error:
            warnings.warn(f"The language accuracy of {language} is not measured: {error}", stacklevel=3)
    return by_language


def _compare_answers(
    model: LanguageModel,
    plan: Plan,
    prompts: list[str],
    settings: Mapping[str, Any],
    identifier: TextIdentifier | None,
    judge: AnswerRater | None,
    new_tokens: int,
    workers: Workers,
) -> dict[str, Any]:
    """Returns the answers to the prompts before and after the plan, with what is measured of them."""
    to, prompted_in = settings["to"], settings["from"] or settings["to"]
    plan = plan if plan.model else plan.for_model(model)
    texts = [
        generate_answers(model, Plan(), prompts, new_tokens=new_tokens, stage="answering, unedited", workers=workers),
        generate_answers(model, plan, prompts, new_tokens=new_tokens, stage=f"answering, steered to {to}", workers=workers),
    ]
    answers = [[(prompt, text, prompted_in) for prompt, text in zip(prompts, some, strict=True)] for some in texts]
    ratings = rate_answers(judge, answers[0] + answers[1], workers=workers)
    before, after = (
        rated_answers(some, identifier, [ratings[answer] for answer in of_these]) for some, of_these in zip(texts, answers, strict=True)
    )
    return {
        "n": len(prompts),
        "new_tokens": new_tokens,
        "prompts_digest": digest_of([prompts, model.encoder.chat]),
        "language_accuracy": None if identifier is None else _language_accuracy(before, after, to),
        "quality": None if judge is None else {"before": before.mean_quality, "after": after.mean_quality},
        "empty": {"before": before.empty, "after": after.empty},
        "untold": None if identifier is None else {"before": before.unidentified, "after": after.unidentified},
        "plan": plan.to_json(),
        "answers": [
            {
                "prompt": prompt,
                "before": before.texts[index],
                "after": after.texts[index],
                "identified": {"before": before.languages[index], "after": after.languages[index]},
                "quality": None if judge is None else {"before": before.quality[index], "after": after.quality[index]},
            }
            for index, prompt in enumerate(prompts)
        ],
    }


def _language_accuracy(before: RatedAnswers, after: RatedAnswers, to: str) -> dict[str, Any]:
    base, edited = (np.array(answers.matches_language(to)) for answers in (before, after))
    change = difference(base, edited, [str(index) for index in range(len(base))])
    has_interval = len(base) >= MIN_PROMPTS and change.fixed + change.broken > 0
    return {
        "before": before.accuracy(to),
        "after": after.accuracy(to),
        "gained": change.fixed,
        "lost": change.broken,
        "interval": list(change.interval) if has_interval else None,
        "p_value": change.p_value if has_interval else None,
    }


def _file_name(settings: Mapping[str, Any], default_strength: float) -> str:
    """Returns the name of a result's file, which tells settings apart."""
    origin = "" if settings["from"] is None else f"-from-{settings['from']}"
    strength = "" if settings["strength"] == default_strength else f"-strength-{settings['strength']:g}"
    return f"{settings['to']}{origin}-{settings['mode']}{strength}"


def _free_name(folder: Path, name: str, result: Mapping[str, Any]) -> str:
    """Returns the name, or the first of name-2, name-3, … that no file with other answers has."""
    names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(free for free in names if _may_replace(folder / f"{free}.json", result))


def _may_replace(path: Path, result: Mapping[str, Any]) -> bool:
    """Returns whether the file does not exist, or holds the same answers; one that cannot be read holds others."""
    if not path.exists():
        return True
    try:
        stored = read_json(path)
    except InputError:
        return False
    digest = lambda values: digest_of([values.get(name) for name in _ANSWERS_DEPEND_ON])
    return isinstance(stored, Mapping) and digest(stored) == digest(result)


def _failed_answers(result: Mapping[str, Any], template: str | None) -> list[str]:
    """Returns sentences on answers that are empty or too short, with what to try."""
    n, empty, untold = result["n"], result["empty"], result["untold"]
    sentences = []
    if 2 * max(empty.values()) > n:
        advice = "Word the prompts as questions: --template 'Q: {prompt}\\nA:'." if template is None else "Try another --template."
        if 2 * empty["before"] <= n:  # the prompts are not the cause
            advice = f"Try another --strength (it was {result['strength']:g}), or another --mode."
        sentences.append(f"most answers are empty ({empty['before']} of {n} before, {empty['after']} after), and count as wrong. {advice}")
    if untold is not None and max(untold.values()):
        sentences.append(
            f"the language of {untold['before']} of {n} answers before and of {untold['after']} after cannot be identified, mostly because "
            f"they have fewer than {MIN_LETTERS} letters; they count as wrong."
        )
    return sentences
