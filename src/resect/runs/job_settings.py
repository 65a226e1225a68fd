"""The settings that every job has, and those of what a job reads: a task, corpora by language, or plain text.

A method's own settings stand with the method. Knows no method and no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .declarations import setting

LIMIT = "LIMIT"
GUARD_HELP = (
    "What no candidate of the search may cost on the select split: TAG=POINTS (by default 3 points of every tag), perplexity=SHARE (0.05), "
    "collapse=SHARE (0.1: the rise of the most frequent kind of answer where it is wrong); none: choose by the metric alone, as the papers "
    "do (official implies it)."
)
DAMAGE_HELP = (
    "From which loss on, on the test split, the verdict is that the edit damages, whatever it gains; in the same form (by default tags=10, "
    "perplexity=0.2, collapse=0.2)."
)
TASK_HELP = "A built-in task (see `resect list tasks`), or the path of a task file."


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Model, batches, seed, run folder and engine."""

    model: str = setting("", "A Hub id, a folder that holds a model, or a GGUF file.", path=True, metavar="MODEL")
    revision: str | None = setting(None, "Branch, tag or commit of a model from the Hub.", metavar="NAME")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto", "Number type the model is loaded in; auto takes the one it was saved in."
    )
    dequantize: bool = setting(
        False,
        "Give a quantised model plain weights, in --dtype: every edit can be written into them, for more memory. Without it, edits of "
        "units are applied to the activations, and edits of whole matrices are refused.",
    )
    device: str | None = setting(
        None, "Where to compute (cpu, cuda, cuda:1, mps); by default the best available.", changes_result=False, metavar="NAME"
    )
    device_map: str | None = setting(
        None, "How accelerate spreads a model over devices (auto, balanced, …).", changes_result=False, metavar="NAME"
    )
    trust_remote_code: bool = setting(
        False,
        "DANGEROUS: run Python code that comes with the model. Only for models whose code you have read.",
        changes_result=False,
    )
    batch_size: Literal["auto"] | int = setting(
        "auto", "Sequences in a batch; auto determines how many fit, and a run folder stores the number.", least=1, metavar="auto|N"
    )
    chat_template: bool = setting(
        False, "Wrap every prompt in the tokenizer's own chat template, as the user's turn; choices are the assistant's first words."
    )
    chat_kwargs: tuple[str, ...] = setting(
        (),
        "Variables of the chat template, such as enable_thinking=false; a value is JSON where it can be read as JSON.",
        metavar="K=V",
        needs="chat_template",
    )
    system: str | None = setting(None, "The system text in the chat template.", metavar="TEXT", needs="chat_template")
    parse_special: bool = setting(
        False, "Read special tokens that prompts, choices and texts spell (</s>, <|im_end|>) as these tokens; by default they are text."
    )
    seed: int = setting(0, "Seed of every random draw.", least=0, metavar="N")
    output: str | None = setting(
        None, "The run folder; by default runs/<method>-<model>-<task>.", changes_result=False, path=True, metavar="DIR"
    )
    anyway: bool = setting(False, "Go on where the program advises against it.", changes_result=False)
    engine: Literal["local", "ray"] = setting(
        "local", "Where the work is done: in this process (local), or by workers on a Ray cluster (ray).", changes_result=False
    )
    ray_address: str | None = setting(
        None,
        "The Ray cluster to use (auto, or host:port); by default one is started on this machine for the duration of the job.",
        changes_result=False,
        metavar="ADDRESS",
    )
    ray_workers: int | None = setting(
        None,
        "Workers, each with a copy of the model; by default one per GPU or, without GPUs, as many as the CPUs allow, at least two.",
        least=1,
        changes_result=False,
        metavar="N",
    )


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """A task, how it is worded, and what is measured on it."""

    task: str = setting("", TASK_HELP, metavar="TASK")
    data: tuple[str, ...] = setting(
        (), "Local files for the task instead of the Hub; TASK=PATH where there are several tasks.", path=True, metavar="[TASK=]PATH"
    )
    template: tuple[str, ...] = setting(
        (), "File with the prompt's wording (Jinja2); TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE"
    )
    instructions: tuple[str, ...] = setting(
        (), "File with the instructions, one a line; TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE"
    )
    split_by: str | None = setting(None, "The group that the splits keep together, e.g. template for BBQ.", metavar="GROUP")
    limit: int | None = setting(None, "Use at most so many examples in all (the splits keep their shares).", least=1, metavar="N")
    calibrate: tuple[str, ...] = setting(
        ("cc", "dc"),
        "Baselines to compare with: contextual (cc) and domain-context (dc) calibration of the unedited model, or none.",
        metavar="cc|dc|none",
    )
    generation: bool = setting(True, "Compare generated text too, not only the most probable choice.")
    text: tuple[str, ...] = setting(
        (), "Plain text for the perplexity before and after; by default a short text that ships with resect.", path=True, metavar="FILE"
    )
    beside: tuple[str, ...] = setting(
        (), "Other tasks on which the side effects of the edit are measured; their data are given as --data TASK=PATH.", metavar="TASK"
    )
    guard: tuple[str, ...] = setting((), GUARD_HELP, metavar=LIMIT)
    damage: tuple[str, ...] = setting((), DAMAGE_HELP, metavar=LIMIT)


@dataclass(frozen=True, kw_only=True)
class MetricSettings:
    """By what answers are measured, where no method says so."""

    metric: Literal["accuracy", "generation", "logloss", "topk", "top1", "top5", "top10"] | None = setting(
        None,
        "How answers are measured: by the most probable choice (accuracy), by generated text (generation), by the log loss of the right "
        "answer (logloss), or by whether its first token is among the most probable (topk: 10). By default each task's own metric.",
    )


@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """Text of several languages, and what is measured on it."""

    corpus: tuple[str, ...] = setting(
        (),
        "Text of each language: a file (.txt a document a line, .jsonl, .parquet, .gz), a folder, a glob, or hub:OWNER/NAME.",
        path=True,
        metavar="LANG=PATH",
    )
    valid: tuple[str, ...] = setting(
        (), "Held-out text of each language; by default a tenth of its corpus is held out.", path=True, metavar="LANG=PATH"
    )
    valid_tokens: int | None = setting(
        None,
        "Measure on at most so many held-out tokens of each language (default 1,048,576; 2,000 for masked models, "
        "which need one forward pass per token).",
        least=1,
        metavar="N",
    )
    limit: int | None = setting(None, "Use at most so many documents, questions and sentences of each language.", least=1, metavar="N")
    purity: bool = setting(False, "Leave out documents that a language identifier finds to be in another language.")
    draws: int = setting(3, "Random controls for each language; 0: none.", least=0, metavar="N")
    questions: tuple[str, ...] = setting(
        (), "Open questions, one a line, to be answered under each language's plan.", path=True, metavar="LANG=FILE"
    )
    suffix: tuple[str, ...] = setting(
        (), "Text after each open question, for all languages or for one.", metavar="[LANG=]TEXT", needs="questions"
    )
    new_tokens: int = setting(128, "The longest answer to an open question, in tokens.", least=1, metavar="N", needs="questions")
    parallel: tuple[str, ...] = setting(
        (),
        "The same sentences in each language, one a line, to compare the model's hidden states of languages layer by layer.",
        path=True,
        metavar="LANG=FILE",
    )
    judge: str | None = setting(
        None,
        "Address of an OpenAI-compatible endpoint (…/v1) of a judge model that rates open answers from 1 to 5.",
        metavar="URL",
        needs="questions",
    )
    judge_model: str | None = setting(None, "The name of the judge model there.", metavar="NAME", needs="judge")


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Plain text, one half to search by and one to report on, and other tasks for the side effects."""

    text: tuple[str, ...] = setting((), "Plain text; by default a short text that ships with resect.", path=True, metavar="FILE")
    beside: tuple[str, ...] = setting(
        (), "Tasks on which the side effects of the edit are measured; their data are given as --data TASK=PATH.", metavar="TASK"
    )
    data: tuple[str, ...] = setting((), "Local files for a task instead of the Hub.", path=True, metavar="[TASK=]PATH")
    template: tuple[str, ...] = setting((), "File with a task's wording of the prompt (Jinja2).", path=True, metavar="[TASK=]FILE")
    instructions: tuple[str, ...] = setting((), "File with a task's instructions, one a line.", path=True, metavar="[TASK=]FILE")
    limit: int | None = setting(None, "Use at most so many examples of each task in all.", least=1, metavar="N")
    guard: tuple[str, ...] = setting((), GUARD_HELP, metavar=LIMIT)
    damage: tuple[str, ...] = setting((), DAMAGE_HELP, metavar=LIMIT)


class Reads(Enum):
    """What a method reads."""

    TASK = "task"
    CORPORA = "corpora"
    TEXT = "text"


#: The settings by which people say what is read.
INPUT_SETTINGS: Mapping[Reads, type] = {Reads.TASK: TaskSettings, Reads.CORPORA: CorpusSettings, Reads.TEXT: TextSettings}
