"""Chooses the strength of a steering: the one with the most answers in the wanted language, among those whose answers keep the guards.

Half of the prompts choose; results are reported of the others, which chose nothing. No steering is always among the candidates. Knows plans
and prompts; knows neither how a plan was made nor where results are stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.errors import InputError, NotFinite
from resect.core.execution import Workers, journal_key
from resect.data.tasks.splits import hash_of
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel

from .answer_ratings import TextIdentifier, rated_answers
from .degeneration import Degeneration
from .open_ended import generate_answers

#: Fewest different prompts: one that chooses, and one that is reported.
FEWEST = 2
_NOT_FINITE = "no answer: numbers are not finite"


def choosing_prompts(prompts: Sequence[str]) -> list[bool]:
    """Returns for each prompt whether it is in the half that chooses, by a hash of its text, which is the same in every run.

    About half of them are; at least one is, and at least one is not. Raises InputError for fewer than two different prompts.
    """
    hashes = {prompt: hash_of(f"strength of a steering:{prompt}") for prompt in prompts}
    if len(hashes) < FEWEST:
        raise InputError(
            "To choose a strength, one half of the prompts is answered under each, and the other half is reported: give two different "
            "prompts or more (40 or more, to be sure of anything), or a single --strength."
        )
    by_hash = sorted(hashes, key=lambda prompt: (hashes[prompt], prompt))
    chosen = {prompt for prompt in by_hash if hashes[prompt] % 2} or {by_hash[0]}
    chosen -= {by_hash[-1]} if len(chosen) == len(by_hash) else set()
    return [prompt in chosen for prompt in prompts]


@dataclass(frozen=True)
class TriedStrength:
    """What a strength does to the answers of the prompts that choose.

    Parameters
    ----------
    strength : None: no steering
    accuracy : the share of the answers in the wanted language; None where there are no answers, because numbers were not finite
    degeneration : None where there are no answers
    breaks : the guards that the answers break, in words
    """

    strength: float | None
    accuracy: float | None
    degeneration: Degeneration | None
    breaks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns it as a steering's file has it."""
        measures = dict.fromkeys(("repetition", "most_frequent", "empty")) if self.degeneration is None else self.degeneration.to_json()
        return {"strength": self.strength, "language_accuracy": self.accuracy, **measures, "breaks": list(self.breaks)}


@dataclass(frozen=True)
class StrengthChoice:
    """Which strength was chosen, and what was tried.

    Parameters
    ----------
    prompts : how many prompts chose
    limit : by how much repetition, the most frequent text and empty answers may rise; None: no guard
    unsteered : the answers without steering
    tried : from the smallest strength on
    """

    prompts: int
    limit: float | None
    unsteered: TriedStrength
    tried: tuple[TriedStrength, ...]

    @property
    def chosen(self) -> float | None:
        """The strength with the most answers in the language that breaks no guard; of equals the smallest; None: no steering is as good."""
        return self._best([each for each in self.tried if not each.breaks])

    @property
    def by_accuracy(self) -> float | None:
        """What the language accuracy alone would choose."""
        return self._best(self.tried)

    def _best(self, candidates: Sequence[TriedStrength]) -> float | None:
        known = [self.unsteered, *(each for each in candidates if each.accuracy is not None)]
        return max(known, key=lambda each: each.accuracy or 0.0).strength  # of equals the first

    def to_json(self) -> dict[str, Any]:
        """Returns it as a steering's file has it."""
        return {
            "n": self.prompts,
            "limit": self.limit,
            "unsteered": self.unsteered.to_json(),
            "tried": [each.to_json() for each in self.tried],
            "chosen": self.chosen,
            "by_accuracy": self.by_accuracy,
        }


def choose_strength(
    model: LanguageModel,
    plans: Mapping[float, Plan],
    prompts: Sequence[str],
    to: str,
    identifier: TextIdentifier,
    *,
    limit: float | None,
    new_tokens: int,
    workers: Workers,
) -> StrengthChoice:
    """Answers prompts without steering and under each strength, and chooses.

    Parameters
    ----------
    plans : by strength, from the smallest on
    prompts : those that choose
    to : the wanted language
    limit : of the guards; None: none

    A strength under which numbers are not finite has no answers and cannot be chosen. Raises OutOfMemory, WrongModel, NotWritable,
    Conflict, and NotFinite for the unedited model.
    """

    def tried(strength: float | None, texts: Sequence[str], unedited: Degeneration | None) -> TriedStrength:
        measured = Degeneration.of(model, texts)
        breaks = () if unedited is None else measured.broken_guards(unedited, limit)
        return TriedStrength(strength, rated_answers(texts, identifier).accuracy(to), measured, breaks)

    texts = generate_answers(model, Plan(), prompts, new_tokens=new_tokens, stage="choosing the strength, unedited", workers=workers)
    unsteered, candidates = tried(None, texts, None), list[TriedStrength]()
    for strength, plan in plans.items():
        answers = _answers_if_finite(model, plan, prompts, new_tokens, f"choosing the strength for {to}, {strength:g}", workers)
        if answers is None:
            candidates.append(TriedStrength(strength, None, None, (_NOT_FINITE,)))
        else:
            candidates.append(tried(strength, answers, unsteered.degeneration))
    return StrengthChoice(len(prompts), limit, unsteered, tuple(candidates))


def _answers_if_finite(
    model: LanguageModel, plan: Plan, prompts: Sequence[str], new_tokens: int, stage: str, workers: Workers
) -> list[str] | None:
    """Returns the answers under the plan; None where its numbers are not finite, which the journal keeps."""
    key = journal_key("open answers not finite", plan.digest, [new_tokens, model.encoder.wording, list(prompts)])
    if workers.journal.recall(key) is not None:
        return None
    try:
        return generate_answers(model, plan, prompts, new_tokens=new_tokens, stage=stage, workers=workers)
    except NotFinite as error:
        workers.journal.keep(key, {"error": str(error)})
        return None
