"""The files of a checkpoint: which hold the weights, where each tensor's bytes are, and what is wrong with damaged ones."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
from resect.core.errors import BadModel
from resect.edits.plan import Plan
from resect.export.checkpoint import PICKLED_INDEX, CheckpointFiles
from resect.export.export import export


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact") / "llama"
    checkpoints.saved(folder, "llama")
    return folder


@pytest.fixture
def copy(intact, tmp_path):
    return shutil.copytree(intact, tmp_path / "model")


def shard(folder):
    return sorted(folder.glob("*.safetensors"))[1]


def cut_header(folder):
    shard(folder).write_bytes(shard(folder).read_bytes()[:100])


def cut_body(folder):
    shard(folder).write_bytes(shard(folder).read_bytes()[:-100])


def emptied(folder):
    shard(folder).write_bytes(b"")


def padded(folder):
    shard(folder).write_bytes(shard(folder).read_bytes() + b"more")


def pointer(folder):
    shard(folder).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")


def lacking_a_tensor(folder):
    tensors = load_file(shard(folder))
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, shard(folder), {"format": "pt"})


def listing(change):
    def damage(folder):
        index = json.loads((folder / checkpoints.INDEX).read_text())
        (folder / checkpoints.INDEX).write_text(json.dumps(change(index)))

    return damage


def renamed(file):
    return listing(lambda index: {"weight_map": dict.fromkeys(index["weight_map"], file)})


DAMAGE = [
    (lambda folder: shard(folder).unlink(), r"model-00002-of-0000\d\.safetensors, which model\.safetensors\.index\.json names, is missing"),
    (cut_header, r"model-00002-of-0000\d\.safetensors is damaged or truncated"),
    (cut_body, r"model-00002-of-0000\d\.safetensors is damaged or truncated"),
    (emptied, r"model-00002-of-0000\d\.safetensors is damaged or truncated"),
    (padded, r"model-00002-of-0000\d\.safetensors is damaged or truncated"),
    (pointer, r"model-00002-of-0000\d\.safetensors is a pointer of Git LFS.*git lfs pull"),
    (lacking_a_tensor, r"model-00002-of-0000\d\.safetensors has no tensor \S+, which model\.safetensors\.index\.json lists in it"),
    (lambda folder: (folder / checkpoints.INDEX).write_text('{"weight_map": '), r"index\.json is no JSON, or is cut off"),
    (listing(lambda index: {}), "is no index of weights"),
    (listing(lambda index: {"weight_map": {}}), "names no files"),
    (listing(lambda index: {"weight_map": ["a"]}), "names no files"),
    (renamed("../other/model.safetensors"), "outside the model's folder"),
    (renamed("/model.safetensors"), "outside the model's folder"),
    (lambda folder: (folder / "adapter_config.json").write_text("{}"), "contains an adapter"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_found_before_anything_is_written_and_the_file_is_named(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(BadModel, match=message) as caught:
        export(Plan(), str(copy), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_adapter_alone_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(BadModel, match=r"contains an adapter .*merge_and_unload"):
        export(Plan(), str(tmp_path), tmp_path.with_name("out"))


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ((), r"holds no weights \(neither model\.safetensors"),
        (("tf_model.h5", "model.gguf"), r"as model\.gguf, tf_model\.h5, a format that is not supported"),
    ],
)
def test_a_folder_without_weights_is_refused(copy, tmp_path, there, message):
    for path in [*copy.glob("*.safetensors"), copy / checkpoints.INDEX]:
        path.unlink()
    for name in there:
        (copy / name).write_bytes(b"x")
    with pytest.raises(BadModel, match=message):
        export(Plan(), str(copy), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut short"])
def test_damaged_weights_in_pytorchs_format_are_refused(copy, tmp_path, content):
    checkpoints.as_bin(copy)
    (copy / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(BadModel, match=r"pytorch_model\.bin is damaged, truncated, or holds more than weights"):
        export(Plan(), str(copy), tmp_path / "out")


def test_an_index_of_pytorchs_format_is_read_too(copy):
    checkpoints.as_bin(copy, 2)
    found = CheckpointFiles.read(copy)
    assert (found.pickled, found.index, len(found.shards)) == (True, PICKLED_INDEX, 2)
    (copy / found.shards[1]).unlink()
    with pytest.raises(BadModel, match=f"{found.shards[1]}, which {PICKLED_INDEX} names, is missing"):
        CheckpointFiles.read(copy)


def test_tensors_are_at_their_byte_ranges(intact):
    found = CheckpointFiles.read(intact)
    assert found.index == checkpoints.INDEX
    assert found.shards == tuple(sorted(path.name for path in intact.glob("*.safetensors")))
    for file in found.shards:
        content = (intact / file).read_bytes()
        for name, tensor in load_file(intact / file).items():
            info = found.tensors[name]
            assert (info.file, info.dtype, info.shape) == (file, "F32", tuple(tensor.shape))
            assert torch.equal(torch.frombuffer(bytearray(content[info.start : info.stop]), dtype=torch.float32).view(info.shape), tensor)


def test_the_single_file_is_taken_before_an_index_as_transformers_does(copy):
    shutil.copy(shard(copy), copy / "model.safetensors")
    found = CheckpointFiles.read(copy)
    assert (found.shards, found.index) == (("model.safetensors",), None)
    assert checkpoints.INDEX in found.left_out
    assert shard(copy).name in found.left_out
    assert CheckpointFiles.read(copy, shard(copy).name).shards == (shard(copy).name,)
