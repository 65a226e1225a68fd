"""A checkpoint that was tuned from the model in memory: its tensors, read from safetensors files one at a time.

Knows an anatomy, names and shapes; does not know what the tensors are compared for.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from resect.core.errors import BadModel, InputError, WrongModel
from resect.core.files import read_json
from resect.models.anatomy import Anatomy
from resect.models.loading import load_config
from resect.models.storage import PLAIN_DTYPES

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: How to go on where a checkpoint is of another model.
_TUNED_FROM_THIS = "Give the whole model, tuned from the one that is examined, unquantised"


@dataclass(frozen=True)
class TunedCheckpoint:
    """The tensors of one checkpoint.

    Attributes
    ----------
    source : folder or Hub id
    digest : of the names, sizes and modification times of its files
    files : tensor name on disk to its open file
    prefix : what precedes the names of the model's stacks in memory
    """

    source: str
    digest: str
    files: Mapping[str, Any]
    prefix: str

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The stored values of a parameter. Raises WrongModel, BadModel."""
        tail = name.removeprefix(self.prefix)
        matches = [name] if name in self.files else [stored for stored in self.files if f".{stored}".endswith(f".{tail}")]
        if len(matches) != 1:
            reason = "is not there" if not matches else f"may be {' or '.join(matches[:3])}"
            raise WrongModel(f"The weights of {self.source} are not those of this model: {name} {reason}. {_TUNED_FROM_THIS}.")
        (stored,) = matches
        try:
            tensor: Tensor = self.files[stored].get_tensor(stored)
        except (SafetensorError, RuntimeError) as error:
            raise BadModel(f"{stored} of {self.source} cannot be read: {error}. Get the checkpoint again.") from error
        if tuple(tensor.shape) != shape or tensor.dtype not in PLAIN_DTYPES:
            there = f"{tensor.dtype} {list(tensor.shape)}"
            raise WrongModel(f"{stored} of {self.source} is {there}; plain numbers {list(shape)} are wanted. {_TUNED_FROM_THIS}.")
        return tensor


@contextmanager
def open_checkpoint(source: str, anatomy: Anatomy, language: str) -> Iterator[TunedCheckpoint]:
    """A checkpoint whose feed-forward blocks have the shapes of this model. Raises BadModel, WrongModel."""
    config = load_config(source)
    _check_same_shape(Anatomy.of_config(config), anatomy, f"{source} ({language})")
    folder = Path(source) if Path(source).is_dir() else _downloaded(source, getattr(config, "_commit_hash", None))
    root, backbone = anatomy.root, anatomy.backbone
    path = next((path for path, module in root.named_modules() if module is backbone), "") if root is not None else ""
    with ExitStack() as stack:
        names = _weight_files(folder)
        opened = [stack.enter_context(_opened(folder / name)) for name in names]
        files = {name: file for file in opened for name in file.keys()}  # noqa: SIM118
        yield TunedCheckpoint(source, _digest(folder, names), files, f"{path}." if path else "")


def _check_same_shape(tuned: Anatomy, anatomy: Anatomy, name: str) -> None:
    matrices = [site for site in anatomy.sites if site.role in ("gate", "up", "down")]
    is_comparable = tuned.family == anatomy.family and set(tuned.sites) >= set(matrices)
    other = next((site for site in matrices if not is_comparable or tuned.shape(site) != anatomy.shape(site)), None)
    if other is not None:
        there = tuned.shape(other) if other in tuned.sites else "not there"
        raise WrongModel(
            f"The checkpoint {name} is a {tuned.family} where {other} is {there}; here, a {anatomy.family}, it is "
            f"{anatomy.shape(other)}. {_TUNED_FROM_THIS}."
        )


def _digest(folder: Path, names: Sequence[str]) -> str:
    states = [(folder / name).stat() for name in names]
    files = [[name, state.st_size, state.st_mtime_ns] for name, state in zip(names, states, strict=True)]
    return hashlib.sha256(json.dumps([str(folder.resolve()), files]).encode()).hexdigest()[:16]


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{path} is missing, damaged or cut short ({str(error).rstrip('.')}); get it again.") from error


def _weight_files(folder: Path) -> tuple[str, ...]:
    """The safetensors files that transformers would load. Raises BadModel."""
    if (folder / SINGLE).is_file():
        return (SINGLE,)
    if not (folder / INDEX).is_file():
        raise BadModel(
            f"{folder} has neither {SINGLE} nor {INDEX}; PV reads safetensors only: load the checkpoint with transformers, "
            "save_pretrained, and give the folder that this writes."
        )
    try:
        content = read_json(folder / INDEX, "index of the weights")
    except InputError as error:
        raise BadModel(str(error)) from error
    weight_map = content.get("weight_map") if isinstance(content, Mapping) else None
    names = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, Mapping) else []
    outside = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if not names or outside:
        raise BadModel(f"{folder / INDEX} is no index of weights in this folder; get it again.")
    return tuple(names)


def _downloaded(source: str, revision: str | None) -> Path:
    """The local folder of a Hub id with its safetensors. Raises BadModel."""
    from huggingface_hub import snapshot_download  # needed only here

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=["config.json", "model*.safetensors", INDEX]))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:240].rstrip(".")
        raise BadModel(f"The Hub id {source} could not be fetched: {reason}. Check the name and the network, or give a folder.") from error
