"""A copied file with changes is what safetensors would have written, and its other bytes are those of the source."""

import json
import os
import tracemalloc

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from resect.export import safetensors_copy
from resect.export.checkpoint import CheckpointFiles
from resect.export.safetensors_copy import EditedRows, copy_with_changes


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
    target = folder / "deep" / "new.safetensors"
    copy_with_changes(folder / "model.safetensors", CheckpointFiles.read(folder).tensors, {}, replacements, target)
    written = load_file(target)
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], expected[name]) and written[name].dtype == expected[name].dtype for name in expected)
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "ü"}
    for name, info in CheckpointFiles.read(target.parent, target.name).tensors.items():
        assert info.start % expected[name].element_size() == 0  # aligned, whatever sizes precede it


def test_edited_rows_are_all_that_changes(source):
    folder, tensors = source
    edited = {
        "a": EditedRows(torch.randn(3, 5), [range(1), range(2, 3)]),
        "d": EditedRows(torch.ones(4, 3).to(torch.float16), [range(1, 4)]),
    }
    expected = {name: tensor.clone() for name, tensor in tensors.items()}
    for name, change in edited.items():
        for run in change.rows:
            expected[name][run.start : run.stop] = change.tensor[run.start : run.stop]
    target = folder / "new.safetensors"
    copy_with_changes(folder / "model.safetensors", CheckpointFiles.read(folder).tensors, edited, {}, target)
    assert header(target) == header(folder / "model.safetensors")
    written = load_file(target)
    assert all(torch.equal(written[name], expected[name]) for name in expected)


def test_a_file_in_another_order_than_the_librarys_is_read_too(source):
    """Some programs do not sort tensors by the size of their numbers."""
    folder, tensors = source
    names, body, entries = ["d", "a"], b"", {}
    for name in names:
        content = tensors[name].numpy().tobytes()
        shape, dtype = list(tensors[name].shape), {"d": "F16", "a": "F32"}[name]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(entries).encode()
    (folder / "odd.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    odd = CheckpointFiles.read(folder, "odd.safetensors").tensors
    copy_with_changes(folder / "odd.safetensors", odd, {"a": EditedRows(torch.zeros(3, 5), [range(1, 2)])}, {}, folder / "new.safetensors")
    written = load_file(folder / "new.safetensors")
    assert torch.equal(written["d"], tensors["d"]) and torch.equal(written["a"][[0, 2]], tensors["a"][[0, 2]])
    assert not written["a"][1].any()


def header(path):
    content = path.read_bytes()
    return content[: 8 + int.from_bytes(content[:8], "little")]


def test_memory_stays_within_a_tensor(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_copy, "CHUNK", 2**16)
    save_file({str(number): torch.zeros(2**18) for number in range(16)}, tmp_path / "model.safetensors")  # 1 MiB each
    files = CheckpointFiles.read(tmp_path)
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    tracemalloc.start()
    copy_with_changes(tmp_path / "model.safetensors", files.tensors, {}, {"3": {"3": torch.ones(2**18)}}, tmp_path / "new.safetensors")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_file_that_becomes_shorter_while_it_is_read_is_noticed(source):
    folder, _ = source
    tensors = CheckpointFiles.read(folder).tensors
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 4)
    with pytest.raises(OSError, match="became shorter"):
        copy_with_changes(folder / "model.safetensors", tensors, {}, {}, folder / "new.safetensors")
    with pytest.raises(SafetensorError):
        load_file(folder / "new.safetensors")
