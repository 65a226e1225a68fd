"""The three modes of answering: score choices, generate a text, rank a first token. Each holds pairs that were encoded once.

Pairs are answered in batches of any size, or all at once in a fixed sequence of forward calls. Knows a model; knows no metric, no task and
no plan.
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
from resect.models.prompt_pairs import PromptPairs, one_batch

Answer = TypeVar("Answer")


class AnswerMode(Protocol):
    """Pairs, encoded for one mode of answering."""

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of each pair's prompt."""

    def answer(self, *, at_once: bool = False) -> Entry:
        """Returns the answers to all pairs, as a journal stores them. Raises NotFinite, OutOfMemory."""


@dataclass(frozen=True)
class ScoreChoices:
    """Log-probabilities of all choices: {"logprobs": [choices of all pairs]}."""

    model: LanguageModel = field(repr=False)
    pairs: PromptPairs = field(repr=False)
    counts: tuple[int, ...]

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> "ScoreChoices":
        """Encodes each pair's prompt with its choices. Raises InputError, PromptTooLong."""
        return cls(model, model.encode_pairs(*prompt_choice_pairs(prompts, choices)), tuple(map(len, choices)))

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of each pair's prompt; of a masked model the most that one of its choices needs."""
        return [max(len(tokens.input_ids) for tokens in row) for row in self.tokens]

    @property
    def tokens(self) -> list[list[Tokens]]:
        """The tokens of each pair's choices."""
        tokens = iter(self.pairs.tokens)
        return [list(itertools.islice(tokens, count)) for count in self.counts]

    def logprobs(self, *, at_once: bool = False) -> Float64[np.ndarray, " _"]:
        """Returns the log-probabilities of all choices, one pair after the other. Raises NotFinite, OutOfMemory."""
        return self.model.score_pairs_in_one_batch(self.pairs) if at_once else self.model.score_pairs(self.pairs)

    def answer(self, *, at_once: bool = False) -> Entry:
        """Returns the log-probabilities. Raises NotFinite, OutOfMemory."""
        return {"logprobs": self.logprobs(at_once=at_once)}


@dataclass(frozen=True)
class GenerateText:
    """Greedy texts: {"texts": [pairs]}."""

    model: LanguageModel = field(repr=False)
    prompts: tuple[Tokens, ...] = field(repr=False)
    new_tokens: int

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[str], new_tokens: int) -> "GenerateText":
        """Encodes the prompts. Raises PromptTooLong."""
        return cls(model, tuple(model.encode_prompts(prompts, new_tokens)), new_tokens)

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of each pair's prompt."""
        return [len(prompt.input_ids) for prompt in self.prompts]

    def answer(self, *, at_once: bool = False) -> Entry:
        """Returns the texts. Raises NotFinite, OutOfMemory."""
        if not at_once:
            return {"texts": self.model.generate_encoded(self.prompts, self.new_tokens)}
        texts = _at_once(self.prompts, lambda rows: self.model.generation.generate(rows, self.new_tokens, {}), self.new_tokens)
        return {"texts": texts}


@dataclass(frozen=True)
class RankFirstToken:
    """Ranks of first tokens, from 0, and the most probable tokens as texts: {"ranks": [pairs], "texts": [pairs]}.

    `multi_token_answers`: how many answers have more tokens than the one that is ranked.
    """

    model: LanguageModel = field(repr=False)
    rows: tuple[Tokens, ...] = field(repr=False)
    multi_token_answers: int

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[str], answers: Sequence[str]) -> "RankFirstToken":
        """Encodes each prompt with the first token of its answer. Raises InputError, PromptTooLong."""
        rows, longer = model.generation.encode_first_tokens(prompts, answers)
        model.check_lengths(len(row.input_ids) for row in rows)
        return cls(model, tuple(rows), longer)

    @property
    def prompt_lengths(self) -> list[int]:
        """Tokens of each pair's prompt."""
        return [len(row.input_ids) for row in self.rows]

    def answer(self, *, at_once: bool = False) -> Entry:
        """Returns the ranks. Raises NotFinite, OutOfMemory."""
        ranked = _at_once(self.rows, self.model.generation.first_token_ranks) if at_once else self.model.first_token_ranks(self.rows)
        return {"ranks": np.array([rank for rank, _ in ranked], dtype=np.int64), "texts": [text for _, text in ranked]}


def answer_pairs(mode: AnswerMode) -> Entry:
    """Returns the answers to all pairs, as work for an engine."""
    return mode.answer()


def logprobs_by_pair(entry: Entry, choices: Sequence[Sequence[str]]) -> list[Float64[np.ndarray, " _"]]:
    """Returns the log-probabilities that `ScoreChoices` answered, pair by pair."""
    return np.split(np.asarray(entry["logprobs"], dtype=np.float64), np.cumsum([len(row) for row in choices])[:-1])


def prompt_choice_pairs(prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Returns every prompt with each of its choices."""
    pairs = [(prompt, choice) for prompt, row in zip(prompts, choices, strict=True) for choice in row]
    return [prompt for prompt, _ in pairs], [choice for _, choice in pairs]


def _at_once(rows: Sequence[Tokens], answer: Callable[[Sequence[Tokens]], list[Answer]], more: int = 0) -> list[Answer]:
    with one_batch(len(rows), more + max((len(row.input_ids) for row in rows), default=0)):
        return answer(rows)
