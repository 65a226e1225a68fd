"""Similarity of parallel sentences: equal to a reference that reads one sentence at a time, on every layout."""

import itertools

import numpy as np
import pytest
import torch

import pico
from resect.core.errors import InputError, NotFinite
from resect.core.execution import LocalEngine, MemoryJournal, Workers
from resect.methods.lape.sentence_similarity import similarity
from resect.models.language_model import LanguageModel
from resect.models.loading import load_model

TEXTS = {
    "en": ["a dog", "the long road home", "x", "good morning to you", "yes"],
    "fr": ["un chien", "la route", "xy", "bonjour", "oui, oui, oui"],
    "ja": ["犬", "長い道", "z", "おはよう", "はい"],
}


def model_of(name, **settings):
    return LanguageModel.of(pico.build(name), pico.tokenizer(name, **({"bos": True} if pico.KINDS[name] == "causal" else {})), **settings)


def embeddings(model, text):
    """[layers, d_model]: one sentence, no padding, what transformers itself gives as hidden states; after the last block, from a hook."""
    (ids,) = model.encoder.encode_documents([text])
    own = [place for place, token in enumerate(ids) if token not in model.tokenizer.all_special_ids]
    hf = model.model
    reader = hf.get_encoder() if model.kind == "encoder-decoder" else hf
    stack = next(iter(model.anatomy.layers))
    last = hf.get_submodule(model.anatomy.block_path(stack, model.anatomy.layers[stack] - 1))
    kept = []
    handle = last.register_forward_hook(lambda _module, _given, output: kept.append(output if torch.is_tensor(output) else output[0]))
    with torch.no_grad():
        states = reader(torch.tensor([ids]), output_hidden_states=True).hidden_states
    handle.remove()
    return np.stack([state[0, own].mean(dim=0).double().numpy() for state in (*states[:-1], kept[0])])


def cosine(one, other):
    return (one * other).sum(axis=-1) / np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))


def naive(model, parallel):
    """Mean cosines a pair and layer, of what belongs together and of what stands half of the text away."""
    states = {language: [embeddings(model, text) for text in texts] for language, texts in parallel.items()}
    n = len(next(iter(parallel.values())))
    even, half = n - n % 2, n // 2
    related, unrelated = {}, {}
    for one, other in itertools.combinations(parallel, 2):
        related[f"{one}-{other}"] = np.mean([cosine(states[one][s], states[other][s]) for s in range(n)], axis=0)
        unrelated[f"{one}-{other}"] = np.mean([cosine(states[one][s], states[other][(s + half) % even]) for s in range(even)], axis=0)
    return related, unrelated


@pytest.mark.slow
@pytest.mark.parametrize("name", pico.language_models)
def test_it_is_what_one_sentence_at_a_time_gives(name):
    model = model_of(name, batch_size=3)
    found = similarity(model, TEXTS)
    related, unrelated = naive(model, TEXTS)
    stack = next(iter(model.anatomy.layers))
    assert found["stack"] == stack == ("decoder" if model.kind == "causal" else "encoder")
    assert found["layers"] == list(range(model.anatomy.layers[stack] + 1))
    assert found["pairs"].keys() == related.keys() == {"en-fr", "en-ja", "fr-ja"}
    for pair, cosines in related.items():
        assert found["pairs"][pair] == pytest.approx(cosines, abs=1e-5)
    assert found["mean"] == pytest.approx(np.mean(list(related.values()), axis=0), abs=1e-5)
    assert found["unrelated"] == pytest.approx(np.mean(list(unrelated.values()), axis=0), abs=1e-5)
    assert (found["n_sentences"], found["languages"]) == (5, ["en", "fr", "ja"])


def test_the_same_text_is_wholly_alike_and_padding_changes_nothing():
    model = model_of("llama")
    twins = {"en": TEXTS["en"], "xx": TEXTS["en"]}
    assert similarity(model, twins)["mean"] == pytest.approx([1.0] * 3, abs=1e-6)
    one_by_one, at_once = (similarity(model_of("llama", batch_size=size), TEXTS) for size in (1, 32))
    assert one_by_one["mean"] == pytest.approx(at_once["mean"], abs=1e-6)
    assert one_by_one["unrelated"] == pytest.approx(at_once["unrelated"], abs=1e-6)


def test_a_text_of_many_pieces_is_compared_as_one():
    model = model_of("llama")
    many = {language: [f"{text} {place * 37 % 101}" for place in range(29) for text in texts] for language, texts in TEXTS.items()}
    found, (related, unrelated) = similarity(model, many, limit=None), naive(model, many)
    assert found["n_sentences"] == 145
    assert found["mean"] == pytest.approx(np.mean(list(related.values()), axis=0), abs=1e-5)
    assert found["unrelated"] == pytest.approx(np.mean(list(unrelated.values()), axis=0), abs=1e-5)


def test_the_order_of_languages_is_kept_and_the_numbers_do_not_depend_on_it():
    model = model_of("llama")
    turned = similarity(model, {language: TEXTS[language] for language in ("ja", "en", "fr")})
    assert turned["languages"] == ["ja", "en", "fr"]
    assert turned["mean"] == pytest.approx(similarity(model, TEXTS)["mean"], abs=1e-9)


def test_empty_and_too_long_sentences_are_left_out_and_counted():
    model = model_of("llama")
    more = {language: [*texts, "", "w " * 400] for language, texts in TEXTS.items()}
    more["fr"][-1] = "un"
    found = similarity(model, more)
    assert found["left_out"] == {"empty": 1, "too_long": 1}
    assert found["n_sentences"] == 5
    assert found["mean"] == pytest.approx(similarity(model, TEXTS)["mean"], abs=1e-6)


def test_a_limit_spreads_over_the_text():
    model = model_of("llama")
    some = {language: [texts[0], texts[2]] for language, texts in TEXTS.items()}
    found = similarity(model, {language: texts[:4] for language, texts in TEXTS.items()}, limit=2)
    assert found["n_sentences"] == 2
    assert found["mean"] == pytest.approx(similarity(model, some)["mean"], abs=1e-6)


def test_what_is_done_stays_done():
    model, journal = model_of("llama"), MemoryJournal()
    first = similarity(model, TEXTS, workers=Workers(journal=journal))

    class Idle(LocalEngine):
        def map(self, work, items):
            assert not list(items)
            yield from ()

    told = []
    again = similarity(
        model, TEXTS, workers=Workers(journal=journal, engine=Idle(), progress=lambda stage, done, total: told.append((done, total)))
    )
    assert again == first
    assert told == []


def test_hooks_are_gone_afterwards_even_after_an_error():
    model = model_of("llama")
    with torch.no_grad():
        model.anatomy.weight("decoder.1.down").fill_(float("nan"))
    with pytest.raises(NotFinite, match="float32"):
        similarity(model, TEXTS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.modules())


@pytest.mark.parametrize(
    ("parallel", "words"),
    [
        ({"en": ["a", "b"]}, "two or more"),
        ({"en": ["a", "b"], "fr": ["a"]}, "en 2, fr 1"),
        ({"en": "ab", "fr": "ab"}, "list of sentences"),
        ({"en": ["a"], "fr": ["b"]}, "at least two"),
        ({"en": ["a", "b"], "fr": ["b", ""]}, "1 are empty"),
        ({"en": ["a", "\ud800"], "fr": ["b", "c"]}, "Unicode"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(parallel, words):
    with pytest.raises(InputError, match=words):
        similarity(model_of("llama"), parallel)


def test_a_limit_below_two_is_refused():
    with pytest.raises(InputError, match="two sentences"):
        similarity(model_of("llama"), TEXTS, limit=1)


@pytest.mark.slow
@pytest.mark.real
def test_translations_are_more_alike_than_other_sentences_in_every_layer(shared):
    model = load_model(str(shared / "models" / "ml7"))
    folder = shared / "data" / "parallel_ntrex"
    parallel = {code: (folder / f"{code}.txt").read_text(encoding="utf-8").splitlines() for code in ("en", "fr", "es")}
    found = similarity(model, parallel, limit=64)
    assert len(found["mean"]) == 7
    assert all(mean > floor for mean, floor in zip(found["mean"], found["unrelated"], strict=True))
