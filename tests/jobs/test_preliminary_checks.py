"""Before a search: jobs that would be in vain are refused within seconds, with the cause and the way out, and go on with `anyway`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import pico
from resect.core.errors import NotWorthwhile
from resect.core.execution import Workers
from resect.data.tasks.example import Example
from resect.data.tasks.task import Task, split_of
from resect.jobs import run
from resect.jobs.preliminary_checks import MOST, PROBE, is_at_chance, objections
from resect.methods.base import Found, Method, TaskInputs
from resect.models.language_model import LanguageModel
from resect.runs.recipe import Recipe
from resect.runs.run_folder import Run

QUICK = {"calibrate": ("none",), "generation": False}


class Searching(Method):
    """A method that is never asked to search."""

    name, summary, source = "searching", "Search nothing.", "none"

    def search(self, model: LanguageModel, inputs: TaskInputs, workers: Workers | None = None) -> Found:
        """Raises."""
        raise AssertionError


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """A tiny model with random weights."""
    return LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"))


def task_of(model: LanguageModel, right: float, number: int = 200, **changes: object) -> Task:
    """Returns a task of two choices in both orders, `right` of which the model answers right: in *select*, by their number."""
    examples = [Example({"text": f"{number}"}, ("b", "g"), 0, split="select") for number in range(number)]
    questions = Task("guessed", tuple(examples), ("Say it.",), "{{ instruction }} {{ text }}: ")
    prompts = [questions.prompt(example, "Say it.") for example in questions.examples]
    prefers_b = model.logprobs(prompts, ["b"] * number) > model.logprobs(prompts, ["g"] * number)
    answers = []
    for place, is_b in enumerate(prefers_b):
        wanted = int(not is_b) if (place * 7919) % number < right * number else int(is_b)
        choices = ("b", "g") if place % 2 else ("g", "b")
        answers.append(Example({"text": f"{place}"}, choices, choices.index("bg"[wanted]), split="select"))
    return Task("guessed", (*answers, Example({"text": "x"}, ("b", "g"), 0, split="test")), ("Say it.",), questions.template, **changes)


def refused(model: LanguageModel, task: Task, **settings: object) -> str | None:
    """Returns why a job of the task is refused; None where it is not."""
    recipe = Recipe(method="laser", model="tiny", task="guessed", **settings)
    try:
        assert objections(Searching(), model, TaskInputs(task), recipe, Workers()) == ()
    except NotWorthwhile as error:
        return str(error)
    return None


def values(shares: dict[str, float], each: int) -> tuple[list[Example], np.ndarray]:
    """Returns examples of three choices by tag, and the values of answers, so many of them right."""
    examples, right = [], []
    for tag, share in shares.items():
        for place in range(each):
            examples.append(Example({"text": tag}, ("a", "b", "c"), place % 3, group=f"{tag}{place}", tags=(tag,)))
            right.append(float((place * 7) % each < round(share * each)))
    return examples, np.array(right)


def test_answers_by_chance_are_at_chance_and_those_of_a_weak_or_lopsided_model_are_not() -> None:
    assert is_at_chance(*values({"ambig": 0.33, "clear": 0.33}, 60))
    assert not is_at_chance(*values({"ambig": 0.07, "clear": 0.47}, 30))
    assert not is_at_chance(*values({"ambig": 0.02, "clear": 0.64}, 30))
    assert not is_at_chance(*values({"one": 0.5}, 120))
    examples, _ = values({"one": 0.5}, 120)
    always_first = np.array([float(example.gold == 0) for example in examples])
    assert not is_at_chance(examples, always_first)


def test_a_model_that_answers_nothing_right_is_refused(model: LanguageModel) -> None:
    message = refused(model, task_of(model, 0.0))
    assert message is not None
    assert f"none of the first {PROBE} examples of *select* right" in message
    assert "chance (50.0 %)" in message
    assert message.endswith("--anyway goes on.")
    assert refused(model, task_of(model, 0.0, number=29)) is None


def test_a_model_that_answers_some_right_goes_on(model: LanguageModel) -> None:
    assert refused(model, task_of(model, 0.9)) is None
    assert refused(model, task_of(model, 0.1)) is None


def test_free_answers_that_are_all_wrong_point_to_choices_and_to_the_log_loss(model: LanguageModel) -> None:
    examples = tuple(Example({"text": f"{place}"}, (), "never said", split="select") for place in range(60))
    task = Task("free", examples, ("Say it.",), "{{ instruction }} {{ text }}: ", metric="generation", answer_tokens=2)
    message = refused(model, task)
    assert message is not None
    assert "choices" in message
    assert "--metric logloss" in message
    assert "--chat-template" not in message
    model.tokenizer.chat_template = "{{ messages[0]['content'] }}"
    try:
        assert "--chat-template" in str(refused(model, task))
    finally:
        model.tokenizer.chat_template = None


def test_only_as_many_questions_are_asked_as_are_needed(model: LanguageModel) -> None:
    """None of them under another instruction than the first, none of them twice."""
    task = task_of(model, 0.5, number=MOST + 100).with_wording(instructions=("Say it.", "Answer:"))
    stages: list[tuple[str, int]] = []
    workers = Workers(progress=lambda stage, done, total: stages.append((stage, total)) if done else None)
    recipe = Recipe(method="laser", model="tiny", task="guessed", anyway=True)
    objections(Searching(), model, TaskInputs(task), recipe, workers)
    assert 1 <= len(stages) <= 4
    assert {total for _, total in stages} == {1}
    asked = len(stages)
    objections(Searching(), model, TaskInputs(task), recipe, workers)
    assert len(stages) == asked


def inverted(where: Path, folder: Path) -> Path:
    """Returns a copy of the planted task in which every answer of the biased model is right."""
    shutil.copytree(where, folder)
    rows = [json.loads(line) for line in (where / "items.jsonl").read_text().splitlines()]
    (folder / "items.jsonl").write_text("".join(json.dumps(row | {"gold": 1 - row["gold"]}) + "\n" for row in rows))
    return folder


def recipe_of(folder: Path, output: Path, **settings: object) -> Recipe:
    """Returns the recipe of a quick job on the planted model."""
    base = {"model": str(folder / "model"), "task": str(folder / "task.toml"), "output": str(output), "text": (str(folder / "text.txt"),)}
    return Recipe(**(base | QUICK | {"sites": ("*.up",), "samples": 5} | settings))


@pytest.mark.parametrize(
    ("settings", "cause"), [({}, "all 5 examples right"), ({"method": "laser"}, r"all \d+ examples of \*select\* right")]
)
def test_where_nothing_is_wrong_there_is_nothing_to_find(where: Path, tmp_path: Path, settings: dict[str, object], cause: str) -> None:
    folder = inverted(where, tmp_path / "inputs")
    if settings:
        settings = {**settings, "samples": None, "rho": (0.0,), "sites": ("decoder.1.up",), "cache": str(tmp_path / "cache")}
    settings = {key: value for key, value in settings.items() if value is not None}
    base = recipe_of(folder, tmp_path / "run") if not settings else laser_of(folder, tmp_path / "run", **settings)
    with pytest.raises(NotWorthwhile, match=cause):
        run.job(base)
    assert not (tmp_path / "run").exists()
    outcome = run.job(base.with_settings(anyway=True))
    notes = Run.load(outcome.folder).environment()["notes"]
    assert any("right" in note and "--anyway" not in note for note in notes)


def laser_of(folder: Path, output: Path, **settings: object) -> Recipe:
    """Returns the recipe of a quick job of LASER."""
    base = {"model": str(folder / "model"), "task": str(folder / "task.toml"), "output": str(output), "text": (str(folder / "text.txt"),)}
    return Recipe(**(base | QUICK | settings))


def test_fewer_than_ten_examples_to_locate_with_are_refused(where: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (where / "items.jsonl").read_text().splitlines()]
    located = sum(split_of(Example({}, ("a", "b"), 0, group=row["group"])) == "locate" for row in rows)
    assert 5 <= located < 10
    with pytest.raises(NotWorthwhile, match=rf"Only {located} examples can locate.*fewer than 10.*`split`"):
        run.job(recipe_of(where, tmp_path / "run", samples=20))
    assert not (tmp_path / "run").exists()
    outcome = run.job(recipe_of(where, tmp_path / "run", samples=20, anyway=True))
    assert any(f"Only {located} examples can locate" in note for note in Run.load(outcome.folder).environment()["notes"])


def test_a_finished_run_says_the_same_again_whether_or_not_it_was_to_go_on(where: Path, tmp_path: Path) -> None:
    first = run.job(recipe_of(where, tmp_path / "run", anyway=True))
    before = sorted(path.name for path in (first.folder / "journal").iterdir())
    run.job(recipe_of(where, tmp_path / "run"))
    assert sorted(path.name for path in (first.folder / "journal").iterdir()) == before
