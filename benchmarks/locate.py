"""CRISPR's locate against the bare forward and backward passes over the same rows; the pass that finds ŷ is in both.

Prints the ratio for a decoder-only and an encoder-decoder model, d_model 768, weights frozen. Wanted: at most 1.3.
"""

import argparse

import torch

from resect import Crispr, Example, LanguageModel, Task
from resect.evaluation.questions import Questions
from resect.methods.crispr.attribution import attribute
from resect.methods.crispr.bias_scores import pairs_of
from setting import best_of_each, llama, t5


class Nothing:
    """The reducer that takes nothing: with no sites, `attribute` is the bare passes."""

    def begin(self, logprobs: torch.Tensor) -> None:
        """Not needed."""


def task(examples: int, tokens: int) -> Task:
    """Prompts of like length with three choices each."""
    texts = [f"{place:03d} " + "who was it of the two? " * (tokens // 23) for place in range(examples)]
    rows = tuple(Example({"text": text}, ("the first", "the other", "unknown"), 2, split="locate") for text in texts)
    return Task("benchmark", rows, ("Answer.",), "{{ instruction }} {{ text }}")


def bare(model: LanguageModel, asked: Task, batch: int) -> None:
    """What any implementation must run: ŷ from all choices, then forward and backward over two rows an example."""
    questions = Questions(model, asked, asked.split("locate"))
    pairs = pairs_of(questions.scoring(0), questions.gold)
    for start in range(0, len(pairs), batch):
        part = pairs[start : start + batch]
        attribute(model, (), [pair.biased for pair in part] + [pair.golden for pair in part], Nothing())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    asked = task(options.examples, options.tokens)
    for name, model in {"decoder-only": llama(), "encoder-decoder": t5()}.items():
        method = Crispr(samples=options.examples)
        method.locate(model, asked)
        batch = model.batches.sizes["gradients"]
        works = {"locate": lambda: method.locate(model, asked), "bare": lambda: bare(model, asked, batch)}  # noqa: B023
        seconds = best_of_each(options.rounds, works)
        ratio = seconds["locate"] / seconds["bare"]
        print(f"{name}: locate {seconds['locate']:.2f} s, bare passes {seconds['bare']:.2f} s, ratio {ratio:.2f} (wanted: 1.3 or less)")


if __name__ == "__main__":
    main()
