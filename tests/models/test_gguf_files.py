"""GGUF files as models: they load by their path, and what is damaged or unknown is refused with a sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch

import quantized
from resect.core.errors import BadModel, UnknownFamily
from resect.models.anatomy import Anatomy
from resect.models.gguf_files import bits_per_weight, check_gguf, gguf_parts
from resect.models.loading import load_config, load_model

pytest.importorskip("gguf", reason="gguf is not installed (the extra `quantized`)")
pytest.importorskip("accelerate", reason="accelerate is not installed")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return quantized.save(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def plain(full, tmp_path_factory):
    return quantized.write("gguf-f32", full, tmp_path_factory.mktemp("gguf"))


def test_a_file_of_plain_numbers_is_the_model_it_was_made_of(full, plain):
    model, base = load_model(plain, device="cpu"), load_model(full, device="cpu")
    ids = torch.arange(10, 40)[None]
    assert torch.equal(model.model(ids).logits, base.model(ids).logits)
    assert model.fingerprint(model.anatomy.sites) == base.fingerprint(base.anatomy.sites)
    text = "hello, he heard élan"
    assert model.tokenizer(text)["input_ids"] == base.tokenizer(text)["input_ids"]
    assert model.name == plain.name


def test_the_configuration_alone_is_read_from_the_file(full, plain):
    assert Anatomy.of_config(load_config(str(plain))).sites == Anatomy.of_config(load_config(str(full))).sites


@pytest.mark.parametrize(("scheme", "bits"), [("gguf-f32", None), ("gguf-q8", 8.5), ("gguf-q4", 4.5)])
def test_the_bits_of_a_weight_are_those_of_its_blocks(full, tmp_path, scheme, bits):
    assert bits_per_weight(quantized.write(scheme, full, tmp_path)) == bits


def test_a_path_is_a_file_or_a_file_on_the_hub(plain, tmp_path, monkeypatch):
    assert gguf_parts(str(plain)) == (str(plain.parent), plain.name)
    monkeypatch.chdir(plain.parent)
    assert gguf_parts(plain.name) == (".", plain.name)
    assert gguf_parts("owner/name/sub/Model.GGUF") == ("owner/name", "sub/Model.GGUF")
    (tmp_path / "folder.gguf").mkdir()
    for path in ("owner/name", "name.gguf", "owner/name.gguf", "./a/b.gguf", "/a/b/c.gguf", str(tmp_path / "folder.gguf"), str(tmp_path)):
        assert gguf_parts(path) is None


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.01, 0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_off_is_refused(plain, tmp_path, share):
    whole = plain.read_bytes()
    file = tmp_path / "cut.gguf"
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadModel, match="damaged or cut off"):
        load_model(file, device="cpu")


def test_noise_is_no_gguf_file(tmp_path):
    file = tmp_path / "noise.gguf"
    file.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(BadModel, match="no complete GGUF file"):
        check_gguf(file)


def test_an_architecture_that_transformers_does_not_know_is_named(full, tmp_path):
    file = quantized.write_gguf(full, tmp_path / "odd.gguf", "F32", architecture="rwkv6")
    with pytest.raises((BadModel, UnknownFamily), match="rwkv6"):
        load_model(file, device="cpu")


def test_a_folder_of_gguf_files_says_which_to_give(plain):
    with pytest.raises(BadModel, match=plain.name):
        load_config(str(plain.parent))
    with pytest.raises(BadModel, match="There is no file"):
        load_config(str(Path("nowhere") / "model.gguf"))
