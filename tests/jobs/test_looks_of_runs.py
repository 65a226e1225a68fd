"""Jobs note when they look at *test*; summary and page say how often that was, and before what comes next that it would be again."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from resect.jobs import run
from resect.report.page.html import page
from resect.report.terminal.summary import summary
from resect.runs.looks import LOOKS, read_looks
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run


def recipe_of(where: Path, output: Path, **settings: object) -> Recipe:
    """Returns the recipe of a quick job on the planted model, which cuts as many neurons as the settings say."""
    base = {"model": str(where / "model"), "task": str(where / "task.toml"), "output": str(output), "sites": ("*.up",), "samples": 5}
    quick = {"calibrate": ("none",), "generation": False, "text": (str(where / "text.txt"),)}
    return Recipe(**(base | quick | settings))


@pytest.fixture(scope="module")
def runs(where: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of one model and task: one that helps, and after it one that cuts a single neuron."""
    folder = tmp_path_factory.mktemp("runs")
    run.job(recipe_of(where, folder / "helps", n=3))
    run.job(recipe_of(where, folder / "single", n=1))
    return folder


def shown(folder: Path) -> tuple[str, str]:
    """Returns what the terminal and the page show of a run, in one line each."""
    console = Console(width=4000, record=True, file=io.StringIO())
    console.print(summary(Run.load(folder)))
    return " ".join(console.export_text().split()), " ".join(page(Run.load(folder)).split())


def test_each_edit_is_one_look_and_repeating_it_is_none(where: Path, runs: Path) -> None:
    assert [look.run for look in read_looks(runs / LOOKS)[0]] == ["helps", "single"]
    before = (runs / LOOKS).read_bytes()
    run.job(recipe_of(where, runs / "single", n=1))
    run.job(recipe_of(where, runs / "single", n=1), fresh=True)
    assert (runs / LOOKS).read_bytes() == before
    assert Run.load(runs / "single").environment()["looks"]["runs"] == ["helps", "single"]


def test_summary_and_page_say_how_often_and_that_the_next_would_be_one_more(runs: Path) -> None:
    for text in shown(runs / "single"):
        assert "The test split of planted has been looked at 2 times with this model: by helps and single." in text
        assert "looks at the test split again (look number 3 with this model)" in text
        assert "values on select (trials.jsonl)" in text


def test_a_copy_of_a_run_keeps_its_count(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "single", tmp_path / "single")
    for text in shown(tmp_path / "single"):
        assert "2 times with this model: by helps and single." in text


def test_where_the_edit_helps_nothing_leads_to_test_again(runs: Path) -> None:
    for text in shown(runs / "helps"):
        assert "looks at the test split again" not in text


@pytest.mark.slow
def test_all_trials_of_a_job_are_one_look(where: Path, tmp_path: Path) -> None:
    run.job(recipe_of(where, tmp_path / "run", n=1, trials=2))
    (look,) = read_looks(tmp_path / LOOKS)[0]
    assert look.plan == ""
    assert not (tmp_path / "run" / LOOKS).exists()
    assert Run.load(tmp_path / "run").environment()["looks"]["number"] == 1
