"""Questions: examples of a task, worded for one model under every instruction, and the answers to them under any plan.

Knows tasks, metrics and plans; knows no method, no split, and nothing of comparing.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from . import metrics
from .errors import BadTask, InputError, UnknownName
from .model import LanguageModel, Requests
from .plan import Plan
from .tasks.base import Example, Task
from .tokens import Tokens
from .work import Engine, Entry, InMemory, InProcess, Journal, Progress, map_once, silent


@dataclass(frozen=True)
class Answers:
    """What a model answered: every example under every instruction.

    `predictions` [examples, instructions]: index of the choice, −1 for a text that is no choice. `values`, same shape: the metric.
    `texts[e][i]`: what was generated (metric "generation" only).
    """

    predictions: Int64[np.ndarray, "examples instructions"]
    values: Float64[np.ndarray, "examples instructions"]
    texts: tuple[tuple[str, ...], ...] | None = None

    @property
    def mean(self) -> float:
        """The metric's mean over all pairs of example and instruction."""
        return float(self.values.mean())


class Questions:
    """Examples of a task, worded for one model under every instruction, to be answered under any number of plans.

    Parameters
    ----------
    examples : each with two choices or more, and an index as gold
    metric : a name of `metrics.METRICS`

    Raises BadTask for an example without choices, UnknownName for a metric that does not exist.
    """

    def __init__(self, model: LanguageModel, task: Task, examples: Sequence[Example], metric: str = "accuracy") -> None:
        if metric not in metrics.METRICS:
            raise UnknownName("metric", metric, metrics.METRICS)
        self.model, self.task, self.examples, self.metric = model, task, tuple(examples), metric
        self.choices = [choices_of(example) for example in self.examples]
        self.gold = np.array([example.gold for example in self.examples], dtype=np.int64)
        self._requests = cache(self._encoded)

    @property
    def digest(self) -> str:
        """What the answers depend on, apart from the model and the plan: a short hash."""
        how = "generation" if self.metric == "generation" else "scoring"
        content = [self.task.digest, how, [example.id for example in self.examples]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def answers(
        self,
        plan: Plan,
        *,
        allow_other_model: bool = False,
        engine: Engine | None = None,
        journal: Journal | None = None,
        progress: Progress = silent,
        stage: str = "asking",
    ) -> Answers:
        """All answers under `plan`; one work item an instruction. Raises NotFinite, OutOfMemory, PromptTooLong and what a plan raises."""
        work: dict[str, Any] = {"engine": engine, "journal": journal, "progress": progress, "stage": stage}
        return self._read(self._entries(plan, allow_other_model=allow_other_model, **work))

    def all_logprobs(
        self,
        plan: Plan,
        *,
        engine: Engine | None = None,
        journal: Journal | None = None,
        progress: Progress = silent,
        stage: str = "asking",
    ) -> list[list[Float64[np.ndarray, " _"]]]:
        """Log-probabilities of the choices under `plan`, by instruction and example; one work item an instruction, shared with `answers`.

        Raises InputError for questions that are answered by generating; else as `answers`.
        """
        if self.metric == "generation":
            raise InputError("Generated answers have no log-probabilities of choices; ask with the metric accuracy or logloss.")
        entries = self._entries(plan, engine=engine, journal=journal, progress=progress, stage=stage)
        return [self._by_example(np.asarray(entry["logprobs"], dtype=np.float64)) for entry in entries]

    def by(self, metric: str) -> "Questions":
        """The same questions under another metric; those that are answered alike share their answers in a journal."""
        return self if metric == self.metric else Questions(self.model, self.task, self.examples, metric)

    def _entries(
        self, plan: Plan, *, engine: Engine | None, journal: Journal | None, allow_other_model: bool = False, **told: Any
    ) -> list[Entry]:
        journal = journal or InMemory()
        places = range(len(self.task.instructions))
        keys = [f"answers/{self.digest}/{plan.digest}/{place}" for place in places]
        work: dict[str, Any] = {"engine": engine or InProcess(), "journal": journal, **told}
        held = [journal.recall(key) for key in keys]
        known = [entry for entry in held if entry is not None]
        if len(known) == len(held):  # nothing to do, and nothing to tell
            return known
        with plan.applied(self.model, allow_other_model=allow_other_model):
            return list(map_once(self._entry, places, keys, **work))

    def logprobs(self, place: int) -> list[Float64[np.ndarray, " _"]]:
        """Log-probabilities of each example's choices under one instruction, with the model as it is now."""
        return self._by_example(self.flat_logprobs(place))

    def tokens(self, place: int) -> list[list[Tokens]]:
        """The tokens of each example's choices under one instruction: what `logprobs` scores."""
        flat = iter(self._requests(place).tokens)
        return [list(itertools.islice(flat, len(choices))) for choices in self.choices]

    def flat_logprobs(self, place: int) -> Float64[np.ndarray, " _"]:
        """The same, one example after the other in one array."""
        return self.model.score(self._requests(place))

    def _by_example(self, flat: Float64[np.ndarray, " _"]) -> list[Float64[np.ndarray, " _"]]:
        return np.split(flat, np.cumsum([len(choices) for choices in self.choices])[:-1])

    def prompt(self, example: Example, instruction: str) -> str:
        """The text that the model is given."""
        return self.task.prompt(example, instruction, answer=self.model.mask_token)

    def said(self, answers: Answers, e: int, i: int) -> str:
        """What example e under instruction i was answered with, as text."""
        index = int(answers.predictions[e, i])
        return str(self.choices[e][index] if index >= 0 or answers.texts is None else answers.texts[e][i])

    def check(self) -> None:
        """Word and encode everything, and ask nothing: what cannot be asked is refused before any work.

        Raises BadTask, InputError for a choice that becomes no token, PromptTooLong with the number of pairs that do not fit.
        """
        places = range(len(self.task.instructions))
        self.model.refuse_too_long([length for place in places for length in self.model.lengths(*self._worded(place))])

    def _worded(self, place: int) -> tuple[list[str], list[str]]:
        """All pairs of prompt and choice under one instruction."""
        prompts: list[str] = []
        continuations: list[str] = []
        for example, choices in zip(self.examples, self.choices, strict=True):
            prompts.extend([self.prompt(example, self.task.instructions[place])] * len(choices))
            continuations.extend(choices)
        return prompts, continuations

    def _encoded(self, place: int) -> Requests:
        return self.model.requests(*self._worded(place))

    def _entry(self, place: int) -> Entry:
        if self.metric == "generation":
            prompts = [self.prompt(example, self.task.instructions[place]) for example in self.examples]
            return {"texts": list(self.model.generate(prompts, metrics.ANSWER_TOKENS))}
        return {"logprobs": self.flat_logprobs(place)}

    def _read(self, entries: Sequence[Entry]) -> Answers:
        if self.metric == "generation":
            texts = [[str(text) for text in _list(entry["texts"])] for entry in entries]
            chosen = [[metrics.matched(t, c) for t, c in zip(column, self.choices, strict=True)] for column in texts]
            predictions = np.array(chosen, dtype=np.int64).T
            return Answers(predictions, metrics.correct(predictions, self.gold), tuple(zip(*texts, strict=True)))
        split = [self._by_example(np.asarray(entry["logprobs"], dtype=np.float64)) for entry in entries]
        predictions = np.stack([metrics.most_probable(rows) for rows in split], axis=1)
        if self.metric == "logloss":
            return Answers(predictions, np.stack([metrics.log_loss(rows, self.gold) for rows in split], axis=1))
        return Answers(predictions, metrics.correct(predictions, self.gold))


def choices_of(example: Example) -> tuple[str, ...]:
    """An example's choices. Raises BadTask where it has fewer than two, or no golden one among them."""
    if len(example.choices) < 2 or not isinstance(example.gold, int):
        raise BadTask(
            f"The example {example.id} has {len(example.choices)} choices and gold {example.gold!r}; to choose, a model needs two "
            "choices or more and the index of the right one."
        )
    return tuple(example.choices)


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
