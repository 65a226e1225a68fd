"""Plant and find; which examples are drawn, how n is chosen, what the journal stores, and what a variant sets."""

import numpy as np
import pytest
import torch

import planted_bias
from resect.core.errors import BadTask, InputError, UnknownName
from resect.core.execution import MemoryJournal, Workers
from resect.data.tasks.task import Example, Task
from resect.edits import controls
from resect.evaluation.compare import compare
from resect.methods.crispr.authors_split import official_task
from resect.methods.crispr.crispr import Crispr, cut
from resect.models.language_model import LanguageModel

KINDS = ["t5-gated", "llama", "bert"]
UP = "*.up"


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_planted_bias_neurons_rank_first_and_those_of_the_control_do_not(name: str) -> None:
    model, bias, skill = planted_bias.model(name)
    task = planted_bias.task()
    method = Crispr(sites=UP)
    found = method.search(model, task)
    assert found.scores is not None
    assert found.scores.top(bias.count) == bias
    (edit,) = found.plan.edits
    assert bias - edit.neurons != bias
    assert not edit.neurons & skill
    drawn = controls.like(found.plan, model, seed=0, draws=3)
    comparison = compare(model, found.plan, task, controls=drawn).comparison
    assert comparison.base.mean < 0.1
    assert comparison.edited.mean > 0.9
    assert comparison.difference.improved
    assert comparison.control.mean < 0.2


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_both_variants_find_the_planted_neurons(variant: str) -> None:
    model, bias, _ = planted_bias.model("llama")
    assert Crispr(variant=variant, sites=UP).locate(model, planted_bias.task()).top(bias.count) == bias


@pytest.mark.slow
@pytest.mark.parametrize("switch", [{"tokens": "mean"}, {"confusion_weight": False}, {"skill": 0.0}])
def test_every_setting_of_the_ablation_changes_the_scores(switch: dict[str, object]) -> None:
    model, _, _ = planted_bias.model("llama")
    full, without = (Crispr(sites=UP, **settings).locate(model, planted_bias.task()) for settings in ({}, switch))
    assert any(not np.array_equal(full[site], without[site]) for site in full)


@pytest.mark.slow
def test_where_nothing_helps_the_plan_is_empty() -> None:
    model, _, _ = planted_bias.model("llama")
    task = planted_bias.task()
    reversed_task = Task(
        "b is right",
        tuple(Example(e.fields, e.choices, 1 - e.gold, e.id, e.group) for e in task.examples),
        task.instructions,
        task.template,
    )
    found = Crispr().search(model, reversed_task)
    assert found.plan.edits == ()
    assert found.trials[0]["size"] == 0
    assert found.trials[0]["score"] == 1.0


@pytest.mark.slow
def test_search_does_not_see_the_test_split() -> None:
    model, _, _ = planted_bias.model("llama")
    task = planted_bias.task()
    hidden = {example.id for example in task.split("test")}
    spoilt_task = Task(
        task.name,
        tuple(Example({"text": "!" * 9}, e.choices, 1 - e.gold, e.id, e.group, e.tags) if e.id in hidden else e for e in task.examples),
        task.instructions,
        task.template,
    )
    assert Crispr().search(model, task).plan == Crispr().search(model, spoilt_task).plan


def test_the_draw_is_seeded_takes_only_tagged_examples_and_stays_in_its_split() -> None:
    task = planted_bias.task(400)
    locate = {example.id for example in task.split("locate")}
    first, again, other = (Crispr(samples=10, seed=seed).draw(task) for seed in (0, 0, 1))
    assert first == again != other
    assert {example.id for example in (*first, *other)} <= locate
    assert all("odd" in example.tags for example in Crispr(locate_on=("odd",)).draw(task))
    assert len(Crispr(samples=9999).draw(task)) == len(locate)
    with pytest.raises(UnknownName, match="Did you mean 'odd'"):
        Crispr(locate_on=("od",)).draw(task)
    with pytest.raises(BadTask, match="all of the tags odd, even"):
        Crispr(locate_on=("odd", "even")).draw(task)


def test_fewer_examples_than_requested_are_noted() -> None:
    model, _, _ = planted_bias.model("llama")
    (note,) = Crispr(samples=999, n=1).search(model, planted_bias.task()).notes
    assert "999 were requested" in note


def test_a_given_n_or_fraction_is_taken_without_a_search() -> None:
    model, _, _ = planted_bias.model("llama")
    total = model.anatomy.neurons
    for method, count in ((Crispr(n=2), 2), (Crispr(fraction=0.01), int(0.01 * total)), (Crispr(n=0), 0)):
        found = method.search(model, planted_bias.task())
        assert sum(edit.neurons.count for edit in found.plan.edits) == count
        assert found.trials == ()


def test_the_limit_is_a_share_of_all_neurons_but_at_least_fifty() -> None:
    model, _, _ = planted_bias.model("llama")
    assert Crispr().limit(model) == 50
    assert Crispr(max_fraction=0.01).limit(model) == int(0.01 * model.anatomy.neurons)
    assert Crispr(variant="official", sites="decoder.0.q").limit(model) == model.anatomy.width("decoder.0.q")


@pytest.mark.slow
def test_located_scores_are_read_from_the_journal() -> None:
    class KeepsEveryKeyOnce(MemoryJournal):
        def keep(self, key: str, entry: object) -> None:
            assert self.recall(key) is None
            super().keep(key, entry)

    model, _, _ = planted_bias.model("llama")
    journal = KeepsEveryKeyOnce()
    first = Crispr().search(model, planted_bias.task(), workers=Workers(journal=journal))
    assert Crispr().search(model, planted_bias.task(), workers=Workers(journal=journal)).plan.digest == first.plan.digest


@pytest.mark.slow
def test_a_journal_distinguishes_settings() -> None:
    model, _, _ = planted_bias.model("llama")
    journal, settings = MemoryJournal(), ({"sites": UP}, {"sites": "*.q"}, {"sites": UP, "tokens": "mean"}, {"sites": UP, "samples": 2})
    stored = [Crispr(**chosen).locate(model, planted_bias.task(), workers=Workers(journal=journal)) for chosen in settings]
    for chosen, scores in zip(settings, stored, strict=True):
        alone = Crispr(**chosen).locate(model, planted_bias.task())
        assert list(scores) == list(alone)
        assert all(np.array_equal(scores[site], alone[site]) for site in alone)


def test_cutting_sets_the_row_and_its_bias_to_zero() -> None:
    model, bias, _ = planted_bias.model("bert")
    ((site, units),) = bias.items()
    with cut(bias).applied(model):
        assert not model.anatomy.weight(site)[list(units)].any()
        assert not model.anatomy.bias(site)[list(units)].any()
    assert model.anatomy.weight(site)[list(units)].any()


def test_sites_narrow_the_search() -> None:
    model, _, _ = planted_bias.model("llama")
    scores = Crispr(sites=("decoder.0.{q,k}", "*.down")).locate(model, planted_bias.task())
    assert [str(site) for site in scores] == ["decoder.0.q", "decoder.0.k", "decoder.0.down", "decoder.1.down"]


@pytest.mark.parametrize(
    "settings",
    [{"samples": 0}, {"n": 1, "fraction": 0.1}, {"fraction": 2.0}, {"skill_batch": 4}, {"draws": 0}, {"trials": 0}, {"skill": -1.0}],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Crispr(**settings)


def test_the_official_split_is_that_of_the_authors_code() -> None:
    task = planted_bias.task(200)
    built_in = Task("t", task.examples, task.instructions, task.template, official_template="{{ instruction }}  {{ text }} ")
    prepared = official_task(built_in)
    dev = sorted(np.random.RandomState(0).choice(200, 20, replace=False))
    assert [example.id for example in prepared.split("select")] == [task.examples[index].id for index in dev]
    assert len(prepared.split("test")) == 180
    assert prepared.template.startswith("{{ instruction }}  ")
    drawn = Crispr(variant="official", samples=5).draw(built_in)
    chosen = sorted(np.random.RandomState(2026).choice(20, 5, replace=False))
    assert [example.id for example in drawn] == [task.examples[dev[index]].id for index in chosen]
    assert official_task(task) == task


def test_draws_average_the_scores_of_several_seeds_into_one_ranking() -> None:
    model, _, _ = planted_bias.model("llama")
    task = planted_bias.task(200)
    both = Crispr(samples=5, draws=2).locate(model, task)
    one, two = (Crispr(samples=5, seed=seed).locate(model, task) for seed in (0, 1))
    for site in both:
        assert np.allclose(both[site], (one[site] + two[site]) / 2, rtol=1e-5, atol=1e-12)


def test_locating_reports_progress_by_instruction() -> None:
    model, _, _ = planted_bias.model("llama")
    reported = []
    Crispr().locate(model, planted_bias.task(), workers=Workers(progress=lambda stage, done, total: reported.append((done, total))))
    assert reported == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.slow
def test_a_search_leaves_the_weights_as_they_were() -> None:
    model, _, _ = planted_bias.model("llama")
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    Crispr().search(model, planted_bias.task())
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.state_dict().items())
    assert isinstance(model, LanguageModel)
