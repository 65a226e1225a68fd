"""A repeated run gives the same bytes, and files that do not agree are named."""

import json
import shutil
from pathlib import Path

import pytest

from resect.core.errors import InputError, RunMismatch
from resect.jobs import run
from resect.jobs.repeat import repeat
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run


@pytest.fixture(scope="module")
def finished(where: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeat") / "first"
    recipe = Recipe(
        model=str(where / "model"),
        task=str(where / "task.toml"),
        output=str(folder),
        sites=("*.up",),
        samples=5,
        largest=4,
        trials=2,
        calibrate=("cc",),
        text=(str(where / "text.txt"),),
    )
    run.job(recipe)
    return folder


@pytest.mark.slow
def test_every_file_agrees(finished: Path) -> None:
    repetition = repeat(Run.load(finished))
    assert repetition.agrees
    assert repetition.second == finished.with_name("first-repeat")
    assert {Path(name).name for name in repetition.files} == {
        "plan.json",
        "scores.safetensors",
        "trials.jsonl",
        "comparison.json",
        "examples.jsonl",
    }
    assert {str(Path(name).parent) for name in repetition.files} == {".", "trial-1", "trial-2"}
    assert all(then == now for then, now in repetition.files.values())
    assert all(then == now is not None for then, now in repetition.inputs.values())
    assert repetition.circumstances == {}
    assert json.loads(json.dumps(repetition.to_json()))["files"]["plan.json"]["agrees"]
    assert repeat(Run.load(finished)).agrees, "a finished repetition is done anew"


@pytest.mark.slow
def test_a_plan_that_was_changed_afterwards_does_not_agree(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    plan["edits"][0]["factor"] = 0.5
    (tmp_path / "run" / "plan.json").write_text(json.dumps(plan))
    repetition = repeat(Run.load(tmp_path / "run"), str(tmp_path / "again"))
    assert not repetition.agrees
    assert [name for name, (then, now) in repetition.files.items() if then != now] == ["plan.json"]


@pytest.mark.slow
def test_an_unfinished_run_and_the_folder_of_the_run_itself_are_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "comparison.json").unlink()
    with pytest.raises(InputError, match="not finished"):
        repeat(Run.load(tmp_path / "run"))
    with pytest.raises(RunMismatch, match="the run itself"):
        repeat(Run.load(finished), str(finished))
