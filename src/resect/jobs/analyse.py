"""The act behind `resect analyse RUN [WHAT…]`: what can be found out about a run that is finished, kept in its folder. Prints nothing.

Work that is done is in the run's journal, so that a kill loses the item in flight; an analysis that is whole is in analyses.json.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resect.core.errors import BadRecipe, InputError, UnknownName
from resect.core.execution import Progress, Workers, no_progress
from resect.core.exhibits import replaced
from resect.data.tasks.task import Task
from resect.edits.plan import Plan
from resect.edits.svd_cache import SvdCache
from resect.evaluation.compare import PARAPHRASE
from resect.methods.laser.analyses.components import components
from resect.methods.laser.analyses.exhibits import exhibits
from resect.methods.laser.analyses.frequency import ENTITY, frequency
from resect.methods.laser.analyses.growth import growth
from resect.methods.laser.analyses.loss import loss
from resect.methods.laser.analyses.paraphrases import paraphrases
from resect.methods.laser.analyses.reduction import reduction
from resect.methods.laser.analyses.sliding import perplexity
from resect.methods.laser.analyses.spectra import spectra
from resect.methods.laser.analyses.study import Study
from resect.methods.laser.analyses.temperature import temperature
from resect.runs.job_settings import Reads
from resect.runs.journal import lock
from resect.runs.methods import as_method
from resect.runs.recipe import Recipe
from resect.runs.run_files import ANALYSES as ANALYSES_FILE
from resect.runs.run_files import LOCK
from resect.runs.run_folder import Run

from .inputs import task_of, text_name, texts_of, weights_digest
from .session import load

#: What is said of a text by which a plan was accepted.
ACCEPTED = ", of which every other passage has accepted the plan"
#: Settings that change no result, and yet cannot differ from the run's in its analyses; the others of that kind can.
FIXED = ("output", "engine", "ray_address", "ray_workers")


@dataclass(frozen=True)
class Analysis:
    """One analysis, and what a run must have for it."""

    ask: Callable[..., dict[str, Any]]
    matrices: bool = False
    plan: bool = True
    task: bool = True
    choices: bool = False


#: By name, in the order in which they are made (what each tells: `analyses.SENTENCES`).
ANALYSES: Mapping[str, Analysis] = {
    "spectra": Analysis(spectra, matrices=True, plan=False, task=False),
    "perplexity": Analysis(perplexity, task=False),
    "temperature": Analysis(temperature, choices=True),
    "paraphrases": Analysis(paraphrases),
    "frequency": Analysis(frequency),
    "growth": Analysis(growth, matrices=True),
    "reduction": Analysis(reduction, matrices=True),
    "components": Analysis(components, matrices=True),
    "loss": Analysis(loss, matrices=True, plan=False),
}


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
    """Analyse a finished run; the results by name, which analyses.json holds beside those of earlier calls.

    Parameters
    ----------
    run : as `Run.load` gives it, not opened to work in
    what : names of ANALYSES; none: all that fit the run
    counts, corpus : for "frequency" (see `analyses.frequency`)
    limit : use at most so many examples of the task in all; its splits keep their shares
    settings : of the recipe, those that change no result

    Raises UnknownName for an analysis that there is not; InputError for a run that is not finished or that an analysis does not fit, and
    says why; RunMismatch where the model or the data behind the run has changed, or another process works in its folder; what loading and
    asking raise.
    """
    if run.recipe.settings.inputs is Reads.CORPORA:
        raise InputError(
            f"A run of {run.recipe.method} on corpora makes its analyses by itself: {run.folder / ANALYSES_FILE} and the report hold them."
        )
    for name in what:
        if name not in ANALYSES:
            raise UnknownName("analysis", name, ANALYSES)
    if (counts is not None or corpus) and what and "frequency" not in what:
        raise InputError(f"Counts and a corpus are for the analysis frequency, which is none of {', '.join(what)}: name it too.")
    if counts is not None and corpus:
        raise InputError("Counts are given or counted, not both: take --counts, or --corpus.")
    plan, recipe = _plan_of(run), _recipe_of(run, settings)
    task = _task_of(recipe, limit)
    wanted = _fitting(run, tuple(what), plan, task, has_counts=counts is not None or bool(corpus))
    with _alone(run):
        run.analyses(), run.exhibits()  # a damaged file is reported before any work
        study = _study(run, recipe, plan, task, progress)
        found = {}
        for name in wanted:
            given = {"counts": counts, "corpus": corpus} if name == "frequency" else {}
            limited = {} if limit is None else {"limit": limit}
            found[name] = {**ANALYSES[name].ask(study, **given), **limited}
            run.keep_analyses({**run.analyses(), name: found[name]})
            run.keep_exhibits(replaced(run.exhibits(), exhibits({name: found[name]}, run.plan_json())))
    return found


def obstacle(name: str, run: Run, plan: Plan, task: Task | None, *, has_counts: bool = False) -> str | None:
    """Why an analysis does not fit a run, in a sentence; None where it does."""
    needs = ANALYSES[name]
    if needs.matrices and not hasattr(as_method(run.recipe.settings), "study_settings"):
        return f"{name} is about weight matrices, and a run of {run.recipe.method} reduces none; analyse a run that does."
    if needs.plan and plan.is_empty:
        return (
            f"{name} compares before and after, and the plan of this run is empty: nothing was edited. Without a plan: {_without_plan()}."
        )
    if needs.task and task is None:
        return f"{name} asks the questions of a task, and this run has none. Without a task: spectra, perplexity."
    if needs.choices and task is not None and any(isinstance(example.gold, str) for example in task.examples):
        return f"{name} is about choices, and answers of the task {task.name!r} are free text."
    return _lacks(name, task, has_counts)


def _lacks(name: str, task: Task | None, has_counts: bool) -> str | None:
    """What else two of the analyses need."""
    if task is not None and name == "paraphrases" and not _has_paraphrases(task):
        return f"{name} needs facts in several wordings (the tag {PARAPHRASE!r}, the field 'fact'), which the task {task.name!r} lacks."
    if task is not None and name == "frequency":
        if not has_counts:
            return f"{name} needs a CSV with the columns entity, answer, count (--counts FILE.csv), or text to count in (--corpus FILE…)."
        if not any(isinstance(example.fields.get(ENTITY), str) for example in task.examples):
            return f"{name} needs examples with the field {ENTITY!r}, which those of the task {task.name!r} lack."
    return None


def _has_paraphrases(task: Task) -> bool:
    return any(PARAPHRASE in example.tags and "fact" in example.fields for example in task.examples)


def _without_plan() -> str:
    return ", ".join(name for name, needs in ANALYSES.items() if not needs.plan)


def _fitting(run: Run, what: tuple[str, ...], plan: Plan, task: Task | None, *, has_counts: bool) -> tuple[str, ...]:
    """The analyses that are made. Raises InputError for one that was named and does not fit, or where none does."""
    reasons = {name: obstacle(name, run, plan, task, has_counts=has_counts) for name in ANALYSES}
    for name in what:
        if reasons[name] is not None:
            raise InputError(f"The run in {run.folder} cannot be analysed so: {reasons[name]}")
    if has_counts and not what and reasons["frequency"] is not None:
        raise InputError(f"The run in {run.folder} cannot be analysed so: {reasons['frequency']}")
    wanted = tuple(name for name, reason in reasons.items() if (name in what if what else reason is None))
    if not wanted:
        raise InputError(f"No analysis fits the run in {run.folder}: {' '.join(reason for reason in reasons.values() if reason)}")
    return wanted


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


def _task_of(recipe: Recipe, limit: int | None) -> Task | None:
    """The task as the run used it, all of it or limited; None for a run without a task."""
    if not recipe.get("task"):
        return None
    task: Task = as_method(recipe.settings).prepare_task(task_of(recipe))
    return task if limit is None else task.limited(limit)


def _study(run: Run, recipe: Recipe, plan: Plan, task: Task | None, progress: Progress) -> Study:
    """The model, loaded, and all that the analyses need. Raises RunMismatch where it is not what the run has seen."""
    model, method = load(recipe, run), as_method(recipe.settings)
    digests = {"weights": weights_digest(model)}
    if task is not None:
        digests["data or wording"] = method.prepare_task(task_of(recipe)).digest
    run.agree(digests)
    plan.forms_for(model)
    workers = Workers(journal=run.journal, progress=progress)
    searched = method.study_settings(model) if hasattr(method, "study_settings") else {}
    factors = method.svd_cache(model, workers) if hasattr(method, "svd_cache") else SvdCache(model.anatomy)
    return Study(
        model=model,
        plan=plan,
        task=task,
        metric="accuracy" if task is None else method.metric_for(task),
        factors=factors,
        texts=texts_of(recipe.text),
        text_name=text_name(recipe.text) + (ACCEPTED if recipe.settings.inputs is Reads.TEXT else ""),
        seed=recipe.seed,
        workers=workers,
        **searched,
    )


@contextlib.contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Keep other processes from working in the folder meanwhile. Raises RunMismatch, StorageFailure."""
    handle = lock(Path(run.folder) / LOCK)
    try:
        yield
    finally:
        os.close(handle)
