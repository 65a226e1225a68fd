"""Turns declared settings into flags, and reports a wrong command line as an InputError. Knows no command."""

import argparse
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn

from resect.core.errors import InputError, UnknownName
from resect.runs.declarations import Declaration


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises InputError, with one line, where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raises UnknownName, which suggests the nearest choice; argparse would only list them."""
        if action.choices is not None and value not in action.choices:
            what = action.option_strings[0] if action.option_strings else action.dest
            raise UnknownName(f"value of {what}", str(value), map(str, action.choices), f"See `{self.prog} --help`.")


def add_settings(group: Any, settings: Iterable[Declaration]) -> None:
    """Adds a flag for each declared setting, with its type, choices and help; a flag that is not given leaves no value."""
    for declared in settings:
        alternatives = [alternative for alternative in declared.types if alternative is not types.NoneType]
        first = alternatives[0]
        keywords: dict[str, Any] = {"help": (declared.help + _default_note(declared.default)).replace("%", "%%")}
        if declared.metavar:
            keywords["metavar"] = declared.metavar
        if alternatives == [bool]:
            is_dangerous = declared.help.startswith("DANGEROUS")  # such a flag has no --no-… form
            keywords["action"] = "store_true" if is_dangerous else argparse.BooleanOptionalAction
        elif typing.get_origin(first) is tuple:
            keywords |= {"action": "extend", "nargs": "+", "type": typing.get_args(first)[0]}
        elif len(alternatives) > 1:
            keywords["type"] = _word_or_number(alternatives)
        elif typing.get_origin(first) is Literal:
            keywords["choices"] = typing.get_args(first)
        else:
            keywords["type"] = first
        group.add_argument(declared.flag, dest=declared.key, default=argparse.SUPPRESS, **keywords)


def _default_note(default: Any) -> str:
    if default is None or default is False or default == ():
        return ""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else "yes" if default is True else str(default)
    return f" (default: {shown})"


def _word_or_number(alternatives: Iterable[Any]) -> Callable[[str], str | float]:
    """Returns the reader of a value that is one of some words, or a number."""
    words = [word for alternative in alternatives if typing.get_origin(alternative) is Literal for word in typing.get_args(alternative)]
    number, name = (float, "a number") if float in alternatives else (int, "a whole number")

    def read(text: str) -> str | float:
        if text in words:
            return text
        try:
            return number(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is neither {' nor '.join(words)} nor {name}") from None

    return read
