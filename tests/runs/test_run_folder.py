"""The run folder: what is kept is kept whole, what is torn is dropped, what is not ours is left alone."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resect.core.errors import InputError, NotFinite, RunMismatch, StorageFailure
from resect.core.scores import Scores
from resect.runs.journal import FolderJournal, read_lines, write_lines
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

RECIPE = Recipe(method="crispr", model="some/model", task="bbq/age", seed=3)


class Text:
    """A value that saves itself."""

    def __init__(self, text):
        self.text = text

    def save(self, path):
        path.write_text(self.text, encoding="utf-8")


def test_an_entry_comes_back_as_it_was(tmp_path):
    journal = FolderJournal(tmp_path / "journal")
    entry = {
        "scores": np.arange(6, dtype=np.float64).reshape(2, 3) / 7,
        "counts": np.array([2**60, -1]),
        "scalar": np.array(0.1),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "size": 5,
        "name": "a ä 文",
        "none": None,
        "list": [1, "two", {"three": 3.5}],
    }
    assert journal.recall("key") is None
    journal.keep("key", entry)
    back = FolderJournal(tmp_path / "journal").recall("key")
    assert back.keys() == entry.keys()
    for name, value in entry.items():
        if isinstance(value, np.ndarray):
            assert back[name].dtype == value.dtype and back[name].shape == value.shape
            np.testing.assert_array_equal(back[name], value)
        else:
            assert back[name] == value


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text(max_size=300),
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.floats())),
)
def test_any_key_and_any_plain_value_can_be_kept(tmp_path, key, value):
    journal = FolderJournal(tmp_path)
    journal.keep(key, {"value": value})
    assert repr(journal.recall(key)["value"]) == repr(value)


def test_a_damaged_entry_counts_as_absent(tmp_path):
    journal = FolderJournal(tmp_path)
    journal.keep("key", {"a": np.ones(100)})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:5], whole[:-8], b"\0" * len(whole), whole.replace(b'"key":"key"', b'"key":"kex"')):
        file.write_bytes(damaged)
        assert journal.recall("key") is None
    journal.keep("key", {"a": np.ones(100)})
    assert journal.recall("key") is not None


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_lines(path) == []
    rows = [{"size": 1}, {"size": 2, "name": "ä"}]
    write_lines(path, rows)
    content = path.read_bytes()
    assert read_lines(path) == rows
    for cut in range(content.index(b"\n") + 1, len(content) - 1):
        path.write_bytes(content[:cut])
        assert read_lines(path)[:1] == rows[:1]
    with pytest.raises(NotFinite):
        write_lines(path, [{"size": 1, "score": float("nan")}])


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"size": 1}\n{"si\n{"size": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        read_lines(path)


def begun(folder, recipe=RECIPE, inputs=None):
    """A run with some work finished."""
    with Run.open(folder, recipe, inputs) as run:
        run.journal.keep("work", {"x": 1})


def test_a_run_goes_on_where_it_stopped(tmp_path):
    folder = tmp_path / "run"
    with Run.open(folder, RECIPE) as run:
        run.journal.keep("a", {"x": 1})
        run.write_trials([{"size": 0, "score": 0.5, "examples": 10, "complete": True, "seconds": 1.0}])
    with Run.open(folder, RECIPE) as run:
        assert run.journal.recall("a") == {"x": 1}
        assert [trial["size"] for trial in run.trials()] == [0]
        assert not run.is_finished
    assert Run.load(folder).recipe == RECIPE
    assert Recipe.load(folder / "recipe.toml") == RECIPE


def test_settings_that_do_not_change_the_result_do_not_matter(tmp_path):
    begun(tmp_path / "run")
    with Run.open(tmp_path / "run", RECIPE.with_settings(device="cpu", output="elsewhere", batch_size=7)) as run:
        assert run.journal.recall("work") == {"x": 1}


def test_before_any_work_is_finished_other_settings_are_welcome(tmp_path):
    Run.open(tmp_path / "run", RECIPE, {"task": "abc"}).close()
    with Run.open(tmp_path / "run", RECIPE.with_settings(seed=4), {"task": "xyz"}) as run:
        assert Recipe.load(tmp_path / "run" / "recipe.toml").seed == run.recipe.seed == 4


def test_wrong_input_leaves_no_folder_behind(tmp_path):
    with pytest.raises(InputError), Run.open(tmp_path / "runs" / "one", RECIPE):
        raise InputError("no such model")
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError), Run.open(tmp_path / "mine", RECIPE) as run:
        (run.folder / "notes.txt").write_text("mine")
        raise InputError("no such model")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(InputError), Run.open(tmp_path / "two", RECIPE) as run:
        run.journal.keep("work", {"x": 1})
        raise InputError("too late")
    assert Run.load(tmp_path / "two").journal.recall("work") == {"x": 1}


def test_other_settings_are_refused_with_both_values_and_the_way_out(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(RunMismatch, match=r"samples \(there 20, now 5\).*seed \(there 3, now 4\).*--fresh") as caught:
        Run.open(tmp_path / "run", RECIPE.with_settings(seed=4, samples=5))
    assert caught.value.exit_code == 2
    assert Recipe.load(tmp_path / "run" / "recipe.toml") == RECIPE


def test_fresh_deletes_what_a_run_made_and_nothing_else(tmp_path):
    folder = tmp_path / "run"
    with Run.open(folder, RECIPE) as run:
        run.journal.keep("a", {"x": 1})
        run.keep_plan(Text("{}"))
        with run.part(1, RECIPE) as inner:
            inner.keep_plan(Text("{}"))
    for mine in (folder / "notes.txt", folder / "journal" / "notes.txt"):
        mine.write_text("mine")
    (folder / "trial-photos").mkdir()
    with Run.open(folder, RECIPE.with_settings(seed=9), fresh=True) as run:
        assert run.recipe.seed == 9
        assert run.journal.recall("a") is None
        assert run.parts() == ()
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "environment.json",
        "journal",
        "notes.txt",
        "recipe.toml",
        "trial-photos",
    ]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path, fresh):
    (tmp_path / "plan.json").write_text("by hand")
    with pytest.raises(RunMismatch, match=r"holds plan\.json"):
        Run.open(tmp_path, RECIPE, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    with pytest.raises(RunMismatch, match="is a file"):
        Run.open(tmp_path / "plan.json", RECIPE, fresh=fresh)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["recipe.toml", "journal"])
def test_a_recipe_or_a_journal_alone_is_somebodys_own(tmp_path, name, fresh):
    if name == "journal":
        (tmp_path / name).mkdir()
    else:
        RECIPE.save(tmp_path / name)
    before = [(path, path.stat().st_mtime_ns) for path in tmp_path.iterdir()]
    with pytest.raises(RunMismatch, match=f"no run folder, and it holds {name}"):
        Run.open(tmp_path, RECIPE, fresh=fresh)
    assert [(path, path.stat().st_mtime_ns) for path in tmp_path.iterdir()] == before


def test_batch_sizes_are_no_finished_work(tmp_path):
    with pytest.raises(NotFinite), Run.open(tmp_path / "run", RECIPE) as run:
        run.journal.keep("batch sizes", {"answers": 3})
        raise NotFinite("NaN")
    assert not (tmp_path / "run").exists()


def test_a_damaged_recipe_is_refused_until_fresh(tmp_path):
    Run.open(tmp_path / "run", RECIPE).close()
    path = tmp_path / "run" / "recipe.toml"
    path.write_text(path.read_text().partition("some/model")[0])
    with pytest.raises(RunMismatch, match="damaged recipe"):
        Run.open(tmp_path / "run", RECIPE)
    with pytest.raises(RunMismatch, match="damaged recipe"):
        Run.load(tmp_path / "run")
    Run.open(tmp_path / "run", RECIPE, fresh=True).close()


def test_changed_data_behind_the_same_path_is_refused(tmp_path):
    begun(tmp_path / "run", inputs={"task": "abc"})
    with Run.open(tmp_path / "run", RECIPE, {"task": "abc"}) as run:
        run.agree({"model": "m1"})
    with pytest.raises(RunMismatch, match="another task"):
        Run.open(tmp_path / "run", RECIPE, {"task": "xyz", "model": "m1"})
    Run.open(tmp_path / "run", RECIPE).close()


def test_two_processes_cannot_work_in_one_folder_and_a_kill_lets_go(tmp_path):
    code = (
        "import sys, time; from resect.runs.run_folder import Run; from resect.runs.recipe import Recipe\n"
        "run = Run.open(sys.argv[1], Recipe(model='some/model', task='bbq/age', seed=3))\n"
        "print('open', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(RunMismatch, match="Another process"):
            Run.open(tmp_path / "run", RECIPE)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    Run.open(tmp_path / "run", RECIPE).close()


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    Run.open(tmp_path / "run", RECIPE).close()
    (tmp_path / "run" / ".plan.json.abc.part").write_text("half")
    (tmp_path / "run" / "journal").mkdir()
    (tmp_path / "run" / "journal" / ".x.safetensors.abc.part").write_text("half")
    Run.open(tmp_path / "run", RECIPE).close()
    assert not list((tmp_path / "run").rglob("*.part"))


def test_a_kill_before_the_recipe_leaves_an_empty_folder(tmp_path):
    (tmp_path / ".recipe.toml.abc.part").write_text("half")
    (tmp_path / ".lock").write_text("")
    with Run.open(tmp_path, RECIPE) as run:
        assert run.trials() == []


def test_everything_that_is_kept_is_read_back(tmp_path):
    with Run.open(tmp_path / "run", RECIPE) as run:
        for missing in (run.plan_json, run.comparison, run.scores, run.examples):
            with pytest.raises(InputError, match=r"missing.*resect run"):
                missing()
        scores = Scores({"decoder.0.up": np.array([1.0, 2.0])})
        run.keep_scores(scores)
        run.keep_plan(Text('{"schema": 1, "model": null, "edits": []}'))
        run.keep_comparison({"schema": 1, "task": "x"})
        run.keep_examples([{"id": "ä"}, {"id": "b"}])
        run.note(device="cpu", batch_size=32)
        run.note(seconds=1.5)
    back = Run.load(tmp_path / "run")
    assert back.is_finished
    assert back.plan_json()["edits"] == []
    assert back.comparison()["task"] == "x"
    assert back.scores()["decoder.0.up"].tolist() == [1.0, 2.0]
    assert back.examples() == [{"id": "ä"}, {"id": "b"}]
    environment = back.environment()
    assert (environment["device"], environment["batch_size"], environment["seconds"]) == ("cpu", 32, 1.5)
    assert environment["versions"].keys() >= {"resect", "python", "torch", "transformers", "numpy"}


def test_trials_of_one_job_are_runs_themselves(tmp_path):
    with Run.open(tmp_path / "run", RECIPE.with_settings(trials=11)) as run:
        for number in (1, 2, 11):
            run.part(number, RECIPE.with_settings(seed=number)).close()
        assert [part.recipe.seed for part in run.parts()] == [1, 2, 11]


def test_a_folder_that_is_no_run_is_not_loaded(tmp_path):
    with pytest.raises(RunMismatch, match="does not exist"):
        Run.load(tmp_path / "nowhere")
    with pytest.raises(RunMismatch, match=r"no recipe\.toml"):
        Run.load(tmp_path)


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path):
    """A limit on file size stands in for a disk without room: the same OSError on the same calls."""
    run = Run.open(tmp_path / "run", RECIPE)
    run.journal.keep("a", {"x": np.ones(10)})
    run.write_trials([{"size": 0, "score": 0.5}])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(StorageFailure, match="kept") as caught:
            run.journal.keep("b", {"x": np.ones(1000)})
        with pytest.raises(StorageFailure, match="kept"):
            run.write_trials([{"size": 1, "score": 0.5, "note": "x" * 500}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.exit_code == 1
    run.close()
    with Run.open(tmp_path / "run", RECIPE) as again:
        assert again.journal.recall("a") is not None
        assert again.journal.recall("b") is None
        assert json.dumps(again.trials()) == '[{"size": 0, "score": 0.5}]'


def test_a_file_of_a_run_is_no_run_and_the_folder_is_named(tmp_path):
    with Run.open(tmp_path / "run", Recipe(model="m", task="t")):
        pass
    with pytest.raises(RunMismatch, match=r"is a file of the run in .*run: name that folder"):
        Run.load(tmp_path / "run/recipe.toml")
    (tmp_path / "alone.json").write_text("{}")
    with pytest.raises(RunMismatch, match="is a file\\."):
        Run.load(tmp_path / "alone.json")
