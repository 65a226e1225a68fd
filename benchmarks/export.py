"""Export against plain load and save_pretrained of the same sharded checkpoint: seconds, and peak memory above the imports.

Wanted: less of both. Each workload runs in a process of its own, after the files were read once (so that each finds them in the disk cache)
and everything earlier was written out. The check after writing is timed separately. "by hand": load, write the same plan into the weights,
save: what export replaces. Export waits until its files are on the disk, save_pretrained does not; "until all is on the disk" is the same
for both. Linux only.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

import resect.export.export as resect_export
from measurement import MIB, current_memory, in_own_process, peak_memory
from random_models import tokenizer
from resect import Anatomy, Neurons, Plan, ReduceRank, Scale, Site

PLANS = {"scale": "0.1 % of the neurons of every matrix removed", "rank": "one matrix of lower rank"}
WORKLOADS = {"plain": "plain", "hand": "by hand", "export": "export"}


def make(folder: Path, layers: int, d_model: int, dtype: str, shard: str) -> dict[str, int]:
    """Save a Llama with random weights in several files, and two plans for it."""
    config = LlamaConfig(
        hidden_size=d_model,
        intermediate_size=d_model * 43 // 16,
        num_hidden_layers=layers,
        vocab_size=8000,
        num_attention_heads=d_model // 64,
        num_key_value_heads=max(1, d_model // 256),
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder / "base", max_shard_size=shard)
    tokenizer().save_pretrained(folder / "base")
    anatomy = Anatomy.of(model)
    generator = torch.Generator().manual_seed(0)
    drawn: dict[Site | str, list[int]] = {}
    for site in anatomy.sites:
        width = anatomy.width(site)
        drawn[site] = torch.randperm(width, generator=generator)[: max(1, width // 1000)].tolist()
    Plan((Scale(Neurons(drawn), 0.0),)).for_model(model).save(folder / "scale.json")
    Plan((ReduceRank(f"decoder.{layers // 2}.v", 0.1),)).for_model(model).save(folder / "rank.json")
    return {"layers": layers}


def run(workload: str, folder: Path, plan_name: str, to: Path, shard: str) -> dict[str, float]:
    """Run one workload; returns its seconds, those of the check by themselves, and bytes above the imports."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    base, plan, start = str(folder / "base"), Plan.load(folder / f"{plan_name}.json"), current_memory()
    check_times: list[float] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "checking":
            check_times.append(time.perf_counter())

    began = time.perf_counter()
    if workload in ("export", "check"):
        resect_export.export(plan, base, to, verify=workload == "check", device="cpu", progress=progress)
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        if workload == "hand":
            plan.write(model)
        model.save_pretrained(to, max_shard_size=shard)
        AutoTokenizer.from_pretrained(base).save_pretrained(to)
    spent = time.perf_counter() - began
    check = check_times[-1] - check_times[0] if check_times else 0.0
    os.sync()
    return {"seconds": spent - check, "check": check, "peak": peak_memory() - start, "synced": time.perf_counter() - began}


def measured(workload: str, folder: Path, plan: str, shard: str) -> dict[str, float]:
    """One workload in a process of its own, its files read before."""
    os.sync()
    for path in sorted((folder / "base").iterdir()):
        with path.open("rb") as file:
            while file.read(MIB):
                pass
    with tempfile.TemporaryDirectory(dir=folder) as to:
        given = ("--workload", workload, "--plan", plan, "--folder", str(folder), "--to", f"{to}/out", "--shard", shard)
        return in_own_process(__file__, *given)


def compare(folder: Path, plan: str, rounds: int, shard: str) -> None:
    """Measure and print what one plan's export takes."""
    turns = [{workload: measured(workload, folder, plan, shard) for workload in WORKLOADS} for _ in range(rounds)]
    best = {workload: {key: min(turn[workload][key] for turn in turns) for key in turns[0][workload]} for workload in WORKLOADS}
    print(PLANS[plan])
    for workload, name in WORKLOADS.items():
        values = best[workload]
        seconds, memory = values["seconds"] / best["plain"]["seconds"], values["peak"] / best["plain"]["peak"]
        print(
            f"  {name:7}: {values['seconds']:6.2f} s, {values['peak'] / MIB:6,.0f} MiB; of plain: time {seconds:.2f}, memory "
            f"{memory:.2f}; until all is on the disk {values['synced']:.2f} s"
        )
    check = measured("check", folder, plan, shard)
    print(f"  check after writing: {check['check']:.2f} s, {check['peak'] / MIB:,.0f} MiB")


def main() -> None:
    """Make the checkpoint, measure each workload, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the checkpoint is put; by default a temporary folder")
    parser.add_argument("--layers", type=int, default=11)
    parser.add_argument("--d-model", type=int, default=2048)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--shard", default="400MB", help="the most that one file of weights holds")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workload", help=argparse.SUPPRESS)
    parser.add_argument("--plan", default="scale", help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.workload == "make":
        print(json.dumps(make(options.folder, options.layers, options.d_model, options.dtype, options.shard)))
        return
    if options.workload:
        print(json.dumps(run(options.workload, options.folder, options.plan, options.to, options.shard)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sizes = ("--layers", str(options.layers), "--d-model", str(options.d_model), "--dtype", options.dtype, "--shard", options.shard)
        in_own_process(__file__, "--workload", "make", "--folder", name, *sizes)
        files = sorted((folder / "base").glob("*.safetensors"))
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / MIB:,.0f} MiB, {options.dtype}")
        for plan in PLANS:
            compare(folder, plan, options.rounds, options.shard)


if __name__ == "__main__":
    main()
