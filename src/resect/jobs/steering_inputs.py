"""What a steering reads: a run's counts and units, prompts in the right language, and an identifier of languages.

Knows a run and a model; answers no prompt.
"""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from resect.core.address import Neurons
from resect.core.errors import BadPlan, InputError
from resect.core.marked_text import filled
from resect.data.language_id import check_supported
from resect.edits.neurons import NeuronEdit
from resect.edits.plan import Plan
from resect.evaluation.answer_ratings import TextIdentifier, default_identifier
from resect.evaluation.open_ended import NEW_TOKENS, check_prompts, longest_answer
from resect.evaluation.strength_choice import choosing_prompts
from resect.methods.lape.counts import Counts
from resect.models.language_model import LanguageModel
from resect.runs.run_files import COUNTS
from resect.runs.run_folder import Run

#: The key of prompts that are for every language.
ANY_LANGUAGE = ""


def counts_and_units(model: LanguageModel, run: Run, allow_other_model: bool) -> tuple[Counts, dict[str, Neurons]]:
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


@dataclass(frozen=True)
class SteeringPrompts:
    """The prompts of one language, as the model reads them.

    Parameters
    ----------
    choosing : those that choose the strength; none where one is requested
    reported : those whose answers are compared
    """

    choosing: tuple[str, ...]
    reported: tuple[str, ...]

    @classmethod
    def of(cls, language: str, prompts: Mapping[str, Sequence[str]], template: str | None, is_choice: bool) -> "SteeringPrompts":
        """The prompts of the language, or else those of any, in the template. Raises InputError where there are none, or too few."""
        asked = _prompts_in(language, prompts)
        worded = _worded(asked, template)
        chooses = choosing_prompts(asked) if is_choice else [False] * len(asked)
        halves = {half: tuple(text for text, one in zip(worded, chooses, strict=True) if one is half) for half in (True, False)}
        return cls(halves[True], halves[False])

    @property
    def worded(self) -> tuple[str, ...]:
        """All of them."""
        return self.choosing + self.reported


def _prompts_in(language: str, prompts: Mapping[str, Sequence[str]]) -> Sequence[str]:
    suitable = prompts.get(language) or prompts.get(ANY_LANGUAGE)
    if not suitable:
        available = ", ".join(name for name in prompts if prompts[name]) or "none"
        raise InputError(
            f"There are no prompts in {language} (languages that have some: {available}); give a file of them, one a line (--prompts)."
        )
    return suitable


def _worded(prompts: Sequence[str], template: str | None) -> list[str]:
    """Returns the prompts in the template, whose own special tokens are tokens."""
    if template is None:
        return list(prompts)
    if "{prompt}" not in template:
        raise InputError(f"The template {template!r} has no place for the prompt; write {{prompt}} where it belongs.")
    return [filled(template, {"{prompt}": prompt}) for prompt in prompts]


def answer_length(model: LanguageModel, prompts: Collection[Sequence[str]], requested: int | None) -> int:
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


def identifiers_of(
    languages: Iterable[str], identifier: TextIdentifier | Literal["auto"] | None, *, is_needed: bool
) -> dict[str, TextIdentifier | None]:
    """Returns the identifier for each language; None, with a warning, where lingua is not installed or does not know the language.

    is_needed : to choose a strength; without an identifier InputError is raised.
    """
    advice = (
        "A strength is chosen by the share of the answers in the wanted language, which is not measured here; give a single --strength."
    )
    if is_needed and identifier is None:
        raise InputError(advice)
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
            if is_needed:
                raise InputError(f"{advice} The reason: {error}") from error
            warnings.warn(f"The language accuracy of {language} is not measured: {error}", stacklevel=3)
    return by_language
