"""Reference implementations: slow and simple. One row at a time, no cache, no padding, no batch, plain autograd."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from resect.core.address import Site
from resect.methods.crispr.bias_scores import BiasScoreRule
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel


def naive_logits(model: LanguageModel, tokens: Tokens) -> Tensor:
    """Returns logits [label tokens, vocabulary] of one row, run alone."""
    hf: Any = model.model
    ids = torch.tensor([tokens.input_ids])
    label = list(tokens.label_ids)
    if model.kind == "encoder-decoder":
        decoder = torch.tensor([[hf.config.decoder_start_token_id, *label[:-1]]])
        return hf(input_ids=ids, decoder_input_ids=decoder, use_cache=False).logits[0]
    if model.kind == "masked":
        return hf(input_ids=ids).logits[0, list(tokens.label_positions)]
    inputs = torch.tensor([[*tokens.input_ids, *label[:-1]]])
    return hf(input_ids=inputs, use_cache=False).logits[0, len(tokens.input_ids) - 1 :]


def naive_logprob(model: LanguageModel, tokens: Tokens) -> Tensor:
    """Returns log P of the label, a sum over its tokens."""
    logprobs = torch.log_softmax(naive_logits(model, tokens), dim=-1)
    return sum((logprobs[position, token] for position, token in enumerate(tokens.label_ids)), torch.zeros(()))


def naive_text(model: LanguageModel, prompt: str, steps: int) -> str:
    """Returns the greedy text after one prompt, with a full forward pass for each token; a masked model fills so many masks."""
    if model.kind == "masked":
        filled = naive_logits(model, model.encoder.with_masks(prompt, steps)).argmax(dim=-1)
        return str(model.tokenizer.decode(filled, skip_special_tokens=True))
    (prompt_ids,) = model.encoder.encode_open_prompts([prompt])
    label: list[int] = []
    forced = getattr(model.model.generation_config, "forced_eos_token_id", None)
    for step in range(steps):
        token = int(naive_logits(model, Tokens(prompt_ids, (*label, 0)))[-1].argmax())
        label.append(forced if forced is not None and step == steps - 1 else token)
        if label[-1] == model.tokenizer.eos_token_id:
            break
    return str(model.tokenizer.decode(label, skip_special_tokens=True))


def naive_rank(model: LanguageModel, prompt: str, answer: str) -> tuple[int, str]:
    """Returns the rank of an answer's first token among all tokens, and the most probable token as text."""
    tokens = model.tokens(prompt, answer)
    before = len(model.encoder.prefix) if model.kind == "encoder-decoder" else 0
    order = naive_logits(model, tokens)[before].sort(descending=True, stable=True).indices.tolist()
    return order.index(tokens.label_ids[before]), str(model.tokenizer.decode(order[:1]))


def naive_attributions(model: LanguageModel, sites: list[Site], tokens: Tokens, rule: BiasScoreRule) -> dict[Site, np.ndarray]:
    """h · dP/dh (or d log P) of one row at each site, [tokens, units], by autograd through the whole model with all weights."""
    model.model.requires_grad_(True)
    outputs: dict[torch.nn.Module, torch.Tensor] = {}

    def keep(module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert module not in outputs
        output.retain_grad()
        outputs[module] = output

    modules = {model.anatomy.module(site) for site in sites}
    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        logprob = naive_logprob(model, tokens)
        (logprob.exp() if rule.gradient == "probability" else logprob).backward()
    finally:
        for handle in handles:
            handle.remove()
        model.model.requires_grad_(False)
    products = {}
    for site in sites:
        output, part = outputs[model.anatomy.module(site)], model.anatomy.tap(site).part
        product = (output.detach() * output.grad).reshape(-1, output.shape[-1])
        units = slice(None) if part is None else part if isinstance(part, slice) else list(part)
        products[site] = product[:, units].double().numpy()
    return products


def naive_experts(hf: Any) -> dict[tuple[int, int, str], dict[int, Tensor]]:
    """Lets the experts of a Mixtral compute one token after the other; returns by layer, expert and role the values of each token.

    Values keep their gradients. They are of the latest run: clear them before the next.
    """
    seen: dict[tuple[int, int, str], dict[int, Tensor]] = {}

    def forward_of(layer: int, experts: Any) -> Any:
        def forward(hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
            rows = []
            for token, states in enumerate(hidden):
                total = torch.zeros_like(states)
                for place, expert in enumerate(chosen[token].tolist()):
                    gate, up = (experts.gate_up_proj[expert, rows_of] @ states for rows_of in experts_rows(experts))
                    act = experts.act_fn(gate)
                    post = act * up
                    down = experts.down_proj[expert] @ post
                    for role, values in (("gate", gate), ("up", up), ("act", act), ("post", post), ("down", down)):
                        if values.requires_grad:
                            values.retain_grad()
                        seen.setdefault((layer, expert, role), {})[token] = values
                    total = total + weights[token, place] * down
                rows.append(total)
            return torch.stack(rows)

        return forward

    for layer, block in enumerate(hf.model.layers):
        block.mlp.experts.forward = forward_of(layer, block.mlp.experts)
    return seen


def experts_rows(experts: Any) -> tuple[slice, slice]:
    """Returns the rows of gate and up in a Mixtral's fused weight."""
    size = experts.down_proj.shape[-1]
    return slice(0, size), slice(size, 2 * size)


def naive_expert_attributions(model: LanguageModel, sites: list[Site], tokens: Tokens, rule: BiasScoreRule) -> dict[Site, np.ndarray]:
    """h · dP/dh (or d log P) of one row at the experts of a Mixtral, [tokens, units], 0 at tokens that do not reach an expert."""
    model.model.requires_grad_(True)
    seen = naive_experts(model.model)
    try:
        logprob = naive_logprob(model, tokens)
        (logprob.exp() if rule.gradient == "probability" else logprob).backward()
    finally:
        model.model.requires_grad_(False)
        for block in model.model.model.layers:
            del block.mlp.experts.forward
    count = len(tokens.input_ids) + len(tokens.label_ids) - 1
    products = {}
    for site in sites:
        products[site] = np.zeros((count, model.anatomy.width(site)))
        for token, values in seen.get((site.layer, site.expert or 0, site.role), {}).items():
            products[site][token] = (values.detach() * values.grad).double().numpy()
    return products
