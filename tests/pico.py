"""Tiny models of every family and layout, built in milliseconds from a seed, and matching tokenizers.

Every weight, bias and norm is random, so that no two roles, layers or units are alike.
"""

import functools
import zlib
from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    BartConfig,
    BertConfig,
    BloomConfig,
    DecisionTransformerConfig,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteMoeConfig,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    ModernBertConfig,
    MT5Config,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    RobertaConfig,
    T5Config,
)

from unlisted import unlisted

#: The first ids of every vocabulary; the 256 bytes come after them.
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "<cls>", "<sep>", "<mask>")
PAD, BOS, EOS, UNK, CLS, SEP, MASK = range(len(SPECIALS))
VOCAB = 256 + len(SPECIALS)
IDS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}


def _t5(make: type = T5Config, **settings: Any) -> Any:
    sizes = {"vocab_size": VOCAB, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_heads": 4, "num_layers": 2}
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    return make(**(sizes | ids | {"num_decoder_layers": 2, "dropout_rate": 0.0} | settings))


def _bart(make: type = BartConfig) -> Any:
    encoder = {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 40}
    decoder = {"decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 36}
    rest = {"vocab_size": VOCAB, "d_model": 24, "max_position_embeddings": 512, "dropout": 0.0}
    return make(**(encoder | decoder | rest | IDS), decoder_start_token_id=EOS, forced_eos_token_id=EOS)


def _llama(make: type = LlamaConfig, **settings: Any) -> Any:
    sizes = {"vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    return make(**(IDS | sizes | heads | settings))


def _gemma3() -> Gemma3Config:
    text = _llama(Gemma3TextConfig, head_dim=10, query_pre_attn_scalar=10).to_dict()
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = sizes | {"image_size": 8, "patch_size": 4, "vision_use_head": False}
    return Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)


def _gpt(make: type, **settings: Any) -> Any:
    sizes = {"vocab_size": VOCAB, "n_positions": 512, "n_embd": 24, "n_layer": 2, "n_head": 4}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return make(**(sizes | dropout | {"bos_token_id": BOS, "eos_token_id": EOS} | settings))


def _opt(**settings: Any) -> OPTConfig:
    sizes = {"vocab_size": VOCAB, "hidden_size": 24, "ffn_dim": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    rest = {"word_embed_proj_dim": 24, "max_position_embeddings": 512, "dropout": 0.0}
    return OPTConfig(**(sizes | rest | IDS | settings))


def _falcon(**settings: Any) -> FalconConfig:
    sizes = {"vocab_size": VOCAB, "hidden_size": 32, "ffn_hidden_size": 48, "num_hidden_layers": 2}
    rest = {"num_attention_heads": 4, "max_position_embeddings": 512, "bos_token_id": BOS, "eos_token_id": EOS}
    return FalconConfig(**(sizes | rest | settings))


def _bert(make: type, **settings: Any) -> Any:
    sizes = {"vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    rest = {"num_attention_heads": 4, "max_position_embeddings": 514, "pad_token_id": PAD}
    return make(**(sizes | rest | settings))


def _modernbert(**settings: Any) -> ModernBertConfig:
    ids = {"cls_token_id": CLS, "sep_token_id": SEP, "bos_token_id": CLS, "eos_token_id": SEP}
    return _bert(ModernBertConfig, **(ids | settings))


def _decision_transformer() -> DecisionTransformerConfig:
    episode = {"state_dim": 5, "act_dim": 3, "hidden_size": 24, "max_ep_len": 32}
    return _gpt(DecisionTransformerConfig, n_inner=40, n_positions=64, **episode)


#: A function for a new configuration, by name. A family with several layouts has several names.
PICO: dict[str, Callable[[], Any]] = {
    "t5": _t5,
    "t5-gated": lambda: _t5(feed_forward_proj="gated-gelu"),
    "t5-untied": lambda: _t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "mt5": lambda: _t5(MT5Config, feed_forward_proj="gated-gelu"),
    "bart": _bart,
    "llama": lambda: _llama(num_key_value_heads=4),
    "llama-gqa": lambda: _llama(head_dim=10, tie_word_embeddings=True),
    "llama-biased": lambda: _llama(attention_bias=True, mlp_bias=True),
    "mistral": lambda: _llama(MistralConfig, sliding_window=512),
    "qwen2": lambda: _llama(Qwen2Config),
    "qwen3": lambda: _llama(Qwen3Config, head_dim=10),
    "gemma2": lambda: _llama(Gemma2Config, head_dim=10, query_pre_attn_scalar=10),
    "gemma3-text": lambda: _llama(Gemma3TextConfig, head_dim=10, query_pre_attn_scalar=10),
    "gemma3": _gemma3,
    "olmo2": lambda: _llama(Olmo2Config),
    "phi": lambda: _llama(PhiConfig, hidden_size=32, num_key_value_heads=4, resid_pdrop=0.0, embd_pdrop=0.0),
    "phi-gqa": lambda: _llama(PhiConfig, hidden_size=32, qk_layernorm=True),
    "phi3": lambda: _llama(Phi3Config, sliding_window=None),
    "opt": _opt,
    "opt-350m": lambda: _opt(word_embed_proj_dim=12, do_layer_norm_before=False),
    "opt-bare": lambda: _opt(enable_bias=False, layer_norm_elementwise_affine=False),
    "gpt2": lambda: _gpt(GPT2Config),
    "gpt2-inner": lambda: _gpt(GPT2Config, n_inner=40, tie_word_embeddings=False),
    "gptj": lambda: _gpt(GPTJConfig, rotary_dim=4),
    "gpt-neox": lambda: _llama(GPTNeoXConfig, hidden_dropout=0.0),
    "gpt-neox-bare": lambda: _llama(GPTNeoXConfig, attention_bias=False, use_parallel_residual=False),
    "bloom": lambda: BloomConfig(vocab_size=VOCAB, hidden_size=24, n_layer=2, n_head=4, hidden_dropout=0.0, **IDS),
    "falcon-7b": lambda: _falcon(multi_query=True),
    "falcon-40b": lambda: _falcon(new_decoder_architecture=True, num_kv_heads=2),
    "falcon-rw": lambda: _falcon(multi_query=False, parallel_attn=False, bias=True, alibi=True),
    "bert": lambda: _bert(BertConfig),
    "roberta": lambda: _bert(RobertaConfig, bos_token_id=CLS, eos_token_id=SEP),
    "modernbert": lambda: _modernbert(global_attn_every_n_layers=2, local_attention=8),
    "modernbert-biased": lambda: _modernbert(mlp_bias=True, attention_bias=True),
    "decision-transformer": _decision_transformer,
}


def _moe(make: type, **settings: Any) -> Any:
    """A mixture of four experts, of which a token reaches two."""
    chosen = {"num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    return _llama(make, **(chosen | settings))


_LATENT = {"q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "num_key_value_heads": 4}
_GROUPS = {"n_group": 2, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1}

#: Mixtures of experts, none of which has a line in the table: a function for a new configuration, by name.
EXPERTS: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: _moe(MixtralConfig),
    "qwen2-moe": lambda: _moe(Qwen2MoeConfig, shared_expert_intermediate_size=28, decoder_sparse_step=1),
    "qwen3-moe": lambda: _moe(Qwen3MoeConfig, head_dim=8, mlp_only_layers=[0]),
    "gpt-oss": lambda: _moe(GptOssConfig, head_dim=8),
    "deepseek-v3": lambda: _moe(DeepseekV3Config, **_LATENT, **_GROUPS),
    "llama4": lambda: _moe(Llama4TextConfig, num_experts_per_tok=1, head_dim=8, intermediate_size_mlp=28, interleave_moe_layer_step=1),
    "granite-moe": lambda: _moe(GraniteMoeConfig),
}

#: The most used dense families without a line in the table: by kind, a function for a new configuration, by name.
UNLISTED: dict[str, dict[str, Callable[[], Any]]] = unlisted(_llama, _bert, _bart, _t5, _gpt, IDS)

#: Two mixtures of experts, different in everything: for quick tests.
FEW_EXPERTS = ("mixtral", "gpt-oss")

_MASKED = ("bert", "roberta", "modernbert", "modernbert-biased")
_ENCODER_DECODER = ("t5", "t5-gated", "t5-untied", "mt5", "bart")
#: "causal", "encoder-decoder" or "masked" (Anatomy.kind), by name.
KINDS: dict[str, str] = {
    name: "masked" if name in _MASKED else "encoder-decoder" if name in _ENCODER_DECODER else "causal" for name in (*PICO, *EXPERTS)
}
_CONFIGURATIONS = PICO | EXPERTS
for _kind, _of_kind in UNLISTED.items():
    KINDS |= dict.fromkeys(_of_kind, _kind)
    _CONFIGURATIONS |= _of_kind
#: The names of models with a tokenizer.
language_models: tuple[str, ...] = tuple(name for name in PICO if name != "decision-transformer")
_HEADS = {
    "causal": transformers.AutoModelForCausalLM,
    "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    "masked": transformers.AutoModelForMaskedLM,
}


def head_class(name: str) -> Any:
    """Returns the transformers class with logits for this model."""
    return transformers.AutoModel if name == "decision-transformer" else _HEADS[KINDS[name]]


def build(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Returns a model in evaluation mode, the same for the same name and seed; the global generator is not changed."""
    with torch.random.fork_rng(devices=[]):
        model = head_class(name).from_config(_CONFIGURATIONS[name]())
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {seed}".encode()))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = parameter.dim() == 1 and path.endswith("weight")
            parameter.copy_(1.0 + 0.2 * noise if is_norm else 0.3 * noise)
    return model.to(dtype).eval()


def build_on_meta(name: str) -> Any:
    """Returns the same model without values."""
    with torch.device("meta"):
        return head_class(name).from_config(_CONFIGURATIONS[name]()).eval()


def inputs(name: str, batch: int = 2, tokens: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """Returns inputs of the model `name`: random tokens (or states, actions, rewards), without padding."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randint(len(SPECIALS), VOCAB, shape, generator=generator)

    if name == "decision-transformer":
        config = PICO[name]()
        shapes = {"states": config.state_dim, "actions": config.act_dim, "rewards": 1, "returns_to_go": 1}
        floats = {key: torch.randn(batch, tokens, width, generator=generator) for key, width in shapes.items()}
        steps = torch.arange(tokens).repeat(batch, 1)
        return floats | {"timesteps": steps, "attention_mask": torch.ones(batch, tokens)}
    ids = draw(batch, tokens)
    prompt = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if KINDS[name] == "encoder-decoder":
        return prompt | {"decoder_input_ids": draw(batch, tokens - 2)}
    return prompt


def output(name: str, model: Any, seed: int = 0, **settings: Any) -> torch.Tensor:
    """Returns the logits (the action predictions of a Decision Transformer) for `inputs(name)`."""
    with torch.no_grad():
        result = model(**inputs(name, seed=seed, **settings))
    return result.action_preds if name == "decision-transformer" else result.logits


@functools.cache
def tokenizer(kind: str, bos: bool = False) -> PreTrainedTokenizerFast:
    """Returns a byte-level tokenizer, one token a byte except for special tokens.

    `kind`: "causal" (with `bos`: <s> before the text), "encoder-decoder" (</s> after it), "masked" (<cls> before and
    <sep> after it, and a <mask>). Or a model's name.
    """
    kind = KINDS.get(kind, kind)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate((*SPECIALS, *alphabet))}
    core = Tokenizer(BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    frame = {"causal": ("<s> $A" if bos else "$A"), "encoder-decoder": "$A </s>", "masked": "<cls> $A <sep>"}[kind]
    core.post_processor = processors.TemplateProcessing(single=frame, special_tokens=[(token, vocab[token]) for token in SPECIALS])
    roles = {"pad_token": "<pad>", "unk_token": "<unk>"}
    if kind == "masked":
        roles |= {"cls_token": "<cls>", "sep_token": "<sep>", "mask_token": "<mask>"}
    else:
        roles |= {"eos_token": "</s>"}
    if kind == "causal":
        roles |= {"bos_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **roles)
