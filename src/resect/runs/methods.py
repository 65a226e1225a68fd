"""What a method says of itself before any model is loaded, and the registry of methods.

A method is a frozen dataclass of its settings, registered by an entry point of the group `resect.methods`: those of resect itself in its
own `pyproject.toml`, other packages' in theirs. The registered class needs no torch; `implementation` brings the class that searches.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar

from resect.core.errors import BadRecipe, UnknownName

from .declarations import declarations
from .job_settings import Reads

GROUP = "resect.methods"


@dataclass(frozen=True)
class MethodSettings:
    """The settings of a method; each field that people may set is declared by `setting`.

    Attributes
    ----------
    name : the command, and the `method` of a recipe
    summary : one sentence for `resect --help` and `resect list methods`
    source : the paper
    reads : what the method reads, which decides what a job loads, and on what it compares
    overrides : keys of switches, each with the keys of settings that have no effect while it is on
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    reads: ClassVar[Reads] = Reads.TASK
    overrides: ClassVar[Mapping[str, Sequence[str]]] = {}

    @classmethod
    def implementation(cls) -> type[Any]:
        """The class with `check` and `search` (see `resect.methods.base.Method`); this one where it has them itself."""
        return cls

    @property
    def inputs(self) -> Reads:
        """What is read with these very settings."""
        return self.reads

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
    """The entry points of all methods by name, those of resect first. One that is installed twice counts once."""
    points = importlib.metadata.entry_points(group=GROUP)
    ours = {point.name: point for point in points if point.value.startswith("resect.")}
    return {**dict(sorted(ours.items())), **{point.name: point for point in sorted(points, key=lambda each: each.name)}, **ours}


def method_names() -> tuple[str, ...]:
    """The names of all methods."""
    return tuple(registered())


@cache
def settings_class(name: str) -> type[MethodSettings]:
    """The settings of a method. Raises UnknownName, BadRecipe for a registered class that is no method."""
    if name not in registered():
        raise UnknownName("method", name, registered(), "A package adds one by an entry point of the group resect.methods.")
    point = registered()[name]
    try:
        found = point.load()
    except Exception as error:
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
