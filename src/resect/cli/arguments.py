"""Command lines and what they mean: every command with its flags, whose sentences come from the recipe. Does nothing."""

import argparse
import dataclasses
import difflib
import importlib.metadata
from collections.abc import Sequence
from typing import Any

from ..analyses import SENTENCES as ANALYSES
from ..errors import InputError, UnknownName
from ..recipe import Recipe
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
#: What `resect steer` can do with the units of a language, as `steering` has it.
STEERING = ("set", "add", "multiply", "difference")
STEERING_WORDS = "set them to their mean on the language, add it, multiply their values, or add how it differs from the other languages'"
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
        _BUILDERS[name](command)
        _common(command)
        commands[name] = command
    return parser, commands


def _common(command: Parser) -> None:
    group = command.add_argument_group("what is shown")
    group.add_argument("--json", action="store_true", help="Print one JSON object on standard output.")
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="No progress on standard error.")
    loudness.add_argument("--verbose", action="store_true", help="Say more; show where an unexpected error came from.")


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
    group = command.add_argument_group("the draws")
    add_settings(group, ("limit", "seed"))
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
        help="What the model is asked, one prompt a line; LANG=FILE: for that language of --to only.",
    )
    command.add_argument("--template", metavar="TEXT", help="What stands around each prompt, with {prompt} in it, e.g. 'Q: {prompt}\nA:'.")
    command.add_argument("--new-tokens", type=int, default=128, metavar="N", help="The longest answer, in tokens (default 128).")
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


_BUILDERS = {
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
