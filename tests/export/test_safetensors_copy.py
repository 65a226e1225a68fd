"""A file with some tensors replaced is what safetensors would have written, and its other bytes are copied."""

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from resect.export.checkpoint import Checkpoint
from resect.export.safetensors_copy import bytes_of, rebuild


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


@pytest.mark.parametrize(
    "replaced",
    [
        {},
        {"b": {"b.left": torch.randn(3, 1).to(torch.bfloat16), "b.right": torch.randn(1, 3).to(torch.bfloat16)}},
        {"a": {}, "d": {"d.left": torch.randn(5, 1).to(torch.float16)}, "empty": {"x": torch.randn(2, 2).T}},
    ],
)
def test_the_rest_stays_and_the_new_tensors_are_there(source, replaced):
    folder, tensors = source
    held = Checkpoint.of(folder).tensors
    found = rebuild(folder / "model.safetensors", held, replaced, folder / "deep" / "new.safetensors")
    wanted = {name: tensor for name, tensor in tensors.items() if name not in replaced}
    wanted |= {name: tensor for new in replaced.values() for name, tensor in new.items()}
    read = load_file(folder / "deep" / "new.safetensors")
    assert read.keys() == found.keys() == wanted.keys()
    assert all(torch.equal(read[name], wanted[name]) and read[name].dtype == wanted[name].dtype for name in wanted)
    with safe_open(folder / "deep" / "new.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "ü"}
    content = (folder / "deep" / "new.safetensors").read_bytes()
    for name, place in found.items():
        assert content[place.start : place.stop] == wanted[name].contiguous().flatten().view(torch.uint8).numpy().tobytes()
        assert place.start % wanted[name].element_size() == 0  # aligned, whatever sizes stand before it


def test_a_file_that_becomes_shorter_while_it_is_read_is_noticed(source):
    folder, _ = source
    held = Checkpoint.of(folder).tensors
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 4)
    with pytest.raises(OSError, match="became shorter"):
        rebuild(folder / "model.safetensors", held, {}, folder / "new.safetensors")
    with pytest.raises(SafetensorError):
        load_file(folder / "new.safetensors")


def test_bytes_are_counted():
    assert bytes_of({"a": torch.zeros(3, 2), "b": torch.zeros(5, dtype=torch.bfloat16)}) == 34
