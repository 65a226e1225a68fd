"""The ways of asking: score choices, generate a text, rank a first token. Each holds pairs that were encoded once.

Asked in batches, or all at once in a fixed sequence of forward calls. Knows a model; knows no metric, no task and no plan.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import Float64

from resect.core.execution import Entry
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel
from resect.models.prompt_pairs import PromptPairs, single_batch

Answer = TypeVar("Answer")


class AnswerMode(Protocol):
    """Pairs, encoded for one way of asking."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair's prompt."""

    def entry(self, *, at_once: bool = False) -> Entry:
        """What is answered, as a journal keeps it. Raises NotFinite, OutOfMemory."""


@dataclass(frozen=True)
class ScoreChoices:
    """Log-probabilities of all choices: {"logprobs": [choices of all pairs]}."""

    model: LanguageModel = field(repr=False)
    requests: PromptPairs = field(repr=False)
    counts: tuple[int, ...]

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> "ScoreChoices":
        """Encode each pair's prompt with its choices. Raises InputError, PromptTooLong."""
        return cls(model, model.requests(*flat(prompts, choices)), tuple(map(len, choices)))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair's prompt; of a masked model the most that one of its choices needs."""
        return [max(len(tokens.input_ids) for tokens in row) for row in self.tokens]

    @property
    def tokens(self) -> list[list[Tokens]]:
        """The tokens of each pair's choices."""
        flat = iter(self.requests.tokens)
        return [list(itertools.islice(flat, count)) for count in self.counts]

    def entry(self, *, at_once: bool = False) -> Entry:
        """The log-probabilities. Raises NotFinite, OutOfMemory."""
        return {"logprobs": self.model.score_batch(self.requests) if at_once else self.model.score(self.requests)}


@dataclass(frozen=True)
class GenerateText:
    """Greedy texts: {"texts": [pairs]}."""

    model: LanguageModel = field(repr=False)
    openings: tuple[Tokens, ...] = field(repr=False)
    new_tokens: int

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[str], new_tokens: int) -> "GenerateText":
        """Encode the prompts. Raises PromptTooLong."""
        return cls(model, tuple(model.openings(prompts, new_tokens)), new_tokens)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair's prompt."""
        return [len(opening.input_ids) for opening in self.openings]

    def entry(self, *, at_once: bool = False) -> Entry:
        """The texts. Raises NotFinite, OutOfMemory."""
        if not at_once:
            return {"texts": self.model.say(self.openings, self.new_tokens)}
        said = _at_once(self.openings, lambda rows: self.model.speech.said(rows, self.new_tokens, {}), self.new_tokens)
        return {"texts": said}


@dataclass(frozen=True)
class RankFirstToken:
    """Ranks of first tokens, from 0, and the most probable tokens as texts: {"ranks": [pairs], "texts": [pairs]}.

    `longer`: how many answers have more tokens than the one that is asked about.
    """

    model: LanguageModel = field(repr=False)
    rows: tuple[Tokens, ...] = field(repr=False)
    longer: int

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[str], answers: Sequence[str]) -> "RankFirstToken":
        """Encode each prompt with the first token of its answer. Raises InputError, PromptTooLong."""
        rows, longer = model.speech.first_tokens(prompts, answers)
        model.refuse_too_long(len(row.input_ids) for row in rows)
        return cls(model, tuple(rows), longer)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair's prompt."""
        return [len(row.input_ids) for row in self.rows]

    def entry(self, *, at_once: bool = False) -> Entry:
        """The ranks. Raises NotFinite, OutOfMemory."""
        found = _at_once(self.rows, self.model.speech.ranks) if at_once else self.model.first_ranks(self.rows)
        return {"ranks": np.array([rank for rank, _ in found], dtype=np.int64), "texts": [text for _, text in found]}


def entry_of(way: AnswerMode) -> Entry:
    """What a way of asking is answered with, as work for an engine."""
    return way.entry()


def by_pair(entry: Entry, choices: Sequence[Sequence[str]]) -> list[Float64[np.ndarray, " _"]]:
    """The log-probabilities of an entry of `ScoreChoices`, pair by pair."""
    return np.split(np.asarray(entry["logprobs"], dtype=np.float64), np.cumsum([len(row) for row in choices])[:-1])


def flat(prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Every prompt with every one of its choices."""
    pairs = [(prompt, choice) for prompt, row in zip(prompts, choices, strict=True) for choice in row]
    return [prompt for prompt, _ in pairs], [choice for _, choice in pairs]


def _at_once(rows: Sequence[Tokens], ask: Callable[[Sequence[Tokens]], list[Answer]], more: int = 0) -> list[Answer]:
    with single_batch(len(rows), more + max((len(row.input_ids) for row in rows), default=0)):
        return ask(rows)
