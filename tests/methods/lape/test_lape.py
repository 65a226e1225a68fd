"""LAPE from text to units, and the selectors it is compared with; their arithmetic is in test_entropy_selection."""

import numpy as np
import pytest

import pico
import planted_languages
import resect
from resect.core.address import Neurons, Site
from resect.core.errors import InputError, WrongModel
from resect.edits.neurons import Scale
from resect.evaluation.deactivation import HeldOutText, deactivation_matrix
from resect.methods.lape.counts import Counts
from resect.methods.lape.lape import Lape
from resect.methods.lape.parameter_variation import ParameterChanges
from resect.methods.lape.settings import SELECTORS
from resect.models.language_model import LanguageModel


def texts(number=60):
    return {language: planted_languages.documents(language, number) for language in planted_languages.LETTERS}


def counts_of(values, tokens=100):
    """Counts with the given probabilities, languages × units, in two layers."""
    counts = np.rint(np.array(values) * tokens).astype(int)
    half = counts.shape[1] // 2
    parts = {"decoder.0.act": counts[:, :half], "decoder.1.act": counts[:, half:]}
    names = ("en", "fr", "ja")[: len(counts)]
    return Counts(names, (tokens,) * len(counts), parts, {site: array * 0.5 for site, array in parts.items()})


def test_planted_units_are_found_and_random_ones_are_others():
    model = planted_languages.model()
    counts = Lape(window=16).record(model, texts())
    assert Lape(fraction=0.08).select(counts) == planted_languages.UNITS
    drawn = Lape(fraction=0.08, selector="random").select(counts)
    assert {name: units.count for name, units in drawn.items()} == {"aa": 3, "bb": 3}
    assert drawn != planted_languages.UNITS
    assert drawn == Lape(fraction=0.08, selector="random").select(counts)
    assert drawn != Lape(fraction=0.08, selector="random", seed=1).select(counts)


@pytest.mark.parametrize("name", pico.language_models)
def test_every_family_can_be_recorded_and_selected_from(name):
    model = LanguageModel.of(pico.build(name), pico.tokenizer(name))
    counts = Lape(window=8).record(model, {"en": ["some words of one language"] * 3, "fr": ["QUELQUES MOTS D'UNE AUTRE"] * 3})
    counts.check(model)
    units = Lape(fraction=0.1, quantile=0.5).select(counts)  # on so little text more than 5 % of the shares are 1
    assert sum(neurons.count for neurons in units.values()) > 0
    assert all(site.role == "act" for neurons in units.values() for site in neurons)
    for plan in Lape().plans(units, model).values():
        assert plan.check(model) == []


def test_a_unit_may_belong_to_several_languages_or_a_language_have_none():
    units = Lape(fraction=0.5, quantile=0.5).select(counts_of([[0.9, 0.9, 0.5, 0.5], [0.0, 0.9, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5]]))
    assert units == {"en": Neurons({"decoder.0.act": [0, 1]}), "fr": Neurons({"decoder.0.act": [1]}), "ja": Neurons()}
    plans = Lape().plans(units)
    assert plans["ja"].edits == () and plans["fr"].edits == (Scale(Neurons({"decoder.0.act": [1]}), 0.0),)


def test_the_selectors_of_the_public_contract():
    values = counts_of([[0.9, 0.1, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2]])
    assert resect.Lape(fraction=0.25, quantile=0.5).select(values)["en"] == Neurons({"decoder.0.act": [0]})
    assert set(SELECTORS) == {"lape", "lap", "lave", "pv", "random"}


def test_lap_and_lave_select_by_their_own_values():
    values = counts_of([[0.99, 0.5, 0.2, 0.2], [0.99, 0.1, 0.2, 0.2]])
    lape, lap = (Lape(fraction=0.5, quantile=0.5, selector=name).select(values) for name in ("lape", "lap"))
    assert lape["en"] == Neurons({"decoder.0.act": [0, 1]}) and lap["en"] == Neurons({"decoder.0.act": [0]})
    negative = Counts(values.languages, values.tokens, values.active, {site: -array for site, array in values.sums.items()})
    assert Lape(fraction=0.5, quantile=0.5, selector="lave").select(values)["en"] == lape["en"]
    assert Lape(fraction=0.5, quantile=0.5, selector="lave").select(negative) == {"en": Neurons(), "fr": Neurons()}


def test_pv_selects_units_that_change_only_in_the_tuning_on_other_languages():
    values = counts_of([[0.5] * 4] * 2)
    changes = ParameterChanges(
        ("en", "fr"), {Site.parse("decoder.0.act"): np.array([[0.0, 0.2], [0.3, 0.2]]), Site.parse("decoder.1.act"): np.full((2, 2), 0.2)}
    )
    assert Lape(fraction=0.25, quantile=0.5, selector="pv").select(values, changes) == {
        "en": Neurons({"decoder.0.act": [0]}),
        "fr": Neurons(),
    }
    with pytest.raises(InputError, match="--checkpoint"):
        Lape(selector="pv").select(values)


def test_scores_are_high_for_units_of_few_languages():
    values = counts_of([[0.9, 0.5, 0.0, 0.2], [0.0, 0.5, 0.0, 0.2]])
    scores = Lape().scores(values)
    assert scores["decoder.0.act"].tolist() == pytest.approx([np.log(2), 0.0]) and scores["decoder.1.act"].tolist() == [0.0, 0.0]
    assert Lape(selector="lave").scores(values).meaning != scores.meaning


def test_deactivation_changes_the_text_of_its_own_language_only():
    model = planted_languages.model()
    method = Lape(window=16, fraction=0.08)
    plans = method.plans(method.select(method.record(model, texts())), model)
    held_out = {name: HeldOutText.of(model, name, planted_languages.documents(name, 20, seed=1), 16) for name in plans}
    change = deactivation_matrix(model, plans, held_out).change()
    assert (np.diag(change) > 0.1).all() and abs(change[0, 1]) < 0.1 * change[0, 0]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"fraction": 1.5}, InputError),
        ({"quantile": -0.1}, InputError),
        ({"window": 1}, InputError),
        ({"tokens": 0}, InputError),
    ],
)
def test_impossible_settings_are_refused(settings, error):
    with pytest.raises(error):
        Lape(**settings)


def test_one_language_can_be_recorded_but_not_selected_from():
    model = planted_languages.model()
    alone = Lape(window=16).record(model, {"aa": texts()["aa"]})
    with pytest.raises(InputError, match="two or more"):
        Lape().select(alone)
    other = Lape(window=16).record(model, {"bb": texts()["bb"]})
    assert Lape(fraction=0.08).select(alone + other) == planted_languages.UNITS
    with pytest.raises(InputError, match="until_stable"):
        Lape(window=16, until_stable=True).record(model, {"aa": texts()["aa"]})
    with pytest.raises(WrongModel):
        (alone + other).check(pico.build("llama-gqa"))


def test_a_model_without_a_feed_forward_activation_is_refused():
    model = LanguageModel.of(pico.build("llama"), pico.tokenizer("llama"))
    model.anatomy.moments = ()
    with pytest.raises(InputError, match="no feed-forward activation"):
        Lape(window=8).record(model, texts())


@pytest.mark.slow
@pytest.mark.real
def test_the_small_model_of_seven_languages_has_the_units_of_its_readme(shared):
    """Not the 100,000 tokens a language of the README, which take a minute: as many of each as distinguish most languages."""
    model = resect.load_model(shared / "models/ml7")
    languages = ("en", "zh", "fr", "es", "vi", "id", "ja")
    data = shared / "data/multilingual_text"
    lines = {name: (data / name / "train.txt").read_text(encoding="utf-8").splitlines() for name in languages}
    counts = Lape(tokens=8_000).record(model, lines)
    method = Lape(fraction=0.05)
    units = method.select(counts)
    all_units = Neurons()
    for neurons in units.values():
        all_units |= neurons
    assert all_units.count == 154
    valid = {name: (data / name / "valid.txt").read_text(encoding="utf-8").splitlines() for name in languages}
    held_out = {name: HeldOutText.of(model, name, valid[name], 128, 1_500) for name in languages}
    matrix = deactivation_matrix(model, method.plans(units, model), held_out)
    assert matrix.diagonal(matrix.change())["count"] >= 6
