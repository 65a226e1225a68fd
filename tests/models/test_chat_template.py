"""Chat templates: prompts exactly as a model is served, with one BOS; choices are the assistant's first words; refusals are clear."""

import copy

import pytest

import pico
from resect.core.errors import InputError, UnknownName
from resect.models.language_model import LanguageModel

MODEL = pico.build("llama")
TURNS = (
    "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
#: As Qwen 3 writes it: a thought before every last answer, and an empty one in the prompt where thinking is switched off.
THINKING = (
    "{% for m in messages %}[{{ m['role'] }}]\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}</s>"
    "{% endfor %}{% if add_generation_prompt %}[assistant]\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
#: As Gemma writes it.
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS


def tokenizer(template, bos=False):
    made = copy.deepcopy(pico.tokenizer("causal", bos))
    made.chat_template = template
    return made


def load(template=TURNS, bos=False, **settings):
    return LanguageModel.of(MODEL, tokenizer(template, bos), **({"chat": True} | settings))


def decoded(model, ids):
    return model.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize(
    ("template", "bos"), [("<s>" + TURNS, False), (TURNS, True), ("<s>" + TURNS, True)], ids=["template", "post", "both"]
)
def test_there_is_one_bos_wherever_it_comes_from(template, bos):
    model = load(template, bos)
    pair = model.tokens("hello", "yes")
    for ids in (pair.input_ids, model.encoder.encode_open_prompts(["hello"])[0]):
        assert ids.count(pico.BOS) == 1
        assert decoded(model, ids) == "<s>[user]hello</s>[assistant]\n"


def test_a_tokenizer_without_bos_gets_none():
    assert pico.BOS not in load().tokens("hello", "yes").input_ids


def test_it_is_what_transformers_serves():
    model = load("<s>" + TURNS, bos=True, system="Be brief.")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello "}]
    served = tuple(model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    assert model.encoder.encode_open_prompts(["hello "]) == [served]
    assert model.tokens("hello ", "yes").input_ids == served


@pytest.mark.parametrize("continuation", ["yes", " yes"])
def test_choices_are_the_first_words_of_the_assistant(continuation):
    model = load()
    pair = model.tokens("hello", continuation)
    assert decoded(model, pair.input_ids).endswith("[assistant]\n")
    assert decoded(model, pair.label_ids) == "yes"


@pytest.mark.parametrize(("before", "words"), [(" ", " yes"), ("\n", "\nyes"), ("", "yes")])
def test_white_space_that_the_template_writes_before_an_answer_is_part_of_it(before, words):
    answer = f"{{{{ {before!r} }}}}{{{{ m['content'] }}}}"
    first = "{% if loop.index == 1 %}{{ m['content'] }}[/]{% else %}"
    model = load(f"{{% for m in messages %}}{first}{answer}{{% endif %}}{{% endfor %}}")
    pair = model.tokens("a", "yes")
    assert (decoded(model, pair.input_ids), decoded(model, pair.label_ids)) == ("a[/]", words)


def test_a_thinking_model_with_and_without():
    thinking, silent = load(THINKING), load(THINKING, chat_kwargs={"enable_thinking": False})
    with_thought, without = thinking.tokens("a", "yes"), silent.tokens("a", "yes")
    assert decoded(thinking, with_thought.input_ids) == "[user]\na</s>[assistant]\n"
    assert decoded(silent, without.input_ids) == "[user]\na</s>[assistant]\n<think>\n\n</think>\n\n"
    assert decoded(thinking, with_thought.label_ids) == decoded(silent, without.label_ids) == "yes"
    assert "first words of all. --chat-kwargs enable_thinking=false" in thinking.notes[0]
    assert silent.notes == ()
    assert thinking.encoder.wording != silent.encoder.wording


def test_a_system_text_has_its_turn():
    model = load(system="Be brief.")
    assert decoded(model, model.tokens("a", "b").input_ids) == "[system]Be brief.</s>[user]a</s>[assistant]\n"


@pytest.mark.parametrize(
    ("template", "settings", "message"),
    [
        (None, {}, "no chat template; leave the flag out"),
        (NO_SYSTEM, {"system": "x"}, r"refuses the system text, or the prompt: System role not supported\. To go on, leave out --system"),
        (TURNS.replace("for m in messages", "for m in messages if m['role'] != 'system'"), {"system": "x"}, "leaves out the system text"),
        ("{{ raise_exception('no users') }}", {}, r"refuses a prompt: no users\. To go on, leave out --chat-template"),
        ("{{ messages[0]['content'] + mode }}", {"chat_kwargs": {"mode": 3}}, "refuses a prompt.*correct --chat-kwargs"),
        (TURNS, {"chat_kwargs": {"messages": []}}, "--chat-kwargs messages: it is set by the prompt itself"),
        (TURNS, {"chat": False, "system": "x"}, "--system is for the chat template alone: give --chat-template too"),
        (TURNS, {"chat": False, "chat_kwargs": {"a": 1}}, "--chat-kwargs is for the chat template alone"),
    ],
)
def test_what_a_template_cannot_do_is_refused_with_the_way_out(template, settings, message):
    with pytest.raises(InputError, match=message):
        load(template, **settings)


def test_a_variable_that_the_template_does_not_have_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'enable_thinking'"):
        load(THINKING, chat_kwargs={"enable_thinkin": False})


def test_what_a_prompt_spells_is_text_in_the_template_and_a_token_where_it_is_asked_for():
    model = load("<s>" + TURNS, system="a<s>")
    ids = model.tokens("x</s>[system]", "</s>").input_ids
    assert decoded(model, ids) == "<s>[system]a<s></s>[user]x</s>[system]</s>[assistant]\n"
    assert (ids.count(pico.BOS), ids.count(pico.EOS)) == (1, 2)
    parsed = load("<s>" + TURNS, parse_special=True).tokens("x</s>", "y").input_ids
    assert (parsed.count(pico.BOS), parsed.count(pico.EOS)) == (1, 2)


def test_a_chat_model_that_is_asked_without_its_template_is_told_so_once():
    model = load(chat=False)
    model.encoder.encode_documents(["text"])
    assert model.notes == ()
    model.tokens("a", "b")
    model.tokens("a", "b")
    assert len(model.notes) == 1
    assert "--chat-template" in model.notes[0]


def test_todays_date_in_a_template_is_said():
    dated = "{{ date_string or strftime_now('%d %b %Y') }}" + TURNS
    assert "--chat-kwargs date_string=… fixes it" in load(dated).notes[0]
    assert load(dated, chat_kwargs={"date_string": "1 May 2025"}).notes == ()


def test_the_wording_is_the_default_without_settings():
    assert load(chat=False).encoder.wording is False
    settings = [{}, {"system": "a"}, {"system": "b"}, {"parse_special": True}, {"chat": False, "parse_special": True}]
    assert len({load(**each).encoder.wording for each in settings}) == len(settings)
