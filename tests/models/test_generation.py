"""The rank of an answer's first token is that of a single run, on every family."""

import copy

import pytest
import torch
from tokenizers import processors

import pico
from naive import naive_rank
from resect.models.language_model import LanguageModel

PROMPTS = ["Who was it, the boy or the girl?", "x", "A longer prompt, for padding on the left "]
ANSWERS = ["the boy", "a", "not known"]


def load(name: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    return LanguageModel.of(pico.build(name, dtype=dtype), pico.tokenizer(name))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float32) for name in pico.language_models), *((name, torch.float64) for name in ("llama", "t5", "bert"))],
)
def test_ranks_are_those_of_one_row_at_a_time(name: str, dtype: torch.dtype) -> None:
    model = load(name, dtype)
    rows, longer = model.generation.encode_first_tokens(PROMPTS, ANSWERS)
    with torch.no_grad():
        assert model.first_token_ranks(rows) == [naive_rank(model, *pair) for pair in zip(PROMPTS, ANSWERS, strict=True)]
    assert longer == (2 if model.kind == "encoder-decoder" else 3)  # elsewhere the blank before "a" is a token of its own


def test_of_equal_tokens_the_lower_id_ranks_first() -> None:
    model = load("llama")
    with torch.no_grad():
        model.model.lm_head.weight.zero_()
    ((rank, best),) = model.first_token_ranks(model.generation.encode_first_tokens(["x"], ["a"])[0])
    assert rank == model.tokens("x", "a").label_ids[0]
    assert best == model.tokenizer.decode([0])


def test_special_tokens_before_a_text_are_no_tokens_of_the_answer() -> None:
    tokenizer = copy.deepcopy(pico.tokenizer("bart"))
    specials = [("<s>", pico.BOS), ("</s>", pico.EOS)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=specials)
    model = LanguageModel.of(pico.build("bart"), tokenizer)
    rows, longer = model.generation.encode_first_tokens(["x"], ["a"])
    assert model.tokens("x", "a").label_ids == (pico.BOS, *rows[0].label_ids[1:], pico.EOS)
    assert longer == 0
    with torch.no_grad():
        assert model.first_token_ranks(rows) == [naive_rank(model, "x", "a")]


def test_a_masked_model_ranks_the_first_of_the_answers_masks() -> None:
    model = load("bert")
    rows, longer = model.generation.encode_first_tokens(["It is <mask>.", "It is <mask>."], ["red", "r"])
    assert [row.input_ids.count(pico.MASK) for row in rows] == [4, 2]
    assert [len(row.label_positions) for row in rows] == [1, 1]
    assert longer == 2
