"""How a setting of a recipe becomes a flag, and how a wrong command line is refused. Knows settings; knows no command."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, NoReturn

from resect.core.errors import InputError, UnknownName
from resect.runs.recipe import Recipe
from resect.runs.setting_fields import flag_of


class Parser(argparse.ArgumentParser):
    """Says what is wrong as an InputError, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Where argparse would only list what is allowed: the nearest of it. Raises UnknownName."""
        if action.choices is not None and value not in action.choices:
            what = action.option_strings[0] if action.option_strings else action.dest
            raise UnknownName(f"value of {what}", str(value), map(str, action.choices), f"See `{self.prog} --help`.")


def add_settings(group: Any, names: Iterable[str]) -> None:
    """Flags for settings of a recipe: type, choices and sentence as it declares them; absent where not given."""
    hints, fields = typing.get_type_hints(Recipe), {field.name: field for field in dataclasses.fields(Recipe)}
    for name in names:
        field = fields[name]
        options = [hint for hint in _options(hints[name]) if hint is not types.NoneType]
        shown = "" if field.default in (None, (), False) else f" (default: {_shown(field.default)})"
        facts: dict[str, Any] = {"help": f"{field.metadata['sentence']}{shown}".replace("%", "%%")}
        if field.metadata["metavar"]:
            facts["metavar"] = field.metadata["metavar"]
        if name == "trust_remote_code":
            facts |= {"action": "store_true"}
        elif options == [bool]:
            facts |= {"action": argparse.BooleanOptionalAction}
        elif options in ([tuple[str, ...]], [tuple[float, ...]]):
            facts |= {"action": "extend", "nargs": "+", "type": typing.get_args(options[0])[0]}
        elif name == "batch_size":
            facts |= {"type": _batch_size}
        elif typing.get_origin(options[0]) is Literal:
            facts |= {"choices": typing.get_args(options[0])}
        else:
            facts |= {"type": options[0]}
        group.add_argument(flag_of(field), dest=name, default=argparse.SUPPRESS, **facts)


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else "yes" if default is True else str(default)


def _batch_size(text: str) -> str | int:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number") from None
