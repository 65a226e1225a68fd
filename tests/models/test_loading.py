"""Loading: checkpoints that transformers would accept with a warning, or refuse unclearly, are refused in one clear sentence."""

import io
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import pico
from resect.core.errors import BadModel, InputError
from resect.models.loading import load_model


@pytest.fixture(scope="module")
def complete_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete_model")
    pico.build("llama").save_pretrained(folder)
    pico.tokenizer("llama").save_pretrained(folder)
    return folder


@pytest.fixture
def copy(complete_model, tmp_path):
    return shutil.copytree(complete_model, tmp_path / "model")


def without(name):
    return lambda folder: (folder / name).unlink()


def cut_short(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def binary(content):
    def spoil(folder):
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content() if callable(content) else content)

    return spoil


class Code:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return print, ("it ran",)


def pickled_code():
    file = io.BytesIO()
    torch.save({"model.norm.weight": Code()}, file)
    return file.getvalue()


def configured(**settings):
    def spoil(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))

    return spoil


def lacking_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight for name, weight in weights.items() if "up_proj" not in name}, folder / "model.safetensors", {"format": "pt"})


def test_a_complete_model_is_loaded(complete_model):
    model = load_model(str(complete_model), device="cpu")
    assert (model.name, model.kind) == (complete_model.name, "causal")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("config.json"), r"contains no config\.json"),
        (cut_short("config.json"), r"configuration of the folder .* could not be loaded.*Correct config\.json"),
        (without("model.safetensors"), r"weights of the folder .* could not be loaded.*get them again"),
        (cut_short("model.safetensors"), r"weights of the folder .* could not be loaded.*get them again"),
        (binary(b""), r"weights of the folder .* a \.bin file is empty or damaged, or contains more than tensors"),
        (binary(pickled_code), r"weights of the folder .* contains more than tensors, which is not run"),
        (configured(hidden_size="24"), r"configuration of the folder .* Field 'hidden_size' expected int, got str.*Correct config\.json"),
        (configured(num_attention_heads=0), r"configuration of the folder .*Correct config\.json"),
        (configured(pad_token_id=9999), r"weights of the folder .*config\.json does not match them"),
        (configured(model_type=["llama"]), r"configuration of the folder .*Correct config\.json"),
        (lambda folder: (folder / "config.json").write_text("null"), r"configuration of the folder .*Correct config\.json"),
        (lacking_a_weight, r"lacks 2 of the weights .* among them model\.layers\.0\.mlp\.up_proj"),
        (without("tokenizer.json"), r"tokenizer of the folder .* could not be loaded.*Get tokenizer\.json again"),
        (cut_short("tokenizer.json"), r"tokenizer of the folder .* could not be loaded.*Get tokenizer\.json again"),
    ],
)
def test_a_damaged_folder_is_refused_with_reason_and_advice(copy, spoil, message):
    spoil(copy)
    with pytest.raises(BadModel, match=message) as caught:
        load_model(str(copy))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_not_read_as_a_hub_id(tmp_path):
    with pytest.raises(BadModel, match=r"There is no folder .*nowhere"):
        load_model(str(tmp_path / "nowhere"))
    with pytest.raises(BadModel, match=r"Hub id nobody/nothing could not be loaded.*or give a folder"):
        load_model("nobody/nothing")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float31"}, "'float31' is not known; it is one of auto"),
        ({"device": "cdua"}, r"on the device 'cdua'.*Give cpu"),
        ({"device": "cuda:99"}, r"on the device 'cuda:99'.*Give cpu"),
        ({"device": "cpu", "device_map": "auto"}, "give one of them"),
        ({"batch_size": 0}, "from 1 on, not 0"),
    ],
)
def test_impossible_settings_are_refused(complete_model, settings, message):
    with pytest.raises(InputError, match=message):
        load_model(str(complete_model), **settings)


def test_an_unknown_model_type_is_refused_as_an_unknown_family(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "lama"}))
    with pytest.raises(BadModel, match="Did you mean 'llama'"):
        load_model(str(copy))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mixture_of_experts_computes_in_every_dtype(tmp_path, dtype):
    built = pico.build("mixtral")
    built.save_pretrained(tmp_path)
    pico.tokenizer("mixtral").save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=dtype, device="cpu")
    assert model.model.dtype == getattr(torch, dtype)
    torch.testing.assert_close(pico.output("mixtral", model.model).float(), pico.output("mixtral", built), rtol=1e-4, atol=1e-4)
