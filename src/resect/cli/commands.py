"""The table of all commands: summary, arguments, and the function that runs each. The commands of methods come from the registry."""

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
    function : the function of this package that runs it, as "module.function"; imported only then
    """

    summary: str
    arguments: Callable[[Parser], None]
    function: str

    def __call__(self, options: Namespace) -> None:
        """Run the command."""
        module, _, name = self.function.partition(".")
        getattr(importlib.import_module(f"resect.cli.{module}"), name)(options)


_BEFORE_METHODS: Mapping[str, Command] = {
    "demo": Command(
        "Run the main job on the model and the task inside the package: no network, no arguments.",
        command_arguments.demo,
        "run_commands.run_demo",
    ),
    "anatomy": Command(
        "Show what a model consists of: family, sites, neurons. A folder with config.json alone is enough.",
        command_arguments.anatomy,
        "show_commands.show_anatomy",
    ),
}
_AFTER_METHODS: Mapping[str, Command] = {
    "steer": Command(
        "Make a model answer in another language, with the units of languages that a run found.",
        command_arguments.steer,
        "evaluate_commands.steer_model",
    ),
    "try": Command(
        "Show a model's answers to prompts before and after a plan, side by side.",
        command_arguments.try_plan,
        "evaluate_commands.try_plan",
    ),
    "evaluate": Command(
        "Evaluate a model on tasks, with and without a plan, and after calibration.",
        command_arguments.evaluate,
        "evaluate_commands.evaluate_model",
    ),
    "transfer": Command(
        "Evaluate plans on other tasks than those they were found on: plans × tasks.",
        command_arguments.transfer,
        "evaluate_commands.transfer_plans",
    ),
    "table": Command(
        "Show finished runs side by side, as papers print them: models × tasks × methods.",
        command_arguments.table,
        "show_commands.show_table",
    ),
    "analyse": Command(
        "Analyse a finished run further: losses, spectra, small components, paraphrases, and more.",
        command_arguments.analyse,
        "run_commands.analyse_run",
    ),
    "export": Command(
        "Write the edited model as a Hugging Face checkpoint, verified to the last bit.",
        command_arguments.export,
        "run_commands.export_plan",
    ),
    "report": Command("Write a run as one HTML file.", command_arguments.report, "show_commands.write_report"),
    "repeat": Command(
        "Run the recorded recipe of a run once more, and compare the files of both runs.",
        command_arguments.repeat,
        "run_commands.repeat_run",
    ),
    "run": Command("Run the job of a recipe file.", command_arguments.run, "run_commands.run_recipe"),
    "schema": Command("Print the JSON schema of a file of the run folder.", command_arguments.schema, "show_commands.print_schema"),
    "list": Command("List tasks, methods or families.", command_arguments.list_names, "show_commands.list_names"),
}


@cache
def commands() -> Mapping[str, Command]:
    """Returns all commands by name, in the order of the help."""
    methods = {}
    for name in method_names():
        settings = settings_class(name)
        methods[name] = Command(settings.summary, partial(command_arguments.method, settings=settings), "run_commands.run_method")
    return {**_BEFORE_METHODS, **methods, **_AFTER_METHODS}
