"""A discovered anatomy is verified once, and a law that fails is said."""

import json

import pytest
import torch
import transformers

import pico
from resect.edits.verified import kept_verification, verified, verify_again, warn_where_laws_fail
from resect.models import discovery_cache
from resect.models.anatomy import Anatomy


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESECT_CACHE", str(tmp_path))
    monkeypatch.setattr(discovery_cache, "_in_memory", {})


@pytest.fixture
def model():
    sizes = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.GemmaConfig(vocab_size=pico.VOCAB, head_dim=8, **sizes, **pico.IDS)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def _file(tmp_path):
    (file,) = (tmp_path / "anatomies").glob("*-laws*.json")
    return file


def test_a_verification_is_kept_and_read(model, tmp_path):
    assert kept_verification(model.config) is None
    first = verified(model.config)
    assert first.holds
    assert kept_verification(model.config) == first
    stored = json.loads(_file(tmp_path).read_text(encoding="utf-8"))
    _file(tmp_path).write_text(json.dumps(stored | {"covered": 0.5}), encoding="utf-8")
    assert verified(model.config).covered == 0.5
    assert verify_again(model.config) == verified(model.config) == first


def test_a_damaged_file_is_written_again(model, tmp_path):
    first = verified(model.config)
    _file(tmp_path).write_text("{", encoding="utf-8")
    assert kept_verification(model.config) is None
    assert verified(model.config) == first == kept_verification(model.config)


def test_a_law_that_fails_is_said_each_time(model, monkeypatch):
    warn_where_laws_fail(model)  # nothing: all hold
    right = Anatomy.slot
    wrong = lambda self, site: right(self, str(site).replace(".k", ".v"))  # the weights of another matrix
    monkeypatch.setattr(Anatomy, "slot", wrong)
    verify_again(model.config)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"gemma model was found on a tiny model.*decoder\.0\.k.*do not trust"):
            warn_where_laws_fail(model)


def test_a_family_of_the_table_is_not_verified(tmp_path):
    warn_where_laws_fail(pico.build_on_meta("gpt2"))
    assert not (tmp_path / "anatomies").exists()
