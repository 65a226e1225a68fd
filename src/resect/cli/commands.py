"""Every command: what it is for, what it takes, and which function does it. The commands of methods come from the registry."""

import importlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

from resect.runs.methods import method_names, settings_class

from . import command_arguments
from .flags import Parser


@dataclass(frozen=True)
class Command:
    """A command.

    Parameters
    ----------
    summary : one sentence
    arguments : adds its arguments to a parser
    function : "module.function" of this package that does it, loaded when it is called
    """

    summary: str
    arguments: Callable[[Parser], None]
    function: str

    def __call__(self, options: Namespace) -> None:
        """Do it."""
        module, _, name = self.function.partition(".")
        getattr(importlib.import_module(f"resect.cli.{module}"), name)(options)


_BEFORE: Mapping[str, Command] = {
    "demo": Command(
        "The main job on the model and the task inside the package: no network, no arguments.",
        command_arguments.demo,
        "run_commands.demo",
    ),
    "anatomy": Command(
        "What a model consists of: family, sites, neurons. A folder with config.json alone is enough.",
        command_arguments.anatomy,
        "show_commands.anatomy",
    ),
}
_AFTER: Mapping[str, Command] = {
    "steer": Command(
        "Make a model answer in another language by the units that a run found.", command_arguments.steer, "evaluate_commands.steer"
    ),
    "try": Command(
        "The answer to a prompt before and after a plan, side by side.", command_arguments.try_plan, "evaluate_commands.try_plan"
    ),
    "evaluate": Command(
        "How well a model does on tasks, with and without a plan, and after calibration.",
        command_arguments.evaluate,
        "evaluate_commands.evaluate",
    ),
    "transfer": Command(
        "What plans that were found on some tasks do to others: plans × tasks.", command_arguments.transfer, "evaluate_commands.transfer"
    ),
    "table": Command(
        "Finished runs side by side, as papers print them: models × tasks × methods.", command_arguments.table, "show_commands.table"
    ),
    "analyse": Command(
        "Further analyses of a finished run: losses, spectra, small components, paraphrases, and more.",
        command_arguments.analyse,
        "run_commands.analyse",
    ),
    "export": Command(
        "The edited model as a Hugging Face checkpoint, verified to the last bit.", command_arguments.export, "run_commands.export"
    ),
    "report": Command("A run as one HTML file.", command_arguments.report, "show_commands.report"),
    "repeat": Command(
        "The recorded recipe of a run once more, and which of its files come out the same.", command_arguments.repeat, "run_commands.repeat"
    ),
    "run": Command("The same job from a recipe file.", command_arguments.run, "run_commands.from_recipe"),
    "schema": Command("The JSON schema of a file of the run folder.", command_arguments.schema, "show_commands.schema"),
    "list": Command("What exists: tasks, methods or families.", command_arguments.list_names, "show_commands.list_names"),
}


@cache
def commands() -> Mapping[str, Command]:
    """All commands by name, in the order of the help."""
    methods = {}
    for name in method_names():
        settings = settings_class(name)
        methods[name] = Command(settings.summary, partial(command_arguments.method, settings=settings), "run_commands.job")
    return {**_BEFORE, **methods, **_AFTER}
