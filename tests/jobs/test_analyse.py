"""`resect analyse` on a run of LASER: what it stores, what it does not compute twice, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest

import pico
from methods.analyses.studies import choices_task
from resect.core.errors import BadRecipe, InputError, RunMismatch, UnknownName
from resect.core.exhibits import by_section
from resect.edits.plan import Plan
from resect.jobs import run as jobs
from resect.jobs.analyse import analyse
from resect.methods.laser.analyses.catalogue import ANALYSES
from resect.runs.journal import lock
from resect.runs.recipe import Recipe
from resect.runs.run_files import LOCK
from resect.runs.run_folder import Run

TASK_FILE = """
name = "choices"
data = "items.jsonl"
template = "{{ instruction }} {{ text }}: {{ answer }}"
instructions = [""]
choices = "choices"
gold = "gold"
group = "group"
"""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model, a task of three choices and a text; not to be changed."""
    folder = tmp_path_factory.mktemp("choices")
    model = pico.build("llama", seed=3)
    model.save_pretrained(folder / "model")
    pico.tokenizer("llama").save_pretrained(folder / "model")
    rows = [{"text": e.fields["text"], "choices": e.choices, "gold": e.gold, "group": e.group} for e in choices_task(60).examples]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.toml").write_text(TASK_FILE)
    (folder / "text.txt").write_text("a line to read\nand another one\n")
    return folder


def recipe_of(where: Path, output: Path, **settings: object) -> Recipe:
    base = {"method": "laser", "model": str(where / "model"), "task": str(where / "task.toml"), "output": str(output)}
    quick = {"rho": (0.5, 0.1), "calibrate": ("none",), "generation": False, "text": (str(where / "text.txt"),), "cache_size": 0.0}
    return Recipe(**(base | quick | settings))


@pytest.fixture(scope="module")
def finished(where: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of LASER with a plan. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    outcome = jobs.job(recipe_of(where, folder))
    assert not outcome.plan.is_empty
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    shutil.copytree(finished, tmp_path / "run")
    return Run.load(tmp_path / "run")


def test_every_analysis_has_its_sentence() -> None:
    assert all(analysis.summary.endswith(".") for analysis in ANALYSES.values())


@pytest.mark.slow
def test_the_analyses_that_fit_the_run_are_stored_and_readable_by_the_report(run: Run) -> None:
    stages: list[str] = []
    results = analyse(run, progress=lambda stage, done, total: stages.append(stage))
    assert set(results) == {*ANALYSES} - {"paraphrases", "frequency"}
    assert run.analyses() == json.loads(json.dumps(results))
    assert {"decomposing", "the loss of every reduction"} <= set(stages)
    assert len(by_section(run.exhibits())) == len(results)
    assert all(exhibits[0].note for exhibits in by_section(run.exhibits()).values())
    select = run.comparison()["other_metrics"]["select"]
    assert results["loss"]["base"]["accuracy"] == pytest.approx(select["base"])
    (edit,) = Plan.from_json(run.plan_json()).edits
    row, column = results["loss"]["sites"].index(str(edit.site)), results["loss"]["rhos"].index(edit.rho)
    assert results["loss"]["accuracy"][row][column] == pytest.approx(select["chosen"])
    assert results["components"]["n_examples"] == run.comparison()["difference"]["fixed"]
    assert not [name for name, value in results.items() if name not in ("spectra", "perplexity") and "split" not in value]


def test_a_later_call_keeps_earlier_analyses_and_computes_nothing_twice(run: Run) -> None:
    first = analyse(run, ["growth"])
    entries = run.journal.count
    assert analyse(run, ["reduction"], limit=None).keys() == {"reduction"}
    more = run.journal.count
    assert run.analyses().keys() == {"growth", "reduction"} and run.analyses()["growth"] == json.loads(json.dumps(first["growth"]))
    assert more > entries
    assert set(by_section(run.exhibits())) == {"Answers gained and lost", "How far reduction goes"}
    assert analyse(run, ["growth", "reduction"]) == run.analyses()
    assert run.journal.count == more


def test_a_limit_reduces_the_examples(run: Run) -> None:
    unlimited, limited = analyse(run, ["growth"]), analyse(run, ["growth"], limit=20)
    assert 0 < limited["growth"]["n_pairs"] < unlimited["growth"]["n_pairs"]


def test_fresh_deletes_the_analyses(run: Run) -> None:
    analyse(run, ["spectra"])
    with Run.open(run.folder, run.recipe, fresh=True) as again:
        assert again.analyses() == {}


def test_settings_that_change_no_result_may_differ_from_the_run_and_others_not(run: Run) -> None:
    assert analyse(run, ["growth"], device="cpu", state_memory=0.0)["growth"]["n_pairs"] > 0
    with pytest.raises(BadRecipe, match="dtype cannot differ"):
        analyse(run, ["growth"], dtype="bfloat16")


def test_an_analysis_that_does_not_fit_the_run_is_refused_with_the_reason(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="growth"):
        analyse(run, ["grow"])
    with pytest.raises(InputError, match="wordings"):
        analyse(run, ["paraphrases"])
    with pytest.raises(InputError, match="--counts"):
        analyse(run, ["frequency"])
    (tmp_path / "counts.csv").write_text("entity,answer,count\na,b,3\n")
    for given in ({}, {"what": ["frequency"]}):
        with pytest.raises(InputError, match="'subject'"):
            analyse(run, counts=tmp_path / "counts.csv", **given)
    with pytest.raises(InputError, match="name it too"):
        analyse(run, ["growth"], counts=tmp_path / "counts.csv")
    with pytest.raises(InputError, match="not both"):
        analyse(run, counts=tmp_path / "counts.csv", corpus=[tmp_path / "text.txt"])
    assert run.analyses() == {}


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_file_is_refused_before_any_work(run: Run, content: str) -> None:
    (run.folder / "analyses.json").write_text(content)
    entries = run.journal.count
    with pytest.raises(InputError, match=r"analyses\.json.*Delete it"):
        analyse(run, ["loss"])
    assert run.journal.count == entries


def test_an_unfinished_run_is_refused(run: Run) -> None:
    (run.folder / "comparison.json").unlink()
    with pytest.raises(InputError, match="not finished"):
        analyse(run)


def test_with_an_empty_plan_the_analyses_without_a_plan_remain(run: Run) -> None:
    run.keep_plan(Plan())
    with pytest.raises(InputError, match=r"plan of this run is empty.*spectra, loss"):
        analyse(run, ["growth"])
    assert set(analyse(run)) == {"spectra", "loss"}


def test_a_run_that_cuts_neurons_has_no_analyses_of_matrices(where: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        model=str(where / "model"),
        task=str(where / "task.toml"),
        output=str(tmp_path / "run"),
        sites=("*.up",),
        samples=3,
        n=3,
        calibrate=("none",),
        generation=False,
        text=(str(where / "text.txt"),),
    )
    jobs.job(recipe)
    run = Run.load(tmp_path / "run")
    with pytest.raises(InputError, match="analysis of runs of laser, and this is a run of crispr"):
        analyse(run, ["spectra"])
    assert set(analyse(run)) == {"perplexity", "temperature"}


def test_a_run_without_a_task_has_the_analyses_of_spectra_and_plain_text(where: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"line {n} of a text to read" for n in range(40)))
    settings = {"task": "", "task_free": True, "rise": 10.0, "rho": None, "text": (str(text),)}
    outcome = jobs.job(recipe_of(where, tmp_path / "run", **settings))
    run = Run.load(outcome.folder)
    with pytest.raises(InputError, match="has none"):
        analyse(run, ["loss"])
    assert set(analyse(run)) == {"spectra"} | ({"perplexity"} if outcome.plan.edits else set())


def test_a_folder_in_which_another_process_works_is_refused(run: Run) -> None:
    with Run.open(run.folder, run.recipe), pytest.raises(RunMismatch, match="Another process"):
        analyse(run, ["spectra"])
    analyse(run, ["spectra"])
    lock(run.folder / LOCK)  # the lock is free again


def test_a_model_that_has_changed_is_refused(where: Path, tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(where / "model", tmp_path / "model")
    pico.build("llama", seed=1).save_pretrained(tmp_path / "model")
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str(where / "model"), str(tmp_path / "model")))
    with pytest.raises(RunMismatch, match="weights"):
        analyse(Run.load(tmp_path / "run"), ["spectra"])
