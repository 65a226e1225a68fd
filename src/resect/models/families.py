"""The FAMILIES table: one line for each family, with the paths of the parts of its blocks.

Reads configurations only; knows neither torch nor modules (`anatomy` does). The paths are those of Hugging Face transformers 5;
`tests/models/test_families.py` proves each of them on a tiny model. How to add a line: CONTRIBUTING.md, "Add a family".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from resect.core.address import MATRIX_ROLES, STACKS, Stack
from resect.core.errors import BadModel, NotYet, UnknownFamily, did_you_mean

Kind = Literal["causal", "encoder-decoder", "masked"]
#: A number in the configuration: the name of an attribute, or a function of the configuration.
Field = str | Callable[[Any], int]
#: Positions on the last axis of a fused output: which rows of a fused weight belong to one role. None: all of them.
Rows = slice | tuple[int, ...] | None
#: How q, k and v share one weight: one after the other, or head by head.
Fusion = Literal["stacked", "interleaved"]


@dataclass(frozen=True)
class Blocks:
    """One stack of a family.

    `path`: the list of blocks, relative to the backbone; `parts`: role to path, relative to a block, with `act` the module of
    the activation function. Roles with one path share one fused weight, in the order of `parts`.
    """

    path: str
    parts: Mapping[str, str]
    embeddings: tuple[str, ...]  # the modules that compute the stack's first hidden states, relative to the backbone
    layers: Field = "num_hidden_layers"
    d_model: Field = "hidden_size"
    d_ff: Field = "intermediate_size"
    heads: Field = "num_attention_heads"
    kv_heads: Field = "num_attention_heads"
    head_dim: Field = lambda config: config.hidden_size // config.num_attention_heads
    fusion: Fusion = "stacked"
    transposed: bool = False  # weights stored [in, out], as Conv1D does
    flat: bool = False  # the feed-forward block sees [batch · tokens, d_model]

    @property
    def roles(self) -> tuple[str, ...]:
        """The matrix roles of a block, in model order."""
        return tuple(role for role in MATRIX_ROLES if role in self.parts)


@dataclass(frozen=True)
class Family:
    """One line of the table. A field may be a function of the configuration."""

    kind: Kind
    encoder: Blocks | Callable[[Any], Blocks] | None = None
    decoder: Blocks | Callable[[Any], Blocks] | None = None
    config: Callable[[Any], Any] = lambda config: config  # the part of the configuration with the sizes
    refusal: Callable[[Any], str] = lambda config: ""  # for a configuration that is not covered: why, and what to do
    not_covered: tuple[str, ...] = ()  # parts of covered models that are not covered

    def stacks(self, config: Any) -> dict[Stack, Blocks]:
        """Returns the family's stacks for this configuration."""
        lines = [(stack, self.encoder if stack == "encoder" else self.decoder) for stack in STACKS]
        return {stack: line(config) if callable(line) else line for stack, line in lines if line is not None}


def _inner(config: Any) -> int:
    return int(config.n_inner) if config.n_inner is not None else 4 * int(config.hidden_size)


def _head_dim(config: Any) -> int:
    stated = getattr(config, "head_dim", None)
    return int(stated) if stated else int(config.hidden_size) // int(config.num_attention_heads)


def _t5(stack: Stack) -> Callable[[Any], Blocks]:
    feed_forward = "layer.1.DenseReluDense" if stack == "encoder" else "layer.2.DenseReluDense"
    attention = {role: f"layer.0.SelfAttention.{role}" for role in "qkvo"}
    cross = {f"cross_{role}": f"layer.1.EncDecAttention.{role}" for role in "qkvo"} if stack == "decoder" else {}
    rest = {"down": f"{feed_forward}.wo", "act": f"{feed_forward}.act"}
    gated = {"gate": f"{feed_forward}.wi_0", "up": f"{feed_forward}.wi_1"}
    blocks = Blocks(
        f"{stack}.block", attention | cross | rest, (f"{stack}.embed_tokens",),
        layers="num_layers" if stack == "encoder" else "num_decoder_layers", d_ff="d_ff", head_dim="d_kv",
    )  # fmt: skip
    plain = {"up": f"{feed_forward}.wi"}
    return lambda config: replace(blocks, parts=dict(blocks.parts) | (gated if config.is_gated_act else plain))


def _bart(stack: Stack) -> Blocks:
    cross = {f"cross_{role}": path.replace("self_attn", "encoder_attn") for role, path in _OUT_PROJECTIONS.items()}
    rest = {"up": "fc1", "down": "fc2", "act": "activation_fn"}
    heads = f"{stack}_attention_heads"
    return Blocks(
        f"{stack}.layers", _OUT_PROJECTIONS | (cross if stack == "decoder" else {}) | rest, (f"{stack}.embed_tokens",),
        layers=f"{stack}_layers", d_ff=f"{stack}_ffn_dim", heads=heads, kv_heads=heads,
        head_dim=lambda config: config.d_model // getattr(config, heads),
    )  # fmt: skip


def _separate(attention: str, q: str, k: str, v: str, o: str) -> dict[str, str]:
    return {role: f"{attention}.{name}" for role, name in zip("qkvo", (q, k, v, o), strict=True)}


def _fused(attention: str, qkv: str, o: str) -> dict[str, str]:
    return _separate(attention, qkv, qkv, qkv, o)


_OUT_PROJECTIONS = _separate("self_attn", "q_proj", "k_proj", "v_proj", "out_proj")
_PROJECTIONS = _separate("self_attn", "q_proj", "k_proj", "v_proj", "o_proj")
_LLAMA = Blocks(
    "layers",
    _PROJECTIONS | {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj", "act": "mlp.act_fn"},
    ("embed_tokens",),
    kv_heads="num_key_value_heads",
    head_dim=_head_dim,
)
_GPT2 = Blocks(
    "h",
    _fused("attn", "c_attn", "c_proj") | {"up": "mlp.c_fc", "down": "mlp.c_proj", "act": "mlp.act"},
    ("wte",),
    d_ff=_inner,
    transposed=True,
)
_4H = {"up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"}
_BERT = Blocks(
    "encoder.layer",
    _separate("attention", "self.query", "self.key", "self.value", "output.dense")
    | {"up": "intermediate.dense", "down": "output.dense", "act": "intermediate.intermediate_act_fn"},
    ("embeddings.word_embeddings",),
)


def _refuse_decoder(config: Any) -> str:
    if getattr(config, "is_decoder", False):
        return "Its configuration has is_decoder=True; only the masked form of this family is covered."
    return "Its feed-forward block runs in chunks; set chunk_size_feed_forward to 0." if _chunked(config) else ""


def _refuse_cross_attention(config: Any) -> str:
    if config.add_cross_attention:
        return "Its configuration has add_cross_attention=True; only the form without an encoder is covered."
    return ""


def _refuse_slices(config: Any) -> str:
    if config.slow_but_exact and config.pretraining_tp > 1:
        return "It computes `o` and `down` in slices, which hooks cannot observe; set slow_but_exact to False."
    return ""


def _chunked(config: Any) -> bool:
    return bool(getattr(config, "chunk_size_feed_forward", 0))


def _falcon_kv_heads(config: Any) -> int:
    if config.new_decoder_architecture:
        return int(config.num_kv_heads)
    return 1 if config.multi_query else int(config.num_attention_heads)


_T5 = Family("encoder-decoder", _t5("encoder"), _t5("decoder"))
_ENCODER = Family("masked", encoder=_BERT, refusal=_refuse_decoder)
_DENSE = Family("causal", decoder=_LLAMA)

#: The line of each family, by the `model_type` of its configuration.
FAMILIES: Mapping[str, Family] = {
    "t5": _T5,
    "mt5": _T5,
    "bart": Family("encoder-decoder", _bart("encoder"), _bart("decoder")),
    "llama": _DENSE,
    "mistral": _DENSE,
    "qwen2": _DENSE,
    "qwen3": _DENSE,
    "gemma2": _DENSE,
    "gemma3_text": _DENSE,
    "gemma3": replace(_DENSE, config=lambda config: config.text_config,
        not_covered=("Its vision tower is not covered: sites are those of the text model.",)),
    "olmo2": _DENSE,
    "phi": Family("causal", decoder=replace(_LLAMA, parts=_separate("self_attn", "q_proj", "k_proj", "v_proj", "dense")
        | {"up": "mlp.fc1", "down": "mlp.fc2", "act": "mlp.activation_fn"})),
    "phi3": Family("causal", decoder=replace(_LLAMA, parts=_fused("self_attn", "qkv_proj", "o_proj")
        | {"gate": "mlp.gate_up_proj", "up": "mlp.gate_up_proj", "down": "mlp.down_proj", "act": "mlp.activation_fn"})),
    "opt": Family("causal", decoder=Blocks("decoder.layers", _OUT_PROJECTIONS
        | {"up": "fc1", "down": "fc2", "act": "activation_fn"}, ("decoder.embed_tokens",), d_ff="ffn_dim", flat=True)),
    "gpt2": Family("causal", decoder=_GPT2, refusal=_refuse_cross_attention),
    "gptj": Family("causal", decoder=Blocks("h", _separate("attn", "q_proj", "k_proj", "v_proj", "out_proj")
        | {"up": "mlp.fc_in", "down": "mlp.fc_out", "act": "mlp.act"}, ("wte",), d_ff=_inner)),
    "gpt_neox": Family("causal", decoder=Blocks("layers", _fused("attention", "query_key_value", "dense")
        | _4H | {"act": "mlp.act"}, ("embed_in",), fusion="interleaved")),
    "bloom": Family("causal", decoder=Blocks("h", _fused("self_attention", "query_key_value", "dense")
        | _4H | {"act": "mlp.gelu_impl"}, ("word_embeddings",), d_ff=lambda config: 4 * config.hidden_size,
        fusion="interleaved"), refusal=_refuse_slices),
    "falcon": Family("causal", decoder=Blocks("h", _fused("self_attention", "query_key_value", "dense")
        | _4H | {"act": "mlp.act"}, ("word_embeddings",), d_ff="ffn_hidden_size",
        kv_heads=_falcon_kv_heads, fusion="interleaved")),
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "modernbert": Family("masked", encoder=Blocks("layers", _fused("attn", "Wqkv", "Wo")
        | {"gate": "mlp.Wi", "up": "mlp.Wi", "down": "mlp.Wo", "act": "mlp.act"}, ("embeddings.tok_embeddings",))),
    "decision_transformer": Family("causal", decoder=replace(_GPT2, path="encoder.h",
        embeddings=("embed_timestep", "embed_return", "embed_state", "embed_action")), refusal=_refuse_cross_attention,
        not_covered=("It reads no text and has no tokenizer: anatomy and edits only.",)),
}  # fmt: skip


def covered_families() -> tuple[str, ...]:
    """Returns the `model_type` of every covered family, sorted."""
    return tuple(sorted(FAMILIES))


def family_line(name: str) -> Family:
    """Returns the line of a `model_type`. Raises UnknownFamily."""
    if name not in FAMILIES:
        raise UnknownFamily(
            f"The family {name!r} is not known.{did_you_mean(name, covered_families())} Known: {', '.join(covered_families())}. "
            'A family is one line of a table: CONTRIBUTING.md, "Add a family", shows how to add it.'
        )
    return FAMILIES[name]


def family_of(config: Any) -> tuple[str, Family | None]:
    """Returns the family of a configuration, and its line, if it has one. Raises BadModel, NotYet."""
    name = getattr(config, "model_type", None)
    if not isinstance(name, str) or not name:
        raise BadModel("The model's configuration has no model_type, so that its family is unknown.")
    if name not in FAMILIES:
        return name, None
    family = FAMILIES[name]
    reason = family.refusal(family.config(config))
    if reason:
        raise NotYet(f"This {name} model is not covered yet. {reason} Covered: {', '.join(covered_families())}.")
    return name, family
