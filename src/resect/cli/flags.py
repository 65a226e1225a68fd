"""How a declared setting becomes a flag, and how a wrong command line is refused. Knows declarations; knows no command."""

import argparse
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, NoReturn

from resect.core.errors import InputError, UnknownName
from resect.runs.declarations import Declaration


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


def add_settings(group: Any, settings: Iterable[Declaration]) -> None:
    """Flags for declared settings: type, choices and help as they declare them; absent where not given."""
    for declared in settings:
        options = [option for option in declared.types if option is not types.NoneType]
        shown = "" if declared.default in (None, (), False) else f" (default: {_shown(declared.default)})"
        facts: dict[str, Any] = {"help": f"{declared.help}{shown}".replace("%", "%%")}
        if declared.metavar:
            facts["metavar"] = declared.metavar
        if options == [bool]:
            is_dangerous = declared.help.startswith("DANGEROUS")  # there is no --no-… of what must be written out to happen
            facts |= {"action": "store_true" if is_dangerous else argparse.BooleanOptionalAction}
        elif typing.get_origin(options[0]) is tuple:
            facts |= {"action": "extend", "nargs": "+", "type": typing.get_args(options[0])[0]}
        elif len(options) > 1:
            facts |= {"type": _word_or_number}
        elif typing.get_origin(options[0]) is Literal:
            facts |= {"choices": typing.get_args(options[0])}
        else:
            facts |= {"type": options[0]}
        group.add_argument(declared.flag, dest=declared.key, default=argparse.SUPPRESS, **facts)


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else "yes" if default is True else str(default)


def _word_or_number(text: str) -> str | int:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number") from None
