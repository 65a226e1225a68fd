"""The job on a planted model in a folder: the files it writes, that it continues after a kill, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import pico
import planted_bias
from resect.core.errors import InputError, RunMismatch
from resect.core.scores import Scores
from resect.data.tasks.task import split_of
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.evaluation.questions import Questions
from resect.jobs import run
from resect.jobs.dry_run import describe
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run


def recipe_of(where: Path, output: Path, **settings: object) -> Recipe:
    """Returns the recipe of the job on the planted model; without side effects, which take longest, unless the settings request them."""
    base = {"model": str(where / "model"), "task": str(where / "task.toml"), "output": str(output), "sites": ("*.up",), "samples": 5}
    quick = {"calibrate": ("none",), "generation": False, "text": (str(where / "text.txt"),)}
    return Recipe(**(base | quick | settings))


@pytest.fixture(scope="module")
def finished(where: Path, tmp_path_factory: pytest.TempPathFactory) -> run.JobResult:
    """A run that was not interrupted."""
    return run.job(recipe_of(where, tmp_path_factory.mktemp("finished") / "run"))


def test_a_run_writes_every_file_of_the_contract(finished: run.JobResult) -> None:
    names = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    expected = {"recipe.toml", "environment.json", "journal", "scores.safetensors", "trials.jsonl", "plan.json"}
    assert names == expected | {"comparison.json", "examples.jsonl"}
    stored = Run.load(finished.folder)
    assert Plan.from_json(stored.plan_json()) == finished.plan
    assert stored.comparison() == finished.comparison.to_json()
    assert Scores.load(finished.folder / "scores.safetensors").top(3).count == 3
    assert {trial["size"] for trial in stored.trials()} >= {0}
    change = stored.comparison()["difference"]
    assert len(stored.examples()) == change["fixed"] + change["broken"] > 0
    assert stored.environment()["effect"]["max_change"] > 0


def test_the_plan_removes_the_planted_bias_and_the_control_does_not(finished: run.JobResult) -> None:
    comparison = finished.comparison
    assert comparison.base.mean < 0.1
    assert comparison.edited is not None
    assert comparison.edited.mean > 0.9
    assert comparison.control is not None
    assert comparison.control.mean < 0.2


def test_the_plan_holds_no_path(finished: run.JobResult, where: Path) -> None:
    text = (finished.folder / "plan.json").read_text()
    assert str(where) not in text
    assert str(where.parent) not in text


def test_the_same_seed_gives_the_same_bytes(where: Path, finished: run.JobResult, tmp_path: Path) -> None:
    again = run.job(recipe_of(where, tmp_path / "run"))
    for name in ("plan.json", "comparison.json", "examples.jsonl"):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_the_same_job_again_computes_nothing(where: Path, finished: run.JobResult, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "plan.json").unlink()
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run" / "journal").iterdir())
    again = run.job(recipe_of(where, tmp_path / "run"))
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run" / "journal").iterdir()) == before
    assert (again.folder / "plan.json").read_bytes() == (finished.folder / "plan.json").read_bytes()


@pytest.mark.slow
def test_a_job_that_is_killed_and_continued_gives_the_same_bytes(where: Path, finished: run.JobResult, tmp_path: Path) -> None:
    recipe = recipe_of(where, tmp_path / "run")
    recipe.save(tmp_path / "recipe.toml")
    command = [sys.executable, "-m", "resect", "run", str(tmp_path / "recipe.toml"), "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for entries in (2, 6):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "run").glob("journal/*.safetensors"))) < entries:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tmp_path / "run" / "trials.jsonl").write_bytes(b'{"size": 0, "sco')
    outcome = run.job(recipe)
    assert (outcome.folder / "plan.json").read_bytes() == (finished.folder / "plan.json").read_bytes()
    assert (outcome.folder / "comparison.json").read_bytes() == (finished.folder / "comparison.json").read_bytes()


@pytest.mark.slow
def test_other_settings_data_or_weights_are_refused(where: Path, finished: run.JobResult, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    with pytest.raises(RunMismatch, match=r"samples.*--fresh"):
        run.job(recipe_of(where, tmp_path / "run", samples=6))
    shutil.copytree(where, tmp_path / "inputs")
    run.job(recipe_of(tmp_path / "inputs", tmp_path / "other"))
    items = (tmp_path / "inputs" / "items.jsonl").read_text()
    (tmp_path / "inputs" / "items.jsonl").write_text(items.replace("question", "Question"))
    with pytest.raises(RunMismatch, match="data or wording"):
        run.job(recipe_of(tmp_path / "inputs", tmp_path / "other"))
    run.job(recipe_of(tmp_path / "inputs", tmp_path / "other"), fresh=True)


def test_a_model_with_one_changed_weight_is_refused(where: Path, tmp_path: Path) -> None:
    shutil.copytree(where, tmp_path / "inputs")
    run.job(recipe_of(tmp_path / "inputs", tmp_path / "run", n=1))
    weights = load_file(tmp_path / "inputs" / "model" / "model.safetensors")
    weights["model.layers.1.self_attn.v_proj.weight"][0, 0] += 1
    save_file(weights, tmp_path / "inputs" / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunMismatch, match="another weights"):
        run.job(recipe_of(tmp_path / "inputs", tmp_path / "run", n=1))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"choices": ["a"], "gold": 0}, "1 choices"),
        ({"text": "x" * 1000}, r"4 of \d+ prompts .*context of 512"),
        ({"text": "\ud800"}, "surrogate"),
    ],
)
def test_a_test_example_that_cannot_be_scored_is_refused_before_any_work(
    where: Path, tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    shutil.copytree(where, tmp_path / "inputs")
    rows = [json.loads(line) for line in (where / "items.jsonl").read_text().splitlines()]
    index = next(index for index, example in enumerate(planted_bias.task().examples) if split_of(example) == "test")
    rows[index] |= changed
    (tmp_path / "inputs" / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stages: list[str] = []
    with pytest.raises(InputError, match=message):
        run.job(recipe_of(tmp_path / "inputs", tmp_path / "run"), lambda stage, done, total: stages.append(stage))
    assert stages == []
    assert not (tmp_path / "run").exists()


def test_several_trials_have_a_folder_each_and_a_mean_in_the_run_folder(where: Path, tmp_path: Path) -> None:
    outcome = run.job(recipe_of(where, tmp_path / "run", trials=2))
    first, second = (Run.load(outcome.folder / f"trial-{number}") for number in (1, 2))
    assert first.recipe.seed + 1 == second.recipe.seed
    assert (outcome.folder / "plan.json").read_bytes() == first.plan_path.read_bytes()
    means = [part.comparison()["edited"]["mean"] for part in (first, second)]
    assert outcome.comparison.edited is not None
    assert outcome.comparison.edited.mean == pytest.approx(sum(means) / 2)
    assert outcome.comparison.other_metrics["trials"]["edited"] == means
    assert len(outcome.comparison.other_metrics["trials"]["sizes"]) == 2


def test_the_official_variant_averages_its_trials_into_one_ranking(where: Path, tmp_path: Path) -> None:
    outcome = run.job(recipe_of(where, tmp_path / "run", trials=2, variant="official", metric="accuracy", largest=6))
    assert not list(outcome.folder.glob("trial-*"))
    assert len(Run.load(outcome.folder).scores().provenance["examples"]) == 2


def test_where_nothing_helps_the_plan_is_empty_and_there_is_no_control(where: Path, tmp_path: Path) -> None:
    shutil.copytree(where, tmp_path / "inputs")
    rows = [json.loads(line) for line in (where / "items.jsonl").read_text().splitlines()]
    (tmp_path / "inputs" / "items.jsonl").write_text("".join(json.dumps(row | {"gold": 1 - row["gold"]}) + "\n" for row in rows))
    outcome = run.job(recipe_of(tmp_path / "inputs", tmp_path / "run", anyway=True))
    assert outcome.plan.edits == ()
    assert outcome.comparison.control is None
    assert outcome.comparison.difference is not None
    assert outcome.comparison.difference.mean == 0


def test_a_dry_run_says_how_long_the_job_takes_and_writes_nothing(where: Path, tmp_path: Path) -> None:
    sentences = " ".join(describe(recipe_of(where, tmp_path / "run")))
    assert "family llama" in sentences
    assert "takes about" in sentences
    assert not (tmp_path / "run").exists()


def test_more_neurons_than_the_model_has_are_refused(where: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 to 80"):
        run.job(recipe_of(where, tmp_path / "run", n=10**6))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_side_effects_that_the_recipe_requests_are_measured_in_every_trial(where: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(
        (where / "task.toml").read_text().replace('"planted"', '"other"').replace('"items.jsonl"', f'"{where / "items.jsonl"}"')
    )
    requested = {"calibrate": ("cc", "dc"), "generation": True, "beside": (str(other),), "trials": 2, "n": 3}
    outcome = run.job(recipe_of(where, tmp_path / "run", **requested))
    for folder in (outcome.folder, outcome.folder / "trial-1", outcome.folder / "trial-2"):
        comparison = Run.load(folder).comparison()
        assert comparison["baselines"]["cc"]["mean"] <= 1
        assert comparison["baselines"]["dc"]["mean"] <= 1
        assert comparison["other_metrics"]["generation"]["edited"]["mean"] <= 1
        assert comparison["side_effects"]["perplexity"]["base"] > 1
        assert comparison["side_effects"]["other"]["edited"] == comparison["edited"]["mean"]
    trials = [part.comparison()["side_effects"]["perplexity"]["edited"] for part in Run.load(outcome.folder).parts()]
    assert Run.load(outcome.folder).comparison()["side_effects"]["perplexity"]["edited"] == pytest.approx(sum(trials) / 2)


def test_side_effects_that_cannot_be_measured_are_refused_before_any_work(where: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    for wrong in ({"text": (str(tmp_path / "nothing.txt"),)}, {"beside": ("no-such-task",)}):
        with pytest.raises(InputError, match=r"nothing\.txt|no-such-task"):
            run.job(recipe_of(where, tmp_path / "run", **wrong), lambda stage, done, total: stages.append(stage))
    assert stages == []
    assert not (tmp_path / "run").exists()


def laser_of(where: Path, output: Path, **settings: object) -> Recipe:
    quick = {
        "calibrate": ("none",),
        "generation": False,
        "text": (str(where / "text.txt"),),
        "rho": (0.5, 0.0),
        "cache": str(output) + "-cache",
    }
    base = {"method": "laser", "model": str(where / "model"), "task": str(where / "task.toml"), "output": str(output)}
    return Recipe(**(base | quick | settings))


@pytest.fixture(scope="module")
def reduced(where: Path, tmp_path_factory: pytest.TempPathFactory) -> run.JobResult:
    """A run of LASER on a task whose right answers are those that the model gives with one matrix set to zero."""
    folder, tokenizer = tmp_path_factory.mktemp("reduced"), pico.tokenizer("llama")
    built = pico.build("llama")
    built.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    for name in ("task.toml", "text.txt"):
        shutil.copy(where / name, folder / name)
    model, task = LanguageModel.of(built, tokenizer), planted_bias.task()
    predictions = Questions(model, task, task.examples).answers(Plan((ReduceRank("decoder.1.down", 0.0),))).predictions[:, 0]
    rows = [json.loads(line) for line in (where / "items.jsonl").read_text().splitlines()]
    rows = [row | {"gold": int(right)} for row, right in zip(rows, predictions, strict=True)]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run.job(laser_of(folder, folder / "run", compose=True))


def test_a_run_of_laser_writes_every_file_of_the_contract(reduced: run.JobResult) -> None:
    stored = Run.load(reduced.folder)
    assert not (reduced.folder / "scores.safetensors").exists()
    assert Plan.from_json(stored.plan_json()) == reduced.plan
    assert {"site", "rho", "rank", "score", "examples", "complete", "seconds", "kept"} <= set(stored.trials()[0])
    other = stored.comparison()["other_metrics"]
    assert other["select"]["base"] < other["select"]["chosen"]
    curve = other["composition"]
    assert curve[0]["site"] is None
    assert curve[0]["test"] == stored.comparison()["base"]["mean"]
    assert curve[-1]["test"] == stored.comparison()["edited"]["mean"]
    assert any("set to zero" in note for note in stored.environment()["notes"]) == any(edit.rho == 0 for edit in reduced.plan.edits)


def test_a_finished_run_of_laser_is_read_and_not_computed_again(reduced: run.JobResult) -> None:
    before = (reduced.folder / "plan.json").read_bytes()
    again = run.job(Run.load(reduced.folder).recipe.with_settings(output=str(reduced.folder)))
    assert (reduced.folder / "plan.json").read_bytes() == before
    assert again.comparison == reduced.comparison


def test_laser_refuses_wrong_settings_before_a_folder_exists(where: Path, tmp_path: Path) -> None:
    for wrong in ({"sites": ("decoder.9.up",)}, {"published": True}, {"metric": "topk", "task": str(where / "nothing.toml")}):
        with pytest.raises(InputError):
            run.job(laser_of(where, tmp_path / "run", **wrong))
        assert not (tmp_path / "run").exists()


def test_a_dry_run_of_laser_says_what_would_be_done(where: Path, tmp_path: Path) -> None:
    sentences = " ".join(describe(laser_of(where, tmp_path / "run")))
    assert "8 reductions of 4 matrices" in sentences
    assert not (tmp_path / "run").exists()
