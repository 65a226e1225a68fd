"""Which model a plan was made for: shapes, and values of the touched matrices at fixed places.

Knows an anatomy, and no edit. Two models with the same values at these places count as one, whatever dtype they were
loaded in; what cannot be read (4-bit or offloaded weights) is left out and cannot be told apart.
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

from resect.core.address import ROLES, STACKS, Site
from resect.core.errors import BadPlan, NotWritable, WrongModel

from .anatomy import Anatomy, anatomy_of

#: How many values of a matrix are looked at.
PLACES = 16
#: Shares of the way down the rows and across the columns: multiples of two irrational numbers (the reciprocals of the
#: golden ratio and of the plastic number) fall on no pattern.
_DOWN, _ACROSS = 0.6180339887498949, 0.7548776662466927
#: Below this, float16 has no finer steps: two values that are nearer than this may be one, loaded in different dtypes.
_SMALLEST = 2.0**-24


def current(parameter: nn.Parameter) -> Tensor:
    """What a parameter holds now."""
    return parameter.data


def matrix_at(site: Site) -> Site:
    """The matrix whose storage an edit at `site` is about: itself, or `down` for a moment."""
    return site.at("down") if site.is_moment else site


def fingerprint(anatomy: Anatomy, sites: Iterable[Site], read: Callable[[nn.Parameter], Tensor] = current) -> dict[str, list[float]]:
    """Address to the values of its matrix at fixed places, rounded to bfloat16. Moments stand for their `down`.

    `read` gives a parameter's values. Matrices that cannot be read are left out. Raises UnknownName.
    """
    found: dict[str, list[float]] = {}
    for site in dict.fromkeys(matrix_at(anatomy.check(site)) for site in sites):
        out, inside = anatomy.shape(site)
        rows = [int(out * (step * _DOWN % 1)) for step in range(1, PLACES + 1)]
        columns = [int(inside * (step * _ACROSS % 1)) for step in range(1, PLACES + 1)]
        try:
            parameter, index = anatomy.locate(site, rows, columns)
        except NotWritable:
            continue
        values = read(parameter)[index].diagonal().to(torch.bfloat16).float()
        found[str(site)] = [value + 0.0 for value in values.tolist()]  # + 0.0: there is no minus zero in a file
    return found


def nearly_equal(first: Iterable[float], second: Iterable[float]) -> bool:
    """Whether two lists of bfloat16 values agree, one step of bfloat16 tolerated in each."""
    a, b = (torch.tensor(list(values), dtype=torch.float32) for values in (first, second))
    if a.shape != b.shape:
        return False
    near = ((_steps(a) - _steps(b)).abs() <= 1) | ((a - b).abs() <= _SMALLEST)
    return bool(near.all())


def _steps(values: Tensor) -> Int64[Tensor, " places"]:
    """Each bfloat16 value's number on the line of all bfloat16 values, zero being 0."""
    bits = values.to(torch.bfloat16).view(torch.int16).long() & 0xFFFF
    return torch.where(bits >= 0x8000, 0x8000 - bits, bits)


@dataclass(frozen=True)
class TensorMark:
    """One matrix of a model: its shape [out, in], and its values at fixed places (empty where it cannot be read)."""

    site: Site
    shape: tuple[int, int]
    values: tuple[float, ...]


@dataclass(frozen=True)
class ModelIdentity:
    """The model that a plan was made for. `name` and `revision` are for people and decide nothing."""

    family: str
    marks: tuple[TensorMark, ...]
    name: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", tuple(sorted(self.marks, key=_order)))  # one order, so that equal identities are equal

    @classmethod
    def of(cls, model: Any, sites: Iterable[Site], read: Callable[[nn.Parameter], Tensor] = current) -> "ModelIdentity":
        """The identity of a model (LanguageModel, Hugging Face model) where it concerns `sites`. Raises UnknownName."""
        anatomy = anatomy_of(model)
        touched = dict.fromkeys(matrix_at(anatomy.check(site)) for site in sites)
        values = fingerprint(anatomy, touched, read)
        marks = tuple(TensorMark(site, anatomy.shape(site), tuple(values.get(str(site), ()))) for site in touched)
        config = getattr(anatomy.root, "config", None)
        name = getattr(model, "name", "") or getattr(config, "_name_or_path", "")
        return cls(anatomy.family, marks, _without_folders(str(name)) or None, getattr(config, "_commit_hash", None))

    @property
    def shapes(self) -> dict[Site, tuple[int, int]]:
        """Matrix to (out, in)."""
        return {mark.site: mark.shape for mark in self.marks}

    def check(self, model: Any, read: Callable[[nn.Parameter], Tensor] = current, *, same_shape_is_enough: bool = False) -> None:
        """Raises WrongModel where `model` is another one; with `same_shape_is_enough`, only where its shapes are."""
        anatomy = anatomy_of(model)
        made_for = f"This plan was made for {self.name or 'a model'} ({self.family})"
        if anatomy.family != self.family and not same_shape_is_enough:
            raise WrongModel(f"{made_for}, and this model is a {anatomy.family}. Load the plan's own model.")
        known = set(anatomy.sites)
        for mark in self.marks:
            if mark.site not in known:
                raise WrongModel(f"{made_for}; it has {mark.site}, which this {anatomy.family} has not. Load the plan's own model.")
            if anatomy.shape(mark.site) != mark.shape:
                raise WrongModel(
                    f"{made_for}, where {mark.site} is {_size(mark.shape)}; here it is "
                    f"{_size(anatomy.shape(mark.site))}. "
                    "Load the plan's own model."
                )
        if same_shape_is_enough:
            return
        here = fingerprint(anatomy, [mark.site for mark in self.marks if mark.values], read)
        other = [mark.site for mark in self.marks if not nearly_equal(mark.values, here.get(str(mark.site), mark.values))]
        if other:
            raise WrongModel(
                f"{made_for}, and {len(other)} of the {len(self.marks)} matrices that it touches hold other values "
                f"here, {other[0]} "
                "among them. Load the plan's own model; for a fine-tune of the same shape say --allow-other-model "
                "(allow_other_model=True)."
            )

    def __or__(self, other: "ModelIdentity") -> "ModelIdentity":
        """What two identities of one model say together. Raises WrongModel where they are of two models."""
        if self.family != other.family:
            raise WrongModel(f"A plan for a {self.family} and one for a {other.family} cannot be added.")
        marks = {mark.site: mark for mark in self.marks}
        for mark in other.marks:
            held = marks.setdefault(mark.site, mark)
            same_values = not held.values or not mark.values or nearly_equal(held.values, mark.values)
            if held.shape != mark.shape or not same_values:
                raise WrongModel(
                    f"These plans were made for two models: {mark.site} differs in "
                    f"{'value' if held.shape == mark.shape else 'shape'}, "
                    "so they cannot be added."
                )
            marks[mark.site] = held if held.values else mark
        return ModelIdentity(self.family, tuple(marks.values()), self.name or other.name, self.revision or other.revision)

    def to_json(self) -> dict[str, Any]:
        """`{"family", "shapes": {address: [out, in]}, "fingerprint": {address: [values]}}`, and name, revision."""
        people = {key: value for key, value in (("name", self.name), ("revision", self.revision)) if value is not None}
        return people | {
            "family": self.family,
            "shapes": {str(mark.site): list(mark.shape) for mark in self.marks},
            "fingerprint": {str(mark.site): list(mark.values) for mark in self.marks if mark.values},
        }

    @classmethod
    def from_json(cls, value: Any) -> "ModelIdentity":
        """The identity that `to_json` wrote. Raises BadPlan."""
        if not isinstance(value, Mapping) or not isinstance(value.get("family"), str):
            raise BadPlan("A plan's model is null or an object with family, shapes and fingerprint.")
        shapes, values = value.get("shapes", {}), value.get("fingerprint", {})
        if not isinstance(shapes, Mapping) or not isinstance(values, Mapping) or not set(values) <= set(shapes):
            raise BadPlan("A plan's model has shapes, address to [out, in], and a fingerprint for some of these addresses.")
        for address, entry in itertools.chain(shapes.items(), values.items()):
            if not isinstance(entry, list) or not all(map(_is_number, entry)):
                raise BadPlan(f"What a plan's model says of {address} is a list of numbers, not {entry!r}.")
        if not all(len(shape) == 2 and all(isinstance(size, int) for size in shape) for shape in shapes.values()):
            raise BadPlan("A shape in a plan's model is [out, in], two integers.")
        people = {key: value.get(key) for key in ("name", "revision")}
        if not all(entry is None or isinstance(entry, str) for entry in people.values()):
            raise BadPlan("The name and the revision of a plan's model are text.")
        marks = [
            TensorMark(Site.parse(each), (shape[0], shape[1]), tuple(map(float, values.get(each, ())))) for each, shape in shapes.items()
        ]
        return cls(value["family"], tuple(marks), **people)


def _order(mark: TensorMark) -> tuple[int, int, int, int]:
    site = mark.site
    return STACKS.index(site.stack), site.layer, -1 if site.expert is None else site.expert, ROLES.index(site.role)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} × {shape[1]}"


def _without_folders(name: str) -> str:
    """A Hub id as it is; of a folder only its own name: no path belongs in a plan."""
    is_folder = os.path.isabs(name) or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name or Path(name).is_dir()
    return Path(name).resolve().name if is_folder and name else name
