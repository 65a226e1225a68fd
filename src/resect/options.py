"""Every setting of a recipe, with the sentence that the command line and the recipe file show.

Knows what may be set; not what goes together, and no file.
"""

from dataclasses import dataclass
from typing import Literal

from .settings import setting


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of one job, of whatever method."""

    method: Literal["crispr", "laser"] = setting(
        "crispr", "What is done: crispr finds bias neurons and cuts them, laser replaces matrices by low-rank ones."
    )
    model: str = setting("", "A Hub id, or a folder that holds a model.", path=True, metavar="MODEL")
    task: str = setting("", "A built-in task (see `resect list tasks`), or the path of a task file.", metavar="TASK")

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
    )
    template: tuple[str, ...] = setting(
        (), "File with the prompt's wording (Jinja2); TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE"
    )
    instructions: tuple[str, ...] = setting(
        (), "File with the instructions, one a line; TASK=FILE where there are several tasks.", path=True, metavar="[TASK=]FILE"
    )
    split_by: str | None = setting(None, "What may not be torn apart by the splits, e.g. template for BBQ.", metavar="GROUP")
    chat_template: bool = setting(False, "Wrap every prompt in the tokenizer's own chat template.")
    limit: int | None = setting(None, "Use at most so many examples in all; the splits keep their shares.", least=1, metavar="N")
    seed: int = setting(0, "Seed of every random draw.", least=0, metavar="N")

    samples: int = setting(20, "Examples of the locate split that find the neurons.", least=1, metavar="N", of="crispr")
    locate_on: tuple[str, ...] = setting(
        (), "Look only at examples that carry every one of these tags, e.g. ambig.", metavar="TAG", of="crispr"
    )
    variant: Literal["paper", "official"] = setting("paper", "Compute as the paper writes it, or as its authors' code does it.")
    sites: tuple[str, ...] = setting(
        (),
        "Where to look: globs like decoder.*.up or '*.{q,k}'. By default everywhere (crispr), or at the first and the last matrix of "
        "each feed-forward block (laser).",
        metavar="GLOB",
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
    )
    authors_task: bool | None = setting(None, "Ask built-in tasks with the prompt and the split of the authors' code (official).")
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
        "Cut this share of all neurons (0.001 is 0.1 %); nothing is searched.",
        least=0.0,
        most=1.0,
        metavar="F",
        of="crispr",
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

    calibrate: tuple[str, ...] = setting(
        ("cc", "dc"),
        "Baselines beside the cut: contextual (cc) and domain-context (dc) calibration of the model as it is, or none.",
        metavar="cc|dc|none",
    )
    generation: bool = setting(True, "Compare by generated text too, beside the most probable choice.")
    text: tuple[str, ...] = setting(
        (), "Plain text for the perplexity before and after; by default a little text that ships with resect.", path=True, metavar="FILE"
    )
    beside: tuple[str, ...] = setting(
        (), "Other tasks on which the cut's side effects are measured; their data is TASK=PATH.", metavar="TASK"
    )

    output: str | None = setting(
        None, "The run folder; by default runs/<method>-<model>-<task>.", changes_result=False, path=True, metavar="DIR"
    )
    engine: Literal["local"] = setting(
        "local",
        "Where the work is done: local is this process (other engines are for a later version).",
        changes_result=False,
    )
