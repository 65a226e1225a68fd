"""Every setting of a recipe, with the sentence that the command line and the recipe file show.

Knows what may be set; not what goes together, and no file.
"""

from dataclasses import dataclass
from typing import Literal

from .setting_fields import setting

#: The methods that ask a task.
TASKS = ("crispr", "laser")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of one job, of whatever method."""

    method: Literal["crispr", "laser", "lape"] = setting(
        "crispr",
        "What is done: crispr finds bias neurons and cuts them, laser replaces matrices by low-rank ones, lape finds languages' units.",
    )
    model: str = setting("", "A Hub id, or a folder that holds a model.", path=True, metavar="MODEL")
    task: str = setting("", "A built-in task (see `resect list tasks`), or the path of a task file.", metavar="TASK", of=TASKS)

    revision: str | None = setting(None, "Branch, tag or commit of a model from the Hub.", metavar="NAME")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto", "Number type the model is loaded in; auto takes the one it was saved in."
    )
    device: str | None = setting(
        None,
        "Where to compute (cpu, cuda, cuda:1, mps); by default the best there is.",
        changes_result=False,
        metavar="NAME",
    )
    device_map: str | None = setting(
        None,
        "How accelerate spreads a model over devices (auto, balanced, …).",
        changes_result=False,
        metavar="NAME",
    )
    trust_remote_code: bool = setting(
        False,
        "DANGEROUS: run Python code that comes with the model. Only for models whose code you have read.",
        changes_result=False,
    )
    batch_size: Literal["auto"] | int = setting(
        "auto", "Sequences a batch; auto finds what fits, and a folder keeps what was found.", least=1, metavar="auto|N"
    )

    data: tuple[str, ...] = setting(
        (),
        "Local files for the task instead of the Hub; TASK=PATH where there are several tasks.",
        path=True,
        metavar="[TASK=]PATH",
        of=TASKS,
    )
    template: tuple[str, ...] = setting(
        (), "File with the prompt's wording (Jinja2); TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE", of=TASKS
    )
    instructions: tuple[str, ...] = setting(
        (), "File with the instructions, one a line; TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE", of=TASKS
    )
    split_by: str | None = setting(None, "What may not be torn apart by the splits, e.g. template for BBQ.", metavar="GROUP", of=TASKS)
    chat_template: bool = setting(False, "Wrap every prompt in the tokenizer's own chat template.")
    limit: int | None = setting(
        None,
        "Use at most so many examples in all (the splits keep their shares); lape: documents, questions and sentences of a language.",
        least=1,
        metavar="N",
    )
    seed: int = setting(0, "Seed of every random draw.", least=0, metavar="N")

    samples: int = setting(20, "Examples of the locate split that find the neurons.", least=1, metavar="N", of="crispr")
    locate_on: tuple[str, ...] = setting(
        (), "Look only at examples that carry every one of these tags, e.g. ambig.", metavar="TAG", of="crispr"
    )
    variant: Literal["paper", "official"] = setting("paper", "Compute as the paper writes it, or as its authors' code does it.", of=TASKS)
    sites: tuple[str, ...] = setting(
        (),
        "Where to look: globs like decoder.*.up or '*.{q,k}'. By default everywhere (crispr), or at the first and the last matrix of "
        "each feed-forward block (laser).",
        metavar="GLOB",
        of=TASKS,
    )
    tokens: Literal["max", "mean"] = setting("max", "How a neuron's scores at the tokens of one example are combined.", of="crispr")
    confusion_weight: bool = setting(True, "Weigh each example by the probability of its wrong answer.", of="crispr")
    skill: float = setting(
        1.0, "How much of a neuron's use for the right answer is taken off its score.", least=0.0, metavar="λ", of="crispr"
    )
    gradient: Literal["probability", "log-probability"] | None = setting(
        None,
        "What is differentiated: the answer's probability (paper) or its logarithm (official).",
        of="crispr",
    )
    pooling: Literal["joint", "apart"] | None = setting(
        None,
        "Combine tokens after the skill is taken off (joint, paper), or for both answers before (apart, official).",
        of="crispr",
    )
    skill_batch: int | None = setting(
        None,
        "Sum skill over so many examples before it is clamped (0 in the paper, 4 official).",
        least=0,
        metavar="N",
        of="crispr",
    )
    metric: Literal["accuracy", "generation", "logloss", "topk", "top1", "top5", "top10"] | None = setting(
        None,
        "By what is chosen and compared: the most probable choice (accuracy), generated text, the right answer's log loss, or whether its "
        "first token is among the most probable (topk). By default what the method's paper, or the task, says.",
        of=TASKS,
    )
    authors_task: bool | None = setting(None, "Ask built-in tasks with the prompt and the split of the authors' code (official).", of=TASKS)
    largest: int | None = setting(
        None,
        "Largest number of neurons that is tried (500 official); by default see max_fraction.",
        least=0,
        metavar="N",
        of="crispr",
    )
    n: int | None = setting(None, "Cut exactly so many neurons; nothing is searched.", least=0, metavar="N", of="crispr")
    fraction: float | None = setting(
        None,
        "Share of all neurons: what crispr cuts without a search (0.001 is 0.1 %), what lape takes as units of languages (default 0.01).",
        least=0.0,
        most=1.0,
        metavar="F",
        of=("crispr", "lape"),
    )
    choose: Literal["golden", "grid", "first-drop"] = setting(
        "golden",
        "How many neurons are cut: by golden section on the select split, every number, or up to the first drop.",
        of="crispr",
    )
    max_fraction: float | None = setting(
        None,
        "Largest share of all neurons that is tried; by default 0.001, but at least 50 neurons.",
        least=0.0,
        most=1.0,
        metavar="F",
        of="crispr",
    )
    trials: int = setting(1, "Repeat with other samples, each trial with its own cut.", least=1, metavar="N", of="crispr")

    rho: tuple[float, ...] = setting(
        (0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01),
        "Shares of a matrix' rank that are tried; 0 sets it to zero.",
        least=0.0,
        metavar="R",
        of="laser",
    )
    keep: Literal["largest", "smallest"] = setting("largest", "Which components of a matrix stay.", of="laser")
    compose: bool = setting(False, "Reduce one matrix after the other, as long as it helps, not the best one alone.", of="laser")
    published: bool = setting(False, "Search nothing: what the paper chose for this model and task.", of="laser")
    screen: Literal["gradient"] | None = setting(None, "Search only the matrices that one backward pass finds promising.", of="laser")
    screened: int = setting(4, "How many matrices are searched after a screening.", least=1, metavar="N", of="laser")
    task_free: bool = setting(
        False, "Without a task: drop what looks like noise in a matrix' spectrum, wherever plain text does not mind.", of="laser"
    )
    rise: float = setting(
        0.01, "With --task-free: by what share the perplexity of plain text may rise in all.", least=0.0, metavar="F", of="laser"
    )
    decomposition: Literal["exact", "svd_lowrank"] | None = setting(
        None, "Decompose exactly (paper), or at random with a seed (official).", of="laser"
    )
    search_prompt: bool | None = setting(
        None,
        "Count an answer that stands in the question as said (official, for some models and tasks).",
        of="laser",
    )
    state_memory: float | None = setting(
        None,
        "Gigabytes of hidden states that may be held instead of running layers again; by default a quarter of what is free.",
        least=0.0,
        metavar="GB",
        changes_result=False,
        of="laser",
    )
    cache: str | None = setting(
        None,
        "Where decompositions are kept between runs; by default in the user's cache folder.",
        changes_result=False,
        metavar="DIR",
        of="laser",
    )
    cache_size: float = setting(
        4.0, "Gigabytes that this folder may hold; 0 keeps nothing.", least=0.0, changes_result=False, metavar="GB", of="laser"
    )

    corpus: tuple[str, ...] = setting(
        (),
        "Text of each language: a file (.txt a document a line, .jsonl, .parquet, .gz), a folder, a glob, or hub:OWNER/NAME.",
        path=True,
        metavar="LANG=PATH",
        of="lape",
    )
    valid: tuple[str, ...] = setting(
        (), "Held-out text of each language; by default a tenth of its corpus is held out.", path=True, metavar="LANG=PATH", of="lape"
    )
    corpus_tokens: int | None = setting(
        None, "Read at most so many tokens of each language.", least=1, metavar="N", of="lape", flag="tokens"
    )
    valid_tokens: int | None = setting(
        None,
        "Measure on at most so many held-out tokens of each language (default 1,048,576; 2,000 for masked models, "
        "which are asked token by token).",
        least=1,
        metavar="N",
        of="lape",
    )
    window: int | None = setting(
        None, "Tokens that are read at once; by default the model's context, at most 4,096.", least=2, metavar="N", of="lape"
    )
    selector: Literal["lape", "lap", "lave", "pv", "random"] = setting(
        "lape",
        "By what units are chosen: the entropy of activation probabilities (lape), or what it is compared with: probabilities (lap), mean "
        "values (lave), tuned checkpoints (pv), nothing (random).",
        of="lape",
    )
    quantile: float = setting(
        0.95,
        "The bar that a language must exceed to have a unit: the value of this rank among all probabilities.",
        least=0.0,
        most=1.0,
        metavar="Q",
        of="lape",
    )
    counts: tuple[str, ...] = setting(
        (),
        "Counts that were recorded elsewhere, to be added: counts.safetensors, or LANG=FILE as the authors' code writes it.",
        path=True,
        metavar="[LANG=]FILE",
        of="lape",
    )
    checkpoint: tuple[str, ...] = setting((), "The model tuned on each language alone (for pv).", path=True, metavar="LANG=PATH", of="lape")
    purity: bool = setting(False, "Leave out text that a language identifier finds to be in another language.", of="lape")
    until_stable: bool = setting(
        False, "Stop reading once twice the text has moved less than 5 % of what is selected, two times running.", of="lape"
    )
    record_only: bool = setting(False, "Only record counts, to be merged with others by --counts; one language will do.", of="lape")
    draws: int = setting(3, "Random controls for each language; 0: none.", least=0, metavar="N", of="lape")
    questions: tuple[str, ...] = setting(
        (),
        "Open questions, one a line, to be answered with each language's units off.",
        path=True,
        metavar="LANG=FILE",
        of="lape",
    )
    suffix: tuple[str, ...] = setting((), "Text after each open question, for all languages or for one.", metavar="[LANG=]TEXT", of="lape")
    new_tokens: int = setting(128, "The longest answer to an open question, in tokens.", least=1, metavar="N", of="lape")
    parallel: tuple[str, ...] = setting(
        (),
        "The same sentences in each language, one a line, to see layer by layer how alike languages are inside.",
        path=True,
        metavar="LANG=FILE",
        of="lape",
    )
    judge: str | None = setting(
        None,
        "Where a judge model answers (an OpenAI-compatible endpoint: …/v1) that rates open answers from 1 to 5.",
        metavar="URL",
        of="lape",
    )
    judge_model: str | None = setting(None, "The name of the judge model there.", metavar="NAME", of="lape")

    calibrate: tuple[str, ...] = setting(
        ("cc", "dc"),
        "Baselines beside the cut: contextual (cc) and domain-context (dc) calibration of the model as it is, or none.",
        metavar="cc|dc|none",
        of=TASKS,
    )
    generation: bool = setting(True, "Compare by generated text too, beside the most probable choice.", of=TASKS)
    text: tuple[str, ...] = setting(
        (),
        "Plain text for the perplexity before and after; by default a little text that ships with resect.",
        path=True,
        metavar="FILE",
        of=TASKS,
    )
    beside: tuple[str, ...] = setting(
        (), "Other tasks on which the cut's side effects are measured; their data is TASK=PATH.", metavar="TASK", of=TASKS
    )

    output: str | None = setting(
        None, "The run folder; by default runs/<method>-<model>-<task>.", changes_result=False, path=True, metavar="DIR"
    )
    engine: Literal["local", "ray"] = setting(
        "local", "Where the work is done: in this process (local), or by workers on a Ray cluster (ray).", changes_result=False
    )
    ray_address: str | None = setting(
        None,
        "The Ray cluster to use (auto, or host:port); by default one is started here for as long as the work takes.",
        changes_result=False,
        metavar="ADDRESS",
    )
    ray_workers: int | None = setting(
        None,
        "Workers, each with a model of its own; by default one a GPU, or as many as there are CPUs for (two at least).",
        least=1,
        changes_result=False,
        metavar="N",
    )
