"""The files of a Hugging Face checkpoint: which of them hold the weights, and the byte range of each tensor.

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
from resect.models.weight_files import INDEX, SINGLE, unused_weights

PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
CARD, PLAN = "README.md", "plan.json"
#: Suffixes of files that hold weights (or the state of a training). An export contains none of them but those that it writes.
WEIGHT_SUFFIXES = (
    ".safetensors", ".bin", ".index.json", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz", ".ot", ".onnx", ".onnx_data", ".gguf",
    ".ggml", ".tflite", ".mlmodel", ".mlpackage", ".pb",
)  # fmt: skip
#: Files that are downloaded from the Hub in addition to the weights.
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py", "*.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_DOWNLOAD_AGAIN = "download it again"


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: its file, its dtype as safetensors writes it (F32, BF16, …), its shape, and its bytes [start, stop) there."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Its number of bytes."""
        return self.stop - self.start


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a model folder, as transformers would load it.

    Attributes
    ----------
    shards : the files that hold the weights
    index : the file that lists them, or None
    tensors : name to `TensorInfo`; empty where the weights are not safetensors
    duplicates : names of tensors that are in more than one shard
    others : files that an export copies
    left_out : files that an export leaves out: unedited weights in other formats, the card and the plan of an earlier export
    """

    folder: Path
    shards: tuple[str, ...]
    index: str | None
    tensors: Mapping[str, TensorInfo]
    duplicates: frozenset[str]
    others: tuple[str, ...]
    left_out: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, weights: str | None = None) -> "CheckpointFiles":
        """Read the index and the headers. `weights`: the file that the configuration names (transformers_weights), if any.

        Raises BadModel, which names the file, where one is missing, truncated or invalid, where the index lists a tensor that its file
        lacks, where there are no weights, and where two sets of weights are of different models.
        """
        refuse_adapter(folder)
        if weights is None:
            unused_weights(folder)
        first = _weights_file(folder, weights)
        index = first if first.endswith(".index.json") else None
        weight_map = {} if index is None else _weight_map(folder / index)
        shards = tuple(sorted(set(weight_map.values()))) if index is not None else (first,)
        tensors: dict[str, TensorInfo] = {}
        duplicates = set()
        for shard in shards:
            if not (folder / shard).is_file():
                raise BadModel(f"{folder / shard}, which {index} names, is missing; {_DOWNLOAD_AGAIN}.")
            if is_pickled(shard):
                continue
            header = _read_header(folder, shard)
            for name, file in weight_map.items():
                if file == shard and name not in header:
                    raise BadModel(f"{folder / shard} has no tensor {name}, which {index} lists in it; download both again.")
            duplicates |= header.keys() & tensors.keys()
            tensors |= header
        others, left_out = _other_files(folder, {*shards, *([] if index is None else [index])})
        return cls(folder, shards, index, tensors, frozenset(duplicates), others, left_out)

    @property
    def pickled(self) -> bool:
        """Whether its weights are in PyTorch's own format, not in safetensors."""
        return is_pickled(self.shards[0])

    def size(self, file: str) -> int:
        """Returns the size of one of its files in bytes."""
        return (self.folder / file).stat().st_size


def is_pickled(file: str) -> bool:
    """Returns whether weights of this file name are in PyTorch's own format."""
    return not file.endswith(".safetensors")


def refuse_adapter(folder: Path) -> None:
    """Raises BadModel where a folder contains an adapter, with or without a model."""
    if (folder / "adapter_config.json").is_file():
        raise BadModel(
            f"{folder} contains an adapter (adapter_config.json), which changes a model's weights while it is loaded; merge it "
            "(merge_and_unload, save_pretrained), and export from the merged model's folder."
        )


def refuse_special_files(folder: Path) -> None:
    """Raises BadModel for what is neither file nor folder: reading a pipe would block, and a link may lead nowhere."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for path in (Path(root, name) for name in sorted(names) if Path(root) != folder or not name.startswith(".")):
            if not path.is_file():
                kind = "a broken symbolic link" if path.is_symlink() else "no regular file (a pipe, a socket or a device)"
                raise BadModel(f"{path} is {kind}; delete it, or download the model again.")


def download(model: str, revision: str | None, weights: str | None = None) -> Path:
    """Returns the cached folder of a Hub id: configuration, tokenizer, and those weights that transformers would load.

    Cached files are not downloaded again; HF_HUB_OFFLINE, HF_HOME and HF_TOKEN are honoured. Raises BadModel.
    """
    from huggingface_hub import snapshot_download  # needed only here

    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=list(SMALL_FILES)))
        for name in (weights,) if weights is not None else (SINGLE, INDEX, PICKLED, PICKLED_INDEX):
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=[name]))
            if (folder / name).is_file():
                files = sorted(set(_weight_map(folder / name).values())) if name.endswith(".index.json") else []
                return Path(snapshot_download(model, revision=revision, allow_patterns=files)) if files else folder
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:240].rstrip(".")
        raise BadModel(
            f"The Hub id {model} could not be downloaded: {reason}. Check the name and the network, or give a folder."
        ) from error
    return folder


def _weights_file(folder: Path, stated: str | None) -> str:
    """Returns the first file of weights, or index, that transformers would find. Raises BadModel."""
    if stated is not None:
        return _inside(stated, f"The configuration of {folder}")
    for name in (SINGLE, INDEX, PICKLED, PICKLED_INDEX):
        if (folder / name).is_file():
            return name
    unsupported = [path.name for path in sorted(folder.iterdir()) if path.name.endswith(WEIGHT_SUFFIXES)]
    if unsupported:
        raise BadModel(
            f"{folder} has its weights as {', '.join(unsupported[:3])}, a format that is not supported; load them with transformers, "
            "save_pretrained, and export from that folder."
        )
    raise BadModel(f"{folder} holds no weights (neither {SINGLE}, nor {PICKLED}, nor an index of several files); {_DOWNLOAD_AGAIN}.")


def _weight_map(index: Path) -> dict[str, str]:
    """Returns tensor name to file name, as an index lists them. Raises BadModel."""
    try:
        weight_map = read_json(index, "index of the weights")["weight_map"]
    except InputError as error:
        raise BadModel(f"{error} Download it again.") from error
    except (KeyError, TypeError) as error:
        raise BadModel(f"{index} is no index of weights: it has no weight_map; {_DOWNLOAD_AGAIN}.") from error
    if not isinstance(weight_map, Mapping) or not weight_map or not all(isinstance(file, str) for file in weight_map.values()):
        raise BadModel(f"The weight_map of {index} names no files; {_DOWNLOAD_AGAIN}.")
    return {name: _inside(file, str(index)) for name, file in weight_map.items()}


def _inside(name: str, where: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.name:
        raise BadModel(f"{where} names {name!r}, which is outside the model's folder; {_DOWNLOAD_AGAIN}.")
    return str(path)


def _read_header(folder: Path, shard: str) -> dict[str, TensorInfo]:
    """Returns the tensors of a safetensors file. Raises BadModel where it is damaged."""
    path = folder / shard
    try:
        with path.open("rb") as file:
            length = file.read(8)
            if length == b"version ":
                raise BadModel(f"{path} is a pointer of Git LFS, not the weights themselves; run `git lfs pull` there.")
            with safe_open(path, framework="numpy"):  # checks the header, also against the length of the file
                header = json.loads(file.read(int.from_bytes(length, "little")))
    except (OSError, SafetensorError, ValueError) as error:
        raise BadModel(f"{path} is damaged or truncated ({str(error).rstrip('.')}); {_DOWNLOAD_AGAIN}.") from error
    body = 8 + int.from_bytes(length, "little")
    header.pop("__metadata__", None)
    return {
        name: TensorInfo(shard, entry["dtype"], tuple(entry["shape"]), *(body + offset for offset in entry["data_offsets"]))
        for name, entry in header.items()
    }


def _other_files(folder: Path, weights: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the files to copy, and those to leave out: other weights, folders with any, the card, the plan. Hidden files are neither."""
    others, left_out = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__" or path.name in weights:
            continue
        if path.is_dir():
            files = [Path(root, name) for root, _, names in os.walk(path) for name in names if "__pycache__" not in root]
            names = [file.relative_to(folder).as_posix() for file in sorted(files)]
            if any(name.endswith(WEIGHT_SUFFIXES) and name not in weights for name in names):
                left_out.append(f"{path.name}/")
            else:
                others += [name for name in names if name not in weights]
        elif path.name in (CARD, PLAN) or path.name.endswith(WEIGHT_SUFFIXES):
            left_out.append(path.name)
        else:
            others.append(path.name)
    return tuple(others), tuple(left_out)
