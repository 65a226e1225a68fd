"""Scoring three choices on a long prompt against one forward pass over the prompts alone. Wanted: at most 1.5.

For comparison: the time that scoring each choice as a row of its own takes.
"""

import argparse

import torch

from measurement import best_of_each
from random_models import llama, t5
from resect import LanguageModel

CHOICES = ("the old man", "the young woman", "it cannot be known")


def prompts_only(model: LanguageModel, prompts: list[str]) -> None:
    """One forward pass over the prompts, the head at one position."""
    ids = model.forward.pad_rows(model.encoder.encode_open_prompts(prompts))[0]
    with torch.inference_mode():
        if model.kind == "causal":
            model.model(input_ids=ids, logits_to_keep=1, use_cache=False)
        else:
            model.model(input_ids=ids, decoder_input_ids=torch.zeros(len(ids), 1, dtype=torch.long), use_cache=False)


def one_row_a_choice(model: LanguageModel, prompts: list[str]) -> None:
    """The same scores; the choices of a prompt share nothing."""
    for prompt in prompts:
        rows = [model.tokens(prompt, choice) for choice in CHOICES]
        model.forward.row_logprobs(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6, help="of the decoder-only model; the other has two thirds as many in each stack")
    parser.add_argument("--d-model", type=int, default=768)
    options = parser.parse_args()
    prompts = [(f"{place} " + "long story " * options.tokens)[: options.tokens].rstrip() for place in range(options.prompts)]
    pairs = [prompt for prompt in prompts for _ in CHOICES], list(CHOICES) * len(prompts)
    models = {
        "decoder-only": llama(options.layers, options.d_model, batch_size=options.prompts),
        "encoder-decoder": t5(max(1, options.layers * 2 // 3), options.d_model, batch_size=options.prompts),
    }
    for name, model in models.items():
        workloads = {
            "scoring": lambda: model.logprobs(*pairs),  # noqa: B023
            "prompts": lambda: prompts_only(model, prompts),  # noqa: B023
            "rows": lambda: one_row_a_choice(model, prompts),  # noqa: B023
        }
        seconds = best_of_each(options.rounds, workloads)
        ratio, separate = seconds["scoring"] / seconds["prompts"], seconds["rows"] / seconds["prompts"]
        print(
            f"{name}: 3 choices {seconds['scoring']:.2f} s, prompts alone {seconds['prompts']:.2f} s, ratio {ratio:.2f} "
            f"(wanted: 1.5 or less; a row a choice: {separate:.2f})"
        )


if __name__ == "__main__":
    main()
