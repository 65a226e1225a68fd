"""Parses command lines, and refuses wrong ones with the nearest right one. Runs nothing."""

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
    """Returns the options of a command line. Raises InputError, UnknownName; SystemExit after --help and --version."""
    arguments = kebab_case(arguments) or ["--help"]
    if not arguments[0].startswith("-") and arguments[0] not in commands():
        raise UnknownName("command", arguments[0], commands(), "See `resect --help`.")
    parser, parsers = build_parsers()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [flag for action in parsers[options.command]._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], flags, n=1, cutoff=0.6)
        suggestion = f" Did you mean {near[0]}?" if near else ""
        program = f"resect {options.command}"
        raise InputError(f"`{program}` does not know {unknown[0]!r}.{suggestion} See `{program} --help`.")
    return options


def kebab_case(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with flags in kebab case: `--batch_size=8` becomes `--batch-size=8`. What follows `--` is left as it is.

    >>> kebab_case(["--batch_size=a_b", "x_y", "--", "--not_a_flag"])
    ['--batch-size=a_b', 'x_y', '--', '--not_a_flag']
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    changed = []
    for argument in arguments[:end]:
        name, equals, value = argument.partition("=")
        changed.append(name.replace("_", "-") + equals + value if name.startswith("--") else argument)
    return [*changed, *arguments[end:]]


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the declared settings that a command line gave, by key."""
    declared = {key: declaration for method in method_names() for key, declaration in declared_settings(method).items()}
    declared |= {declaration.key: declaration for declaration in declarations(MetricSettings)}
    given = {key: value for key, value in vars(options).items() if key in declared}
    return {key: _split_at_commas(value) if declared[key].commas else value for key, value in given.items()}


def _split_at_commas(texts: Sequence[str]) -> list[str]:
    return [part for text in texts for part in text.split(",") if part]


def build_parsers() -> tuple[Parser, dict[str, Parser]]:
    """Returns the parser of `resect`, and the parser of each command by its name."""
    parser = Parser(prog="resect", description="Training-free surgery on open-weight language models.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"resect {importlib.metadata.version('resect')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {}
    for name, command in commands().items():
        subparser = subparsers.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False)
        command.arguments(subparser)
        _add_output_flags(subparser)
        parsers[name] = subparser
    return parser, parsers


def _add_output_flags(command: Parser) -> None:
    group = command.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="Print one JSON object on standard output.")
    verbosity = group.add_mutually_exclusive_group()
    verbosity.add_argument("--quiet", action="store_true", help="Show no progress on standard error.")
    verbosity.add_argument(
        "--verbose", action="store_true", help="Show the messages of the libraries too, and where an unexpected error came from."
    )
