"""Scores and texts of discovered families are those of rows run alone, also where a model has no cache that can be continued."""

import pytest
import torch
import transformers

import pico
from methods.laser.test_laser import task_of
from naive import naive_logprob, naive_text
from resect.methods.crispr.crispr import Crispr
from resect.models.language_model import LanguageModel

PROMPTS = ("a question", "what is the longest prompt of all of these?", "b")
ANSWERS = (("yes", "no"), ("perhaps it is", "no"), ("x", "yy z"))
#: Without a cache of single tokens that could be chosen from: with state spaces, linear attention or short convolutions, or with none.
WITHOUT_CACHE = {
    "mamba": lambda: transformers.MambaConfig(vocab_size=pico.VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4),
    "bamba": lambda: transformers.BambaConfig(vocab_size=pico.VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
                                              num_attention_heads=4, num_key_value_heads=2, attn_layer_indices=[1], mamba_n_heads=8,
                                              mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1),
}  # fmt: skip
HYBRIDS = ("qwen3.5", "lfm2", "openai-gpt", *WITHOUT_CACHE)
OTHERS = ("gemma4", "cohere2", "marian", "albert", *pico.FEW_EXPERTS)


def model_of(name):
    if name in WITHOUT_CACHE:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            hf = transformers.AutoModelForCausalLM.from_config(WITHOUT_CACHE[name]()).eval().requires_grad_(False)
        return LanguageModel.of(hf, pico.tokenizer("causal"), batch_size=8)
    return LanguageModel.of(pico.build(name).requires_grad_(False), pico.tokenizer(name), batch_size=8)


@pytest.mark.parametrize("name", [*HYBRIDS, *OTHERS])
def test_scores_are_those_of_rows_run_alone(name):
    model = model_of(name)
    prompts = [prompt for prompt, own in zip(PROMPTS, ANSWERS, strict=True) for _ in own]
    answers = [answer for own in ANSWERS for answer in own]
    alone = [float(naive_logprob(model, model.tokens(prompt, answer))) for prompt, answer in zip(prompts, answers, strict=True)]
    assert model.logprobs(prompts, answers).tolist() == pytest.approx(alone, rel=1e-4, abs=1e-3)
    assert model.forward.needs_right_padding == (name in HYBRIDS)


@pytest.mark.parametrize("name", [*HYBRIDS, *(name for name in OTHERS if name != "albert")])
def test_texts_are_those_of_prompts_run_alone(name):
    model = model_of(name)
    assert model.generate(PROMPTS, 4) == [naive_text(model, prompt, 4) for prompt in PROMPTS]


@pytest.mark.parametrize(("name", "left_out"), [("deberta-v2", "attention.self.pos_key_proj"), ("deberta", "attention.self.pos_proj")])
def test_nothing_is_attributed_to_what_is_the_same_for_all_texts(name, left_out):
    model = model_of(name)
    assert not model.anatomy.is_by_row(f"encoder.0.{left_out}")
    assert any(left_out in sentence for sentence in model.anatomy.not_covered)
    scores = Crispr(samples=4).locate(model, task_of(groups=24))
    assert {site.role for site in scores} == {site.role for site in model.anatomy.sites if model.anatomy.is_by_row(site)}
