"""The ledger of looks: how often the *test* split of a task was looked at under an edit of one model, and by which runs.

A look is one edit whose answers on *test* were seen. The same settings on the same data and model give the same edit: continuing or
repeating a run, or evaluating its plan again, is no further look. The ledger is a file of lines in the folder that holds the run folders;
several processes may add to it. Knows no model and no report.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from resect.core.execution import json_digest
from resect.data.tasks.splits import hash_of
from resect.data.tasks.task import Task

from .recipe import Recipe
from .run_files import INPUTS
from .run_folder import Run

LOOKS = "looks.jsonl"
#: Where looks are kept that have no run folder, if this folder exists.
RUNS = "runs"
#: Settings that name the model and the data, whose own digests a look has.
_NAMED = ("model", "revision", "task", "data", "template", "instructions", "limit", "batch_size")


@dataclass(frozen=True)
class Look:
    """One look.

    Parameters
    ----------
    task : its name
    data : which *test* split that is (`digest_of_test`)
    model : its name, without folders
    weights : digest of the model's weights
    run : the name of the run folder, or the command
    recipe : digest of the settings that change results (`digest_of_recipe`)
    plan : digest of the plan; "" for several plans at once
    """

    task: str
    data: str
    model: str
    weights: str
    run: str
    recipe: str
    plan: str = ""

    def is_of_same_split(self, other: "Look") -> bool:
        """Whether both are of one *test* split and one model."""
        return (self.data, self.weights) == (other.data, other.weights)

    def is_same(self, other: "Look") -> bool:
        """Whether both saw the same edit on the same split."""
        return self.is_of_same_split(other) and (self.recipe == other.recipe or bool(self.plan and self.plan == other.plan))


def digest_of_test(task: Task) -> str:
    """Returns a digest that names the *test* split of a task, whatever its wording and however many examples a limit leaves.

    It is that of the first example by the order in which limits take examples. Raises EmptySplit.
    """
    first = min(task.split("test"), key=lambda example: hash_of(example.group or ""))
    content = [first.fields, first.choices, first.gold]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def digest_of_recipe(recipe: Recipe, data: str) -> str:
    """Returns a digest of all settings that change results; of model and data their own digests tell. `data`: of all examples, worded."""
    recipe = recipe.anchored()
    declared = recipe.declarations.items()
    values = {key: recipe.values[key] for key, declaration in declared if declaration.changes_result and key not in _NAMED}
    return json_digest([recipe.method, data, sorted(values.items())])


def read_looks(path: Path) -> tuple[tuple[Look, ...], int]:
    """Returns the looks of a ledger, each once, and the number of damaged lines; none where there is no file, or it cannot be read."""
    try:
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except OSError:
        return (), 0
    looks, damaged = list[Look](), 0
    for line in lines:
        look = _look(line)
        damaged += look is None
        if look is not None and not any(look.is_same(other) for other in looks):
            looks.append(look)
    return tuple(looks), damaged


def _look(line: bytes) -> Look | None:
    """Returns the look of a line; None for a torn or damaged one."""
    try:
        value: Any = json.loads(line)
        values = {field.name: value.get(field.name, "") for field in fields(Look)}
    except (ValueError, AttributeError, RecursionError):
        return None
    known = all(isinstance(text, str) for text in values.values()) and values["data"] and values["weights"] and values["run"]
    return Look(**values) if known else None


def add_look(path: Path, look: Look) -> None:
    """Adds a look to a ledger, unless the same one is there.

    A ledger that cannot be written is warned of: the work itself does not need it.
    """
    if not any(look.is_same(other) for other in read_looks(path)[0]):
        _append(path, look)


def _append(path: Path, look: Look) -> None:
    """Appends one line in one write, so that lines of several processes do not mix; after a line that a kill tore off it starts anew."""
    line = json.dumps(asdict(look), ensure_ascii=False) + "\n"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        try:
            size = os.fstat(handle).st_size
            if size:
                os.lseek(handle, size - 1, os.SEEK_SET)
                line = line if os.read(handle, 1) == b"\n" else "\n" + line
            os.write(handle, line.encode("utf-8", "replace"))
        finally:
            os.close(handle)
    except OSError as error:
        warnings.warn(f"The look at the test split could not be noted in {path}: {error.strerror}.", stacklevel=3)


def note_look(run: Run, task: Task, model: str, plan: str, *, is_edited: bool = True) -> None:
    """Notes that a run looks at *test*, in the ledger next to its folder, and in its environment.json how often that was done so far.

    `model`: its name; `plan`: its digest, "" where there are several; `is_edited`: whether the plan edits anything, else only that is noted
    which others looked. A copy of a run folder leaves the ledger behind, and keeps its own count. Raises EmptySplit, StorageFailure.
    """
    data, weights = digest_of_test(task), str((run.journal.recall(INPUTS) or {}).get("weights", ""))
    if is_edited:
        recipe = digest_of_recipe(run.recipe, task.digest)
        add_look(_ledger_of(run.folder), Look(task.name, data, model, weights, run.folder.resolve().name, recipe, plan))
    stored = run.environment().get("looks")
    if isinstance(stored, Mapping) and (stored.get("data"), stored.get("weights")) == (data, weights) and stored.get("number"):
        return
    looks, _ = looks_next_to(run, data, weights)
    names = [look.run for look in looks]
    run.note(looks={"task": task.name, "number": len(looks), "runs": names, "data": data, "weights": weights})


def note_evaluation(command: str, task: Task, model: str, weights: Callable[[], str], plan: str) -> None:
    """Notes that a command without a run folder looks at *test* under a plan: in runs/ of the working folder, where that exists.

    `weights`: returns the digest of the model's weights; `plan`: digest of the plan. Raises EmptySplit.
    """
    if Path(RUNS).is_dir():
        recipe = json_digest([command, plan, task.digest])
        add_look(Path(RUNS) / LOOKS, Look(task.name, digest_of_test(task), model, weights(), command, recipe, plan))


def looks_next_to(run: Run, data: str, weights: str) -> tuple[tuple[Look, ...], int]:
    """Returns the looks at one split with one model in the ledger next to a run folder, and how many lines of it are damaged."""
    looks, damaged = read_looks(_ledger_of(run.folder))
    return tuple(look for look in looks if (look.data, look.weights) == (data, weights)), damaged


def _ledger_of(folder: Path) -> Path:
    return folder.resolve().parent / LOOKS
