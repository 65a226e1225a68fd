"""How a setting is declared, once, and how a value is checked against its declaration.

The command line's flags and help, the recipe file, its JSON schema and the checks all read the same declaration. Knows no setting.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from resect.core.errors import BadRecipe


def setting(
    default: Any,
    help: str,  # noqa: A002  what argparse and every command-line library call it
    *,
    least: float | None = None,
    most: float | None = None,
    changes_result: bool = True,
    path: bool = False,
    metavar: str | None = None,
    key: str | None = None,
    flag: str | None = None,
    needs: str | None = None,
    commas: bool = False,
) -> Any:
    """A field of a frozen settings dataclass that people may set.

    Parameters
    ----------
    default : the value where nothing is given
    help : one sentence, for the command line and the recipe file
    least, most : bounds of a number, both allowed
    changes_result : whether another value may give another result
    path : whether the value, or what follows its first "=", may be a path
    metavar : what stands for the value in the help
    key : its name in a recipe, where that is not the field's name
    flag : its name on a command line, where that is not the key
    needs : the key of another setting without which this one has no effect
    commas : whether several texts may be given as one on a command line, separated by commas
    """
    facts = {"help": help, "least": least, "most": most, "changes_result": changes_result, "path": path, "metavar": metavar}
    return dataclasses.field(default=default, metadata={**facts, "key": key, "flag": flag, "needs": needs, "commas": commas})


@dataclasses.dataclass(frozen=True)
class Declaration:
    """One declared setting. `field`: the attribute's name; `key`: its name in a recipe; `types`: the alternatives that it may be of."""

    field: str
    key: str
    types: tuple[Any, ...]
    default: Any
    help: str
    least: float | None
    most: float | None
    changes_result: bool
    path: bool
    metavar: str | None
    needs: str | None
    commas: bool
    flag: str

    def checked(self, value: Any) -> Any:
        """The value in the declared type: lists become tuples, a single text a tuple of one. Raises BadRecipe for other types or bounds."""
        value = self._typed(value)
        for number in value if isinstance(value, tuple) else (value,):
            self._check_bounds(number)
        return value

    def _typed(self, value: Any) -> Any:
        wanted = []
        for option in self.types:
            if typing.get_origin(option) is Literal:
                choices = typing.get_args(option)
                if isinstance(value, str) and value in choices:
                    return value
                wanted.append(" or ".join(repr(choice) for choice in choices))
            elif option is types.NoneType:
                if value is None:
                    return None
            elif typing.get_origin(option) is tuple:
                item_type = typing.get_args(option)[0]
                items = (value,) if isinstance(value, str) or not isinstance(value, list | tuple) else value
                typed = [_of_type(item, item_type) for item in items]
                if all(item is not None for item in typed):
                    return tuple(typed)
                wanted.append("a list of numbers" if item_type is float else "a list of texts")
            else:
                typed_value = _of_type(value, option)
                if typed_value is not None:
                    return typed_value
                wanted.append({str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[option])
        raise BadRecipe(f"{self.key} is {value!r}; it must be {' or '.join(wanted)}.")

    def _check_bounds(self, value: Any) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        name = self.key if self.flag == f"--{self.key.replace('_', '-')}" else f"{self.key} ({self.flag})"
        if (self.least is not None and not value >= self.least) or (self.most is not None and not value <= self.most):
            bounds = f"at least {self.least}" if self.most is None else f"between {self.least} and {self.most}"
            raise BadRecipe(f"{name} is {value}; it must be {bounds}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRecipe(f"{name} is {value}; it must be a finite number.")

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of its values."""
        options = [_schema_of(option, self.least, self.most) for option in self.types if option is not types.NoneType]
        default = list(self.default) if isinstance(self.default, tuple) else self.default
        return {**(options[0] if len(options) == 1 else {"anyOf": options}), "description": self.help, "default": default}


_DECLARATIONS: dict[type, tuple[Declaration, ...]] = {}


def declarations(settings: type) -> tuple[Declaration, ...]:
    """The declared settings of a dataclass, in order; fields without `setting` are none."""
    if settings not in _DECLARATIONS:
        hints = typing.get_type_hints(settings)
        fields = [field for field in dataclasses.fields(settings) if "help" in field.metadata]
        _DECLARATIONS[settings] = tuple(_declaration(field, hints[field.name]) for field in fields)
    return _DECLARATIONS[settings]


def _declaration(field: "dataclasses.Field[Any]", hint: Any) -> Declaration:
    facts = dict(field.metadata)
    key = facts.pop("key") or field.name
    flag = f"--{(facts.pop('flag') or key).replace('_', '-')}"
    return Declaration(field=field.name, key=key, types=_alternatives(hint), default=field.default, flag=flag, **facts)


def from_keys(settings: type, values: Mapping[str, Any]) -> Any:
    """An instance of a settings dataclass from values by key. Raises what the class raises.

    A field that is not declared as a setting takes the value of its name where there is one: the seed of the job, for instance.
    """
    declared = {each.field: each.key for each in declarations(settings)}
    names = {field.name: declared.get(field.name, field.name) for field in dataclasses.fields(settings) if field.init}
    return settings(**{field: values[key] for field, key in names.items() if key in values})


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type. A tuple of texts that may also be one text is a tuple of texts."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    return tuple(option for option in options if not (option is str and tuple[str, ...] in options))


def _of_type(value: Any, wanted: Any) -> Any:
    """The value as `wanted` (a whole number is a float where one is wanted), or None where it is something else."""
    if wanted is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    is_bool = isinstance(value, bool)
    return value if isinstance(value, wanted) and is_bool == (wanted is bool) else None


def _schema_of(option: Any, least: float | None, most: float | None) -> dict[str, Any]:
    if typing.get_origin(option) is Literal:
        return {"enum": list(typing.get_args(option))}
    if typing.get_origin(option) is tuple:
        return {"type": "array", "items": _schema_of(typing.get_args(option)[0], least, most)}
    schema: dict[str, Any] = {"type": {str: "string", int: "integer", float: "number", bool: "boolean"}[option]}
    if option in (int, float):
        schema |= {name: bound for name, bound in (("minimum", least), ("maximum", most)) if bound is not None}
    return schema
