"""Steering: answers prompts with the unedited model and with a run's units activated, compares the answers, and stores them in the run.

Reads a run's counts and plans; prints nothing.
"""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from resect.core.comparison import difference
from resect.core.errors import InputError
from resect.core.execution import Progress, Workers, no_progress
from resect.core.files import read_json
from resect.data.language_id import MIN_LETTERS
from resect.edits.plan import Plan
from resect.evaluation.answer_ratings import AnswerRater, RatedAnswers, TextIdentifier, digest_of, rate_answers, rated_answers
from resect.evaluation.degeneration import Degeneration
from resect.evaluation.open_ended import generate_answers
from resect.evaluation.strength_choice import StrengthChoice, choose_strength
from resect.methods.lape.steering import steering_plan, strength_of, strengths_of
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import answers_limit
from resect.runs.run_files import STEERED
from resect.runs.run_folder import Run

from .session import journal_for
from .steering_inputs import SteeringPrompts, answer_length, counts_and_units, identifiers_of

#: Prompts that an interval needs at least; from fewer it would claim more than they can show.
MIN_PROMPTS = 20
#: Two results that agree in these have the same answers, and say the same of other strengths: the later one replaces the earlier.
_ANSWERS_DEPEND_ON = ("new_tokens", "prompts_digest", "plan", "choice")


def steer(
    model: LanguageModel,
    run: Run,
    to: Sequence[str],
    source: str | None = None,
    mode: str = "set",
    strength: float | Sequence[float] | None = None,
    prompts: Mapping[str, Sequence[str]] | None = None,
    *,
    guard: Sequence[str] = (),
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
    mode, strength : as of `steering_plan`; of several strengths one is chosen (see below)
    prompts : by language; those of `source` are answered (where it is None, those of the language in `to`), else those of "" (any language)
    guard : what the answers may lose, as `guard_limits.answers_limit` reads it: "collapse=0.1" (the default), or "none"
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

    Guards: repetition, the share of the most frequent answer, and that of empty ones may not rise by more than the limit above those of
    the unedited model's answers (see `degeneration`). Perplexity of plain text is no guard: who steers away from a language raises it by
    intent. A single strength is applied as it is requested; `breaks` says which guards its answers break, where they break some.
    Several strengths: about half of the prompts (by a hash) are answered under each, and among those whose answers keep the guards the one
    with the highest language accuracy is chosen, of equals the smallest. All other keys are of the other half, `n` its prompts. `choice`:
    what was measured under each, and what was chosen; where none is better than no steering, `strength` is None, there is no `plan`, and
    the answers after are those before.

    Raises InputError, UnknownName, WrongModel, PromptTooLong before any prompt is answered; what answering and judging raise.
    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: as `steering_plan` does.
    """
    counts, units = counts_and_units(model, run, allow_other_model)
    strengths, limit = strengths_of(mode, strength), answers_limit(guard)
    plans = {
        language: {number: steering_plan(counts, units, language, source, mode, number) for number in strengths}
        for language in dict.fromkeys(to)
    }
    if not plans:
        raise InputError("No language to steer to is given; name one or more (--to).")
    is_choice = len(strengths) > 1
    prompts_of = {language: SteeringPrompts.of(source or language, prompts or {}, template, is_choice) for language in plans}
    for plan in itertools.chain.from_iterable(by_strength.values() for by_strength in plans.values()):
        plan.choose_forms(model)
    new_tokens = answer_length(model, [each.worded for each in prompts_of.values()], new_tokens)
    workers = Workers(journal=journal_for(model, run.journal), progress=progress)
    identifiers = identifiers_of(plans, identifier, is_needed=is_choice)
    results = []
    for language, by_strength in plans.items():
        of, identify = prompts_of[language], identifiers[language]
        choice: StrengthChoice | None = None
        number: float | None = strengths[0]
        if is_choice and identify is not None:
            choice = choose_strength(
                model, by_strength, of.choosing, language, identify, limit=limit, new_tokens=new_tokens, workers=workers
            )
            number = choice.chosen
        settings = {"to": language, "from": source, "mode": mode, "strength": number}
        plan = Plan() if number is None else by_strength[number]
        compared = _compare_answers(model, plan, of.reported, settings, identify, judge, new_tokens, workers)
        result = {**settings, **compared, **_choice_and_guards(model, compared["answers"], choice, limit)}
        name = _free_name(run.folder / STEERED, _file_name(settings, strength_of(mode)), result)
        results.append({"name": name, **result})
        run.keep_steered(name, results[-1])
        for sentence in _failed_answers(result, template):
            warnings.warn(f"{name}: {sentence}", stacklevel=2)
    return results


def _choice_and_guards(
    model: LanguageModel, answers: Sequence[Mapping[str, Any]], choice: StrengthChoice | None, limit: float | None
) -> dict[str, Any]:
    """Returns how the strength was chosen, where it was, and the guards that the answers break, where they break some."""
    before, after = (Degeneration.of(model, [answer[when] for answer in answers]) for when in ("before", "after"))
    broken = after.broken_guards(before, limit)
    return ({} if choice is None else {"choice": choice.to_json()}) | ({"breaks": list(broken)} if broken else {})


def _compare_answers(
    model: LanguageModel,
    plan: Plan,
    prompts: Sequence[str],
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
        "prompts_digest": digest_of([prompts, model.encoder.wording]),
        "language_accuracy": None if identifier is None else _language_accuracy(before, after, to),
        "quality": None if judge is None else {"before": before.mean_quality, "after": after.mean_quality},
        "empty": {"before": before.empty, "after": after.empty},
        "untold": None if identifier is None else {"before": before.unidentified, "after": after.unidentified},
        **({} if settings["strength"] is None else {"plan": plan.to_json()}),
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
    number = settings["strength"]
    strength = "" if number == default_strength else "-strength-none" if number is None else f"-strength-{number:g}"
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
