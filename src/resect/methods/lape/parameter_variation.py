"""PV: by how much each feed-forward unit's weights changed when the model was tuned on one language.

Knows a model in memory and checkpoints on disk, which are read one tensor at a time; knows no text, and not what is chosen by the changes.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float64
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resect.core.address import Site
from resect.core.errors import BadModel, InputError, NotFinite, WrongModel
from resect.core.execution import Entry, Progress, Workers, journal_key
from resect.core.files import read_json
from resect.models.anatomy import Anatomy
from resect.models.fingerprint import anatomy_of
from resect.models.loading import load_config
from resect.models.storage import PLAIN_DTYPES, taken

STAGE = "changes of weights"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: Entries of a matrix that are held in float64 at once: few enough to stay in a processor's cache, which is ten times as fast.
_PIECE = 2**18
#: How to go on where a checkpoint is of another model.
_OWN = "Give the whole model, tuned from the one that is looked at, unquantised"


@dataclass(frozen=True)
class ParameterChanges:
    """How much each unit changed in each language's tuning, relative to its own size: 0 not at all, 1 as much as it is large.

    Attributes
    ----------
    languages : in the order in which the checkpoints were given
    by_site : by site (`act`), in the order of the model, float64 [languages, units], from 0 on
    """

    languages: tuple[str, ...]
    by_site: Mapping[Site, Float64[np.ndarray, "languages _"]]

    def flat(self) -> Float64[np.ndarray, "languages units"]:
        """The units of all sites in a row, in the order of `Counts.probabilities`."""
        return np.concatenate(list(self.by_site.values()), axis=1)


def parameter_changes(model: Any, checkpoints: Mapping[str, str], *, workers: Workers | None = None) -> ParameterChanges:
    """The relative change ‖θ_k − θ_0‖ / ‖θ_0‖ of each unit under the tuning on each language k (Euclidean norm, float64).

    θ are the unit's weights: its row of `gate` and `up`, its column of `down`, and its entries of their biases. θ_0 is the model in memory;
    a checkpoint is read in the dtype that the model has there, so that rounding is not taken for change. A unit whose weights are all 0 in
    θ_0 has the change 0 where they stayed so, else 1.

    Parameters
    ----------
    model : LanguageModel or Hugging Face model, with its weights in memory
    checkpoints : language to a folder, or Hub id, of the whole model tuned on that language, in safetensors. Memory: one tensor of it.
    workers : their journal keeps the changes of each checkpoint

    Raises InputError for no checkpoint, BadModel where one is missing, damaged, not in safetensors, or changed no unit at all; WrongModel
    where it is another model or lacks a tensor; NotWritable where the model's own weights cannot be read (quantised, offloaded); NotFinite.
    Source: Tang et al. 2024 (arXiv:2402.16438), the baseline PV, as METHODS.md, section 2, describes it. Differs from the source in: what
    the weights of a unit are, and that its change is relative, is ours; the authors published no code for it.
    """
    anatomy, workers = anatomy_of(model), workers or Workers()
    if not checkpoints:
        raise InputError("PV needs the model tuned on each language by itself: give --checkpoint LANG=PATH for each.")
    compared = _Compared.of(anatomy)
    total = len(compared.sizes) * len(checkpoints)
    workers.progress(STAGE, 0, total)
    rows = []
    for place, (language, source) in enumerate(checkpoints.items()):
        done = place * len(compared.sizes)
        with _tensors(source, anatomy, language) as tuned:
            reported = partial(_report_layer, workers.progress, done, total)
            compute = partial(_changes, compared, tuned, f"{source} ({language})", reported)
            entry = workers.remember(journal_key("variation", language, tuned.digest), compute)
        rows.append(np.asarray(entry["changes"], dtype=np.float64))
        workers.progress(STAGE, done + len(compared.sizes), total)
    return ParameterChanges(tuple(checkpoints), compared.by_site(np.stack(rows)))


def _report_layer(progress: Progress, done: int, total: int, layer: int) -> None:
    progress(STAGE, done + layer, total)


def _changes(compared: "_Compared", tuned: Any, name: str, report: Callable[[int], None]) -> Entry:
    """The change of each unit in one checkpoint, as a journal entry. Raises NotFinite, BadModel."""
    changes = compared.changes(tuned, report)
    if not np.isfinite(changes).all():
        raise NotFinite(f"The weights of {name} hold NaN or infinity, or the model's own do. Get the checkpoint again.")
    if not changes.any():
        raise BadModel(
            f"The feed-forward weights of {name} are those of the model itself, to the last bit: nothing was tuned there. "
            "Give the checkpoint after tuning, the whole model (an adapter is merged first: merge_and_unload)."
        )
    return {"changes": changes}


@dataclass(frozen=True)
class _Compared:
    """The model that checkpoints are compared with: by site the norm of each unit's weights."""

    anatomy: Anatomy
    sizes: Mapping[Site, Float64[np.ndarray, " _"]]

    @classmethod
    def of(cls, anatomy: Anatomy) -> "_Compared":
        """Raises NotWritable."""
        sites = [site for site in anatomy.moments if site.role == "act"]
        return cls(anatomy, {site: np.sqrt(sum(_squares(*part) for part in _own(anatomy, site))) for site in sites})

    def changes(self, tuned: "_Tuned", tell: Callable[[int], None]) -> Float64[np.ndarray, " units"]:
        """The relative change of every unit of all sites in a row; `tell` is told of each layer. Raises WrongModel, BadModel."""
        found = []
        for layer, (site, size) in enumerate(self.sizes.items(), start=1):
            parts = zip(_own(self.anatomy, site), _theirs(self.anatomy, site, tuned), strict=True)
            moved = np.sqrt(sum(_squares(own, axis, theirs.to(own.dtype)) for (own, axis), theirs in parts))
            found.append(np.divide(moved, size, out=np.sign(moved), where=size > 0))
            tell(layer)
        return np.concatenate(found)

    def by_site(self, rows: Float64[np.ndarray, "languages units"]) -> dict[Site, Float64[np.ndarray, "languages _"]]:
        """What stands in a row, cut into sites."""
        ends = np.cumsum([len(size) for size in self.sizes.values()])[:-1]
        return dict(zip(self.sizes, np.split(rows, ends, axis=1), strict=True))


#: Roles whose matrices hold a unit's weights, and the axis on which its units stand.
_ROLES = (("gate", 0), ("up", 0), ("down", 1))


def _pieces(anatomy: Anatomy, site: Site) -> Iterator[tuple[Site, int, str]]:
    """Matrix, axis of the units, and parameter of everything that belongs to the units at `site`. Biases of `down` are nobody's."""
    for role, axis in _ROLES:
        matrix = site.at(role)
        if matrix in anatomy.sites:
            yield matrix, axis, "weight"
            if axis == 0 and anatomy.has_bias(matrix):
                yield matrix, axis, "bias"


def _own(anatomy: Anatomy, site: Site) -> Iterator[tuple[Tensor, int]]:
    for matrix, axis, name in _pieces(anatomy, site):
        anatomy.locate(matrix)  # raises where there are no plain values
        held = anatomy.weight(matrix) if name == "weight" else anatomy.bias(matrix)
        if held is not None:
            yield held, axis


def _theirs(anatomy: Anatomy, site: Site, tuned: "_Tuned") -> Iterator[Tensor]:
    for matrix, _, name in _pieces(anatomy, site):
        slot = anatomy.slot(matrix)
        stored = tuned.read(f"{slot.path}.{name}", tuple(getattr(anatomy.module(matrix), name).shape))
        yield taken(stored.T if slot.transposed and name == "weight" else stored, slot.rows)


def _squares(own: Tensor, axis: int, theirs: Tensor | None = None) -> Float64[np.ndarray, " units"]:
    """The sum of squares of each unit's entries, or of their differences, a piece at a time."""
    whole = own if own.ndim == 2 else own[:, None]
    other = theirs if theirs is None or theirs.ndim == 2 else theirs[:, None]
    found = np.zeros(whole.shape[axis])
    step = max(1, _PIECE // whole.shape[1])
    for start in range(0, whole.shape[0], step):
        part = whole[start : start + step].cpu().double()
        if other is not None:
            part = part - other[start : start + step].double()
        sums = part.square().sum(dim=1 - axis).numpy()
        if axis == 0:
            found[start : start + step] = sums
        else:
            found += sums
    return found


@dataclass(frozen=True)
class _Tuned:
    """The tensors of one checkpoint.

    `prefix`: what stands before the names of the model's stacks, in memory; `digest`: of the files' names, sizes and times of change.
    """

    source: str
    digest: str
    files: Mapping[str, Any]  # name on disk to the open file that it is in
    prefix: str

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """What is stored for a parameter. Raises WrongModel, BadModel."""
        tail = name.removeprefix(self.prefix)
        held = [name] if name in self.files else [disk for disk in self.files if f".{disk}".endswith(f".{tail}")]
        if len(held) != 1:
            why = "is not there" if not held else f"may be {' or '.join(held[:3])}"
            raise WrongModel(f"The weights of {self.source} are not those of this model: {name} {why}. {_OWN}.")
        try:
            tensor: Tensor = self.files[held[0]].get_tensor(held[0])
        except (SafetensorError, RuntimeError) as error:
            raise BadModel(f"{held[0]} of {self.source} cannot be read: {error}. Get the checkpoint again.") from error
        if tuple(tensor.shape) != shape or tensor.dtype not in PLAIN_DTYPES:
            there = f"{tensor.dtype} {list(tensor.shape)}"
            raise WrongModel(f"{held[0]} of {self.source} is {there}; plain numbers {list(shape)} are wanted. {_OWN}.")
        return tensor


@contextmanager
def _tensors(source: str, anatomy: Anatomy, language: str) -> Iterator[_Tuned]:
    """The tensors of a checkpoint that is a model of the same shape. Raises BadModel, WrongModel."""
    config = load_config(source)
    theirs = Anatomy.of_config(config)
    matrices = [site for site in anatomy.sites if site.role in ("gate", "up", "down")]
    same = theirs.family == anatomy.family and set(theirs.sites) >= set(matrices)
    other = next((site for site in matrices if not same or theirs.shape(site) != anatomy.shape(site)), None)
    if other is not None:
        told = theirs.shape(other) if other in theirs.sites else "not there"
        raise WrongModel(
            f"The checkpoint {source} ({language}) is a {theirs.family} where {other} is {told}; here, a {anatomy.family}, it is "
            f"{anatomy.shape(other)}. {_OWN}."
        )
    folder = Path(source) if Path(source).is_dir() else _fetched(source, getattr(config, "_commit_hash", None))
    root, backbone = anatomy.root, anatomy.backbone
    prefix = next((path for path, module in root.named_modules() if module is backbone), "") if root is not None else ""
    with ExitStack() as stack:
        names = _files(folder)
        files = [stack.enter_context(_opened(folder / name)) for name in names]
        yield _Tuned(source, _digest(folder, names), {name: file for file in files for name in file.keys()}, f"{prefix}." if prefix else "")  # noqa: SIM118


def _digest(folder: Path, names: Sequence[str]) -> str:
    states = [(folder / name).stat() for name in names]
    held = [[name, state.st_size, state.st_mtime_ns] for name, state in zip(names, states, strict=True)]
    return hashlib.sha256(json.dumps([str(folder.resolve()), held]).encode()).hexdigest()[:16]


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{path} is missing, damaged or cut short ({str(error).rstrip('.')}); get it again.") from error


def _files(folder: Path) -> tuple[str, ...]:
    """The safetensors files that transformers would load. Raises BadModel."""
    if (folder / SINGLE).is_file():
        return (SINGLE,)
    if not (folder / INDEX).is_file():
        raise BadModel(
            f"{folder} holds neither {SINGLE} nor {INDEX}; PV reads safetensors only: load the checkpoint with transformers, "
            "save_pretrained, and give the folder that this makes."
        )
    try:
        listed = read_json(folder / INDEX, "index of the weights")
    except InputError as error:
        raise BadModel(str(error)) from error
    listed = listed.get("weight_map") if isinstance(listed, Mapping) else None
    names = sorted(set(map(str, listed.values()))) if isinstance(listed, Mapping) else []
    outside = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if not names or outside:
        raise BadModel(f"{folder / INDEX} is no index of weights in this folder; get it again.")
    return tuple(names)


def _fetched(source: str, revision: str | None) -> Path:
    """The folder of a Hub id with its safetensors. Raises BadModel."""
    from huggingface_hub import snapshot_download  # needed only here

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=["config.json", "model*.safetensors", INDEX]))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:240].rstrip(".")
        raise BadModel(f"The Hub id {source} could not be fetched: {reason}. Check the name and the network, or give a folder.") from error
