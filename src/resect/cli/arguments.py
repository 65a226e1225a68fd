"""Command lines and what they mean: parsed, or refused with the nearest that would be right. Does nothing."""

import argparse
import difflib
import importlib.metadata
from collections.abc import Sequence
from typing import Any

from resect.core.errors import InputError, UnknownName
from resect.runs.declarations import declarations
from resect.runs.job_settings import MetricSettings
from resect.runs.methods import method_names
from resect.runs.recipe import declared_settings

from .commands import commands
from .flags import Parser

EPILOG = "Every command has --help. Start with `resect demo`."


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line. Raises InputError, UnknownName; SystemExit after --help and --version."""
    given = normalised(arguments) or ["--help"]
    if given and not given[0].startswith("-") and given[0] not in commands():
        raise UnknownName("command", given[0], commands(), "See `resect --help`.")
    parser, parsers = build()
    options, unknown = parser.parse_known_args(given)
    if unknown:
        flags = [flag for action in parsers[options.command]._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], flags, n=1, cutoff=0.6)
        guess = f" Did you mean {near[0]}?" if near else ""
        prog = f"resect {options.command}"
        raise InputError(f"`{prog}` does not know {unknown[0]!r}.{guess} See `{prog} --help`.")
    return options


def normalised(arguments: Sequence[str]) -> list[str]:
    """The arguments with flags in kebab case: `--batch_size=8` is `--batch-size=8`. What follows `--` stays.

    >>> normalised(["--batch_size=a_b", "x_y", "--", "--not_a_flag"])
    ['--batch-size=a_b', 'x_y', '--', '--not_a_flag']
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    flags = []
    for argument in arguments[:end]:
        name, equals, value = argument.partition("=")
        flags.append(name.replace("_", "-") + equals + value if name.startswith("--") else argument)
    return [*flags, *arguments[end:]]


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The declared settings that a command line gave, by key."""
    known = {key: declared for method in method_names() for key, declared in declared_settings(method).items()}
    known |= {declared.key: declared for declared in declarations(MetricSettings)}
    given = {key: value for key, value in vars(options).items() if key in known}
    return {key: _separated(value) if known[key].commas else value for key, value in given.items()}


def _separated(texts: Sequence[str]) -> list[str]:
    return [part for text in texts for part in text.split(",") if part]


def build() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and that of each command."""
    parser = Parser(prog="resect", description="Training-free surgery on open-weight language models.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"resect {importlib.metadata.version('resect')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {}
    for name, command in commands().items():
        subparser = subparsers.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False)
        command.arguments(subparser)
        _common(subparser)
        parsers[name] = subparser
    return parser, parsers


def _common(command: Parser) -> None:
    group = command.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="Print one JSON object on standard output.")
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="No progress on standard error.")
    loudness.add_argument("--verbose", action="store_true", help="Say more; show where an unexpected error came from.")
