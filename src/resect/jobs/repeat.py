"""The recorded recipe of a run once more, in a folder of its own, and which of its files come out the same. Prints nothing."""

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

from . import run as jobs

#: What a run computes, by file; the plan's bytes are what is promised.
PRODUCTS = (PLAN, SCORES, TRIALS, COMPARISON, EXAMPLES, COUNTS, MATRIX, ANSWERS)
#: What may change the last bits.
CIRCUMSTANCES = ("device", "dtype", "threads", "batch_sizes", "platform", "versions")


@dataclass(frozen=True)
class Repeated:
    """Two runs of one recipe.

    `files`: by name ("trial-1/plan.json") both digests, the first run's and the second's; None where there is no such file. `inputs`: the
    same of what the recipe points at. `circumstances`: what was not the same around them, as (then, now).
    """

    first: Path
    second: Path
    files: Mapping[str, tuple[str | None, str | None]]
    inputs: Mapping[str, tuple[str | None, str | None]]
    circumstances: Mapping[str, tuple[Any, Any]]

    @property
    def agrees(self) -> bool:
        """Whether every plan came out with the same bytes, which is what is promised."""
        plans = [pair for name, pair in self.files.items() if Path(name).name == PLAN or Path(name).parent.name == PLANS]
        return all(then == now is not None for then, now in plans)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: every pair with whether it agrees."""
        pair = lambda found: {"then": found[0], "now": found[1], "agrees": found[0] == found[1] and found[0] is not None}
        return {
            "run": str(self.first),
            "repeated": str(self.second),
            "agrees": self.agrees,
            "files": {name: pair(found) for name, found in self.files.items()},
            "inputs": {name: pair(found) for name, found in self.inputs.items()},
            "circumstances": {name: {"then": then, "now": now} for name, (then, now) in self.circumstances.items()},
        }


def repeat(run: Run, output: str | None = None, progress: Progress = no_progress) -> Repeated:
    """Do the job of a finished run again, with its batch sizes and its number of threads, and compare what comes out.

    `output`: the folder of the second run; by default `<run>-repeat`. One that a kill left unfinished goes on, a finished one is made anew.

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
    held = run.environment()
    if isinstance(held.get("threads"), int):
        torch.set_num_threads(held["threads"])
    recipe = run.recipe.with_settings(output=str(second))
    other = Run.load(second).recipe.differs(recipe) if Run.is_run(second) else ()
    if other:  # a finished repetition is made anew, and nothing else is
        raise RunMismatch(f"{second} holds a run of other settings ({', '.join(other)}); give another folder with --output.")
    done = Run.is_run(second) and Run.load(second).is_finished
    jobs.job(recipe, progress, fresh=done, batch_sizes=held.get("batch_sizes"))
    again = Run.load(second)
    return Repeated(
        run.folder,
        second,
        {name: (_digest(run.folder / name), _digest(second / name)) for name in _names(run)},
        _both(dict(run.journal.recall(INPUTS) or {}), dict(again.journal.recall(INPUTS) or {})),
        {name: (then, now) for name, (then, now) in _both(held, again.environment()).items() if name in CIRCUMSTANCES and then != now},
    )


def _names(run: Run) -> list[str]:
    """What there is of all that a run computes."""
    folders = [run.folder, *(part.folder for part in run.parts())]
    names = [*PRODUCTS, *(f"{PLANS}/{language}.json" for language in run.plans())]
    return [str((folder / name).relative_to(run.folder)) for folder in folders for name in names if (folder / name).exists()]


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, of its rows without their seconds where it has rows with such; None where it is not there."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if path.name == TRIALS:
        rows = [json.loads(line) for line in content.splitlines() if line]
        content = json.dumps([{key: value for key, value in row.items() if key != "seconds"} for row in rows]).encode()
    return hashlib.sha256(content).hexdigest()


def _both(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (then.get(name), now.get(name)) for name in dict.fromkeys((*then, *now))}
