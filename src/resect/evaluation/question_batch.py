"""A bundle: pairs of example and instruction, worded and encoded once, asked and judged whenever one likes.

What a sweep asks again and again: all at once, each time in the same sequence of forward calls, so that layers can be replayed call by
call. Knows metrics and ways of asking; knows no task, no plan and no journal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from resect.core.execution import Entry, as_list
from resect.models.language_model import LanguageModel

from . import metrics
from .answer_modes import AnswerMode, GenerateText, RankFirstToken, ScoreChoices, by_pair


@dataclass(frozen=True)
class AnswerCriterion:
    """How answers are judged: by which metric, and what makes a generated text right.

    `new_tokens` are generated; `search_prompt`: an answer that stands in the prompt counts as said (matching "contains" only).
    """

    metric: str
    matching: Literal["choice", "contains"] = "choice"
    new_tokens: int = metrics.ANSWER_TOKENS
    search_prompt: bool = False

    @property
    def asks(self) -> str:
        """What is asked, in words; metrics that are asked alike share it."""
        how = metrics.how_asked(self.metric)
        usual = how != "generation" or self.new_tokens == metrics.ANSWER_TOKENS
        return how if usual else f"{how} of {self.new_tokens} tokens"

    def way(self, model: LanguageModel, prompts: Sequence[str], choices: Sequence[Sequence[str]], gold: Sequence[int]) -> AnswerMode:
        """Pairs, encoded to be asked as the metric wants it. Raises InputError, PromptTooLong."""
        how = metrics.how_asked(self.metric)
        if how == "generation":
            return GenerateText.of(model, prompts, self.new_tokens)
        if how == "ranks":
            return RankFirstToken.of(model, prompts, [row[right] for row, right in zip(choices, gold, strict=True)])
        return ScoreChoices.of(model, prompts, choices)

    def index(self, text: str, prompt: str, choices: Sequence[str], gold: int) -> int:
        """Index of the choice that a generated text is, or contains; −1 where it is none."""
        if self.matching == "choice":
            return metrics.matched(text, choices)
        return metrics.held(f"{prompt} {text}" if self.search_prompt else text, choices, gold)


@dataclass(frozen=True)
class GradedAnswers:
    """Answers to pairs: index of the choice (−1: none), the metric, how sure the model is to be right, and what it said."""

    predictions: Int64[np.ndarray, " pairs"]
    values: Float64[np.ndarray, " pairs"]
    margins: Float64[np.ndarray, " pairs"]
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class QuestionBatch:
    """Pairs, ready to be asked.

    Attributes
    ----------
    pairs : which pairs of the questions, in the order of the values
    prompts, choices, gold : of each pair; gold is an index into its choices
    judge : how answers are judged
    encoded : gives `way`, the same each time
    """

    pairs: tuple[int, ...]
    prompts: tuple[str, ...] = field(repr=False)
    choices: tuple[tuple[str, ...], ...] = field(repr=False)
    gold: Int64[np.ndarray, " pairs"] = field(repr=False, compare=False)
    judge: AnswerCriterion
    encoded: Callable[[], AnswerMode] = field(repr=False, compare=False)

    @property
    def way(self) -> AnswerMode:
        """The pairs, encoded for the way of asking that the metric wants. Raises InputError, PromptTooLong at the first time."""
        return self.encoded()

    @property
    def tokens(self) -> int:
        """Tokens of the longest prompt."""
        return max(self.way.lengths)

    def ask(self) -> tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
        """Values and margins of all pairs, with the model as it is now; the same sequence of forward calls each time.

        Values: the metric. Margins: accuracy: log P(gold) − max log P(other); where less is better −value; else the values.
        Raises NotFinite, OutOfMemory.
        """
        found = self.judged(self.way.entry(at_once=True))
        return found.values, found.margins

    def values(self) -> Float64[np.ndarray, " pairs"]:
        """The metric of each pair. Raises as `ask`."""
        return self.ask()[0]

    def margins(self) -> Float64[np.ndarray, " pairs"]:
        """How sure the model is to be right on each pair. Raises as `ask`."""
        return self.ask()[1]

    def judged(self, entry: Entry) -> GradedAnswers:
        """What an entry of these pairs is worth."""
        metric, gold = self.judge.metric, self.gold
        if "logprobs" in entry:
            rows = by_pair(entry, self.choices)
            predictions = metrics.most_probable(rows)
            if metric == "logloss":
                loss = metrics.log_loss(rows, gold)
                return GradedAnswers(predictions, loss, -loss)
            return GradedAnswers(predictions, metrics.correct(predictions[:, None], gold)[:, 0], metrics.margins(rows, gold))
        texts = tuple(map(str, as_list(entry["texts"])))
        if "ranks" in entry:
            values = metrics.among(np.asarray(entry["ranks"], dtype=np.int64), metric)
            return GradedAnswers(np.where(values == 1, gold, -1), values, values, texts)
        asked = zip(texts, self.prompts, self.choices, gold.tolist(), strict=True)
        predictions = np.array([self.judge.index(*each) for each in asked], dtype=np.int64)
        values = metrics.correct(predictions[:, None], gold)[:, 0]
        return GradedAnswers(predictions, values, values, texts)
