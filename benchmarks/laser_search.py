"""LASER's search against the plain loop and against the authors' code: same machine, same candidates, same chosen plan (asserted).

    python benchmarks/laser_search.py               about half an hour on one core
    python benchmarks/laser_search.py --quick       about two minutes: 12 candidates, 64 examples, no tables; its ratios are lower
    python benchmarks/laser_search.py --tiny        seconds: random weights, 4 candidates, 12 examples; its ratios mean nothing
    python benchmarks/laser_search.py --gpu         a 7B-shaped random model in bfloat16 on a GPU

The workload: 12 layers of d_model 256, {gate, down} × 8 ρ = 192 candidates, 128 select examples of about 48 tokens with three choices of
two to four tokens. Model and task are those of `laser_model.py`, which says what was planted; it trains the model where that is absent.

plain loop      one exact SVD and one full pass over all examples for every candidate, in batches, through `Questions.answers`
search          `Laser.search`, its parts switched on one after the other
authors' code   the model loaded again for every candidate, `torch.svd_lowrank`, one prompt with one choice at a time (their code scores
                choices of several tokens so); timed on a sample of the candidates and extrapolated. Starting a process for each
                candidate, as most of their scripts do, is left out.

Each workload runs in a process of its own, which also gives its peak memory above the imports. Seconds are wall-clock seconds; "CPU" is the
process' own time, which a busy machine does not lengthen.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import laser_model
from measurement import MIB, in_own_process

WORKLOADS = Path(__file__).with_name("laser_workloads.py")
QUICK: dict[str, Any] = {"sites": ("decoder.{1,5,9}.{gate,down}",), "rhos": (0.4, 0.01)}
OFF = {"share": False, "replay": False, "positions": False, "bound": False}
#: What is switched on, one after the other.
PARTS: dict[str, dict[str, bool]] = {
    "no part (smaller batches)": {},
    "one decomposition a matrix": {"share": True},
    "replay": {"replay": True},
    "positions": {"positions": True},
    "bound": {"bound": True},
}
TINY: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
SEVEN_B: dict[str, Any] = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}


def measured(workload: str, options: dict[str, Any]) -> dict[str, Any]:
    return in_own_process(WORKLOADS, workload, json.dumps(options))


def show(name: str, result: dict[str, Any], more: str = "") -> None:
    print(f"  {name:40} {result['seconds']:8.1f} s (CPU {result['cpu']:7.1f}), peak {result['peak'] / MIB:6,.0f} MiB{more}", flush=True)


def compare(common: dict[str, Any], sample: int, *, gpu: bool) -> None:
    """Plain loop, search by its parts, authors' code."""
    slow = measured("plain", {**common, "sample": sample} if gpu else common)
    extrapolation = slow["candidates"] / slow["timed"]
    loop = extrapolation * slow["seconds"]
    print(f"{slow['candidates']} candidates; base accuracy {slow['base']:.3f}, best {slow['best']:.3f} ({slow['alike']} alike)")
    show("plain loop", slow, f"; {slow['timed']} candidates, extrapolated to all: {loop:.1f} s" if extrapolation > 1 else "")
    loop_cpu = extrapolation * slow["cpu"]
    before, switches, last = (loop, loop_cpu), dict(OFF), slow
    for name, part in PARTS.items():
        switches |= part
        last = measured("search", with_laser(common, switches))
        faster, by_cpu = before[0] / last["seconds"], before[1] / last["cpu"]
        show(f"search, {name}", last, f"; {faster:.2f} × faster than the line before (CPU {by_cpu:.2f} ×); {evaluations(last)}")
        before = last["seconds"], last["cpu"]
        if not gpu:  # there the loop ran on a sample, and in bfloat16 a batch of another size rounds otherwise
            agree(last, slow)
    screened = measured("search", with_laser(common, {"screen": "gradient"}))
    show("search, screened by gradients", screened, f"; best {screened['best']:.3f} at {chosen(screened)}; {evaluations(screened)}")
    reference = measured("authors", {**common, "sample": sample})
    total = statistics.fmean(reference["each"]) * reference["candidates"]
    show("authors' code", reference, f"; {reference['timed']} candidates, extrapolated to all: {total:,.0f} s")
    decompositions = measured("decompositions", common)
    print(f"decompositions alone: one a candidate {decompositions['each']:.2f} s, one a matrix {decompositions['shared']:.2f} s")
    print(f"chosen: {chosen(last)}, accuracy {last['best']:.3f}")
    total_cpu = reference["cpu"] / reference["timed"] * reference["candidates"]
    ratio("search against the plain loop", loop / last["seconds"], loop_cpu / last["cpu"], 5)
    ratio("search against the authors' code", total / last["seconds"], total_cpu / last["cpu"], 8)
    ratio("screened search against the authors' code", total / screened["seconds"], total_cpu / screened["cpu"], 52)
    print(
        f"peak memory: plain loop {slow['peak'] / MIB:.0f} MiB, search {last['peak'] / MIB:.0f} MiB; model {last['model'] / MIB:.0f} MiB, "
        f"factors of one matrix {last['factors'] / MIB:.1f} MiB, hidden states of all examples {last['states'] / MIB:.1f} MiB"
    )


def ratio(name: str, seconds: float, cpu: float, wanted: int) -> None:
    print(f"{name}: {seconds:.1f} × (wanted: {wanted} or more); by CPU time {cpu:.1f} ×")


def tables(threads: int) -> None:
    """Seconds against layers, ρ and examples, random weights of d_model 256."""
    rhos = (0.9, 0.1, 0.8, 0.01, 0.6, 0.05, 0.4, 0.2)
    cases: dict[str, Iterable[tuple[int, dict[str, Any]]]] = {
        "layers (2 ρ, 32 examples)": ((layers, {"layers": layers}) for layers in (3, 6, 12)),
        "ρ (6 layers, 32 examples)": ((count, {"rhos": count}) for count in (1, 2, 4, 8)),
        "examples (6 layers, 2 ρ)": ((count, {"examples": count}) for count in (16, 32, 64, 128)),
    }
    print("random weights (their accuracy is chance, so the bound gives little): seconds of the plain loop and of the search")
    for name, lines in cases.items():
        print(f"  {name}")
        for value, given in lines:
            laser = {"rhos": rhos[: given.get("rhos", 2)]}
            sizes = {"num_hidden_layers": given.get("layers", 6)}
            options = {"sizes": sizes, "examples": given.get("examples", 32), "laser": laser, "threads": threads}
            slow, fast = measured("plain", options), measured("search", options)
            agree(fast, slow)
            faster = slow["seconds"] / fast["seconds"]
            print(f"    {value:4}: {slow['seconds']:7.2f} s {fast['seconds']:7.2f} s, {faster:.1f} ×", flush=True)


def with_laser(common: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    return {**common, "laser": {**common["laser"], **settings}}


def evaluations(result: dict[str, Any]) -> str:
    return f"{result['scored']:,} questions, {result['complete']} of {result['searched']} candidates completely"


def chosen(result: dict[str, Any]) -> str:
    return "none" if result["chosen"] is None else f"{result['chosen'][0]}, ρ = {result['chosen'][1]}"


def agree(fast: dict[str, Any], slow: dict[str, Any]) -> None:
    """Stop where the search and the plain loop chose differently."""
    one, other = ([result[key] for key in ("chosen", "base", "best")] for result in (fast, slow))
    if one != other:
        raise SystemExit(f"The search chose {one}, the plain loop {other} (plan, base accuracy, best accuracy); they must agree.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12 candidates, 64 examples, and no tables")
    parser.add_argument("--tiny", action="store_true", help="random weights, 4 candidates, 12 examples: to see that it runs")
    parser.add_argument("--tables", action="store_true", help="the tables alone")
    parser.add_argument("--gpu", action="store_true", help="a 7B-shaped model with random weights, bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sample", type=int, help="candidates on which the authors' code (on a GPU the plain loop too) is timed")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    sample = options.sample or (1 if options.quick or options.tiny else 8)
    common: dict[str, Any] = {"threads": options.threads, "laser": {}, "examples": 128}
    if options.tiny:
        compare({**common, "sizes": TINY, "laser": {"rhos": (0.5, 0.1), "sites": ("*.down",)}, "examples": 12}, sample, gpu=False)
        return
    if options.gpu:
        common |= {"gpu": True, "sizes": SEVEN_B}
        compare(common, sample, gpu=True)
        full = measured("search", {**common, "examples": 1000})
        show("full search at 1,000 examples", full, f"; {evaluations(full)}")
        return
    if options.quick:
        common |= {"laser": QUICK, "examples": 64}
    if not options.tables:
        laser_model.ensure()
        compare(common, sample, gpu=False)
    if not options.quick:
        tables(options.threads)


if __name__ == "__main__":
    main()
