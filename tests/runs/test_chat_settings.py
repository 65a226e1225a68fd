"""The settings of the chat template: read from K=V, refused where they are wrong or idle, handed to the model, said in words."""

import pytest

from resect.core.errors import BadRecipe
from resect.runs.chat_settings import chat_variables, reading_arguments, reading_sentences
from resect.runs.recipe import Recipe


@pytest.mark.parametrize(
    ("entry", "value"),
    [("a=false", False), ("a=3", 3), ('a="3"', "3"), ("a=null", None), ("a=low", "low"), ("a=", ""), ("a=x=y", "x=y"), ("a=NaN", "NaN")],
)
def test_a_value_is_json_where_it_can_be_read_so(entry, value):
    assert chat_variables([entry]) == {"a": value}


@pytest.mark.parametrize(("entries", "message"), [(["a"], "must be K=V"), (["a b=1"], "must be K=V"), (["a=1", "a=2"], "gives a twice")])
def test_what_is_no_variable_is_refused(entries, message):
    with pytest.raises(BadRecipe, match=message):
        Recipe(model="m", task="bbq", chat_template=True, chat_kwargs=tuple(entries))


@pytest.mark.parametrize("idle", [{"chat_kwargs": ("a=1",)}, {"system": "Be brief."}, {"system": ""}])
def test_settings_of_the_template_without_it_are_refused(idle):
    with pytest.raises(BadRecipe, match="is for chat_template only"):
        Recipe(model="m", task="bbq", **idle)


def test_a_recipe_keeps_them_and_says_them():
    recipe = Recipe(
        model="m", task="bbq", chat_template=True, chat_kwargs=("enable_thinking=false",), system="Be\nbrief.", parse_special=True
    )
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert recipe.to_words()[-6:] == [
        "--chat-template",
        "--chat-kwargs",
        "enable_thinking=false",
        "--system",
        "Be\nbrief.",
        "--parse-special",
    ]
    assert set(recipe.differs(Recipe(model="m", task="bbq"))) == {"chat_template", "chat_kwargs", "system", "parse_special"}
    assert reading_arguments(recipe.values) == {
        "chat": True,
        "chat_kwargs": {"enable_thinking": False},
        "system": "Be\nbrief.",
        "parse_special": True,
    }
    assert reading_sentences(recipe.values) == [
        "Wrapped in the tokenizer's chat template, with enable_thinking = false and the system text “Be\nbrief.”.",
        "Special tokens that data spell are read as these tokens.",
    ]


def test_nothing_is_said_of_the_default():
    assert reading_sentences(Recipe(model="m", task="bbq").values) == []
    assert reading_arguments({}) == {}
