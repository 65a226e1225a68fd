"""Evaluates plans outside a run: on tasks, on other tasks than those they were found on, and on single prompts. Prints nothing.

With a journal folder, what was finished before an interruption is not computed again.
"""

import itertools
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from resect.core.comparison import Comparison
from resect.core.errors import InputError
from resect.core.execution import MemoryJournal, Progress, Workers, no_progress
from resect.edits.effect_check import named_units
from resect.edits.plan import Plan
from resect.evaluation.compare import compare, comparison_of_answers, judged, without_plan
from resect.evaluation.metrics import main_metric
from resect.evaluation.questions import Questions
from resect.evaluation.side_effects import SideEffects
from resect.models.language_model import LanguageModel
from resect.runs.journal import FolderJournal
from resect.runs.looks import note_evaluation

from .inputs import task_named, text_name, texts_of, weights_digest
from .session import journal_for


@dataclass(frozen=True)
class TransferredPlan:
    """A plan to evaluate on other tasks: its name in the results, and the task that it was found on, where that is known."""

    name: str
    plan: Plan
    found_on: str | None = None


def evaluate_tasks(
    model: LanguageModel,
    plan: Plan | None,
    tasks: Sequence[str],
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    *,
    allow_other_model: bool = False,
    journal_folder: str | os.PathLike[str] | None = None,
) -> dict[str, Comparison]:
    """Returns comparisons on the test splits by task: of the base model, and of the edited one where a plan is given.

    Parameters
    ----------
    settings : those of a recipe that were given: data, template, instructions, split_by, limit, seed, metric, calibrate, generation, text
    journal_folder : where finished work is stored

    Without a metric each task is compared by its own; "topk" is top10, with top1 and top5 in addition. A warning says which side effect
    could not be measured.
    Raises what loading tasks, answering and calibrating raise; whatever can be refused is refused before the first question is answered.
    """
    seed = settings.get("seed") or 0
    questions_by_task = _questions_by_task(model, tasks, settings)
    texts = settings.get("text") or ()
    side_effects = SideEffects(
        calibrate=tuple(kind for kind in settings.get("calibrate") or () if kind != "none"),
        generation=settings.get("generation", True),
        texts=texts_of(texts),
        text_name=text_name(texts),
        must=True,
    )
    workers = _workers(model, journal_folder, progress)
    for questions in questions_by_task.values():
        side_effects.check(questions)
    comparisons = {}
    _note_looks("resect evaluate", model, [] if plan is None else [plan], questions_by_task)
    for name, questions in questions_by_task.items():
        compared = compare(
            model, plan or Plan(), questions.task, metric=questions.metric, seed=seed, allow_other_model=allow_other_model, workers=workers
        )
        comparison = compared.comparison if plan is not None else without_plan(compared.comparison)
        plans = [] if plan is None else [plan]
        comparisons[name], notes = side_effects.measure(
            comparison, compared.questions, plans, seed=seed, allow_other_model=allow_other_model, workers=workers
        )
        if plan is not None:
            comparisons[name] = judged(comparisons[name], plan)
        for note in notes:
            warnings.warn(f"{name}: {note}", stacklevel=2)
    return comparisons


def evaluate_transfer(
    model: LanguageModel,
    plans: Sequence[TransferredPlan],
    tasks: Sequence[str],
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
    *,
    allow_other_model: bool = False,
    journal_folder: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Returns what each plan changes on each task, against the unedited model, on the test splits.

    Returns a JSON object: `tasks`; `plans` (name, found_on, cut); `metric`, None where tasks are compared by different ones; `metrics` by
    task; `base` {task: estimate}; and `results`, a row for each plan with `edited` and `difference` for each task. Parameters and errors
    are those of `evaluate_tasks`.

    Source: Yang et al. 2024 (US 2025/0259059 A1, FIG. 5).
    """
    seed = settings.get("seed") or 0
    questions_by_task = _questions_by_task(model, tasks, settings)
    for transferred in plans:
        transferred.plan.choose_forms(model, allow_other_model=allow_other_model)
    _note_looks("resect transfer", model, [transferred.plan for transferred in plans], questions_by_task)
    answers = partial(Questions.answers, allow_other_model=allow_other_model, workers=_workers(model, journal_folder, progress))
    base: dict[str, Any] = {}
    results: list[list[dict[str, Any]]] = [[] for _ in plans]
    for name, questions in questions_by_task.items():
        before = answers(questions, Plan(), stage=f"{name}, unedited")
        for row, transferred in zip(results, plans, strict=True):
            plan = transferred.plan
            after = before if plan.is_empty else answers(questions, plan, stage=f"{name}, {transferred.name}")
            compared = comparison_of_answers(questions, before, [after], [], seed).to_json()
            base[name] = compared["base"]
            row.append({"edited": compared["edited"], "difference": compared["difference"]})
    metrics = {name: questions.metric for name, questions in questions_by_task.items()}
    return {
        "tasks": list(questions_by_task),
        "plans": [{"name": plan.name, "found_on": plan.found_on, "cut": named_units(plan.plan, model.anatomy).count} for plan in plans],
        "metric": next(iter(metrics.values())) if len(set(metrics.values())) == 1 else None,
        "metrics": metrics,
        "base": base,
        "results": results,
    }


def try_prompts(
    model: LanguageModel, plan: Plan, prompts: Sequence[str], *, allow_other_model: bool = False, max_new_tokens: int = 32
) -> list[tuple[str, str, str]]:
    """Returns each prompt with the model's greedy answer before and after the plan."""
    plan.choose_forms(model, allow_other_model=allow_other_model)  # refuses before anything is generated
    before = model.generate(prompts, max_new_tokens)
    with plan.applied(model, allow_other_model=allow_other_model):
        after = model.generate(prompts, max_new_tokens)
    return list(zip(prompts, before, after, strict=True))


def _questions_by_task(model: LanguageModel, tasks: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Questions]:
    """Returns the checked questions of every test split by the task's name, so that the last task is refused before work on the first."""
    by_task: dict[str, Questions] = {}
    for name in tasks:
        task = task_named(name, tasks, settings)
        questions = Questions(model, task, task.split("test"), main_metric(settings.get("metric") or task.metric))
        questions.check()
        if task.name in by_task:
            raise InputError(f"Two of the tasks are called {task.name!r}; give each once, or another `name` in a task file.")
        by_task[task.name] = questions
    return by_task


def _note_looks(command: str, model: LanguageModel, plans: Sequence[Plan], questions_by_task: Mapping[str, Questions]) -> None:
    """Note in the ledger of looks that the *test* splits are looked at under each plan."""
    weights = cache(partial(weights_digest, model))
    for plan, questions in itertools.product(plans, questions_by_task.values()):
        if not plan.is_empty:
            note_evaluation(command, questions.task, model.name, weights, plan.digest)


def _workers(model: LanguageModel, journal_folder: str | os.PathLike[str] | None, progress: Progress) -> Workers:
    if journal_folder is None:
        return Workers(journal=MemoryJournal(), progress=progress)
    return Workers(journal=journal_for(model, FolderJournal(Path(journal_folder) / "journal")), progress=progress)
