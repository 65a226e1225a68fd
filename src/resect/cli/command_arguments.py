"""What each command takes: its arguments and flags, in groups. Declared settings become flags by themselves (`flags.add_settings`)."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from resect.runs.declarations import Declaration, declarations
from resect.runs.job_settings import INPUT_SETTINGS, TASK_HELP, CorpusSettings, JobSettings, MetricSettings, TaskSettings
from resect.runs.methods import MethodSettings, method_names, settings_class

from .flags import Parser, add_settings

MODEL_KEYS = ("revision", "dtype", "device", "device_map", "trust_remote_code", "batch_size", "chat_template")
TASK_KEYS = ("data", "template", "instructions", "split_by", "limit")
RUN_KEYS = ("seed", "output", "engine", "ray_address", "ray_workers")
#: What `resect steer` can do with the units of a language, as `steering_plan` has it.
STEERING = ("set", "add", "multiply", "difference")
STEERING_HELP = "set them to their mean on the language, add it, multiply their values, or add how it differs from the other languages'"


def _keys(settings: type, keys: Iterable[str]) -> list[Declaration]:
    by_key = {declared.key: declared for declared in declarations(settings)}
    return [by_key[key] for key in keys]


def _help(settings: type, key: str) -> str:
    return _keys(settings, (key,))[0].help


def _group(command: Parser, title: str, settings: Sequence[Declaration]) -> Any:
    group = command.add_argument_group(title)
    add_settings(group, settings)
    return group


def _other_model(command: Any) -> None:
    command.add_argument("--allow-other-model", action="store_true", help="Apply a plan made for another model of the same shape.")


def _plan(command: Parser, *, required: bool) -> None:
    command.add_argument("--plan", metavar="PLAN", required=required, help="A plan.json, or the run folder that holds it.")
    _other_model(command)


def _model(command: Parser) -> None:
    command.add_argument("model", metavar="MODEL", help=_help(JobSettings, "model"))


def _model_flags(command: Parser) -> None:
    _group(command, "model", _keys(JobSettings, MODEL_KEYS))


def _folder_for_work(command: Parser) -> None:
    command.add_argument("--output", metavar="DIR", help="A folder for finished work, so that the same command continues after a kill.")


def _table_format(command: Parser) -> None:
    group = command.add_argument_group("table")
    group.add_argument("--format", choices=("text", "csv", "latex"), default="text", help="How it is printed (default: text).")
    group.add_argument("--picture", metavar="FILE.svg", help="Draw it into this file too.")


def _job_flags(command: Parser) -> None:
    group = _group(command, "run", _keys(JobSettings, RUN_KEYS))
    group.add_argument("--fresh", action="store_true", help="Start the folder anew, whatever an earlier run left there.")
    group.add_argument("--dry-run", action="store_true", help="Only say what would be done, and how long it may take.")


def method(command: Parser, settings: type[MethodSettings]) -> None:
    """The arguments of a method: what it reads, its own settings, the model and the run."""
    _model(command)
    reads = list(declarations(INPUT_SETTINGS[settings.reads]))
    task = [declared for declared in reads if declared.key == "task"]
    if task:
        # A method that decides by its settings whether it reads a task.
        if settings.inputs is MethodSettings.inputs:
            command.add_argument("task", metavar="TASK", help=TASK_HELP)
        else:
            command.add_argument("task", metavar="TASK", nargs="?", default=argparse.SUPPRESS, help=TASK_HELP)
    _group(command, "method", declarations(settings))
    inputs = [declared for declared in reads if declared.key in (*TASK_KEYS, "corpus", "valid", "valid_tokens", "purity")]
    _group(command, "data", inputs)
    _group(command, "what is measured", [declared for declared in reads if declared not in (*task, *inputs)])
    _model_flags(command)
    _job_flags(command)


def demo(command: Parser) -> None:
    """Arguments of `resect demo`."""
    command.add_argument("--output", default=None, metavar="DIR", help="The run folder; by default a new one under runs/.")


def anatomy(command: Parser) -> None:
    """Arguments of `resect anatomy`."""
    _model(command)
    add_settings(command, _keys(JobSettings, ("revision", "trust_remote_code")))


def steer(command: Parser) -> None:
    """Arguments of `resect steer`."""
    _model(command)
    command.add_argument("--run", metavar="RUN", required=True, help="A finished run folder with counts and a plan for each language.")
    to = "The language to answer in; several may follow."
    command.add_argument("--to", action="extend", nargs="+", required=True, metavar="LANG", help=to)
    command.add_argument("--from", dest="source", metavar="LANG", help="The language whose units are deactivated (default: none).")
    command.add_argument("--mode", choices=STEERING, default="set", help=f"What is done with the units: {STEERING_HELP} (default: set).")
    command.add_argument("--strength", type=float, metavar="S", help="How much of it (default: 1; 2 for multiply).")
    command.add_argument(
        "--prompts",
        action="extend",
        nargs="+",
        required=True,
        metavar="[LANG=]FILE",
        help="Prompts, one a line. LANG=FILE names the language that the prompts are in: that of --from or, without it, one of --to, which "
        "then gets no other prompts.",
    )
    command.add_argument("--template", metavar="TEXT", help="Text around each prompt, with {prompt} in it, e.g. 'Q: {prompt}\\nA:'.")
    length = "The longest answer, in tokens (default: 128, or as many as the model's context leaves)."
    command.add_argument("--new-tokens", type=int, metavar="N", help=length)
    command.add_argument("--judge", metavar="URL", help=_help(CorpusSettings, "judge"))
    command.add_argument("--judge-model", metavar="NAME", help=_help(CorpusSettings, "judge_model"))
    add_settings(command, _keys(CorpusSettings, ("limit",)))
    _other_model(command)
    _model_flags(command)


def try_plan(command: Parser) -> None:
    """Arguments of `resect try`."""
    _model(command)
    _plan(command, required=True)
    command.add_argument("--prompt", action="extend", nargs="+", required=True, metavar="TEXT", help="A prompt; several may follow.")
    command.add_argument("--max-new-tokens", type=int, default=32, metavar="N", help="The longest answer, in tokens (default 32).")
    _model_flags(command)


def evaluate(command: Parser) -> None:
    """Arguments of `resect evaluate`."""
    _model(command)
    command.add_argument("tasks", metavar="TASK", nargs="+", help=TASK_HELP)
    _plan(command, required=False)
    _group(command, "task", [*_keys(TaskSettings, TASK_KEYS), *_keys(JobSettings, ("seed",)), *declarations(MetricSettings)])
    group = command.add_argument_group("what is measured")
    group.add_argument(
        "--calibrate",
        action="extend",
        nargs="+",
        choices=("cc", "dc", "none"),
        help="Contextual (cc) and domain-context (dc) calibration of the unedited model (default: none).",
    )
    add_settings(group, _keys(TaskSettings, ("generation", "text")))
    _model_flags(command)
    _folder_for_work(command)


def transfer(command: Parser) -> None:
    """Arguments of `resect transfer`."""
    _model(command)
    command.add_argument("plans", metavar="RUN", nargs="+", help="Run folders, or plan.json files.")
    command.add_argument(
        "--on", action="extend", nargs="+", required=True, metavar="TASK", help="The tasks on whose test splits the plans are evaluated."
    )
    _other_model(command)
    _group(command, "tasks", [*_keys(TaskSettings, TASK_KEYS), *_keys(JobSettings, ("seed",)), *declarations(MetricSettings)])
    _table_format(command)
    _model_flags(command)
    _folder_for_work(command)


def table(command: Parser) -> None:
    """Arguments of `resect table`."""
    command.add_argument("runs", metavar="RUN", nargs="+", help="Finished run folders.")
    _table_format(command)


def analyse(command: Parser) -> None:
    """Arguments of `resect analyse`."""
    command.add_argument("run", metavar="RUN", help="A finished run folder; the results are added to its analyses.json.")
    command.add_argument("what", metavar="WHAT", nargs="*", help="The analyses (default: all that fit the run; an unknown one lists them).")
    command.add_argument("--counts", metavar="FILE.csv", help="How often facts occur: columns entity, answer, count (for frequency).")
    command.add_argument(
        "--corpus", action="extend", nargs="+", default=[], metavar="FILE", help="Text in which facts are counted instead."
    )
    add_settings(command, _keys(TaskSettings, ("limit",)))
    add_settings(command, analysis_settings())


def analysis_settings() -> list[Declaration]:
    """The settings of a run that may differ in its analyses: those of all methods that change no result, save where and who computes."""
    by_key = {declared.key: declared for declared in _keys(JobSettings, ("device", "device_map", "trust_remote_code"))}
    for name in method_names():
        by_key |= {declared.key: declared for declared in declarations(settings_class(name)) if not declared.changes_result}
    return list(by_key.values())


def export(command: Parser) -> None:
    """Arguments of `resect export`."""
    command.add_argument("plan", metavar="PLAN_OR_RUN", help="A plan.json, or the run folder that holds it.")
    command.add_argument("--model", metavar="MODEL", help="The model to edit: a Hub id or a folder; for a run, by default its own.")
    command.add_argument("--to", metavar="DIR", required=True, help="The folder that is written; it is new, or empty.")
    command.add_argument(
        "--format",
        choices=("checkpoint", "factored"),
        default="checkpoint",
        help="checkpoint (default); or factored: matrices of reduced rank as two thin ones, loaded by resect.load_model alone.",
    )
    command.add_argument("--base-model", metavar="ID", help="The name of the unedited model in the card, where it is a local folder.")
    command.add_argument("--no-verify", dest="verify", action="store_false", help="Do not load it again and compare the logits.")
    _other_model(command)
    _group(command, "model", _keys(JobSettings, ("revision", "device", "trust_remote_code")))


def report(command: Parser) -> None:
    """Arguments of `resect report`."""
    command.add_argument("run", metavar="RUN", help="A run folder, finished or not.")
    command.add_argument("--to", metavar="FILE.html", help="The file that is written; by default report.html in the run folder.")


def repeat(command: Parser) -> None:
    """Arguments of `resect repeat`."""
    command.add_argument("run", metavar="RUN", help="A finished run folder.")
    command.add_argument("--output", metavar="DIR", help="The folder of the second run; by default the first one's name and -repeat.")


def run(command: Parser) -> None:
    """Arguments of `resect run`."""
    command.add_argument("recipe", metavar="RECIPE", help="A TOML file, or the run folder that holds it.")
    _group(command, "data", _keys(TaskSettings, ("limit",)))
    _model_flags(command)
    _job_flags(command)


def list_names(command: Parser) -> None:
    """Arguments of `resect list`."""
    what = ("tasks", "methods", "families")
    command.add_argument("what", choices=what, metavar="|".join(what), help="What to list.")


def schema(command: Parser) -> None:
    """Arguments of `resect schema`."""
    names = "recipe, plan, comparison, matrix, trials, examples, …; an unknown one lists them all."
    command.add_argument("what", metavar="NAME", help=f"The file: {names}")
