"""Runs the recorded recipe of a run once more, in another folder, and compares the files of both runs. Prints nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resect.core.errors import InputError, RunMismatch
from resect.core.execution import Progress, no_progress
from resect.runs.run_files import ANSWERS, COMPARISON, COUNTS, EXAMPLES, INPUTS, MATRIX, PLAN, PLANS, SCORES, TRIALS
from resect.runs.run_folder import Run

from .run import job

#: The files that a job computes; the same bytes are promised for plans.
COMPUTED_FILES = (PLAN, SCORES, TRIALS, COMPARISON, EXAMPLES, COUNTS, MATRIX, ANSWERS)
#: Entries of environment.json that may change the last bits of a result.
CIRCUMSTANCES = ("device", "dtype", "threads", "batch_sizes", "platform", "versions")
#: A value of the first run and of the second.
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Repetition:
    """Two runs of one recipe.

    Parameters
    ----------
    files : by name ("trial-1/plan.json") the digests of both runs' files; None where a file does not exist
    inputs : the same of what the recipe names
    circumstances : what was not the same around them
    """

    first: Path
    second: Path
    files: Mapping[str, Pair]
    inputs: Mapping[str, Pair]
    circumstances: Mapping[str, Pair]

    @property
    def agrees(self) -> bool:
        """Whether every plan has the same bytes in both runs, which is what is promised."""
        plans = [pair for name, pair in self.files.items() if Path(name).name == PLAN or Path(name).parent.name == PLANS]
        return all(then == now is not None for then, now in plans)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object: every pair of digests, and whether they agree."""

        def digests(pairs: Mapping[str, Pair]) -> dict[str, Any]:
            return {name: {"then": then, "now": now, "agrees": then == now is not None} for name, (then, now) in pairs.items()}

        return {
            "run": str(self.first),
            "repeated": str(self.second),
            "agrees": self.agrees,
            "files": digests(self.files),
            "inputs": digests(self.inputs),
            "circumstances": {name: {"then": then, "now": now} for name, (then, now) in self.circumstances.items()},
        }


def repeat(run: Run, output: str | None = None, progress: Progress = no_progress) -> Repetition:
    """Run the recipe of a finished run again, with its batch sizes and its number of threads, and compare the files.

    `output`: the folder of the second run; by default `<run>-repeat`. An unfinished repetition is continued, a finished one done anew.

    Raises InputError where the run is not finished, RunMismatch for a folder that holds something else, and what the job raises.
    """
    if not run.is_finished:
        raise InputError(
            f"The run in {run.folder} is not finished, so there is nothing to compare with; `resect run {run.folder}` finishes it."
        )
    first = run.folder.resolve()
    second = Path(output) if output is not None else run.folder.with_name(f"{first.name}-repeat")
    if second.resolve() == first:
        raise RunMismatch(f"{second} is the run itself; give another folder for its repetition.")
    environment = run.environment()
    if isinstance(environment.get("threads"), int):
        torch.set_num_threads(environment["threads"])
    recipe = run.recipe.with_settings(output=str(second))
    earlier = Run.load(second) if Run.is_run(second) else None
    differing = () if earlier is None else earlier.recipe.differs(recipe)
    if differing:
        raise RunMismatch(f"{second} holds a run of other settings ({', '.join(differing)}); give another folder with --output.")
    job(recipe, progress, fresh=earlier is not None and earlier.is_finished, batch_sizes=environment.get("batch_sizes"))
    repeated = Run.load(second)
    around = _pairs(environment, repeated.environment())
    return Repetition(
        run.folder,
        second,
        {name: (_digest(run.folder / name), _digest(second / name)) for name in _computed_files(run)},
        _pairs(dict(run.journal.recall(INPUTS) or {}), dict(repeated.journal.recall(INPUTS) or {})),
        {name: (then, now) for name, (then, now) in around.items() if name in CIRCUMSTANCES and then != now},
    )


def _computed_files(run: Run) -> list[str]:
    """Returns the names of the computed files that exist in a run folder and in those of its trials."""
    folders = [run.folder, *(part.folder for part in run.parts())]
    names = [*COMPUTED_FILES, *(f"{PLANS}/{language}.json" for language in run.plans())]
    return [str((folder / name).relative_to(run.folder)) for folder in folders for name in names if (folder / name).exists()]


def _digest(path: Path) -> str | None:
    """Returns the SHA-256 of a file, of trials without their seconds; None where the file does not exist."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if path.name == TRIALS:
        rows = [json.loads(line) for line in content.splitlines() if line]
        content = json.dumps([{key: value for key, value in row.items() if key != "seconds"} for row in rows]).encode()
    return hashlib.sha256(content).hexdigest()


def _pairs(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Pair]:
    return {name: (then.get(name), now.get(name)) for name in dict.fromkeys((*then, *now))}
