"""Identity of a model: shapes, and values of matrices at fixed positions.

Knows an anatomy, and no edit. Two models with the same values at these positions count as one, whatever their dtype; so do a quantised
model and the full one that it was made of, whose values are as near as the quantisation is fine (`Quantization.tolerance`). Matrices that
cannot be read are left out and cannot distinguish models.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from resect.core.address import Site
from resect.core.errors import BadPlan, NotWritable, WrongModel

from .anatomy import Anatomy, anatomy_of
from .plain_weights import is_plain, readable_matrix
from .quantization import origin_of

#: The number of values of a matrix in its fingerprint.
N_VALUES = 16
#: Steps of the positions, as shares of the rows and of the columns: multiples of two irrational numbers (the reciprocals of the
#: golden ratio and of the plastic number) form no pattern.
_ROW_STEP, _COLUMN_STEP = 0.6180339887498949, 0.7548776662466927
#: The smallest step of float16: two values with a smaller difference may be one value in different dtypes.
_SMALLEST_STEP = 2.0**-24


def present_values(parameter: nn.Parameter) -> Tensor:
    """Returns the present values of a parameter."""
    return parameter.data


def stored_matrix(site: Site) -> Site:
    """Returns the matrix that an edit at `site` writes: the site itself, or `down` for a moment."""
    return site.at("down") if site.is_moment else site


def fingerprint(anatomy: Anatomy, sites: Iterable[Site], read: Callable[[nn.Parameter], Tensor] = present_values) -> dict[str, list[float]]:
    """Returns for each address the values of its matrix at fixed positions, rounded to bfloat16; for a moment those of its `down`.

    `read` returns a parameter's values; quantised ones are read as the numbers with which the model computes. Matrices that cannot be
    read are left out. Raises UnknownName.
    """
    fingerprints: dict[str, list[float]] = {}
    for site in dict.fromkeys(stored_matrix(anatomy.check(site)) for site in sites):
        out, inside = anatomy.shape(site)
        rows = [int(out * (step * _ROW_STEP % 1)) for step in range(1, N_VALUES + 1)]
        columns = [int(inside * (step * _COLUMN_STEP % 1)) for step in range(1, N_VALUES + 1)]
        try:
            parameter, index = anatomy.locate(site, rows, columns)
        except NotWritable:
            matrix = None if anatomy.root is None else readable_matrix(anatomy, site)
            if matrix is None:
                continue
            diagonal = matrix[rows, columns]
        else:
            diagonal = read(parameter)[index].diagonal()
        values = diagonal.to(torch.bfloat16).float()
        fingerprints[str(site)] = [value + 0.0 for value in values.tolist()]  # + 0.0: no minus zero in a file
    return fingerprints


def tolerance_of(anatomy: Anatomy, site: Site) -> float:
    """Returns how far the values of a matrix may be from those of the full model (see `nearly_equal`); 0 where it was not quantised."""
    origin = None if anatomy.root is None else origin_of(anatomy.root)
    if origin is None:
        return 0.0
    stored = getattr(anatomy.module(site), anatomy.slot(site).weight, None)
    is_quantised = not isinstance(stored, nn.Parameter) or not is_plain(stored)
    return origin.tolerance if origin.is_plain or is_quantised else 0.0


def nearly_equal(first: Iterable[float], second: Iterable[float], tolerance: float = 0.0) -> bool:
    """Returns whether two lists of bfloat16 values are those of one matrix.

    They are equal up to one step of bfloat16 in each value; or the root mean square of their differences is at most `tolerance` times that
    of the larger values: of a matrix and its quantised form it is some hundredths, of two matrices about 1.4.
    """
    a, b = (torch.tensor(list(values), dtype=torch.float32) for values in (first, second))
    if a.shape != b.shape:
        return False
    are_near = ((_steps(a) - _steps(b)).abs() <= 1) | ((a - b).abs() <= _SMALLEST_STEP)
    return bool(are_near.all()) or float((a - b).norm()) <= tolerance * float(torch.maximum(a.norm(), b.norm()))


def _steps(values: Tensor) -> Int64[Tensor, " places"]:
    """Returns the number of each value in the order of all bfloat16 values; zero is 0."""
    bits = values.to(torch.bfloat16).view(torch.int16).long() & 0xFFFF
    return torch.where(bits >= 0x8000, 0x8000 - bits, bits)


@dataclass(frozen=True)
class MatrixFingerprint:
    """One matrix of a model: its shape [out, in], and its values at fixed positions (empty where it cannot be read).

    `tolerance`: how far the values may be from those of the full model, where they are quantised (see `nearly_equal`).
    """

    site: Site
    shape: tuple[int, int]
    values: tuple[float, ...]
    tolerance: float = 0.0

    def is_same(self, values: Iterable[float], tolerance: float = 0.0) -> bool:
        """Returns whether these are values of this matrix, as fine as the coarser of the two."""
        return nearly_equal(self.values, values, max(self.tolerance, tolerance))


@dataclass(frozen=True)
class ModelIdentity:
    """The identity of the model that a plan was made for. `name` and `revision` are for readers and are not compared."""

    family: str
    matrices: tuple[MatrixFingerprint, ...]
    name: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        # One order, so that equal identities are equal.
        object.__setattr__(self, "matrices", tuple(sorted(self.matrices, key=lambda matrix: matrix.site.model_order)))

    @classmethod
    def of(cls, model: Any, sites: Iterable[Site], read: Callable[[nn.Parameter], Tensor] = present_values) -> "ModelIdentity":
        """Returns the identity of a model (LanguageModel, Hugging Face model), of the matrices at `sites`. Raises UnknownName."""
        anatomy = anatomy_of(model)
        touched = dict.fromkeys(stored_matrix(each) for site in sites for each in anatomy.each(site))
        values = fingerprint(anatomy, touched, read)
        coarse = {site: tolerance_of(anatomy, site) for site in touched if str(site) in values}
        matrices = tuple(
            MatrixFingerprint(site, anatomy.shape(site), tuple(values.get(str(site), ())), coarse.get(site, 0.0)) for site in touched
        )
        config = getattr(anatomy.root, "config", None)
        name = getattr(model, "name", "") or getattr(config, "_name_or_path", "")
        return cls(anatomy.family, matrices, _without_folders(str(name)) or None, getattr(config, "_commit_hash", None))

    @property
    def shapes(self) -> dict[Site, tuple[int, int]]:
        """The shape (out, in) of each matrix."""
        return {matrix.site: matrix.shape for matrix in self.matrices}

    def check(self, model: Any, read: Callable[[nn.Parameter], Tensor] = present_values, *, shapes_only: bool = False) -> None:
        """Raises WrongModel where `model` is another one; with `shapes_only`, only where its shapes differ."""
        anatomy = anatomy_of(model)
        made_for = f"This plan was made for {self.name or 'a model'} ({self.family})"
        if anatomy.family != self.family and not shapes_only:
            raise WrongModel(f"{made_for}, and this model is a {anatomy.family}. Load the plan's own model.")
        known = set(anatomy.sites)
        for matrix in self.matrices:
            if matrix.site not in known:
                raise WrongModel(f"{made_for}; it has {matrix.site}, which this {anatomy.family} does not have. Load the plan's own model.")
            if anatomy.shape(matrix.site) != matrix.shape:
                sizes = f"where {matrix.site} is {_size(matrix.shape)}; here it is {_size(anatomy.shape(matrix.site))}"
                raise WrongModel(f"{made_for}, {sizes}. Load the plan's own model.")
        if shapes_only:
            return
        values = fingerprint(anatomy, [matrix.site for matrix in self.matrices if matrix.values], read)
        different = [
            matrix.site
            for matrix in self.matrices
            if not matrix.is_same(values.get(str(matrix.site), matrix.values), tolerance_of(anatomy, matrix.site))
        ]
        if different:
            is_coarse = any(matrix.tolerance or tolerance_of(anatomy, matrix.site) for matrix in self.matrices)
            beyond = ", further from the plan's than quantisation explains" if is_coarse else ""
            raise WrongModel(
                f"{made_for}, and {len(different)} of the {len(self.matrices)} matrices that it touches have other values here, including "
                f"{different[0]}{beyond}. Load the plan's own model; for a fine-tune of the same shape give --allow-other-model "
                "(allow_other_model=True)."
            )

    def __or__(self, other: "ModelIdentity") -> "ModelIdentity":
        """Returns the union of two identities of one model. Raises WrongModel where they are of two models."""
        if self.family != other.family:
            raise WrongModel(f"A plan for a {self.family} and one for a {other.family} cannot be added.")
        matrices = {matrix.site: matrix for matrix in self.matrices}
        for matrix in other.matrices:
            own = matrices.setdefault(matrix.site, matrix)
            same_values = not own.values or not matrix.values or own.is_same(matrix.values, matrix.tolerance)
            if own.shape != matrix.shape or not same_values:
                what = "value" if own.shape == matrix.shape else "shape"
                raise WrongModel(f"These plans were made for two models: {matrix.site} differs in {what}, so they cannot be added.")
            matrices[matrix.site] = _finer(own, matrix)
        return ModelIdentity(self.family, tuple(matrices.values()), self.name or other.name, self.revision or other.revision)

    def to_json(self) -> dict[str, Any]:
        """Returns `{"family", "shapes": {address: [out, in]}, "fingerprint": {address: [values]}}`, and name, revision.

        With `"tolerance": {address: share}` where values are quantised; a version that does not know it takes them as exact.
        """
        names = {key: value for key, value in (("name", self.name), ("revision", self.revision)) if value is not None}
        coarse = {str(matrix.site): matrix.tolerance for matrix in self.matrices if matrix.values and matrix.tolerance}
        tolerance = {"tolerance": coarse} if coarse else {}
        return (
            names
            | tolerance
            | {
                "family": self.family,
                "shapes": {str(matrix.site): list(matrix.shape) for matrix in self.matrices},
                "fingerprint": {str(matrix.site): list(matrix.values) for matrix in self.matrices if matrix.values},
            }
        )

    @classmethod
    def from_json(cls, value: Any) -> "ModelIdentity":
        """Returns the identity that `to_json` wrote. Raises BadPlan."""
        if not isinstance(value, Mapping) or not isinstance(value.get("family"), str):
            raise BadPlan("A plan's model is null or an object with family, shapes and fingerprint.")
        shapes, values = value.get("shapes", {}), value.get("fingerprint", {})
        if not isinstance(shapes, Mapping) or not isinstance(values, Mapping) or not set(values) <= set(shapes):
            raise BadPlan("A plan's model has shapes, address to [out, in], and a fingerprint for some of these addresses.")
        for address, entry in itertools.chain(shapes.items(), values.items()):
            if not isinstance(entry, list) or not all(map(_is_number, entry)):
                raise BadPlan(f"An entry of a plan's model, here {address}, is a list of numbers, not {entry!r}.")
        if not all(len(shape) == 2 and all(isinstance(size, int) for size in shape) for shape in shapes.values()):
            raise BadPlan("A shape in a plan's model is [out, in], two integers.")
        tolerance = value.get("tolerance", {})
        if not isinstance(tolerance, Mapping) or not all(_is_number(share) and 0 <= share < 1 for share in tolerance.values()):
            raise BadPlan("The tolerance in a plan's model is a number in [0, 1) for some of its addresses.")
        names = {key: value.get(key) for key in ("name", "revision")}
        if not all(entry is None or isinstance(entry, str) for entry in names.values()):
            raise BadPlan("The name and the revision of a plan's model are text.")
        matrices = [
            MatrixFingerprint(
                Site.parse(address), (shape[0], shape[1]), tuple(map(float, values.get(address, ()))), float(tolerance.get(address, 0.0))
            )
            for address, shape in shapes.items()
        ]
        return cls(value["family"], tuple(matrices), **names)


def _finer(first: MatrixFingerprint, second: MatrixFingerprint) -> MatrixFingerprint:
    """Returns the one with values and, where both have them, with the finer ones."""
    if first.values and second.values:
        return min(first, second, key=lambda matrix: matrix.tolerance)
    return first if first.values else second


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} × {shape[1]}"


def _without_folders(name: str) -> str:
    """Returns a Hub id as it is; of a folder only its own name, since a plan contains no path."""
    is_folder = os.path.isabs(name) or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name or Path(name).is_dir()
    return Path(name).resolve().name if is_folder and name else name
