"""Choose how many of the highest-scoring neurons are cut, and by which factor: by the metric, among cuts that break no guard.

Knows scores, questions and guards; does not know how neurons are scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resect.core.address import Neurons
from resect.core.execution import Workers, journal_key
from resect.core.number_format import plural
from resect.core.scores import Scores
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.guards import BrokenGuard, GuardedChoice, Guards, guard_facts, guard_sentence
from resect.evaluation.questions import Questions
from resect.methods.base import Found
from resect.models.language_model import LanguageModel
from resect.search.guarded_sizes import GuardedSizes, choose_guarded_size
from resect.search.size_search import Trial, best

from .settings import FACTORS, CrisprSettings

#: A candidate: how many neurons, and the factor that they are multiplied by.
Cut = tuple[int, float]


def cut(neurons: Neurons, factor: float = 0.0) -> Plan:
    """The plan that multiplies neurons by a factor; by 0 their rows of the weight matrices and their bias entries become 0."""
    return Plan((Scale(neurons, factor),)) if neurons else Plan()


@dataclass(frozen=True)
class CutChoice:
    """A choice among cuts of the highest-scoring neurons.

    Parameters
    ----------
    limit : the largest number of neurons
    questions : by which cuts are scored
    """

    scores: Scores
    limit: int
    questions: Questions
    guards: Guards
    workers: Workers

    def found(self, settings: CrisprSettings, model: LanguageModel, notes: Sequence[str]) -> Found:
        """The best cut by these settings, with the candidates and what the guards changed."""
        factors = FACTORS if settings.factor == "search" else (settings.factor,)
        broken: dict[Cut, tuple[BrokenGuard, ...]] = {}
        by_factor = {factor: self._sizes(settings, factor, broken) for factor in factors}
        chosen, by_score = (
            _best_cut({factor: getattr(sizes, name) for factor, sizes in by_factor.items()}) for name in ("chosen", "by_score")
        )
        lines = tuple(
            _trial_line(trial, self.questions.pairs, factor, broken.get((trial.size, factor), ()))
            for factor, sizes in by_factor.items()
            for trial in sizes.trials
        )
        scored = {(trial.size, factor): trial.score for factor, sizes in by_factor.items() for trial in sizes.trials}
        choice = GuardedChoice(chosen if chosen[0] else None, by_score if by_score[0] else None, broken)
        plan = cut(self.scores.top(chosen[0]), chosen[1])
        facts = guard_facts(self.guards, choice, lambda one: _described(one, scored[one]), plan)
        sentence = guard_sentence(facts, self.questions.metric)
        counts = {"n_examples": len(self.questions.examples), "n_instructions": len(self.questions.task.instructions)}
        base = next(sizes.trials[0].score for sizes in by_factor.values())
        select = {"metric": self.questions.metric, "base": base, "chosen": scored[chosen], **counts}
        return Found.one(
            plan.for_model(model),
            scores=self.scores,
            trials=lines,
            notes=(*notes, *self.guards.notes, *([sentence] if sentence else [])),
            facts={"select": select, "guards": facts},
        )

    def _sizes(self, settings: CrisprSettings, factor: float, broken: dict[Cut, tuple[BrokenGuard, ...]]) -> GuardedSizes:
        """The search among numbers of neurons under one factor; fills in which guards those that were checked break."""
        questions, workers = self.questions, self.workers

        def accepts(size: int) -> bool:
            broken[size, factor] = self.guards.broken(cut(self.scores.top(size), factor))
            return not broken[size, factor]

        # The authors compare percentages with two decimals, and the first of equal ones wins.
        official = settings.variant == "official"
        return choose_guarded_size(
            lambda size: questions.answers(cut(self.scores.top(size), factor), workers=workers.silent()).mean,
            self.limit,
            accepts,
            (lambda trials: best(trials, digits=4, ties="earlier")) if official else best,
            settings.choose,
            scale=settings.scale or "log",
            name=journal_key("choose", questions.digest, cut(self.scores.top(self.limit), factor).digest),
            workers=workers,
        )


def _best_cut(trials: dict[float, Trial]) -> Cut:
    """The best over all factors: of equal ones the fewest neurons, then the factor that changes them least."""
    factor = min(trials, key=lambda one: (-trials[one].score, trials[one].size, -one))
    return trials[factor].size, factor


def _described(one: Cut, score: float) -> dict[str, Any]:
    size, factor = one
    name = f"a cut of {plural(size, 'neurons')}" if factor == 0 else f"{plural(size, 'neurons')} times {factor:g}"
    return {"name": name, "size": size, **({"factor": factor} if factor else {}), "score": score}


def _trial_line(trial: Trial, examples: int, factor: float, broken: Sequence[BrokenGuard]) -> dict[str, Any]:
    """A candidate as a line of trials.jsonl; `examples` counts pairs of example and instruction."""
    line: dict[str, Any] = {"size": trial.size, "score": trial.score, "examples": examples, "complete": True, "seconds": trial.seconds}
    return {**line, **({"factor": factor} if factor else {}), **({"broken": list(map(str, broken))} if broken else {})}
