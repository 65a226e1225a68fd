"""Factored against dense export of the same plan: size of the weights, seconds of a forward pass, of one token, and of loading.

Wanted: ratios of size and of the pass below 1, and falling with ρ. A Llama with random weights; every matrix of the given roles is reduced
to ρ of its rank. Both exports are written by resect and loaded by `resect.load_model`; the passes of the two take turns, so that a slow
phase of the machine hits both. In brackets: the ratios that counting gives (numbers in the weights, multiplications per token). Loading
maps files and does not read them, so that its seconds are those of building the model, not of its size.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from measurement import MIB, best_of_each
from random_models import llama
from resect import LanguageModel, Plan, ReduceRank, load_model
from resect.export.export import export

RHOS = (0.5, 0.2, 0.1, 0.05)
COLUMNS = f"{'ρ':<6}{'weights: MiB, ratio':>24}{'forward: ms, ratio':>26}{'one token: ms, ratio':>24}{'load: ms':>14}   largest |Δ logit|"


def exported(folder: Path, roles: tuple[str, ...], rho: float) -> tuple[dict[str, Path], int]:
    """The dense and the factored export of one plan, and how many matrices the second stores as factors (0: none are smaller that way)."""
    base = folder / "base"
    sites = [site for site in load_model(str(base), device="cpu").anatomy.sites if site.role in roles]
    plan = Plan(tuple(ReduceRank(site, rho) for site in sites))
    folders = {"dense": folder / f"dense-{rho}", "factored": folder / f"factored-{rho}"}
    export(plan, str(base), folders["dense"], verify=False)
    result = export(plan, str(base), folders["factored"], as_format="factored", verify=False)
    return folders, 0 if result.factoring is None else len(result.factoring.matrices)


def weights_of(folder: Path) -> int:
    """Bytes of a folder's weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def parameters_of(model: LanguageModel) -> int:
    """How many numbers the weights are."""
    return int(model.model.num_parameters())


def forward(model: LanguageModel, ids: torch.Tensor) -> Callable[[], object]:
    """One pass over these tokens."""
    return lambda: model.model(input_ids=ids).logits[0, 0, 0].item()


def row(folder: Path, rho: float, ids: torch.Tensor, embedding: int, options: argparse.Namespace) -> str:
    """Export the plan of one ρ, measure, and return the line of the table. `embedding`: numbers that are looked up, not multiplied."""
    folders, pairs = exported(folder, tuple(options.roles), rho)
    models = {name: load_model(str(path), device=options.device) for name, path in folders.items()}
    whole = best_of_each(options.rounds, {name: forward(model, ids) for name, model in models.items()})
    single = best_of_each(4 * options.rounds, {name: forward(model, ids[:1, :1]) for name, model in models.items()})
    load = best_of_each(2, {name: lambda path=path: load_model(str(path), device="cpu") for name, path in folders.items()})  # type: ignore[misc]
    logits = {name: model.model(input_ids=ids[:1]).logits.float() for name, model in models.items()}
    numbers = {name: parameters_of(model) for name, model in models.items()}
    counted = (numbers["factored"] - embedding) / (numbers["dense"] - embedding)
    sizes = {name: weights_of(path) for name, path in folders.items()}
    largest = float((logits["dense"] - logits["factored"]).abs().max())
    size = f"{sizes['factored'] / MIB:,.1f}, {sizes['factored'] / sizes['dense']:.2f} ({numbers['factored'] / numbers['dense']:.2f})"
    passes = f"{1000 * whole['factored']:,.1f}, {whole['factored'] / whole['dense']:.2f} ({counted:.2f})"
    token = f"{1000 * single['factored']:,.1f}, {single['factored'] / single['dense']:.2f} ({counted:.2f})"
    loads = f"{1000 * load['factored']:.0f} ({1000 * load['dense']:.0f})"
    difference = f"{largest:.1e} of {float(logits['dense'].abs().max()):.1f}; {pairs} pairs of factors"
    return f"{rho:<6}{size:>24}{passes:>26}{token:>24}{loads:>14}   {difference}"


@torch.inference_mode()
def main() -> None:
    """Make the model, export it twice for each ρ, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--d-model", type=int, default=640)
    parser.add_argument("--vocab", type=int, default=2000)
    parser.add_argument("--roles", nargs="+", default=["gate", "up", "down"])
    parser.add_argument("--rho", type=float, nargs="+", default=RHOS)
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
            f"{parameters_of(model) / 1e6:.1f} million parameters, {weights_of(folder / 'base') / MIB:,.0f} MiB, {options.dtype}; "
            f"{', '.join(options.roles)} of all {options.layers} layers; {options.batch} × {options.tokens} tokens on {options.device}"
        )
        print(COLUMNS)
        ids = torch.randint(3, 250, (options.batch, options.tokens), device=options.device)
        for rho in options.rho:
            print(row(folder, rho, ids, model.model.get_input_embeddings().weight.numel(), options))


if __name__ == "__main__":
    main()
