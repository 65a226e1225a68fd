"""What was analysed, on the page: each part is shown where it is, left out where it is not, and named where it is damaged."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from report.matrix_folder import CHOSEN, PLAN, RHOS, SITES, analyses, reduced
from report.readers.test_run_reader import JUNK, paths, put
from report.run_folder import shown
from resect.core.address import Site
from resect.report.page.findings import sections
from resect.report.readers.analyses import Analyses, analyses_of
from resect.report.readers.plan_summary import Reduction, Surgery
from resect.runs.run_folder import Run

REDUCED = Surgery.of(PLAN, "laser")
SAYS = {
    "loss": ("Loss of every reduction", "The model as it is: 1.2 on 128 answers", "1.354", "The same map in accuracy"),
    "spectra": ("Singular values", "noise edge", "rank = 12", "187.3", "11.2"),
    "reduction": ("How far reduction goes", "up to nothing", "block", "layer"),
    "components": ("What the smallest components say", "mean over 37 answers", "smallest components alone", "mean input embeddings"),
    "growth": ("Does the right set only grow?", "19 times a right answer is lost on the way."),
    "paraphrases": ("Right in every paraphrase", "210 facts, 2.4 paraphrases each", "+9.5 points"),
    "frequency": ("Rare and frequent facts", "Counted in counts.csv.", "50–1,000", "+11.0", "120"),
    "perplexity": ("Plain text, window by window", "windows of 1,024 and a stride of 512", "+3.6 %"),
    "temperature": ("Calibration by temperature", "1.4", "1.31", "1.12"),
}


def test_a_run_that_was_not_analysed_lacks_nothing(tmp_path):
    text = shown(reduced(tmp_path / "run")).text
    assert "What is missing" not in text
    assert not any(title in text for title, *_ in SAYS.values())


def test_every_part_has_its_section(tmp_path):
    text = shown(reduced(tmp_path / "run", analysed=analyses())).text
    for told in SAYS.values():
        for expected in told:
            assert expected in text, expected


@pytest.mark.parametrize("name", list(SAYS))
def test_a_part_that_is_alone_stands_alone(tmp_path, name):
    text = shown(reduced(tmp_path / "run", analysed={name: analyses()[name]})).text
    assert SAYS[name][0] in text and not any(told[0] in text for other, told in SAYS.items() if other != name)


@pytest.mark.parametrize("content", ["", "{", '{"loss": {"sites"', "[]", '"x"'])
def test_torn_analyses_are_left_out_with_a_sentence(tmp_path, content):
    run = reduced(tmp_path / "run")
    (run.folder / "analyses.json").write_text(content)
    text = shown(run).text
    assert "The analyses." in text and "analyse" in text and "+6.3 points" in text


def test_a_damaged_part_is_named_and_the_others_are_shown(tmp_path):
    held = analyses()
    held["loss"]["loss"] = held["loss"]["loss"][:3]
    held["frequency"]["n"] = [1]
    text = shown(reduced(tmp_path / "run", analysed=held)).text
    assert "The analysis called loss." in text and "there are 24 matrices, and not as many rows" in text
    assert "The analysis called frequency." in text and "n is no list of numbers, 3 of them" in text
    assert "Singular values" in text and "Loss of every reduction" not in text


def test_numbers_that_are_missing_leave_holes():
    held = analyses()
    held["loss"]["loss"][3] = None
    held["loss"]["loss"][4][2] = None
    held["loss"]["accuracy"] = None
    held["loss"]["base"] = {}
    held["reduction"] = {**held["reduction"], "accuracy": None, "without_block": None, "without_layer": None}
    held["temperature"] = {"base": held["temperature"]["base"], "edited": None}
    held["perplexity"]["edited"] = None
    found, odd = analyses_of(held)
    assert odd == []
    made = {section.anchor: section for section in sections(found, Surgery())}
    assert made["loss"].folds == () and made["loss"].note == "" and len(made["reduction"].figures) == 1
    assert len(made["temperature"].table.rows) == 1


def test_a_spectrum_of_zeros_and_a_long_one_can_be_drawn():
    held = {"values": [0.0] * 5, "effective_rank": {}, "rank": {}, "noise_edge": None}
    long = {"values": [1 / (1 + n) for n in range(4096)], "effective_rank": {}, "rank": {"full": 4096, "after": 40}, "noise_edge": 0.01}
    found, odd = analyses_of({"spectra": {"decoder.0.up": held, "decoder.1.up": long}})
    assert odd == []
    (section,) = sections(found, Surgery())
    assert all(len(figure.drawing) < 20_000 for figure in section.figures) and "rank = 40" in section.figures[1].drawing


def test_every_matrix_of_a_composition_has_its_drawing():
    held = analyses()
    for name in ("reduction", "components", "growth"):
        held[name]["others"] = [{**copy.deepcopy(held[name]), "site": "decoder.7.down"}]
    found, odd = analyses_of(held)
    assert odd == []
    made = {section.anchor: section for section in sections(found, Surgery())}
    assert [len(made[name].figures) for name in ("reduction", "components", "growth")] == [4, 2, 2]
    assert "Each of 2 matrices by itself" in made["growth"].how and made["components"].folds[0].summary.endswith("decoder.7.down")


def test_what_is_right_is_told_by_its_metric_and_split():
    held = analyses()
    for name in ("loss", "reduction", "frequency", "growth"):
        held[name] |= {"metric": "generation", "split": "select"}
    made = {section.anchor: section for section in sections(analyses_of(held)[0], Surgery())}
    assert made["loss"].note.endswith("answers of the select split.") and "in generation" in made["loss"].folds[0].summary
    assert made["frequency"].table.caption.startswith("generation") and "of the select split" in made["growth"].how
    assert ">generation<" in made["reduction"].figures[1].drawing


def test_the_chosen_cell_stands_beside_the_model_as_it_is():
    held = analyses()
    held["loss"]["loss"][SITES.index(CHOSEN[0])][RHOS.index(CHOSEN[1])] = 1.5
    two = Surgery(reductions=(*REDUCED.reductions, Reduction(Site.parse("decoder.11.gate"), 0.05)))
    notes = [{each.anchor: each for each in sections(analyses_of(held)[0], done)}["loss"].note for done in (REDUCED, two)]
    assert notes[0].endswith("Chosen: 1.5, worse than the model as it is (1.2).")
    assert "decoder.10.gate at ρ = 0.05 1.5 (worse), decoder.11.gate" in notes[1] and notes[1].endswith("(better).")


def test_a_temperature_is_told_with_what_it_says():
    held = analyses()
    held["temperature"] = {
        "base": {"temperature": 1.4, "before": 0.795, "after": 0.672},
        "edited": {"temperature": 0.001, "before": 1.374, "after": 0.732},
    }
    made = {each.anchor: each for each in sections(analyses_of(held)[0], REDUCED)}["temperature"]
    assert made.words[0].endswith("with the best temperature 0.672 → 0.732, so not only the calibration suffers.")
    assert made.table.rows[1][1] == "0.001 (the lower end of the search)"


def test_each_question_is_quoted_once():
    held = analyses()
    row = held["components"]["answers"][0]
    held["components"]["answers"] = [{**row, "prompt": f"Instruction {n % 3}. Question {n // 3}"} for n in range(30)]
    rows = [
        {"prompt": f"Instruction {n % 3}. Question {n // 3}", "id": str(n // 3), "instruction": f"Instruction {n % 3}."} for n in range(30)
    ]
    made = {each.anchor: each for each in sections(analyses_of(held)[0], REDUCED, rows)}["components"]
    assert [cells[0] for cells in made.table.rows] == [f"Question {n}" for n in range(8)]
    assert made.table.caption.endswith("each question once; all 30 are in the run folder")


def test_each_matrix_has_its_own_share_removed():
    held = analyses()
    held["components"]["smallest"] = 0.992
    held["components"]["others"] = [{**copy.deepcopy(held["components"]), "site": "decoder.7.down", "smallest": 0.8}]
    made = {each.anchor: each for each in sections(analyses_of(held)[0], REDUCED)}["components"]
    assert "of decoder.10.gate 99.2\N{NO-BREAK SPACE}%, of decoder.7.down 80.0\N{NO-BREAK SPACE}%" in made.how


def test_a_limit_is_said_where_it_was_set():
    held = analyses()
    for name in ("loss", "growth", "spectra"):
        held[name]["limit"] = 60
    found, odd = analyses_of(held)
    made = {each.anchor: each for each in sections(found, REDUCED)}
    limited = {name for name, each in made.items() if "Asked on at most 60 examples of the task." in each.words}
    assert odd == [] and limited == {"loss", "growth", "spectra"}


def test_text_beyond_the_model_is_said():
    held = analyses()
    held["perplexity"]["base"] = 493_255.0
    made = {each.anchor: each for each in sections(analyses_of(held)[0], REDUCED)}
    assert made["perplexity"].words == ("This text is beyond the model: its perplexity says nothing.",)


def test_without_anything_there_is_no_section():
    assert sections(Analyses(), Surgery()) == []
    assert analyses_of({}) == (Analyses(), [])


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_inside_stops_the_page(tmp_path, data):
    whole = analyses()
    name = data.draw(st.sampled_from(list(whole)))
    small = {name: copy.deepcopy(whole[name])}
    damaged = put(small, data.draw(st.sampled_from(list(paths(small))[:400])), data.draw(JUNK))
    run = Run.load(tmp_path / "run") if (tmp_path / "run").exists() else reduced(tmp_path / "run", trials=[])
    (run.folder / "analyses.json").write_text(json.dumps(damaged))
    assert "tiny on" in shown(run).text
