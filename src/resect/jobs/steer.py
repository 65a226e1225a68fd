"""The act of steering: prompts are answered with the model as it is and with a run's units activated, and both are set side by side.

Reads a run's counts and plans, and keeps what came out in the run; prints nothing.
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
from resect.evaluation.open_ended import NEW_TOKENS, ask, check, fitting
from resect.methods.lape.counts import Counts
from resect.methods.lape.steering import steering_plan, strength_of
from resect.models.language_model import LanguageModel
from resect.runs.journal import PrefixedJournal
from resect.runs.run_files import STEERED
from resect.runs.run_folder import Run

from .inputs import weights_digest

#: The language of prompts that are for every language to be steered to.
ANY = ""
#: With fewer prompts an interval would claim more than they can say.
FEWEST = 20
#: What makes a result the same as one that is kept: whatever else differs comes of the same answers.
_SAME = ("new_tokens", "prompts_digest", "plan")


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
    """Answers in each language of `to`, before and after steering, kept in the run as steered/<name>.json and returned.

    Parameters
    ----------
    run : of LAPE, with counts and a plan for each language
    to : the languages that are wanted, one after the other
    source : the language whose units are deactivated; None: nobody's
    mode, strength : as of `steering_plan`
    prompts : by language; those of `source` are answered (where it is None, those of the wanted language), else those of "" (any language)
    new_tokens : the longest answer; None: 128, or as many tokens as the context leaves behind the longest prompt, which a warning tells
    template : what a prompt is put into, in place of {prompt}; None: prompts as they are
    identifier : for the language accuracy; "auto": lingua, where it is installed and knows the language; None: it is not measured
    judge : for the quality; None: it is not measured
    allow_other_model : take the run's units for another model of the same shape

    Each result: `name` of its file; `to`, `from`, `mode`, `strength`; `n`, `new_tokens`, `prompts_digest`; `language_accuracy` (before and
    after, shares of the answers in [0, 1]; how many answers were `gained` and `lost`; interval, 95 %, and p_value of after − before, None
    under 20 prompts and where nothing changed) and `quality` (before and after, means of 1 to 5), None where they were not measured;
    `empty` and `untold`, before and after: how many answers hold nothing, or too few letters to be told (None: not measured), which count
    as wrong, and are warned of; `plan`; `answers`, each with the prompt as it was asked. Answers to other prompts, of other length, or
    under another plan have a file of their own (-2, -3, …); the same take the place of what is there. Finished work is kept in the run's
    journal.

    Raises InputError, UnknownName, WrongModel, PromptTooLong before any prompt is answered; what answering and judging raise.
    Source: Tang et al. 2024 (arXiv:2402.16438). Differs from the source in: as `steering_plan` does.
    """
    counts, units = _read(model, run, allow_other_model)
    plans = {each: steering_plan(counts, units, each, source, mode, strength) for each in dict.fromkeys(to)}
    if not plans:
        raise InputError("No language to steer to is given; name one or more (--to).")
    asked = {each: _prompts_for(source or each, prompts or {}) for each in plans}
    for plan in plans.values():
        plan.forms_for(model)
    length = _length(model, [[_worded(prompt, template) for prompt in each] for each in asked.values()], new_tokens)
    workers = Workers(journal=PrefixedJournal(run.journal, f"{weights_digest(model)}/{model.model.dtype}"), progress=progress)
    tells, found = _identifiers(plans, identifier), []
    for wanted, plan in plans.items():
        settings = {"to": wanted, "from": source, "mode": mode, "strength": strength_of(mode, strength)}
        result = {**settings, **_steered(model, plan, asked[wanted], settings, template, tells[wanted], judge, length, workers)}
        name = _free(run.folder / STEERED, _name(settings, strength_of(mode)), result)
        found.append({"name": name, **result})
        run.keep_steered(name, found[-1])
        for sentence in _silence(result, template):
            warnings.warn(f"{name}: {sentence}", stacklevel=2)
    return found


def _read(model: LanguageModel, run: Run, allow_other_model: bool) -> tuple[Counts, dict[str, Neurons]]:
    """A run's counts and each language's units, of this very model unless others are allowed; then they have no identity."""
    plans = run.plans()
    if not run.counts_path.exists():
        raise InputError(
            f"The run in {run.folder} (of {run.recipe.method}) has no counts of activations by language; `resect lape` records them."
        )
    counts = Counts.load(run.counts_path)
    if not plans:
        raise InputError(f"The run in {run.folder} has counts, but no plans of languages: it only recorded, or is not finished.")
    if allow_other_model:
        counts = Counts(counts.languages, counts.tokens, counts.active, counts.sums)
    counts.check(model)
    units = {}
    for language, held in plans.items():
        try:
            plan = Plan.from_json(held)
        except BadPlan as error:
            raise BadPlan(
                f"The plan of {language} in {run.plans_folder} is damaged: {error} `resect run {run.folder}` makes it anew."
            ) from error
        plan.forms_for(model, allow_other_model=allow_other_model)
        units[language] = Neurons()
        for edit in plan.edits:
            units[language] |= edit.neurons if isinstance(edit, NeuronEdit) else Neurons()
    return counts, units


def _prompts_for(language: str, prompts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    found = tuple(prompts.get(language) or prompts.get(ANY) or ())
    if not found:
        held = ", ".join(name for name in prompts if prompts[name]) or "none"
        raise InputError(
            f"There are no prompts in {language} (languages that have some: {held}); give a file of them, one a line (--prompts)."
        )
    return found


def _worded(prompt: str, template: str | None) -> str:
    if template is None:
        return prompt
    if "{prompt}" not in template:
        raise InputError(f"The template {template!r} has no place for the prompt; write {{prompt}} where it belongs.")
    return template.replace("{prompt}", prompt)


def _length(model: LanguageModel, prompts: Collection[Sequence[str]], wanted: int | None) -> int:
    """How long answers may be: as long as is wanted; else as usual, or with a warning as long as fits."""
    for each in prompts:
        check(model, each, 1 if wanted is None else wanted)
    if wanted is not None:
        return wanted
    rooms = [room for each in prompts if (room := fitting(model, each)) is not None]
    if min(rooms, default=NEW_TOKENS) >= NEW_TOKENS:
        return NEW_TOKENS
    warnings.warn(
        f"Answers end after {min(rooms)} tokens at the latest, not {NEW_TOKENS}: behind the longest prompt no more fit the model's context "
        f"of {model.context}.",
        stacklevel=3,
    )
    return min(rooms)


def _identifiers(languages: Iterable[str], given: TextIdentifier | Literal["auto"] | None) -> dict[str, TextIdentifier | None]:
    """Who tells each language; None, with a warning, where lingua is not there or does not know it."""
    found: dict[str, TextIdentifier | None] = {}
    lingua: TextIdentifier | None = None
    for language in languages:
        found[language] = None if given == "auto" else given
        if given == "auto":
            try:
                check_supported([language])
                found[language] = lingua = lingua or default_identifier()
            except InputError as error:
                warnings.warn(f"The language accuracy of {language} is not measured: {error}", stacklevel=3)
    return found


def _steered(
    model: LanguageModel,
    plan: Plan,
    prompts: Sequence[str],
    settings: Mapping[str, Any],
    template: str | None,
    identifier: TextIdentifier | None,
    judge: AnswerRater | None,
    new_tokens: int,
    workers: Workers,
) -> dict[str, Any]:
    """What comes of one plan."""
    to, asked_in = settings["to"], settings["from"] or settings["to"]
    own = plan if plan.model else plan.for_model(model)
    worded = [_worded(prompt, template) for prompt in prompts]
    texts = [
        ask(model, Plan(), worded, new_tokens=new_tokens, stage="answering as it is", workers=workers),
        ask(model, own, worded, new_tokens=new_tokens, stage=f"answering, steered to {to}", workers=workers),
    ]
    asked = [[(prompt, text, asked_in) for prompt, text in zip(prompts, said, strict=True)] for said in texts]
    quality = rate_answers(judge, asked[0] + asked[1], workers=workers)
    before, after = (rated_answers(said, identifier, [quality[each] for each in of]) for said, of in zip(texts, asked, strict=True))
    return {
        "n": len(prompts),
        "new_tokens": new_tokens,
        "prompts_digest": digest_of([worded, model.encoder.chat]),
        "language_accuracy": None if identifier is None else _accuracy(before, after, to),
        "quality": None if judge is None else {"before": before.mean_quality, "after": after.mean_quality},
        "empty": {"before": before.empty, "after": after.empty},
        "untold": None if identifier is None else {"before": before.unidentified, "after": after.unidentified},
        "plan": own.to_json(),
        "answers": [_answer(place, prompt, before, after, judge is not None) for place, prompt in enumerate(worded)],
    }


def _accuracy(before: RatedAnswers, after: RatedAnswers, to: str) -> dict[str, Any]:
    base, edited = (np.array(each.matches_language(to)) for each in (before, after))
    found = difference(base, edited, [str(place) for place in range(len(base))])
    can_say = len(base) >= FEWEST and found.fixed + found.broken > 0
    return {
        "before": before.accuracy(to),
        "after": after.accuracy(to),
        "gained": found.fixed,
        "lost": found.broken,
        "interval": list(found.interval) if can_say else None,
        "p_value": found.p_value if can_say else None,
    }


def _answer(place: int, prompt: str, before: RatedAnswers, after: RatedAnswers, is_judged: bool) -> dict[str, Any]:
    quality = {"before": before.quality[place], "after": after.quality[place]}
    return {
        "prompt": prompt,
        "before": before.texts[place],
        "after": after.texts[place],
        "identified": {"before": before.languages[place], "after": after.languages[place]},
        "quality": quality if is_judged else None,
    }


def _name(settings: Mapping[str, Any], usual: float) -> str:
    """What the file of a result is called: settings that differ have files of their own."""
    origin = "" if settings["from"] is None else f"-from-{settings['from']}"
    strength = "" if settings["strength"] == usual else f"-strength-{settings['strength']:g}"
    return f"{settings['to']}{origin}-{settings['mode']}{strength}"


def _free(folder: Path, plain: str, result: Mapping[str, Any]) -> str:
    """The name for a result: the plain one where nothing else has it, else that with the first number that nothing else has."""
    names = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
    return next(name for name in names if not (folder / f"{name}.json").exists() or _is_kept(folder / f"{name}.json", result))


def _is_kept(path: Path, result: Mapping[str, Any]) -> bool:
    """Whether a file holds the same result, as far as the model's own words go. What cannot be read is something else."""
    try:
        held = read_json(path)
    except InputError:
        return False
    return isinstance(held, Mapping) and digest_of([held.get(name) for name in _SAME]) == digest_of([result[name] for name in _SAME])


def _silence(result: Mapping[str, Any], template: str | None) -> list[str]:
    """Where answers say nothing, or too little, in sentences, with what to try."""
    n, found, empty, untold = result["n"], [], result["empty"], result["untold"]
    if 2 * max(empty.values()) > n:
        way = "Ask in words that want an answer: --template 'Q: {prompt}\\nA:'." if template is None else "Try another --template."
        if 2 * empty["before"] <= n:  # the prompts are not at fault
            way = f"Try another --strength (it was {result['strength']:g}), or another --mode."
        found.append(f"most answers are empty ({empty['before']} of {n} before, {empty['after']} after), and count as wrong. {way}")
    if untold is not None and max(untold.values()):
        found.append(
            f"the language of {untold['before']} of {n} answers before and of {untold['after']} after cannot be told, mostly because they "
            f"have fewer than {MIN_LETTERS} letters; they count as wrong."
        )
    return found
