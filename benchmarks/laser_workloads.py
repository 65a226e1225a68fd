"""What `laser_search.py` times, each workload in a process of its own: `python laser_workloads.py WORKLOAD JSON` prints a JSON object.

plain           one exact SVD and one full pass over all examples for every candidate, in batches, through `Questions.answers`
search          `Laser.search`, with or without its parts
authors         the model loaded again for every candidate, `torch.svd_lowrank`, one prompt with one choice at a time
decompositions  the decompositions alone

Seconds begin when model and task are in memory; memory is counted above the imports. Knows no ratio. Linux only.
"""

import copy
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import laser_model
import resect.methods.laser.gradient_screening
import resect.search.candidate_scoring  # noqa: F401, imported before a clock starts
from measurement import current_memory, peak_memory
from resect import Anatomy, LanguageModel, Laser, Plan, ReduceRank
from resect.edits.base import Edit
from resect.edits.svd import Decomposition
from resect.edits.svd_cache import SvdCache
from resect.methods.base import TaskInputs


class Setting:
    """A model, a task and the candidates, from the options of a workload. `fresh` gives the Hugging Face model once more."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.words = laser_model.tokenizer()
        self.fresh: Callable[[], LlamaForCausalLM] = laser_model.load
        if "sizes" in options:
            random = (
                random_on_gpu(options["sizes"], self.words) if options.get("gpu") else laser_model.model(self.words, **options["sizes"])
            )
            self.fresh = lambda: copy.deepcopy(random)
        self.model = LanguageModel.of(self.fresh().requires_grad_(False), self.words)
        self.task = laser_model.task(options.get("examples", 128))
        self.texts = laser_model.plain_texts()
        given: dict[str, Any] = options.get("laser", {})
        settings: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        self.laser = Laser(**settings)
        self.edits = [edit for site in self.laser.sites_of(self.model) for edit in self.laser.edits(self.model, site)]
        self.synchronize: Callable[[], None] = torch.cuda.synchronize if options.get("gpu") else lambda: None


def random_on_gpu(sizes: dict[str, Any], words: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights, created on the GPU."""
    config = LlamaConfig(**sizes, vocab_size=32000, pad_token_id=words.pad_token_id, eos_token_id=words.eos_token_id)
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            net: LlamaForCausalLM = LlamaForCausalLM(config).eval()
            return net
    finally:
        torch.set_default_dtype(default)


def plain(setting: Setting, edits: Sequence[ReduceRank]) -> dict[str, Any]:
    """Every candidate: decompose, write, score every example, undo. Chosen as the search chooses: accuracy, plain text, rank."""
    questions = setting.laser.questions(setting.model, setting.task)
    base = questions.answers(Plan()).mean
    scores = [questions.answers(Plan((edit,))).mean for edit in edits]
    best = max(scores)
    alike = [edit for edit, score in zip(edits, scores, strict=True) if score == best > base]
    chosen = alike[0] if len(alike) == 1 else None
    if len(alike) > 1:
        harm = []
        for edit in alike:
            with Plan((edit,)).applied(setting.model):
                harm.append(-setting.model.text_logprob(setting.texts)[0])
        ranks = [edit.rank(setting.model.anatomy.shape(edit.site)) for edit in alike]
        chosen = alike[min(range(len(alike)), key=lambda place: (harm[place], ranks[place], place))]
    return {"chosen": named(chosen), "base": base, "best": best, "alike": len(alike)}


def search(setting: Setting) -> dict[str, Any]:
    """The search, with or without some of its parts. Nothing is read from a disk cache."""
    result = setting.laser.search(setting.model, TaskInputs(setting.task, tuple(setting.texts)))
    edits, scores = result.plan.edits, result.facts["select"]
    return {
        "chosen": named(edits[0] if edits else None),
        "base": scores["base"],
        "best": scores["chosen"],
        "scored": sum(trial["examples"] for trial in result.trials),
        "complete": sum(trial["complete"] for trial in result.trials),
        "searched": len(result.trials),
    }


def authors(setting: Setting, edits: Sequence[ReduceRank]) -> dict[str, Any]:
    """Every candidate as the authors' code evaluates it; seconds of each."""
    seconds, scores = [], []
    for edit in edits:
        began = time.perf_counter()
        net = setting.fresh().eval()
        anatomy = Anatomy.of(net)
        weight = anatomy.weight(edit.site).float()
        left, values, right = torch.svd_lowrank(weight, q=max(1, edit.rank(anatomy.shape(edit.site))), niter=2)
        anatomy.write(edit.site, None, left @ torch.diag(values) @ right.T)
        right_ones = 0
        for example in setting.task.split("select"):
            totals = [one_by_one(net, setting.words, setting.task.prompt(example, ""), choice) for choice in example.choices]
            right_ones += totals.index(max(totals)) == example.gold
        scores.append(right_ones / len(setting.task.split("select")))
        setting.synchronize()
        seconds.append(time.perf_counter() - began)
    return {"each": seconds, "scores": scores}


def one_by_one(net: LlamaForCausalLM, words: PreTrainedTokenizerFast, prompt: str, choice: str) -> float:
    """Log-probability of one choice after its prompt: a pass of its own, logits and their logarithms at every position."""
    with torch.no_grad():
        ids = words(f"{prompt} {choice}", return_tensors="pt").input_ids.to(net.device)
        logprobs = torch.nn.functional.log_softmax(net(ids).logits[0], dim=1)
        label = ids[0, len(words(prompt).input_ids) :]
        return float(logprobs[-len(label) - 1 : -1].gather(1, label[:, None]).sum())


def decompositions(setting: Setting) -> dict[str, Any]:
    """Seconds of the decompositions alone: one exact SVD a candidate, and one shared decomposition a matrix."""
    sites = [edit.site for edit in setting.edits]
    cache = SvdCache(setting.model.anatomy)

    def each() -> None:
        for site in sites:
            Decomposition.of(setting.model.anatomy.weight(site))

    def shared() -> None:
        for site in dict.fromkeys(sites):
            cache.decomposition(site)

    seconds = {}
    for name, decompose in {"each": each, "shared": shared}.items():
        setting.synchronize()
        began = time.perf_counter()
        decompose()
        setting.synchronize()
        seconds[name] = time.perf_counter() - began
    return seconds


def sample(edits: Sequence[ReduceRank], count: int) -> list[ReduceRank]:
    """Candidates spread evenly over the layers, and over ρ."""
    step = len(edits) / count
    return [edits[int((place + 0.5) * step)] for place in range(count)]


def named(edit: Edit | None) -> list[Any] | None:
    return [str(edit.site), edit.rho] if isinstance(edit, ReduceRank) else None


def run(workload: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """One workload: seconds, processor seconds, and bytes above the imports."""
    torch.set_num_threads(options.get("threads", 1))
    start = current_memory()
    setting = Setting(options)
    edits = sample(setting.edits, options["sample"]) if "sample" in options else setting.edits
    setting.synchronize()
    began, own = time.perf_counter(), time.process_time()
    workloads: dict[str, Callable[[], dict[str, Any]]] = {
        "plain": lambda: plain(setting, edits),
        "search": lambda: search(setting),
        "authors": lambda: authors(setting, edits),
        "decompositions": lambda: decompositions(setting),
    }
    result = workloads[workload]()
    setting.synchronize()
    seconds, cpu = time.perf_counter() - began, time.process_time() - own
    memory = torch.cuda.max_memory_allocated() if options.get("gpu") else peak_memory() - start
    counts = {"candidates": len(setting.edits), "timed": len(edits)}
    return {"seconds": seconds, "cpu": cpu, "peak": memory, **counts, **sizes(setting), **result}


def sizes(setting: Setting) -> dict[str, int]:
    """Bytes that a search must store: the model, one matrix' factors, the hidden states of all examples at one boundary."""
    net, anatomy = setting.model.model, setting.model.anatomy
    rows, columns = anatomy.shape(setting.edits[0].site)
    prompts = {setting.task.prompt(example, ""): example.choices for example in setting.task.split("select")}
    tokens = sum(len(setting.words(text).input_ids) for prompt, choices in prompts.items() for text in (prompt, *choices))
    model = sum(weight.numel() * weight.element_size() for weight in net.parameters())
    # Two outputs are stored: that of the block below the boundary, and that of the attention above it.
    return {
        "model": model,
        "factors": 4 * min(rows, columns) * (rows + columns + 1),
        "states": 2 * tokens * anatomy.d_model * net.dtype.itemsize,
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], json.loads(sys.argv[2]))))
