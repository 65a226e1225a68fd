"""Loading: what transformers would let through, or refuse in words of its own, is refused in one clear sentence."""

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
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    pico.build("llama").save_pretrained(folder)
    pico.tokenizer("llama").save_pretrained(folder)
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


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
    """What runs when it is unpickled."""

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


def test_a_whole_model_is_loaded(whole):
    model = load_model(str(whole), device="cpu")
    assert (model.name, model.kind) == (whole.name, "causal")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("config.json"), r"holds no config\.json"),
        (cut_short("config.json"), r"configuration of the folder .* could not be loaded.*Mend config\.json"),
        (without("model.safetensors"), r"weights of the folder .* could not be loaded.*get them again"),
        (cut_short("model.safetensors"), r"weights of the folder .* could not be loaded.*get them again"),
        (binary(b""), r"weights of the folder .* a \.bin file is empty or damaged, or holds more than tensors"),
        (binary(pickled_code), r"weights of the folder .* holds more than tensors, which is not run"),
        (configured(hidden_size="24"), r"configuration of the folder .* Field 'hidden_size' expected int, got str.*Mend config\.json"),
        (configured(num_attention_heads=0), r"configuration of the folder .*Mend config\.json"),
        (configured(pad_token_id=9999), r"weights of the folder .*config\.json does not fit them"),
        (configured(model_type=["llama"]), r"configuration of the folder .*Mend config\.json"),
        (lambda folder: (folder / "config.json").write_text("null"), r"configuration of the folder .*Mend config\.json"),
        (lacking_a_weight, r"lacks 2 of the weights .* among them model\.layers\.0\.mlp\.up_proj"),
        (without("tokenizer.json"), r"tokenizer of the folder .* could not be loaded.*Get tokenizer\.json again"),
        (cut_short("tokenizer.json"), r"tokenizer of the folder .* could not be loaded.*Get tokenizer\.json again"),
    ],
)
def test_a_damaged_folder_is_refused_with_what_is_wrong_and_the_way_out(copy, spoil, message):
    spoil(copy)
    with pytest.raises(BadModel, match=message) as caught:
        load_model(str(copy))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_taken_for_no_hub_id(tmp_path):
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
def test_settings_that_cannot_be_are_refused(whole, settings, message):
    with pytest.raises(InputError, match=message):
        load_model(str(whole), **settings)


def test_an_unknown_model_type_is_refused_in_our_words(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "lama"}))
    with pytest.raises(BadModel, match="Did you mean 'llama'"):
        load_model(str(copy))
