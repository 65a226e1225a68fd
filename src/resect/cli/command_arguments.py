"""The arguments and flags of each command, in groups. Declared settings become flags by themselves (`flags.add_settings`)."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from resect.methods.lape.settings import STEERING_MODES
from resect.runs.declarations import Declaration, declarations
from resect.runs.job_settings import INPUT_SETTINGS, TASK_HELP, CorpusSettings, JobSettings, MetricSettings, TaskSettings
from resect.runs.methods import MethodSettings, method_names, settings_class

from .flags import Parser, add_settings

READING_KEYS = ("chat_template", "chat_kwargs", "system", "parse_special")
MODEL_KEYS = ("revision", "dtype", "dequantize", "device", "device_map", "trust_remote_code", "batch_size", *READING_KEYS)
TASK_KEYS = ("data", "template", "instructions", "split_by", "limit")
CORPUS_KEYS = ("corpus", "valid", "valid_tokens", "purity")
RUN_KEYS = ("seed", "output", "anyway", "engine", "ray_address", "ray_workers")
STEERING_GUARD_HELP = (
    "What the answers may not cost: collapse=SHARE (default: 0.1): repetition (4-grams of tokens that occurred before in the answer), the "
    "share of the most frequent answer and that of empty answers may each rise by so much; none: no guard. Of several strengths, none that "
    "breaks it is chosen; a single one is applied all the same. The perplexity of plain text is no guard: steering away from a language "
    "raises it by intent."
)


def _declared(settings: type, keys: Iterable[str]) -> list[Declaration]:
    by_key = {declaration.key: declaration for declaration in declarations(settings)}
    return [by_key[key] for key in keys]


def _help(settings: type, key: str) -> str:
    return _declared(settings, (key,))[0].help


def _add_group(command: Parser, title: str, settings: Sequence[Declaration]) -> Any:
    group = command.add_argument_group(title)
    add_settings(group, settings)
    return group


def _add_allow_other_model(command: Any) -> None:
    command.add_argument("--allow-other-model", action="store_true", help="Apply a plan made for another model of the same shape.")


def _add_plan(command: Parser, *, required: bool) -> None:
    command.add_argument("--plan", metavar="PLAN", required=required, help="A plan.json, or the run folder that holds it.")
    _add_allow_other_model(command)


def _add_model(command: Parser) -> None:
    command.add_argument("model", metavar="MODEL", help=_help(JobSettings, "model"))


def _add_model_flags(command: Parser) -> None:
    _add_group(command, "model", _declared(JobSettings, MODEL_KEYS))


def _add_task_flags(command: Parser, title: str) -> None:
    _add_group(command, title, [*_declared(TaskSettings, TASK_KEYS), *_declared(JobSettings, ("seed",)), *declarations(MetricSettings)])


def _add_journal_folder(command: Parser) -> None:
    command.add_argument(
        "--output", metavar="DIR", help="A folder for finished work: after an interruption the same command continues from it."
    )


def _add_table_flags(command: Parser) -> None:
    group = command.add_argument_group("table")
    group.add_argument("--format", choices=("text", "csv", "latex"), default="text", help="The format that is printed (default: text).")
    group.add_argument("--picture", metavar="FILE.svg", help="Also draw the table into this file.")


def _add_job_flags(command: Parser) -> None:
    group = _add_group(command, "run", _declared(JobSettings, RUN_KEYS))
    group.add_argument("--fresh", action="store_true", help="Delete what an earlier run left in the folder, and start anew.")
    group.add_argument("--dry-run", action="store_true", help="Only say what would be done, and about how long it would take.")


def method(command: Parser, settings: type[MethodSettings]) -> None:
    """Adds the arguments of a method: what it reads, its own settings, the model and the run."""
    _add_model(command)
    reads = list(declarations(INPUT_SETTINGS[settings.reads]))
    task = [declaration for declaration in reads if declaration.key == "task"]
    if task:
        # Where a method overrides `inputs`, its settings decide whether it reads a task.
        if settings.inputs is MethodSettings.inputs:
            command.add_argument("task", metavar="TASK", help=TASK_HELP)
        else:
            command.add_argument("task", metavar="TASK", nargs="?", default=argparse.SUPPRESS, help=TASK_HELP)
    _add_group(command, "method", declarations(settings))
    data = [declaration for declaration in reads if declaration.key in (*TASK_KEYS, *CORPUS_KEYS)]
    _add_group(command, "data", data)
    _add_group(command, "what is measured", [declaration for declaration in reads if declaration not in (*task, *data)])
    _add_model_flags(command)
    _add_job_flags(command)


def demo(command: Parser) -> None:
    """Adds the arguments of `resect demo`."""
    command.add_argument("--output", default=None, metavar="DIR", help="The run folder; by default a new one under runs/.")


def anatomy(command: Parser) -> None:
    """Adds the arguments of `resect anatomy`."""
    _add_model(command)
    verify = "Check on a tiny model of this configuration, with random weights, that sites are what they are said to be."
    command.add_argument("--verify", action="store_true", help=verify)
    add_settings(command, _declared(JobSettings, ("revision", "trust_remote_code")))


def steer(command: Parser) -> None:
    """Adds the arguments of `resect steer`."""
    _add_model(command)
    command.add_argument("--run", metavar="RUN", required=True, help="A finished run folder with counts and a plan for each language.")
    to = "The language to answer in; several may follow."
    command.add_argument("--to", action="extend", nargs="+", required=True, metavar="LANG", help=to)
    command.add_argument("--from", dest="source", metavar="LANG", help="The language whose units are deactivated (default: none).")
    command.add_argument(
        "--mode",
        choices=STEERING_MODES,
        default="set",
        help="What is done with the units of the language: set them to their mean activation on its text (set, the default), add this mean "
        "to them (add), multiply them (multiply), or add by how much the mean differs from the other languages' (difference).",
    )
    command.add_argument(
        "--strength",
        type=float,
        nargs="+",
        metavar="S",
        help="How strongly (default: 1; 2 for multiply). Of several, the one is chosen under which most answers are in the language and no "
        "guard breaks, on about half of the prompts; what is reported is of the others.",
    )
    command.add_argument("--guard", action="extend", nargs="+", default=[], metavar="LIMIT", help=STEERING_GUARD_HELP)
    command.add_argument(
        "--prompts",
        action="extend",
        nargs="+",
        required=True,
        metavar="[LANG=]FILE",
        help="Prompts, one a line. LANG=FILE: prompts in this language, which is that of --from or, without --from, one of --to. A "
        "language with a file of its own gets no other prompts.",
    )
    command.add_argument("--template", metavar="TEXT", help="Text around each prompt, with {prompt} in it, e.g. 'Q: {prompt}\\nA:'.")
    length = "The longest answer, in tokens (default: 128, or as many as the model's context leaves)."
    command.add_argument("--new-tokens", type=int, metavar="N", help=length)
    command.add_argument("--judge", metavar="URL", help=_help(CorpusSettings, "judge"))
    command.add_argument("--judge-model", metavar="NAME", help=_help(CorpusSettings, "judge_model"))
    command.add_argument("--limit", type=int, metavar="N", help="Use at most so many prompts of each language.")
    _add_allow_other_model(command)
    _add_model_flags(command)


def try_plan(command: Parser) -> None:
    """Adds the arguments of `resect try`."""
    _add_model(command)
    _add_plan(command, required=True)
    command.add_argument("--prompt", action="extend", nargs="+", required=True, metavar="TEXT", help="A prompt; several may follow.")
    command.add_argument("--max-new-tokens", type=int, default=32, metavar="N", help="The longest answer, in tokens (default: 32).")
    _add_model_flags(command)


def evaluate(command: Parser) -> None:
    """Adds the arguments of `resect evaluate`."""
    _add_model(command)
    command.add_argument("tasks", metavar="TASK", nargs="+", help=TASK_HELP)
    _add_plan(command, required=False)
    _add_task_flags(command, "task")
    group = command.add_argument_group("what is measured")
    group.add_argument(
        "--calibrate",
        action="extend",
        nargs="+",
        choices=("cc", "dc", "none"),
        help="Contextual (cc) and domain-context (dc) calibration of the unedited model (default: none).",
    )
    add_settings(group, _declared(TaskSettings, ("generation", "text")))
    _add_model_flags(command)
    _add_journal_folder(command)


def transfer(command: Parser) -> None:
    """Adds the arguments of `resect transfer`."""
    _add_model(command)
    command.add_argument("plans", metavar="RUN", nargs="+", help="Run folders, or plan.json files.")
    on = "The tasks on whose test splits the plans are evaluated."
    command.add_argument("--on", action="extend", nargs="+", required=True, metavar="TASK", help=on)
    _add_allow_other_model(command)
    _add_task_flags(command, "tasks")
    _add_table_flags(command)
    _add_model_flags(command)
    _add_journal_folder(command)


def table(command: Parser) -> None:
    """Adds the arguments of `resect table`."""
    command.add_argument("runs", metavar="RUN", nargs="+", help="Finished run folders.")
    _add_table_flags(command)


def analyse(command: Parser) -> None:
    """Adds the arguments of `resect analyse`."""
    command.add_argument("run", metavar="RUN", help="A finished run folder; the results are added to its analyses.json.")
    command.add_argument("what", metavar="WHAT", nargs="*", help="Analyses (default: all that fit the run; an unknown name lists them).")
    counts = "How often facts occur: columns entity, answer, count (for the analysis frequency)."
    command.add_argument("--counts", metavar="FILE.csv", help=counts)
    corpus = "Text in which the facts are counted, instead of --counts."
    command.add_argument("--corpus", action="extend", nargs="+", default=[], metavar="FILE", help=corpus)
    add_settings(command, _declared(TaskSettings, ("limit",)))
    add_settings(command, _analysis_settings())


def _analysis_settings() -> list[Declaration]:
    """Returns the settings that may differ between a run and its analyses: none of them changes a result."""
    by_key = {declaration.key: declaration for declaration in _declared(JobSettings, ("device", "device_map", "trust_remote_code"))}
    for name in method_names():
        by_key |= {declaration.key: declaration for declaration in declarations(settings_class(name)) if not declaration.changes_result}
    return list(by_key.values())


def export(command: Parser) -> None:
    """Adds the arguments of `resect export`."""
    command.add_argument("plan", metavar="PLAN_OR_RUN", help="A plan.json, or the run folder that holds it.")
    command.add_argument("--model", metavar="MODEL", help="The model to edit, a Hub id or a folder; by default that of the run.")
    command.add_argument("--to", metavar="DIR", required=True, help="The folder to write, new or empty.")
    command.add_argument(
        "--format",
        choices=("checkpoint", "factored"),
        default="checkpoint",
        help="checkpoint (the default), or factored: each matrix of reduced rank as two thin ones, which only resect.load_model reads.",
    )
    command.add_argument("--base-model", metavar="ID", help="The Hub id of the unedited model for the model card, where MODEL is a folder.")
    no_verify = "Do not load what was written and compare its logits."
    command.add_argument("--no-verify", dest="verify", action="store_false", help=no_verify)
    anyway = "Export a plan even where the verdict of its run is that it damages the model."
    command.add_argument("--anyway", action="store_true", help=anyway)
    _add_allow_other_model(command)
    _add_group(command, "model", _declared(JobSettings, ("revision", "device", "trust_remote_code")))


def report(command: Parser) -> None:
    """Adds the arguments of `resect report`."""
    command.add_argument("run", metavar="RUN", help="A run folder, finished or not.")
    command.add_argument("--to", metavar="FILE.html", help="The file to write; by default report.html in the run folder.")


def repeat(command: Parser) -> None:
    """Adds the arguments of `resect repeat`."""
    command.add_argument("run", metavar="RUN", help="A finished run folder.")
    command.add_argument("--output", metavar="DIR", help="The folder of the second run; by default the name of the first with -repeat.")


def run(command: Parser) -> None:
    """Adds the arguments of `resect run`."""
    command.add_argument("recipe", metavar="RECIPE", help="A TOML file, or the run folder that holds it.")
    _add_group(command, "data", _declared(TaskSettings, ("limit",)))
    _add_model_flags(command)
    _add_job_flags(command)


def list_names(command: Parser) -> None:
    """Adds the arguments of `resect list`."""
    what = ("tasks", "methods", "families")
    command.add_argument("what", choices=what, metavar="|".join(what), help="What to list.")


def schema(command: Parser) -> None:
    """Adds the arguments of `resect schema`."""
    command.add_argument(
        "what", metavar="NAME", help="The file: recipe, plan, comparison, matrix, trials, examples, …; any other NAME lists them all."
    )
