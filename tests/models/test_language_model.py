"""Batched, padded and cached results equal those of one row at a time, on every family."""

import math

import numpy as np
import pytest
import torch
import transformers

import pico
from naive import naive_logprob, naive_text
from resect.core.errors import InputError, NotFinite, PromptTooLong
from resect.models.language_model import LanguageModel, perplexity_of

PROMPTS = ["Who was it, the boy or the girl?", "x", "A longer prompt, for padding on the left "]
CHOICES = ["the boy", "a", "not known"]


def load(name: str, bos: bool = False, **settings: object) -> LanguageModel:
    return LanguageModel.of(pico.build(name), pico.tokenizer(name, bos), **settings)


def pairs() -> tuple[list[str], list[str]]:
    return [prompt for prompt in PROMPTS for _ in CHOICES], CHOICES * len(PROMPTS)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", pico.language_models)
def test_batched_logprobs_equal_those_of_one_row_at_a_time(name: str, bos: bool) -> None:
    if bos and pico.KINDS[name] != "causal":
        pytest.skip("only causal tokenizers begin with BOS")
    model = load(name, bos)
    prompts, choices = pairs()
    tokens = [model.tokens(prompt, choice) for prompt, choice in zip(prompts, choices, strict=True)]
    with torch.no_grad():
        expected = [float(naive_logprob(model, row)) for row in tokens]
    error = np.abs(model.logprobs(prompts, choices) - expected) / [len(row.label_ids) for row in tokens]
    assert error.max() < 1e-5


@pytest.mark.parametrize("name", pico.language_models)
def test_rows_with_gradients_give_the_same_logprobs(name: str) -> None:
    model = load(name)
    tokens = [model.tokens(prompt, choice) for prompt, choice in zip(*pairs(), strict=True)]
    with torch.no_grad():
        logprobs = model.forward.label_logprobs(model.forward.collate(tokens)).sum(dim=1)
        expected = torch.stack([naive_logprob(model, row) for row in tokens])
    lengths = torch.tensor([len(row.label_ids) for row in tokens])
    assert ((logprobs - expected).abs() / lengths).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "t5", "bart", "bert", "modernbert"])
def test_batched_generation_equals_greedy_decoding_by_hand(name: str, dtype: torch.dtype) -> None:
    model = LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name))
    texts = model.generate(PROMPTS, max_new_tokens=5)
    assert texts == [naive_text(model, prompt, 5) for prompt in PROMPTS]


def test_equal_prompts_are_run_once() -> None:
    model = load("llama")
    encoded = model.encode_pairs(*pairs())
    assert len(encoded) == 9
    assert len(encoded.prompts) == 3


def test_a_choice_without_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="no token"):
        load("llama").logprobs(["a"], [""])


def test_prompts_that_do_not_fit_are_counted_and_refused() -> None:
    model = load("gpt2")
    long = "x" * ((model.context or 0) + 1)
    with pytest.raises(PromptTooLong, match="1 of 2 prompts"):
        model.logprobs(["short", long], ["a", "a"])


def test_nan_is_an_error_that_says_how_to_go_on() -> None:
    model = load("llama")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[:] = math.nan
    with pytest.raises(NotFinite, match="--dtype float32"):
        model.logprobs(["a"], ["b"])
    with pytest.raises(NotFinite, match="--dtype float32"):
        model.generate(["a"])
    with pytest.raises(NotFinite, match="--dtype float32"):
        model.first_token_ranks(model.generation.encode_first_tokens(["a", "b"], ["c", "d"])[0])


@pytest.mark.parametrize("name", ["llama", "t5", "bert"])
def test_the_log_likelihood_of_parts_adds_up_to_that_of_the_text(name: str) -> None:
    model = load(name)
    rows = model.text_rows(["some text", "more of it, and longer", "and a third"], window=8)
    total, tokens = model.text_logprob(["some text", "more of it, and longer", "and a third"], window=8)
    assert model.total_logprob(rows[:3]) + model.total_logprob(rows[3:]) == pytest.approx(total)
    assert tokens == sum(len(row.label_ids) for row in rows)
    assert [model.input_length(row) for row in rows] == sorted(map(model.input_length, rows), reverse=True)


def test_a_perplexity_too_large_for_a_float_is_an_error() -> None:
    assert perplexity_of(-2.0, 2) == pytest.approx(math.e)
    with pytest.raises(NotFinite, match=r"exp\(1000\)"):
        perplexity_of(-2000.0, 2)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_batch_size_does_not_change_the_logprobs(batch_size: int) -> None:
    expected = load("llama").logprobs(*pairs())
    assert np.allclose(load("llama", batch_size=batch_size).logprobs(*pairs()), expected, atol=1e-5)


def test_perplexity_of_a_causal_model_is_the_mean_over_all_tokens_but_the_first() -> None:
    model = load("llama")
    ids = model.encoder.encode_documents(["some text", "more of it, and longer"])
    with torch.no_grad():
        rows = [torch.log_softmax(model.model(torch.tensor([row])).logits[0, :-1], -1) for row in ids]
    gathered = [row[range(len(i) - 1), i[1:]] for row, i in zip(rows, ids, strict=True)]
    expected = math.exp(-float(torch.cat(gathered).mean()))
    assert model.perplexity(["some text", "more of it, and longer"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["t5", "bert"])
def test_perplexity_is_defined_for_every_kind(name: str) -> None:
    model = load(name)
    assert 1 < model.perplexity(["some text", "more of it, and longer"]) < math.inf
    with pytest.raises(InputError, match="two tokens"):
        model.perplexity([])


def test_the_model_stays_itself() -> None:
    hf = pico.build("llama")
    names, kind = list(hf.state_dict()), type(hf)
    model = LanguageModel.of(hf, pico.tokenizer("llama"))
    model.logprobs(*pairs())
    assert model.model is hf
    assert type(hf) is kind
    assert list(hf.state_dict()) == names


def test_the_context_of_a_family_without_a_line_that_counts_positions_as_roberta_does():
    sizes = {"vocab_size": pico.VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = transformers.CamembertConfig(**sizes, max_position_embeddings=34, pad_token_id=pico.PAD, bos_token_id=pico.CLS)
    model = LanguageModel.of(transformers.AutoModelForMaskedLM.from_config(config), pico.tokenizer("masked"))
    assert model.context == 34 - pico.PAD - 1
