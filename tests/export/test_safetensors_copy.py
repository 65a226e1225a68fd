"""A copied file with replacements is what safetensors would have written, and its other bytes are those of the source."""

import json
import os
import tracemalloc

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from resect.export.checkpoint import CheckpointFiles
from resect.export.safetensors_copy import copy_with_replacements


@pytest.fixture
def source(tmp_path):
    """A checkpoint of several dtypes and odd sizes."""
    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).to(torch.bfloat16),
        "c": torch.arange(5, dtype=torch.int64),
        "d": torch.randn(4, 3).to(torch.float16),
        "empty": torch.zeros(0, 3),
    }
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt", "note": "ü"})
    return tmp_path, tensors


@pytest.mark.parametrize("in_kernel", [True, False])
@pytest.mark.parametrize(
    "replacements",
    [
        {},
        {"a": {"a": torch.randn(3, 5)}, "d": {"d": torch.zeros(4, 3, dtype=torch.float16)}},
        {"b": {"b.left": torch.randn(3, 1).to(torch.bfloat16), "b.right": torch.randn(1, 3).to(torch.bfloat16)}},
        {"a": {}, "d": {"d.left": torch.randn(5, 1).to(torch.float16)}, "empty": {"x": torch.randn(2, 2).T}},
    ],
)
def test_the_rest_stays_and_the_new_tensors_are_there(source, replacements, in_kernel, monkeypatch):
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    folder, tensors = source
    expected = {name: tensor for name, tensor in tensors.items() if name not in replacements}
    expected |= {name: tensor for new in replacements.values() for name, tensor in new.items()}
    given = {name: dict(new) for name, new in replacements.items()}
    target = folder / "deep" / "new.safetensors"
    copy_with_replacements(folder / "model.safetensors", CheckpointFiles.read(folder).tensors, given, target)
    assert not any(given.values())  # so that their memory is free
    written = load_file(target)
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], expected[name]) and written[name].dtype == expected[name].dtype for name in expected)
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "ü"}
    for name, info in CheckpointFiles.read(target.parent, target.name).tensors.items():
        assert info.start % expected[name].element_size() == 0  # aligned, whatever sizes precede it
    if all(new.keys() == {name} for name, new in replacements.items()):
        save_file(expected, folder / "library.safetensors", {"format": "pt", "note": "ü"})
        assert header(target) == header(folder / "library.safetensors")


def header(path):
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def test_memory_stays_within_a_tensor(tmp_path):
    save_file({str(number): torch.zeros(2**18) for number in range(16)}, tmp_path / "model.safetensors")  # 1 MiB each
    files = CheckpointFiles.read(tmp_path)
    tracemalloc.start()
    copy_with_replacements(tmp_path / "model.safetensors", files.tensors, {"3": {"3": torch.ones(2**18)}}, tmp_path / "new.safetensors")
    assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    tracemalloc.stop()


def test_a_file_that_becomes_shorter_while_it_is_read_is_noticed(source):
    folder, _ = source
    tensors = CheckpointFiles.read(folder).tensors
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 4)
    with pytest.raises(OSError, match="became shorter"):
        copy_with_replacements(folder / "model.safetensors", tensors, {}, folder / "new.safetensors")
    with pytest.raises(SafetensorError):
        load_file(folder / "new.safetensors")
