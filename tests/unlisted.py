"""Tiny configurations of dense families without a line in the table, by name: those that are used most."""

from collections.abc import Callable
from typing import Any

import transformers

#: Makes a configuration of a class with the sizes of a tiny model: see `pico`.
Make = Callable[..., Any]


def unlisted(llama: Make, bert: Make, bart: Make, t5: Make, gpt: Make, ids: dict[str, int]) -> dict[str, dict[str, Callable[[], Any]]]:
    """Returns by kind a function for a new configuration, by name; given are those that make configurations like these families."""

    def like(make: Make, name: str, **settings: Any) -> Callable[[], Any]:
        return lambda: make(getattr(transformers, f"{name}Config"), **settings)

    def sized(name: str, width: str, inner: str, layers: str, heads: str, **settings: Any) -> Callable[[], Any]:
        sizes = {width: 24, inner: 40, layers: 2, heads: 4, "vocab_size": 263, "max_position_embeddings": 514}
        return lambda: getattr(transformers, f"{name}Config")(**(ids | sizes | settings))

    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
    classifier = {"bos_token_id": 4, "eos_token_id": 5}
    relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
    causal = {
        "gemma": like(llama, "Gemma", head_dim=8),
        "olmo": like(llama, "Olmo"),
        "olmo3": like(llama, "Olmo3"),
        "smollm3": like(llama, "SmolLM3"),
        "granite": like(llama, "Granite"),
        "glm": like(llama, "Glm", head_dim=8),
        "glm4": like(llama, "Glm4", head_dim=8),
        "cohere": like(llama, "Cohere"),
        "cohere2": like(llama, "Cohere2"),
        "ministral": like(llama, "Ministral", head_dim=8, sliding_window=512),
        "ministral3": like(llama, "Ministral3", head_dim=8),
        "starcoder2": like(llama, "Starcoder2", residual_dropout=0.0, embedding_dropout=0.0),
        "stablelm": like(llama, "StableLm"),
        "nemotron": like(llama, "Nemotron"),
        "persimmon": like(llama, "Persimmon", hidden_size=32, hidden_dropout=0.0, attention_dropout=0.0),
        "exaone4": like(llama, "Exaone4", sliding_window=512),
        "helium": like(llama, "Helium", head_dim=8, hidden_size=32),
        "arcee": like(llama, "Arcee"),
        "seed-oss": like(llama, "SeedOss", head_dim=8, attention_dropout=0.0, residual_dropout=0.0),
        "hunyuan": like(llama, "HunYuanDenseV1", head_dim=8),
        "ernie4.5": like(llama, "Ernie4_5", head_dim=8),
        "apertus": like(llama, "Apertus"),
        "diffllama": like(llama, "DiffLlama"),
        "gemma4": like(llama, "Gemma4Text", head_dim=8, global_head_dim=8, hidden_size_per_layer_input=0),
        "qwen3.5": like(llama, "Qwen3_5Text", head_dim=8, layer_types=["linear_attention", "full_attention"], **linear),
        "lfm2": like(llama, "Lfm2", block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention"]),
        "gpt-neo": sized("GPTNeo", "hidden_size", "intermediate_size", "num_layers", "num_heads", window_size=8, resid_dropout=0.0,
                         embed_dropout=0.0, attention_dropout=0.0, attention_types=[[["global", "local"], 1]]),
        "gpt-bigcode": like(gpt, "GPTBigCode", n_inner=40),
        "codegen": like(gpt, "CodeGen", rotary_dim=4, n_inner=40),
        "openai-gpt": like(gpt, "OpenAIGPT"),
        "biogpt": sized("BioGpt", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", hidden_dropout_prob=0.0,
                        attention_probs_dropout_prob=0.0),
        "xglm": sized("XGLM", "d_model", "ffn_dim", "num_layers", "attention_heads", dropout=0.0),
        "mpt": lambda: transformers.MptConfig(vocab_size=263, d_model=32, n_heads=4, n_layers=2, max_seq_len=512, expansion_ratio=2),
    }  # fmt: skip
    masked = {
        "distilbert": sized("DistilBert", "dim", "hidden_dim", "n_layers", "n_heads", dropout=0.0, attention_dropout=0.0),
        "xlm-roberta": like(bert, "XLMRoberta", **classifier),
        "camembert": like(bert, "Camembert", **classifier),
        "electra": like(bert, "Electra", embedding_size=24),
        "mpnet": like(bert, "MPNet"),
        "deberta": like(bert, "Deberta", **relative),
        "deberta-v2": like(bert, "DebertaV2", position_buckets=8, **relative),
        "albert": like(bert, "Albert", embedding_size=16),
        "rembert": like(bert, "RemBert", input_embedding_size=16, output_embedding_size=16),
        "ernie": like(bert, "Ernie"),
        "roformer": like(bert, "RoFormer", embedding_size=24),
    }
    encoder_decoder = {
        **{name.lower(): like(bart, name) for name in ("MBart", "Marian", "Pegasus", "Blenderbot", "M2M100")},
        "umt5": like(t5, "UMT5", feed_forward_proj="gated-gelu"),
    }
    return {"causal": causal, "masked": masked, "encoder-decoder": encoder_decoder}
