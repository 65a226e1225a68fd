"""The works that `laser_search.py` times, each run in a process of its own: `python laser_ways.py KIND JSON` prints one JSON object.

plain           one exact SVD and one full pass over all examples for every candidate, in batches, through `Questions.answers`
search          `Laser.search`, with or without its parts
authors         model loaded anew for every candidate, `torch.svd_lowrank`, one prompt with one choice at a time
decompositions  what decomposing alone takes

Seconds begin when model and task are in memory; memory is counted above the imports. Knows no ratio.
"""

import copy
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import laser_model
import resect.methods.laser.gradient_screening
import resect.search.candidate_scoring  # noqa: F401, imported before a clock starts
from resect import Anatomy, LanguageModel, Plan
from resect.edits.matrices import ReduceRank
from resect.edits.svd import Decomposition
from resect.edits.svd_cache import SvdCache
from resect.methods.laser.laser import Laser


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held() -> int:
    """The memory that this process holds now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Setting:
    """A model, a task and the candidates, as the options of a work say. `fresh` gives the Hugging Face model once more."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.words = laser_model.tokenizer()
        if "sizes" in said:
            net = laser_model.model(self.words, **said["sizes"]) if not said.get("gpu") else random_on_gpu(said["sizes"], self.words)
            self.fresh: Callable[[], Any] = lambda: copy.deepcopy(net)
        else:
            self.fresh = lambda: laser_model.load()
            net = self.fresh()
        net.requires_grad_(False)
        self.model = LanguageModel.of(net, self.words)
        self.task = laser_model.task(said.get("examples", 128))
        self.texts = laser_model.plain_texts()
        self.laser = Laser(**{name: tuple(value) if isinstance(value, list) else value for name, value in said.get("laser", {}).items()})
        sites = self.laser.sites_of(self.model)
        self.edits = [edit for site in sites for edit in self.laser.edits(self.model, site)]
        self.synchronize = torch.cuda.synchronize if said.get("gpu") else lambda: None


def random_on_gpu(sizes: dict[str, int], words: Any) -> Any:
    """A Llama of random weights that was never anywhere but on the GPU."""
    config = LlamaConfig(**sizes, vocab_size=32000, pad_token_id=words.pad_token_id, eos_token_id=words.eos_token_id)
    torch.manual_seed(0)
    held_type = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(held_type)


def plain(setting: Setting, edits: Sequence[ReduceRank]) -> dict[str, Any]:
    """Every candidate: decompose, write, ask everything, undo. Chosen as the search chooses: accuracy, plain text, rank."""
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
    """The search as it is, or with parts of it switched off. Nothing is read from a disk cache."""
    found = setting.laser.search(setting.model, setting.task, texts=setting.texts)
    edits = found.plan.edits
    asked = sum(line["examples"] for line in found.trials)
    complete = sum(line["complete"] for line in found.trials)
    chosen = found.facts["select"]
    said = {"chosen": named(edits[0] if edits else None), "base": chosen["base"], "best": chosen["chosen"]}
    return {**said, "asked": asked, "complete": complete, "searched": len(found.trials)}


def authors(setting: Setting, edits: Sequence[ReduceRank]) -> dict[str, Any]:
    """Every candidate as the authors' code goes about it; seconds of each."""
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


def one_by_one(net: Any, words: Any, prompt: str, choice: str) -> float:
    """Log-probability of one choice after its prompt: a pass of its own, logits and their logarithms at every position."""
    with torch.no_grad():
        ids = words(f"{prompt} {choice}", return_tensors="pt").input_ids.to(net.device)
        logprobs = torch.nn.functional.log_softmax(net(ids).logits[0], dim=1)
        label = ids[0, len(words(prompt).input_ids) :]
        return float(logprobs[-len(label) - 1 : -1].gather(1, label[:, None]).sum())


def decompositions(setting: Setting) -> dict[str, Any]:
    """What decomposing alone takes: one exact SVD a candidate, and one shared decomposition a matrix."""
    sites = [edit.site for edit in setting.edits]
    seconds = {}
    factors = SvdCache(setting.model.anatomy)
    works = {
        "each": (sites, lambda site: Decomposition.of(setting.model.anatomy.weight(site))),
        "shared": (list(dict.fromkeys(sites)), factors.of),
    }
    for name, (places, work) in works.items():
        setting.synchronize()
        began = time.perf_counter()
        for site in places:
            work(site)
        setting.synchronize()
        seconds[name] = time.perf_counter() - began
    return seconds


def sample(edits: Sequence[ReduceRank], count: int) -> list[ReduceRank]:
    """Candidates spread evenly over the layers, and over ρ."""
    step = len(edits) / count
    return [edits[int((place + 0.5) * step)] for place in range(count)]


def named(edit: ReduceRank | None) -> list[Any] | None:
    return None if edit is None else [str(edit.site), edit.rho]


def work(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """One work: seconds, CPU seconds, and bytes above the imports."""
    torch.set_num_threads(said.get("threads", 1))
    start = held()
    setting = Setting(said)
    edits = sample(setting.edits, said["sample"]) if "sample" in said else setting.edits
    setting.synchronize()
    began, own = time.perf_counter(), time.process_time()
    works: dict[str, Callable[[], dict[str, Any]]] = {
        "plain": lambda: plain(setting, edits),
        "search": lambda: search(setting),
        "authors": lambda: authors(setting, edits),
        "decompositions": lambda: decompositions(setting),
    }
    done = works[kind]()
    setting.synchronize()
    seconds, cpu = time.perf_counter() - began, time.process_time() - own
    memory = torch.cuda.max_memory_allocated() if said.get("gpu") else peak() - start
    counts = {"candidates": len(setting.edits), "timed": len(edits)}
    return {"seconds": seconds, "cpu": cpu, "peak": memory, **counts, **sizes(setting), **done}


def sizes(setting: Setting) -> dict[str, int]:
    """Bytes of what a search must hold: the model, one matrix' factors, the hidden states of all examples at one boundary."""
    net, anatomy = setting.model.model, setting.model.anatomy
    rows, columns = anatomy.shape(setting.edits[0].site)
    prompts = {setting.task.prompt(example, ""): example.choices for example in setting.task.split("select")}
    tokens = sum(len(setting.words(each).input_ids) for prompt, choices in prompts.items() for each in (prompt, *choices))
    model = sum(weight.numel() * weight.element_size() for weight in net.parameters())
    # Two outputs are held: that of the block below the boundary, and that of the attention above it.
    return {
        "model": model,
        "factors": 4 * min(rows, columns) * (rows + columns + 1),
        "states": 2 * tokens * anatomy.d_model * net.dtype.itemsize,
    }


if __name__ == "__main__":
    print(json.dumps(work(sys.argv[1], json.loads(sys.argv[2]))))
