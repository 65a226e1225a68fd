"""Command lines and what they mean: parsed, or refused with the nearest that would be right. Does nothing."""

import argparse
import dataclasses
import difflib
import importlib.metadata
from collections.abc import Sequence
from typing import Any

from resect.core.errors import InputError, UnknownName
from resect.runs.recipe import Recipe

from .command_arguments import BUILDERS
from .flags import Parser

#: What each command is for; `resect --help` shows them in this order.
SENTENCES = {
    "demo": "The main job on the model and the task inside the package: no network, no arguments.",
    "anatomy": "What a model is made of: family, sites, neurons. A folder with config.json alone will do.",
    "crispr": "Find bias neurons, cut them, and see on held-out examples what changed.",
    "laser": "Find the weight matrix that does better at a lower rank, and see on held-out examples what changed.",
    "lape": "Find the units that carry a language, switch them off, and see which languages suffer.",
    "steer": "Make a model answer in another language by the units that a run of lape found.",
    "try": "The answer to a prompt before and after a plan, side by side.",
    "evaluate": "How well a model does on tasks, with and without a plan, and after calibration.",
    "transfer": "What cuts that were found on some tasks do to others: plans × tasks.",
    "table": "Finished runs side by side, as papers print them: models × tasks × methods.",
    "analyse": "Look closer at a finished run of LASER: losses, spectra, small components, paraphrases, and more.",
    "export": "The cut model as a Hugging Face checkpoint, checked to the last bit.",
    "report": "A run as one HTML file, to read, to print, and to send.",
    "repeat": "The recorded recipe of a run once more, and which of its files come out the same.",
    "run": "The same job from a recipe file.",
    "list": "What there is: tasks, methods or families.",
}
EPILOG = "Every command has --help. Start with `resect demo`."


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line. Raises InputError, UnknownName; SystemExit after --help and --version."""
    given = normalised(arguments) or ["--help"]
    if given and not given[0].startswith("-") and given[0] not in SENTENCES:
        raise UnknownName("command", given[0], SENTENCES, "See `resect --help`.")
    parser, commands = build()
    options, unknown = parser.parse_known_args(given)
    if unknown:
        flags = [flag for action in commands[options.command]._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], flags, n=1, cutoff=0.6)
        guess = f" Did you mean {near[0]}?" if near else ""
        prog = f"resect {options.command}"
        raise InputError(f"`{prog}` does not know what to do with {unknown[0]!r}.{guess} See `{prog} --help`.")
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
    """The settings of a recipe that a command line gave."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    given = {name: value for name, value in vars(options).items() if name in known}
    if "locate_on" in given:
        given["locate_on"] = [tag for text in given["locate_on"] for tag in text.split(",") if tag]
    return given


def build() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and that of each command."""
    parser = Parser(prog="resect", description="Training-free surgery on open-weight language models.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"resect {importlib.metadata.version('resect')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands = {}
    for name, sentence in SENTENCES.items():
        command = subparsers.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
        BUILDERS[name](command)
        _common(command)
        commands[name] = command
    return parser, commands


def _common(command: Parser) -> None:
    group = command.add_argument_group("what is shown")
    group.add_argument("--json", action="store_true", help="Print one JSON object on standard output.")
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="No progress on standard error.")
    loudness.add_argument("--verbose", action="store_true", help="Say more; show where an unexpected error came from.")
