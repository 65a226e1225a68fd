"""Export against plain load and save_pretrained of the same sharded checkpoint: seconds, and peak memory above the imports.

Wanted: less of both. Each work runs in a process of its own, after the files were read once (so that both find them in the disk cache) and
everything earlier was written out. The check after writing is timed apart. "hand": load, write the same plan into the weights, save: what
export stands for. Export waits until its files are on the disk, save_pretrained does not; "until all is on the disk" is the same for both.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 2**20
SHARD = "400MB"


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held() -> int:
    """The memory that this process holds now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def make(folder: Path, layers: int, dtype: str) -> None:
    """A Llama with random weights, about 0.2 GB a layer in float32, in several files; and two plans for it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from resect import Anatomy, Plan, ReduceRank, Scale
    from resect.core.address import Neurons
    from setting import tokenizer

    sizes = {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": layers, "vocab_size": 8000}
    config = LlamaConfig(**sizes, num_attention_heads=32, num_key_value_heads=8, pad_token_id=0, eos_token_id=1)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder / "base", max_shard_size=SHARD)
    tokenizer().save_pretrained(folder / "base")
    anatomy = Anatomy.of(model)
    generator = torch.Generator().manual_seed(0)
    counts = {site: max(1, anatomy.width(site) // 1000) for site in anatomy.sites}
    drawn = {site: torch.randperm(anatomy.width(site), generator=generator)[:count].tolist() for site, count in counts.items()}
    Plan((Scale(Neurons(drawn)),)).for_model(model).save(folder / "scale.json")
    Plan((ReduceRank(f"decoder.{layers // 2}.v", 0.1),)).for_model(model).save(folder / "rank.json")


def work(kind: str, folder: Path, plan_name: str, to: Path) -> dict[str, float]:
    """Do one kind of work, and measure it: seconds, those of the check apart, and bytes above the imports."""
    # What either of them imports on the way is imported before the clock starts.
    import transformers.conversion_mapping
    import transformers.models.llama.modeling_llama
    import transformers.tokenization_utils_tokenizers  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from resect import Plan
    from resect.export.export import export

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    base, plan, start, checking = str(folder / "base"), Plan.load(folder / f"{plan_name}.json"), held(), []
    began = time.perf_counter()
    if kind in ("export", "check"):
        told = lambda stage, done, total: checking.append(time.perf_counter()) if stage == "checking" else None
        export(plan, base, to, verify=kind == "check", device="cpu", progress=told)
    else:
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        if kind == "hand":
            plan.write(model)
        model.save_pretrained(to, max_shard_size=SHARD)
        AutoTokenizer.from_pretrained(base).save_pretrained(to)
    spent = time.perf_counter() - began
    checked = checking[-1] - checking[0] if checking else 0.0
    os.sync()
    return {"seconds": spent - checked, "check": checked, "peak": peak() - start, "synced": time.perf_counter() - began}


def measured(kind: str, folder: Path, plan_name: str) -> dict[str, float]:
    """One work in a process of its own, its files read before."""
    os.sync()
    for path in sorted((folder / "base").iterdir()):
        with path.open("rb") as file:
            while file.read(MIB):
                pass
    with tempfile.TemporaryDirectory(dir=folder) as to:
        command = [sys.executable, __file__, "--work", kind, "--plan", plan_name, "--folder", str(folder), "--to", f"{to}/out"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    """Make the checkpoint, measure each work, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work")
    parser.add_argument("--plan", default="scale")
    parser.add_argument("--folder", help="where the checkpoint is put; by default a temporary folder")
    parser.add_argument("--to", default="")
    parser.add_argument("--layers", type=int, default=11)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options.work, Path(options.folder), options.plan, Path(options.to))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-c", f"import pathlib, export; export.make(pathlib.Path({name!r}), {options.layers}, {options.dtype!r})"],
            check=True,
            cwd=Path(__file__).parent,
        )
        shards = sorted((folder / "base").glob("*.safetensors"))
        print(f"{len(shards)} files, {sum(path.stat().st_size for path in shards) / MIB:,.0f} MiB, {options.dtype}")
        for plan in ("scale", "rank"):
            kinds = ("plain", "hand", "export")  # they take turns, so that a slow spell of the machine hits all
            turns = [{kind: measured(kind, folder, plan) for kind in kinds} for _ in range(options.rounds)]
            rounds = {kind: [turn[kind] for turn in turns] for kind in kinds}
            best = {kind: {key: min(each[key] for each in found) for key in found[0]} for kind, found in rounds.items()}
            print({"scale": "0.1 % of the neurons of every matrix removed", "rank": "one matrix of 512 × 2048 of lower rank"}[plan])
            for kind, found in best.items():
                seconds, memory = found["seconds"] / best["plain"]["seconds"], found["peak"] / best["plain"]["peak"]
                print(
                    f"  {kind:6}: {found['seconds']:6.2f} s, {found['peak'] / MIB:6,.0f} MiB; of plain: time {seconds:.2f}, memory "
                    f"{memory:.2f}; until all is on the disk {found['synced']:.2f} s"
                )
            check = measured("check", folder, plan)
            print(f"  check after writing: {check['check']:.2f} s, {check['peak'] / MIB:,.0f} MiB")


if __name__ == "__main__":
    main()
