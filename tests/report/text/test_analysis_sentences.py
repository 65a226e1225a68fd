"""A sentence for each analysis, of the numbers that the report's own tests hold too."""

import pytest

from methods.laser.analyses.studies import facts_task, study_of
from report.matrix_folder import PLAN, SITES, analyses
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.methods.laser.analyses import temperature
from resect.methods.laser.analyses.catalogue import SENTENCES
from resect.methods.laser.analyses.components import components
from resect.report.text import analysis_sentences
from resect.report.text.analysis_sentences import calibrated, sentences


def whole():
    found = analyses()
    found["growth"] |= {"base": 78, "n_pairs": 128}
    found["perplexity"] |= {"kind": "perplexity"}
    return found


def test_each_has_one_and_it_holds_its_numbers():
    lines = {line.partition(":")[0]: line for line in sentences(whole())}
    assert set(lines) == set(SENTENCES)
    assert "78 of 128 right at first, 87 at ρ = 0.01" in lines["growth"] and "30 gained" not in lines["loss"]
    assert "windows of 1024 by steps of 512" in lines["perplexity"]
    assert "< 50 42.0% → 53.0% (n = 120)" in lines["frequency"]
    assert "decoder.10.gate from effective rank 187.3 to 11.2" in lines["spectra"]
    assert "least at ρ = 0.05 (1.0200)" in lines["reduction"]


def test_numbers_that_are_missing_are_left_out():
    found = whole()
    found["loss"]["loss"] = [[None] * len(row) for row in found["loss"]["loss"]]
    found["frequency"] |= {"n": [120, 0, 60], "base": [0.42, None, 0.8], "edited": [0.5, None, 0.8]}
    lines = {line.partition(":")[0]: line for line in sentences(found)}
    assert "0 reductions" in lines["loss"] and "50–1,000" not in lines["frequency"]


def test_nothing_fixed_is_said():
    study = study_of(task=facts_task(), plan=Plan((ReduceRank("decoder.1.down", 0.99),)))
    study.model.anatomy.write("decoder.1.down", None, 0.0)
    assert "nothing to look at" in sentences({"components": components(study)})[0]


def told(found, plan=None):
    return {line.partition(": ")[0]: line.partition(": ")[2] for line in sentences(found, plan)}


def test_what_was_chosen_stands_beside_the_model_as_it_is():
    found = whole()
    assert "Chosen" not in told(found)["loss"]
    assert "Chosen: 0.983, better than the model as it is (1.2)." in told(found, PLAN)["loss"]
    several = {"edits": [*PLAN["edits"], {"kind": "reduce_rank", "site": "decoder.0.down", "rho": 0.01}]}
    assert "decoder.10.gate at ρ = 0.05 0.983 (better), decoder.0.down at ρ = 0.01 1.5" in told(found, several)["loss"]
    found["loss"]["loss"][SITES.index("decoder.10.gate")] = None
    assert "Chosen" not in told(found, PLAN)["loss"]


def test_the_first_of_several_matrices_is_named():
    found = whole()
    for name in ("growth", "reduction", "components"):
        assert told(found)[name].removeprefix("log loss of ").startswith("decoder.10.gate: ")
        found[name]["others"] = [dict(found[name]), dict(found[name])]
        assert "decoder.10.gate (the first of 3): " in told(found)[name]
    assert "mean input embeddings" in told(found)["components"] and "37 answers were fixed" in told(found)["components"]


@pytest.mark.parametrize(
    ("base", "edited", "says"),
    [
        ((0.795, 0.672), (1.374, 0.732), "so not only the calibration suffers."),
        ((0.795, 0.672), (1.374, 0.672), "so that only the calibration suffers."),
        ((0.795, 0.672), (0.7, 0.8), "so that the gain is one of calibration."),
        ((0.795, 0.672), (0.7, 0.6), "with the best temperature 0.672 → 0.6."),
    ],
)
def test_a_temperature_tells_calibration_from_the_rest(base, edited, says):
    ends = [{"before": before, "after": after} for before, after in (base, edited)]
    assert calibrated(*ends).endswith(says) and calibrated(ends[0], {}) == ""


def test_a_temperature_at_an_end_of_the_search_is_said_to_be_so():
    assert (analysis_sentences.LOWEST, analysis_sentences.HIGHEST) == (temperature.LOWEST, temperature.HIGHEST)
    found = whole()
    found["temperature"]["base"]["temperature"], found["temperature"]["edited"]["temperature"] = 1000.0, 0.001
    assert "base 1000 (the upper end of the search), edited 0.001 (the lower end" in told(found)["temperature"]
    cut = {"edits": [{"kind": "scale", "neurons": {"decoder.1.up": [1]}}]}
    assert "after the cut" in told(found, cut)["temperature"] and "after the reduction" in told(found, PLAN)["temperature"]


def test_text_beyond_the_model_and_limits_are_said():
    found = whole()
    assert "beyond" not in told(found)["perplexity"] and "at most" not in told(found)["loss"]
    found["perplexity"]["base"], found["loss"]["limit"], found["spectra"]["limit"] = 493_255.0, 60, 60
    assert "beyond the model" in told(found)["perplexity"]
    assert all(told(found)[name].endswith("Asked on at most 60 examples of the task.") for name in ("loss", "spectra"))
