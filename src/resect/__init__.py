"""Training-free surgery on open-weight language models.

A method looks at a model and yields plans; a plan is a value; applying it returns the exact undo; evaluating it
compares two runs on the same examples. This module holds the public names and nothing else; each is loaded when it is
first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, who see no lazy names
    from .core.address import Neurons as Neurons
    from .core.address import Site as Site
    from .core.comparison import Comparison as Comparison
    from .core.comparison import Difference as Difference
    from .core.comparison import Estimate as Estimate
    from .core.errors import BadAddress as BadAddress
    from .core.errors import BadModel as BadModel
    from .core.errors import BadPlan as BadPlan
    from .core.errors import BadRecipe as BadRecipe
    from .core.errors import BadTask as BadTask
    from .core.errors import Conflict as Conflict
    from .core.errors import EmptySplit as EmptySplit
    from .core.errors import Failure as Failure
    from .core.errors import InputError as InputError
    from .core.errors import NoEffect as NoEffect
    from .core.errors import NotFinite as NotFinite
    from .core.errors import NotWorthwhile as NotWorthwhile
    from .core.errors import NotWritable as NotWritable
    from .core.errors import NotYet as NotYet
    from .core.errors import OutOfMemory as OutOfMemory
    from .core.errors import PromptTooLong as PromptTooLong
    from .core.errors import ResectError as ResectError
    from .core.errors import RunMismatch as RunMismatch
    from .core.errors import StorageFailure as StorageFailure
    from .core.errors import UnknownFamily as UnknownFamily
    from .core.errors import UnknownName as UnknownName
    from .core.errors import WrongModel as WrongModel
    from .core.execution import Workers as Workers
    from .core.exhibits import Curve as Curve
    from .core.exhibits import HeatMap as HeatMap
    from .core.exhibits import Table as Table
    from .core.scores import Scores as Scores
    from .data.tasks.registry import list_tasks as list_tasks
    from .data.tasks.registry import load_task as load_task
    from .data.tasks.task import Example as Example
    from .data.tasks.task import Task as Task
    from .edits.matrices import PruneWeights as PruneWeights
    from .edits.matrices import ReduceRank as ReduceRank
    from .edits.neurons import Clamp as Clamp
    from .edits.neurons import Scale as Scale
    from .edits.neurons import Shift as Shift
    from .edits.plan import Plan as Plan
    from .evaluation.compare import evaluate as evaluate
    from .methods.base import Found as Found
    from .methods.base import Method as Method
    from .methods.base import TaskInputs as TaskInputs
    from .methods.crispr.crispr import Crispr as Crispr
    from .methods.lape.authors_files import read_lape_counts as read_lape_counts
    from .methods.lape.authors_files import read_lape_neurons as read_lape_neurons
    from .methods.lape.counts import Counts as Counts
    from .methods.lape.lape import Lape as Lape
    from .methods.lape.steering import steering_plan as steering_plan
    from .methods.laser.laser import Laser as Laser
    from .models.anatomy import Anatomy as Anatomy
    from .models.language_model import LanguageModel as LanguageModel
    from .models.loading import load_model as load_model
    from .runs.declarations import setting as setting
    from .runs.recipe import Recipe as Recipe
    from .runs.run_folder import Run as Run
    from .runs.run_folder import load_run as load_run

_NAMES = {
    "core.exhibits": "Curve HeatMap Table",
    "runs.declarations": "setting",
    "core.execution": "Workers",
    "methods.base": "Found Method TaskInputs",
    "core.address": "Neurons Site",
    "core.comparison": "Comparison Difference Estimate",
    "core.errors": "BadAddress BadModel BadPlan BadRecipe BadTask Conflict EmptySplit Failure InputError NoEffect "
    "NotFinite NotWorthwhile NotWritable NotYet OutOfMemory PromptTooLong ResectError RunMismatch StorageFailure UnknownFamily "
    "UnknownName WrongModel",
    "core.scores": "Scores",
    "data.tasks.task": "Example Task",
    "data.tasks.registry": "list_tasks load_task",
    "edits.matrices": "PruneWeights ReduceRank",
    "edits.neurons": "Clamp Scale Shift",
    "edits.plan": "Plan",
    "evaluation.compare": "evaluate",
    "methods.crispr.crispr": "Crispr",
    "methods.lape.authors_files": "read_lape_counts read_lape_neurons",
    "methods.lape.counts": "Counts",
    "methods.lape.lape": "Lape",
    "methods.lape.steering": "steering_plan",
    "methods.laser.laser": "Laser",
    "models.anatomy": "Anatomy",
    "models.language_model": "LanguageModel",
    "models.loading": "load_model",
    "runs.recipe": "Recipe",
    "runs.run_folder": "Run load_run",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes longer to import than everything else here

        return version("resect")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
