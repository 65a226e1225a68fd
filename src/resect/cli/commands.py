"""Which function does which command."""

from argparse import Namespace
from collections.abc import Callable, Mapping

from . import evaluate_commands, run_commands, show_commands

COMMANDS: Mapping[str, Callable[[Namespace], None]] = {
    "demo": run_commands.demo,
    "anatomy": show_commands.anatomy,
    "crispr": run_commands.job,
    "laser": run_commands.job,
    "lape": run_commands.job,
    "steer": evaluate_commands.steer,
    "try": evaluate_commands.try_plan,
    "evaluate": evaluate_commands.evaluate,
    "transfer": evaluate_commands.transfer,
    "table": show_commands.table,
    "analyse": run_commands.analyse,
    "export": run_commands.export,
    "report": show_commands.report,
    "repeat": run_commands.repeat,
    "run": run_commands.from_recipe,
    "list": show_commands.what_there_is,
}
