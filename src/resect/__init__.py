"""Training-free surgery on open-weight language models.

A method looks at a model and yields plans; a plan is a value; applying it returns the exact undo; evaluating it
compares two runs on the same examples. This module holds the public names and nothing else; each is loaded when it is
first asked for.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, who see no lazy names
    from .address import Neurons as Neurons
    from .address import Site as Site
    from .anatomy import Anatomy as Anatomy
    from .comparison import Comparison as Comparison
    from .comparison import Difference as Difference
    from .comparison import Estimate as Estimate
    from .counts import Counts as Counts
    from .edits.matrices import PruneWeights as PruneWeights
    from .edits.matrices import ReduceRank as ReduceRank
    from .edits.neurons import Clamp as Clamp
    from .edits.neurons import Scale as Scale
    from .edits.neurons import Shift as Shift
    from .errors import BadAddress as BadAddress
    from .errors import BadModel as BadModel
    from .errors import BadPlan as BadPlan
    from .errors import BadRecipe as BadRecipe
    from .errors import BadTask as BadTask
    from .errors import Conflict as Conflict
    from .errors import EmptySplit as EmptySplit
    from .errors import Failure as Failure
    from .errors import InputError as InputError
    from .errors import NoEffect as NoEffect
    from .errors import NotFinite as NotFinite
    from .errors import NotWritable as NotWritable
    from .errors import NotYet as NotYet
    from .errors import OutOfMemory as OutOfMemory
    from .errors import PromptTooLong as PromptTooLong
    from .errors import ResectError as ResectError
    from .errors import RunMismatch as RunMismatch
    from .errors import StorageFailure as StorageFailure
    from .errors import UnknownFamily as UnknownFamily
    from .errors import UnknownName as UnknownName
    from .errors import WrongModel as WrongModel
    from .evaluation import evaluate as evaluate
    from .loading import load_model as load_model
    from .methods.crispr import Crispr as Crispr
    from .methods.language_units import read_lape_counts as read_lape_counts
    from .methods.language_units import read_lape_neurons as read_lape_neurons
    from .methods.lape import Lape as Lape
    from .methods.laser import Laser as Laser
    from .model import LanguageModel as LanguageModel
    from .plan import Plan as Plan
    from .recipe import Recipe as Recipe
    from .scores import Scores as Scores
    from .steering import steering_plan as steering_plan
    from .store import Run as Run
    from .tasks import list_tasks as list_tasks
    from .tasks import load_task as load_task
    from .tasks.base import Example as Example
    from .tasks.base import Task as Task

_NAMES = {
    "address": "Neurons Site",
    "anatomy": "Anatomy",
    "comparison": "Comparison Difference Estimate",
    "counts": "Counts",
    "edits.matrices": "PruneWeights ReduceRank",
    "edits.neurons": "Clamp Scale Shift",
    "errors": "BadAddress BadModel BadPlan BadRecipe BadTask Conflict EmptySplit Failure InputError NoEffect "
    "NotFinite NotWritable NotYet OutOfMemory PromptTooLong ResectError RunMismatch StorageFailure UnknownFamily "
    "UnknownName WrongModel",
    "evaluation": "evaluate",
    "methods.crispr": "Crispr",
    "methods.language_units": "read_lape_counts read_lape_neurons",
    "methods.lape": "Lape",
    "methods.laser": "Laser",
    "loading": "load_model",
    "model": "LanguageModel",
    "plan": "Plan",
    "recipe": "Recipe",
    "scores": "Scores",
    "steering": "steering_plan",
    "store": "Run",
    "tasks": "list_tasks load_task",
    "tasks.base": "Example Task",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("resect")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
