"""A tiny model of two languages with planted language units, which LAPE must find.

Each language has its own letters: "aa" a to f, "bb" u to z. In the model a few feed-forward units are active on the letters of one language
only, and their output makes the letters of that language more probable; all other units are active on every other letter of both
languages, and have almost no output.
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
    """Returns lines in a language."""
    random = np.random.default_rng([seed, sorted(LETTERS).index(language)])
    return ["".join(random.choice(list(LETTERS[language]), random.integers(20, 60))) for _ in range(number)]


def model(batch_size: int | str = "auto") -> LanguageModel:
    """Returns the model with its planted units, a llama of pico size."""
    planted = pico.build("llama-gqa", seed=3)
    tokenizer = pico.tokenizer("causal")
    of = {
        language: [tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in letters]
        for language, letters in LETTERS.items()
    }
    with torch.no_grad():
        embedding, head = planted.get_input_embeddings().weight, planted.get_output_embeddings().weight
        embedding[:, :3] = 0
        for sign, ids in ((1.0, of["aa"]), (-1.0, of["bb"])):
            embedding[ids, 0] = 4.0 * sign  # the first direction encodes the language of a token,
            head[ids, 1] = 3.0 * sign  # and the second one decides how probable its letters are
            embedding[ids, 2] = torch.tensor([4.0, -4.0] * 3)
        for layer in planted.model.layers:
            layer.self_attn.o_proj.weight *= 0.02
            layer.mlp.down_proj.weight *= 0.02
            size = layer.mlp.gate_proj.weight[:, 2].abs() + 0.1
            layer.mlp.gate_proj.weight[:] = 0
            layer.mlp.gate_proj.weight[:, 2] = size * torch.tensor([1.0, -1.0] * (len(size) // 2))
        for language, units in UNITS.items():
            sign = 1.0 if language == "aa" else -1.0
            for site, indices in units.items():
                block = planted.model.layers[site.layer].mlp
                for unit in indices:
                    block.gate_proj.weight[unit] = 0
                    block.gate_proj.weight[unit, 0] = 2.0 * sign
                    block.up_proj.weight[unit] = 0
                    block.up_proj.weight[unit, 0] = sign
                    block.down_proj.weight[:, unit] = 0
                    block.down_proj.weight[1, unit] = 0.1 * sign
    return LanguageModel.of(planted, tokenizer, batch_size=batch_size, name="planted languages")  # type: ignore[arg-type]


def write(folder: Path) -> None:
    """Write the model as `model`, and the text of each language as `<language>.txt`."""
    planted = model()
    planted.model.save_pretrained(folder / "model")
    planted.tokenizer.save_pretrained(folder / "model")
    for language in LETTERS:
        (folder / f"{language}.txt").write_text("".join(f"{line}\n" for line in documents(language, 200)), encoding="utf-8")
