"""CRISPR's locate against the bare forward and backward passes over the same rows; the pass that finds ŷ is in both.

Prints the ratio for a decoder-only and an encoder-decoder model, weights frozen. Wanted: at most 1.3 (d_model 768).
"""

import argparse
from collections.abc import Sequence

import torch

from measurement import best_of_each
from random_models import llama, t5
from resect import Crispr, Example, LanguageModel, Site, Task
from resect.evaluation.questions import Questions
from resect.methods.crispr.attribution import attribute
from resect.methods.crispr.bias_scores import bias_pairs


class NoReducer:
    """A reducer that keeps nothing: with no sites, `attribute` is the bare passes."""

    def begin(self, logprobs: torch.Tensor) -> None:
        """Not needed."""

    def add(self, site: Site, values: torch.Tensor, gradient: torch.Tensor, lengths: Sequence[int]) -> None:
        """Never called: there are no sites."""


def task(examples: int, tokens: int) -> Task:
    """Prompts of like length with three choices each."""
    texts = [f"{place:03d} " + "who was it of the two? " * (tokens // 23) for place in range(examples)]
    rows = tuple(Example({"text": text}, ("the first", "the other", "unknown"), 2, split="locate") for text in texts)
    return Task("benchmark", rows, ("Answer.",), "{{ instruction }} {{ text }}")


def bare_passes(model: LanguageModel, rows: Task, batch: int) -> None:
    """What any implementation must run: ŷ from all choices, then forward and backward over two rows an example."""
    questions = Questions(model, rows, rows.split("locate"))
    pairs = bias_pairs(questions.encoded_choices(0), questions.gold)
    for start in range(0, len(pairs), batch):
        part = pairs[start : start + batch]
        attribute(model, (), [pair.biased for pair in part] + [pair.golden for pair in part], NoReducer())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--layers", type=int, default=6, help="of the decoder-only model; the other has two thirds as many in each stack")
    parser.add_argument("--d-model", type=int, default=768)
    options = parser.parse_args()
    rows = task(options.examples, options.tokens)
    models = {
        "decoder-only": llama(options.layers, options.d_model),
        "encoder-decoder": t5(max(1, options.layers * 2 // 3), options.d_model),
    }
    for name, model in models.items():
        method = Crispr(samples=options.examples)
        method.locate(model, rows)
        batch = model.batcher.sizes["gradients"]
        workloads = {"locate": lambda: method.locate(model, rows), "bare": lambda: bare_passes(model, rows, batch)}  # noqa: B023
        seconds = best_of_each(options.rounds, workloads)
        ratio = seconds["locate"] / seconds["bare"]
        print(f"{name}: locate {seconds['locate']:.2f} s, bare passes {seconds['bare']:.2f} s, ratio {ratio:.2f} (wanted: 1.3 or less)")


if __name__ == "__main__":
    main()
