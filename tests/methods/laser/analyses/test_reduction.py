"""Reduction up to nothing: its end is a matrix of zeros; without its block and its layer, nothing is added to the residual stream."""

import pytest
import torch

import pico
from methods.analyses.studies import RHOS, choices_task, model_of, study_of
from resect.core.address import Site
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.laser.analyses.growth import growth, steps
from resect.methods.laser.analyses.loss import loss
from resect.methods.laser.analyses.reduction import block_of, reduction, silenced
from resect.models.anatomy import Anatomy


def test_the_curve_ends_at_a_matrix_of_zeros():
    model = model_of()
    study = study_of(model)
    found = reduction(study)
    assert found["rhos"] == [1.0, *sorted(RHOS, reverse=True), 0.0]
    site = study.reductions[0].site
    questions = Questions(model, study.task, study.task.split("select"), "logloss")
    assert found["loss"][0] == pytest.approx(questions.answers(Plan()).mean)
    model.anatomy.write(site, None, 0.0)
    assert found["loss"][-1] == pytest.approx(questions.answers(Plan()).mean, abs=1e-9)


def test_the_curve_is_a_row_of_the_grid():
    study = study_of()
    curve, grid = reduction(study), loss(study)
    row = grid["sites"].index(curve["site"])
    assert curve["loss"][1:-1] == grid["loss"][row] and curve["accuracy"][1:-1] == grid["accuracy"][row]


def test_a_block_and_a_layer_less():
    model = model_of("llama-biased")
    study = study_of(model)
    found = reduction(study)
    site = study.reductions[0].site
    questions = Questions(model, study.task, study.task.split("select"), "logloss")
    for name, roles in (("without_block", ("down",)), ("without_layer", ("down", "o"))):
        for role in roles:
            model.anatomy.write(site.at(role), None, 0.0)
            model.anatomy.write_bias(site.at(role), None, 0.0)
        assert found[name]["loss"] == pytest.approx(questions.answers(Plan()).mean, abs=1e-9)


@pytest.mark.parametrize("name", pico.PICO)
def test_a_silenced_layer_is_silent_in_every_family(name):
    model = pico.build(name, dtype=torch.float64)
    anatomy = Anatomy.of(model)
    for stack, layers in anatomy.layers.items():
        site = Site(stack, layers - 1, "down")
        with silenced(anatomy, site).applied(model):
            roles = [role for role in ("o", "cross_o", "down") if site.at(role) in anatomy.sites]
            assert len(roles) >= 2
            for role in roles:
                assert not anatomy.weight(site.at(role)).any()
                bias = anatomy.bias(site.at(role))
                assert bias is None or not bias.any()


def test_a_layer_that_adds_nothing_gives_what_it_was_given():
    model = pico.build("llama", dtype=torch.float64)
    anatomy, given = Anatomy.of(model), []
    block = model.get_submodule(anatomy.block_path("decoder", 1))
    handle = block.register_forward_hook(lambda _module, inputs, output: given.append((inputs[0], output)))
    with silenced(anatomy, Site.parse("decoder.1.up")).applied(model), torch.no_grad():
        model(**pico.inputs("llama"))
    handle.remove()
    ((before, after),) = given
    assert torch.equal(before, after if isinstance(after, torch.Tensor) else after[0])


def test_the_block_is_that_of_the_matrix():
    blocks = {role: block_of(Site("decoder", 0, role)) for role in ("gate", "up", "down", "q", "v", "o", "cross_k", "cross_o")}
    assert blocks == {
        "gate": "down",
        "up": "down",
        "down": "down",
        "q": "o",
        "v": "o",
        "o": "o",
        "cross_k": "cross_o",
        "cross_o": "cross_o",
    }


def test_a_composition_is_looked_at_matrix_by_matrix():
    model = model_of()
    sites = study_of(model).sites
    plan = Plan((ReduceRank(sites[-1], 0.2), ReduceRank(sites[0], 0.5)))
    found = reduction(study_of(model, plan=plan))
    (other,) = found["others"]
    assert (found["site"], other["site"]) == (str(sites[-1]), str(sites[0]))
    assert other["loss"] == reduction(study_of(model, plan=Plan((plan.edits[1],))))["loss"]


@pytest.mark.slow
def test_growth_is_counted_against_the_step_before():
    study = study_of(model_of("qwen2"), choices_task(60))
    found = growth(study)
    right = [found["base"], *found["right"]]
    assert found["rhos"] == sorted(RHOS, reverse=True)
    for place, (gained, lost) in enumerate(zip(found["gained"], found["lost"], strict=True)):
        assert right[place + 1] == right[place] + gained - lost
    grid = loss(study)
    shares = grid["accuracy"][grid["sites"].index(found["site"])]
    assert [count / found["n_pairs"] for count in found["right"]] == pytest.approx(shares)


def test_growth_by_hand():
    import numpy as np

    rights = [np.array(row, dtype=np.float64) for row in ([1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1])]
    assert steps(rights) == {"right": [2, 2, 2], "gained": [1, 1, 0], "lost": [0, 1, 0]}
