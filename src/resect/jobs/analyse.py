"""`resect analyse RUN [WHAT…]`: further analyses of a finished run, as its method offers them, stored in its folder. Prints nothing.

Finished work is in the run's journal, so that a kill loses the item in flight; a complete analysis is in analyses.json.
"""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resect.core.errors import BadRecipe, InputError, UnknownName
from resect.core.execution import Progress, Workers, no_progress
from resect.core.exhibits import replaced
from resect.data.tasks.task import Task
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.methods.analyses.analysis import Analyses
from resect.methods.analyses.study import Study
from resect.runs.job_settings import Reads
from resect.runs.journal import lock
from resect.runs.methods import as_method, method_names, settings_class
from resect.runs.recipe import Recipe
from resect.runs.run_files import ANALYSES as ANALYSES_FILE
from resect.runs.run_files import LOCK
from resect.runs.run_folder import Run

from .inputs import task_of, text_name, texts_of, weights_digest
from .session import load

#: What is said of a text by which a plan was accepted.
ACCEPTED = ", of which every other passage has accepted the plan"
#: Settings that change no result, and yet cannot differ from the run's in its analyses; the others of that kind can.
FIXED = ("output", "anyway", "engine", "ray_address", "ray_workers")


def analyse(
    run: Run,
    what: Sequence[str] = (),
    *,
    counts: str | os.PathLike[str] | None = None,
    corpus: Sequence[str | os.PathLike[str]] = (),
    limit: int | None = None,
    progress: Progress = no_progress,
    **settings: Any,
) -> dict[str, Any]:
    """Analyse a finished run; the results by name, which are added to analyses.json.

    Parameters
    ----------
    run : as `Run.load` gives it, not opened to work in
    what : names of the method's analyses; none: all that fit the run
    counts, corpus : for the analysis "frequency" (see `resect.methods.analyses.frequency`)
    limit : use at most so many examples of the task in all; its splits keep their shares
    settings : of the recipe, those that change no result

    Raises UnknownName for an analysis that there is not; InputError for a run that is not finished or that an analysis does not fit, and
    says why; RunMismatch where the model or the data behind the run has changed, or another process works in its folder; what loading and
    asking raise.
    """
    method = as_method(run.recipe.settings)
    analyses = method.analyses()
    if not analyses:
        raise InputError(
            f"A run of {run.recipe.method} makes its analyses by itself: {run.folder / ANALYSES_FILE} and the report hold them."
        )
    given: dict[str, Any] = {name: value for name, value in (("counts", counts), ("corpus", tuple(corpus))) if value}
    if len(given) > 1:
        raise InputError("Counts are given or counted, not both: take --counts, or --corpus.")
    for name in what:
        if name not in analyses:
            _refuse_unknown(name, run.recipe.method, analyses)
    plan, recipe = _plan_of(run), _recipe_of(run, settings)
    complete = _task_of(recipe)
    task = complete if complete is None or limit is None else complete.limited(limit)
    selected = _fitting(run, analyses, tuple(what), plan, task, given)
    with _locked(run):
        run.analyses(), run.exhibits()  # a damaged file is reported before any work
        study = method.study(_study(run, recipe, plan, task, None if complete is None else complete.digest, progress))
        results: dict[str, Any] = {}
        for name in selected:
            analysis = analyses[name]
            options = {option: given.get(option) for option in analysis.options}
            limited = {} if limit is None else {"limit": limit}
            results[name] = {**analysis.compute(study, **options), **limited}
            run.keep_analyses({**run.analyses(), name: results[name]})
            run.keep_exhibits(replaced(run.exhibits(), analysis.exhibits(results[name], run.plan_json())))
    return results


def _refuse_unknown(name: str, method: str, analyses: Analyses) -> None:
    """Raises InputError for an analysis of another method, UnknownName for one that does not exist."""
    owners = [other for other in method_names() if name in settings_class(other).implementation().analyses()]
    if owners:
        raise InputError(f"{name} is an analysis of runs of {' and '.join(owners)}, and this is a run of {method}.")
    raise UnknownName("analysis", name, analyses)


def obstacle(name: str, analyses: Analyses, plan: Plan, task: Task | None, given: Collection[str] = ()) -> str | None:
    """Returns why an analysis does not fit a run, in a sentence; None where it does.

    given : the names of the options that are given
    """
    analysis = analyses[name]
    if analysis.needs_plan and plan.is_empty:
        without = ", ".join(other for other, each in analyses.items() if not each.needs_plan) or "none"
        return f"{name} compares before and after, and the plan of this run is empty: nothing was edited. Without a plan: {without}."
    if analysis.needs_task and task is None:
        without = ", ".join(other for other, each in analyses.items() if not each.needs_task)
        return f"{name} needs the questions of a task, and this run has none. Without a task: {without}."
    if task is None:
        return None
    if analysis.needs_choices and any(isinstance(example.gold, str) for example in task.examples):
        return f"{name} is about choices, and answers of the task {task.name!r} are free text."
    if analysis.options and not set(analysis.options) & set(given):
        return f"{name} needs one of {', '.join(f'--{option}' for option in analysis.options)} (see `resect analyse --help`)."
    reason = analysis.lacks(task)
    return None if reason is None else f"{name} {reason}"


def _fitting(run: Run, analyses: Analyses, what: tuple[str, ...], plan: Plan, task: Task | None, given: Collection[str]) -> tuple[str, ...]:
    """The analyses that are made. Raises InputError for one that was named, or has its options, and does not fit; or where none does."""
    reasons = {name: obstacle(name, analyses, plan, task, given) for name in analyses}
    with_options = [name for name, analysis in analyses.items() if set(analysis.options) & set(given)]
    if given and what and not set(with_options) & set(what):
        options = ", ".join(f"--{option}" for option in given)
        raise InputError(f"{options} is for the analysis {', '.join(with_options)}, which is none of {', '.join(what)}: name it too.")
    for name in what or with_options:
        if reasons[name] is not None:
            raise InputError(f"The run in {run.folder} cannot be analysed so: {reasons[name]}")
    selected = tuple(name for name, reason in reasons.items() if (name in what if what else reason is None))
    if not selected:
        raise InputError(f"No analysis fits the run in {run.folder}: {' '.join(reason for reason in reasons.values() if reason)}")
    return selected


def _plan_of(run: Run) -> Plan:
    """The plan of a finished run. Raises InputError."""
    if not run.is_finished:
        raise InputError(f"The run in {run.folder} is not finished; `resect run {run.folder / 'recipe.toml'}` finishes it.")
    return Plan.from_json(run.plan_json())


def _recipe_of(run: Run, settings: Mapping[str, Any]) -> Recipe:
    allowed = [key for key, declared in run.recipe.declarations.items() if not declared.changes_result and key not in FIXED]
    for name in settings:
        if name not in allowed:
            raise BadRecipe(f"An analysis has the settings of its run; {name} cannot differ. What can: {', '.join(allowed)}.")
    return run.recipe.with_settings(**settings) if settings else run.recipe


def _task_of(recipe: Recipe) -> Task | None:
    """The task as the run used it; None for a run without a task."""
    if not recipe.get("task"):
        return None
    task: Task = as_method(recipe.settings).prepare_task(task_of(recipe))
    return task


def _study(run: Run, recipe: Recipe, plan: Plan, task: Task | None, digest: str | None, progress: Progress) -> Study:
    """The model, loaded, and all that the analyses need. `digest`: of the complete task. Raises RunMismatch where that is another."""
    model, method = load(recipe, run), as_method(recipe.settings)
    digests = {"weights": weights_digest(model)}
    if digest is not None:
        digests["data or wording"] = digest
    run.agree(digests)
    plan.choose_forms(model)
    return Study(
        model=model,
        plan=plan,
        task=task,
        metric="accuracy" if task is None else method.metric_for(task),
        factors=SvdCache(model.anatomy),
        texts=texts_of(recipe.text),
        text_name=text_name(recipe.text) + (ACCEPTED if recipe.settings.inputs is Reads.TEXT else ""),
        seed=recipe.seed,
        workers=Workers(journal=run.journal, progress=progress),
    )


@contextlib.contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Keep other processes from working in the folder meanwhile. Raises RunMismatch, StorageFailure."""
    handle = lock(Path(run.folder) / LOCK)
    try:
        yield
    finally:
        os.close(handle)
