"""Text of the model's own writing is the same for the same seed; its loss and the repetition of samples are those of a plain loop."""

import copy
import math

import numpy as np
import pytest
import torch

import pico
from resect.core.address import Neurons
from resect.core.execution import Workers
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.evaluation.own_text import PROMPTS, TEXTS, OwnText, Writing, repeated_share
from resect.evaluation.text_passages import Passages
from resect.models.language_model import LanguageModel

LINES = [f"line {number} of some made-up text" for number in range(9)]


def load(name):
    return LanguageModel.of(pico.build(name), pico.tokenizer(name))


def own_of(model, seed=0, workers=None):
    return OwnText.of(model, Passages(model, LINES), seed, workers or Workers())


def cut(model):
    site = next(site for site in model.anatomy.sites if site.role == "up")
    return Plan((Scale(Neurons({site: tuple(range(8))}), 0.0),))


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_the_text_is_deterministic_by_its_seed(name):
    torch.manual_seed(1)
    one = own_of(load(name))
    torch.manual_seed(2)
    again, other = own_of(load(name)), own_of(load(name), seed=1)
    assert one.rows == again.rows
    assert one.prompts == again.prompts == other.prompts
    assert one.rows != other.rows
    assert one.digest == again.digest != other.digest
    assert len(one.rows) == TEXTS
    assert 0 < len(one.prompts) <= PROMPTS


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_loss_is_that_of_one_text_at_a_time_and_that_of_sampling(name):
    model = load(name)
    own = own_of(model)
    with torch.no_grad():
        total = sum(model.forward.row_logprobs([row])[0] for row in own.rows)
    assert own.loss() == pytest.approx(-total / sum(len(row.label_ids) for row in own.rows), rel=1e-5)
    assert own.loss() < math.log(pico.VOCAB)  # it is more probable than chance: the model wrote it


def test_a_masked_model_writes_no_text():
    assert own_of(load("bert")) is None


def test_writings_are_those_under_each_plan_and_nothing_is_written_twice():
    model, workers = load("llama"), Workers()
    own, plan = own_of(model, workers=workers), cut(load("llama"))
    base, edited = own.writings([Plan(), plan], workers)
    assert base == Writing(own.loss(), own.continuations())
    with plan.applied(model):
        assert edited == Writing(own.loss(), own.continuations())
    assert edited != base
    model.model.forward = None  # whatever is asked of the model now fails
    assert own_of(model, workers=workers).rows == own.rows
    assert own.writings([Plan(), plan], workers) == [base, edited]


def test_the_comparison_has_both_measures_and_some_texts():
    model = load("llama")
    own, workers = own_of(model), Workers()
    effect, samples = own.compared(cut(model), workers)
    base, edited = own.writings([Plan(), cut(model)], workers)
    assert (effect["base"], effect["edited"]) == (math.exp(base.loss), math.exp(edited.loss))
    assert effect["tokens"] == own.tokens
    assert samples["repetition"] == {"base": base.repetition, "edited": edited.repetition}
    assert len(samples["texts"]) == 4
    unchanged = own.compared(Plan(), workers)
    assert unchanged[0]["base"] == unchanged[0]["edited"]


@pytest.mark.parametrize("seed", range(10))
def test_repetition_counts_runs_that_occurred_before(seed):
    ids = np.random.default_rng(seed).integers(0, 2, 20).tolist()
    runs = [ids[start : start + 4] for start in range(17)]
    assert repeated_share(ids) == pytest.approx(sum(run in runs[:place] for place, run in enumerate(runs)) / 17)


def test_a_loop_repeats_nearly_everything_and_short_texts_nothing():
    assert repeated_share([5] * 48) == pytest.approx(44 / 45)
    assert Writing(0.0, ((5,) * 48, (1, 2))).repetition == pytest.approx(22 / 45)
    assert Writing(0.0, ()).repetition == 0.0


def test_a_text_of_fewer_tokens_than_a_prompt_has_prompts_too():
    model = load("llama")
    own = OwnText.of(model, Passages(model, ["ab", "cd"]), 0, Workers())
    assert all(prompt.input_ids for prompt in own.prompts)
    assert own.continuations()


def test_a_model_without_a_token_to_begin_with_continues_passages():
    model = LanguageModel.of(pico.build("llama"), copy.deepcopy(pico.tokenizer("llama")))
    model.tokenizer.bos_token, model.tokenizer.eos_token = None, None
    passages = Passages(model, LINES)
    own = OwnText.of(model, passages, 0, Workers())
    assert {row.input_ids for row in own.rows} <= {row.input_ids[:1] for row in passages.rows}
