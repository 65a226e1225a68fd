"""A sentence for each analysis, of the numbers that the report's own tests hold too."""

from analyses.studies import facts_task, study_of
from report.matrix_folder import analyses
from resect.analyses import SENTENCES
from resect.analyses.components import components
from resect.analyses.telling import sentences
from resect.edits.matrices import ReduceRank
from resect.plan import Plan


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


def test_nothing_mended_is_said():
    study = study_of(task=facts_task(), plan=Plan((ReduceRank("decoder.1.down", 0.99),)))
    study.model.anatomy.write("decoder.1.down", None, 0.0)
    assert "nothing to look at" in sentences({"components": components(study)})[0]
