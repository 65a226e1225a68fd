"""Rank reduction without a task: one half of a text decides, the other half measures."""

import json

import pytest

from resect.core.errors import BadRecipe, InputError
from resect.jobs import run
from resect.jobs.dry_run import describe
from resect.methods.laser.denoising import shortest_rho
from resect.methods.laser.laser import Laser
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"line {number} of a made-up text\n" for number in range(12)))
    return path


def recipe_of(where, tmp_path, text, **settings):
    given = {"method": "laser", "model": str(where / "model"), "task_free": True, "text": (str(text),), "cache_size": 0.0}
    return Recipe(**(given | {"output": str(tmp_path / "run")} | settings))


def test_the_run_is_complete_and_the_text_hardly_less_probable(where, tmp_path, text):
    outcome = run.job(recipe_of(where, tmp_path, text, rise=0.05))
    finished = Run.load(outcome.folder)
    comparison = finished.comparison()
    assert comparison["task"] == "plain text"
    assert comparison["n_examples"] == 6
    for trial in finished.trials():
        assert trial["kept"] <= trial["complete"]
        assert trial["noise_edge"] > 0
    assert len(outcome.plan.edits) == sum(trial["kept"] for trial in finished.trials())
    perplexity, own = comparison["side_effects"]["perplexity"], comparison["side_effects"]["own text"]
    assert perplexity["edited"] < 1.5 * perplexity["base"]
    assert own["kind"] == "perplexity"
    samples = comparison["other_metrics"]["samples"]
    assert set(samples["repetition"]) == {"base", "edited"}
    assert 0 < len(samples["texts"]) <= samples["n"]
    assert samples["limits"] == {"perplexity": 0.05, "repetition": 0.1}


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({"guard": ("none",)}, {"perplexity": None, "repetition": None}),
        ({"guard": ("perplexity=0.5", "collapse=none")}, {"perplexity": 0.5, "repetition": None}),
    ],
)
def test_guards_are_those_of_the_recipe(where, tmp_path, text, settings, limits):
    finished = Run.load(run.job(recipe_of(where, tmp_path, text, **settings)).folder)
    assert finished.comparison()["other_metrics"]["samples"]["limits"] == limits


@pytest.mark.parametrize("entry", ["disambig=3", "perplexity=much"])
def test_a_guard_that_text_cannot_have_is_refused_before_any_work(where, tmp_path, text, entry):
    with pytest.raises(InputError, match=r"disambig|no limit"):
        run.job(recipe_of(where, tmp_path, text, guard=(entry,)))
    assert not (tmp_path / "run").exists()


def test_accepted_reductions_stay_within_the_rise(where, tmp_path, text):
    recipe = recipe_of(where, tmp_path, text, rise=0.02)
    trials = Run.load(run.job(recipe).folder).trials()
    kept = [trial["score"] for trial in trials if trial["kept"]]
    assert kept == [] or max(kept) <= 1.02 * _base_perplexity(recipe)


def _base_perplexity(recipe):
    from resect.evaluation.text_passages import Passages
    from resect.jobs.inputs import model_of, texts_of

    passages = Passages(model_of(recipe), texts_of(recipe.text), 0, 2)
    return passages.perplexity(passages.losses().sum()) * (1 + 1e-6)


def test_a_task_is_refused_with_a_hint_at_the_flag_for_it(where, text, tmp_path):
    with pytest.raises(BadRecipe, match="--beside"):
        recipe_of(where, tmp_path, text, task="bbq")


def test_a_text_of_one_line_is_refused(where, tmp_path):
    (tmp_path / "one.txt").write_text("only this\n")
    with pytest.raises(InputError, match="too short"):
        run.job(recipe_of(where, tmp_path, tmp_path / "one.txt"))


def test_a_dry_run_says_what_would_be_done(where, tmp_path, text):
    sentences = " ".join(describe(recipe_of(where, tmp_path, text)))
    assert "noise edge" in sentences
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("full_rank", [1, 3, 7, 128, 4096])
def test_every_rank_has_a_short_rho(full_rank):
    from resect.edits.svd import floor_of_share

    assert all(floor_of_share(shortest_rho(rank, full_rank), full_rank) == rank for rank in range(full_rank))


def test_a_negative_rise_is_refused():
    with pytest.raises(InputError):
        Laser(task_free=True, rise=-0.1)


def test_side_effects_on_other_tasks_are_measured(where, tmp_path, text):
    recipe = recipe_of(where, tmp_path, text, beside=(str(where / "task.toml"),), data=())
    comparison = json.loads((run.job(recipe).folder / "comparison.json").read_text())
    assert set(comparison["side_effects"]) == {"perplexity", "own text", "planted"}
