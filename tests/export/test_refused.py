"""Export refuses what it cannot work with before anything is written: odd files, damaged weights, damaged numbers of a run."""

import json
import os
import shutil

import pytest
import torch

import checkpoints
from resect.core.errors import BadModel, InputError, RunMismatch
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.export.export import export
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A checkpoint in several files that is not changed, its model, and a plan for it."""
    folder = tmp_path_factory.mktemp("base") / "llama"
    model = checkpoints.saved(folder, "llama")
    return folder, model, checkpoints.plan_of(model)


@pytest.fixture
def copy(llama, tmp_path):
    """A copy of the checkpoint, to be changed."""
    return shutil.copytree(llama[0], tmp_path / "base")


def test_the_home_folder_may_be_written_as_a_tilde(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = export(Plan((Scale({"decoder.1.up": [1]}),)), str(llama[0]), "~/out", verify=False)
    assert done.folder == tmp_path / "out"
    assert (tmp_path / "out" / "config.json").exists()
    with pytest.raises(InputError, match="names a home folder that does not exist"):
        export(Plan(), str(llama[0]), "~no-user-of-that-name/out")


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("notes.txt", os.mkfifo, "no regular file"),
        ("README.md", os.mkfifo, "no regular file"),
        ("inner/model.safetensors", os.mkfifo, "no regular file"),
        ("vocab.txt", lambda path: path.symlink_to("nowhere"), "a broken symbolic link"),
    ],
)
def test_special_files_are_refused_without_waiting_for_them(copy, llama, tmp_path, name, make, reason):
    (copy / name).parent.mkdir(exist_ok=True)
    make(copy / name)
    with pytest.raises(BadModel, match=f"{name} is {reason}.*delete it"):
        export(llama[2], str(copy), tmp_path / "out", verify=False)


@pytest.mark.parametrize("content", [b"", b"no weights", "code", "list"])
def test_a_bin_file_that_holds_no_weights_is_refused(copy, llama, tmp_path, content):
    checkpoints.as_bin(copy)
    file = next(copy.glob("*.bin"))
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save({"x": print} if content == "code" else [1, 2], file)
    with pytest.raises(BadModel, match=r"\.bin (is damaged, truncated, or holds more than weights|holds a list, not tensors)") as caught:
        export(llama[2], str(copy), tmp_path / "out")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda comparison: comparison.pop("task"), "it has no task"),
        (lambda comparison: comparison["base"].pop("mean"), r"base\.mean is missing"),
        (lambda comparison: comparison.update(base=3), "base is 3, not an object"),
        (lambda comparison: comparison["base"].update(mean=float("nan")), r"base\.mean is nan"),
        (lambda comparison: comparison.update(side_effects={"perplexity": {"base": float("inf")}}), r".*perplexity\.base is inf"),
    ],
)
def test_a_runs_damaged_numbers_are_refused_before_anything_is_written(llama, tmp_path, damage, reason):
    base, _, plan = llama
    estimate = {"mean": 0.8125, "interval": [0.7, 0.9], "std_over_instructions": 0.0, "by_tag": {}}
    counts = {"n_examples": 9, "n_instructions": 1, "n_groups": 9}
    comparison = {"schema": 1, "task": "ages", "metric": "accuracy", **counts, "base": estimate}
    damage(comparison)
    with Run.open(tmp_path / "run", Recipe(model=str(base), task="bbq/age")) as run:
        run.keep_plan(plan)
        (run.folder / "comparison.json").write_text(json.dumps(comparison))
        written = []
        with pytest.raises(RunMismatch, match=rf"comparison\.json of the run .* is damaged \({reason}.*give a copy of the plan"):
            export(plan, str(base), tmp_path / "out", run=run, verify=False, progress=lambda *step: written.append(step))
    assert written == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
