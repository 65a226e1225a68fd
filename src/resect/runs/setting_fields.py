"""How one setting of a recipe is declared, and how a value is checked against its declaration.

Knows dataclasses; knows no setting.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from resect.core.errors import BadRecipe


def setting(
    default: Any,
    sentence: str,
    *,
    least: float | None = None,
    most: float | None = None,
    changes_result: bool = True,
    path: bool = False,
    metavar: str | None = None,
    of: str | tuple[str, ...] | None = None,
    flag: str | None = None,
) -> Any:
    """A field of a recipe: its default, its sentence, its bounds, whether another value may give another result, and whose it is.

    `of`: the methods that have this setting; None: all of them. `flag`: its flag, where that is not its name.
    """
    facts = {"sentence": sentence, "least": least, "most": most, "changes_result": changes_result}
    owners = (of,) if isinstance(of, str) else of
    return dataclasses.field(default=default, metadata={**facts, "path": path, "metavar": metavar, "of": owners, "flag": flag})


def is_of(field: Any, method: str) -> bool:
    """Whether a method has the setting of this field."""
    return field.metadata["of"] is None or method in field.metadata["of"]


def flag_of(field: Any) -> str:
    """The flag that stands for a setting on a command line."""
    return f"--{field.metadata['flag'] or field.name.replace('_', '-')}"


def check_bounds(recipe: Any) -> None:
    """Raises BadRecipe for a number beyond the bounds of its field, NaN and infinity included."""
    for field in dataclasses.fields(recipe):
        value, least, most = getattr(recipe, field.name), field.metadata["least"], field.metadata["most"]
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if (least is not None and not value >= least) or (most is not None and not value <= most):
            bounds = f"at least {least}" if most is None else f"between {least} and {most}"
            name = f"{field.name} ({flag_of(field)})" if field.metadata["flag"] else field.name
            raise BadRecipe(f"{name} is {value}; it must be {bounds}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRecipe(f"{field.name} is {value}; it must be a finite number.")


def check_names(recipe: type, names: Iterable[str]) -> None:
    """Raises BadRecipe for a name that is no setting, with the nearest that is one."""
    known = [field.name for field in dataclasses.fields(recipe)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise BadRecipe(f"A recipe has no setting {name!r}.{guess} It has: {', '.join(known)}.")


def checked(recipe: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the right types: lists become tuples, whole numbers floats where one is wanted. Raises BadRecipe."""
    hints = typing.get_type_hints(recipe)
    return {name: _fitted(name, value, hints[name]) for name, value in settings.items()}


def _fitted(name: str, value: Any, hint: Any) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    wanted = []
    for option in options:
        if typing.get_origin(option) is Literal:
            choices = typing.get_args(option)
            if isinstance(value, str) and value in choices:
                return value
            wanted.append(" or ".join(repr(choice) for choice in choices))
        elif option is types.NoneType:
            if value is None:
                return None
        elif option == tuple[float, ...]:
            numbers = value if isinstance(value, list | tuple) else (value,)
            if all(isinstance(item, int | float) and not isinstance(item, bool) for item in numbers):
                return tuple(map(float, numbers))
            wanted.append("a list of numbers")
        elif typing.get_origin(option) is tuple:
            held = (value,) if isinstance(value, str) else value
            if isinstance(held, list | tuple) and all(isinstance(item, str) for item in held):
                return tuple(held)
            wanted.append("a list of texts")
        elif option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        elif isinstance(value, option) and (option is bool or not isinstance(value, bool)):
            return value
        else:
            wanted.append({str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[option])
    raise BadRecipe(f"{name} is {value!r}; it must be {' or '.join(wanted)}.")
