"""The settings of the methods of this package: documented, described with their numbers, and suggested so that a recipe accepts them."""

import itertools
import re
from typing import Any

import pytest

from resect.runs.declarations import declarations
from resect.runs.methods import settings_class
from resect.runs.recipe import Recipe

METHODS = ("crispr", "laser", "lape")
#: For each method settings with unusual numbers that must be in its sentences, each with the number as it is written there.
DESCRIBED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "crispr": [
        ({"samples": 37}, "37 examples"),
        ({"samples": 37, "variant": "official"}, "37 examples"),
        ({"locate_on": ("ambig", "odd")}, "ambig, odd"),
        ({"sites": "*.{q,k}"}, r"\*\.{q,k}"),
        ({"skill": 0.25}, "λ = 0.25"),
        ({"n": 1234}, "1,234 neurons"),
        ({"fraction": 0.0003}, "0.03 %"),
        ({"max_fraction": 0.002}, "0 to 0.2 %"),
        ({"max_fraction": 0.002, "variant": "official"}, "0 to 0.2 %"),
        ({"largest": 77}, "0 to 77"),
        ({"variant": "official"}, "0 to 500"),
        ({"variant": "official", "trials": 3}, "3 draws"),
        ({"trials": 3}, "3 trials"),
        ({"pooling": "apart", "skill_batch": 6}, "pooling = apart, skill_batch = 6"),
        ({"gradient": "log-probability", "metric": "generation"}, "gradient = log-probability, metric = generation"),
    ],
    "laser": [
        ({"rhos": (0.37, 0.0)}, "ρ = 0.37, 0"),
        ({"sites": ("*.q", "*.k")}, r"\*\.q, \*\.k"),
        ({"screen": "gradient", "screened": 7}, "7 .*matrices"),
        ({"task_free": True, "rise": 0.035}, "3.5 %"),
        ({"keep": "smallest"}, "smallest"),
        ({"variant": "official"}, "svd_lowrank"),
        ({"metric": "logloss"}, "logloss"),
        ({"metric": "logloss", "compose": True}, "logloss"),
        ({"published": True}, "published"),
    ],
    "lape": [
        ({"fraction": 0.035}, "3.5 %"),
        ({"quantile": 0.625}, "62.5 %"),
        ({"selector": "lap", "fraction": 0.035}, "95 %.*3.5 %"),
        ({"selector": "random", "fraction": 0.035}, "random.*3.5 %"),
        ({"window": 1234}, "1,234 tokens"),
        ({"tokens": 56789}, "56,789 tokens"),
        ({"until_stable": True}, "less than 5 % .*twice in a row"),
        ({"record_only": True, "window": 1234}, "1,234 tokens.*nothing was selected"),
    ],
}


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_documented_where_the_method_is_implemented_and_in_its_order(name: str) -> None:
    settings = settings_class(name)
    documented = re.findall(r"^    ([a-z][a-z_, ]*) : ", settings.implementation().__doc__ or "", re.MULTILINE)
    names = list(itertools.chain.from_iterable(entry.split(", ") for entry in documented))
    declared = [declaration.field for declaration in declarations(settings)]
    assert [field for field in names if field in declared] == declared


@pytest.mark.parametrize(("name", "settings", "words"), [(name, *case) for name, cases in DESCRIBED.items() for case in cases])
def test_the_description_names_the_numbers_of_settings_that_are_not_the_default(name: str, settings: dict[str, Any], words: str) -> None:
    sentences = settings_class(name)(**settings).describe()
    assert re.search(words, " ".join(sentences))
    assert not re.search(words, " ".join(settings_class(name)().describe()))
    assert all(sentence.endswith(".") for sentence in sentences)


#: Recipes whose results may be bad, and the parts of comparison.json on which suggestions depend.
RECIPES = [
    *(Recipe("crispr", model="m", task="t", **settings) for settings in (
        {}, {"variant": "official"}, {"limit": 9}, {"locate_on": ("x",)}, {"sites": "*.up"}, {"n": 3}, {"fraction": 0.1}, {"trials": 2},
    )),
    *(Recipe("laser", model="m", task="t", **settings) for settings in (
        {}, {"variant": "official"}, {"compose": True}, {"screen": "gradient"}, {"screen": "gradient", "screened": 9}, {"limit": 9},
        {"published": True}, {"metric": "logloss"}, {"sites": "*.{q,k,v,o}"}, {"rho": (0.7,)}, {"keep": "smallest"},
    )),
    Recipe("laser", model="m", task_free=True),
    Recipe("laser", model="m", task_free=True, rise=0.0),
    *(Recipe("lape", model="m", corpus=("en=a", "fr=b"), **settings) for settings in (
        {}, {"fraction": 0.0}, {"fraction": 0.2}, {"selector": "random"}, {"selector": "pv", "checkpoint": ("en=c", "fr=d")},
        {"valid_tokens": 99}, {"until_stable": True}, {"counts": ("x.safetensors",)},
    )),
]  # fmt: skip
COMPARISONS = ({}, {"base": {"by_tag": {"ambig": 0.1, "disambig": 0.2}}, "metric": "accuracy"}, {"base": None, "metric": "logloss"})


@pytest.mark.parametrize("recipe", RECIPES, ids=repr)
@pytest.mark.parametrize("comparison", COMPARISONS, ids=("none", "tags", "logloss"))
@pytest.mark.parametrize("is_empty", [True, False])
def test_every_suggestion_is_a_recipe_that_differs(recipe: Recipe, comparison: dict[str, Any], is_empty: bool) -> None:
    for sentence, changes in recipe.settings.alternatives(recipe.values, comparison, is_empty):
        assert sentence.endswith(":")
        changed = recipe.with_settings(**changes)
        assert changed != recipe
        assert changed.differs(recipe)
