"""Factored against dense export of the same plan: size of the weights, seconds of a forward pass, of one token, and of loading.

Wanted: ratios of size and of the pass below 1, and falling with ρ. A Llama with random weights; every matrix of the roles named is reduced
to ρ of its rank. Both exports are made by `resect.export` and loaded by `resect.load_model`; the passes of the two take turns, so that a
slow spell of the machine hits both. In brackets stand the ratios that counting gives: numbers in the weights, multiplications per token.
Loading maps files and does not read them, so that its seconds are those of making the model, not of its size.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from resect import Plan, ReduceRank, load_model
from resect.export.export import export
from setting import best_of_each, llama

MIB = 2**20
RHOS = (0.5, 0.2, 0.1, 0.05)


def exported(folder: Path, roles: tuple[str, ...], rho: float) -> tuple[Path, Path, int]:
    """The dense and the factored export of one plan, and how many matrices the second keeps as factors (0: none are smaller that way)."""
    base = folder / "base"
    sites = [site for site in load_model(str(base), device="cpu").anatomy.sites if site.role in roles]
    plan = Plan(ReduceRank(site, rho) for site in sites)
    dense, factored = folder / f"dense-{rho}", folder / f"factored-{rho}"
    export(plan, str(base), dense, verify=False)
    done = export(plan, str(base), factored, as_format="factored", verify=False)
    return dense, factored, len(done.saving.kept)


def weights_of(folder: Path) -> int:
    """Bytes of a folder's weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def loading_seconds(folder: Path, rounds: int) -> float:
    """Seconds to load a folder, the best of several rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        load_model(str(folder), device="cpu")
        best = min(best, time.perf_counter() - start)
    return best


@torch.inference_mode()
def main() -> None:
    """Make the model, export it twice for each ρ, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--d-model", type=int, default=640)
    parser.add_argument("--vocab", type=int, default=2000)
    parser.add_argument("--roles", nargs="+", default=["gate", "up", "down"])
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = llama(options.layers, options.d_model, options.vocab)
        model.model.to(getattr(torch, options.dtype)).save_pretrained(folder / "base")
        model.tokenizer.save_pretrained(folder / "base")
        print(
            f"{model.anatomy.parameters / 1e6:.1f} million parameters, {weights_of(folder / 'base') / MIB:,.0f} MiB, {options.dtype}; "
            f"{', '.join(options.roles)} of all {options.layers} layers; {options.batch} × {options.tokens} tokens on {options.device}"
        )
        ids = torch.randint(3, 250, (options.batch, options.tokens), device=options.device)
        print(
            f"{'ρ':<6}{'weights: MiB, ratio':>24}{'forward: ms, ratio':>26}{'one token: ms, ratio':>24}{'load: ms':>14}   largest |Δ logit|"
        )
        for rho in RHOS:
            dense, factored, kept = exported(folder, tuple(options.roles), rho)
            models = {"dense": load_model(str(dense), device=options.device), "factored": load_model(str(factored), device=options.device)}
            work = lambda held, rows: lambda: held.model(input_ids=rows).logits[0, 0, 0].item()
            whole = best_of_each(options.rounds, {name: work(held, ids) for name, held in models.items()})
            single = best_of_each(4 * options.rounds, {name: work(held, ids[:1, :1]) for name, held in models.items()})
            logits = {name: held.model(input_ids=ids[:1]).logits.float() for name, held in models.items()}
            numbers = {name: held.anatomy.parameters for name, held in models.items()}
            embedding = model.model.get_input_embeddings().weight.numel()  # looked up, not multiplied
            counted = (numbers["factored"] - embedding) / (numbers["dense"] - embedding)
            sizes = {name: weights_of(path) for name, path in (("dense", dense), ("factored", factored))}
            load = {name: loading_seconds(path, 3) for name, path in (("dense", dense), ("factored", factored))}
            off = float((logits["dense"] - logits["factored"]).abs().max())
            size = (
                f"{sizes['factored'] / MIB:,.1f}, {sizes['factored'] / sizes['dense']:.2f} ({numbers['factored'] / numbers['dense']:.2f})"
            )
            passes = f"{1000 * whole['factored']:,.1f}, {whole['factored'] / whole['dense']:.2f} ({counted:.2f})"
            token = f"{1000 * single['factored']:,.1f}, {single['factored'] / single['dense']:.2f} ({counted:.2f})"
            loads = f"{1000 * load['factored']:.0f} ({1000 * load['dense']:.0f})"
            said = f"{off:.1e} of {float(logits['dense'].abs().max()):.1f}; {kept} pairs of factors"
            print(f"{rho:<6}{size:>24}{passes:>26}{token:>24}{loads:>14}   {said}")


if __name__ == "__main__":
    main()
