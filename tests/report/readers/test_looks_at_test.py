"""How often *test* was looked at, as a sentence: by the ledger next to the run, or by the run's own count where it was moved."""

from pathlib import Path

from resect.report.readers.looks_at_test import LooksAtTest
from resect.runs.looks import LOOKS, Look, add_look
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run
from resect.runs.schemas.work import EnvironmentFile

RECORD = {"task": "bbq/age", "number": 2, "runs": ["one", "two"], "data": "d", "weights": "w"}


def looks_of(folder: Path, record: object = RECORD) -> LooksAtTest | None:
    environment = EnvironmentFile.model_validate({"looks": record})
    return LooksAtTest.of(Run(folder, Recipe(model="tiny", task="bbq/age")), environment)


def test_a_run_alone_has_its_own_count(tmp_path: Path) -> None:
    looks = looks_of(tmp_path / "two")
    assert looks is not None
    assert looks.sentence() == (
        "The test split of bbq/age has been looked at 2 times with this model: by one and two. "
        "Each further look makes a chance find more likely."
    )


def test_later_looks_count_too_and_those_at_other_splits_do_not(tmp_path: Path) -> None:
    for name, data in (("one", "d"), ("two", "d"), ("three", "d"), ("four", "other")):
        add_look(tmp_path / LOOKS, Look("bbq/age", data, "tiny", "w", name, name))
    looks = looks_of(tmp_path / "two")
    assert looks is not None
    assert "3 times with this model: by one, two and three." in looks.sentence()


def test_the_first_look_is_said_to_be_the_first(tmp_path: Path) -> None:
    looks = looks_of(tmp_path / "one", RECORD | {"number": 1, "runs": ["one"]})
    assert looks is not None
    assert looks.sentence() == "This is the first look at the test split of bbq/age with this model."


def test_of_many_runs_some_are_named(tmp_path: Path) -> None:
    looks = LooksAtTest("bbq/age", 9, [f"run-{number}" for number in range(9)])
    assert "by run-0, run-1, run-2, run-3, run-4 and 4 more." in looks.sentence()


def test_damaged_lines_are_said(tmp_path: Path) -> None:
    (tmp_path / LOOKS).write_text("{\n")
    looks = looks_of(tmp_path / "two")
    assert looks is not None
    assert looks.sentence().endswith(f"1 line of {LOOKS} could not be read.")


def test_a_run_that_edited_nothing_or_is_older_than_the_ledger_says_nothing(tmp_path: Path) -> None:
    looks = looks_of(tmp_path / "one", RECORD | {"number": 0, "runs": []})
    assert looks is not None
    assert looks.sentence() == ""
    assert looks_of(tmp_path / "one", None) is None
