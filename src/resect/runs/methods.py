"""What a method says of itself before any model is loaded, and the registry of methods.

A method is a frozen dataclass of its settings. Those of this package are in a table here; other packages add theirs by an entry point of
the group `resect.methods`. The registered class needs no torch; `implementation` brings the class that searches.
"""

import importlib
import importlib.metadata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar

from resect.core.errors import BadRecipe, UnknownName

from .declarations import declarations
from .job_settings import Reads

GROUP = "resect.methods"
#: The methods of this package: where each one's settings are.
BUILT_IN: Mapping[str, str] = {
    "crispr": "resect.methods.crispr.settings:CrisprSettings",
    "laser": "resect.methods.laser.settings:LaserSettings",
    "lape": "resect.methods.lape.settings:LapeSettings",
}


@dataclass(frozen=True)
class MethodSettings:
    """The settings of a method; each field that people may set is declared by `setting`, and checked. Raises BadRecipe.

    Attributes
    ----------
    name : the command, and the `method` of a recipe
    summary : one sentence for `resect --help` and `resect list methods`
    source : the paper
    reads : what the method reads, which decides what a job loads, and on what it compares
    scores_units : whether a search gives scores of units, so that a report misses them where they are not stored
    implemented_by : "module:class" of the class that searches, where it is another one; it is imported when it is needed
    overrides : keys of switches, each with the keys of settings that have no effect while it is on
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    reads: ClassVar[Reads] = Reads.TASK
    implemented_by: ClassVar[str | None] = None
    scores_units: ClassVar[bool] = False
    overrides: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __post_init__(self) -> None:
        for declared in declarations(type(self)):
            declared.checked(getattr(self, declared.field))

    @classmethod
    def implementation(cls) -> type[Any]:
        """The class with `check` and `search` (see `resect.methods.base.Method`): that of `implemented_by`, or this one."""
        if cls.implemented_by is None:
            return cls
        module, _, name = cls.implemented_by.partition(":")
        found: type[Any] = getattr(importlib.import_module(module), name)
        return found

    @property
    def inputs(self) -> Reads:
        """What is read with these very settings."""
        return self.reads

    @property
    def named_tasks(self) -> tuple[str, ...]:
        """Texts among these settings that may be names of tasks: their data can be given as [TASK=]PATH. By default none."""
        return ()

    @property
    def compares(self) -> bool:
        """Whether a search with these settings gives plans that are compared; else it only stores what it measured."""
        return True

    def check_recipe(self, values: Mapping[str, Any]) -> None:
        """Raises BadRecipe for settings of the job, given by key, that do not go with these. By default nothing is refused."""

    def repetitions(self) -> tuple[Mapping[str, Any], ...]:
        """For each repetition of the search with other draws the settings (by key) that are not the same in it; none: it is done once."""
        return ()

    def describe(self) -> list[str]:
        """Sentences on how the search was done, for the report. By default the settings that are not the default ones."""
        changed = [d for d in declarations(type(self)) if getattr(self, d.field) != d.default]
        return [f"{self.name}: {self.summary}", *(f"{d.key} = {getattr(self, d.field)}. {d.help}" for d in changed)]

    def alternatives(self, values: Mapping[str, Any], comparison: Mapping[str, Any], is_empty: bool) -> list[tuple[str, dict[str, Any]]]:
        """What to try where the result is not good: a short sentence, and the settings (by key) to change.

        values : all settings of the recipe, by key
        comparison : the object of comparison.json
        is_empty : whether the plan is empty
        """
        return []


@cache
def registered() -> Mapping[str, importlib.metadata.EntryPoint]:
    """The entry points of all methods by name: those of resect first, then those of other packages. No package can replace one of ours."""
    others = {point.name: point for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)}
    ours = {name: importlib.metadata.EntryPoint(name, place, GROUP) for name, place in BUILT_IN.items()}
    return {**ours, **{name: point for name, point in others.items() if name not in ours}}


@cache
def method_names() -> tuple[str, ...]:
    """The names of all methods that can be used. One that cannot is left out with a warning: it must not take the others down."""
    names = []
    for name in registered():
        try:
            settings_class(name)
        except BadRecipe as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        names.append(name)
    return tuple(names)


@cache
def settings_class(name: str) -> type[MethodSettings]:
    """The settings of a method. Raises UnknownName, BadRecipe for a registered class that is no method."""
    if name not in registered():
        raise UnknownName("method", name, registered(), f"A package adds one by an entry point of the group {GROUP}.")
    point = registered()[name]
    try:
        found = point.load()
    except Exception as error:  # another package's import may fail in any way
        raise BadRecipe(f"The method {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}") from error
    lacks = [attribute for attribute in ("name", "summary", "source") if not hasattr(found, attribute)]
    if not (isinstance(found, type) and issubclass(found, MethodSettings)) or lacks or found.name != name:
        reason = f"it lacks {', '.join(lacks)}" if lacks else "it must be a subclass of resect.Method with this name"
        raise BadRecipe(f"The method {name} ({point.value}) cannot be used: {reason}.")
    return found


def as_method(settings: MethodSettings) -> Any:
    """The method with these settings, ready to search."""
    cls = settings.implementation()
    if isinstance(settings, cls):
        return settings
    return cls(**{field.name: getattr(settings, field.name) for field in fields(settings) if field.init})
