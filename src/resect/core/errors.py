"""The whole exception tree. Knows nothing of models, tasks or files.

    ResectError                   anything this package raises on purpose
    ├── InputError                the request is wrong; exit code 2
    │   ├── UnknownName           a task, family, role, tag or site that does not exist ("did you mean")
    │   ├── BadAddress            text that is no site, no glob, no set of neurons
    │   ├── BadTask               a task file or data file that cannot be read as one
    │   │   └── EmptySplit        a split without examples was asked for
    │   ├── BadModel              a folder or id that no model can be loaded from
    │   │   ├── UnknownFamily     a model_type that is not in the FAMILIES table
    │   │   └── NotYet            a family that is known but not covered
    │   ├── PromptTooLong         prompts that do not fit the model's context
    │   ├── BadPlan               text that is no plan
    │   ├── WrongModel            a plan for another model
    │   ├── NotWritable           an edit that the weights, or this form, cannot carry
    │   ├── Conflict              two edits of one plan that cannot both be kept
    │   ├── BadRecipe             a recipe with unknown or impossible settings
    │   └── RunMismatch           a run folder made with other settings, or damaged
    └── Failure                   the request was right, the work failed; exit code 1
        ├── NotFinite             NaN or infinity where a number must be
        ├── NoEffect              a plan that touched nothing
        ├── OutOfMemory           not even one example fits
        └── StorageFailure        a disk that is full or a file that cannot be written

Every message says what, which value, what is allowed, and how to go on.
"""

import difflib
from collections.abc import Iterable


class ResectError(Exception):
    """Anything that resect raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(ResectError):
    """The request is wrong: an argument, a file, a name."""

    exit_code = 2


class UnknownName(InputError):
    """A name that does not exist. Says which exist, the nearest first."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        tail = f" {hint}" if hint else ""
        super().__init__(f"Unknown {what} {name!r}.{guess} Known: {', '.join(names) or 'none'}.{tail}")
        self.name = name
        self.suggestion = near[0] if near else None


class BadAddress(InputError):
    """Text that is no site, no glob, or no set of neurons."""


class BadTask(InputError):
    """A task file or a data file that cannot be read as one."""


class EmptySplit(BadTask):
    """A split without examples was asked for."""


class BadModel(InputError):
    """A folder or id that no model can be loaded from."""


class UnknownFamily(BadModel):
    """A `model_type` that is not in the FAMILIES table."""


class NotYet(BadModel):
    """A family that is known, but not covered yet; never covered by half."""


class PromptTooLong(InputError):
    """Prompts that do not fit the model's context. They are never cut silently."""


class BadPlan(InputError):
    """Text that is no plan."""


class WrongModel(InputError):
    """A plan that was made for another model."""


class NotWritable(InputError):
    """An edit that these weights, or the form that was asked for, cannot carry."""


class Conflict(InputError):
    """Two edits of one plan that cannot both be kept."""


class BadRecipe(InputError):
    """A recipe with unknown or impossible settings."""


class RunMismatch(InputError):
    """A run folder that was made with other settings, or is damaged."""


class Failure(ResectError):
    """The request was right, and the work failed."""


class NotFinite(Failure):
    """NaN or infinity where a number must be."""


class NoEffect(Failure):
    """A plan that touched nothing although it names something."""


class OutOfMemory(Failure):
    """Not even a single example fits into memory."""


class StorageFailure(Failure):
    """A disk that is full, or a file that cannot be written."""
