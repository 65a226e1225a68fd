"""The rank of an answer's first token is that of a single run, on every family."""

import copy

import pytest
import torch
from tokenizers import processors

import pico
from naive import naive_rank
from resect.core.errors import NotFinite
from resect.models.encoding import Tokens
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


def naive_sample(model: LanguageModel, prompt: tuple[int, ...], draws: torch.Tensor) -> tuple[int, ...]:
    """The ids that the numbers draw, one forward pass of one row for each."""
    ids: list[int] = []
    end = model.model.generation_config.eos_token_id
    for draw in draws.tolist():
        if model.kind == "causal":
            logits = model.model(torch.tensor([[*prompt, *ids]])).logits[0, -1]
        else:
            decoder = torch.tensor([[model.model.config.decoder_start_token_id, *ids]])
            logits = model.model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0, -1]
        below = torch.cumsum(torch.softmax(logits.double(), dim=0), dim=0)
        ids.append(int((below <= draw * below[-1]).sum()))
        if ids[-1] == end:
            break
    return tuple(ids)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "opt", "t5", "gemma2"])
def test_sampled_ids_are_those_of_one_row_and_token_at_a_time(name: str) -> None:
    model = load(name, torch.float64)
    prompts = [Tokens(ids, ()) for ids in model.encoder.encode_open_prompts(PROMPTS)]
    draws = torch.rand((len(prompts), 6), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        wanted = [naive_sample(model, prompt.input_ids, row) for prompt, row in zip(prompts, draws, strict=True)]
    assert model.continue_prompts(prompts, 6, draws) == wanted
    assert [model.continue_prompts([prompt], 6, draws[[place]])[0] for place, prompt in enumerate(prompts)] == wanted


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_greedy_ids_are_those_of_the_greedy_text_up_to_the_end_token(name: str) -> None:
    model = load(name)
    prompts = model.encode_prompts(PROMPTS, 8)
    ids = model.continue_prompts(prompts, 8)
    assert [model.tokenizer.decode(row, skip_special_tokens=True) for row in ids] == model.generate_encoded(prompts, 8)
    end = model.model.generation_config.eos_token_id
    with torch.no_grad():  # every token is the end token
        model.model.get_output_embeddings().weight.zero_()
    model.model.generation_config.eos_token_id = [end, 0]
    assert model.continue_prompts(prompts, 8) == [(0,)] * len(prompts)


def test_nan_while_sampling_is_refused() -> None:
    model = load("llama")
    with torch.no_grad():
        model.model.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(NotFinite):
        model.continue_prompts([Tokens((pico.BOS,), ())], 2, torch.zeros((1, 2), dtype=torch.float64))
