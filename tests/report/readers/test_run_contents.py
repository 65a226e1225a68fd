"""What can be read of a run that is missing something, or damaged: the rest, and what is missing."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from report.damage import JUNK, paths, put
from report.matrix_folder import reduced
from report.run_folder import COMPARISON, EXAMPLES, PLAN, RECIPE, TRIALS, finished, shown, with_trials
from resect.core.errors import RunMismatch
from resect.report.page.html import page
from resect.report.readers.run_contents import RunContents, opened
from resect.runs.run_folder import Run


@pytest.mark.parametrize(
    ("name", "told", "kept"),
    [
        ("comparison.json", "The comparison.", ("Not finished", "n = 3: 66.0 %", "Fixed: 30 answers", "3 in all")),
        ("plan.json", "The plan.", ("Plan missing", "81.6 %", "Fixed: 30 answers", "66.0 %")),
        ("trials.jsonl", "The candidates that were tried.", ("81.6 %", "Fixed: 30 answers", "3 in all")),
        ("examples.jsonl", "The changed answers.", ("81.6 %", "No answers can be shown", "3 in all")),
        ("scores.safetensors", "The scores.", ("81.6 %", "Fixed: 30 answers", "66.0 %", "3 in all")),
        ("environment.json", "The environment.", ("81.6 %", "Not known.", "3 in all")),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut off", "something else"])
def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(tmp_path, name, told, kept, damage):
    run = finished(tmp_path / "run")
    path = run.folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:40] + b"\n" + content[:40] if damage == "cut off" else b'["nothing", 5]\n["like it"]\n')
    text = shown(Run.load(run.folder)).text
    assert "What is missing" in text and "run/recipe.toml" in text
    if damage != "something else" or not name.endswith(".jsonl"):
        assert told in text
    for expected in (*kept, "tiny on bbq/age", "golden section"):
        assert expected in text, expected


def test_a_torn_end_of_the_changed_answers_is_noticed(tmp_path):
    run = finished(tmp_path / "run")
    path = run.folder / "examples.jsonl"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "breaks off" in shown(run).text
    path.write_bytes(b"")
    assert "breaks off: 0 of at least 34" in shown(run).text


def test_a_run_that_has_just_begun_is_shown(tmp_path):
    with Run.open(tmp_path / "run", RECIPE) as run:
        run.journal.keep("work", {"x": 1})
    text = shown(Run.load(tmp_path / "run")).text
    for expected in ("Not finished", "The comparison.", "The plan.", "The scores.", "1 finished work item", "golden section"):
        assert expected in text, expected


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunMismatch):
        page(Run.load(tmp_path))


@pytest.mark.parametrize(
    "damage", ["=", "", 'method = "crispr"\nmodel = "models/tiny"\ntask = [', 'method = "vanished"\nmodel = "models/tiny"']
)
def test_a_damaged_recipe_leaves_the_rest_to_be_shown(tmp_path, damage):
    folder = finished(tmp_path / "run").folder
    (folder / "recipe.toml").write_text(damage)
    with pytest.raises(RunMismatch):
        Run.load(folder)
    run = opened(folder)
    text = shown(run).text
    for expected in (
        "The recipe.",
        "damaged",
        "on bbq/age",
        "81.6 %",
        "Fixed: 30 answers",
        "Not known: the recipe is damaged.",
        "3 in all",
    ):
        assert expected in text, expected
    assert ("tiny on bbq/age" in text) == ("models/tiny" in damage)
    assert "seed 0" not in text and "golden section" not in text and "No command can be given" in text  # no setting is made up


def test_a_sound_recipe_opens_as_ever_and_a_folder_that_is_no_run_not_at_all(tmp_path):
    run = finished(tmp_path / "run")
    assert opened(run.folder).recipe == run.recipe
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recipe.toml").write_text("=")
    for folder in (tmp_path / "other", tmp_path / "nowhere"):
        with pytest.raises(RunMismatch):
            opened(folder)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"size": -1, "score": 0.5}, "row 2, size is -1, input should be greater than or equal to 0"),
        ({"size": 3}, "row 2 is damaged: its score is no number"),
        ({"size": "x", "score": 0.5}, "row 2, size is 'x', not a number"),
        ({"score": 0.5}, "row 2 is damaged: it has neither a size nor a site that there can be"),
        ({"site": "nowhere.3", "score": 0.5}, "row 2, site is damaged: 'nowhere.3' is no site"),
        ({"site": "decoder.3.up", "rho": 7, "score": 0.5}, "row 2, rho is 7, input should be less than or equal to 1"),
    ],
)
def test_a_damaged_candidate_is_told_and_the_others_are_shown(tmp_path, row, says):
    run = finished(tmp_path / "run", trials=[TRIALS[0], row, *TRIALS[1:]])
    text = shown(run).text
    assert "1 of the candidates that were tried." in text and says in text and "n = 3: 66.0 %" in text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_inside_a_file_stops_the_page(tmp_path, data):
    run = Run.load(tmp_path / "run") if (tmp_path / "run").exists() else finished(tmp_path / "run")
    files = {"comparison.json": COMPARISON, "plan.json": PLAN, "examples.jsonl": EXAMPLES[0], "trials.jsonl": TRIALS[0]}
    name = data.draw(st.sampled_from([*files, "environment.json"]))
    path = run.folder / name
    before = path.read_bytes()
    whole = files.get(name) or json.loads(before)
    damaged = put(whole, data.draw(st.sampled_from(list(paths(whole)))), data.draw(JUNK))
    path.write_text(json.dumps(damaged) + "\n")
    try:
        assert "tiny on" in shown(run).text
    finally:
        path.write_bytes(before)


def test_the_digest_is_that_of_the_plan(tmp_path):
    from resect.edits.kinds import Scale
    from resect.edits.plan import Plan

    plan = Plan((Scale({"decoder.3.up": [5, 17]}, 0.0),))
    run = finished(tmp_path / "run", plan=plan.to_json())
    assert RunContents.of(run).plan.digest == plan.digest
    assert plan.digest in page(run)


def test_each_trial_is_told_and_a_damaged_one_is_named(tmp_path):
    run = with_trials(tmp_path / "run")
    text = shown(run).text
    for expected in ("1 (seed 0)", "3 (seed 2)", "80.0 %, 82.0 %, 84.0 %", "standard deviation 1.6 %", "3 neurons of the 3"):
        assert expected in text, expected
    (run.folder / "trial-2" / "recipe.toml").write_text("=")
    (run.folder / "trial-3" / "plan.json").unlink()
    text = shown(run).text
    assert "Trial 2 of 3." in text and "trial-3: The plan." in text and "1 (seed 0)" in text and "2 (seed 1)" not in text


@pytest.mark.parametrize("content", ["", "{", '{"loss": {"sites"', "[]", '"x"', '{"loss": 3}'])
def test_torn_analyses_are_named_with_the_command_that_makes_them(tmp_path, content):
    run = reduced(tmp_path / "run")
    (run.folder / "analyses.json").write_text(content)
    text = shown(run).text
    assert "The analyses" in text and "analyse" in text and "+6.3 points" in text


@pytest.mark.parametrize(
    "content", ["{", "{}", '[{"kind": "table"}]', '[{"kind": "table", "title": "x", "columns": ["a"], "rows": [[1e300]]}]']
)
def test_damaged_exhibits_are_named_and_the_sound_ones_are_kept(tmp_path, content):
    run = finished(tmp_path / "run")
    (run.folder / "exhibits.json").write_text(content)
    contents = RunContents.of(run)
    assert contents.exhibits == () and [gap.what for gap in contents.gaps] == ["The exhibits"]
    sound = '{"kind": "table", "title": "A title", "columns": ["a"], "rows": [["b"]]}'
    (run.folder / "exhibits.json").write_text(f"[{sound}, 3]")
    contents = RunContents.of(run)
    assert [exhibit.title for exhibit in contents.exhibits] == ["A title"] and contents.gaps[0].what == "The exhibits, in part"


def test_a_run_that_was_not_analysed_lacks_nothing(tmp_path):
    assert RunContents.of(reduced(tmp_path / "run")).gaps == ()
