"""The files of a Hugging Face checkpoint: which of them hold the weights, and where in them each tensor's bytes are.

Knows names, shapes, dtypes and byte ranges, as the files state them. Knows no model, and reads no weight.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from resect.core.errors import BadModel, InputError
from resect.core.files import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
CARD, PLAN = "README.md", "plan.json"
#: What files that hold weights (or the state of a training) are called; whatever of them is not edited is not passed on.
WEIGHT_SUFFIXES = (
    ".safetensors", ".bin", ".index.json", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz", ".ot", ".onnx", ".onnx_data", ".gguf",
    ".ggml", ".tflite", ".mlmodel", ".mlpackage", ".pb",
)  # fmt: skip
#: What is fetched from the Hub besides the weights.
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py", "*.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_GET_AGAIN = "get it again"


@dataclass(frozen=True)
class Stored:
    """One tensor: the file that it is in, its dtype as safetensors writes it (F32, BF16, …), its shape, and its bytes
    [start, stop) of that file.
    """

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Checkpoint:
    """A folder, as transformers would load it.

    `shards`: the files that hold the weights; `index`: the file that lists them, or None. `tensors`: name to where it
    is stored, of safetensors only. `twice`: names that stand in more than one shard. Other files are in `others` (to be
    passed on beside the weights) or in `left_out` (weights that nobody edits, the card and plan of an earlier cut).
    """

    folder: Path
    shards: tuple[str, ...]
    index: str | None
    tensors: Mapping[str, Stored]
    twice: frozenset[str]
    others: tuple[str, ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, weights: str | None = None) -> "Checkpoint":
        """Read the index and the headers. `weights`: the file that the configuration names (transformers_weights), if any.

        Raises BadModel, which names the file, where one is missing, cut short or no such file, where the index names a
        tensor that is not there, and where there are no weights.
        """
        refuse_adapter(folder)
        first = _weights_of(folder, weights)
        index = first if first.endswith(".index.json") else None
        listed = {} if index is None else _listed(folder / index)
        shards = tuple(sorted(set(listed.values()))) if index is not None else (first,)
        tensors: dict[str, Stored] = {}
        twice = set()
        for shard in shards:
            if not (folder / shard).is_file():
                raise BadModel(f"{folder / shard}, which {index} names, is missing; {_GET_AGAIN}.")
            found = {} if is_pickled(shard) else _header(folder, shard)
            twice |= found.keys() & tensors.keys()
            tensors |= found
            for name in (name for name, file in listed.items() if file == shard and name not in found and not is_pickled(shard)):
                raise BadModel(f"{folder / shard} has no tensor {name}, which {index} says is in it; get both again.")
        taken = {*shards, index} - {None}
        others, left_out = _beside(folder, taken)
        return cls(folder, shards, index, tensors, frozenset(twice), others, left_out)

    @property
    def pickled(self) -> bool:
        """Whether its weights are in PyTorch's own format, not in safetensors."""
        return is_pickled(self.shards[0])

    def size(self, file: str) -> int:
        """Bytes of one of its files."""
        return (self.folder / file).stat().st_size


def is_pickled(file: str) -> bool:
    """Whether a file's name is that of weights in PyTorch's own format."""
    return not file.endswith(".safetensors")


def refuse_adapter(folder: Path) -> None:
    """Raises BadModel where a folder holds an adapter, with or without a model beside it."""
    if (folder / "adapter_config.json").is_file():
        raise BadModel(
            f"{folder} holds an adapter (adapter_config.json), which changes the weights of a model while it is loaded; merge it "
            "first (merge_and_unload, save_pretrained), and export from the folder that this makes."
        )


def refuse_no_files(folder: Path) -> None:
    """Raises BadModel where something in a folder is neither file nor folder: reading a pipe waits for ever, a link may lead nowhere."""
    for root, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".") and name != "__pycache__"]
        for path in (Path(root, name) for name in sorted(names) if Path(root) != folder or not name.startswith(".")):
            if not path.is_file():
                what = "a link that leads nowhere" if path.is_symlink() else "no regular file (a pipe, a socket or a device)"
                raise BadModel(f"{path} is {what}; take it away, or get the model again.")


def fetched(model: str, revision: str | None, weights: str | None = None) -> Path:
    """The folder of a Hub id: configuration, tokenizer, and the weights that transformers would load, no others.

    What is in the cache is not fetched again; HF_HUB_OFFLINE, HF_HOME and HF_TOKEN are honoured. Raises BadModel.
    """
    from huggingface_hub import snapshot_download  # needed only here

    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(SMALL_FILES)))
        for name in (weights,) if weights is not None else (SINGLE, INDEX, PICKLED, PICKLED_INDEX):
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=[name]))
            if (folder / name).is_file():
                files = sorted(set(_listed(folder / name).values())) if name.endswith(".index.json") else []
                return Path(snapshot_download(model, revision=revision, allow_patterns=files)) if files else folder
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:240].rstrip(".")
        raise BadModel(f"The Hub id {model} could not be fetched: {reason}. Check the name and the network, or give a folder.") from error
    return folder


def _weights_of(folder: Path, stated: str | None) -> str:
    """The first of the names that transformers looks for. Raises BadModel."""
    if stated is not None:
        return _inside(stated, f"The configuration of {folder}")
    for name in (SINGLE, INDEX, PICKLED, PICKLED_INDEX):
        if (folder / name).is_file():
            return name
    there = [path.name for path in sorted(folder.iterdir()) if path.name.endswith(WEIGHT_SUFFIXES)]
    if there:
        raise BadModel(
            f"{folder} holds its weights as {', '.join(there[:3])}, which is not read here; load them with transformers, save_pretrained, "
            "and export from the folder that this makes."
        )
    raise BadModel(f"{folder} holds no weights (neither {SINGLE}, nor {PICKLED}, nor an index of several files); {_GET_AGAIN}.")


def _listed(index: Path) -> dict[str, str]:
    """Tensor to file, as an index says it. Raises BadModel."""
    try:
        listed = read_json(index, "index of the weights")["weight_map"]
    except InputError as error:
        raise BadModel(f"{error} Get it again.") from error
    except (KeyError, TypeError) as error:
        raise BadModel(f"{index} is no index of weights: it has no weight_map; {_GET_AGAIN}.") from error
    if not isinstance(listed, Mapping) or not listed or not all(isinstance(file, str) for file in listed.values()):
        raise BadModel(f"The weight_map of {index} names no files; {_GET_AGAIN}.")
    return {name: _inside(file, str(index)) for name, file in listed.items()}


def _inside(name: str, where: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.name:
        raise BadModel(f"{where} names {name!r}, which does not lie in the model's folder; {_GET_AGAIN}.")
    return str(path)


def _header(folder: Path, shard: str) -> dict[str, Stored]:
    """The tensors of a safetensors file. Raises BadModel where it is no whole one."""
    path = folder / shard
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start == b"version ":
                raise BadModel(f"{path} is a pointer of Git LFS, not the weights themselves; run `git lfs pull` there.")
            with safe_open(path, framework="numpy"):  # holds the header against the length of the file
                header = json.loads(file.read(int.from_bytes(start, "little")))
    except (OSError, SafetensorError, ValueError) as error:
        raise BadModel(f"{path} is damaged or cut short ({str(error).rstrip('.')}); {_GET_AGAIN}.") from error
    body = 8 + int.from_bytes(start, "little")
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            found[name] = Stored(shard, entry["dtype"], tuple(entry["shape"]), body + first, body + last)
    return found


def _beside(folder: Path, taken: set[str | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files to be passed on, and what is left out: weights, whole folders that hold any, the card, the plan. Hidden files are neither."""
    others, left_out = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__" or path.name in taken:
            continue
        if path.is_dir():
            inner = [Path(root, name) for root, _, names in os.walk(path) for name in names if "__pycache__" not in root]
            names = [each.relative_to(folder).as_posix() for each in sorted(inner)]
            if any(name.endswith(WEIGHT_SUFFIXES) and name not in taken for name in names):
                left_out.append(f"{path.name}/")
            else:
                others += [name for name in names if name not in taken]
        elif path.name in (CARD, PLAN) or path.name.endswith(WEIGHT_SUFFIXES):
            left_out.append(path.name)
        else:
            others.append(path.name)
    return tuple(others), tuple(left_out)
