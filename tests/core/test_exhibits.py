"""Exhibits: they survive JSON, refuse what cannot be drawn, and replace each other by section."""

import json
import math

import pytest

from report.run_folder import finished
from resect.core.errors import InputError
from resect.core.exhibits import SHARE, Curve, HeatMap, Table, by_section, from_json, replaced, to_json
from resect.runs.run_files import EXHIBITS

EXAMPLES = (
    Table("Ranks", ["matrix", "rank", "edge"], [["decoder.0.up", 12, None], ["decoder.1.up", 3, 0.5]], "A note.", "Spectra", strong=[1]),
    Table("Empty", ["a"], []),
    Curve("Loss", "ρ", "loss", {"loss": [(1, 0.5), (0.5, None)], "block": [(2, 1.5)]}, marked=("ρ", 0.5), reference=("base", 0.4)),
    Curve("By layer", "layer", "accuracy", {"before": [(0, 0.1)], "after": [(1, 0.2)]}, unit=SHARE, x_names=["0", "1"], bars=True),
    Curve("Spectrum", "component", "value", {"s": [(1, 3.0), (2, 0.1)]}, y_log=True, tones={"s": "muted"}),
    HeatMap("Map", ["0", "1"], ["up"], [[0.5], [None]], SHARE, corner="layer", center=0.4, framed=[(0, 0)], legend={"up": "better"}),
)


@pytest.mark.parametrize("exhibit", EXAMPLES, ids=lambda exhibit: exhibit.title)
def test_an_exhibit_survives_json(exhibit):
    written = json.dumps(to_json(exhibit), allow_nan=False)
    assert from_json(json.loads(written)) == exhibit
    assert to_json(from_json(json.loads(written))) == to_json(exhibit)


def test_numbers_that_are_not_finite_count_as_not_measured():
    assert HeatMap("x", ["a"], ["b", "c"], [[math.nan, 0.5]]).values == ((None, 0.5),)
    assert Curve("x", "a", "b", {"s": [(0, math.inf)]}).series["s"] == ((0.0, None),)
    assert Table("x", ["a", "b"], [["row", math.nan]]).rows == (("row", None),)


@pytest.mark.parametrize(
    "damaged",
    [
        7,
        {"kind": "film", "title": "x"},
        {"kind": "table", "columns": [], "rows": []},
        {"kind": "table", "title": "x", "columns": ["a"], "rows": [["1", "2"]]},
        {"kind": "table", "title": "x", "columns": ["a"], "rows": [[True]]},
        {"kind": "table", "title": "x", "columns": ["a"], "rows": 3},
        {"kind": ["table"], "title": "x", "columns": ["a"], "rows": []},
        {"kind": "table", "title": "x", "columns": ["a"], "rows": [], "note": 7},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {}, "marked": []},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {}, "reference": ["base", 0.0], "y_log": True},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {}, "bars": 1},
        {"kind": "heat map", "title": "x", "row_labels": ["a"], "column_labels": ["b"], "values": [[1]], "digits": True},
        {"kind": "table", "title": "x", "columns": ["a"], "rows": [[10**400]]},
        {"kind": "table", "title": "x", "columns": ["a"], "rows": [["1"]], "strong": [4]},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": [1]},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {"s": [[0, "much"]]}},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {"s": [[3, 1.0]]}, "x_names": ["only"]},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {"s": [[-1, 1.0]]}, "x_log": True},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {"s": [[0, 0.0]]}, "y_log": True},
        {"kind": "curve", "title": "x", "x_label": "a", "y_label": "b", "series": {}, "tones": {"s": "loud"}},
        {"kind": "heat map", "title": "x", "row_labels": ["a"], "column_labels": ["b"], "values": [[1, 2]]},
        {"kind": "heat map", "title": "x", "row_labels": ["a"], "column_labels": ["b"], "values": [[1]], "texts": [["1", "2"]]},
        {"kind": "heat map", "title": "x", "row_labels": ["a"], "column_labels": ["b"], "values": [[1]], "framed": [[0, 1]]},
        {"kind": "heat map", "title": "x", "row_labels": ["a"], "column_labels": ["b"], "values": [[1]], "legend": {"sideways": "?"}},
    ],
)
def test_what_cannot_be_drawn_is_refused(damaged):
    with pytest.raises(InputError, match="exhibit"):
        from_json(damaged)


def test_new_exhibits_replace_those_of_their_section():
    old = (Table("a", ["x"], [], section="one"), Table("b", ["x"], []), Table("c", ["x"], [], section="one"))
    new = (Table("d", ["x"], [], section="two"), Table("e", ["x"], [], section="one"))
    assert [exhibit.title for exhibit in replaced(old, new)] == ["e", "b", "d"]
    assert list(by_section(old)) == ["one", "b"]


def test_a_run_folder_holds_exhibits(tmp_path):
    run = finished(tmp_path / "run")
    assert run.exhibits() == ()
    run.keep_exhibits(EXAMPLES)
    assert run.exhibits() == EXAMPLES
    for damaged in ('[{"kind": "table"', "{}", '[{"kind": "film"}]'):
        (run.folder / EXHIBITS).write_text(damaged)
        with pytest.raises(InputError, match=r"exhibit"):
            run.exhibits()
