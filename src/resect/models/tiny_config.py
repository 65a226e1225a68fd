"""A small configuration of the same class: fewer heads, narrower, a small vocabulary, and as many blocks as before.

Every size is divided by the same factors, so that the relations between sizes stay: widths = heads · width of a head, whatever their
names. Knows configurations as plain data; knows no class of model.
"""

import copy
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

#: Numbers of heads, and of key heads, which are as many or fewer.
_COUNTS = re.compile(r"(\w+_)?(num_heads|n_heads?|attention_heads|key_heads|value_heads|mamba_heads)")
_HEADS = re.compile(r"num_attention_heads|n_heads?|num_heads")
_KEY_HEADS = re.compile(r"(\w+_)?(key_value_heads|kv_heads)")
#: Widths of one head, or parts of it.
_HEAD_WIDTHS = re.compile(r"(\w+_)?(head_dim|head_size|d_kv|d_head|headdim|kv_channels|rotary_dim)")
#: Widths of a complete vector: of the residual stream, of the feed-forward block, of anything else.
_WIDTHS = re.compile(
    r"(\w+_)?(hidden_size|d_model|n_embd|emb_dim|embed_dim|dim|hidden_dim|embedding_size|intermediate_size|d_ff|dim_ff|ffn_dim|ffn_size|"
    r"ffn_hidden_size|feed_forward_size|hidden_size_global|d_latents|axial_pos_embds_dim|num_filters|inner_dim|n_inner|d_inner|ssm_dim|lora_rank|lru_width|word_embed_proj_dim|inner_hidden_size|bottleneck_size|"
    r"hidden_size_per_layer_input|multimodal_hidden_size|projection_dim|output_dim|qk_nope_dim|d_ssm|attention_hidden_size|ffn_intermediate_size)"
)
_RESIDUAL = re.compile(r"hidden_size|d_model|n_embd|dim|emb_dim|hidden_dim")
#: The inner width of feed-forward blocks, which nothing else depends on.
_FEED_FORWARD = re.compile(
    r"((text|encoder|decoder)_)?(intermediate_size|d_ff|dff|dim_ff|ffn_dim|ffn_size|ffn_hidden_size|n_inner|feed_forward_size)"
)
_STATES = re.compile(r"mamba_d_state|ssm_state_size|state_size|mamba_chunk_size|chunk_size")
_GROUPS = re.compile(r"(mamba_)?n_?groups")
#: How many tokens attention takes together, or sees: texts are padded to a multiple of it.
_WINDOWS = re.compile(r"attention_window|block_size|global_block_size|local_radius")
#: How many tokens an indexer chooses for attention: fewer than there are.
_INDEXED = re.compile(r"index_topk|index_top_k|indexer_topk")
#: Numbers of experts, of those that a token reaches, of their groups, and of the groups that a token reaches.
_EXPERTS = re.compile(r"(moe_)?(num|n)_(local_|routed_)?experts|moe_num_experts|zero_expert_num")
_CHOSEN = re.compile(r"num_experts_per_tok(en)?|top_k_experts|moe_k|moe_top_?k|num_selected_experts")
_EXPERT_GROUPS, _CHOSEN_GROUPS = re.compile(r"n_group|num_expert_group"), re.compile(r"topk_group")
_VOCABULARIES = re.compile(r"(\w+_)?vocab_size(_\w+)?")
_POSITIONS = re.compile(
    r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length|seq_length|seq_len|max_source_positions"
)
_TOKENS = re.compile(r"\w+_(token_id|token_ids|token_index|token)")
#: Fewest heads, key heads and entries of a head that still tell all layouts apart.
_FEWEST_HEADS, _FEWEST_KEY_HEADS, _SHORTEST_HEAD = 4, 2, 8
_MOST_EXPERTS, _MOST_CHOSEN, _WINDOW = 8, 2, 8
_VOCABULARY, _CONTEXT, _STATE, _MOST_FEED_FORWARD = 160, 1024, 16, 88


def tiny_config(config: Any, *, larger: bool = False, shortest: int = _SHORTEST_HEAD, together: bool = False) -> Any:
    """Returns a small configuration of the same class. Sizes that are small already stay as they are.

    larger : whether heads are more and wider than they could be, where the sizes allow it: for a second look
    shortest : fewest entries of a head; 0: all widths and numbers of heads stay as they are
    together : whether the parts of a composite configuration are divided by the same factors
    """
    values = copy.deepcopy(config.to_dict())
    factors = (1, 1) if not shortest else _common_factors(values, shortest) if together else None
    shrink(values, larger=larger, shortest=shortest, factors=factors)
    values.pop("torch_dtype", None)
    values.pop("dtype", None)
    values.pop("quantization_config", None)
    return type(config).from_dict(values)


def shrink(values: dict[Any, Any], *, larger: bool = False, shortest: int = _SHORTEST_HEAD, factors: tuple[int, int] | None = None) -> None:
    """Makes the sizes of a configuration small, in place, those of its parts each by their own factors, or all by given ones."""
    others = []
    for part in values.values():
        if isinstance(part, dict) and ("model_type" in part or _has_sizes(part)):
            shrink(part, larger=larger, shortest=shortest, factors=factors)
        elif isinstance(part, dict):
            others += [part, *(inner for inner in part.values() if isinstance(inner, dict))]
    count, width = factors or _factors(values, shortest)
    if larger:
        count = max((by for by in range(1, count) if count % by == 0), default=1)
        width = max(width // 2, 1)
    heads = max((number for _, number in _numbers(values, _matching(_HEADS))), default=0)
    for part in (values, *others):  # settings of single layers stand in parts of their own
        own = max((number for _, number in _numbers(part, _matching(_HEADS))), default=heads)
        _divide(part, count, width, own, _MOST_FEED_FORWARD + 16 * larger if shortest else math.inf)
    _replace_tokens(values)


def _divide(values: dict[Any, Any], count: int, width: int, heads: int, most: float) -> None:
    _replace(values, _matching(_KEY_HEADS), lambda number: _key_heads(number, heads, count))
    _replace(values, _matching(_COUNTS), lambda number: number // count)
    _replace(values, _matching(_HEAD_WIDTHS), lambda number: _divided(number, width))
    _replace(values, _matching(_FEED_FORWARD), lambda number: int(min(_divided(number, count * width), most)))
    _replace(values, _matching(_WIDTHS), lambda number: _divided(number, count * width))
    _replace(values, _matching(_STATES), lambda number: min(number, _STATE))
    _replace(values, _matching(_GROUPS), lambda number: min(number, _FEWEST_KEY_HEADS))
    _replace(values, _matching(_EXPERTS), lambda number: min(number, _MOST_EXPERTS))
    _replace(values, _matching(_CHOSEN), lambda number: min(number, _MOST_CHOSEN))
    groups = max((number for _, number in _numbers(values, _matching(_EXPERT_GROUPS))), default=1)
    _replace(values, _matching(_EXPERT_GROUPS), lambda number: min(number, 2))
    _replace(values, _matching(_CHOSEN_GROUPS), lambda number: min(number, 2 if number == groups else 1))
    _replace(values, _matching(_WINDOWS), lambda number: min(number, _WINDOW))
    _replace(values, _matching(_INDEXED), lambda number: min(number, _WINDOW))
    _replace(values, _matching(_VOCABULARIES), lambda number: min(number, _VOCABULARY))
    _replace(values, _matching(_POSITIONS), lambda number: min(number, _CONTEXT))


def _common_factors(values: dict[Any, Any], shortest: int) -> tuple[int, int]:
    """Returns by what the sizes of all parts of a configuration can be divided."""
    parts = [part for part in values.values() if isinstance(part, dict) and ("model_type" in part or _has_sizes(part))]
    inner = [_common_factors(part, shortest) for part in parts]
    own = [_factors(values, shortest)] if any(True for _ in _numbers(values, _matching(_HEADS))) else []
    found = own + [each for each in inner if each != (1, 1)]
    return (math.gcd(*(count for count, _ in found)), min(width for _, width in found)) if found else (1, 1)


def _has_sizes(part: dict[Any, Any]) -> bool:
    return any(isinstance(name, str) and _WIDTHS.fullmatch(name) and isinstance(value, int) for name, value in part.items())


def _key_heads(number: int, heads: int, count: int) -> int:
    """Returns the number of key heads: one, two, or as many as heads, as it was one, fewer, or as many."""
    if count == 1 or number <= 1:
        return number
    return number // count if number == heads else _FEWEST_KEY_HEADS


def _factors(values: dict[Any, Any], shortest: int) -> tuple[int, int]:
    """Returns by what numbers of heads, and widths of a head, can be divided."""
    heads = [number for _, number in _numbers(values, _matching(_COUNTS)) if number > 1]
    common = math.gcd(*heads) if heads else 1
    fits = lambda by: all(number // by >= _FEWEST_HEADS and number // by % _FEWEST_KEY_HEADS == 0 for number in heads)
    count = max(by for by in range(1, common + 1) if by == 1 or (common % by == 0 and fits(by)))
    widths = [number for _, number in _numbers(values, _matching(_HEAD_WIDTHS)) if number]
    hidden = [number for _, number in _numbers(values, _matching(_RESIDUAL))]
    widths += [number // most for number in hidden if heads and number % (most := max(heads)) == 0]
    if not heads:
        widths += [number // 4 for number in hidden]
    width = 1
    while widths and all(number % (2 * width) == 0 and number // (2 * width) >= shortest for number in widths):
        width *= 2
    return count, width


def _divided(number: int, by: int) -> int:
    """Returns the quotient; rounded up to a multiple of 4 where it is none, and not too small to tell units apart."""
    if number <= _SHORTEST_HEAD or by == 1:
        return number
    return number // by if number % by == 0 and number // by >= _SHORTEST_HEAD else max(_SHORTEST_HEAD, 4 * math.ceil(number / by / 4))


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    """Returns whether a name is one of these, and of no narrower pattern."""
    narrower = {_WIDTHS: (_HEAD_WIDTHS, _FEED_FORWARD), _COUNTS: (_KEY_HEADS,)}.get(pattern, ())
    return lambda name: isinstance(name, str) and bool(pattern.fullmatch(name)) and not any(other.fullmatch(name) for other in narrower)


def _numbers(values: dict[Any, Any], chosen: Callable[[Any], bool]) -> Iterator[tuple[str, int]]:
    for name, value in values.items():
        if chosen(name):
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int) and not isinstance(number, bool):
                    yield name, number


def _replace(values: dict[Any, Any], chosen: Callable[[Any], bool], new: Callable[[int], int]) -> None:
    changed = lambda value: new(value) if isinstance(value, int) and not isinstance(value, bool) else value
    for name, value in values.items():
        if chosen(name):
            values[name] = [changed(entry) for entry in value] if isinstance(value, list) else changed(value)


def _replace_tokens(values: dict[Any, Any]) -> None:
    """Gives each token outside of the small vocabulary one inside, from its end on."""
    limit = min((number for _, number in _numbers(values, _matching(_VOCABULARIES))), default=_VOCABULARY)
    new: dict[int, int] = {}
    smaller = lambda token: token if token < limit else new.setdefault(token, limit - 1 - len(new))
    _replace(values, _matching(_TOKENS), smaller)
