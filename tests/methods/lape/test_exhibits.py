"""The exhibits of LAPE's analyses: a section for each, with the numbers of analyses.json."""

import pytest

from report.language_folder import LANGUAGES, UNITS, analyses
from resect.core.exhibits import Curve, HeatMap, Table, by_section, from_json, to_json
from resect.methods.lape.exhibits import exhibits

SECTIONS = {
    "layers": ("Units by layer and language", "counts for both"),
    "overlap": ("Units that languages share", "fr and es (3, 0.07)"),
    "similarity": ("Similarity of parallel sentences", "200 sentences in 7 languages"),
    "stability": ("Stability of the selection", "at least 50,000 tokens"),
}


@pytest.mark.parametrize("name", list(SECTIONS))
def test_an_analysis_that_is_alone_stands_alone(name):
    section, part = SECTIONS[name]
    found = exhibits({name: analyses()[name]})
    assert list(by_section(found)) == [section] and part in found[0].note
    assert all(from_json(to_json(exhibit)) == exhibit for exhibit in found)


def test_units_are_counted_by_layer_and_language():
    table, curve, drawn = exhibits({"layers": analyses()["layers"]})
    assert isinstance(table, Table) and isinstance(curve, Curve) and isinstance(drawn, HeatMap)
    units = analyses()["layers"]["units"]
    assert {row[0]: row[1] for row in table.rows} == {name: sum(row) for name, row in units.items()}
    assert drawn.column_labels == LANGUAGES and [row[0] for row in drawn.values] == units["en"]
    assert [number for _, number in curve.series["units"]] == [sum(units[name][layer] for name in LANGUAGES) for layer in range(6)]


def test_experts_of_a_layer_are_counted_together_and_stacks_apart():
    sites = [f"{stack}.{layer}.expert{expert}.act" for stack in ("encoder", "decoder") for layer in range(3) for expert in range(4)]
    found = exhibits({"layers": {"sites": sites, "width": [8] * 24, "units": {"en": [1] * 24, "fr": [0] * 24}}})
    table, *curves, first, second = found
    assert [curve.title.rpartition(" ")[2] for curve in curves] == ["encoder", "decoder"]
    assert first.values == second.values == ((4, 0),) * 3
    assert table.rows[1] == ("fr", 0, "0 %", None)


def test_the_overlap_shows_units_in_common_and_colours_the_jaccard_index():
    (drawn,) = exhibits({"overlap": analyses()["overlap"]})
    assert isinstance(drawn, HeatMap) and drawn.texts[0][0] == str(UNITS[0]) and drawn.values[0][0] is None
    assert drawn.values[2][3] == analyses()["overlap"]["jaccard"][2][3] and drawn.texts[2][3].startswith("3 (")
    alone = {"languages": ["en", "fr"], "shared": [[3, 0], [0, 2]], "jaccard": [[1.0, 0.0], [0.0, 1.0]]}
    assert "No two languages share" in exhibits({"overlap": alone})[0].note


def test_sentences_are_compared_with_unrelated_ones():
    curve, pairs = exhibits({"similarity": analyses()["similarity"]})
    assert set(curve.series) == {"parallel sentences", "unrelated sentences"}
    assert "layer 3: 0.802 against 0.551, 0.251 more" in curve.note
    assert pairs.row_labels[0] == "en-zh" and len(pairs.row_labels) == 21 and pairs.center == 0.2


def test_steps_and_halves_say_how_stable_the_selection_is():
    table, curve, halves = exhibits({"stability": analyses()["stability"]})
    assert "0.83" in table.note and "0.88" in table.note and len(table.rows) == 5
    assert curve.x_names == ("16.4k", "32.8k", "65.5k", "100k")
    assert dict(halves.rows)["id"] is None
    (short,) = exhibits({"stability": {"steps": analyses()["stability"]["steps"][:1], "halves": None}})
    assert short.note == "" and short.rows == (("8,192", 150, None),)
