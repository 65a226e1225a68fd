"""The acts that find nothing and keep no run: evaluate tasks, try prompts, carry plans over to other tasks. Prints nothing.

With a folder to keep finished work in, what a kill interrupts goes on from there.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from resect.core.comparison import Comparison
from resect.core.errors import InputError
from resect.core.execution import Journal, MemoryJournal, Progress, Workers, no_progress
from resect.edits.effect_check import named_units
from resect.edits.plan import Plan
from resect.evaluation.compare import compare, comparison_of_answers, without_plan
from resect.evaluation.metrics import main
from resect.evaluation.questions import Questions
from resect.evaluation.side_effects import SideEffects
from resect.models.language_model import LanguageModel
from resect.runs.journal import FolderJournal, PrefixedJournal

from .inputs import task_named, text_name, texts_of, weights_digest


@dataclass(frozen=True)
class TransferredPlan:
    """A plan to be carried over: what people call it, and the task that it was found on, where that is known."""

    name: str
    plan: Plan
    found_on: str | None = None


def evaluate(
    model: LanguageModel,
    plan: Plan | None,
    tasks: Sequence[str],
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    *,
    allow_other_model: bool = False,
    keep: str | os.PathLike[str] | None = None,
) -> dict[str, Comparison]:
    """Comparisons by task on the test splits: the base model, and the edited one where a plan is given.

    Parameters
    ----------
    settings : those of a recipe that were given: data, template, instructions, split_by, limit, seed, metric, calibrate, generation, text
    keep : a folder in which finished work is kept

    Without a metric each task is compared by its own; "topk" is top10, with top1 and top5 beside it. What could not be measured beside a
    comparison is told by a warning.
    Raises what loading tasks, asking and calibrating raise; whatever can be refused is, before the first question.
    """
    seed = settings.get("seed") or 0
    asked = _asked(model, tasks, settings)
    texts = settings.get("text") or ()
    beside = SideEffects(
        calibrate=tuple(kind for kind in settings.get("calibrate") or () if kind != "none"),
        generation=settings.get("generation", True),
        texts=texts_of(texts),
        text_name=text_name(texts),
        must=True,
    )
    workers = Workers(journal=_journal(keep, model), progress=progress)
    for questions in asked:
        beside.check(questions)
    found = {}
    for questions in asked:
        task = questions.task
        compared = compare(
            model, plan or Plan(), task, metric=questions.metric, seed=seed, allow_other_model=allow_other_model, workers=workers
        )
        comparison = compared.comparison if plan is not None else without_plan(compared.comparison)
        plans = [] if plan is None else [plan]
        found[task.name], notes = beside.measure(
            comparison, compared.questions, plans, seed=seed, allow_other_model=allow_other_model, workers=workers
        )
        for note in notes:
            warnings.warn(f"{task.name}: {note}", stacklevel=2)
    return found


def transfer(
    model: LanguageModel,
    plans: Sequence[TransferredPlan],
    tasks: Sequence[str],
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    *,
    allow_other_model: bool = False,
    keep: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """What plans that were found on some tasks do to others: plans × tasks, each against the model as it is, on the test splits.

    Returns a JSON object: `tasks`, `plans` (name, found_on, cut), `metric`, `base` {task: estimate}, and `results`, a row a plan and in it
    for each task `edited` and `difference`. Where tasks are compared by metrics that differ, `metric` is None. `metrics`: that of each
    task. Parameters and errors as of `evaluate`.

    Source: Yang et al. 2024 (US 2025/0259059 A1, FIG. 5).
    """
    seed = settings.get("seed") or 0
    asked = _asked(model, tasks, settings)
    for carried in plans:
        carried.plan.forms_for(model, allow_other_model=allow_other_model)
    answers = partial(
        Questions.answers, allow_other_model=allow_other_model, workers=Workers(journal=_journal(keep, model), progress=progress)
    )
    base: dict[str, Any] = {}
    results: list[list[dict[str, Any]]] = [[] for _ in plans]
    for questions in asked:
        task = questions.task
        before = answers(questions, Plan(), stage=f"{task.name}, as it is")
        for row, carried in zip(results, plans, strict=True):
            after = before if carried.plan.is_empty else answers(questions, carried.plan, stage=f"{task.name}, {carried.name}")
            compared = comparison_of_answers(questions, before, [after], [], seed).to_json()
            base[task.name] = compared["base"]
            row.append({"edited": compared["edited"], "difference": compared["difference"]})
    return {
        "tasks": [questions.task.name for questions in asked],
        "plans": [
            {"name": carried.name, "found_on": carried.found_on, "cut": named_units(carried.plan, model.anatomy).count} for carried in plans
        ],
        "metric": asked[0].metric if len({questions.metric for questions in asked}) == 1 else None,
        "metrics": {questions.task.name: questions.metric for questions in asked},
        "base": base,
        "results": results,
    }


def try_plan(
    model: LanguageModel, plan: Plan, prompts: Sequence[str], *, allow_other_model: bool = False, max_new_tokens: int = 32
) -> list[tuple[str, str, str]]:
    """For each prompt what the model says before and after the plan, greedily."""
    plan.forms_for(model, allow_other_model=allow_other_model)  # before anything is asked
    before = model.generate(prompts, max_new_tokens)
    with plan.applied(model, allow_other_model=allow_other_model):
        after = model.generate(prompts, max_new_tokens)
    return list(zip(prompts, before, after, strict=True))


def _asked(model: LanguageModel, tasks: Sequence[str], settings: Mapping[str, Any]) -> list[Questions]:
    """The questions of each task, worded and encoded once, so that the last is refused before the first is asked."""
    found: dict[str, Questions] = {}
    for name in tasks:
        task = task_named(name, tasks, settings)
        questions = Questions(model, task, task.split("test"), main(settings.get("metric") or task.metric))
        questions.check()
        if task.name in found:
            raise InputError(f"Two of the tasks are called {task.name!r}; give each once, or another `name` in a task file.")
        found[task.name] = questions
    return list(found.values())


def _journal(folder: str | os.PathLike[str] | None, model: LanguageModel) -> Journal:
    """Where finished work is kept. Answers of one model, in one number type, are never taken for another's."""
    if folder is None:
        return MemoryJournal()
    prefix = f"{weights_digest(model)}/{model.model.dtype}"
    return PrefixedJournal(FolderJournal(Path(folder) / "journal"), prefix)
