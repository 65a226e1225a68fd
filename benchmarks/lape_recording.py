"""Recording activations against the plain forward pass: stacks only, no head, the same windows in the same batches, in turns.

CPU: models of several families (gated and not, d_model 512 and more), windows of 512 tokens; `count_activations` alone, and `record` with
tokenizer, packing and journal. Wanted: at most 1.05, of mixtures of experts at most 1.10. Then memory: the peak of a process that recorded
a text, and once it recorded eight times the text: wanted, as much. And counts equal those of one window at a time.
--gpu: a model with the shape of Llama 2 7B in bfloat16: tokens per second, and the share of what the device reaches in one large product.
--quick: fewer rounds and shorter texts. --exact: only the comparison of the counts. Exits with 1 where a bound does not hold.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int32
from transformers import LlamaConfig, LlamaForCausalLM

from measurement import MIB, best_of_each, in_own_process, peak_memory
from random_models import llama, mixture, opt, t5, tokenizer
from resect import LanguageModel, Site
from resect.methods.lape.activation_counter import count_activations, run_stacks
from resect.methods.lape.counts import activation_sites
from resect.methods.lape.recording import record
from resect.models.hooks import forward_hooks

BOUND, WINDOW, ROWS = 1.05, 512, 4
#: Of mixtures of experts, whose products are observed inside of one module.
BOUND_OF_MIXTURES = 1.10
#: How much more a process may need for eight times the text, in MiB: by so much the allocator and Python's own memory vary.
SLACK = 24

Windows = Int32[np.ndarray, "windows window"]


def random_windows(number: int, window: int = WINDOW) -> Windows:
    """Windows of random tokens."""
    return np.random.default_rng(0).integers(3, 250, (number, window)).astype(np.int32)


@torch.inference_mode()
def plain(model: LanguageModel, windows: Windows, rows: int) -> None:
    """What any implementation must run."""
    ids = torch.from_numpy(windows.astype(np.int64)).to(model.forward.device)
    for start in range(0, len(ids), rows):
        run_stacks(model, ids[start : start + rows])


def text_of(tokens: int) -> Iterator[str]:
    """Lines of 127 bytes, which are 128 tokens with the one that closes them; few different ones, since a tokenizer remembers words."""
    lines = ["".join(map(chr, line)) for line in np.random.default_rng(0).integers(97, 123, (64, 127))]
    yield from itertools.islice(itertools.cycle(lines), tokens // 128)


def speed(rounds: int, batches: int) -> bool:
    """Whether recording keeps its bound for every model. In processor seconds: other processes on the machine do not count."""
    models = {
        "llama, d_model 512, gated": llama(4, 512),
        "llama, d_model 768, gated": llama(3, 768),
        "llama, d_model 512, gated, bfloat16": llama(4, 512),
        "opt, d_model 512, ReLU": opt(4, 512),
        "t5, d_model 512, gated": t5(2, 512),
        "mixture, d_model 512, 2 of 8 experts": mixture(4, 512),
        "mixture, d_model 256, 8 of 64 experts": mixture(4, 256, experts=64, chosen=8),
    }
    models["llama, d_model 512, gated, bfloat16"].model.bfloat16()
    windows, holds = random_windows(batches * ROWS), True
    lines = list(text_of(windows.size))
    for name, model in models.items():
        model.batcher.sizes["windows"] = ROWS
        bound = BOUND_OF_MIXTURES if model.anatomy.experts else BOUND
        workloads = {
            "plain": lambda: plain(model, windows, ROWS),  # noqa: B023
            "count": lambda: count_activations(model, windows, ROWS),  # noqa: B023
            "record": lambda: record(model, {"en": lines}, window=WINDOW),  # noqa: B023
        }
        seconds = best_of_each(rounds, workloads, clock=time.process_time)
        ratios = {workload: seconds[workload] / seconds["plain"] for workload in ("count", "record")}
        print(
            f"{name}: plain {seconds['plain']:.2f} s; count {ratios['count']:.3f}, record {ratios['record']:.3f} (wanted: {bound} or less)"
        )
        holds &= max(ratios.values()) <= bound
    return holds


def is_exact(d_model: int = 512) -> bool:
    """Whether counts are those of one window at a time, seen by plain hooks, in float64."""
    model, windows = llama(2, d_model), random_windows(12, 64)
    model.model.double()
    naive = {site: np.zeros(model.anatomy.width(site), dtype=np.int64) for site in activation_sites(model)}

    def see(site: Site, values: torch.Tensor) -> None:
        naive[site] += (values > 0).reshape(-1, values.shape[-1]).sum(dim=0).numpy()

    with torch.inference_mode(), forward_hooks(model.anatomy, activation_sites(model), see):
        for window in torch.from_numpy(windows.astype(np.int64)):
            model.model(input_ids=window[None], use_cache=False)
    counts = count_activations(model, windows, 5)
    equal = all((counts.active[site] == naive[site]).all() for site in naive)
    print(f"counts of {windows.size} tokens equal those of one window at a time: {equal}")
    return equal


def memory(tokens: int) -> bool:
    """Whether a process that has recorded a text needs no more memory for eight times the text."""
    peaks = in_own_process(__file__, "--peak", str(tokens))
    print(f"memory: peak {peaks['1']} MiB after {tokens:,} tokens, {peaks['8']} MiB after {8 * tokens:,} (wanted: at most {SLACK} more)")
    return bool(peaks["8"] - peaks["1"] <= SLACK)


def peaks(tokens: int) -> dict[str, int]:
    """The most memory that this process ever held, in MiB: after recording a text, and after recording eight times the text."""
    model, result = llama(1, 128, vocab=300), {}
    for times in (1, 8):
        record(model, {name: text_of(times * tokens // 2) for name in ("en", "fr")}, window=256, shard_tokens=8192)
        result[str(times)] = peak_memory() // MIB
    return result


def on_device(rounds: int, device: str, layers: int, d_model: int, d_ff: int, rows: int, window: int, batches: int) -> bool:
    """Recording's ratio to the plain pass on a device, tokens per second, and the share of its peak."""
    config = LlamaConfig(
        hidden_size=d_model, intermediate_size=d_ff, num_hidden_layers=layers, num_attention_heads=d_model // 128, vocab_size=32000
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LanguageModel.of(LlamaForCausalLM(config).requires_grad_(False), tokenizer())
        square = torch.randn(2 * d_model, 2 * d_model)
    torch.set_default_dtype(torch.float32)
    windows = random_windows(rows * batches, window)
    workloads = {
        "plain": lambda: plain(model, windows, rows),
        "count": lambda: count_activations(model, windows, rows),
        "product": lambda: square @ square,
    }

    def synchronised_clock() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    seconds = best_of_each(rounds, workloads, clock=synchronised_clock)
    reached = 2 * (2 * d_model) ** 3 / seconds["product"]
    weights = layers * (4 * d_model**2 + 3 * d_model * d_ff)
    needed = windows.size * (2 * weights + 2 * layers * window * d_model)  # of a causal attention half is needed
    ratio = seconds["count"] / seconds["plain"]
    print(f"{device}, {layers} layers of {d_model}, bfloat16, {rows} windows of {window}: ratio {ratio:.3f} (wanted: {BOUND} or less)")
    print(f"  {windows.size / seconds['count']:,.0f} tokens/s; {needed / seconds['count'] / reached:.0%} of one product's speed", end="")
    print(f" ({reached / 1e12:.0f} TFLOP/s)")
    return ratio <= BOUND


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peaks(options.peak)))
        return 0
    if options.exact:
        return 0 if is_exact(64) else 1
    if options.gpu:
        return 0 if on_device(2 if options.quick else 5, "cuda", 32, 4096, 11008, 8, 4096, 2) else 1
    holds = [
        is_exact(),
        speed(*((3, 1) if options.quick else (5, 2))),
        memory(50_000 if options.quick else 200_000),
    ]
    return 0 if all(holds) else 1


if __name__ == "__main__":
    raise SystemExit(main())
