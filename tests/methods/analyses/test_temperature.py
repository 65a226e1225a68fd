"""The temperature of least log loss: 1 where the model is calibrated, what it was where it was made too sure."""

import numpy as np
import pytest
from scipy import optimize

from methods.analyses.studies import choices_task, facts_task, model_of, study_of
from resect.core.errors import BadTask, NotFinite
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.methods.analyses.temperature import HIGHEST, LOWEST, best_temperature, centred, log_loss, temperature


def calibrated(at=1.0):
    """Answers that are right as often as their probabilities, taken to the power 1/at, say."""
    shares, rows, gold = np.array([0.5, 0.3, 0.2]), [], []
    for right, count in enumerate((50, 30, 20)):
        rows += [at * np.log(shares)] * count
        gold += [right] * count
    return rows, gold


def test_a_calibrated_model_has_temperature_1():
    assert best_temperature(centred(*calibrated())) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("at", [0.25, 3.0, 20.0])
def test_a_model_that_is_too_sure_is_cooled_by_as_much(at):
    rows = centred(*calibrated(at))
    assert best_temperature(rows) == pytest.approx(at, rel=1e-9)
    assert log_loss(rows, at) == pytest.approx(log_loss(centred(*calibrated()), 1.0))


def test_it_is_the_least_loss():
    generator = np.random.default_rng(0)
    rows = centred(generator.normal(size=(200, 4)) * 3, generator.integers(0, 4, 200).tolist())
    least = optimize.minimize_scalar(lambda t: log_loss(rows, np.exp(t)), bounds=(-3, 6), method="bounded", options={"xatol": 1e-9})
    assert log_loss(rows, best_temperature(rows)) <= least.fun + 1e-12


def test_without_an_error_no_answer_is_too_sure():
    assert best_temperature(centred([np.array([0.0, -1.0])] * 3, [0] * 3)) == LOWEST
    assert best_temperature(centred([np.array([0.0, -1.0])] * 3, [1] * 3)) == HIGHEST
    assert best_temperature(centred([np.array([0.0, 0.0])] * 3, [1] * 3)) == 1.0


def test_an_answer_that_is_impossible_is_no_matter_unless_it_is_the_right_one():
    row = np.array([-1.0, -np.inf, -2.0])
    assert np.isfinite(best_temperature(centred([row, row], [0, 2])))
    with pytest.raises(NotFinite):
        centred([row], [1])


@pytest.mark.slow
def test_found_on_select_and_measured_on_test():
    study = study_of(model_of("qwen2"), choices_task(60))
    found = temperature(study)
    for name, plan in (("base", Plan()), ("edited", study.plan)):
        rows = {}
        for split in ("select", "test"):
            questions = Questions(study.model, study.task, study.task.split(split))
            columns = questions.all_logprobs(plan)
            rows[split] = [row - row[gold] for column in columns for row, gold in zip(column, questions.gold, strict=True)]
        assert found[name]["temperature"] == pytest.approx(best_temperature(rows["select"]))
        assert found[name]["before"] == pytest.approx(log_loss(rows["test"], 1.0))
        assert found[name]["after"] == pytest.approx(log_loss(rows["test"], found[name]["temperature"]))
    assert (found["split"], found["found_on"]) == ("test", "select")


def test_free_text_has_no_choices():
    with pytest.raises(BadTask):
        temperature(study_of(task=facts_task()))
