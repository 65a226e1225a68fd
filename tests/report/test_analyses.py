"""What was analysed, on the page: each part is shown where it is, left out where it is not, and named where it is damaged."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from report.matrix_folder import analyses, reduced
from report.run_folder import shown
from report.test_reading import JUNK, paths, put
from resect.report.analyses import Analyses, analyses_of
from resect.report.findings import sections
from resect.report.surgery import Surgery
from resect.store import Run

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


def test_without_anything_there_is_no_section():
    assert sections(Analyses(), Surgery()) == []
    assert analyses_of({}) == (Analyses(), [])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_inside_stops_the_page(tmp_path, data):
    whole = analyses()
    name = data.draw(st.sampled_from(list(whole)))
    small = {name: copy.deepcopy(whole[name])}
    damaged = put(small, data.draw(st.sampled_from(list(paths(small))[:400])), data.draw(JUNK))
    run = Run.load(tmp_path / "run") if (tmp_path / "run").exists() else reduced(tmp_path / "run", trials=[])
    (run.folder / "analyses.json").write_text(json.dumps(damaged))
    assert "tiny on" in shown(run).text
