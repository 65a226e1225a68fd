"""LASER's search against the plain loop and against the authors' way: same machine, same candidates, same chosen plan (asserted).

    python benchmarks/laser_search.py               about half an hour on one core
    python benchmarks/laser_search.py --quick       about two minutes: 12 candidates, 64 examples, no tables; its ratios are lower
    python benchmarks/laser_search.py --gpu         a 7B-shaped random model in bfloat16 on a GPU

The workload: 12 layers of d_model 256, {gate, down} × 8 ρ = 192 candidates, 128 select examples of about 48 tokens with three choices of
two to four tokens. Model and task are those of `laser_model.py`, which says what was planted; the model is trained where it is absent.

plain loop      one exact SVD and one full pass over all examples for every candidate, in batches, through `Questions.answers`
search          `Laser.search`, its parts switched on one after the other
authors' way    model loaded anew for every candidate, `torch.svd_lowrank`, one prompt with one choice at a time (their code scores choices
                of several tokens so); timed on a sample of the candidates and extrapolated. Starting a process for each candidate, as
                most of their scripts do, is left out.

Each work runs in a process of its own, which also gives its peak memory above the imports. Wall-clock seconds; "CPU" beside them is the
process' own time, which a busy machine does not lengthen.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import laser_model

WORKS = Path(__file__).with_name("laser_ways.py")
MIB = 2**20
QUICK = {"sites": ("decoder.{1,5,9}.{gate,down}",), "rhos": (0.4, 0.01)}
OFF = {"share": False, "replay": False, "positions": False, "bound": False}
#: What is switched on, one after the other.
PARTS = {
    "nothing of it (smaller batches)": {},
    "one decomposition a matrix": {"share": True},
    "replay": {"replay": True},
    "positions": {"positions": True},
    "bound": {"bound": True},
}
SEVEN_B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}


def measured(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """A work in a process of its own."""
    command = [sys.executable, str(WORKS), kind, json.dumps(said)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def shown(name: str, found: dict[str, Any], beside: str = "") -> None:
    print(f"  {name:40} {found['seconds']:8.1f} s (CPU {found['cpu']:7.1f}), peak {found['peak'] / MIB:6,.0f} MiB{beside}", flush=True)


def compare(common: dict[str, Any], sample: int, *, gpu: bool) -> None:
    """Plain loop, search by its parts, authors' way."""
    slow = measured("plain", {**common, "sample": sample} if gpu else common)
    whole = slow["candidates"] / slow["timed"]
    loop = whole * slow["seconds"]
    print(f"{slow['candidates']} candidates; base accuracy {slow['base']:.3f}, best {slow['best']:.3f} ({slow['alike']} alike)")
    shown("plain loop", slow, f"; {slow['timed']} candidates, extrapolated to all: {loop:.1f} s" if whole > 1 else "")
    loop_cpu = whole * slow["cpu"]
    before, switches, last = (loop, loop_cpu), dict(OFF), slow
    for name, part in PARTS.items():
        switches |= part
        last = measured("search", with_laser(common, switches))
        faster, by_cpu = before[0] / last["seconds"], before[1] / last["cpu"]
        shown(f"search, {name}", last, f"; {faster:.2f} × faster than the line before (CPU {by_cpu:.2f} ×); {asked(last)}")
        before = last["seconds"], last["cpu"]
        if not gpu:  # there the loop ran on a sample, and in bfloat16 a batch of another size rounds otherwise
            agree(last, slow)
    screened = measured("search", with_laser(common, {"screen": "gradient"}))
    shown("search, screened by gradients", screened, f"; best {screened['best']:.3f} at {chosen(screened)}; {asked(screened)}")
    theirs = measured("authors", {**common, "sample": sample})
    total = statistics.fmean(theirs["each"]) * theirs["candidates"]
    shown("authors' way", theirs, f"; {theirs['timed']} candidates, extrapolated to all: {total:,.0f} s")
    alone = measured("decompositions", common)
    print(f"decompositions alone: one a candidate {alone['each']:.2f} s, one a matrix {alone['shared']:.2f} s")
    print(f"chosen: {chosen(last)}, accuracy {last['best']:.3f}")
    total_cpu = theirs["cpu"] / theirs["timed"] * theirs["candidates"]
    ratio("search against the plain loop", loop / last["seconds"], loop_cpu / last["cpu"], 5)
    ratio("search against the authors' way", total / last["seconds"], total_cpu / last["cpu"], 8)
    ratio("screened search against the authors' way", total / screened["seconds"], total_cpu / screened["cpu"], 52)
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
            said = {"sizes": sizes, "examples": given.get("examples", 32), "laser": laser, "threads": threads}
            slow, fast = measured("plain", said), measured("search", said)
            agree(fast, slow)
            faster = slow["seconds"] / fast["seconds"]
            print(f"    {value:4}: {slow['seconds']:7.2f} s {fast['seconds']:7.2f} s, {faster:.1f} ×", flush=True)


def with_laser(common: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    return {**common, "laser": {**common["laser"], **settings}}


def asked(found: dict[str, Any]) -> str:
    return f"{found['asked']:,} questions, {found['complete']} of {found['searched']} candidates in full"


def chosen(found: dict[str, Any]) -> str:
    return "none" if found["chosen"] is None else f"{found['chosen'][0]}, ρ = {found['chosen'][1]}"


def agree(found: dict[str, Any], slow: dict[str, Any]) -> None:
    """Stop where the search and the plain loop chose differently."""
    one, other = ([each[key] for key in ("chosen", "base", "best")] for each in (found, slow))
    if one != other:
        raise SystemExit(f"The search chose {one}, the plain loop {other} (plan, base accuracy, best accuracy); they must agree.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12 candidates, 64 examples, and no tables")
    parser.add_argument("--tables", action="store_true", help="the tables alone")
    parser.add_argument("--gpu", action="store_true", help="a 7B-shaped model with random weights, bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sample", type=int, help="candidates that the authors' way (on a GPU the plain loop too) is timed on")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    sample = options.sample or (1 if options.quick else 8)
    common: dict[str, Any] = {"threads": options.threads, "laser": QUICK if options.quick else {}, "examples": 64 if options.quick else 128}
    if options.gpu:
        common |= {"gpu": True, "sizes": SEVEN_B}
        compare(common, sample, gpu=True)
        full = measured("search", {**common, "examples": 1000})
        shown("full search at 1,000 examples", full, f"; {asked(full)}")
        return
    if not options.tables:
        laser_model.ensure()
        compare(common, sample, gpu=False)
    if not options.quick:
        tables(options.threads)


if __name__ == "__main__":
    main()
