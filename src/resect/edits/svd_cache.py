"""Decompositions of a model's matrices: each made once, kept on disk under its weight's hash, and one at a time in memory.

Knows an anatomy and a folder; not what the factors are for. What is kept is the singular vectors of the shorter side, from which and the
matrix itself the rest is a multiplication: a 4096 × 11008 matrix leaves 67 MB, not 247.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from resect.core.address import Site
from resect.core.errors import InputError, StorageFailure
from resect.core.files import read_arrays, write_arrays
from resect.models.anatomy import Anatomy

from .svd import Decomposition

#: What a folder may hold if nothing else is said: 4 GiB.
LIMIT = 4 * 2**30
#: Changes whenever decompositions come out differently: what older code left is not taken up.
_METHOD = "1"
#: What our files are called, and what is half written of one: by the SHA-256 of a matrix.
_OURS = re.compile(r"\.?[0-9a-f]{64}\.safetensors")
#: What a file may hold.
_CONTENTS: tuple[set[str], ...] = ({"basis"}, {"left", "values", "right"})
#: Bytes that are hashed, and copied from a device, at once.
_PIECE = 2**25
#: What a killed process left half written is swept after so many seconds.
_TORN = 24 * 3600


def default_folder() -> Path:
    """$RESECT_CACHE, else $XDG_CACHE_HOME/resect/factors, else ~/.cache/resect/factors."""
    own, shared = os.environ.get("RESECT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser()
    return (Path(shared) if shared else Path.home() / ".cache") / "resect" / "factors"


class SvdCache:
    """The decompositions of a model's matrices.

    Parameters
    ----------
    anatomy : of a model with its weights in memory
    folder : where they are kept, by several processes at a time if need be; None: nowhere (`default_folder` is the usual place)
    limit : bytes that the folder may hold; what was used longest ago goes first; 0: nothing is kept

    A matrix is known by its values, not by its name: after an edit `of` gives the edited matrix' decomposition. A file that is damaged is
    made anew; a folder that is full or cannot be written to is said once, as a warning, and done without.
    Raises InputError for a limit below 0.
    """

    def __init__(self, anatomy: Anatomy, *, folder: Path | None = None, limit: int = LIMIT) -> None:
        if limit < 0:
            raise InputError(f"The limit of a folder of factors is in bytes, from 0 on, not {limit!r}.")
        self.anatomy, self.limit = anatomy, limit
        self.folder = folder if limit else None
        self._last: tuple[str, Decomposition] | None = None
        self._keeps = True

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": None}  # what is remembered is as large as the matrix, and is not sent

    def of(self, site: Site | str) -> Decomposition:
        """The exact decomposition of a matrix as it is now, on its own device; the last one is remembered.

        Raises UnknownName, NotWritable (quantised, offloaded, no values), NotFinite.
        """
        site = self.anatomy.check(site)
        self.anatomy.locate(site)  # raises where there are no plain values
        weight = self.anatomy.weight(site)
        key = digest(weight)
        if self._last is None or self._last[0] != key:
            self._last = None  # two at a time would be twice the memory
            self._last = (key, self._read(key, weight) or self._made(key, weight, str(site)))
        return self._last[1]

    def values(self, site: Site | str) -> Float[np.ndarray, " k"]:
        """The singular values of a matrix as it is now, falling. Raises as `of`."""
        values: np.ndarray = self.of(site).values.double().cpu().numpy()
        return values

    def _made(self, key: str, weight: Tensor, name: str) -> Decomposition:
        made = Decomposition.of(weight, name)
        if self.folder is not None and self._keeps:
            try:
                _keep(self.folder / f"{key}.safetensors", _arrays(made), self.limit)
            except (StorageFailure, OSError) as error:
                self._keeps = False
                warnings.warn(f"Decompositions are not kept on disk, and will be made anew next time: {error}", stacklevel=2)
        return made

    def _read(self, key: str, weight: Tensor) -> Decomposition | None:
        if self.folder is None:
            return None
        path = self.folder / f"{key}.safetensors"
        try:
            arrays, metadata = read_arrays(path)
        except InputError:  # not there, or damaged
            return None
        if set(arrays) not in _CONTENTS or metadata.get("sha256") != _checksum(arrays):
            return None
        with contextlib.suppress(OSError):  # somebody else's folder may be read, and not touched
            os.utime(path)
        parts = {name: torch.from_numpy(array).to(weight.device) for name, array in arrays.items()}
        return Decomposition(**parts) if "values" in parts else Decomposition.on(weight, parts["basis"])


def digest(weight: Float[Tensor, "out inside"]) -> str:
    """SHA-256 of a matrix' values, shape and dtype, of the kind of its device and of how matrices are decomposed.

    The values are read in pieces: memory for 32 MiB, whatever the matrix' size.
    """
    found = hashlib.sha256(json.dumps([_METHOD, list(weight.shape), str(weight.dtype), weight.device.type]).encode())
    rows = max(1, _PIECE // max(1, weight.shape[1] * weight.element_size()))
    for part in weight.split(rows):
        found.update(part.contiguous().cpu().view(torch.uint8).numpy())
    return found.hexdigest()


def effective_rank(values: Any) -> float:
    """exp(H) of the singular values p_i = σ_i / Σσ, with H = −Σ p_i · log p_i: in [1, k]; 0.0 where all are 0.

    `values`: any sequence of numbers from 0 on, of any order. Source: Roy & Vetterli 2007, "The effective rank: a measure of effective
    dimensionality", equation 2. Differs from the source in: nothing.

    >>> effective_rank([1, 1, 1, 1]), effective_rank([5, 0, 0])
    (4.0, 1.0)
    """
    sizes = np.asarray(values, dtype=np.float64)
    total = sizes.sum()
    if not total > 0:
        return 0.0
    shares = sizes[sizes > 0] / total
    return math.exp(-float((shares * np.log(shares)).sum()))


def _arrays(made: Decomposition) -> dict[str, np.ndarray]:
    """What is kept of a decomposition: all of it in float64, where nothing can be won back without loss."""
    whole = {"left": made.left, "values": made.values, "right": made.right}
    kept = whole if made.values.dtype == torch.float64 else {"basis": made.basis}
    return {name: np.ascontiguousarray(part.cpu().numpy()) for name, part in kept.items()}


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(json.dumps([name, list(arrays[name].shape), str(arrays[name].dtype)]).encode())
        found.update(np.ascontiguousarray(arrays[name]).data.cast("B"))
    return found.hexdigest()


def _keep(path: Path, arrays: Mapping[str, np.ndarray], limit: int) -> None:
    """Write one file, others out of its way. Raises StorageFailure, OSError."""
    size = sum(array.nbytes for array in arrays.values()) + 1024
    if size > limit:
        return
    held = sorted(_held(path.parent))
    over = sum(bytes_held for _, bytes_held, _ in held) + size - limit
    for _, bytes_held, oldest in held:
        if over <= 0:
            break
        oldest.unlink(missing_ok=True)
        over -= bytes_held
    write_arrays(path, arrays, {"sha256": _checksum(arrays)})


def _held(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each of our files was last used, its bytes, and its path; what was torn long ago is swept meanwhile. Others' files stay."""
    for path in folder.glob("*.safetensors*"):
        if not _OURS.match(path.name):  # the folder may be a model's own
            continue
        try:
            found = path.stat()
        except FileNotFoundError:  # another process was quicker
            continue
        if path.suffix == ".safetensors":
            yield found.st_mtime, found.st_size, path
        elif path.name.startswith(".") and path.suffix == ".part" and time.time() - found.st_mtime > _TORN:
            path.unlink(missing_ok=True)
