"""The log loss and the right answers on *select*, with no matrix reduced or with one: what several analyses use, computed once.

Knows a study; does not know what the numbers are for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64

from resect.core.address import Site
from resect.core.execution import journal_key
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation import metrics
from resect.evaluation.answer_modes import ScoreChoices, logprobs_by_pair
from resect.evaluation.questions import Questions
from resect.methods.analyses.study import Study
from resect.models.language_model import LanguageModel
from resect.search.candidate_scoring import CandidateScorer
from resect.search.question_order import QuestionSet, ValuesAndMargins


@dataclass(frozen=True)
class PairOutcomes:
    """For each pair of example and instruction: the log loss of the golden answer, and 1.0 where the answer is right, else 0.0."""

    loss: Float64[np.ndarray, " pairs"]
    right: Float64[np.ndarray, " pairs"]

    @property
    def means(self) -> dict[str, float | None]:
        """Returns both means as analyses.json has them; None for one that is not finite."""
        means = {"loss": float(self.loss.mean()), "accuracy": float(self.right.mean())}
        return {name: mean if math.isfinite(mean) else None for name, mean in means.items()}


class Measurements:
    """Outcomes on the *select* split, stored in the study's journal.

    Where right means that the most probable choice is the golden one, both numbers come from one pass; else each has its own.
    """

    def __init__(self, study: Study) -> None:
        self._study, self.questions = study, study.questions("select")
        self._loss_questions = self.questions.by("logloss")
        self._key = journal_key("measures", self.questions.digest, self._loss_questions.digest, self.questions.metric)

    @property
    def pairs(self) -> int:
        """Returns the number of pairs of example and instruction."""
        return self.questions.pairs

    def base(self) -> PairOutcomes:
        """Returns the outcomes without an edit. Raises NotFinite, OutOfMemory, PromptTooLong."""
        return self._once("base", ())

    def of(self, edit: ReduceRank) -> PairOutcomes:
        """Returns the outcomes with one matrix reduced. Raises as `base`, and NotWritable."""
        return self._once(Plan((edit,)).digest, (edit,))

    def at_shares(
        self, site: Site, rhos: Sequence[float], report: Callable[[], None], like: ReduceRank | None = None
    ) -> list[PairOutcomes]:
        """Returns the outcomes with a matrix reduced to each share of its rank, by the rule of `like`; each rank is computed once.

        `report` is called after each share. Raises as `of`.
        """
        by_rank, outcomes = dict[int, PairOutcomes](), []
        for rho in rhos:
            edit = self._study.reduced(site, rho, like)
            rank = self._study.rank(edit)
            if rank not in by_rank:
                by_rank[rank] = self.of(edit)
            outcomes.append(by_rank[rank])
            report()
        return outcomes

    def under(self, plan: Plan, stage: str) -> PairOutcomes:
        """Returns the outcomes under any plan. Raises as `base`, and what a plan raises."""
        both = (self._loss_questions, self.questions)
        loss, right = (questions.answers(plan, stage=stage, workers=self._study.workers).values for questions in both)
        return PairOutcomes(loss.reshape(-1), right.reshape(-1))

    def _once(self, name: str, edits: Sequence[ReduceRank]) -> PairOutcomes:
        entry = self._study.workers.remember(journal_key(self._key, name), lambda: vars(self._computed(edits)))
        return PairOutcomes(*(np.asarray(entry[part], dtype=np.float64) for part in ("loss", "right")))

    def _computed(self, edits: Sequence[ReduceRank]) -> PairOutcomes:
        if isinstance(self._first, LossAndRight):
            return PairOutcomes(self._scorers[0].values(edits), self._first.right.copy())
        loss, right = (scorer.values(edits) for scorer in self._scorers)
        return PairOutcomes(loss, right)

    @cached_property
    def _first(self) -> QuestionSet:
        return LossAndRight(self.questions) if self.questions.metric == "accuracy" else self._loss_questions

    @cached_property
    def _scorers(self) -> list[CandidateScorer]:
        study = self._study
        sets: list[QuestionSet] = [self._first] if isinstance(self._first, LossAndRight) else [self._first, self.questions]
        settings: dict[str, Any] = {"state_memory": study.state_memory, "workers": study.workers}
        return [CandidateScorer(questions, study.factors, **settings) for questions in sets]


class LossAndRight:
    """Choices, scored once for two metrics: the values are the log loss; `right` [pairs] is 1.0 where the best choice is the golden one.

    `right` is that of the latest evaluation of each pair.
    """

    metric, less_is_better, best_value, replayable = "logloss", True, 0.0, True

    def __init__(self, questions: Questions) -> None:
        self.questions, self.model = questions, questions.model
        self.digest, self.pairs = f"{questions.digest}/both", questions.pairs
        self.right: Float64[np.ndarray, " pairs"] = np.zeros(questions.pairs)

    def length(self, pair: int) -> int:
        """Returns the number of tokens of a pair's prompt."""
        return self.questions.length(pair)

    def batch(self, pairs: Sequence[int]) -> "ScoredPairs":
        """Returns pairs that are evaluated at once."""
        questions, places = self.questions, [divmod(pair, len(self.questions.task.instructions)) for pair in pairs]
        prompts = [questions.prompt(questions.examples[e], questions.task.instructions[i]) for e, i in places]
        choices = [questions.choices[e] for e, _ in places]
        scored = ScoreChoices.of(self.model, prompts, choices)
        gold = questions.gold[[e for e, _ in places]]

        def evaluate() -> ValuesAndMargins:
            rows = logprobs_by_pair(scored.answer(at_once=True), choices)
            self.right[list(pairs)] = metrics.correct(metrics.most_probable(rows)[:, None], gold)[:, 0]
            return metrics.log_loss(rows, gold), metrics.margins(rows, gold)

        return ScoredPairs(tuple(pairs), self.model, evaluate)


@dataclass(frozen=True)
class ScoredPairs:
    """Encoded pairs that are evaluated at once."""

    pairs: tuple[int, ...]
    model: LanguageModel = field(repr=False)
    evaluate: Callable[[], ValuesAndMargins] = field(repr=False)
