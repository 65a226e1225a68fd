"""Side effects of a plan: calibrated baselines, other metrics, perplexity of plain text, other tasks.

Knows what is measured in addition to a comparison, and how; knows no method, and neither where texts nor where tasks come from.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resect.core.comparison import Comparison, estimate
from resect.core.errors import InputError, NotFinite
from resect.core.execution import Workers, journal_key
from resect.data.tasks.task import Task
from resect.edits.plan import Plan
from resect.models.language_model import perplexity_of

from .calibration import CALIBRATIONS, CalibrationKind, calibrated, content_free_count
from .compare import comparison_of_answers
from .metrics import TOP, further_metrics
from .perplexity import PERPLEXITY, is_beyond, logprob_under, perplexity_kind
from .questions import Answers, Questions


@dataclass(frozen=True)
class SideEffects:
    """What is measured in addition to a comparison.

    Parameters
    ----------
    calibrate : which baselines of the unedited model: "cc", "dc"
    generation : whether text is generated where the metric of the comparison is accuracy (log-loss, where answers are free text)
    texts : documents of plain text for the perplexity; none: it is not measured
    text_name : the name of the texts in reports
    tasks : other tasks, compared on their *test* splits by the metric that each is reported by
    must : whether what cannot be measured is an error; else it is a note, and the rest is measured

    Raises InputError where two tasks have one name, or one is called "perplexity": one result would replace another.
    """

    calibrate: tuple[CalibrationKind, ...] = ()
    generation: bool = False
    texts: tuple[str, ...] = field(default=(), repr=False)
    text_name: str = ""
    tasks: tuple[Task, ...] = ()
    must: bool = False

    def __post_init__(self) -> None:
        names = [PERPLEXITY, *(task.name for task in self.tasks)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"Side effects need names that differ, and {', '.join(map(repr, twice))} occurs twice (the perplexity of plain text is "
                f"called {PERPLEXITY!r}). Give each task once, or another `name` in its task file."
            )

    def check(self, questions: Questions) -> None:
        """Refuses what could not be measured with these questions, before any work. Raises InputError, PromptTooLong, BadTask."""
        for task in self.tasks:
            _of_task(questions, task).check()
        if self.must:
            for kind in self.calibrate:
                content_free_count(questions.by("accuracy"), kind)
            for other in self._others(questions):
                questions.by(other).check()

    def measure(
        self,
        comparison: Comparison,
        questions: Questions,
        plans: Sequence[Plan],
        *,
        seed: int = 0,
        allow_other_model: bool = False,
        workers: Workers | None = None,
    ) -> tuple[Comparison, tuple[str, ...]]:
        """Returns the comparison with its side effects, and sentences on what could not be measured, and on what a reader should know.

        Baselines are accuracies by scoring: where the comparison has another metric, they are part of the accuracy in `other_metrics`.

        Parameters
        ----------
        comparison : of these questions, before and after the plans
        plans : one, or one for each trial (results are averaged over them); none: the unedited model alone is measured
        seed : of draws and resampling

        Raises Failure; with `must` also InputError, for what cannot be measured. A result that is not finite is always a note, so that
        what was measured before it is not lost.
        """
        measured = _Measurements(questions, tuple(plans), seed, workers or Workers(), allow_other_model)
        notes = [_first_token_note(questions)] if questions.metric in TOP and questions.multi_token_answers else []

        def attempt(what: str, measure: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return measure(*arguments)
            except (InputError, NotFinite) as error:
                if self.must and isinstance(error, InputError):
                    raise
                notes.append(f"{what} could not be measured: {error}")
                return None

        metrics, effects = dict(comparison.other_metrics), dict(comparison.side_effects)
        baselines = {kind: attempt(CALIBRATIONS[kind].capitalize(), measured.baseline, kind) for kind in self.calibrate}
        for other in self._others(questions):
            metrics[other] = attempt(f"The metric {other}", measured.other, other)
        if baselines and questions.metric != "accuracy":
            notes += _move_to_accuracy(baselines, metrics)
            baselines = {}
        if self.texts:
            effects[PERPLEXITY] = attempt("The perplexity", measured.perplexity, self.texts, self.text_name, notes)
        for task in self.tasks:
            effects[task.name] = attempt(f"The task {task.name}", measured.task, task)
        all_baselines = {**comparison.baselines, **{str(kind): baseline for kind, baseline in baselines.items()}}
        return dataclasses.replace(comparison, baselines=all_baselines, other_metrics=metrics, side_effects=effects), tuple(notes)

    def _others(self, questions: Questions) -> tuple[str, ...]:
        """Returns the metrics that are measured in addition to that of the questions."""
        free = any(questions.free)
        # Sixteen filled masks mean little; where the answer is free text, the task sets how many masks there are.
        generates = self.generation and (free or questions.model.kind != "masked")
        return tuple(other for other in further_metrics(questions.metric, free=free) if other != "generation" or generates)


def _move_to_accuracy(baselines: dict[CalibrationKind, Any], metrics: dict[str, Any]) -> list[str]:
    """Reports baselines with the accuracy by scoring, which they are comparable to, and says so in a note."""
    measured = {kind.upper(): estimate for kind, estimate in baselines.items() if estimate is not None}
    if not measured:
        return []
    as_json = {kind: None if estimate is None else estimate.to_json() for kind, estimate in baselines.items()}
    metrics["accuracy"] = {**(metrics.get("accuracy") or {}), "baselines": as_json}
    means = " and ".join(f"{name} ({estimate.mean:.1%})" for name, estimate in measured.items())
    return [f"{means} are accuracies by scoring: they are reported with the accuracy, not with the metric of this comparison."]


def _first_token_note(questions: Questions) -> str:
    longer, count = questions.multi_token_answers, len(questions.examples)
    return f"Top-k ranks the first token of an answer; {longer} of {count} golden answers have more tokens than one."


def _of_task(questions: Questions, task: Task) -> Questions:
    """Returns the *test* split of another task, for the same model. Raises EmptySplit."""
    return Questions(questions.model, task, task.split("test"), task.metric, search_prompt=questions.criterion.search_prompt)


@dataclass(frozen=True)
class _Measurements:
    """Each measurement, before and after the plans."""

    questions: Questions
    plans: tuple[Plan, ...]
    seed: int
    workers: Workers
    allow_other_model: bool

    def baseline(self, kind: CalibrationKind) -> Any:
        answers = calibrated(self.questions, kind, seed=self.seed, workers=self.workers)
        tags = [example.tags for example in self.questions.examples]
        return estimate(answers.values, self.questions.groups, tags, self.seed)

    def other(self, metric: str) -> dict[str, Any]:
        """Returns base and edited under another metric, and the share of texts that were no choice."""
        questions = self.questions.by(metric)
        result, all_answers = self._compared(questions, f"answering by {metric}")
        if metric == "generation" and not any(questions.free):
            unmatched = [float(np.mean(answers.predictions < 0)) for answers in all_answers]
            result["unmatched"] = {"base": unmatched[0], "edited": float(np.mean(unmatched[1:])) if self.plans else None}
        return result

    def task(self, task: Task) -> dict[str, Any]:
        """Returns means before and after on the *test* split of another task, and their difference."""
        result, _ = self._compared(_of_task(self.questions, task), f"answering {task.name}")
        means = {name: result[name] and result[name]["mean"] for name in ("base", "edited")}
        return {**result, **means, "metric": task.metric}

    def _compared(self, questions: Questions, stage: str) -> tuple[dict[str, Any], list[Answers]]:
        answers = [
            questions.answers(
                plan,
                stage=stage if plan.is_empty else f"{stage}, edited",
                allow_other_model=self.allow_other_model,
                workers=self.workers,
            )
            for plan in (Plan(), *self.plans)
        ]
        comparison = comparison_of_answers(questions, answers[0], answers[1:] or answers, [], self.seed).to_json()
        names = ("base", "edited", "difference")
        return {name: comparison[name] if self.plans or name == "base" else None for name in names}, answers

    def perplexity(self, texts: Sequence[str], name: str, notes: list[str]) -> dict[str, Any]:
        """Returns perplexity of plain text before and after; after is None, and a note says so, where it is not finite."""
        model, edited = self.questions.model, None
        rows, key = model.text_rows(texts), journal_key("text", list(texts))
        tokens = sum(len(row.label_ids) for row in rows)

        def under(plan: Plan) -> float:
            logprob = logprob_under(plan, model, rows, key, self.workers, allow_other_model=self.allow_other_model)
            return perplexity_of(logprob, tokens)

        base = under(Plan())
        try:
            edited = float(np.mean([under(plan) for plan in self.plans])) if self.plans else None
        except NotFinite as error:
            notes.append(f"The perplexity of the edited model could not be measured: {error}")
        beyond = is_beyond(model, base)
        return {"base": base, "edited": edited, "kind": perplexity_kind(model), "text": name, "tokens": tokens, "is_beyond": beyond}
