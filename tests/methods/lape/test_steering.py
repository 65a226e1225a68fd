"""Steering: the plan changes activations by the formula of its mode, at every token, in every family, and changes no others."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import pico
from resect.core.address import Neurons, Site
from resect.core.errors import InputError, UnknownName, WrongModel
from resect.data.texts import read_texts
from resect.edits.neurons import Clamp, Scale, Shift
from resect.edits.plan import Plan
from resect.evaluation.open_ended import generate_answers
from resect.methods.lape.counts import Counts
from resect.methods.lape.lape import Lape
from resect.methods.lape.steering import MODES, steering_plan
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import ModelIdentity, stored_matrix
from resect.models.hooks import forward_hooks
from resect.models.loading import load_model

LANGUAGES = ("en", "fr", "ja")
TOKENS = (40, 50, 80)


def acts(anatomy: Anatomy) -> tuple[Site, ...]:
    return tuple(site for site in anatomy.moments if site.role == "act")


def counted(anatomy: Anatomy, *, sums: bool = True, model: ModelIdentity | None = None) -> Counts:
    """Random counts with sums that have a sign."""
    rng = np.random.default_rng(7)
    active = {site: rng.integers(0, 40, (3, anatomy.width(site))) for site in acts(anatomy)}
    drawn = {site: rng.normal(size=(3, anatomy.width(site))) * 30 for site in acts(anatomy)}
    return Counts(LANGUAGES, TOKENS, active, drawn if sums else None, model)


def units(anatomy: Anatomy) -> dict[str, Neurons]:
    """Units of three languages, in all layers; en and fr share unit 2, ja has none."""
    sites = acts(anatomy)
    return {
        "en": Neurons({site: [2, 5] for site in sites}),
        "fr": Neurons({site: [2, 3 + place] for place, site in enumerate(sites)}),
        "ja": Neurons(),
    }


@contextmanager
def seen(anatomy: Anatomy, sites: tuple[Site, ...]) -> Iterator[dict[Site, Tensor]]:
    """The values at these sites; at post where act and post are equal, since edits change units there."""
    values: dict[Site, Tensor] = {}
    tapped = {site if anatomy.has_gate(site) else site.at("post"): site for site in sites}
    with forward_hooks(anatomy, tuple(tapped), lambda site, found: values.__setitem__(tapped[site], found.clone())):
        yield values


def expected_values(mode: str, strength: float, before: Tensor, counts: Counts, site: Site, indices: tuple[int, ...]) -> Tensor:
    """The activations of units of fr by the formula of the mode."""
    assert counts.sums is not None
    means = [np.array([counts.sums[site][row][unit] / TOKENS[row] for unit in indices]) for row in range(3)]
    constant = torch.tensor(strength * means[1], dtype=before.dtype).expand_as(before)
    if mode == "difference":
        return before + torch.tensor(strength * (means[1] - (means[0] + means[2]) / 2), dtype=before.dtype)
    return {"set": constant, "add": before + constant, "multiply": strength * before}[mode]


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.PICO)
def test_activations_follow_the_formula_of_the_mode_at_every_token(name: str) -> None:
    model = pico.build(name, dtype=torch.float32)
    anatomy = Anatomy.of(model)
    counts, of, sites = counted(anatomy), units(anatomy), acts(anatomy)
    for mode in MODES:
        plan = steering_plan(counts, of, "fr", "en", mode, 1.5)
        with seen(anatomy, sites) as before, plan.applied(model, form="activations"), seen(anatomy, sites) as after:
            pico.output(name, model)
        for site in sites:
            chosen, gone = of["fr"][site], [5] if 5 not in of["fr"][site] else []
            others = [unit for unit in range(anatomy.width(site)) if unit not in (*chosen, *gone)]
            expected = expected_values(mode, 1.5, before[site][..., list(chosen)], counts, site, chosen)
            assert torch.equal(after[site][..., list(chosen)], expected), (mode, site)
            assert not after[site][..., gone].any(), (mode, site)
            assert torch.equal(after[site][..., others], before[site][..., others]), (mode, site)


@pytest.mark.parametrize("name", ["llama", "llama-biased", "gpt2", "t5", "t5-gated", "opt", "phi3", "bert"])
def test_both_forms_have_the_same_effect_and_are_undone(name: str) -> None:
    model = pico.build(name, dtype=torch.float64)
    anatomy = Anatomy.of(model)
    counts, of = counted(anatomy), units(anatomy)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    base = pico.output(name, model)
    for mode in MODES:
        plan = steering_plan(counts, of, "fr", "en", mode)
        found = []
        for form in ("auto", "activations"):
            with plan.applied(model, form=form):
                found.append(pico.output(name, model))
            assert torch.equal(pico.output(name, model), base)
            assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)
        assert not torch.allclose(found[0], base)


def test_the_edits_are_those_of_the_mode() -> None:
    anatomy = Anatomy.of(pico.build("llama"))
    counts, of = counted(anatomy), units(anatomy)
    kinds = {mode: [type(edit) for edit in steering_plan(counts, of, "fr", mode=mode).edits] for mode in MODES}
    assert kinds == {"set": [Clamp], "add": [Shift], "multiply": [Scale], "difference": [Shift]}
    plan = steering_plan(counts, of, "fr", "en")
    assert plan.edits[0] == Scale(of["en"] - of["fr"], 0.0)
    assert plan == steering_plan(counts, of, "fr", "en", "set", 1.0)
    assert plan.edits[1].sites == tuple(of["fr"])
    assert steering_plan(counts, of, "fr", mode="multiply").edits == (Scale(of["fr"], 2.0),)
    assert Plan.from_json(plan.to_json()) == plan


def test_the_plan_is_for_the_model_of_the_counts() -> None:
    model, other = pico.build("llama"), pico.build("llama", seed=1)
    anatomy = Anatomy.of(model)
    counts = counted(anatomy, model=ModelIdentity.of(model, acts(anatomy)))
    one_layer = {"fr": Neurons({"decoder.1.act": [3]})}
    plan = steering_plan(counts, one_layer, "fr")
    assert plan == steering_plan(counted(anatomy), one_layer, "fr").for_model(model)
    assert plan.model is not None
    assert set(plan.model.shapes) == {stored_matrix(Site.parse("decoder.1.act"))}
    plan.choose_forms(model)
    with pytest.raises(WrongModel):
        plan.choose_forms(other)
    assert steering_plan(counted(anatomy), one_layer, "fr").model is None


def test_plans_that_would_change_nothing_or_are_impossible_are_refused() -> None:
    anatomy = Anatomy.of(pico.build("llama"))
    counts, of = counted(anatomy), units(anatomy)
    bare = counted(anatomy, sums=False)
    for language, source in (("de", None), ("fr", "de")):
        with pytest.raises(UnknownName, match="'de'"):
            steering_plan(counts, of, language, source)
    with pytest.raises(UnknownName, match=r"'sett'.*'set'"):
        steering_plan(counts, of, "fr", mode="sett")
    for language, source in (("ja", None), ("fr", "ja")):
        with pytest.raises(InputError, match=r"ja has no units.*en, fr"):
            steering_plan(counts, of, language, source)
    with pytest.raises(InputError, match="both"):
        steering_plan(counts, of, "fr", "fr")
    with pytest.raises(InputError, match="units of fr too"):
        steering_plan(counts, of | {"en": of["fr"]}, "fr", "en")
    for mode, strength in (("add", 0.0), ("difference", 0), ("multiply", 1.0)):
        with pytest.raises(InputError, match="as it is"):
            steering_plan(counts, of, "fr", mode=mode, strength=strength)
    with pytest.raises(InputError, match="finite"):
        steering_plan(counts, of, "fr", strength=float("nan"))
    with pytest.raises(InputError, match="no sums"):
        steering_plan(bare, of, "fr")
    assert steering_plan(bare, of, "fr", mode="multiply").edits
    with pytest.raises(InputError, match="none"):
        steering_plan(counts.subset(("fr",)), of, "fr", mode="difference")
    with pytest.raises(UnknownName, match="these counts"):
        steering_plan(counts.subset(("en", "ja")), of, "fr")
    with pytest.raises(WrongModel, match="two models"):
        steering_plan(counts, {"fr": Neurons({"decoder.0.act": [999]})}, "fr")
    with pytest.raises(WrongModel, match="two models"):
        steering_plan(counts, {"fr": Neurons({"decoder.9.act": [0]})}, "fr")


@pytest.mark.slow
@pytest.mark.real
def test_a_real_model_of_seven_languages_answers_in_chinese(shared: Path) -> None:
    model = load_model(str(shared / "models" / "ml7"), dtype="float32", device="cpu")
    texts = {
        name: read_texts([shared / "data" / "multilingual_text" / name / "valid.txt"])[:300] for name in ("en", "zh", "fr", "es", "id")
    }
    lape = Lape(fraction=0.05, tokens=6400)
    recorded = lape.record(model, texts)
    plan = steering_plan(recorded, lape.select(recorded), "zh", "en", "add", 4.0)
    prompts = ["2018", "1.", "10 %", "3,5", "NLP", "GPT-2", "BERT", "(1)", "US$ 20", "12:30", "1990", "Google", "1, 2, 3", "100", "Python"]
    before, after = (generate_answers(model, each, prompts, new_tokens=16) for each in (Plan(), plan))
    han, kana = re.compile("[\u4e00-\u9fff]"), re.compile("[\u3040-\u30ff]")
    chinese = lambda answers: sum(han.search(text) is not None and kana.search(text) is None for text in answers)
    assert chinese(after) >= chinese(before) + 5
