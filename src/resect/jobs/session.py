"""What a job works with: the loaded model, batch sizes that survive an interruption, the journal, the engine, and the recorded environment.

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
from resect.runs.journal import PrefixedJournal
from resect.runs.recipe import Recipe
from resect.runs.run_files import BATCH_SIZES
from resect.runs.run_folder import Run

from .inputs import model_of, model_settings, weights_digest


@dataclass(frozen=True)
class JobResult:
    """The result of a job: its run folder, and the plan and the comparison in it (None: the job only recorded counts)."""

    folder: Path
    plan: Plan
    comparison: Comparison | None


def load(recipe: Recipe, run: Run) -> LanguageModel:
    """Returns the model of a recipe; it computes in the batch sizes that the run folder has stored, and stores new ones there."""
    model = model_of(recipe)
    model.batcher.sizes = _StoredBatchSizes(run.journal)
    return model


def take_batch_sizes(run: Run, sizes: Mapping[str, int] | None) -> None:
    """Store the batch sizes of another run of the same recipe, unless the run has stored its own. Raises StorageFailure."""
    if sizes and run.journal.recall(BATCH_SIZES) is None:
        run.journal.keep(BATCH_SIZES, dict(sizes))


def note_end(run: Run, model: LanguageModel, started: float, **facts: Any) -> None:
    """Record the environment, facts, and the seconds since `started`, added to those of interrupted calls. Raises StorageFailure."""
    before = run.environment().get("seconds", 0.0)
    run.note(seconds=round(before + time.monotonic() - started, 1), **facts, **environment_of(model))


def journal_for(model: LanguageModel, journal: Journal) -> Journal:
    """Returns the journal for the answers of this very model, in its number type, to texts that are read in this very way."""
    wording = model.encoder.wording
    return PrefixedJournal(journal, f"{weights_digest(model)}/{model.model.dtype}{f'/{wording}' if wording else ''}")


def open_engine(recipe: Recipe, model: LanguageModel, progress: Progress = no_progress) -> AbstractContextManager[Engine]:
    """Returns the engine of a recipe: this process, or workers on a Ray cluster for as long as the context is open.

    Each worker loads the model as this process did, from the same path on its own machine. Raises InputError where Ray is not installed or
    no cluster answers, WrongModel where a worker finds another model there, Failure.
    """
    if recipe.engine == "local":
        return nullcontext(LocalEngine())
    from .ray_engine import RayEngine

    device = None if recipe.device_map else model.forward.device.type
    load_again = partial(load_model, **{**model_settings(recipe), "path": _absolute(recipe.model), "device": device})
    return RayEngine(model, load_again, workers=recipe.ray_workers, address=recipe.ray_address, progress=progress)


def _absolute(path: str) -> str:
    """Returns the absolute path of a folder, since a worker may run in another folder; a Hub id is left as it is."""
    return str(Path(path).resolve()) if Path(path).exists() else path


def environment_of(model: LanguageModel) -> dict[str, Any]:
    """Returns how the model computes, as environment.json records it."""
    return {
        "device": str(model.forward.device),
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "batch_sizes": dict(model.batcher.sizes),
    }


class _StoredBatchSizes(UserDict[str, int]):
    """Batch sizes by purpose, stored in a journal, so that a continued run computes in the same batches."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.data.update({name: int(str(size)) for name, size in (journal.recall(BATCH_SIZES) or {}).items()})

    def __setitem__(self, purpose: str, size: int) -> None:
        super().__setitem__(purpose, size)
        self._journal.keep(BATCH_SIZES, dict(self.data))
