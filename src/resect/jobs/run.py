"""The job of any method: opens the inputs, searches, compares, and stores the results in a run folder. Prints nothing.

An interrupted job continues from the journal of the folder: an entry that exists is read, one that does not is computed.
"""

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from resect.core.comparison import Comparison
from resect.core.execution import Progress, Workers, no_progress
from resect.edits.effect_check import named_units
from resect.evaluation.compare import comparison_of_answers
from resect.methods.base import Found, Inputs, Method
from resect.models.language_model import LanguageModel
from resect.models.loading import load_config
from resect.runs.job_settings import Reads
from resect.runs.methods import as_method
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from .corpus_evaluation import CorpusEvaluation
from .evaluation import Evaluation, Measured
from .inputs import weights_digest
from .session import JobResult, environment_of, load, note_end, open_engine, take_batch_sizes
from .task_evaluation import TaskEvaluation
from .text_evaluation import TextEvaluation

EVALUATIONS: Mapping[Reads, type[Any]] = {Reads.TASK: TaskEvaluation, Reads.CORPORA: CorpusEvaluation, Reads.TEXT: TextEvaluation}
#: The demo locates on ambiguous items: the few errors of its model on clear ones have other reasons.
DEMO_SETTINGS: dict[str, Any] = {"locate_on": ("ambig",)}


def demo(progress: Progress = no_progress, output: str | None = None) -> JobResult:
    """Run the main job on the model and the task inside the package, in a new folder (runs/demo, runs/demo-2, …)."""
    package = Path(str(resources.files("resect.data") / "demo"))
    folder = output or str(_new_demo_folder())
    recipe = Recipe(model=str(package / "hill-and-river"), task=str(package / "task.toml"), output=folder, **DEMO_SETTINGS)
    return job(recipe, progress, fresh=True)


def job(
    recipe: Recipe, progress: Progress = no_progress, *, fresh: bool = False, batch_sizes: Mapping[str, int] | None = None
) -> JobResult:
    """Run the job of a recipe in its run folder; continues where an earlier call stopped.

    `batch_sizes`: those of another run of this recipe, so that both compute in the same batches.
    Raises RunMismatch for a folder of other settings, and what loading, searching and comparing raise.
    """
    started = time.monotonic()
    method, evaluation = open_job(recipe)  # wrong input is refused before a folder is started anew
    load_config(recipe.model, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    with Run.open(recipe.folder, recipe, fresh=fresh) as run:
        take_batch_sizes(run, batch_sizes)
        model = load(recipe, run)
        inputs = evaluation.prepare(model)
        run.agree({**evaluation.digests, "weights": weights_digest(model)})
        with open_engine(recipe, model, progress) as engine:
            workers = Workers(engine, run.journal, progress)
            evaluation.begin(workers)
            trials = [
                _run_trial(_Trial(trial_run, trial_method, evaluation, inputs, model), workers)
                for trial_run, trial_method in _trials(run, recipe, method)
            ]
            first = trials[0]
            comparison = None if first.measured is None else first.measured.comparison
            if len(trials) > 1:
                comparison = _compare_over_trials(run, recipe, trials, evaluation, workers)
        note_end(run, model, started, notes=[*first.notes, *_note_same_examples(trials), *model.notes])
        return JobResult(run.folder, first.found.plan, comparison)


def open_job(recipe: Recipe) -> tuple[Method, Evaluation]:
    """Returns the method of a recipe, and the evaluation of its plans with the data loaded. Raises InputError for wrong data."""
    method: Method = as_method(recipe.settings)
    return method, EVALUATIONS[method.inputs](recipe, method)


@dataclass(frozen=True)
class _Trial:
    """A search, its run folder, and its inputs."""

    run: Run
    method: Method
    evaluation: Evaluation
    inputs: Inputs
    model: LanguageModel


@dataclass(frozen=True)
class _TrialResult:
    """What a search found, and what its plans change (None: nothing is compared)."""

    found: Found
    measured: Measured | None
    notes: tuple[str, ...]


def _trials(run: Run, recipe: Recipe, method: Method) -> list[tuple[Run, Method]]:
    """Returns the run folder and the method of each trial. Trials share a journal: its keys name all that an entry depends on."""
    repetitions = recipe.settings.repetitions()
    if not repetitions:
        return [(run, method)]
    return [
        (run.part(number, recipe.with_settings(**changes)), method.repeated(changes)) for number, changes in enumerate(repetitions, start=1)
    ]


def _run_trial(trial: _Trial, workers: Workers) -> _TrialResult:
    """Search and compare, and store the results in the trial's folder."""
    run, evaluation = trial.run, trial.evaluation
    found = trial.method.search(trial.model, trial.inputs, workers)
    digests = {**evaluation.digests, **found.digests}
    if run.is_finished:  # before any file is overwritten
        run.agree(digests)
    _store(run, found)
    notes = (*found.notes, *evaluation.notes(found))
    measured = None
    if found.plans:
        measured = evaluation.measure(found, run, getattr(trial.method, "seed", 0), workers)
        run.keep_comparison(measured.comparison.to_json())
        notes = (*notes, *measured.notes)
        run.note(notes=list(notes), effect=dataclasses.asdict(measured.effect), **environment_of(trial.model))
    run.agree(digests)
    return _TrialResult(found, measured, notes)


def _store(run: Run, found: Found) -> None:
    """Store everything that a search found."""
    for name, value in found.artifacts.items():
        value.save(run.folder / name)
    if found.scores is not None:
        run.keep_scores(found.scores)
    if not found.plans:
        return
    if set(found.plans) != {""}:
        run.keep_plans(found.plans)
    else:
        run.write_trials(found.trials)
    run.keep_plan(found.plan)
    if found.analyses:
        run.keep_analyses(found.analyses)
    if found.exhibits:
        run.keep_exhibits(found.exhibits)


def _compare_over_trials(
    run: Run, recipe: Recipe, trials: Sequence[_TrialResult], evaluation: Evaluation, workers: Workers
) -> Comparison | None:
    """Returns the comparison of means over the trials, with how far they differ; it is stored with the first trial's plan."""
    answers = [trial.measured.answers for trial in trials if trial.measured is not None and trial.measured.answers is not None]
    first = answers[0]
    edited = [compared.edited for compared in answers]
    over_trials = comparison_of_answers(first.questions, first.base, edited, [compared.controls for compared in answers], first.seed)
    means = [values.mean for values in edited]
    spread = {
        "edited": means,
        "std": statistics.pstdev(means),
        "sizes": [named_units(trial.found.plan, first.questions.model.anatomy).count for trial in trials],
    }
    over_trials = dataclasses.replace(over_trials, other_metrics={**over_trials.other_metrics, "trials": spread})
    comparison = evaluation.measure_trials(over_trials, first, [trial.found.plan for trial in trials], workers)
    _store(run, trials[0].found)
    run.keep_examples(first.changed)
    run.keep_comparison(comparison.to_json())
    return comparison


def _note_same_examples(trials: Sequence[_TrialResult]) -> list[str]:
    """Returns a note where all trials drew the same sample."""
    examples = [str(trial.found.scores.provenance.get("examples")) for trial in trials if trial.found.scores is not None]
    if len(trials) == 1 or len(set(examples)) > 1:
        return []
    return ["All trials used the same examples, since there are no more: their agreement says nothing. Give more data."]


def _new_demo_folder() -> Path:
    number = 1
    while (folder := Path("runs") / ("demo" if number == 1 else f"demo-{number}")).exists():
        number += 1
    return folder
