"""Peak memory of locating and scoring, above what the imports take, against the model's size. Wanted: at most 1.3 × (model + one batch).

The batch's share is measured, not guessed: the same bare passes over one batch, in a process of their own.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

MIB = 2**20


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held() -> int:
    """The memory that this process holds now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def work(kind: str, folder: str, examples: int) -> dict[str, float]:
    """Load the model and do one kind of work; bytes above the imports, and the model's own."""
    import torch
    from transformers import LlamaForCausalLM

    from locate import bare, task
    from resect import Crispr, LanguageModel
    from resect.evaluation.questions import Questions
    from setting import tokenizer

    start = held()
    hf = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    size = sum(weight.numel() * weight.element_size() for weight in hf.parameters())
    hf.requires_grad_(False)
    model = LanguageModel.of(hf, tokenizer(), batch_size=4)
    if kind == "locate":
        Crispr(samples=examples).locate(model, task(examples, 128))
    elif kind == "score":
        asked = task(examples, 128)
        Questions(model, asked, asked.split("locate")).logprobs(0)
    elif kind == "prompts":
        asked = task(4, 128)
        prompts = [asked.prompt(example, asked.instructions[0]) for example in asked.examples]
        with torch.inference_mode():
            hf(input_ids=model.forward.padded(model.encoder.prompt_ids(prompts))[0], use_cache=True)
    elif kind == "bare":
        bare(model, task(2, 128), 2)
    return {"peak": peak() - start, "model": size}


def main() -> None:
    """Measure each kind of work in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work")
    parser.add_argument("--folder", default="")
    parser.add_argument("--examples", type=int, default=8)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options.work, options.folder, options.examples)))
        return
    import tempfile

    from setting import llama

    with tempfile.TemporaryDirectory() as folder:
        llama(layers=12, d_model=1024).model.save_pretrained(folder)

        def measured(kind: str, examples: int) -> dict[str, float]:
            command = [sys.executable, __file__, "--work", kind, "--folder", folder, "--examples", str(examples)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            return json.loads(out.splitlines()[-1])

        one_batch = {"locate": measured("bare", 2)["peak"], "score": measured("prompts", 4)["peak"]}
        for kind, examples in (("locate", 8), ("locate", 32), ("score", 8), ("score", 32)):
            found, allowed = measured(kind, examples), one_batch[kind]
            print(
                f"{kind}, {examples} examples: peak {found['peak'] / MIB:.0f} MiB, model {found['model'] / MIB:.0f} MiB, "
                f"model and one batch {allowed / MIB:.0f} MiB, ratio {found['peak'] / allowed:.2f} (wanted: 1.3 or less)"
            )


if __name__ == "__main__":
    main()
