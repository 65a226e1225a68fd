"""Peak memory of locating and scoring, above what the imports take, against the model's size. Wanted: at most 1.3 × (model + one batch).

The batch's share is measured: the same bare passes over one batch. Each workload runs in a process of its own. Linux only.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from locate import bare_passes, task
from measurement import MIB, current_memory, in_own_process, peak_memory
from random_models import llama, tokenizer
from resect import Crispr, LanguageModel
from resect.evaluation.questions import Questions

TOKENS = 128


def run(workload: str, folder: Path, examples: int) -> dict[str, int]:
    """Load the model and run one workload; returns bytes above the imports, and the model's own."""
    start = current_memory()
    net = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    size = sum(weight.numel() * weight.element_size() for weight in net.parameters())
    net.requires_grad_(False)
    model = LanguageModel.of(net, tokenizer(), batch_size=4)
    if workload == "locate":
        Crispr(samples=examples).locate(model, task(examples, TOKENS))
    elif workload == "score":
        rows = task(examples, TOKENS)
        Questions(model, rows, rows.split("locate")).logprobs(0)
    elif workload == "prompts":
        rows = task(4, TOKENS)
        prompts = [rows.prompt(example, rows.instructions[0]) for example in rows.examples]
        with torch.inference_mode():
            net(input_ids=model.forward.pad_rows(model.encoder.encode_open_prompts(prompts))[0], use_cache=True)
    elif workload == "bare":
        bare_passes(model, task(2, TOKENS), 2)
    return {"peak": peak_memory() - start, "model": size}


def main() -> None:
    """Measure each workload, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--d-model", type=int, default=1024)
    parser.add_argument("--examples", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--workload", choices=("locate", "score", "prompts", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.workload:
        print(json.dumps(run(options.workload, options.folder, options.examples[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        llama(options.layers, options.d_model).model.save_pretrained(folder)

        def measured(workload: str, examples: int) -> dict[str, int]:
            return in_own_process(__file__, "--workload", workload, "--folder", folder, "--examples", str(examples))

        one_batch = {"locate": measured("bare", 2)["peak"], "score": measured("prompts", 4)["peak"]}
        for workload, allowed in one_batch.items():
            for examples in options.examples:
                memory = measured(workload, examples)
                print(
                    f"{workload}, {examples} examples: peak {memory['peak'] / MIB:.0f} MiB, model {memory['model'] / MIB:.0f} MiB, "
                    f"model and one batch {allowed / MIB:.0f} MiB, ratio {memory['peak'] / allowed:.2f} (wanted: 1.3 or less)"
                )


if __name__ == "__main__":
    main()
