"""Encoding: blanks, special tokens and masks, by the kind of model."""

import pytest

import pico
from resect.core.errors import InputError
from resect.core.marked_text import MarkedText
from resect.models.language_model import LanguageModel


def load(name: str, bos: bool = False) -> LanguageModel:
    return LanguageModel.of(pico.build(name), pico.tokenizer(name, bos))


def test_a_blank_is_put_between_prompt_and_continuation_only_where_neither_has_one() -> None:
    model = load("llama")
    expected = model.tokens("Answer:", " yes")
    assert model.tokens("Answer:", "yes") == expected
    assert model.tokens("Answer: ", "yes") == expected
    assert model.tokens("Answer:\n", "yes").label_ids == model.tokens("Answer:", "\nyes").label_ids


def test_begin_token_is_not_doubled_where_the_text_has_it() -> None:
    model = load("llama", bos=True)
    assert model.tokens(MarkedText("<s>hello"), "x").input_ids == model.tokens("hello", "x").input_ids


def test_an_encoder_decoder_ends_prompt_and_label() -> None:
    tokens = load("t5").tokens("ab", "c")
    assert tokens.input_ids[-1] == tokens.label_ids[-1] == pico.EOS
    assert len(tokens.input_ids) == 3
    assert len(tokens.label_ids) == 2


def test_a_prompt_has_as_many_masks_as_the_answer_has_tokens() -> None:
    model = load("bert")
    inside, end = model.tokens("It is <mask>.", "red"), model.tokens("It is", "red")
    assert inside.input_ids.count(pico.MASK) == end.input_ids.count(pico.MASK) == len(inside.label_ids)
    assert inside.label_ids == end.label_ids
    assert end.input_ids[-1] == pico.SEP
    assert end.input_ids[-2] == pico.MASK
    with pytest.raises(InputError, match="2 mask tokens"):
        model.tokens("<mask> or <mask>", "red")
