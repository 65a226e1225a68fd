"""The ledger of looks at *test*: what is a further look, what a damaged line does, and that several processes can add to it."""

import json
import multiprocessing
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from resect.data.tasks.example import Example
from resect.data.tasks.task import Task
from resect.runs.looks import LOOKS, Look, add_look, digest_of_recipe, digest_of_test, note_evaluation, note_look, read_looks
from resect.runs.recipe import Recipe
from resect.runs.run_files import INPUTS
from resect.runs.run_folder import Run

LOOK = Look("bbq/age", "d", "tiny", "w", "one", "r", "p")


def task(groups: int = 40, text: str = "item", template: str = "{{ text }}") -> Task:
    examples = tuple(Example({"text": f"{text} {number}"}, ("a", "b"), 0, group=str(number // 2)) for number in range(2 * groups))
    return Task("asked", examples, ("Say it.",), template)


def run_in(folder: Path, **settings: object) -> Run:
    """Returns a run folder of a model, as a job has it when it looks."""
    run = Run.open(folder, Recipe(model="tiny", task="asked", **settings))
    run.journal.keep(INPUTS, {"weights": "w"})
    run.close()
    return Run.load(folder)


def test_the_same_edit_is_looked_at_once(tmp_path: Path) -> None:
    path = tmp_path / LOOKS
    others = [replace(LOOK, run="repeated"), replace(LOOK, run="evaluated", recipe="other"), replace(LOOK, run="two", recipe="s", plan="q")]
    for look in (LOOK, *others, LOOK):
        add_look(path, look)
    looks, damaged = read_looks(path)
    assert [look.run for look in looks] == ["one", "two"]
    assert damaged == 0
    add_look(path, replace(LOOK, data="fresh items"))
    add_look(path, replace(LOOK, weights="another model"))
    assert len(read_looks(path)[0]) == 4


def test_several_plans_at_once_have_no_plan_in_common(tmp_path: Path) -> None:
    add_look(tmp_path / LOOKS, replace(LOOK, plan=""))
    add_look(tmp_path / LOOKS, replace(LOOK, plan="", recipe="other"))
    assert len(read_looks(tmp_path / LOOKS)[0]) == 2


@pytest.mark.parametrize(
    "damage", [b'{"task": "bbq/age", "da', b"\xff\xfe", b"[1]", b'{"data": 3, "weights": "w", "run": "x"}', b"[" * 100_000]
)
def test_a_damaged_line_is_passed_over_and_counted(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / LOOKS
    add_look(path, LOOK)
    with path.open("ab") as file:
        file.write(damage)  # without an end of line, as a kill leaves it
    add_look(path, replace(LOOK, run="two", recipe="s", plan="q"))
    looks, damaged = read_looks(path)
    assert [look.run for look in looks] == ["one", "two"]
    assert damaged == 1


def test_without_a_ledger_there_are_no_looks(tmp_path: Path) -> None:
    assert read_looks(tmp_path / LOOKS) == ((), 0)


def test_a_ledger_that_cannot_be_written_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / LOOKS).mkdir()
    with pytest.warns(UserWarning, match="could not be noted"):
        add_look(tmp_path / LOOKS, LOOK)


def _add(path: Path, process: int) -> None:
    for number in range(20):
        add_look(path, Look("bbq/age", "d", "tiny", "w", f"run-{process}-{number}" + "x" * 500, f"{process} {number}"))


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(tmp_path / LOOKS, process)) for process in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    looks, damaged = read_looks(tmp_path / LOOKS)
    assert (len(looks), damaged) == (40, 0)


def test_the_split_is_the_same_under_any_limit_and_wording_and_another_with_fresh_items() -> None:
    complete = task()
    assert digest_of_test(complete.limited(6)) == digest_of_test(complete)
    assert digest_of_test(task(template="{{ text }}?")) == digest_of_test(complete)
    assert digest_of_test(task(text="fresh")) != digest_of_test(complete)


def test_only_settings_that_change_results_make_another_look() -> None:
    recipe = Recipe(model="tiny", task="asked")
    same = recipe.with_settings(output="elsewhere", engine="ray", anyway=True, batch_size=3, model="folder/tiny", device="cpu")
    assert digest_of_recipe(same, "d") == digest_of_recipe(recipe, "d")
    assert digest_of_recipe(recipe.with_settings(samples=3), "d") != digest_of_recipe(recipe, "d")
    assert digest_of_recipe(recipe, "other words") != digest_of_recipe(recipe, "d")


def test_a_run_keeps_the_count_at_its_look(tmp_path: Path) -> None:
    first, second = run_in(tmp_path / "one"), run_in(tmp_path / "two", samples=3)
    note_look(first, task(), "tiny", "p")
    note_look(second, task(), "tiny", "q")
    note_look(first, task(), "tiny", "p")  # continued
    assert [run.environment()["looks"]["number"] for run in (first, second)] == [1, 2]
    assert second.environment()["looks"]["runs"] == ["one", "two"]
    assert len((tmp_path / LOOKS).read_text().splitlines()) == 2


def test_a_run_that_edits_nothing_looks_under_no_edit(tmp_path: Path) -> None:
    run = run_in(tmp_path / "one")
    note_look(run, task(), "tiny", "p", is_edited=False)
    assert run.environment()["looks"]["number"] == 0
    assert not (tmp_path / LOOKS).exists()


def test_a_command_without_a_run_folder_notes_its_look_only_where_there_is_a_folder_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note_evaluation("resect evaluate", task(), "tiny", lambda: "w", "p")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    for command in ("resect evaluate", "resect evaluate", "resect transfer"):
        note_evaluation(command, task(), "tiny", lambda: "w", "p")
    (line,) = (tmp_path / "runs" / LOOKS).read_text().splitlines()
    assert json.loads(line)["run"] == "resect evaluate"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        note_evaluation("resect evaluate", task(), "tiny", lambda: "w", "another plan")
    assert len(read_looks(tmp_path / "runs" / LOOKS)[0]) == 2
