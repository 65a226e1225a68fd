"""Guards hold what they say, cost little, and say where they have nothing to hold."""

import math

import numpy as np
import pytest
import torch

import planted_bias
from resect.core.address import Neurons
from resect.core.errors import UnknownName
from resect.core.execution import Workers
from resect.core.intervals import GroupHalves
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.guards import Guards
from resect.evaluation.questions import Questions
from resect.runs.guard_limits import GuardLimits

TEXTS = ("The river runs to the sea.", "A line of plain text, and another one.")


@pytest.fixture(scope="module")
def planted():
    model, bias, skill = planted_bias.model("llama")
    task = planted_bias.task()
    return model, Questions(model, task, task.split("select")), bias, skill


def cut(units):
    return Plan((Scale(units, 0.0),))


def limits(**changed):
    return GuardLimits(**{"tags": {}, "perplexity": None, "collapse": None, **changed})


def test_a_tag_that_loses_is_held_and_no_other(planted):
    model, questions, bias, skill = planted
    after_bias = cut(bias)  # g everywhere: both tags gain
    assert Guards(limits(tags={"tags": 0.03}), questions).broken(after_bias) == ()
    with after_bias.applied(model):  # the skill is lost again: measured from the model that answers g
        broken = Guards(limits(tags={"tags": 0.03}), questions).broken(cut(skill))
        assert {guard.guard for guard in broken} <= {"even", "odd"}
        assert broken
        for guard in broken:
            assert guard.cost == pytest.approx(guard.before - guard.after)
            assert guard.cost > guard.limit == 0.03
        assert Guards(limits(tags={"tags": 1.0}), questions).broken(cut(skill)) == ()


def test_tags_by_a_naive_reference(planted):
    model, questions, bias, skill = planted
    with cut(bias).applied(model):
        base, after = questions.answers(Plan()), questions.answers(cut(skill))
        broken = {guard.guard for guard in Guards(limits(tags={"tags": 0.03}), questions).broken_by_answers(after)}
        expected = set()
        for tag in ("even", "odd"):
            rows = [row for row, example in enumerate(questions.examples) if tag in example.tags]
            change = after.values[rows] - base.values[rows]
            halves = GroupHalves.of(change, [questions.examples[row].group for row in rows], 0)
            if change.mean() < -0.03 and halves.p_value_of_loss() <= 0.1:
                expected.add(tag)
        assert broken == expected


def test_the_perplexity_is_that_of_the_applied_plan(planted):
    model, questions, bias, _ = planted
    guards = Guards(limits(perplexity=0.0), questions, TEXTS)
    (site,) = bias
    wide = cut(Neurons({site: range(20)}))

    def perplexity():
        logprob, tokens = model.text_logprob(TEXTS)
        return math.exp(-logprob / tokens)

    before = perplexity()
    with wide.applied(model):
        after = perplexity()
    broken = guards.broken_by_text(wide)
    if before > model.model.config.vocab_size:
        assert broken == ()
    else:
        assert bool(broken) == (after > before)
        assert all(guard.after == pytest.approx(after) for guard in broken)
    assert guards.base_perplexity == pytest.approx(before)


def test_the_perplexity_is_read_only_where_the_answers_break_nothing(planted):
    model, questions, bias, skill = planted
    read = []
    workers = Workers()
    guards = Guards(GuardLimits(), questions, TEXTS, workers)
    guards.broken_by_text = lambda plan: read.append(plan) or ()
    with cut(bias).applied(model):
        assert guards.broken(cut(skill))
        assert read == []
    assert guards.broken(Plan()) == ()


def test_a_text_beyond_the_model_is_not_guarded_and_that_is_said(planted):
    _, questions, bias, _ = planted
    guards = Guards(limits(perplexity=0.05), questions, TEXTS)
    guards.__dict__["base_perplexity"] = 1e6
    assert guards.broken_by_text(cut(bias)) == ()
    assert any("beyond this model" in note for note in guards.notes)


def test_a_perplexity_that_is_not_finite_breaks_the_guard(planted):
    _, questions, bias, _ = planted
    guards = Guards(limits(perplexity=0.05), questions, TEXTS)
    guards.__dict__["base_perplexity"] = 10.0
    (site,) = bias
    huge = Plan((Scale(Neurons({site: range(20)}), torch.finfo(torch.float64).max / 1e10),))
    (broken,) = guards.broken_by_text(huge)
    assert broken.after is None
    assert broken.to_json()["cost"] is None


def test_a_guard_for_a_tag_that_no_example_has_is_refused(planted):
    _, questions, _, _ = planted
    with pytest.raises(UnknownName, match="evne"):
        Guards(GuardLimits.parse(["evne=3"]), questions)


def test_a_task_of_one_tag_has_nothing_to_hold_and_that_is_said(planted):
    model, questions, _, _ = planted
    even = [example for example in questions.examples if "even" in example.tags]
    notes = Guards(limits(tags={"tags": 0.03}), Questions(model, questions.task, even)).notes
    assert any("no kinds of examples apart" in note for note in notes)


def test_a_model_that_always_answers_one_thing_cannot_collapse_further_and_that_is_said(planted):
    _, questions, _, _ = planted  # it answers b to everything
    assert np.all(questions.answers(Plan()).values == 0)
    assert any("cannot hold" in note for note in Guards(limits(collapse=0.1), questions).notes)


def test_without_limits_nothing_is_asked(planted):
    _, questions, bias, _ = planted
    guards = Guards(GuardLimits.none(), questions, TEXTS)
    assert guards.are_off
    assert guards.broken(cut(bias)) == ()
    assert guards.notes == ()
