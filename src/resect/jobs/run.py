"""The jobs: locate, search, compare, and keep what came out in a run folder. Prints nothing, and knows no command line.

Whatever a kill interrupts goes on from the journal of the folder: an entry that is there is read, one that is not is made.
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
from resect.data.tasks.task import Task
from resect.edits import controls as control
from resect.edits.effect_check import named_units, verify_effect
from resect.edits.plan import Plan
from resect.evaluation.compare import AnswerComparison, compare, comparison_of_answers
from resect.evaluation.metrics import main
from resect.evaluation.questions import Questions
from resect.evaluation.side_effects import SideEffects
from resect.methods.base import Found
from resect.methods.crispr.crispr import Crispr
from resect.methods.laser.laser import Laser
from resect.models.language_model import LanguageModel
from resect.models.loading import load_config
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

from . import denoising_job
from .inputs import side_effects_of, task_of, weights_digest
from .session import CONTROL_DRAWS, JobResult, circumstances, factors_of, load, note_end, open_engine, state_memory_of, take_batch_sizes

#: Examples, of those that found the neurons, that show whether the final plan does anything.
PROBES = 4
Method = Crispr | Laser
#: What the demo looks at: ambiguous items, since its model's few errors on clear ones have other reasons.
DEMO_SETTINGS: dict[str, Any] = {"locate_on": ("ambig",)}


def demo(progress: Progress = no_progress, output: str | None = None) -> JobResult:
    """The main job on the model and the task inside the package, in a fresh folder (runs/demo, runs/demo-2, …)."""
    inside = Path(str(resources.files("resect.data") / "demo"))
    folder = output or str(_free_folder())
    recipe = Recipe(model=str(inside / "hill-and-river"), task=str(inside / "task.toml"), output=folder, **DEMO_SETTINGS)
    return job(recipe, progress, fresh=True)


def job(
    recipe: Recipe, progress: Progress = no_progress, *, fresh: bool = False, batch_sizes: Mapping[str, int] | None = None
) -> JobResult:
    """From the recipe to the comparison, by whatever method, in the recipe's run folder; goes on where an earlier call stopped.

    `batch_sizes`: those of another run of this recipe, to compute in the same batches.
    Raises RunMismatch for a folder of other settings, and what loading, locating, searching and comparing raise.
    """
    if recipe.method == "lape":
        from . import language_job

        return language_job.job(recipe, progress, fresh=fresh, batch_sizes=batch_sizes)
    if recipe.task_free:
        return denoising_job.job(recipe, progress, fresh=fresh, batch_sizes=batch_sizes)
    started = time.monotonic()
    method, beside = method_of(recipe), side_effects_of(recipe)
    task = method.asked(task_of(recipe))  # wrong input is refused before a folder is started anew
    load_config(recipe.model, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    with Run.open(recipe.folder, recipe, fresh=fresh) as run:
        take_batch_sizes(run, batch_sizes)
        model = prepare(recipe, method, task, run)
        beside.check(Questions(model, task, task.split("test"), metric_of(method, task)))
        run.agree({"data or wording": task.digest, "weights": weights_digest(model)})
        with open_engine(recipe, model, progress) as engine:
            work = _Work(recipe, model, task, beside, Workers(engine, run.journal, progress))
            results = [work.one(part, trial) for part, trial in _parts(run, recipe, method)]
            first = results[0]
            comparison = first.comparison
            if len(results) > 1:
                comparison = work.together(run, results)
        note_end(run, model, started, notes=[*first.notes, *_alike(results)])
        return JobResult(run.folder, first.found.plan, comparison)


def _parts(run: Run, recipe: Recipe, method: Method) -> list[tuple[Run, Method]]:
    """The folder and the settings of each trial. `official` averages the scores of its draws into one ranking instead."""
    if recipe.trials == 1 or (isinstance(method, Crispr) and method.draws > 1):
        return [(run, method)]
    seeds = [recipe.seed + trial for trial in range(recipe.trials)]
    return [
        (run.part(number, recipe.with_settings(trials=1, seed=seed)), dataclasses.replace(method, seed=seed))
        for number, seed in enumerate(seeds, start=1)
    ]


@dataclass(frozen=True)
class _Result:
    """What one trial found, and what it changes."""

    found: Found
    compared: AnswerComparison
    comparison: Comparison
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """What all trials of a job have in common. They share a journal, since its keys name all that an entry depends on."""

    recipe: Recipe
    model: LanguageModel
    task: Task
    beside: SideEffects
    workers: Workers

    def one(self, run: Run, method: Method) -> _Result:
        """One trial, kept in its folder."""
        model, workers = self.model, self.workers
        found = self._search(method)
        _keep(run, found)
        effect = verify_effect(found.plan, model, self._probe(method))
        controls = control.like(found.plan, model, method.seed, draws=CONTROL_DRAWS) if found.plan.edits else ()
        metric = metric_of(method, self.task)
        said = isinstance(method, Laser) and method.searches_prompt(model, self.task)
        compared = compare(
            model, found.plan, self.task, controls=controls, metric=metric, seed=method.seed, search_prompt=said, workers=workers
        )
        run.keep_examples(compared.changed)
        plans = [found.plan]
        comparison, missed = self.beside.measure(compared.comparison, compared.questions, plans, seed=method.seed, workers=workers)
        facts = {**comparison.other_metrics, **self._facts(found, compared)}
        comparison = dataclasses.replace(comparison, other_metrics=facts)
        run.keep_comparison(comparison.to_json())
        notes = (*found.notes, *missed)
        run.note(notes=list(notes), effect=dataclasses.asdict(effect), **circumstances(model))
        return _Result(found, compared, comparison, notes)

    def together(self, run: Run, results: Sequence[_Result]) -> Comparison:
        """What several trials come to, kept beside the first one's plan."""
        first, plans = results[0], [result.found.plan for result in results]
        comparison, _ = self.beside.measure(
            _over_trials(results), first.compared.questions, plans, seed=self.recipe.seed, workers=self.workers
        )
        _keep(run, first.found)
        run.keep_examples(first.compared.changed)
        run.keep_comparison(comparison.to_json())
        return comparison

    def _search(self, method: Method) -> Found:
        if isinstance(method, Crispr):
            return method.search(self.model, self.task, self.workers)
        factors, memory = factors_of(self.recipe, self.model), state_memory_of(self.recipe)
        return method.search(self.model, self.task, self.workers, texts=self.beside.texts, factors=factors, state_memory=memory)

    def _facts(self, found: Found, compared: AnswerComparison) -> dict[str, Any]:
        """What the search has to tell; a composition step by step on the *test* split too, of which the search knew nothing."""
        if "composition" not in found.facts:
            return dict(found.facts)
        edits, curve = found.plan.edits, []
        for step, point in enumerate(found.facts["composition"]):
            stage = f"composition, {step} of {len(edits)}"
            curve.append({**point, "test": compared.questions.answers(Plan(edits[:step]), stage=stage, workers=self.workers).mean})
        return {**found.facts, "composition": curve}

    def _probe(self, method: Method) -> Any:
        """Examples that the search saw, to see whether the final plan does anything."""
        seen = method.draw(self.task) if isinstance(method, Crispr) else self.task.split("select")
        metric = "accuracy" if isinstance(method, Crispr) else "logloss"
        questions = Questions(self.model, self.task, seen[:PROBES], metric)
        return lambda: questions.flat_logprobs(0)


def _keep(run: Run, found: Found) -> None:
    if found.scores is not None:
        run.keep_scores(found.scores)
    run.write_trials(found.trials)
    run.keep_plan(found.plan)


def _over_trials(results: Sequence[_Result]) -> Comparison:
    """Accuracies averaged over the trials, each pair with itself, and how far the trials lie apart."""
    first = results[0].compared
    edited, controls = [each.compared.edited for each in results], [each.compared.controls for each in results]
    together = comparison_of_answers(first.questions, first.base, edited, controls, first.seed)
    means = [answers.mean for answers in edited]
    trials = {
        "edited": means,
        "std": statistics.pstdev(means),
        "sizes": [named_units(result.found.plan, first.questions.model.anatomy).count for result in results],
    }
    return dataclasses.replace(together, other_metrics={**together.other_metrics, "trials": trials})


def prepare(recipe: Recipe, method: Method, task: Task, run: Run | None = None) -> LanguageModel:
    """The model of a job, once nothing is left that could be refused hours later. `task` as the method asks it.

    Raises what loading, drawing and wording raise, and EmptySplit, PromptTooLong.
    """
    if isinstance(method, Crispr):
        method.draw(task)  # before gigabytes are read for a task that will not do
    else:
        task.split("select")
    task.split("test")
    model = load(recipe, run)
    method.check(model, task)
    Questions(model, task, task.examples, metric_of(method, task)).check()
    return model


def method_of(recipe: Recipe) -> Method:
    """The method of a recipe, with its settings."""
    if recipe.method == "laser":
        settings = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(Laser) if hasattr(recipe, f.name)}
        return Laser(**{**settings, "rhos": recipe.rho, "metric": recipe.metric and main(recipe.metric)})
    settings = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(Crispr) if hasattr(recipe, f.name)}
    draws = recipe.trials if recipe.variant == "official" else 1
    return Crispr(**{**settings, "sites": recipe.sites or "*", "draws": draws})


def metric_of(method: Method, task: Task) -> str:
    """By what a job chooses and compares: as its settings say; else CRISPR by the most probable choice, LASER as the task is reported."""
    return method.metric or ("accuracy" if isinstance(method, Crispr) else task.metric)


def _alike(results: Sequence[_Result]) -> list[str]:
    """A sentence where the trials say nothing of the samples, since these are the same."""
    looked_at = [str(result.found.scores.provenance.get("examples")) for result in results if result.found.scores is not None]
    if len(results) == 1 or len(set(looked_at)) > 1:
        return []
    return ["All trials looked at the same examples, since there are no more: that they agree says nothing. Give more data."]


def _free_folder() -> Path:
    number = 1
    while (folder := Path("runs") / ("demo" if number == 1 else f"demo-{number}")).exists():
        number += 1
    return folder
