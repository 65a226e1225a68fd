"""The exhibits of LASER's analyses: a section for each, with its numbers, its holes and what the run selected."""

import copy

import pytest

from methods.analyses.studies import facts_task, study_of
from report.matrix_folder import CHOSEN, PLAN, RHOS, SITES, analyses
from resect.core.exhibits import Curve, HeatMap, Table, by_section, from_json, to_json
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.methods.analyses import exhibits as module
from resect.methods.analyses import temperature
from resect.methods.analyses.analysis import exhibits as exhibits_of
from resect.methods.analyses.exhibits import calibrated
from resect.methods.laser.analyses.catalogue import ANALYSES
from resect.methods.laser.analyses.components import components

SECTIONS = {
    "loss": "Loss of every reduction",
    "spectra": "Singular values",
    "reduction": "How far reduction goes",
    "components": "Answers of the smallest components",
    "growth": "Answers gained and lost",
    "paraphrases": "Right in every paraphrase",
    "frequency": "Accuracy by frequency of the fact",
    "perplexity": "Perplexity of plain text",
    "temperature": "Calibration by temperature",
}


def exhibits(results, plan=PLAN):
    return exhibits_of(ANALYSES, results, plan)


def sections(results, plan=PLAN):
    return by_section(exhibits(results, plan))


def note(results, name, plan=PLAN):
    return sections(results, plan)[SECTIONS[name]][0].note


def test_every_analysis_has_a_section_and_its_numbers():
    assert set(SECTIONS) == set(ANALYSES)
    assert sorted(sections(analyses())) == sorted(SECTIONS.values())
    for name, numbers in {
        "loss": ("1.2", "0.983", "decoder.10.gate", "ρ = 0.05"),
        "spectra": ("187.3", "11.2"),
        "reduction": ("1.02", "1.9", "2.4"),
        "components": ("37 answers",),
        "growth": ("78 of 128", "87 at ρ = 0.01", "28 gained", "19 lost"),
        "paraphrases": ("31.0 %", "40.5 %", "210 facts", "2.4"),
        "frequency": ("42.0 % → 53.0 % (n = 120)", "counts.csv"),
        "perplexity": ("11.2", "11.6", "1,024", "512"),
        "temperature": ("1.2 → 1.31", "1.13 → 1.12", "only the calibration"),
    }.items():
        for number in numbers:
            assert number in note(analyses(), name), (name, number)


def test_an_analysis_that_is_alone_stands_alone():
    for name, section in SECTIONS.items():
        assert list(sections({name: analyses()[name]})) == [section]
    assert exhibits({}) == ()


def test_exhibits_survive_json():
    for exhibit in exhibits(analyses(), PLAN):
        assert from_json(to_json(exhibit)) == exhibit


def test_the_map_of_losses_holds_every_cell_and_frames_the_selected_one():
    maps = sections(analyses())[SECTIONS["loss"]]
    assert [exhibit.title for exhibit in maps] == ["Log loss, gate", "Log loss, down", "Accuracy, gate", "Accuracy, down"]
    held, loss = analyses()["loss"], maps[0]
    for layer in range(12):
        for column, _ in enumerate(RHOS):
            assert loss.values[layer][column] == held["loss"][SITES.index(f"decoder.{layer}.gate")][column]
    assert loss.framed == ((10, RHOS.index(CHOSEN[1])),) and loss.lower_is_better and loss.center == 1.2
    assert len({exhibit.full for exhibit in maps[:2]}) == 1


def test_numbers_that_are_missing_leave_holes():
    held = analyses()
    held["loss"]["loss"][3] = None
    held["loss"]["loss"][4][2] = None
    held["loss"] |= {"accuracy": None, "base": {"loss": None}}
    held["reduction"] |= {"accuracy": None, "without_block": None, "without_layer": None}
    held["temperature"]["edited"] = None
    held["perplexity"]["edited"] = None
    held["frequency"] |= {"n": [120, 0, 60], "base": [0.42, None, 0.8], "edited": [0.5, None, 0.8]}
    found = sections(held)
    maps = found[SECTIONS["loss"]]
    assert [exhibit.title for exhibit in maps] == ["Log loss, gate", "Log loss, down"]
    assert maps[1].values[1] == (None,) * len(RHOS) and maps[0].values[2][2] is None
    assert len(found[SECTIONS["reduction"]]) == 1 and "Selected" not in maps[0].note
    assert len(found[SECTIONS["temperature"]][0].rows) == 1
    assert "50–1,000" not in found[SECTIONS["frequency"]][0].note
    held["loss"]["loss"] = [[None] * len(row) if row else None for row in held["loss"]["loss"]]
    assert "lowest" not in note(held, "loss")


def test_what_was_selected_is_compared_with_the_model_without_a_reduction():
    held = analyses()
    assert "Selected" not in note(held, "loss", None)
    assert "decoder.10.gate at ρ = 0.05 0.983 (better)" in note(held, "loss")
    several = {"edits": [*PLAN["edits"], {"kind": "reduce_rank", "site": "decoder.0.down", "rho": 0.01}]}
    assert "decoder.0.down at ρ = 0.01" in note(held, "loss", several) and "(worse)" in note(held, "loss", several)
    held["loss"]["loss"][SITES.index("decoder.10.gate")] = None
    assert "Selected" not in note(held, "loss")


def test_a_spectrum_of_zeros_and_a_long_one_can_be_drawn():
    zeros = {"values": [0.0] * 5, "effective_rank": {}, "rank": {}, "noise_edge": None}
    long = {"values": [1 / (1 + n) for n in range(4096)], "effective_rank": {}, "rank": {"full": 4096, "after": 40}, "noise_edge": 0.01}
    table, first, second = exhibits({"spectra": {"decoder.0.up": zeros, "decoder.1.up": long}})
    assert isinstance(table, Table) and isinstance(first, Curve) and table.rows[1][-1] == 99
    points = second.series["singular value"]
    assert len(points) < 300 and second.marked == ("rank", 40.0) and (40.0, 1 / 40) in points
    assert all(value > 0 for _, value in first.series["singular value"])


def test_every_matrix_of_a_composition_has_its_exhibits():
    held = analyses()
    for name in ("reduction", "components", "growth"):
        held[name]["others"] = [{**copy.deepcopy(held[name]), "site": "decoder.7.down"}]
    found = sections(held)
    for name, number in (("reduction", 4), ("components", 4), ("growth", 4)):
        titles = [exhibit.title for exhibit in found[SECTIONS[name]]]
        assert len(titles) == number and sum("decoder.7.down" in title for title in titles) == number / 2


def test_the_metric_and_the_split_are_named():
    held = analyses()
    for name in ("loss", "reduction", "frequency", "growth"):
        held[name] |= {"metric": "generation", "split": "select"}
    found = sections(held)
    assert all("(select split)" in note(held, name) for name in ("loss", "reduction", "growth"))
    assert found[SECTIONS["loss"]][2].title.startswith("Generation") and found[SECTIONS["reduction"]][1].y_label == "generation"
    assert all("Generation" in exhibit.title for exhibit in found[SECTIONS["frequency"]])


def test_few_answers_are_quoted_to_different_questions():
    held = analyses()
    row = held["components"]["answers"][0]
    held["components"]["answers"] = [{**row, "prompt": f"Instruction {n % 3}. Question {n // 3}"} for n in range(30)]
    table = sections(held)[SECTIONS["components"]][0]
    assert len({cells[0].partition("Question")[2] for cells in table.rows}) == len(table.rows) <= 8


def test_nothing_fixed_is_said():
    study = study_of(task=facts_task(), plan=Plan((ReduceRank("decoder.1.down", 0.99),)))
    study.model.anatomy.write("decoder.1.down", None, 0.0)
    assert "nothing to look at" in note({"components": components(study)}, "components", None)


@pytest.mark.parametrize(
    ("base", "edited", "says"),
    [
        ((0.795, 0.672), (1.374, 0.732), "not only the calibration suffers."),
        ((0.795, 0.672), (1.374, 0.672), "that only the calibration suffers."),
        ((0.795, 0.672), (0.7, 0.8), "the gain is one of calibration."),
        ((0.795, 0.672), (0.7, 0.6), "0.672 → 0.6."),
    ],
)
def test_a_temperature_separates_calibration_from_the_rest(base, edited, says):
    ends = [{"before": before, "after": after} for before, after in (base, edited)]
    assert calibrated(*ends).endswith(says) and calibrated(ends[0], {}) == ""


def test_a_temperature_at_an_end_of_the_search_is_said_to_be_so():
    assert (module.LOWEST, module.HIGHEST) == (temperature.LOWEST, temperature.HIGHEST)
    held = analyses()
    held["temperature"]["base"]["temperature"], held["temperature"]["edited"]["temperature"] = 1000.0, 0.001
    rows = sections(held)[SECTIONS["temperature"]][0].rows
    assert "upper end" in rows[0][1] and "lower end" in rows[1][1]


def test_text_beyond_the_model_and_limits_are_said():
    held = analyses()
    assert "beyond" not in note(held, "perplexity") and "at most" not in note(held, "loss")
    held["perplexity"]["base"], held["loss"]["limit"], held["spectra"]["limit"] = 493_255.0, 60, 60
    assert "beyond the model" in note(held, "perplexity")
    for name in SECTIONS:
        assert ("at most 60 examples" in note(held, name)) == (name in ("loss", "spectra"))


def test_maps_of_experts_leave_out_nothing_but_bounds():
    held = {**analyses()["loss"], "sites": [f"decoder.{n}.expert{e}.gate" for n in range(12) for e in range(2)]}
    (loss, _) = exhibits({"loss": held})
    assert isinstance(loss, HeatMap) and loss.row_labels[:2] == ("0, expert 0", "0, expert 1") and len(loss.row_labels) == 24
