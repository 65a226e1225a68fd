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
