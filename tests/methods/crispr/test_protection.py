"""Protection: what makes right answers is not cut, as a naive reference has it; and partial cuts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pico
import planted_bias
from naive import naive_attributions
from resect.core.address import Site
from resect.core.errors import InputError, UnknownName
from resect.data.tasks.task import Task
from resect.evaluation.questions import Questions
from resect.methods.base import TaskInputs
from resect.methods.crispr.bias_scores import BiasScoreRule, ProtectWork
from resect.methods.crispr.crispr import Crispr
from resect.models.language_model import LanguageModel

UP = "*.up"


def bbq_like(groups: int = 60) -> Task:
    """The planted task, half of it turned round: of ambiguous items g is right, of clear ones b, which the planted units say."""
    task = planted_bias.task(groups)
    examples = []
    for number, example in enumerate(task.examples):
        ambiguous = number % 2 == 0
        gold = example.choices.index("g" if ambiguous else "b")
        examples.append(replace(example, gold=gold, tags=("ambig" if ambiguous else "disambig",)))
    return replace(task, examples=tuple(examples))


@pytest.mark.parametrize("name", ["t5-gated", "llama", "bert"])
@pytest.mark.parametrize("rule", [BiasScoreRule(), BiasScoreRule(tokens="mean"), BiasScoreRule(gradient="log-probability")])
def test_protection_is_that_of_a_naive_reference_in_float64(name: str, rule: BiasScoreRule) -> None:
    model = LanguageModel.of(pico.build(name, dtype=torch.float64), pico.tokenizer(name))
    task = planted_bias.task(6)
    questions = Questions(model, task, task.examples)
    sites = tuple(site for site in model.anatomy.sites if site.layer == 1)
    computed = ProtectWork(model, sites, rule)((questions.encoded_choices(0), questions.gold))
    expected = {site: np.zeros(model.anatomy.width(site)) for site in sites}
    for choices, gold in zip(questions.encoded_choices(0).tokens, questions.gold.tolist(), strict=True):
        for site, attribution in naive_attributions(model, list(sites), choices[gold], rule).items():
            positive = np.maximum(0, attribution)
            expected[site] += positive.max(axis=0) if rule.tokens == "max" else positive.mean(axis=0)
    for site in sites:
        assert np.abs(expected[site]).max() > 0
        assert np.abs(computed[str(site)] - expected[site]).max() < 1e-6 * np.abs(expected[site]).max()


def test_the_score_is_the_mean_over_located_examples_minus_that_over_protected_ones() -> None:
    model, _, _ = planted_bias.model("llama")
    task = bbq_like()
    method = Crispr(sites=UP, locate_on="ambig")
    ((_, protected),) = method.protected_examples(task)
    located = method.draw(task)
    plain, guarded = method.locate(model, task, protected=()), method.locate(model, task)
    site: Site = next(iter(plain))
    kept = Questions(model, task, protected)
    cost = sum(
        np.asarray(ProtectWork(model, (site,), BiasScoreRule())((kept.encoded_choices(place), kept.gold))[str(site)]) for place in (0, 1)
    )
    expected = plain[site].astype(float) / len(located) - cost / kept.pairs
    assert guarded[site] == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.slow
def test_a_neuron_that_serves_bias_and_skill_alike_is_not_cut_under_protection() -> None:
    model, bias, _ = planted_bias.model("llama")
    task = bbq_like()
    unprotected = Crispr(sites=UP, locate_on="ambig", protect="none").search(model, task)
    protected = Crispr(sites=UP, locate_on="ambig").search(model, task)
    assert unprotected.scores is not None and protected.scores is not None
    assert unprotected.scores.top(bias.count) == bias
    assert not protected.scores.top(bias.count) & bias
    assert any("--protect none" in note for note in protected.notes)
    for edit in protected.plan.edits:
        assert not edit.neurons & bias


def test_clear_items_are_protected_where_ambiguous_ones_are_located_on_and_nowhere_else() -> None:
    tags = ("ambig", "disambig")
    assert Crispr(locate_on="ambig").protected_of(tags) == ("disambig",)
    assert Crispr(locate_on="ambig").protected_of(("ambig",)) == ()
    assert Crispr().protected_of(tags) == ()
    assert Crispr(locate_on="ambig", protect="none").protected_of(tags) == ()
    assert Crispr(locate_on="ambig", variant="official").protected_of(tags) == ()
    assert Crispr(protect=("disambig", "glue/rte")).protected_of(tags) == ("disambig", "glue/rte")


def test_locating_on_and_protecting_one_tag_is_refused() -> None:
    with pytest.raises(InputError, match="both located on and protected"):
        Crispr(locate_on="ambig", protect="ambig")


def test_another_task_is_protected_by_its_name() -> None:
    task, other = planted_bias.task(), replace(bbq_like(), name="other")
    method = Crispr(protect="other")
    assert method.further_tasks(task) == ("other",)
    ((found, examples),) = method.protected_examples(TaskInputs(task, others={"other": other}))
    assert found is other
    assert {example.id for example in examples} <= {example.id for example in other.split("locate")}
    with pytest.raises((InputError, UnknownName), match="other"):
        method.protected_examples(task)


def test_a_protected_set_that_the_model_answers_wrong_is_refused_where_it_was_requested() -> None:
    model, _, _ = planted_bias.model("llama")  # it says b to everything, and g is right
    with pytest.raises(InputError, match="answers none of"):
        Crispr(sites=UP, locate_on="odd", protect="even").search(model, planted_bias.task())


def test_a_partial_cut_multiplies_by_its_factor() -> None:
    model, bias, _ = planted_bias.model("llama")
    found = Crispr(sites=UP, n=bias.count, factor=0.5).search(model, planted_bias.task())
    (edit,) = found.plan.edits
    assert (edit.factor, edit.neurons) == (0.5, bias)


@pytest.mark.slow
def test_a_searched_factor_is_the_best_over_all_factors_and_sizes() -> None:
    model, _, _ = planted_bias.model("llama")
    found = Crispr(sites=UP, factor="search", choose="grid", largest=6).search(model, planted_bias.task())
    best = max(found.trials, key=lambda line: (line["score"], -line["size"], line.get("factor", 0.0)))
    (edit,) = found.plan.edits
    assert (edit.neurons.count, edit.factor) == (best["size"], best.get("factor", 0.0))
    assert {line.get("factor", 0.0) for line in found.trials} == {0.0, 0.25, 0.5, 0.75}
