"""The authors' 24 choices: which matrix they reduce, and which models and tasks are refused."""

import pytest
from transformers import GPTJConfig, LlamaConfig, MistralConfig, RobertaConfig

import pico
from resect.core.errors import InputError, UnknownName
from resect.edits.matrices import ReduceRank
from resect.methods.laser.published_choices import CHOICES, SHAPES, published_reduction
from resect.models.anatomy import Anatomy

LLAMA = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 11008}
MODELS = {
    "roberta-base": RobertaConfig(),
    "gpt-j-6b": GPTJConfig(),
    "llama-2-7b": LlamaConfig(**LLAMA),
}
TASKS = ("counterfact", "hotpotqa", "fever", "bios/gender", "bios/profession", "epistemic", "truthfulqa", "wikidata")


def test_there_are_24_choices_of_three_models_and_eight_tasks():
    assert set(CHOICES) == {(model, task) for model in MODELS for task in TASKS}
    assert list(SHAPES) == list(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_choice_is_a_matrix_that_the_model_has(name):
    anatomy = Anatomy.of_config(MODELS[name])
    for task in TASKS:
        side, layer, rho = CHOICES[name, task]
        edit = published_reduction(anatomy, task)
        assert (edit.site.layer, edit.rho) == (layer, rho)
        assert edit.site.role == {"in": "gate" if anatomy.gated else "up", "out": "down"}[side]
        edit.check_fits(anatomy)


def test_some_choices_are_those_of_the_table():
    anatomies = {name: Anatomy.of_config(config) for name, config in MODELS.items()}
    assert published_reduction(anatomies["roberta-base"], "hotpotqa") == ReduceRank("encoder.2.down", 0.4)
    assert published_reduction(anatomies["gpt-j-6b"], "counterfact") == ReduceRank("decoder.27.up", 0.01)
    assert published_reduction(anatomies["llama-2-7b"], "bios/profession") == ReduceRank("decoder.30.down", 0.4)
    assert published_reduction(anatomies["llama-2-7b"], "truthfulqa") == ReduceRank("decoder.30.gate", 0.05)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LlamaConfig(**{**LLAMA, "num_hidden_layers": 30}), "llama of 30 layers.*llama-2-7b is a llama of 32 layers"),
        (LlamaConfig(**{**LLAMA, "intermediate_size": 14336}, num_key_value_heads=8), "d_ff 14336"),  # Llama 3
        (MistralConfig(**LLAMA), "none is of this family"),
        (pico.PICO["t5"](), "a t5 of 2 layers"),
    ],
)
def test_other_models_are_refused_with_the_reason(config, words):
    with pytest.raises(InputError, match=words):
        published_reduction(Anatomy.of_config(config), "counterfact")


def test_other_tasks_are_refused_with_the_known_ones():
    anatomy = Anatomy.of_config(MODELS["gpt-j-6b"])
    with pytest.raises(UnknownName, match=r"Did you mean 'counterfact'\?.*wikidata"):
        published_reduction(anatomy, "counterfacts")
    with pytest.raises(UnknownName, match="search instead"):
        published_reduction(anatomy, "bbq/age")
