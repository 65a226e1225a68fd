"""A batch of pairs of example and instruction, worded and encoded once, to be answered and graded any number of times.

All pairs are answered at once, each time in the same sequence of forward calls, so that the outputs of layers can be replayed call by call.
Knows metrics and modes of answering; knows no task, no plan and no journal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from resect.core.execution import Entry
from resect.models.language_model import LanguageModel

from . import metrics
from .answer_modes import AnswerMode, GenerateText, RankFirstToken, ScoreChoices, logprobs_by_pair


@dataclass(frozen=True)
class AnswerCriterion:
    """How answers are graded: by which metric, and what makes a generated text right.

    Parameters
    ----------
    new_tokens : how many tokens are generated
    search_prompt : an answer that occurs in the prompt counts as given (matching "contains" only)
    """

    metric: str
    matching: Literal["choice", "contains"] = "choice"
    new_tokens: int = metrics.ANSWER_TOKENS
    search_prompt: bool = False

    @property
    def mode_name(self) -> str:
        """The mode of answering; metrics with the same mode share their answers."""
        mode = metrics.answer_mode(self.metric)
        usual = mode != "generation" or self.new_tokens == metrics.ANSWER_TOKENS
        return mode if usual else f"{mode} of {self.new_tokens} tokens"

    def encode(self, model: LanguageModel, prompts: Sequence[str], choices: Sequence[Sequence[str]], gold: Sequence[int]) -> AnswerMode:
        """Returns pairs, encoded for the metric's mode of answering. Raises InputError, PromptTooLong."""
        mode = metrics.answer_mode(self.metric)
        if mode == "generation":
            return GenerateText.of(model, prompts, self.new_tokens)
        if mode == "ranks":
            return RankFirstToken.of(model, prompts, [row[right] for row, right in zip(choices, gold, strict=True)])
        return ScoreChoices.of(model, prompts, choices)

    def choice_index(self, text: str, prompt: str, choices: Sequence[str], gold: int) -> int:
        """Returns the index of the choice that a generated text is, or contains; −1 where it is none."""
        if self.matching == "choice":
            return metrics.matching_choice(text, choices)
        return metrics.contained_choice(f"{prompt} {text}" if self.search_prompt else text, choices, gold)


@dataclass(frozen=True)
class GradedAnswers:
    """Answers to pairs: index of the choice (−1: none), the metric, how sure the model is to be right, and the texts, if there are any."""

    predictions: Int64[np.ndarray, " pairs"]
    values: Float64[np.ndarray, " pairs"]
    margins: Float64[np.ndarray, " pairs"]
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class QuestionBatch:
    """Pairs, ready to be answered.

    Attributes
    ----------
    pairs : which pairs of the questions, in the order of the values
    prompts, choices, gold : of each pair; gold is an index into its choices
    criterion : how answers are graded
    encoded : returns `mode`, the same each time
    """

    pairs: tuple[int, ...]
    prompts: tuple[str, ...] = field(repr=False)
    choices: tuple[tuple[str, ...], ...] = field(repr=False)
    gold: Int64[np.ndarray, " pairs"] = field(repr=False, compare=False)
    criterion: AnswerCriterion
    encoded: Callable[[], AnswerMode] = field(repr=False, compare=False)

    @property
    def mode(self) -> AnswerMode:
        """The pairs, encoded for the metric's mode of answering. Raises InputError, PromptTooLong at the first time."""
        return self.encoded()

    def evaluate(self) -> tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
        """Returns values and margins of all pairs, with the model as it is now; the same sequence of forward calls each time.

        Values: the metric. Margins: accuracy: log P(gold) − max log P(other); where less is better −value; else the values.
        Raises NotFinite, OutOfMemory.
        """
        graded = self.graded(self.mode.answer(at_once=True))
        return graded.values, graded.margins

    def graded(self, entry: Entry) -> GradedAnswers:
        """Returns answers to these pairs, graded."""
        metric, gold = self.criterion.metric, self.gold
        if "logprobs" in entry:
            rows = logprobs_by_pair(entry, self.choices)
            predictions = metrics.most_probable(rows)
            if metric == "logloss":
                loss = metrics.log_loss(rows, gold)
                return GradedAnswers(predictions, loss, -loss)
            return GradedAnswers(predictions, metrics.correct(predictions[:, None], gold)[:, 0], metrics.margins(rows, gold))
        texts = tuple(entry["texts"])
        if "ranks" in entry:
            values = metrics.within_top_k(np.asarray(entry["ranks"], dtype=np.int64), metric)
            return GradedAnswers(np.where(values == 1, gold, -1), values, values, texts)
        answered = zip(texts, self.prompts, self.choices, gold.tolist(), strict=True)
        predictions = np.array([self.criterion.choice_index(*answer) for answer in answered], dtype=np.int64)
        values = metrics.correct(predictions[:, None], gold)[:, 0]
        return GradedAnswers(predictions, values, values, texts)
