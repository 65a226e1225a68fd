"""What stands beside a comparison: calibrated baselines, the other way of answering, perplexity on plain text, other tasks.

Knows what to ask and how its answers are set side by side; knows no method, and neither where the texts nor where the tasks come from.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .calibration import KINDS, Kind, calibrated
from .comparison import Comparison, estimate
from .errors import InputError, NotFinite
from .evaluation import compared_values
from .model import LanguageModel
from .plan import Plan
from .questions import Answers, Questions
from .tasks.base import Task
from .work import InMemory, Journal, silent

#: Which metric is shown beside which: the other way of answering.
OTHER_METRIC = {"accuracy": "generation", "generation": "accuracy", "logloss": "accuracy"}


@dataclass(frozen=True)
class Beside:
    """What is asked beside a comparison.

    Parameters
    ----------
    calibrate : which baselines of the unedited model: "cc", "dc"
    generation : whether text is generated where the metric of the comparison is accuracy
    texts : documents of plain text for the perplexity; none: it is not measured
    text_name : what the texts are called
    tasks : other tasks, compared on their *test* splits
    must : whether what cannot be measured is an error; else it is a note, and the rest is measured
    """

    calibrate: tuple[Kind, ...] = ()
    generation: bool = False
    texts: tuple[str, ...] = field(default=(), repr=False)
    text_name: str = ""
    tasks: tuple[Task, ...] = ()
    must: bool = False

    def measure(
        self,
        comparison: Comparison,
        questions: Questions,
        plans: Sequence[Plan],
        *,
        seed: int = 0,
        journal: Journal | None = None,
        allow_other_model: bool = False,
        **work: Any,
    ) -> tuple[Comparison, tuple[str, ...]]:
        """The comparison with all of it filled in, and sentences on what could not be measured.

        Parameters
        ----------
        comparison : of these questions, before and after the plans
        plans : one, or one a trial (outcomes are averaged over them); none: the model is measured as it is
        seed : of draws and resampling
        work : engine and progress

        Raises Failure; with `must` also InputError, for what cannot be measured.
        """
        asking = _Asking(questions, tuple(plans), seed, {"journal": journal or InMemory(), **work}, allow_other_model)
        notes: list[str] = []

        def tried(what: str, measure: Callable[..., Any], *given: Any) -> Any:
            try:
                return measure(*given)
            except (InputError, NotFinite) as error:
                if self.must:
                    raise
                notes.append(f"{what} could not be measured: {error}")
                return None

        baselines, metrics, effects = dict(comparison.baselines), dict(comparison.other_metrics), dict(comparison.side_effects)
        for kind in self.calibrate:
            baselines[kind] = tried(KINDS[kind].capitalize(), asking.baseline, kind)
        other = OTHER_METRIC[questions.metric]
        if other != "generation" or (self.generation and questions.model.kind != "masked"):
            metrics[other] = tried(f"The metric {other}", asking.other, other)
        if self.texts:
            effects["perplexity"] = tried("The perplexity", asking.perplexity, self.texts, self.text_name)
        for task in self.tasks:
            effects[task.name] = tried(f"The task {task.name}", asking.task, task)
        found = dataclasses.replace(comparison, baselines=baselines, other_metrics=metrics, side_effects=effects)
        return found, tuple(notes)


@dataclass(frozen=True)
class _Asking:
    """One model and its plans, to be asked this and that."""

    questions: Questions
    plans: tuple[Plan, ...]
    seed: int
    work: dict[str, Any]
    allow_other_model: bool

    @property
    def model(self) -> LanguageModel:
        return self.questions.model

    def baseline(self, kind: Kind) -> Any:
        answers = calibrated(self.questions, kind, seed=self.seed, **self.work)
        examples = self.questions.examples
        groups = [example.group or str(example.id) for example in examples]
        return estimate(answers.values, groups, [example.tags for example in examples], self.seed)

    def other(self, metric: str) -> dict[str, Any]:
        """Base and edited under another metric, and how many texts were no choice."""
        found, answers = self._compared(self.questions.by(metric), f"asking by {metric}")
        if metric == "generation":
            unmatched = [float(np.mean(each.predictions < 0)) for each in answers]
            found["unmatched"] = {"base": unmatched[0], "edited": float(np.mean(unmatched[1:])) if self.plans else None}
        return found

    def task(self, task: Task) -> dict[str, Any]:
        """Means before and after on the *test* split of another task, and their difference."""
        found, _ = self._compared(Questions(self.model, task, task.split("test")), f"asking {task.name}")
        return {**found, "base": found["base"]["mean"], "edited": found["edited"] and found["edited"]["mean"]}

    def _compared(self, questions: Questions, stage: str) -> tuple[dict[str, Any], list[Answers]]:
        asked = [
            questions.answers(
                plan, stage=stage if plan.is_empty else f"{stage}, edited", allow_other_model=self.allow_other_model, **self.work
            )
            for plan in (Plan(), *self.plans)
        ]
        whole = compared_values(questions, asked[0], asked[1:] or asked, [], self.seed).to_json()
        return {name: whole[name] if self.plans or name == "base" else None for name in ("base", "edited", "difference")}, asked

    def perplexity(self, texts: Sequence[str], name: str) -> dict[str, Any]:
        """Perplexity of plain text before and after."""
        base, *edited = [self._text_logprob(texts, plan) for plan in (Plan(), *self.plans)]
        return {
            "base": math.exp(-base[0] / base[1]),
            "edited": float(np.mean([math.exp(-total / tokens) for total, tokens in edited])) if edited else None,
            "kind": "pseudo-perplexity" if self.model.kind == "masked" else "perplexity",
            "text": name,
            "tokens": base[1],
        }

    def _text_logprob(self, texts: Sequence[str], plan: Plan) -> tuple[float, int]:
        journal, progress = self.work["journal"], self.work.get("progress", silent)
        key = f"text/{hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]}/{plan.digest}"
        held = journal.recall(key)
        if held is None:
            progress("reading plain text", 0, 1)
            with plan.applied(self.model, allow_other_model=self.allow_other_model):
                total, tokens = self.model.text_logprob(texts)
            held = {"logprob": total, "tokens": tokens}
            journal.keep(key, held)
            progress("reading plain text", 1, 1)
        return float(held["logprob"]), int(held["tokens"])
