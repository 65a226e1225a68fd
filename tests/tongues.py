"""A tiny model of two languages with planted units: plant and find for LAPE.

The languages have letters of their own: "aa" writes a to f, "bb" writes u to z. In the model a few feed-forward units fire on the letters
of one language only, and what they write makes the letters of that language more probable; all other units fire on every other letter of
both languages, and write next to nothing.
"""

from pathlib import Path

import numpy as np
import torch

import pico
from resect.core.address import Neurons
from resect.models.language_model import LanguageModel

LETTERS = {"aa": "abcdef", "bb": "uvwxyz"}
#: The planted units of each language.
UNITS = {"aa": Neurons({"decoder.0.act": [3, 11], "decoder.1.act": [7]}), "bb": Neurons({"decoder.0.act": [20], "decoder.1.act": [5, 30]})}


def documents(language: str, number: int = 60, seed: int = 0) -> list[str]:
    """Lines in a language."""
    random = np.random.default_rng([seed, sorted(LETTERS).index(language)])
    return ["".join(random.choice(list(LETTERS[language]), random.integers(20, 60))) for _ in range(number)]


def model(batch_size: int | str = "auto") -> LanguageModel:
    """The model with its planted units, a llama of pico size."""
    found = pico.build("llama-gqa", seed=3)
    tokenizer = pico.tokenizer("causal")
    of = {language: [tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in each] for language, each in LETTERS.items()}
    with torch.no_grad():
        embedding, head = found.get_input_embeddings().weight, found.get_output_embeddings().weight
        embedding[:, :3] = 0
        for sign, ids in ((1.0, of["aa"]), (-1.0, of["bb"])):
            embedding[ids, 0] = 4.0 * sign  # the language of a token stands in the first direction,
            head[ids, 1] = 3.0 * sign  # and how probable its letters are depends on the second
            embedding[ids, 2] = torch.tensor([4.0, -4.0] * 3)
        for layer in found.model.layers:
            layer.self_attn.o_proj.weight *= 0.02
            layer.mlp.down_proj.weight *= 0.02
            size = layer.mlp.gate_proj.weight[:, 2].abs() + 0.1
            layer.mlp.gate_proj.weight[:] = 0
            layer.mlp.gate_proj.weight[:, 2] = size * torch.tensor([1.0, -1.0] * (len(size) // 2))
        for language, units in UNITS.items():
            sign = 1.0 if language == "aa" else -1.0
            for site, indices in units.items():
                block = found.model.layers[site.layer].mlp
                for unit in indices:
                    block.gate_proj.weight[unit] = 0
                    block.gate_proj.weight[unit, 0] = 2.0 * sign
                    block.up_proj.weight[unit] = 0
                    block.up_proj.weight[unit, 0] = sign
                    block.down_proj.weight[:, unit] = 0
                    block.down_proj.weight[1, unit] = 0.1 * sign
    return LanguageModel.of(found, tokenizer, batch_size=batch_size, name="two tongues")  # type: ignore[arg-type]


def write(folder: Path) -> None:
    """The model under `model`, the languages' text under `<language>.txt`."""
    planted = model()
    planted.model.save_pretrained(folder / "model")
    planted.tokenizer.save_pretrained(folder / "model")
    for language in LETTERS:
        (folder / f"{language}.txt").write_text("".join(f"{line}\n" for line in documents(language, 200)), encoding="utf-8")
