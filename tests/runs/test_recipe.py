"""A recipe: whatever can be set can be written, read and compared; whatever cannot is refused by name."""

import os
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resect.core.errors import BadRecipe
from resect.runs.methods import method_names, settings_class
from resect.runs.recipe import Recipe, declared_settings, recipe_schema

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
recipes = st.builds(
    Recipe,
    model=texts.filter(str.strip),
    task=texts.filter(str.strip),
    revision=st.none() | texts,
    dtype=st.sampled_from(["auto", "float32", "bfloat16"]),
    batch_size=st.just("auto") | st.integers(1, 512),
    data=st.lists(texts, max_size=3).map(tuple),
    limit=st.none() | st.integers(1, 99),
    sites=st.lists(texts, min_size=1, max_size=3).map(tuple),
    skill=st.floats(0, 2),
    max_fraction=st.none() | st.floats(0, 1),
    n=st.none() | st.integers(0, 99),
    confusion_weight=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(recipes)
def test_what_is_written_is_read_back(recipe):
    back = Recipe.from_toml(recipe.to_toml())
    assert back == recipe
    assert back.differs(recipe) == ()


def test_every_setting_has_a_sentence_and_the_file_shows_it():
    for method in method_names():
        needed = {"corpus": ("en=x", "fr=y")} if method == "lape" else {"task": "t"}
        recipe = Recipe(model="m", method=method, **needed)
        for key, declared in declared_settings(method).items():
            assert declared.help.endswith(".") and "\n" not in declared.help
            if recipe.get(key) is not None:
                assert f"# {declared.help}\n{key} = " in recipe.to_toml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample = 3", r"no setting 'sample'.*Did you mean 'samples'"),
        ("locate-on = []", r"Did you mean 'locate_on'"),
        ('samples = "many"', r"samples is 'many'; it must be a whole number"),
        ("samples = true", r"samples is True; it must be a whole number"),
        ("samples = 2.5", r"samples is 2\.5; it must be a whole number"),
        ("samples = 0", r"samples is 0; it must be at least 1"),
        ("fraction = 1.5", r"fraction is 1\.5; it must be between"),
        ("fraction = nan", r"fraction is nan; it must be between"),
        ("skill = nan", r"skill is nan; it must be at least"),
        ("skill = inf", r"skill is inf; it must be a finite number"),
        ("fraction = 0.1\nn = 4", r"n = 4 and fraction = 0\.1 both"),
        ('choose = "silver"', r"choose is 'silver'; it must be 'golden' or 'grid' or 'first-drop'"),
        ("batch_size = 0", r"batch_size is 0; it must be at least 1"),
        ('batch_size = "big"', r"batch_size is 'big'; it must be 'auto' or a whole number"),
        ("sites = [1]", r"sites is \[1\]; it must be a list of texts"),
        ("confusion_weight = 1", r"confusion_weight is 1; it must be true or false"),
        ("samples = ", r"no TOML"),
        ("schema = 2", r"schema 2"),
        ("[crispr]\nsamples = 3", r"no setting 'crispr'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text, message, tmp_path):
    with pytest.raises(BadRecipe, match=message):
        Recipe.from_toml(f'task = "t"\nmodel = "m"\n{text}')
    (tmp_path / "r.toml").write_text(f'task = "t"\nmodel = "m"\n{text}')
    with pytest.raises(BadRecipe, match=r"r\.toml"):
        Recipe.load(tmp_path / "r.toml")


@pytest.mark.parametrize("missing", ["model", "task"])
def test_model_and_task_are_wanted(missing):
    kept = {"model": 'model = "m"', "task": 'task = "t"'}
    del kept[missing]
    with pytest.raises(BadRecipe, match=f"{missing} is missing"):
        Recipe.from_toml(*kept.values())


OVERRIDES = {switch: others for name in method_names() for switch, others in settings_class(name).overrides.items()}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_setting_that_would_be_passed_over_is_refused(name):
    others = {"rho": (0.5,), "keep": "smallest", "compose": True, "screen": "gradient", "variant": "official", "sites": ("x",)}
    others |= {"draws": 1, "selector": "lave", "until_stable": True, "quantile": 0.5}
    given = {"method": "laser", "model": "m", "task": "" if name == "task_free" else "t", name: True}
    if name == "record_only":
        given = {"method": "lape", "model": "m", "corpus": ("en=x",), name: True}
    assert others.keys() & set(OVERRIDES[name])
    for other in others.keys() & set(OVERRIDES[name]):
        with pytest.raises(BadRecipe, match=f"With {name}, {other} would change nothing"):
            Recipe(**given, **{other: others[other]})
    assert getattr(Recipe(**given), name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadRecipe, match=r"none\.toml"):
        Recipe.load(tmp_path / "none.toml")


def test_conveniences_of_a_file_written_by_hand():
    recipe = Recipe.from_toml('model = "m"\ntask = "t"\nsites = "decoder.*.up"\nskill = 2\nbatch_size = 8')
    assert recipe.sites == ("decoder.*.up",)
    assert recipe.skill == 2.0 and isinstance(recipe.skill, float)
    assert recipe.batch_size == 8


def test_differs_names_exactly_what_changes_a_result():
    base = Recipe(model="m", task="t")
    changed = base.with_settings(seed=1, sites=["x"], device="cpu", device_map="auto", output="o", trust_remote_code=True)
    assert set(base.differs(changed)) == {"seed", "sites"}
    assert base.differs(base.with_settings(batch_size=8)) == ()
    eight = base.with_settings(batch_size=8)
    assert eight.differs(eight.with_settings(batch_size=9)) == ("batch_size",)


def test_a_path_is_the_same_however_it_is_spelled(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    relative = Recipe(model="model", task="bbq", data=("data", "bbq=data"), template=("none.txt",))
    absolute = Recipe(model=f"{tmp_path}/model", task="bbq", data=(f"{tmp_path}/data", f"bbq={tmp_path}/data"), template=("none.txt",))
    assert relative.differs(absolute) == ()
    assert relative.anchored() == absolute


def test_a_builtin_task_stays_a_name_where_a_folder_is_called_the_same(tmp_path, monkeypatch):
    (tmp_path / "bbq").mkdir()
    (tmp_path / "my.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert Recipe(model="m", task="bbq").anchored().task == "bbq"
    assert Recipe(model="m", task="my.toml").anchored().task == str(tmp_path / "my.toml")


@pytest.mark.parametrize(
    ("model", "task", "folder"),
    [
        ("google/flan-t5-base", "bbq/age", "crispr-flan-t5-base-bbq-age"),
        ("/some/where/bbq-t5/", "bbq", "crispr-bbq-t5-bbq"),
        ("model", "tasks/mine.toml", "crispr-model-mine"),
    ],
)
def test_the_default_folder_says_what_was_done(model, task, folder):
    recipe = Recipe(model=model, task=task)
    assert recipe.folder.as_posix() == f"runs/{folder}"
    assert recipe.with_settings(output="x").folder.as_posix() == "x"


@pytest.mark.parametrize(("name", "value", "needed"), [("screened", 2, "screen"), ("rise", 0.1, "task_free")])
def test_a_setting_that_needs_another_is_refused_without_it(name, value, needed):
    with pytest.raises(BadRecipe, match=needed):
        Recipe(method="laser", model="m", task="t", **{name: value})


def test_the_cache_is_anchored_before_it_is_there():
    assert os.path.isabs(Recipe(method="laser", model="m", task="t", cache="not-yet").anchored().cache)


def test_texts_by_language_are_anchored_whatever_they_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    entries = ("en=a.txt,b.txt", "fr=*.txt", "ja=hub:owner/name/config:train:text", "es=a.txt", "id=nothing.txt")
    anchored = Recipe(method="lape", model="m", corpus=entries).anchored().corpus
    here = str(tmp_path)
    assert anchored == (f"en={here}/a.txt,{here}/b.txt", f"fr={here}/*.txt", entries[2], f"es={here}/a.txt", entries[4])


def test_flags_that_have_another_name_say_the_same():
    recipe = Recipe(method="lape", model="m", corpus=("en=a", "fr=b"), corpus_tokens=7, fraction=0.05)
    assert recipe.to_words() == ["lape", "m", "--corpus", "en=a", "fr=b", "--fraction", "0.05", "--tokens", "7"]
    assert recipe.default_output.as_posix() == "runs/lape-m-en-fr"
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_a_setting_of_another_method_is_refused_with_its_owner() -> None:
    with pytest.raises(BadRecipe, match=r"samples is a setting of crispr, not of laser"):
        Recipe(method="laser", model="m", task="t", samples=3)


def test_a_recipe_is_frozen_and_travels_between_processes() -> None:
    recipe = Recipe(model="m", task="t", samples=3)
    with pytest.raises(AttributeError, match="with_settings"):
        recipe.samples = 4
    assert pickle.loads(pickle.dumps(recipe)) == recipe  # noqa: S301  our own bytes, as Ray sends them


def test_the_schema_allows_exactly_the_settings_of_each_method() -> None:
    by_method = {each["properties"]["method"]["const"]: each for each in recipe_schema()["oneOf"]}
    assert set(by_method) == set(method_names())
    for method, schema in by_method.items():
        assert set(schema["properties"]) == {"schema", "method", *declared_settings(method)}
        assert schema["additionalProperties"] is False
    assert by_method["crispr"]["properties"]["samples"]["minimum"] == 1


def test_the_settings_of_a_method_are_those_of_the_recipe() -> None:
    recipe = Recipe(method="laser", model="m", task="t", rho=(0.5, 0.1), seed=7, sites="*.down")
    assert (recipe.settings.rhos, recipe.settings.seed, recipe.settings.sites) == ((0.5, 0.1), 7, ("*.down",))
