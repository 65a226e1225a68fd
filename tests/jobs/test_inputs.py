"""Which path is meant for which task, and that what a recipe points at is loaded as it says."""

from pathlib import Path

import pytest

from resect.core.errors import BadRecipe, InputError, UnknownName
from resect.data.texts import packaged_texts
from resect.jobs.inputs import given_for, side_effects_of, task_named, task_of, weights_digest
from resect.models.loading import load_model
from resect.runs.recipe import Recipe

TASKS = ("bbq", "glue/mrpc", "glue/rte")


@pytest.mark.parametrize(
    ("task", "given", "found"),
    [
        ("bbq", ("here",), ("here",)),
        ("glue/rte", ("here", "glue/rte=there"), ("there",)),
        ("glue/rte", ("here", "glue=there"), ("there",)),
        ("glue/mrpc", ("here", "glue/rte=there"), ("here",)),
        ("bbq", ("glue=there",), ()),
        ("bbq", ("bbq=one", "bbq=two"), ("one", "two")),
        ("bbq", ("{{ a == 1 }}",), ("{{ a == 1 }}",)),
    ],
)
def test_a_path_is_meant_for_the_task_that_it_names(task: str, given: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert given_for(task, TASKS, given) == found


def test_by_name_what_is_given_for_no_task_in_particular_does_not_count() -> None:
    assert given_for("glue/rte", TASKS, ("here",), by_name=True) == ()
    assert given_for("glue/rte", TASKS, ("here", "glue=there"), by_name=True) == ("there",)


def test_a_name_that_is_no_task_is_refused_unless_it_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="glu"):
        given_for("bbq", TASKS, ("glu=there",))
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert given_for("bbq", TASKS, (str(odd),)) == (str(odd),)


def test_wording_is_for_the_task_that_it_names(where: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Answer {{ text }} {{ instruction }}")
    task = str(where / "task.toml")
    asked = task_named(task, (task,), {"template": (str(tmp_path / "words.txt"),), "limit": 9})
    assert asked.template == "Answer {{ text }} {{ instruction }}"
    assert len(asked.examples) == 9
    assert task_named(task, (task,), {"template": (str(tmp_path / "words.txt"),)}, by_name=True).template != asked.template
    with pytest.raises(BadRecipe, match="several template"):
        task_named(task, (task,), {"template": ("a {{ text }}", "b {{ text }}")})


def test_what_stands_beside_is_loaded_or_refused(where: Path, tmp_path: Path) -> None:
    recipe = Recipe(model="m", task=str(where / "task.toml"), calibrate=("none",))
    assert task_of(recipe).name == "planted"
    assert side_effects_of(recipe).calibrate == ()
    assert side_effects_of(recipe).texts == packaged_texts()
    assert side_effects_of(recipe.with_settings(text=(str(where / "text.txt"),))).texts == ("a line to read", "and another one")
    with pytest.raises(InputError, match="nothing"):
        side_effects_of(recipe.with_settings(text=(str(tmp_path / "nothing.txt"),)))


def test_the_digest_of_a_model_sees_one_weight(where: Path) -> None:
    model = load_model(str(where / "model"))
    before = weights_digest(model)
    assert weights_digest(load_model(str(where / "model"))) == before
    model.model.get_input_embeddings().weight.data[3, 1] += 1e-3
    assert weights_digest(model) != before
