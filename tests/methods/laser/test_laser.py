"""LASER: the search gives the result of the exhaustive grid, and finds what was planted; composition undoes exactly."""

import itertools
from dataclasses import replace

import pytest
import torch

import pico
from methods.analyses.studies import Dying, Kill
from resect.core.errors import BadAddress, InputError, NotFinite, NotWritable
from resect.core.execution import Workers
from resect.data.tasks.task import Example, Task
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.base import TaskInputs
from resect.methods.laser.laser import Laser
from resect.methods.laser.settings import GIGABYTE, RHOS
from resect.models.language_model import LanguageModel
from resect.runs.guard_limits import GuardLimits

SPEED_SETTINGS = ("replay", "positions", "bound", "share")


def task_of(choices=("yes", "no", "perhaps"), groups=40, instructions=("",)):
    rows = []
    for place in range(groups):
        gold = place * 7 % len(choices)
        rows.append(Example({"text": f"item {place * 37 % 101}" + " and more" * (place % 3)}, choices, gold, group=str(place)))
    return Task("pico", rows, instructions, "{{ instruction }} {{ text }}: {{ answer }}")


def model_of(name, seed=0, dtype=torch.float32):
    return LanguageModel.of(pico.build(name, seed, dtype), pico.tokenizer(name), name=name, batch_size=4)


def exhaustive(laser, model, task):
    """The mean on the select split of the unedited model, and of every candidate by itself, in complete runs."""
    questions = laser.questions(model, task)
    means = {}
    for site in laser.sites_of(model):
        for edit in laser.edits(model, site):
            means[edit] = questions.answers(Plan((edit,))).mean
    return questions.answers(Plan()).mean, means


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metric"), [("llama", "accuracy"), ("t5-gated", "logloss"), ("bert", "accuracy"), ("falcon-7b", "logloss")]
)
def test_the_search_gives_the_result_of_the_grid(name, metric):
    model, task = model_of(name), task_of()
    laser = Laser(rhos=(0.5, 0.0), sites="*.{q,up,down,cross_v}", metric=metric)
    base, grid = exhaustive(laser, model, task)
    sign = -1 if metric == "logloss" else 1
    found = laser.search(model, TaskInputs(task, ("some plain text",), GuardLimits.none()))
    best = max(sign * score for score in grid.values())
    if best > sign * base:
        (chosen,) = found.plan.edits
        assert sign * grid[chosen] == pytest.approx(best, rel=1e-4)
    else:
        assert found.plan.is_empty
    for line in found.trials:
        (edit,) = [edit for edit in grid if (str(edit.site), edit.rho) == (line["site"], line["rho"])]
        if line["complete"]:
            assert line["score"] == pytest.approx(grid[edit], rel=1e-4)
        else:  # abandoned: it could not have won, and its score is a bound
            assert sign * grid[edit] <= sign * line["score"] + 1e-4
            assert sign * grid[edit] < best + 1e-4
    assert {line["site"] for line in found.trials} == {str(site) for site in laser.sites_of(model)}


def tagged_task():
    """The task with two tags and six groups of each in *select*, so that guards on tags have something to hold."""
    task = task_of(groups=60)
    return replace(task, examples=tuple(replace(e, tags=(("even",), ("odd",))[int(e.id) % 2]) for e in task.examples))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["llama", "t5-gated"])
def test_a_guarded_search_gives_the_result_of_the_guarded_grid(name, seed):
    model, task, texts = model_of(name, seed), tagged_task(), ("some plain text",)
    laser = Laser(rhos=(0.5, 0.2, 0.0), sites="*.{q,up,down}")
    inputs = TaskInputs(task, texts, GuardLimits({"tags": 0.0}, 0.001, 0.05))
    questions = laser.questions(model, task)
    guards = laser.guards(questions, inputs, Workers())
    base, grid = exhaustive(laser, model, task)
    broken = {edit: guards.broken(Plan((edit,))) for edit in grid}
    harmless = [score for edit, score in grid.items() if score > base and not broken[edit]]
    found = laser.search(model, inputs)
    assert bool(harmless) == (not found.plan.is_empty)
    if harmless:
        (chosen,) = found.plan.edits
        assert grid[chosen] == pytest.approx(max(harmless))
        assert not broken[chosen]
    refused = found.facts["guards"]["refused"]
    if max(grid.values()) > max([base, *harmless]):
        assert refused["score"] == pytest.approx(max(grid.values()))
        assert refused["broken"]
        assert any(line.get("broken") for line in found.trials)
    else:
        assert refused is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_guarded_composition_follows_the_greedy_rule_with_guards(seed):
    model, task = model_of("llama", seed), tagged_task()
    laser = Laser(rhos=(0.5, 0.0), sites="*.{up,down}", compose=True)
    inputs = TaskInputs(task, ("some plain text",), GuardLimits({"tags": 0.0}, 0.001, 0.05))
    questions, kept = laser.questions(model, task), []
    guards, best = laser.guards(questions, inputs, Workers()), questions.answers(Plan()).mean
    for site in sorted(laser.sites_of(model), key=lambda site: -site.layer):
        for edit in laser.edits(model, site):
            score = questions.answers(Plan((*kept, edit))).mean
            if score > best and not guards.broken(Plan((*kept, edit))):
                kept, best = [*kept, edit], score
                break
    assert list(laser.search(model, inputs).plan.edits) == kept


def test_no_setting_for_speed_changes_the_result():
    task = task_of(groups=20)
    results = []
    for off in (None, *SPEED_SETTINGS):
        laser = Laser(rhos=(0.3,), **({} if off is None else {off: False}))
        found = laser.search(model_of("qwen2"), TaskInputs(task, ("some plain text",)))
        results.append((found.plan.to_json()["edits"], found.facts))
    assert all(result == results[0] for result in results)


def test_hidden_states_that_do_not_fit_are_computed_again():
    model, task = model_of("llama"), task_of()
    unlimited, none, some = (
        Laser(rhos=(0.3,), state_memory=gigabytes).search(model, TaskInputs(task, ("text",))) for gigabytes in (None, 0, 20_000 / GIGABYTE)
    )
    assert [without_times(found) for found in (none, some)] == [without_times(unlimited)] * 2


def without_times(found):
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found.trials], found.plan


def test_a_search_leaves_the_model_as_it_was():
    model, task = model_of("t5"), task_of()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    Laser(rhos=(0.5,), compose=True).search(model, TaskInputs(task, ("text",)))
    after = model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not [module for module in model.model.modules() if "forward" in module.__dict__]


def test_composition_follows_the_greedy_rule():
    model, task = model_of("llama", seed=3), task_of()
    laser = Laser(rhos=(0.5, 0.1), compose=True)
    found = laser.search(model, task)
    questions = laser.questions(model, task)
    kept, best = (), questions.answers(Plan()).mean
    for site in sorted(laser.sites_of(model), key=lambda site: -site.layer):
        for edit in laser.edits(model, site):
            score = questions.answers(Plan((*kept, edit))).mean
            if score > best + 1e-12:
                kept, best = (*kept, edit), score
                break
    assert found.plan.edits == kept
    curve = found.composition
    assert len(curve) == len(kept) + 1
    assert curve[-1]["select"] == pytest.approx(best)
    assert [line["site"] for line in found.trials if line["kept"]] == [str(edit.site) for edit in kept]


def test_a_search_continues_after_a_kill():
    task, laser = task_of(groups=20), Laser(rhos=(0.3,))
    expected = without_times(laser.search(model_of("llama"), TaskInputs(task, ("text",))))
    entries = {}
    for left in itertools.repeat(4):
        try:
            found = laser.search(model_of("llama"), TaskInputs(task, ("text",)), workers=Workers(journal=Dying(entries, left)))
        except Kill:
            continue
        break
    assert without_times(found) == expected


def test_equal_ranks_are_one_candidate():
    model = model_of("llama")
    (site, *_) = Laser().sites_of(model)
    ranks = [edit.rank(model.anatomy.shape(site)) for edit in Laser(rhos=(0.5, 0.49, 0.01, 0.02)).edits(model, site)]
    assert ranks == sorted(set(ranks))


def test_defaults_are_those_of_the_paper():
    assert set(Laser().rhos) == {0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.01} == set(RHOS)
    assert {site.role for site in Laser().sites_of(model_of("llama"))} == {"gate", "down"}
    assert {site.role for site in Laser().sites_of(model_of("gpt2"))} == {"up", "down"}


@pytest.mark.parametrize("wrong", [{"rhos": (1.0,)}, {"rhos": ()}, {"published": True, "compose": True}, {"screened": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError):
        Laser(**wrong)


@pytest.mark.parametrize("wrong", [("rhos", 0.5), ("rhos", ("x",)), ("rhos", (None,)), ("screened", float("nan")), ("keep", "x")])
def test_settings_of_another_type_are_refused(wrong):
    laser = Laser()
    object.__setattr__(laser, *wrong)  # these tests check the types of every call
    with pytest.raises(InputError):
        laser.__post_init__()


def test_a_glob_that_matches_nothing_is_refused():
    with pytest.raises(BadAddress):
        Laser(sites="decoder.*.gate").check(model_of("gpt2"), task_of())


def test_a_weight_that_cannot_be_written_is_refused_before_any_evaluation():
    shared = pico.build("llama")
    shared.model.layers[0].mlp.down_proj.weight = shared.model.layers[1].mlp.down_proj.weight
    for module, message in ((shared, "in 2 places"), (pico.build_on_meta("llama"), "meta device")):
        with pytest.raises(NotWritable, match=message):
            Laser().search(LanguageModel.of(module, pico.tokenizer("llama")), task_of())


def test_a_weight_that_is_not_finite_is_named():
    model = model_of("llama")
    model.anatomy.write("decoder.1.down", [0], float("nan"))
    with pytest.raises(NotFinite):
        Laser().search(model, task_of())


def test_planted_noise_is_found():
    """A model whose answers come from a strong low-rank matrix, with added noise of full rank, is right once the noise is removed."""
    model, task, site = model_of("llama", seed=3), task_of(), "decoder.0.down"
    weight = model.anatomy.weight(site).clone()
    clean = 3 * ReduceRank(site, 0.1).reduced(weight)
    model.anatomy.write(site, None, clean)
    predictions = Questions(model, task, task.examples).answers(Plan()).predictions[:, 0]
    examples = [Example(e.fields, e.choices, int(right), group=e.group) for e, right in zip(task.examples, predictions, strict=True)]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=clean.dtype)
    noise *= 0.5 * torch.linalg.matrix_norm(weight, 2) / torch.linalg.matrix_norm(noise, 2)
    model.anatomy.write(site, None, clean + noise)
    found = Laser(rhos=(0.1,)).search(model, Task(task.name, examples, ("",), task.template))
    (planted,) = [line for line in found.trials if line["site"] == site]
    assert planted["score"] == found.facts["select"]["chosen"] == 1.0
    assert found.facts["select"]["base"] < 1.0
