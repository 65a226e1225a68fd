"""Every exception that resect raises on purpose. Does not know models, tasks or files.

    ResectError                   the base of all
    ├── InputError                the request is wrong; exit code 2
    │   ├── UnknownName           a task, family, role, tag or site that does not exist ("did you mean")
    │   ├── BadAddress            text that is no site, no glob and no set of neurons
    │   ├── BadTask               a task file or data file that cannot be read as one
    │   │   └── EmptySplit        a split without examples was requested
    │   ├── BadModel              a folder or id that no model can be loaded from
    │   │   ├── UnknownFamily     a model_type that is not in the FAMILIES table
    │   │   └── NotYet            a family that is known but not covered
    │   ├── PromptTooLong         prompts that do not fit the model's context
    │   ├── BadPlan               text that is no plan
    │   ├── WrongModel            a plan for another model
    │   ├── NotWritable           an edit that these weights, or the requested form, cannot represent
    │   ├── Conflict              two edits of one plan that exclude each other
    │   ├── BadRecipe             a recipe with unknown or impossible settings
    │   ├── RunMismatch           a run folder made with other settings, or damaged
    │   └── NotWorthwhile         a job that the unedited model's answers show to be in vain
    └── Failure                   the request is right, the computation failed; exit code 1
        ├── NotFinite             NaN or infinity where a finite number is needed
        ├── NoEffect              a plan that changed nothing
        ├── OutOfMemory           not even one example fits into memory
        └── StorageFailure        a disk that is full or a file that cannot be written

Every message says what is wrong, which value, what is allowed, and how to go on.
"""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Returns the one of `known` that is most like `name`; None where none is much like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean …?" with the nearest of `known`; "" where none is near.

    >>> did_you_mean("lama", ("llama", "opt"))
    " Did you mean 'llama'?"
    """
    near = nearest_name(name, known)
    return "" if near is None else f" Did you mean {near!r}?"


class ResectError(Exception):
    """Base of all errors that resect raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(ResectError):
    """The request is wrong: an argument, a file, a name."""

    exit_code = 2


class UnknownName(InputError):
    """A name that does not exist. The message lists those that do, and suggests the nearest."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        tail = f" {hint}" if hint else ""
        super().__init__(f"Unknown {what} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names) or 'none'}.{tail}")
        self.name = name
        self.suggestion = nearest_name(name, names)


class BadAddress(InputError):
    """Text that is no site, no glob, or no set of neurons."""


class BadTask(InputError):
    """A task file or a data file that cannot be read as one."""


class EmptySplit(BadTask):
    """A split without examples was requested."""


class BadModel(InputError):
    """A folder or id that no model can be loaded from."""


class UnknownFamily(BadModel):
    """A `model_type` that is not in the FAMILIES table."""


class NotYet(BadModel):
    """A family that is known, but not covered yet."""


class PromptTooLong(InputError):
    """Prompts that do not fit the model's context; they are never truncated silently."""


class BadPlan(InputError):
    """Text that is no plan."""


class WrongModel(InputError):
    """A plan that was made for another model."""


class NotWritable(InputError):
    """An edit that these weights, or the requested form, cannot represent."""


class Conflict(InputError):
    """Two edits of one plan that exclude each other."""


class BadRecipe(InputError):
    """A recipe with unknown or impossible settings."""


class RunMismatch(InputError):
    """A run folder that was made with other settings, or is damaged."""


class NotWorthwhile(InputError):
    """A job that could not find anything, as the answers of the unedited model show; `--anyway` goes on."""


class Failure(ResectError):
    """The request is right, and the computation failed."""


class NotFinite(Failure):
    """NaN or infinity where a finite number is needed."""


class NoEffect(Failure):
    """A plan that changed nothing although it names something."""


class OutOfMemory(Failure):
    """Not even a single example fits into memory."""


class StorageFailure(Failure):
    """A disk that is full, or a file that cannot be written."""
