"""What each command takes: its arguments and flags, in groups. Settings of a recipe declare themselves (`flags.add_settings`)."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from resect.methods.laser.analyses.catalogue import SENTENCES as ANALYSES
from resect.runs.recipe import Recipe

from .flags import Parser, add_settings

MODEL_FLAGS = ("revision", "dtype", "device", "device_map", "trust_remote_code", "batch_size")
TASK_FLAGS = ("data", "template", "instructions", "split_by", "chat_template", "limit", "seed")
CRISPR_FLAGS = (
    *("samples", "locate_on", "variant", "sites", "n", "fraction", "choose", "max_fraction", "trials"),
    *("tokens", "confusion_weight", "skill", "gradient", "pooling", "skill_batch", "metric", "authors_task", "largest"),
)
LASER_FLAGS = (
    *("rho", "sites", "keep", "compose", "published", "screen", "screened", "task_free", "rise", "variant", "metric"),
    *("decomposition", "authors_task", "search_prompt", "state_memory", "cache", "cache_size"),
)
LAPE_FLAGS = (
    *("corpus", "valid", "corpus_tokens", "valid_tokens", "window", "selector", "fraction", "quantile", "counts", "checkpoint"),
    *("purity", "until_stable", "record_only", "draws"),
)
LAPE_BESIDE_FLAGS = ("questions", "suffix", "new_tokens", "chat_template", "judge", "judge_model", "parallel")
BESIDE_FLAGS = ("calibrate", "generation", "text", "beside")
RUN_FLAGS = ("output", "engine", "ray_address", "ray_workers")
#: What `resect steer` can do with the units of a language, as `steering` has it.
STEERING = ("set", "add", "multiply", "difference")
STEERING_WORDS = "set them to their mean on the language, add it, multiply their values, or add how it differs from the other languages'"


def _job(command: Parser) -> None:
    group = command.add_argument_group("the run folder")
    add_settings(group, RUN_FLAGS)
    group.add_argument("--fresh", action="store_true", help="Start the folder anew, whatever an earlier run left there.")
    group.add_argument("--dry-run", action="store_true", help="Only say what would be done, and how long it may take.")


def _other_model(command: Any) -> None:
    command.add_argument("--allow-other-model", action="store_true", help="Apply a plan made for another model of the same shape.")


def _plan(command: Parser, required: bool) -> None:
    command.add_argument("--plan", metavar="PLAN", required=required, help="A plan.json, or the run folder that holds it.")
    _other_model(command)


def _model(command: Parser) -> None:
    command.add_argument("model", metavar="MODEL", help=Recipe.sentence("model"))


def _keep(command: Parser) -> None:
    command.add_argument("--output", metavar="DIR", help="A folder for finished work, so that the same command goes on after a kill.")


def _grid(command: Parser) -> None:
    group = command.add_argument_group("the table")
    group.add_argument("--format", choices=("text", "csv", "latex"), default="text", help="How it is printed (default: text).")
    group.add_argument("--picture", metavar="FILE.svg", help="Draw it into this file too.")


def _demo(command: Parser) -> None:
    command.add_argument("--output", default=None, metavar="DIR", help="The run folder; by default a new one under runs/.")


def _anatomy(command: Parser) -> None:
    _model(command)
    add_settings(command, ("revision", "trust_remote_code"))


def _crispr(command: Parser) -> None:
    _model(command)
    command.add_argument("task", metavar="TASK", help=Recipe.sentence("task"))
    add_settings(command.add_argument_group("the method"), CRISPR_FLAGS)
    add_settings(command.add_argument_group("the task"), TASK_FLAGS)
    add_settings(command.add_argument_group("beside the comparison"), BESIDE_FLAGS)
    add_settings(command.add_argument_group("the model"), MODEL_FLAGS)
    _job(command)


def _laser(command: Parser) -> None:
    _model(command)
    command.add_argument(
        "task", metavar="TASK", nargs="?", default=argparse.SUPPRESS, help=f"{Recipe.sentence('task')} Not with --task-free."
    )
    add_settings(command.add_argument_group("the method"), LASER_FLAGS)
    add_settings(command.add_argument_group("the task"), TASK_FLAGS)
    add_settings(command.add_argument_group("beside the comparison"), BESIDE_FLAGS)
    add_settings(command.add_argument_group("the model"), MODEL_FLAGS)
    _job(command)


def _lape(command: Parser) -> None:
    _model(command)
    add_settings(command.add_argument_group("the method"), LAPE_FLAGS)
    add_settings(command.add_argument_group("beside the matrix"), LAPE_BESIDE_FLAGS)
    add_settings(command.add_argument_group("how much, and which draws"), ("limit", "seed"))
    add_settings(command.add_argument_group("the model"), MODEL_FLAGS)
    _job(command)


def _steer(command: Parser) -> None:
    _model(command)
    command.add_argument("--run", metavar="RUN", required=True, help="A finished run folder of lape.")
    to = "The language to answer in; several may follow."
    command.add_argument("--to", action="extend", nargs="+", required=True, metavar="LANG", help=to)
    command.add_argument("--from", dest="source", metavar="LANG", help="The language whose units are switched off (default: none).")
    command.add_argument("--mode", choices=STEERING, default="set", help=f"What is done with the units: {STEERING_WORDS} (default: set).")
    command.add_argument("--strength", type=float, metavar="S", help="How much of it (default: 1; 2 for multiply).")
    command.add_argument(
        "--prompts",
        action="extend",
        nargs="+",
        required=True,
        metavar="[LANG=]FILE",
        help="What the model is asked, one prompt a line. LANG=FILE names the language that the prompts are in: that of --from or, without "
        "it, one of --to, which then is asked nothing else.",
    )
    command.add_argument("--template", metavar="TEXT", help="What stands around each prompt, with {prompt} in it, e.g. 'Q: {prompt}\\nA:'.")
    length = "The longest answer, in tokens (default: 128, or as many as the model's context leaves)."
    command.add_argument("--new-tokens", type=int, metavar="N", help=length)
    command.add_argument("--judge", metavar="URL", help=Recipe.sentence("judge"))
    command.add_argument("--judge-model", metavar="NAME", help=Recipe.sentence("judge_model"))
    add_settings(command, ("limit",))
    _other_model(command)
    add_settings(command.add_argument_group("the model"), (*MODEL_FLAGS, "chat_template"))


def _try(command: Parser) -> None:
    _model(command)
    _plan(command, required=True)
    command.add_argument(
        "--prompt",
        action="extend",
        nargs="+",
        required=True,
        metavar="TEXT",
        help="What the model is asked; several may follow.",
    )
    command.add_argument("--max-new-tokens", type=int, default=32, metavar="N", help="The longest answer, in tokens (default 32).")
    add_settings(command.add_argument_group("the model"), (*MODEL_FLAGS, "chat_template"))


def _evaluate(command: Parser) -> None:
    _model(command)
    command.add_argument("tasks", metavar="TASK", nargs="+", help=Recipe.sentence("task"))
    _plan(command, required=False)
    add_settings(command.add_argument_group("the task"), (*TASK_FLAGS, "metric"))
    group = command.add_argument_group("beside the comparison")
    group.add_argument(
        "--calibrate",
        action="extend",
        nargs="+",
        choices=("cc", "dc", "none"),
        help="Contextual (cc) and domain-context (dc) calibration of the model as it is (default: none).",
    )
    add_settings(group, ("generation", "text"))
    add_settings(command.add_argument_group("the model"), MODEL_FLAGS)
    _keep(command)


def _transfer(command: Parser) -> None:
    _model(command)
    command.add_argument("plans", metavar="RUN", nargs="+", help="Run folders, or plan.json files.")
    command.add_argument(
        "--on", action="extend", nargs="+", required=True, metavar="TASK", help="The tasks on whose test splits the cuts are tried."
    )
    _other_model(command)
    add_settings(command.add_argument_group("the tasks"), (*TASK_FLAGS, "metric"))
    _grid(command)
    add_settings(command.add_argument_group("the model"), MODEL_FLAGS)
    _keep(command)


def _table(command: Parser) -> None:
    command.add_argument("runs", metavar="RUN", nargs="+", help="Finished run folders.")
    _grid(command)


def _analyse(command: Parser) -> None:
    command.add_argument("run", metavar="RUN", help="A finished run folder; analyses.json in it is added to.")
    command.add_argument(
        "what",
        metavar="WHAT",
        nargs="*",
        help=f"{', '.join(ANALYSES)}; by default all that fit.",
    )
    command.add_argument("--counts", metavar="FILE.csv", help="How often facts occur: columns entity, answer, count (for frequency).")
    command.add_argument(
        "--corpus", action="extend", nargs="+", default=[], metavar="FILE", help="Text in which facts are counted instead."
    )
    add_settings(command, ("limit", "device", "device_map", "trust_remote_code", "state_memory", "cache", "cache_size"))


def _export(command: Parser) -> None:
    command.add_argument("plan", metavar="PLAN_OR_RUN", help="A plan.json, or the run folder that holds it.")
    command.add_argument("--model", metavar="MODEL", help="The model to cut: a Hub id or a folder; for a run, by default its own.")
    command.add_argument("--to", metavar="DIR", required=True, help="The folder that is written; it is new, or empty.")
    command.add_argument(
        "--format",
        choices=("checkpoint", "factored"),
        default="checkpoint",
        help="checkpoint (default); or factored: matrices of reduced rank as two thin ones, loaded by resect.load_model alone.",
    )
    command.add_argument("--base-model", metavar="ID", help="What the card calls the model that was cut, where it is a local folder.")
    command.add_argument("--no-verify", dest="verify", action="store_false", help="Do not load it again and compare the logits.")
    _other_model(command)
    add_settings(command.add_argument_group("the model"), ("revision", "device", "trust_remote_code"))


def _report(command: Parser) -> None:
    command.add_argument("run", metavar="RUN", help="A run folder, finished or not.")
    command.add_argument("--to", metavar="FILE.html", help="The file that is written; by default report.html in the run folder.")


def _repeat(command: Parser) -> None:
    command.add_argument("run", metavar="RUN", help="A finished run folder.")
    command.add_argument("--output", metavar="DIR", help="The folder of the second run; by default the first one's name and -repeat.")


def _run(command: Parser) -> None:
    command.add_argument("recipe", metavar="RECIPE", help="A TOML file, or the run folder that holds it.")
    add_settings(command.add_argument_group("the task"), ("limit", "seed"))
    add_settings(command.add_argument_group("the model"), MODEL_FLAGS)
    _job(command)


def _list(command: Parser) -> None:
    what = ("tasks", "methods", "families")
    command.add_argument("what", choices=what, metavar="|".join(what), help="What to list.")


#: By command, what adds its arguments to a parser.
BUILDERS: Mapping[str, Callable[[Parser], None]] = {
    "demo": _demo,
    "anatomy": _anatomy,
    "crispr": _crispr,
    "laser": _laser,
    "lape": _lape,
    "steer": _steer,
    "try": _try,
    "evaluate": _evaluate,
    "transfer": _transfer,
    "table": _table,
    "analyse": _analyse,
    "export": _export,
    "report": _report,
    "repeat": _repeat,
    "run": _run,
    "list": _list,
}
