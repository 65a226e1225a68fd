"""Gradient screening: gradients are those of autograd through U · diag(s) · V; a planted harmful component ranks first."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import pico
from naive import naive_logprob
from resect.core.address import Site
from resect.core.errors import InputError, NotFinite, NotWritable, PromptTooLong
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.task import Example, Task
from resect.edits.matrices import ReduceRank
from resect.edits.svd import Decomposition
from resect.edits.svd_cache import SvdCache
from resect.evaluation.questions import Questions
from resect.methods.laser.gradient_screening import (
    evenly_spaced_pairs,
    golden_rows,
    predicted_decreases,
    screen,
    singular_value_gradient,
    weight_gradients,
)
from resect.models.encoding import Tokens
from resect.models.language_model import LanguageModel

PROMPTS = ["Who was it?", "The boy or the girl, or both of them?", "Yes", "A longer one, so that rows are padded:", "Which?"]
ANSWERS = ["the boy", "unknown", "x", "red", "not b"]


def language_model(name: str, dtype: torch.dtype = torch.float64, **settings: Any) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name), **settings)


def rows_of(model: LanguageModel) -> list[Tokens]:
    return [model.tokens(prompt, answer) for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]


def questions_of(model: LanguageModel, instructions: int = 2) -> Questions:
    examples = [Example({"text": text}, (answer, "zz"), 0) for text, answer in zip(PROMPTS, ANSWERS, strict=True)]
    lines = tuple(f"Line {place}." for place in range(instructions))
    return Questions(model, Task("gradients", tuple(examples), lines, "{{ instruction }} {{ text }}"), examples)


def some_sites(model: LanguageModel) -> list[Site]:
    last = {site.role: site for site in model.anatomy.sites}
    return [last[role] for role in ("q", "cross_k", "gate", "up", "down") if role in last]


@contextmanager
def built_from(model: LanguageModel, site: Site, matrix: torch.Tensor) -> Iterator[None]:
    """The model with one matrix in the place of its own, a part of autograd's graph."""
    parameter, index = model.anatomy.locate(site)
    whole = parameter.data.clone()
    whole[index] = matrix.T if model.anatomy.slot(site).transposed else matrix
    module = model.anatomy.module(site)
    del module._parameters["weight"]
    module.weight = whole
    try:
        yield
    finally:
        del module.weight
        module.weight = parameter


def naive_singular_value_gradient(model: LanguageModel, site: Site, rows: list[Tokens]) -> np.ndarray:
    left, values, right = torch.linalg.svd(model.anatomy.weight(site).clone(), full_matrices=False)
    values = values.clone().requires_grad_(True)
    with built_from(model, site, (left * values) @ right):
        loss = -sum((naive_logprob(model, row) for row in rows), torch.zeros(())) / len(rows)
        (found,) = torch.autograd.grad(loss, values)
    return found.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.language_models)
def test_gradients_are_those_of_autograd_through_the_decomposition(name: str) -> None:
    model = language_model(name)
    rows = rows_of(model)
    sites = some_sites(model)
    gradients = weight_gradients(model, sites, rows)
    model.model.requires_grad_(False)
    for site in sites:
        computed, expected = (
            singular_value_gradient(gradients[site], Decomposition.of(model.anatomy.weight(site))),
            naive_singular_value_gradient(model, site, rows),
        )
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(computed, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(), err_msg=str(site))


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5-gated", "bert"])
def test_the_batch_size_does_not_change_the_gradients(name: str) -> None:
    found = []
    for batch_size in (1, 2, 64):
        model = language_model(name, batch_size=batch_size)
        found.append(weight_gradients(model, some_sites(model), rows_of(model)))
    for gradients in found[1:]:
        for site, wanted in found[0].items():
            torch.testing.assert_close(gradients[site], wanted, rtol=1e-9, atol=1e-12)


def test_half_precision_is_summed_in_float32() -> None:
    model, exact = language_model("llama", torch.bfloat16, batch_size=1), language_model("llama", batch_size=1)
    exact.model.load_state_dict(model.model.double().state_dict())
    model.model.to(torch.bfloat16)
    site = Site.parse("decoder.0.down")
    narrow, wide = (weight_gradients(each, [site], rows_of(each))[site] for each in (model, exact))
    assert narrow.dtype == torch.float32
    assert (narrow - wide).norm() < 0.05 * wide.norm()


# -- the score ---------------------------------------------------------------------------------------------------------


def test_the_score_is_the_largest_predicted_decrease() -> None:
    values, slope = np.array([4.0, 3.0, 2.0, 1.0]), np.array([-1.0, 0.5, -0.5, 2.0])
    # beyond rank 3: 1 · 2; beyond 2: −1 + 2; beyond 1: 1.5 + 1; of all: −4 + 2.5
    assert predicted_decreases(values, slope, (0.75,)).max() == 2
    assert predicted_decreases(values, slope, (0.75, 0.5)).max() == 2
    assert predicted_decreases(values, slope, (0.75, 0.5, 0.25)).max() == 2.5
    assert predicted_decreases(values, slope, (0.0,)).max() == -1.5
    assert predicted_decreases(values, -slope, (0.75, 0.5)).max() == -1


@pytest.mark.parametrize("name", ["llama", "t5-gated", "bert", "gpt2"])
def test_the_score_is_the_effect_of_a_small_reduction_on_the_loss(name: str) -> None:
    model = language_model(name)
    site, rows = some_sites(model)[-1], rows_of(model)
    left, values, right = torch.linalg.svd(model.anatomy.weight(site).clone(), full_matrices=False)
    values[10:] *= 1e-3  # so that higher orders hardly matter
    model.anatomy.write(site, None, (left * values) @ right)
    loss = lambda: -float(np.mean(model.forward.row_logprobs(rows)))
    factors = Decomposition.of(model.anatomy.weight(site))
    rho = 10.5 / len(values)
    wanted = predicted_decreases(values.numpy(), singular_value_gradient(weight_gradients(model, [site], rows)[site], factors), (rho,))[0]
    before = loss()
    with ReduceRank(site, rho).applied(model):
        assert before - loss() == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("name", ["llama", "t5-gated", "bert"])
def test_a_planted_harmful_component_ranks_first(name: str) -> None:
    model = language_model(name)
    questions = questions_of(model)
    sites = [site for site in model.anatomy.sites if site.role in ("gate", "up", "down")]
    for site in sites:
        model.anatomy.write(site, None, ReduceRank(site, 0.3).reduced(model.anatomy.weight(site)))
    planted = sites[2]
    gradient = weight_gradients(model, [planted], golden_rows(questions, evenly_spaced_pairs(questions.pairs, 2, 100)))[planted]
    factors = Decomposition.of(model.anatomy.weight(planted))
    kept = ReduceRank(planted, 0.3).rank(model.anatomy.shape(planted))
    left, right = factors.left[:, :kept], factors.right[:kept]
    beyond = gradient - left @ (left.T @ gradient)
    beyond -= (beyond @ right.T) @ right
    worst = Decomposition.of(beyond).matrix(1)
    model.anatomy.write(planted, None, model.anatomy.weight(planted) + 0.01 * factors.values[kept - 1] * worst / worst.norm())
    found = screen(model, questions, sites, SvdCache(model.anatomy), rhos=(0.3,))
    assert list(found) == sites
    assert max(found, key=lambda site: found[site]) == planted
    assert found[planted] > 0


# -- the examples -------------------------------------------------------------------------------------------------------


def test_examples_are_spread_evenly_and_instructions_take_turns() -> None:
    assert evenly_spaced_pairs(10, 2, 100) == [0, 3, 4, 7, 8]
    assert evenly_spaced_pairs(1000, 1, 4) == [0, 250, 500, 750]
    assert len(set(evenly_spaced_pairs(997 * 3, 3, 100))) == 100
    with pytest.raises(InputError, match="at least one"):
        evenly_spaced_pairs(0, 2, 100)
    with pytest.raises(InputError, match="0 are wanted"):
        evenly_spaced_pairs(10, 2, 0)


def test_golden_rows_are_those_that_are_scored() -> None:
    model = language_model("llama")
    questions = questions_of(model)
    rows = golden_rows(questions, [0, 3])
    assert rows == [model.tokens("Line 0. Who was it?", "the boy"), model.tokens(f"Line 1. {PROMPTS[1]}", "unknown")]
    long = Example({"text": "x" * 600}, ("a", "b"), 0)
    with pytest.raises(PromptTooLong):
        golden_rows(Questions(model, questions.task, [long]), [0])


def test_free_text_answers_can_be_screened() -> None:
    model = language_model("llama")
    examples = (Example({"text": "Who?"}, (), "the boy"), Example({"text": "What?"}, (), "a ball"))
    task = Task("free", examples, ("",), "{{ text }}")
    found = screen(model, Questions(model, task, examples, "generation"), some_sites(model), SvdCache(model.anatomy))
    assert all(np.isfinite(list(found.values())))


def test_scores_are_stored_and_progress_is_reported() -> None:
    model, journal, reported = language_model("llama"), MemoryJournal(), []
    questions, sites = questions_of(model), some_sites(model)
    work = {"workers": Workers(journal=journal, progress=lambda *step: reported.append(step))}
    found = screen(model, questions, sites, SvdCache(model.anatomy), **work)
    assert reported[0] == ("taking gradients", 0, 5)
    assert reported[-1] == ("decomposing", len(sites), len(sites))
    model.anatomy.write(sites[0], None, torch.nan)
    reported.clear()
    assert screen(model, questions, sites, SvdCache(model.anatomy), **work) == found
    assert not reported
    with pytest.raises(NotFinite):
        screen(model, questions, sites, SvdCache(model.anatomy), examples=3, **work)


# -- the model is unchanged --------------------------------------------------------------------------------------------


def test_only_the_matrices_take_gradients_and_the_model_is_left_as_it_was() -> None:
    model = language_model("llama", torch.float32)
    sites = [Site.parse("decoder.0.down"), Site.parse("decoder.1.gate")]
    parameters = dict(model.model.named_parameters())
    flags = {name: place % 3 == 0 for place, name in enumerate(parameters)}
    for name, parameter in parameters.items():
        parameter.requires_grad_(flags[name])
    mine = torch.ones_like(model.model.model.layers[0].mlp.down_proj.weight)
    model.model.model.layers[0].mlp.down_proj.weight.grad = mine
    weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    seen: list[set[str]] = []

    def look(*_: object) -> None:
        seen.append({name for name, parameter in parameters.items() if parameter.requires_grad})

    def assert_untouched() -> None:
        assert {name: parameter.requires_grad for name, parameter in parameters.items()} == flags
        grads = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
        assert list(grads) == ["model.layers.0.mlp.down_proj.weight"]
        assert grads["model.layers.0.mlp.down_proj.weight"] is mine
        assert torch.equal(mine, torch.ones_like(mine))
        assert all(torch.equal(weight, weights[name]) for name, weight in model.model.state_dict().items())

    handle = model.model.register_forward_hook(look)
    with torch.no_grad():
        weight_gradients(model, sites, rows_of(model))
    handle.remove()
    assert set(map(frozenset, seen)) == {frozenset({"model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.gate_proj.weight"})}
    assert_untouched()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    handle = model.model.lm_head.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        weight_gradients(model, sites, rows_of(model))
    handle.remove()
    assert_untouched()


def test_a_batch_that_did_not_fit_is_counted_once() -> None:
    model = language_model("llama", batch_size=4)
    site = Site.parse("decoder.0.down")
    wanted = weight_gradients(model, [site], rows_of(model))[site]

    def too_much(gradient: torch.Tensor) -> None:
        if gradient.shape[0] > 2:
            raise MemoryError

    def watch(_module: torch.nn.Module, _given: object, result: torch.Tensor) -> None:
        result.register_hook(too_much)  # late in the backward pass, when some gradients are there already

    handle = model.model.model.layers[0].mlp.down_proj.register_forward_hook(watch)
    found = weight_gradients(model, [site, Site.parse("decoder.1.down")], rows_of(model))[site]
    handle.remove()
    assert model.batcher.sizes["gradients"] == 2
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_weights_that_cannot_be_searched_are_refused() -> None:
    model = language_model("llama", torch.float32)
    feed_forward = model.model.model.layers[0].mlp
    feed_forward.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(NotFinite, match=r"decoder\.1\.down"):
        weight_gradients(model, [Site.parse("decoder.1.down")], rows_of(model))
    feed_forward.down_proj.weight = torch.nn.Parameter(feed_forward.down_proj.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(NotWritable, match="int8"):
        weight_gradients(model, [Site.parse("decoder.0.down")], rows_of(model))
