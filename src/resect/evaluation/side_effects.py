"""What stands beside a comparison: calibrated baselines, the other way of answering, perplexity on plain text, other tasks.

Knows what to ask and how its answers are set side by side; knows no method, and neither where the texts nor where the tasks come from.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resect.core.comparison import Comparison, estimate
from resect.core.errors import InputError, NotFinite
from resect.core.execution import Entry, Workers, journal_key
from resect.data.tasks.task import Task
from resect.edits.plan import Plan, WithPlan
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel, perplexity_of
from resect.models.text_windows import row_chunks

from .calibration import KINDS, Kind, calibrated, content_free_count
from .compare import comparison_of_answers
from .metrics import TOP, others
from .questions import Answers, Questions

#: Side effects that are no task.
PERPLEXITY = "perplexity"
#: Tokens of plain text, as they are fed, that are one item of work: some seconds of a small model.
CHUNK = 2**16


@dataclass(frozen=True)
class SideEffects:
    """What is asked beside a comparison.

    Parameters
    ----------
    calibrate : which baselines of the unedited model: "cc", "dc"
    generation : whether text is generated where the metric of the comparison is accuracy (log-loss, where answers are free text)
    texts : documents of plain text for the perplexity; none: it is not measured
    text_name : what the texts are called
    tasks : other tasks, compared on their *test* splits by the metric that each is reported by
    must : whether what cannot be asked is an error; else it is a note, and the rest is measured

    Raises InputError where two tasks have one name, or one is called "perplexity": one result would stand in the place of another.
    """

    calibrate: tuple[Kind, ...] = ()
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
                f"What stands beside a comparison needs names that differ, and {', '.join(map(repr, twice))} stands there twice (the "
                f"perplexity on plain text is called {PERPLEXITY!r}). Give each task once, or another `name` in its task file."
            )

    def check(self, questions: Questions) -> None:
        """Refuse what could not be asked beside these questions, before anything is asked. Raises InputError, PromptTooLong, BadTask."""
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
        """The comparison with all of it filled in, and sentences on what could not be measured, and on what should be known.

        Baselines are accuracies by scoring: beside another metric they stand with the accuracy in `other_metrics`.

        Parameters
        ----------
        comparison : of these questions, before and after the plans
        plans : one, or one a trial (outcomes are averaged over them); none: the model is measured as it is
        seed : of draws and resampling

        Raises Failure; with `must` also InputError, for what cannot be asked. What is not finite is never raised but noted: what was
        measured before it is kept.
        """
        asking = _Asking(questions, tuple(plans), seed, workers or Workers(), allow_other_model)
        notes = [_about_tokens(questions)] if questions.metric in TOP and questions.longer else []

        def tried(what: str, measure: Callable[..., Any], *given: Any) -> Any:
            try:
                return measure(*given)
            except (InputError, NotFinite) as error:
                if self.must and isinstance(error, InputError):
                    raise
                notes.append(f"{what} could not be measured: {error}")
                return None

        metrics, effects = dict(comparison.other_metrics), dict(comparison.side_effects)
        baselines = {kind: tried(KINDS[kind].capitalize(), asking.baseline, kind) for kind in self.calibrate}
        for other in self._others(questions):
            metrics[other] = tried(f"The metric {other}", asking.other, other)
        if baselines and questions.metric != "accuracy":
            notes += _moved(baselines, metrics)
            baselines = {}
        if self.texts:
            effects[PERPLEXITY] = tried("The perplexity", asking.perplexity, self.texts, self.text_name, notes)
        for task in self.tasks:
            effects[task.name] = tried(f"The task {task.name}", asking.task, task)
        together = {**comparison.baselines, **{str(kind): found for kind, found in baselines.items()}}
        return dataclasses.replace(comparison, baselines=together, other_metrics=metrics, side_effects=effects), tuple(notes)

    def _others(self, questions: Questions) -> tuple[str, ...]:
        """The metrics that are shown beside that of the questions."""
        free = any(questions.free)
        # Sixteen masks say little; where the answer is free text, a task says how many a masked model fills.
        generates = self.generation and (free or questions.model.kind != "masked")
        return tuple(other for other in others(questions.metric, free=free) if other != "generation" or generates)


def _moved(baselines: dict[Kind, Any], metrics: dict[str, Any]) -> list[str]:
    """Put baselines where they are true, beside the accuracy by scoring, and say so."""
    found = {kind.upper(): estimate for kind, estimate in baselines.items() if estimate is not None}
    if not found:
        return []
    told = {kind: None if estimate is None else estimate.to_json() for kind, estimate in baselines.items()}
    metrics["accuracy"] = {**(metrics.get("accuracy") or {}), "baselines": told}
    means = " and ".join(f"{name} ({estimate.mean:.1%})" for name, estimate in found.items())
    return [f"{means} are accuracies by scoring: they stand beside the accuracy, not beside the metric of this comparison."]


def _about_tokens(questions: Questions) -> str:
    longer, whole = questions.longer, len(questions.examples)
    return f"Top-k asks about the first token of an answer; {longer} of {whole} golden answers have more tokens than one."


def _of_task(questions: Questions, task: Task) -> Questions:
    """Another task, asked of the same model on its *test* split. Raises EmptySplit."""
    return Questions(questions.model, task, task.split("test"), task.metric, search_prompt=questions.judge.search_prompt)


@dataclass(frozen=True)
class _Asking:
    """One model and its plans, to be asked this and that."""

    questions: Questions
    plans: tuple[Plan, ...]
    seed: int
    workers: Workers
    allow_other_model: bool

    @property
    def model(self) -> LanguageModel:
        return self.questions.model

    def baseline(self, kind: Kind) -> Any:
        answers = calibrated(self.questions, kind, seed=self.seed, workers=self.workers)
        examples = self.questions.examples
        groups = [example.group or str(example.id) for example in examples]
        return estimate(answers.values, groups, [example.tags for example in examples], self.seed)

    def other(self, metric: str) -> dict[str, Any]:
        """Base and edited under another metric, and how many texts were no choice."""
        questions = self.questions.by(metric)
        found, answers = self._compared(questions, f"asking by {metric}")
        if metric == "generation" and not any(questions.free):
            unmatched = [float(np.mean(each.predictions < 0)) for each in answers]
            found["unmatched"] = {"base": unmatched[0], "edited": float(np.mean(unmatched[1:])) if self.plans else None}
        return found

    def task(self, task: Task) -> dict[str, Any]:
        """Means before and after on the *test* split of another task, and their difference."""
        found, _ = self._compared(_of_task(self.questions, task), f"asking {task.name}")
        means = {name: found[name] and found[name]["mean"] for name in ("base", "edited")}
        return {**found, **means, "metric": task.metric}

    def _compared(self, questions: Questions, stage: str) -> tuple[dict[str, Any], list[Answers]]:
        asked = [
            questions.answers(
                plan,
                stage=stage if plan.is_empty else f"{stage}, edited",
                allow_other_model=self.allow_other_model,
                workers=self.workers,
            )
            for plan in (Plan(), *self.plans)
        ]
        whole = comparison_of_answers(questions, asked[0], asked[1:] or asked, [], self.seed).to_json()
        return {name: whole[name] if self.plans or name == "base" else None for name in ("base", "edited", "difference")}, asked

    def perplexity(self, texts: Sequence[str], name: str, notes: list[str]) -> dict[str, Any]:
        """Perplexity of plain text before and after; after is None, and a note says so, where it is not finite."""
        rows = self.model.text_rows(texts)
        parts = list(row_chunks(rows, self.model.fed, CHUNK))
        tokens = sum(len(row.label_ids) for row in rows)
        key = journal_key("text", list(texts), CHUNK)
        edited: float | None = None
        base = perplexity_of(self._logprob(parts, key, Plan()), tokens)
        try:
            found = [perplexity_of(self._logprob(parts, key, plan), tokens) for plan in self.plans]
            edited = float(np.mean(found)) if found else None
        except NotFinite as error:
            notes.append(f"The perplexity of the edited model could not be measured: {error}")
        kind = "pseudo-perplexity" if self.model.kind == "masked" else "perplexity"
        return {"base": base, "edited": edited, "kind": kind, "text": name, "tokens": tokens}

    def _logprob(self, parts: Sequence[Sequence[Tokens]], key: str, plan: Plan) -> float:
        """Total log-probability of rows of text under a plan; each part is one item of work. Raises NotFinite."""
        stage = "reading plain text" if plan.is_empty else "reading plain text, edited"
        keys = [journal_key(key, plan.digest, place) for place in range(len(parts))]
        work = WithPlan(plan, self.model, _Reading(self.model), self.allow_other_model)
        return math.fsum(float(str(entry["logprob"])) for entry in self.workers.map(work, parts, keys, stage=stage))


@dataclass(frozen=True)
class _Reading:
    """Rows of plain text, read by a model as it is then."""

    model: LanguageModel

    def __call__(self, rows: Sequence[Tokens]) -> Entry:
        return {"logprob": self.model.rows_logprob(rows)}
