"""The log loss and the right answers on *select*, with one matrix reduced: what several analyses look at, asked once.

Knows a study; knows nothing of what the numbers are for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from resect.core.execution import journal_key
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation import metrics
from resect.evaluation.answer_modes import ScoreChoices, by_pair
from resect.evaluation.questions import Questions
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer
from resect.search.question_order import QuestionSet, ValuesAndMargins

from .study import Study


@dataclass(frozen=True)
class Measured:
    """Of every pair of example and instruction: the log loss of the golden answer, and 1.0 where the answer is right, else 0.0."""

    loss: Float64[np.ndarray, " pairs"]
    right: Float64[np.ndarray, " pairs"]


class Measures:
    """Measurements of the *select* split, with no matrix reduced or with one, kept in the study's journal.

    Where right means that the most probable choice is the golden one, both come from one pass; else each from its own.
    """

    def __init__(self, study: Study) -> None:
        self._study, self.questions = study, study.questions("select")
        self._loss_questions = self.questions.by("logloss")
        self._key = journal_key("measures", self.questions.digest, self._loss_questions.digest, self.questions.metric)

    @property
    def pairs(self) -> int:
        """How many pairs of example and instruction are asked."""
        return self.questions.pairs

    def base(self) -> Measured:
        """The model as it is. Raises NotFinite, OutOfMemory, PromptTooLong."""
        return self._once("base", lambda: self._swept(()))

    def of(self, edit: ReduceRank) -> Measured:
        """The model with one matrix reduced. Raises as `base`, and NotWritable."""
        return self._once(Plan((edit,)).digest, lambda: self._swept((edit,)))

    def under(self, plan: Plan, stage: str) -> Measured:
        """The model under any plan. Raises as `base`, and what a plan raises."""
        loss, right = (
            each.answers(plan, stage=stage, workers=self._study.workers).values for each in (self._loss_questions, self.questions)
        )
        return Measured(loss.reshape(-1), right.reshape(-1))

    def _once(self, name: str, ask: Callable[[], Measured]) -> Measured:
        entry = self._study.workers.remember(journal_key(self._key, name), lambda: vars(ask()))
        return Measured(*(np.asarray(entry[part], dtype=np.float64) for part in ("loss", "right")))

    def _swept(self, edits: Sequence[ReduceRank]) -> Measured:
        if isinstance(self._first, Both):
            return Measured(self._sweeps[0].values(edits), self._first.right.copy())
        loss, right = (sweep.values(edits) for sweep in self._sweeps)
        return Measured(loss, right)

    @cached_property
    def _first(self) -> QuestionSet:
        return Both(self.questions) if self.questions.metric == "accuracy" else self._loss_questions

    @cached_property
    def _sweeps(self) -> list[CandidateScorer]:
        study = self._study
        asked: list[QuestionSet] = [self._first] if isinstance(self._first, Both) else [self._first, self.questions]
        return [CandidateScorer(each, study.factors, state_memory=study.state_memory, workers=study.workers) for each in asked]


class Both:
    """Choices, scored once for two metrics: the values are the log loss; `right` [pairs] tells whose best choice was the golden one.

    `right` is of the latest time that each pair was asked.
    """

    metric, less_is_better, best_value, replayable = "logloss", True, 0.0, True

    def __init__(self, questions: Questions) -> None:
        self.questions, self.model = questions, questions.model
        self.digest, self.pairs = f"{questions.digest}/both", questions.pairs
        self.right: Float64[np.ndarray, " pairs"] = np.zeros(questions.pairs)

    def length(self, pair: int) -> int:
        """Tokens of a pair's prompt."""
        return self.questions.length(pair)

    def batch(self, pairs: Sequence[int]) -> "Scored":
        """Pairs that are asked at once."""
        asked, places = self.questions, [divmod(pair, len(self.questions.task.instructions)) for pair in pairs]
        prompts = [asked.prompt(asked.examples[e], asked.task.instructions[i]) for e, i in places]
        choices = [asked.choices[e] for e, _ in places]
        way = ScoreChoices.of(self.model, prompts, choices)
        gold = asked.gold[[e for e, _ in places]]

        def ask() -> ValuesAndMargins:
            rows = by_pair(way.entry(at_once=True), choices)
            self.right[list(pairs)] = metrics.correct(metrics.most_probable(rows)[:, None], gold)[:, 0]
            return metrics.log_loss(rows, gold), metrics.margins(rows, gold)

        return Scored(tuple(pairs), self.model, ask)


@dataclass(frozen=True)
class Scored:
    """Pairs, encoded, to be asked at once."""

    pairs: tuple[int, ...]
    model: LanguageModel = field(repr=False)
    ask: Callable[[], ValuesAndMargins] = field(repr=False)
