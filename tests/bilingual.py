"""A tiny model of two languages: it goes on in the language of what it has read, by two planted feed-forward units for each.

Words are whole tokens, so that what it says is text that an identifier of languages knows. Attention is even over all tokens and tells the
planted units how much of each language there is; they alone write words.
"""

import numpy as np
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from resect.core.address import Neurons, Site
from resect.methods.lape.counts import Counts
from resect.models.fingerprint import ModelIdentity
from resect.models.hooks import forward_hooks
from resect.models.language_model import LanguageModel

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
OTHERS = ("Q", "A", ":", "1", "2", "3")
WORDS: dict[str, tuple[str, ...]] = {
    "en": (
        *("the", "house", "with", "water", "through", "because", "their"),
        *("children", "would", "which", "thing", "always", "together", "something"),
    ),
    "fr": (
        *("maison", "avec", "eau", "parce", "enfants", "leur", "chose"),
        *("toujours", "beaucoup", "aussi", "cette", "quelque", "ensemble", "jamais"),
    ),
}
SITE = Site.parse("decoder.0.act")
UNITS = {"en": Neurons({SITE: [1, 4]}), "fr": Neurons({SITE: [2, 7]})}
#: Directions of the residual stream: a word is of a language; so much of a language was read; say a word of a language.
_OF, _READ, _SAY = {"en": 0, "fr": 1}, {"en": 2, "fr": 3}, {"en": 4, "fr": 5}


def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, with blanks between them."""
    vocab = {word: place for place, word in enumerate((*SPECIALS, *OTHERS, *WORDS["en"], *WORDS["fr"]))}
    core = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def model(seed: int = 0) -> LanguageModel:
    """The model in float64."""
    words, width, units = tokenizer(), 16, 12
    sizes = {"hidden_size": width, "intermediate_size": units, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    ids = {"vocab_size": len(words), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    planted = LlamaForCausalLM(LlamaConfig(max_position_embeddings=128, **sizes, **ids)).to(torch.float64)
    generator = torch.Generator().manual_seed(seed)
    block, embeddings, head = planted.model.layers[0], planted.model.embed_tokens.weight, planted.lm_head.weight
    with torch.no_grad():
        for parameter in planted.parameters():
            if parameter.dim() == 2:
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
        head[words.eos_token_id, list(_READ.values())] = 0.3  # without the planted units it says nothing
        block.self_attn.q_proj.weight.zero_()  # all tokens alike
        block.self_attn.o_proj.weight.copy_(torch.eye(width))
        for language, chosen in UNITS.items():
            other = {"en": "fr", "fr": "en"}[language]
            block.self_attn.v_proj.weight[_READ[language], _OF[language]] = 2.0
            places = words.convert_tokens_to_ids(list(WORDS[language]))
            embeddings[places, _OF[language]] = 1.0
            head[places, _SAY[language]] = 3.0
            for unit in chosen[SITE]:
                block.mlp.gate_proj.weight[unit, [_READ[language], _READ[other]]] = torch.tensor([3.0, -3.0], dtype=torch.float64)
                block.mlp.up_proj.weight[unit, list(_READ.values())] = 1.0
                block.mlp.down_proj.weight[_SAY[language], unit] = 1.0
    return LanguageModel.of(planted, words, name="bilingual")


def texts(language: str, number: int, seed: int = 0) -> list[str]:
    """Lines of some words of a language, no two of which are alike."""
    rng = np.random.default_rng([seed, number])
    return [" ".join(rng.choice(WORDS[language], 4 + line % 3, replace=False)) for line in range(number)]


def counts(of: LanguageModel) -> Counts:
    """How often units fire on each language's lines, line by line."""
    tokens, active, sums = [], [], []
    for language in WORDS:
        seen: list[torch.Tensor] = []
        with forward_hooks(of.anatomy, [SITE], lambda _site, values, seen=seen: seen.append(values[0])), torch.no_grad():
            for ids in of.encoder.document_ids(texts(language, 20)):
                of.model(input_ids=torch.tensor([ids]))
        values = torch.cat(seen)
        tokens.append(len(values))
        active.append((values > 0).sum(dim=0).numpy())
        sums.append(values.sum(dim=0).numpy())
    identity = ModelIdentity.of(of, [SITE])
    return Counts(tuple(WORDS), tokens, {SITE: np.stack(active)}, {SITE: np.stack(sums)}, identity)
