"""Tolerant reading: what is sound stays, what is damaged is named, and nothing is raised, wherever the damage is."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from report.damage import JUNK, paths, put
from report.language_folder import matrix, steered
from report.run_folder import COMPARISON, EXAMPLES, PLAN, TRIALS
from resect.runs.schemas.comparison import ComparisonFile
from resect.runs.schemas.languages import MatrixFile, SteeringFile
from resect.runs.schemas.parts import read_rows, read_tolerantly
from resect.runs.schemas.plan import PlanFile
from resect.runs.schemas.rows import ExampleLine, TrialLine

SOUND = {
    ComparisonFile: COMPARISON,
    PlanFile: PLAN,
    TrialLine: TRIALS[0],
    ExampleLine: EXAMPLES[0],
    MatrixFile: matrix(),
    SteeringFile: steered(),
}


@pytest.mark.parametrize(("schema", "value"), SOUND.items())
def test_what_is_sound_is_read_as_it_is(schema, value):
    found, damages = read_tolerantly(schema, value, "x.json")
    assert damages == () and found == schema.model_validate(value)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_is_named_and_nothing_is_raised(data):
    schema, sound = data.draw(st.sampled_from(list(SOUND.items())))
    place = data.draw(st.sampled_from(list(paths(sound))))
    value = put(sound, place, data.draw(JUNK))
    before = copy.deepcopy(value)
    found, damages = read_tolerantly(schema, value, "x.json")
    assert repr(value) == repr(before)  # what is read is not changed
    try:
        schema.model_validate(value)
    except ValidationError:
        assert damages
    else:
        assert damages == () and found is not None
    for damage in damages:  # what is named is where the damage is, or what holds it, or what is in it
        where = ".".join(map(str, place))
        assert where.startswith(damage.part) or damage.part.startswith(where), (damage, place)


@pytest.mark.parametrize(
    ("value", "part", "left"),
    [
        ({"n_examples": "x"}, "n_examples", lambda found: found.n_examples is None),
        ({"n_examples": True}, "n_examples", lambda found: found.n_examples is None),
        ({"n_examples": 10**400}, "n_examples", lambda found: found.n_examples is None),
        ({"edited": {"mean": 1e300}}, "edited.mean", lambda found: found.edited is None),
        ({"edited": {"mean": float("nan")}}, "edited.mean", lambda found: found.edited is None),
        ({"edited": {"mean": 0.5, "interval": [0.1, "x"]}}, "edited.interval.1", lambda found: found.edited.interval is None),
        ({"edited": {"mean": 0.5, "interval": [0.1]}}, "edited.interval", lambda found: found.edited.interval is None),
        ({"edited": {"mean": 0.5, "by_tag": {"a": 1, "b": []}}}, "edited.by_tag.b", lambda found: found.edited.by_tag == {"a": 1}),
        ({"difference": {"mean": 0.5}}, "difference.interval", lambda found: found.difference is None),
        ({"side_effects": {"a": {"base": "x", "edited": 1}}}, "side_effects.a.base", lambda found: found.side_effects["a"].edited == 1),
        (
            {"other_metrics": {"composition": [{"select": 0.5}, {"site": "nowhere"}, "x", {"site": "decoder.0.up", "rho": 0.1}]}},
            "other_metrics.composition.1.site",
            lambda found: [str(step.site) for step in found.other_metrics.composition] == ["None", "decoder.0.up"],
        ),
        (
            {"other_metrics": {"top5": {"base": {"mean": "x"}}}},
            "other_metrics.top5.base.mean",
            lambda found: found.other_metrics is not None,
        ),
    ],
)
def test_the_smallest_part_is_left_out(value, part, left):
    found, damages = read_tolerantly(ComparisonFile, {**COMPARISON, **value}, "comparison.json")
    assert part in [damage.part for damage in damages] and left(found)
    assert found.base.mean == COMPARISON["base"]["mean"]


@pytest.mark.parametrize("value", [{}, [], None, "x", {"base": 3}, {"base": {}}, {"base": {"mean": None}}])
def test_what_makes_it_up_cannot_be_left_out(value):
    found, damages = read_tolerantly(ComparisonFile, value, "comparison.json")
    assert found is None and damages[0].file == "comparison.json"


def test_a_plan_with_a_damaged_edit_is_none():
    for edits in ([*PLAN["edits"], 3], [{**PLAN["edits"][0], "neurons": {"decoder.3.up": [5, "x"]}}], [{"kind": "unknown"}], "x"):
        found, damages = read_tolerantly(PlanFile, {**PLAN, "edits": edits}, "plan.json")
        assert found is None and damages[0].part.startswith("edits")
    assert read_tolerantly(PlanFile, {**PLAN, "model": 3}, "plan.json")[0].edits


def test_a_damaged_candidate_is_left_out_of_its_rows():
    rows = [TRIALS[0], {**TRIALS[1], "size": -1}, {**TRIALS[2], "seconds": "x"}, 3]
    found, damages = read_rows(TrialLine, rows, "trials.jsonl")
    assert [trial.size for trial in found] == [TRIALS[0]["size"], TRIALS[2]["size"]]
    assert [damage.part for damage in damages] == ["row 2, size", "row 3, seconds", "row 4"]


def test_metrics_that_a_method_adds_are_open():
    others = {"top5": COMPARISON["other_metrics"]["generation"], "a number": 3, "a fact": {"base": 1}}
    found, damages = read_tolerantly(ComparisonFile, {**COMPARISON, "other_metrics": others}, "comparison.json")
    assert damages == () and list(found.other_metrics.metrics) == ["top5"]
