"""The matrix: each window's loss is that of the naive reference, every pass happens once, and planted units come out on the diagonal."""

import dataclasses

import numpy as np
import pytest
import torch

import pico
import planted_languages
from naive import naive_logprob
from resect.core.address import Neurons
from resect.core.errors import InputError
from resect.core.execution import LocalEngine, MemoryJournal, Workers
from resect.edits import controls as control
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.deactivation import DeactivationMatrix, HeldOutText, deactivation_matrix, window_losses
from resect.models.language_model import LanguageModel
from resect.models.text_windows import scored_rows

WINDOW = 16


class Counting(LocalEngine):
    """The engine in process, and how many items it was given."""

    def __init__(self):
        self.items = 0

    def map(self, work, items):
        for item in items:
            self.items += 1
            yield work(item)


def held(model, number=20):
    return {
        name: HeldOutText.of(model, name, planted_languages.documents(name, number, seed=1), WINDOW) for name in planted_languages.LETTERS
    }


def plans():
    return {name: Plan((Scale(units, 0.0),)) for name, units in planted_languages.UNITS.items()}


@pytest.mark.parametrize("name", pico.language_models)
def test_losses_are_those_of_one_row_at_a_time_with_the_units_at_zero(name):
    model = LanguageModel.of(pico.build(name), pico.tokenizer(name))
    text = HeldOutText.of(model, "en", ["a few words", "and some more of them"], 8, 32 if model.kind != "masked" else 8)
    site = next(site for site in model.anatomy.moments if site.role == "act")
    plan = Plan((Scale(Neurons({site: [0, 3]}), 0.0),))
    tokenizer = model.tokenizer
    with plan.applied(model, form="activations"), torch.no_grad():
        wanted = [
            -sum(
                float(naive_logprob(model, row))
                for row in scored_rows([tuple(w)], 8, model.kind, tokenizer.mask_token_id, tokenizer.all_special_ids)
            )
            for w in text.windows.tolist()
        ]
    with plan.applied(model):
        found = window_losses(model, text.windows)
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


def test_planted_units_stand_out_on_the_diagonal_and_random_ones_do_not():
    model = planted_languages.model()
    controls = {name: control.like(plan, model, 0, 2) for name, plan in plans().items()}
    matrix = deactivation_matrix(model, plans(), held(model), controls)
    found = matrix.to_json()
    assert found["languages"] == ["aa", "bb"] and found["units"] == [3, 3] and found["diagonal"]["count"] == 2
    assert found["neg_logprob"]["diagonal"]["is_maximum"] == {"aa": True, "bb": True}
    change, interval = np.array(found["neg_logprob"]["change"]), np.array(found["neg_logprob"]["interval"])
    assert (np.diag(change) > 0.1).all()
    assert (interval[..., 0] <= change).all() and (change <= interval[..., 1]).all()
    assert (np.diag(interval[..., 0]) > 0).all()
    assert np.abs(found["control"]["neg_logprob"]["change"]).max() < 0.1 * np.diag(change).min()
    base, off = (np.array(found["perplexity"][name]) for name in ("base", "deactivated"))
    np.testing.assert_allclose(off, np.exp(found["neg_logprob"]["deactivated"]))
    np.testing.assert_allclose(found["perplexity"]["change"], off - base)


def test_the_comparison_is_the_diagonal():
    model = planted_languages.model()
    texts = held(model)
    matrix = deactivation_matrix(model, plans(), texts, {name: control.like(plan, model, 0, 2) for name, plan in plans().items()})
    comparison, found = matrix.comparison(), matrix.to_json()
    windows = np.array(found["windows"])
    own = np.diag(found["neg_logprob"]["change"])
    assert comparison.difference.mean == pytest.approx(float((own * windows).sum() / windows.sum()))
    assert comparison.edited.by_tag == pytest.approx(
        {"aa": found["neg_logprob"]["deactivated"][0][0], "bb": found["neg_logprob"]["deactivated"][1][1]}
    )
    assert comparison.n_examples == windows.sum() and comparison.difference.broken > comparison.difference.fixed
    assert comparison.base.mean < comparison.edited.mean
    assert abs(comparison.control.mean - comparison.base.mean) < 0.1 * comparison.difference.mean


def test_a_language_without_units_has_the_bases_row_and_costs_no_pass():
    model, engine = planted_languages.model(), Counting()
    given = {**plans(), "bb": Plan()}
    matrix = deactivation_matrix(model, given, held(model), workers=Workers(engine=engine))
    assert engine.items == 2 * 2  # the base, and aa: on two texts
    found = matrix.to_json()
    assert found["neg_logprob"]["deactivated"][1] == found["neg_logprob"]["base"]
    assert found["diagonal"]["is_maximum"]["bb"] is None and found["units"] == [3, 0] and found["control"] is None
    assert matrix.comparison().control is None


def test_each_text_is_scored_once_by_base_language_and_draw_and_never_again():
    model, engine, journal = planted_languages.model(), Counting(), MemoryJournal()
    controls = {name: control.like(plan, model, 0, 2) for name, plan in plans().items()}
    texts = held(model)
    first = deactivation_matrix(model, plans(), texts, controls, workers=Workers(engine=engine, journal=journal))
    assert engine.items == (1 + 2 + 2 * 2) * 2
    again = deactivation_matrix(model, plans(), texts, controls, workers=Workers(engine=engine, journal=journal))
    assert engine.items == (1 + 2 + 2 * 2) * 2
    assert again.to_json() == first.to_json()
    other = dict(texts, aa=HeldOutText.of(model, "aa", planted_languages.documents("aa", 20, seed=2), WINDOW))
    deactivation_matrix(model, plans(), other, controls, workers=Workers(engine=engine, journal=journal))
    assert engine.items == (1 + 2 + 2 * 2) * 3  # of the other text only


def test_the_model_is_as_it_was():
    model = planted_languages.model()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    deactivation_matrix(model, plans(), held(model, 5))
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


def test_held_out_text_is_cut_at_the_limit_and_refused_where_it_is_short():
    model = planted_languages.model()
    lines = planted_languages.documents("aa", 50)
    assert len(HeldOutText.of(model, "aa", lines, WINDOW, 5 * WINDOW + 3).windows) == 5
    assert HeldOutText.of(model, "aa", lines, WINDOW, 5 * WINDOW).scored == 5 * (WINDOW - 1)
    with pytest.raises(InputError, match=r"aa has \d+ tokens, less than one window of 500"):
        HeldOutText.of(model, "aa", lines[:3], 500)
    with pytest.raises(InputError, match=r"units of aa, bb.*held-out text of aa;"):
        deactivation_matrix(model, plans(), {"aa": HeldOutText.of(model, "aa", lines, WINDOW)})


def test_two_equal_largest_changes_are_no_maximum():
    zeros = (np.zeros(3), np.zeros(3))
    matrix = DeactivationMatrix(("aa", "bb"), "lape", (1, 1), WINDOW, (45, 45), "perplexity", zeros, ((np.ones(3), np.ones(3)), zeros))
    assert matrix.to_json()["diagonal"] == {"is_maximum": {"aa": False, "bb": False}, "count": 0, "of": 2}
    assert dataclasses.replace(matrix, units=(0, 1)).to_json()["diagonal"]["is_maximum"] == {"aa": None, "bb": False}
