"""Which path belongs to which task, and that what a recipe names is loaded as it says."""

from pathlib import Path

import pytest

from resect.core.errors import BadRecipe, InputError, UnknownName
from resect.data.texts import packaged_texts
from resect.jobs.inputs import paths_for, side_effects_of, task_named, task_of, weights_digest
from resect.models.loading import load_model
from resect.runs.recipe import Recipe

TASKS = ("bbq", "glue/mrpc", "glue/rte")


@pytest.mark.parametrize(
    ("task", "entries", "paths"),
    [
        ("bbq", ("one",), ("one",)),
        ("glue/rte", ("one", "glue/rte=two"), ("two",)),
        ("glue/rte", ("one", "glue=two"), ("two",)),
        ("glue/mrpc", ("one", "glue/rte=two"), ("one",)),
        ("bbq", ("glue=two",), ()),
        ("bbq", ("bbq=one", "bbq=two"), ("one", "two")),
        ("bbq", ("{{ a == 1 }}",), ("{{ a == 1 }}",)),
    ],
)
def test_a_path_belongs_to_the_task_that_its_entry_names(task: str, entries: tuple[str, ...], paths: tuple[str, ...]) -> None:
    assert paths_for(task, TASKS, entries) == paths


def test_by_name_an_entry_without_a_task_does_not_apply() -> None:
    assert paths_for("glue/rte", TASKS, ("one",), by_name=True) == ()
    assert paths_for("glue/rte", TASKS, ("one", "glue=two"), by_name=True) == ("two",)


def test_a_name_that_is_no_task_is_refused_unless_it_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="glu"):
        paths_for("bbq", TASKS, ("glu=two",))
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert paths_for("bbq", TASKS, (str(odd),)) == (str(odd),)


def test_a_template_applies_to_the_task_that_its_entry_names(where: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Answer {{ text }} {{ instruction }}")
    task = str(where / "task.toml")
    worded = task_named(task, (task,), {"template": (str(tmp_path / "words.txt"),), "limit": 9})
    assert worded.template == "Answer {{ text }} {{ instruction }}"
    assert len(worded.examples) == 9
    assert task_named(task, (task,), {"template": (str(tmp_path / "words.txt"),)}, by_name=True).template != worded.template
    with pytest.raises(BadRecipe, match="several template"):
        task_named(task, (task,), {"template": ("a {{ text }}", "b {{ text }}")})


def test_side_effects_are_loaded_or_refused(where: Path, tmp_path: Path) -> None:
    recipe = Recipe(model="m", task=str(where / "task.toml"), calibrate=("none",))
    assert task_of(recipe).name == "planted"
    assert side_effects_of(recipe).calibrate == ()
    assert side_effects_of(recipe).texts == packaged_texts()
    assert side_effects_of(recipe.with_settings(text=(str(where / "text.txt"),))).texts == ("a line to read", "and another one")
    with pytest.raises(InputError, match="nothing"):
        side_effects_of(recipe.with_settings(text=(str(tmp_path / "nothing.txt"),)))


def test_the_digest_of_a_model_changes_with_one_weight(where: Path) -> None:
    model = load_model(str(where / "model"))
    before = weights_digest(model)
    assert weights_digest(load_model(str(where / "model"))) == before
    model.model.get_input_embeddings().weight.data[3, 1] += 1e-3
    assert weights_digest(model) != before
