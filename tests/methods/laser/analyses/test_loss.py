"""The loss of every reduction is that of asking everything plainly, whatever made it quick; and it survives a kill."""

import numpy as np
import pytest

from methods.analyses.studies import Dying, Kill, choices_task, facts_task, model_of, study_of
from resect.core.execution import Workers
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.laser.analyses.loss import loss
from resect.methods.laser.analyses.measures import Measurements


def plainly(study, metric):
    """The mean on *select* under a plan, with nothing that makes it quick."""
    questions = Questions(study.model, study.task, study.task.split("select"), metric)
    return lambda plan: questions.answers(plan).mean


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5-gated", "bert"])
def test_the_grid_is_that_of_plain_questions(name):
    study = study_of(model_of(name), choices_task(20, ("", "Say:")), rhos=(0.2, 0.01))
    found, loss_under, share_under = loss(study), plainly(study, "logloss"), plainly(study, "accuracy")
    assert found["sites"] == list(map(str, study.sites)) and found["rhos"] == [0.2, 0.01]
    for row, site in enumerate(study.sites):
        for column, rho in enumerate(found["rhos"]):
            plan = Plan((ReduceRank(site, rho),))
            assert found["loss"][row][column] == pytest.approx(loss_under(plan), abs=1e-9)
            assert found["accuracy"][row][column] == pytest.approx(share_under(plan), abs=1e-12)
    assert found["base"]["loss"] == pytest.approx(loss_under(Plan()))
    assert found["base"]["accuracy"] == pytest.approx(share_under(Plan()))
    assert found["n_pairs"] == 2 * len(study.task.split("select")) and found["split"] == "select"


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["top5", "generation", "logloss"])
def test_free_texts_are_right_by_the_runs_own_measure(metric):
    study = study_of(task=facts_task(metric=metric), rhos=(0.2,))
    found = loss(study)
    by = "generation" if metric == "logloss" else metric
    assert found["metric"] == by
    loss_under, share_under = plainly(study, "logloss"), plainly(study, by)
    for row, site in enumerate(study.sites):
        plan = Plan((ReduceRank(site, 0.2),))
        assert found["loss"][row][0] == pytest.approx(loss_under(plan), abs=1e-9)
        assert found["accuracy"][row][0] == pytest.approx(share_under(plan), abs=1e-12)


def test_the_own_rule_of_the_run_is_followed():
    like = ReduceRank("decoder.0.up", 0.5, "smallest")
    study = study_of(like=like, rhos=(0.2,))
    found = loss(study)
    plan = Plan((ReduceRank(study.sites[0], 0.2, "smallest"),))
    assert found["loss"][0][0] == pytest.approx(plainly(study, "logloss")(plan), abs=1e-9)


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_measured():
    entries, whole = {}, loss(study_of())
    for _ in range(100):
        try:
            found = loss(study_of(workers=Workers(journal=Dying(entries, 4))))
        except Kill:
            continue
        break
    assert found == whole


def test_the_model_is_left_as_it_was():
    study = study_of()
    before = {site: study.model.anatomy.weight(site).clone() for site in study.model.anatomy.sites}
    loss(study)
    assert all(before[site].equal(study.model.anatomy.weight(site)) for site in before)


def test_one_pass_and_two_agree():
    study = study_of()
    measures, edit = Measurements(study), ReduceRank(study.sites[0], 0.2)
    one = measures.of(edit)
    other = measures.under(Plan((edit,)), "asking")
    assert one.loss == pytest.approx(other.loss, abs=1e-9) and np.array_equal(one.right, other.right)
