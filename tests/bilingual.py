"""A tiny bilingual model: it continues in the language of its input, by two planted feed-forward units for each language.

Words are single tokens, so that a language identifier knows the generated text. Attention is uniform over all tokens and gives the planted
units the share of each language; they alone produce words.
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
#: Directions of the residual stream: the language of a word; the share of each language in the input; the language of the next word.
_WORD, _INPUT, _OUTPUT = {"en": 0, "fr": 1}, {"en": 2, "fr": 3}, {"en": 4, "fr": 5}


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer with one token a word, separated by blanks."""
    vocab = {word: place for place, word in enumerate((*SPECIALS, *OTHERS, *WORDS["en"], *WORDS["fr"]))}
    core = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def model(seed: int = 0) -> LanguageModel:
    """Returns the model in float64."""
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
        head[words.eos_token_id, list(_INPUT.values())] = 0.3  # without the planted units it generates nothing
        block.self_attn.q_proj.weight.zero_()  # uniform attention
        block.self_attn.o_proj.weight.copy_(torch.eye(width))
        for language, chosen in UNITS.items():
            other = {"en": "fr", "fr": "en"}[language]
            block.self_attn.v_proj.weight[_INPUT[language], _WORD[language]] = 2.0
            places = words.convert_tokens_to_ids(list(WORDS[language]))
            embeddings[places, _WORD[language]] = 1.0
            head[places, _OUTPUT[language]] = 3.0
            for unit in chosen[SITE]:
                block.mlp.gate_proj.weight[unit, [_INPUT[language], _INPUT[other]]] = torch.tensor([3.0, -3.0], dtype=torch.float64)
                block.mlp.up_proj.weight[unit, list(_INPUT.values())] = 1.0
                block.mlp.down_proj.weight[_OUTPUT[language], unit] = 1.0
    return LanguageModel.of(planted, words, name="bilingual")


def texts(language: str, number: int, seed: int = 0) -> list[str]:
    """Returns lines of some words of a language, each word at most once a line."""
    rng = np.random.default_rng([seed, number])
    return [" ".join(rng.choice(WORDS[language], 4 + line % 3, replace=False)) for line in range(number)]


def counts(of: LanguageModel) -> Counts:
    """Returns how often units are active on each language's lines, line by line."""
    tokens, active, sums = [], [], []
    for language in WORDS:
        recorded: list[torch.Tensor] = []
        with forward_hooks(of.anatomy, [SITE], lambda _site, values, recorded=recorded: recorded.append(values[0])), torch.no_grad():
            for ids in of.encoder.encode_documents(texts(language, 20)):
                of.model(input_ids=torch.tensor([ids]))
        values = torch.cat(recorded)
        tokens.append(len(values))
        active.append((values > 0).sum(dim=0).numpy())
        sums.append(values.sum(dim=0).numpy())
    identity = ModelIdentity.of(of, [SITE])
    return Counts(tuple(WORDS), tokens, {SITE: np.stack(active)}, {SITE: np.stack(sums)}, identity)
