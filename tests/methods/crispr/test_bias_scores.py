"""CRISPR's scores equal a naive reference: one example, one label, one instruction at a time, plain autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pico
from naive import naive_attributions, naive_expert_attributions, naive_logprob
from resect.core.address import Site
from resect.methods.crispr.bias_scores import BiasPair, BiasScoreRule, bias_scores
from resect.models.language_model import LanguageModel

PROMPTS = ["The boy or the girl?", "Who", "A longer one, so that rows are padded:", "Yes or no?", "Which one was it?"]
LABELS = [("the boy", "unknown"), ("a", "not b"), ("x y z", "q"), ("yes", "no"), ("red", "blue")]
RULES = {
    "paper": BiasScoreRule(),
    "mean": BiasScoreRule(tokens="mean"),
    "no confusion weight": BiasScoreRule(confusion_weight=False),
    "no skill term": BiasScoreRule(skill=0.0),
    "half skill": BiasScoreRule(skill=0.5),
    "official": BiasScoreRule(gradient="log-probability", pooling="apart", skill_batch=4),
    "official by example": BiasScoreRule(gradient="log-probability", pooling="apart", skill_batch=0, tokens="mean"),
}


def language_model(name: str, dtype: torch.dtype) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name))


def bias_pairs_of(model: LanguageModel) -> list[BiasPair]:
    pairs = []
    for prompt, (biased, golden) in zip(PROMPTS, LABELS, strict=True):
        rows = [model.tokens(prompt, biased), model.tokens(prompt, golden)]
        with torch.no_grad():
            confusion = float(naive_logprob(model, rows[0]))
        # A tiny model finds every text nearly impossible; a larger confusion lets every example count.
        pairs.append(BiasPair(rows[0], rows[1], confusion / 10))
    return pairs


def naive_scores(model: LanguageModel, sites: list[Site], pairs: list[BiasPair], rule: BiasScoreRule) -> dict[Site, np.ndarray]:
    rows = [[naive_attributions(model, sites, tokens, rule) for tokens in (pair.biased, pair.golden)] for pair in pairs]
    alphas = [np.exp(pair.log_confusion) if rule.confusion_weight else 1.0 for pair in pairs]
    return {site: naive_score([(biased[site], golden[site]) for biased, golden in rows], alphas, rule) for site in sites}


def naive_score(rows: list[tuple[np.ndarray, np.ndarray]], alphas: list[float], rule: BiasScoreRule) -> np.ndarray:
    pool = (lambda a: a.max(axis=0)) if rule.tokens == "max" else (lambda a: a.mean(axis=0))
    if rule.pooling == "apart":
        biased = [alpha * pool(row[0]) for row, alpha in zip(rows, alphas, strict=True)]
        golden = [alpha * pool(row[1]) for row, alpha in zip(rows, alphas, strict=True)]
        size = rule.skill_batch or 1
        clamped = [np.maximum(0, sum(golden[start : start + size])) for start in range(0, len(rows), size)]
        return np.asarray((sum(biased) - rule.skill * sum(clamped)) / len(rows))
    total = np.zeros(rows[0][0].shape[1])
    for (biased, golden), alpha in zip(rows, alphas, strict=True):
        tokens = max(len(biased), len(golden))
        biased, golden = (np.pad(a, ((0, tokens - len(a)), (0, 0))) for a in (biased, golden))
        total = total + alpha * pool(biased - rule.skill * np.maximum(0, golden))
    return total


def largest_relative_error(model: LanguageModel, pairs: list[BiasPair], rule: BiasScoreRule, sites: list[Site]) -> float:
    computed, expected = bias_scores(model, sites, pairs, rule), naive_scores(model, sites, pairs, rule)
    assert all(np.abs(values).max() > 0 for values in expected.values())
    return max(np.abs(computed[str(site)] - expected[site]).max() / np.abs(expected[site]).max() for site in sites)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("name", ["t5-gated", "llama", "bert"])
def test_scores_equal_the_naive_reference_in_float64(name: str, rule: BiasScoreRule) -> None:
    model = language_model(name, torch.float64)
    assert largest_relative_error(model, bias_pairs_of(model), rule, list(model.anatomy.sites)) < 1e-4


@pytest.mark.parametrize("name", ["t5-gated", "llama", "bert"])
def test_scores_equal_the_naive_reference_in_float32(name: str) -> None:
    model = language_model(name, torch.float32)
    assert largest_relative_error(model, bias_pairs_of(model), BiasScoreRule(), list(model.anatomy.sites)) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.language_models)
def test_every_family_agrees_with_the_naive_reference(name: str) -> None:
    model = language_model(name, torch.float64)
    pairs = bias_pairs_of(model)[:3]
    last = max(site.layer for site in model.anatomy.sites)
    sites = [site for site in model.anatomy.sites if site.layer == last]
    assert largest_relative_error(model, pairs, BiasScoreRule(), sites) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5-gated", "llama", "bert"])
def test_the_batch_size_does_not_change_the_scores(name: str) -> None:
    for rule in (RULES["paper"], RULES["official"]):
        results = []
        for batch_size in (2, 64):
            model = LanguageModel.of(pico.build(name, dtype=torch.float64), pico.tokenizer(name), batch_size=batch_size)
            results.append(bias_scores(model, model.anatomy.sites, bias_pairs_of(model), rule))
        for address, values in results[0].items():
            assert np.abs(values - results[1][address]).max() < 1e-6 * np.abs(values).max()


def test_locating_changes_neither_weights_nor_gradient_flags_nor_logits() -> None:
    model = language_model("llama", torch.float32)
    model.model.requires_grad_(True)
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    logits = pico.output("llama", model.model)
    bias_scores(model, model.anatomy.sites, bias_pairs_of(model), BiasScoreRule())
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in model.model.parameters())
    assert torch.equal(pico.output("llama", model.model), logits)


def test_a_product_of_many_small_probabilities_does_not_underflow() -> None:
    model = language_model("llama", torch.float32)
    long = BiasPair(model.tokens("Who?", "z" * 60), model.tokens("Who?", "q" * 60), 0.0)
    scores = bias_scores(model, model.anatomy.sites, [long], replace(RULES["paper"], confusion_weight=False))
    assert all(np.abs(np.asarray(values)).max() > 0 for values in scores.values())


@pytest.mark.parametrize(
    "rule", [RULES["paper"], pytest.param(RULES["official by example"], marks=pytest.mark.slow)], ids=["paper", "official"]
)
def test_scores_of_experts_equal_a_loop_over_tokens(rule: BiasScoreRule) -> None:
    """Each token's attribution counts at the experts that it was routed to, and is 0 at the others."""
    hf = pico.build("mixtral", dtype=torch.float64)
    hf.set_experts_implementation("eager")
    model = LanguageModel.of(hf, pico.tokenizer("mixtral"))
    pairs = bias_pairs_of(model)
    sites = [site for site in model.anatomy.sites if site.is_routed]
    rows = [[naive_expert_attributions(model, sites, tokens, rule) for tokens in (pair.biased, pair.golden)] for pair in pairs]
    alphas = [np.exp(pair.log_confusion) if rule.confusion_weight else 1.0 for pair in pairs]
    computed = bias_scores(model, sites, pairs, rule)
    for site in sites:
        expected = naive_score([(biased[site], golden[site]) for biased, golden in rows], alphas, rule)
        assert np.abs(computed[str(site)] - expected).max() <= 1e-6 * np.abs(expected).max()
