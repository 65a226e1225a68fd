"""Special tokens that texts spell: tokens in a template, text in data unless they are to be parsed, counted and said."""

import copy

import pytest
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

import pico
from resect.core.marked_text import MarkedText
from resect.data.tasks.task import Example, Task
from resect.evaluation.open_ended import question_prompts
from resect.evaluation.questions import Questions
from resect.jobs.steering_inputs import SteeringPrompts
from resect.models.language_model import LanguageModel
from resect.models.special_tokens import SpecialTokens

CAUSAL, MASKED = pico.build("llama"), pico.build("bert")


def load(name="llama", bos=False, **settings):
    return LanguageModel.of(CAUSAL if name == "llama" else pico.build(name), pico.tokenizer(name, bos), **settings)


def spelled(text):
    """Returns the ids of a text letter by letter."""
    return tuple(pico.tokenizer("llama").convert_tokens_to_ids(list(text)))


def test_a_text_without_special_tokens_has_the_ids_that_its_tokenizer_gives():
    model = load(bos=True)
    assert model.tokens("2 < 3 and </", "s").input_ids == tuple(pico.tokenizer("llama", True)("2 < 3 and </")["input_ids"])
    assert model.notes == ()


def test_in_prompts_choices_and_documents_a_special_token_is_text():
    model = load(bos=True)
    pair = model.tokens("a</s>b", "<s>")
    assert pair.input_ids == (pico.BOS, *spelled("a</s>b"))
    assert pair.label_ids[1:] == spelled("<s>")
    assert model.encoder.encode_open_prompts(["<s>a"]) == [(pico.BOS, *spelled("<s>a"))]
    assert model.encoder.encode_documents(["</s>x<pad>"]) == [(pico.BOS, *spelled("</s>x<pad>"), pico.EOS)]


def test_with_parse_special_it_is_the_token_and_none_is_doubled():
    model = load(bos=True, parse_special=True)
    assert model.tokens("<s>a</s>", "b").input_ids == (pico.BOS, *spelled("a"), pico.EOS)
    assert model.encoder.encode_documents(["<s>a</s>"]) == [(pico.BOS, *spelled("a"), pico.EOS)]
    assert model.encoder.encode_documents(["a"]) == [(pico.BOS, *spelled("a"), pico.EOS)]


def test_what_a_template_writes_is_a_token_next_to_data_that_spell_the_same():
    text = MarkedText("<s>a</s></s>b", [(4, 8)])
    assert load(bos=True).tokens(text, "x").input_ids == (pico.BOS, *spelled("a</s>"), pico.EOS, *spelled("b"))


def test_equal_texts_with_other_marks_are_other_inputs():
    model = load()
    marked, plain = MarkedText("a</s>", [(1, 5)]), MarkedText("a</s>")
    as_text, as_token = model.encoder.encode_open_prompts([marked, plain])
    assert (as_text, as_token) == (spelled("a</s>"), (*spelled("a"), pico.EOS))


def test_it_is_counted_once_for_each_text_and_said():
    model = load()
    for _ in range(2):
        model.encode_pairs(["a</s></s>", "a</s></s>"], ["x<pad>", "y"])
    assert model.notes == (
        "2 texts of the data spell special tokens of the tokenizer (</s> 2, <pad> 1). This was read as text; --parse-special reads it as "
        "these tokens.",
    )
    parsed = load(parse_special=True)
    parsed.encoder.encode_documents(["a</s>"])
    assert parsed.notes[0].startswith("One text of the data spells special tokens of the tokenizer (</s> 1). This was read as these tokens")


def test_a_masked_model_fills_the_masks_of_its_prompts_and_no_other():
    model = LanguageModel.of(MASKED, pico.tokenizer("bert"))
    asked = model.tokens("a<mask>b", " c")
    assert asked.input_ids == (pico.CLS, *spelled("a"), pico.MASK, pico.MASK, *spelled("b"), pico.SEP)
    in_template = model.tokens(MarkedText("<mask> is <mask>", [(0, 6)]), "c")
    assert in_template.input_ids[1:7] == spelled("<mask>")
    assert in_template.label_positions == tuple(range(len(in_template.input_ids) - 3, len(in_template.input_ids) - 1))
    in_field = model.tokens(MarkedText("a <mask>", [(0, 8)]), "c")  # a template without one: the field says where the answer goes
    assert in_field == model.tokens("a <mask>", "c")
    assert model.notes[0].count("<mask> 1") == 1
    assert pico.MASK not in model.tokens("a", "<mask>").label_ids
    assert pico.MASK not in model.encoder.encode_documents(["a <mask>"])[0]


def unigram():
    """Returns a tokenizer that has the spelling of its special tokens in its vocabulary of text, and a blank before every text."""
    letters = [(letter, -3.0) for letter in "▁abs</>"]
    core = Tokenizer(Unigram([("<unk>", -9.0), ("</s>", 0.0), *letters], unk_id=0, byte_fallback=False))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")


def test_a_tokenizer_that_finds_a_special_token_in_plain_text_is_given_it_in_two_pieces():
    tokenizer = unigram()
    assert 1 in tokenizer("a</s>b", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    ids = SpecialTokens(tokenizer).encode_as_text(MarkedText("a</s>b", [(1, 5)]))
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁", "a", "<", "/", "s", ">", "b"]


def test_a_tokenizer_without_the_switch_is_given_it_in_two_pieces():
    class OwnTokenizer:
        """Knows no split_special_tokens."""

        def __init__(self):
            self.inner = copy.copy(pico.tokenizer("llama"))
            self.all_special_tokens, self.all_special_ids = self.inner.all_special_tokens, self.inner.all_special_ids

        def __call__(self, text, add_special_tokens=True, verbose=True):
            return self.inner(text, add_special_tokens=add_special_tokens)

    assert SpecialTokens(OwnTokenizer()).encode_as_text(MarkedText("a</s>b", [(1, 5)])) == spelled("a</s>b")


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_the_end_token_of_an_encoder_decoder_is_text_in_data(name):
    tokens = load(name).tokens("a</s>", "</s>")
    assert tokens.input_ids.count(pico.EOS) == tokens.label_ids.count(pico.EOS) == 1


# -- in the prompts of tasks and of steering -------------------------------------------------------------------------------


def question(template, fields, choices=("yes</s>", "no"), instruction="Judge.", name="llama"):
    """Returns the input and the label of the one question of a task, of which the prompt has these parts."""
    examples = [Example(fields, choices, 0, id=str(number)) for number in range(2)]
    task = Task("tiny", examples, (instruction,), template)
    questions = Questions(LanguageModel.of(pico.build(name), pico.tokenizer(name)), task, task.examples)
    pair = questions.encoded_choices(0).pairs.tokens[0]
    return questions.model, pair.input_ids, pair.label_ids


def test_of_a_task_the_template_and_the_instructions_write_tokens_and_fields_and_choices_text():
    template = "<s>{{ instruction }}{{ text|trim }}</s>{{ choices[0] }}"
    model, ids, label = question(template, {"text": " a</s> "}, instruction="Judge<pad>")
    assert ids == (pico.BOS, *spelled("Judge"), pico.PAD, *spelled("a</s>"), pico.EOS, *spelled("yes</s>"))
    assert label[-4:] == spelled("</s>")
    assert "2 texts of the data spell special tokens of the tokenizer (</s> 3)" in model.notes[0]


def test_the_mask_of_a_template_is_filled_and_that_of_a_field_is_text():
    _, ids, label = question("{{ text }} {{ answer }}", {"text": "a<mask>"}, ("b", "c"), name="bert")
    assert ids.count(pico.MASK) == len(label)
    assert ids[1:8] == spelled("a<mask>"[:7])


def test_questions_in_a_template_are_data_in_a_prompt():
    model = load()
    (open_question,) = question_prompts(["Why</s>?"], "en", "")
    assert pico.EOS not in model.encoder.encode_open_prompts([open_question])[0]
    (ended,) = question_prompts(["Why?"], "en", "</s>")
    assert model.encoder.encode_open_prompts([ended])[0].count(pico.EOS) == 1
    steered = SteeringPrompts.of("en", {"en": ["Why</s>?"]}, "<s>{prompt}</s>", False).reported[0]
    ids = model.encoder.encode_open_prompts([steered])[0]
    assert (ids[0], ids[-1], ids.count(pico.EOS)) == (pico.BOS, pico.EOS, 1)
