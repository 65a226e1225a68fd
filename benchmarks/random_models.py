"""Models with random weights and a byte-level tokenizer, of any size, for the benchmarks."""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from resect import LanguageModel

SPECIALS = ("<pad>", "</s>", "<unk>")
HEAD_SIZE = 64


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that a text's length is its number of tokens."""
    vocab = {token: index for index, token in enumerate((*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    core = Tokenizer(BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def llama(layers: int = 6, d_model: int = 768, vocab: int = 8000, **settings: Any) -> LanguageModel:
    """A decoder-only model with gated feed-forward blocks. `settings`: those of `LanguageModel.of`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=d_model,
        intermediate_size=d_model * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=d_model // HEAD_SIZE,
        vocab_size=vocab,
        max_position_embeddings=4096,
        pad_token_id=0,
        eos_token_id=1,
    )
    return LanguageModel.of(LlamaForCausalLM(config).eval().requires_grad_(False), tokenizer(), **settings)


def mixture(layers: int = 4, d_model: int = 512, experts: int = 8, chosen: int = 2, vocab: int = 8000) -> LanguageModel:
    """A decoder-only model with a mixture of gated experts in every layer, of which each token reaches a few."""
    torch.manual_seed(0)
    config = MixtralConfig(
        hidden_size=d_model,
        intermediate_size=d_model * 2,
        num_local_experts=experts,
        num_experts_per_tok=chosen,
        num_hidden_layers=layers,
        num_attention_heads=d_model // HEAD_SIZE,
        num_key_value_heads=d_model // HEAD_SIZE,
        vocab_size=vocab,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return LanguageModel.of(MixtralForCausalLM(config).eval().requires_grad_(False), tokenizer())


def t5(layers: int = 4, d_model: int = 768, vocab: int = 8000, **settings: Any) -> LanguageModel:
    """An encoder-decoder with gated feed-forward blocks. `settings`: those of `LanguageModel.of`."""
    torch.manual_seed(0)
    config = T5Config(
        d_model=d_model,
        d_ff=d_model * 8 // 3,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=d_model // HEAD_SIZE,
        vocab_size=vocab,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    config.decoder_start_token_id = 0
    return LanguageModel.of(T5ForConditionalGeneration(config).eval().requires_grad_(False), tokenizer(), **settings)


def opt(layers: int = 6, d_model: int = 512, vocab: int = 8000) -> LanguageModel:
    """A decoder-only model without a gate, with ReLU, whose feed-forward blocks see rows and tokens as one axis."""
    torch.manual_seed(0)
    config = OPTConfig(
        hidden_size=d_model,
        ffn_dim=4 * d_model,
        num_hidden_layers=layers,
        word_embed_proj_dim=d_model,
        num_attention_heads=d_model // HEAD_SIZE,
        vocab_size=vocab,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    return LanguageModel.of(OPTForCausalLM(config).eval().requires_grad_(False), tokenizer())
