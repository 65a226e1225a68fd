"""Perplexity with a sliding window, against one forward pass a token."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.analyses.studies import model_of, study_of
from resect.core.errors import InputError, NotFinite
from resect.core.execution import MemoryJournal, Workers
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.methods.analyses import perplexity as module
from resect.models.text_windows import sliding_rows

TEXTS = ("A first document, of a few words.", "And a second one: it goes on a little longer than the first.")


def naive(model, ids, window, stride):
    """exp of the mean −log P of each token but the first, one run a token; its window is the first that reaches it."""
    losses = []
    for place in range(1, len(ids)):
        start = next(start for start in range(0, len(ids), stride) if place < start + window)
        with torch.no_grad():
            logits = model.model(input_ids=torch.tensor([ids[start:place]]), use_cache=False).logits[0, -1].double()
        losses.append(-float(torch.log_softmax(logits, dim=-1)[ids[place]]))
    return math.exp(math.fsum(losses) / len(losses))


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "opt"])
def test_it_is_what_one_run_a_token_gives(name):
    model = model_of(name)
    ids = tuple(token for document in model.encoder.encode_documents(TEXTS) for token in document)
    for window, stride in ((16, 8), (24, 5), (1000, 500)):
        rows = sliding_rows(ids, window, stride)
        found = module._perplexity(study_of(model, texts=TEXTS), rows, window, Plan())
        assert found == pytest.approx(naive(model, ids, window, stride), rel=1e-9)


def test_before_and_after_of_a_model_with_a_short_context():
    model = model_of("llama")
    model.model.config.max_position_embeddings = 32
    study = study_of(model, texts=TEXTS)
    found = module.perplexity(study)
    assert (found["window"], found["stride"]) == (32, 16)
    ids = tuple(token for document in model.encoder.encode_documents(TEXTS) for token in document)
    assert found["tokens"] == len(ids) - 1 > 64
    assert found["base"] == pytest.approx(naive(model, ids, 32, 16), rel=1e-9)
    with study.plan.applied(model):
        assert found["edited"] == pytest.approx(naive(model, ids, 32, 16), rel=1e-9)


@given(st.integers(2, 60), st.integers(2, 30), st.data())
def test_every_token_but_the_first_is_scored_once(length, window, data):
    stride = data.draw(st.integers(1, window - 1))
    ids = tuple(range(length))
    rows = sliding_rows(ids, window, stride)
    assert [token for row in rows for token in row.label_ids] == list(ids[1:])
    for row in rows:
        whole = row.input_ids + row.label_ids
        assert len(whole) <= window and list(whole) == list(range(whole[0], whole[-1] + 1)) and row.input_ids
    for row in rows[1:]:
        assert len(row.input_ids) >= window - stride


@pytest.mark.parametrize("name", ["t5", "bert"])
def test_other_kinds_are_read_as_elsewhere_and_say_so(name):
    model = model_of(name)
    found = module.perplexity(study_of(model, texts=TEXTS))
    assert found["base"] == pytest.approx(model.perplexity(TEXTS))
    assert found["stride"] is None and "No window slides" in found["how"]
    assert found["kind"] == ("pseudo-perplexity" if name == "bert" else "perplexity")


def test_a_text_that_is_too_short_is_refused():
    model = model_of("llama")
    with pytest.raises(InputError, match="two tokens"):
        module._rows(model, (), 16, 8)


def test_a_model_that_gives_nan_is_refused():
    model = model_of("llama")
    model.anatomy.write("decoder.1.down", [0], float("nan"))
    with pytest.raises(NotFinite):
        module.perplexity(study_of(model, texts=TEXTS, plan=Plan((ReduceRank("decoder.0.down", 0.5),))))


def test_what_was_read_is_kept():
    journal = MemoryJournal()
    once = module.perplexity(study_of(texts=TEXTS, workers=Workers(journal=journal)))
    broken = model_of()
    broken.anatomy.write("decoder.1.down", [0], float("nan"))
    assert module.perplexity(study_of(broken, texts=TEXTS, workers=Workers(journal=journal))) == once
