"""The jobs: locate, search, compare, and keep what came out in a run folder. Prints nothing, and knows no command line.

Whatever a kill interrupts goes on from the journal of the folder: an entry that is there is read, one that is not is made.
"""

import dataclasses
import statistics
import time
from collections import UserDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from . import control
from .beside import Beside
from .comparison import Comparison
from .effect import named_units, verify_effect
from .errors import InputError
from .evaluation import Compared, compare, compared_values
from .inputs import beside_of, model_of, task_of, weights_digest
from .loading import load_config
from .methods.base import Found
from .methods.crispr import Crispr
from .model import LanguageModel
from .plan import Plan
from .questions import Questions
from .recipe import Recipe
from .store import BATCH_SIZES, Run
from .tasks.base import Task
from .work import Journal, Progress, silent

#: Random plans behind the control of a report.
CONTROL_DRAWS = 3
#: Examples, of those that found the neurons, that show whether the final plan does anything.
PROBES = 4
#: What the demo looks at: ambiguous items, since its model's few errors on clear ones have other reasons.
DEMO_SETTINGS: dict[str, Any] = {"locate_on": ("ambig",)}


@dataclass(frozen=True)
class Outcome:
    """What a job left: its folder, the plan and the comparison in it."""

    folder: Path
    plan: Plan
    comparison: Comparison


def demo(progress: Progress = silent, output: str | None = None) -> Outcome:
    """The main job on the model and the task inside the package, in a fresh folder (runs/demo, runs/demo-2, …)."""
    inside = Path(str(resources.files("resect") / "demo_data"))
    folder = output or str(_free_folder())
    recipe = Recipe(model=str(inside / "hill-and-river"), task=str(inside / "task.toml"), output=folder, **DEMO_SETTINGS)
    return crispr(recipe, progress, fresh=True)


def crispr(recipe: Recipe, progress: Progress = silent, *, fresh: bool = False, batch_sizes: Mapping[str, int] | None = None) -> Outcome:
    """CRISPR from the recipe to the comparison, in the recipe's run folder; goes on where an earlier call stopped.

    `batch_sizes`: those of another run of this recipe, to compute in the same batches.
    Raises RunMismatch for a folder of other settings, and what loading, locating, searching and comparing raise.
    """
    started = time.monotonic()
    method, beside = method_of(recipe), beside_of(recipe)
    task_of(recipe)  # wrong input is refused before a folder is started anew
    load_config(recipe.model, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    with Run.open(recipe.folder, recipe, fresh=fresh) as run:
        if batch_sizes and run.journal.recall(BATCH_SIZES) is None:
            run.journal.keep(BATCH_SIZES, dict(batch_sizes))
        model, task = prepare(recipe, method, run)
        for other in beside.tasks:
            Questions(model, other, other.split("test")).check()
        run.agree({"data or wording": task.digest, "weights": weights_digest(model)})
        parts = _parts(run, recipe, method)
        results = [_one(part, trial, model, task, beside, run.journal, progress) for part, trial in parts]
        first = results[0]
        comparison = first.comparison
        if len(results) > 1:
            comparison, _ = beside.measure(
                _over_trials(results),
                first.compared.questions,
                [result.found.plan for result in results],
                seed=recipe.seed,
                journal=run.journal,
                progress=progress,
            )
            _keep(run, first.found)
            run.keep_examples(first.compared.changed)
            run.keep_comparison(comparison.to_json())
        before = run.environment().get("seconds", 0.0)  # of earlier calls that were interrupted
        run.note(notes=[*first.notes, *_alike(results)], seconds=round(before + time.monotonic() - started, 1), **_circumstances(model))
        return Outcome(run.folder, first.found.plan, comparison)


def _parts(run: Run, recipe: Recipe, method: Crispr) -> list[tuple[Run, Crispr]]:
    """The folder and the settings of each trial. `official` averages the scores of its draws into one ranking instead."""
    if recipe.trials == 1 or method.draws > 1:
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
    compared: Compared
    comparison: Comparison
    notes: tuple[str, ...]


def _one(run: Run, method: Crispr, model: LanguageModel, task: Task, beside: Beside, journal: Journal, progress: Progress) -> _Result:
    """One trial, kept in its folder. Trials share a journal, since its keys name all that an entry depends on."""
    work: dict[str, Any] = {"journal": journal, "progress": progress}
    found = method.search(model, task, **work)
    _keep(run, found)
    effect = verify_effect(found.plan, model, _probe(model, task, method))
    controls = control.like(found.plan, model, method.seed, draws=CONTROL_DRAWS) if found.plan.edits else ()
    metric = method.metric or "accuracy"
    compared = compare(model, found.plan, task, controls=controls, metric=metric, seed=method.seed, **work)
    run.keep_examples(compared.changed)
    comparison, missed = beside.measure(compared.comparison, compared.questions, [found.plan], seed=method.seed, **work)
    run.keep_comparison(comparison.to_json())
    notes = (*found.notes, *missed)
    run.note(notes=list(notes), effect=dataclasses.asdict(effect), **_circumstances(model))
    return _Result(found, compared, comparison, notes)


def _keep(run: Run, found: Found) -> None:
    if found.scores is None:
        raise InputError("This method saw no scores.")
    run.keep_scores(found.scores)
    run.write_trials(found.trials)
    run.keep_plan(found.plan)


def _over_trials(results: Sequence[_Result]) -> Comparison:
    """Accuracies averaged over the trials, each pair with itself, and how far the trials lie apart."""
    first = results[0].compared
    edited, controls = [each.compared.edited for each in results], [each.compared.controls for each in results]
    together = compared_values(first.questions, first.base, edited, controls, first.seed)
    means = [answers.mean for answers in edited]
    trials = {
        "edited": means,
        "std": statistics.pstdev(means),
        "sizes": [named_units(result.found.plan, first.questions.model.anatomy).count for result in results],
    }
    return dataclasses.replace(together, other_metrics={**together.other_metrics, "trials": trials})


def prepare(recipe: Recipe, method: Crispr, run: Run | None = None) -> tuple[LanguageModel, Task]:
    """The model and the task of a job, once nothing is left that could be refused hours later.

    Raises what loading, drawing and wording raise, and EmptySplit, PromptTooLong.
    """
    task = method.asked(task_of(recipe))
    method.draw(task)  # before gigabytes are read for a task that will not do
    task.split("test")
    model = load(recipe, run)
    method.check(model, task)
    Questions(model, task, task.examples).check()
    return model, task


def load(recipe: Recipe, run: Run | None = None) -> LanguageModel:
    """The model of a recipe. In a run folder, batch sizes that were found before are used again."""
    model = model_of(recipe)
    if run is not None:
        model.batches.sizes = _KeptSizes(run.journal)
    return model


def method_of(recipe: Recipe) -> Crispr:
    """The settings of CRISPR that a recipe holds."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    settings = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Crispr) if field.name in known}
    draws = recipe.trials if recipe.variant == "official" else 1
    return Crispr(**settings, draws=draws)


class _KeptSizes(UserDict[str, int]):
    """Batch sizes by purpose that outlive a kill, so that a run that goes on computes in the same batches."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.data.update({name: int(str(size)) for name, size in (journal.recall(BATCH_SIZES) or {}).items()})

    def __setitem__(self, purpose: str, size: int) -> None:
        super().__setitem__(purpose, size)
        self._journal.keep(BATCH_SIZES, dict(self.data))


def _probe(model: LanguageModel, task: Task, method: Crispr) -> Any:
    questions = Questions(model, task, method.draw(task)[:PROBES])
    return lambda: questions.flat_logprobs(0)


def _alike(results: Sequence[_Result]) -> list[str]:
    """A sentence where the trials say nothing of the samples, since these are the same."""
    looked_at = [str(result.found.scores.provenance.get("examples")) for result in results if result.found.scores is not None]
    if len(results) == 1 or len(set(looked_at)) > 1:
        return []
    return ["All trials looked at the same examples, since there are no more: that they agree says nothing. Give more data."]


def _circumstances(model: LanguageModel) -> dict[str, Any]:
    return {
        "device": str(model.forward.device),
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "batch_sizes": dict(model.batches.sizes),
    }


def _free_folder() -> Path:
    number = 1
    while (folder := Path("runs") / ("demo" if number == 1 else f"demo-{number}")).exists():
        number += 1
    return folder
