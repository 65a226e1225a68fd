"""Two sets of weights in one folder: the one that is loaded is named, sets of different models are refused, and export writes one set."""

import json
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
import pico
from resect.core.errors import BadModel
from resect.edits.neurons import Scale
from resect.edits.plan import Plan
from resect.export.export import export
from resect.models.loading import load_model
from resect.models.weight_files import unused_weights


def all_tensors(folder):
    return {name: tensor for path in sorted(folder.glob("model-*.safetensors")) for name, tensor in load_file(path).items()}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded") / "llama"
    checkpoints.saved(folder, "llama")
    return folder


def with_single(sharded, folder, change):
    """Returns a copy of the shards with one file beside them, which holds what `change` makes of all tensors."""
    shutil.copytree(sharded, folder)
    save_file(change(all_tensors(folder)), folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def twofold(sharded, tmp_path):
    """A folder whose single file has twice the values of its shards."""
    return with_single(sharded, tmp_path / "twofold", lambda tensors: {name: 2 * tensor for name, tensor in tensors.items()})


def test_one_set_of_weights_is_nothing_to_say(sharded):
    assert unused_weights(sharded) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(sharded, device="cpu").notes == ()


def test_the_single_file_is_loaded_and_named(sharded, twofold):
    with pytest.warns(UserWarning, match=r"both model\.safetensors and model\.safetensors\.index\.json; the weights are those of model\.s"):
        model = load_model(twofold, device="cpu")
    assert len(model.notes) == 1
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(model.model.get_parameter(name), 2 * all_tensors(sharded)[name])
    assert torch.equal(checkpoints.loaded(twofold, "llama").get_parameter(name), model.model.get_parameter(name))  # as transformers does


def test_export_writes_the_set_that_was_used_alone(twofold, tmp_path):
    export(Plan((Scale({"decoder.1.up": [1]}, 0.5),)), str(twofold), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors*")) == ["model.safetensors"]
    written, used = load_file(tmp_path / "out" / "model.safetensors"), load_file(twofold / "model.safetensors")
    assert [name for name in used if not torch.equal(used[name], written[name])] == ["model.layers.1.mlp.up_proj.weight"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {name: tensor[:-1].clone() for name, tensor in tensors.items()}, r"\d+ tensors differ in shape: .*delete it"),
        (lambda tensors: {f"other.{name}": tensor for name, tensor in tensors.items()}, "without a common name"),
    ],
)
def test_sets_of_different_models_are_refused(sharded, tmp_path, change, message):
    folder = with_single(sharded, tmp_path / "model", change)
    with pytest.raises(BadModel, match=message):
        load_model(folder, device="cpu")
    with pytest.raises(BadModel, match=message):
        export(Plan((Scale({"decoder.1.up": [1]}),)), str(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_index_whose_files_are_gone_is_named_as_a_leftover(twofold):
    for path in twofold.glob("model-*.safetensors"):
        path.unlink()
    assert "Files that the index names are missing or damaged: delete it." in str(unused_weights(twofold))


# -- a head that is not stored ---------------------------------------------------------------------------------------------


def without_head_and_flag(folder, name):
    """Save a model without its head's matrix and without tie_word_embeddings."""
    pico.build(name).save_pretrained(folder)
    pico.tokenizer(name).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}, folder / "model.safetensors", {"format": "pt"}
    )
    config = json.loads((folder / "config.json").read_text())
    config.pop("tie_word_embeddings", None)
    (folder / "config.json").write_text(json.dumps(config))


def test_a_missing_head_is_the_embeddings_where_the_family_ties_them_by_default(tmp_path):
    without_head_and_flag(tmp_path, "gemma2")
    model = load_model(tmp_path, device="cpu").model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_missing_head_is_refused_elsewhere_and_the_flag_is_the_way_out(tmp_path):
    without_head_and_flag(tmp_path, "llama-gqa")
    with pytest.raises(BadModel, match=r'among them lm_head\.weight.*write "tie_word_embeddings": true into config\.json'):
        load_model(tmp_path, device="cpu")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    model = load_model(tmp_path, device="cpu").model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


# -- exports of exports ----------------------------------------------------------------------------------------------------


def test_the_sliding_window_is_the_same_after_three_rounds_of_export(tmp_path):
    folder = tmp_path / "0"
    model = pico.build("mistral")
    model.config.sliding_window = 3
    model.save_pretrained(folder)
    pico.tokenizer("mistral").save_pretrained(folder)
    for number in range(3):
        export(Plan((Scale({"decoder.1.up": [number]}),)), str(folder), tmp_path / str(number + 1), verify=False)
        folder = tmp_path / str(number + 1)
    assert json.loads((folder / "config.json").read_text())["sliding_window"] == 3
    assert (folder / "config.json").read_bytes() == (tmp_path / "0" / "config.json").read_bytes()
    thrice, base = checkpoints.loaded(folder, "mistral"), checkpoints.loaded(tmp_path / "0", "mistral")
    assert thrice.config.sliding_window == 3
    with Plan((Scale({"decoder.1.up": [0, 1, 2]}),)).applied(base, "weights"):
        assert torch.equal(pico.output("mistral", thrice), pico.output("mistral", base))
