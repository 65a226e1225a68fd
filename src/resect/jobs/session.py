"""What a job works with: the loaded model, batch sizes that outlive a kill, the engine, and the circumstances that are recorded.

Knows recipes and run folders; knows no method and no job.
"""

import time
from collections import UserDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from resect.core.comparison import Comparison
from resect.core.execution import Engine, Journal, LocalEngine, Progress, no_progress
from resect.edits.plan import Plan
from resect.models.language_model import LanguageModel
from resect.models.loading import load_model
from resect.runs.recipe import Recipe
from resect.runs.run_files import BATCH_SIZES
from resect.runs.run_folder import Run

from .inputs import model_of, model_settings


@dataclass(frozen=True)
class JobResult:
    """What a job left: its folder, the plan and the comparison in it (None: it only recorded counts)."""

    folder: Path
    plan: Plan
    comparison: Comparison | None


def load(recipe: Recipe, run: Run | None = None) -> LanguageModel:
    """The model of a recipe. In a run folder, batch sizes that were found before are used again."""
    model = model_of(recipe)
    if run is not None:
        model.batches.sizes = _KeptSizes(run.journal)
    return model


def take_batch_sizes(run: Run, sizes: Mapping[str, int] | None) -> None:
    """Have a run compute in the batches of another run of its recipe, unless it has found some of its own. Raises StorageFailure."""
    if sizes and run.journal.recall(BATCH_SIZES) is None:
        run.journal.keep(BATCH_SIZES, dict(sizes))


def note_end(run: Run, model: LanguageModel, started: float, **facts: Any) -> None:
    """Note how the work was done, and how long it took since `started`, with earlier calls that were interrupted. Raises StorageFailure."""
    before = run.environment().get("seconds", 0.0)
    run.note(seconds=round(before + time.monotonic() - started, 1), **facts, **circumstances(model))


def open_engine(recipe: Recipe, model: LanguageModel, progress: Progress = no_progress) -> AbstractContextManager[Engine]:
    """Who does the work of a recipe: this process, or workers on a Ray cluster for as long as the context lasts.

    Each worker loads the model as this process did; a folder is read at the same place on its own machine. Raises InputError where Ray is
    not installed or no cluster answers, WrongModel where a worker finds another model there, Failure.
    """
    if recipe.engine == "local":
        return nullcontext(LocalEngine())
    from .ray_engine import RayEngine

    kind = None if recipe.device_map else model.forward.device.type
    load = partial(load_model, **{**model_settings(recipe), "path": _absolute(recipe.model), "device": kind})
    return RayEngine(model, load, workers=recipe.ray_workers, address=recipe.ray_address, progress=progress)


def _absolute(path: str) -> str:
    """A folder of this machine with its whole path, since a worker may stand in another one; a Hub id as it is."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def circumstances(model: LanguageModel) -> dict[str, Any]:
    """How the work is done: what environment.json keeps."""
    return {
        "device": str(model.forward.device),
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "batch_sizes": dict(model.batches.sizes),
    }


class _KeptSizes(UserDict[str, int]):
    """Batch sizes by purpose that outlive a kill, so that a run that goes on computes in the same batches."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.data.update({name: int(str(size)) for name, size in (journal.recall(BATCH_SIZES) or {}).items()})

    def __setitem__(self, purpose: str, size: int) -> None:
        super().__setitem__(purpose, size)
        self._journal.keep(BATCH_SIZES, dict(self.data))
