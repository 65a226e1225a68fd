"""SVD cache: each matrix of a model is decomposed once, stored on disk under its weight's hash, and one is kept in memory.

Knows an anatomy and a folder; does not know what the decompositions are for. A file contains the singular vectors of the shorter side,
from which and the matrix itself the rest is a multiplication: a 4096 × 11008 matrix needs 67 MB, not 247.
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

#: The default size limit of a folder: 4 GiB.
LIMIT = 4 * 2**30
#: Changes whenever the algorithm gives other results, so that files of older code are not read.
_METHOD = "1"
#: The names of cache files, and of partly written ones: the SHA-256 of a matrix.
_CACHE_FILE = re.compile(r"\.?[0-9a-f]{64}\.safetensors")
#: The arrays that a file may contain.
_CONTENTS: tuple[set[str], ...] = ({"basis"}, {"left", "values", "right"})
#: Bytes that are hashed, and copied from a device, at once.
_CHUNK_BYTES = 2**25
#: A file that a killed process left partly written is deleted after so many seconds.
_PARTIAL_FILE_SECONDS = 24 * 3600


def default_folder() -> Path:
    """Returns $RESECT_CACHE, else $XDG_CACHE_HOME/resect/factors, else ~/.cache/resect/factors."""
    own, shared = os.environ.get("RESECT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser()
    return (Path(shared) if shared else Path.home() / ".cache") / "resect" / "factors"


class SvdCache:
    """The decompositions of a model's matrices.

    Parameters
    ----------
    anatomy : of a model with its weights in memory
    folder : where they are stored, also by several processes at a time; None: nowhere (`default_folder` is the usual place)
    limit : the largest size of the folder in bytes; files that were used longest ago are deleted first; 0: nothing is stored

    A matrix is identified by its values, not by its name: after an edit the result is the edited matrix' decomposition. A damaged file is
    replaced; a folder that is full or cannot be written to is reported once, as a warning, and not used.
    Raises InputError for a limit below 0.
    """

    def __init__(self, anatomy: Anatomy, *, folder: Path | None = None, limit: int = LIMIT) -> None:
        if limit < 0:
            raise InputError(f"The size limit of the SVD cache is in bytes, from 0 on, not {limit!r}.")
        self.anatomy, self.limit = anatomy, limit
        self.folder = folder if limit else None
        self._last: tuple[str, Decomposition] | None = None
        self._stores = True

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": None}  # as large as the matrix, and not sent to other processes

    def decomposition(self, site: Site | str) -> Decomposition:
        """Returns the exact decomposition of a matrix as it is now, on its own device; the last one is kept in memory.

        Raises UnknownName, NotWritable (quantised, offloaded, no values), NotFinite.
        """
        site = self.anatomy.check(site)
        self.anatomy.locate(site)  # raises where there are no plain values
        weight = self.anatomy.weight(site)
        key = weight_digest(weight)
        if self._last is None or self._last[0] != key:
            self._last = None  # two at a time would be twice the memory
            self._last = (key, self._read(key, weight) or self._compute(key, weight, str(site)))
        return self._last[1]

    def singular_values(self, site: Site | str) -> Float[np.ndarray, " k"]:
        """Returns the singular values of a matrix as it is now, descending. Raises as `decomposition`."""
        values: np.ndarray = self.decomposition(site).values.double().cpu().numpy()
        return values

    def _compute(self, key: str, weight: Tensor, name: str) -> Decomposition:
        decomposition = Decomposition.of(weight, name)
        if self.folder is not None and self._stores:
            try:
                _store(self.folder / f"{key}.safetensors", _arrays(decomposition), self.limit)
            except (StorageFailure, OSError) as error:
                self._stores = False
                warnings.warn(f"Decompositions are not stored on disk, and will be computed again next time: {error}", stacklevel=2)
        return decomposition

    def _read(self, key: str, weight: Tensor) -> Decomposition | None:
        if self.folder is None:
            return None
        path = self.folder / f"{key}.safetensors"
        try:
            arrays, metadata = read_arrays(path)
        except InputError:  # missing or damaged
            return None
        if set(arrays) not in _CONTENTS or metadata.get("sha256") != _checksum(arrays):
            return None
        with contextlib.suppress(OSError):  # the folder of another user may be readable, but not writable
            os.utime(path)
        parts = {name: torch.from_numpy(array).to(weight.device) for name, array in arrays.items()}
        return Decomposition(**parts) if "values" in parts else Decomposition.from_basis(weight, parts["basis"])


def weight_digest(weight: Float[Tensor, "out inside"]) -> str:
    """Returns the SHA-256 of a matrix' values, shape and dtype, of the kind of its device and of the version of the algorithm.

    The values are read in chunks of 32 MiB, whatever the matrix' size.
    """
    digest = hashlib.sha256(json.dumps([_METHOD, list(weight.shape), str(weight.dtype), weight.device.type]).encode())
    rows = max(1, _CHUNK_BYTES // max(1, weight.shape[1] * weight.element_size()))
    for part in weight.split(rows):
        digest.update(part.contiguous().cpu().view(torch.uint8).numpy())
    return digest.hexdigest()


def effective_rank(values: Any) -> float:
    """Returns exp(H) of the singular values p_i = σ_i / Σσ, with H = −Σ p_i · log p_i: in [1, k]; 0.0 where all are 0.

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


def _arrays(decomposition: Decomposition) -> dict[str, np.ndarray]:
    """Returns the arrays that are stored: the basis; in float64, where it does not determine the rest exactly, everything."""
    if decomposition.values.dtype == torch.float64:
        parts = {"left": decomposition.left, "values": decomposition.values, "right": decomposition.right}
    else:
        parts = {"basis": decomposition.basis}
    return {name: np.ascontiguousarray(part.cpu().numpy()) for name, part in parts.items()}


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(json.dumps([name, list(arrays[name].shape), str(arrays[name].dtype)]).encode())
        digest.update(np.ascontiguousarray(arrays[name]).data.cast("B"))
    return digest.hexdigest()


def _store(path: Path, arrays: Mapping[str, np.ndarray], limit: int) -> None:
    """Write one file, and delete the oldest ones where the limit needs it. Raises StorageFailure, OSError."""
    size = sum(array.nbytes for array in arrays.values()) + 1024
    if size > limit:
        return
    stored = sorted(_stored_files(path.parent))
    excess = sum(n_bytes for _, n_bytes, _ in stored) + size - limit
    for _, n_bytes, oldest in stored:
        if excess <= 0:
            break
        oldest.unlink(missing_ok=True)
        excess -= n_bytes
    write_arrays(path, arrays, {"sha256": _checksum(arrays)})


def _stored_files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Yields the time of last use, the bytes and the path of each cache file; deletes old partial ones, and ignores all other files."""
    for path in folder.glob("*.safetensors*"):
        if not _CACHE_FILE.match(path.name):  # the folder may be a model's own
            continue
        try:
            status = path.stat()
        except FileNotFoundError:  # another process has deleted it
            continue
        if path.suffix == ".safetensors":
            yield status.st_mtime, status.st_size, path
        elif path.name.startswith(".") and path.suffix == ".part" and time.time() - status.st_mtime > _PARTIAL_FILE_SECONDS:
            path.unlink(missing_ok=True)
