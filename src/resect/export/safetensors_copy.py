"""A safetensors file anew, with some of its tensors replaced by others: the rest is copied range by range, and never loaded.

Knows bytes, names and shapes; no model.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .checkpoint import Stored

#: Bytes that are copied at once.
CHUNK = 2**25
_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def rebuild(source: Path, tensors: Mapping[str, Stored], replaced: Mapping[str, Mapping[str, Tensor]], target: Path) -> dict[str, Stored]:
    """Write `target`: the tensors of the file `source`, those that are `replaced` by name left out, and their replacements at their place.

    `tensors`: name to place, of all that `source` holds. Returns name to place in `target`. Raises OSError.
    """
    held = sorted(((name, place) for name, place in tensors.items()), key=lambda entry: entry[1].start)
    order: list[tuple[str, str, tuple[int, ...], Stored | Tensor]] = []
    for name, place in held:
        if name not in replaced:
            order.append((name, place.dtype, place.shape, place))
        else:
            order += [(new, _NAMES[tensor.dtype], tuple(tensor.shape), tensor) for new, tensor in replaced[name].items()]
    order.sort(key=lambda entry: -_width(entry[1]))  # stable; as safetensors has it, so that every tensor is aligned
    header, found, at = _metadata(source), {}, 0
    for name, dtype, shape, content in order:
        stop = at + _size(content)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, stop]}
        at = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    body = 8 + len(text)
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as here, target.open("wb") as there:
        there.write(len(text).to_bytes(8, "little") + text)
        for name, dtype, shape, content in order:
            first, last = header[name]["data_offsets"]
            found[name] = Stored(target.name, dtype, shape, body + first, body + last)
            if isinstance(content, Tensor):
                there.write(_bytes(content))
            else:
                _copy(here, content.start, content.stop, there)
        there.flush()
        os.fsync(there.fileno())
    return found


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """How many bytes some tensors are."""
    return sum(tensor.nbytes for tensor in tensors.values())


def _metadata(source: Path) -> dict[str, Any]:
    with source.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {"__metadata__": header["__metadata__"]} if "__metadata__" in header else {}


def _size(content: Stored | Tensor) -> int:
    return content.nbytes if isinstance(content, Tensor) else content.stop - content.start


def _width(dtype: str) -> int:
    """Bits of one number of a dtype as safetensors writes it (F32, BF16, F8_E4M3, BOOL)."""
    bits = re.search(r"\d+", dtype)
    return int(bits.group()) if bits else 8


def _bytes(tensor: Tensor) -> memoryview:
    content: Any = tensor.contiguous().flatten().view(torch.uint8).numpy()
    return memoryview(content)


def _copy(here: BinaryIO, start: int, stop: int, there: BinaryIO) -> None:
    here.seek(start)
    while start < stop:
        part = here.read(min(CHUNK, stop - start))
        if not part:
            raise OSError(f"{here.name} became shorter while it was read")
        there.write(part)
        start += len(part)
