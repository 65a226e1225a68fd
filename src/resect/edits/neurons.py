"""Edits of single units: Scale, Clamp, Shift.

Each is a change of activations and, where possible, an equal change of weights. With h the values at `post` (the input of `down`), W and
b the weight and the bias of `down`: W (D h) + b = (W D) h + b, so that scaling units is scaling columns of W; and setting units to v, or
adding v, adds W v to b.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from resect.core.address import Neurons, Site, SiteMapping
from resect.core.errors import InputError, WrongModel
from resect.models.anatomy import Anatomy
from resect.models.storage import at_least_float32

from .activation_hook import ActivationChange
from .base import Edit, NeuronsLike, RandomSubstitutes, TensorSlice, as_neurons, finite_number


class UnitValues(SiteMapping[tuple[float, ...]]):
    """One number a unit, by site: a frozen mapping of Site to numbers in the order of the site's (sorted) units."""

    __slots__ = ()

    def __init__(self, values: Mapping[Any, Any]) -> None:
        by_site = {}
        for address, entries in values.items():
            entries = entries.tolist() if hasattr(entries, "tolist") else entries
            if not isinstance(entries, list | tuple):
                raise InputError(f"The values of {address} are one number a unit, in a list, not {entries!r}.")
            by_site[Site.of(address)] = tuple(finite_number(f"value of a unit of {address}", entry) for entry in entries)
        super().__init__(by_site)

    def __hash__(self) -> int:
        return hash(frozenset(self._by_site.items()))

    def __repr__(self) -> str:
        return f"UnitValues({self.to_json()})"

    def to_json(self) -> dict[str, list[float]]:
        """Returns a JSON object: address to list of numbers."""
        return {str(site): list(values) for site, values in self._by_site.items()}


@dataclass(frozen=True)
class NeuronEdit(Edit):
    """An edit of single units. `neurons` may be any mapping of address to indices."""

    neurons: Neurons

    def _validate(self) -> None:
        object.__setattr__(self, "neurons", as_neurons(self.neurons))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites of its units."""
        return tuple(self.neurons)

    def units(self, anatomy: Anatomy) -> Neurons:
        """Returns its units."""
        return self.neurons

    def check_fits(self, anatomy: Anatomy) -> None:
        """Raises UnknownName for a site, WrongModel for a unit that the model does not have."""
        for site, units in self.neurons.items():
            width = anatomy.width(site)
            if units[-1] >= width:
                raise WrongModel(
                    f"The {self.kind} names unit {units[-1]} of {site}, which has {width} in this {anatomy.family}: 0 to {width - 1}."
                )

    def down_columns(self, anatomy: Anatomy) -> dict[Site, frozenset[int]]:
        """Returns the columns of each `down` that read its units at `act` and `post`."""
        columns: dict[Site, frozenset[int]] = {}
        for site in filter(lambda site: site.is_moment, self.neurons):
            down = site.at("down")
            columns[down] = columns.get(down, frozenset()).union(self.neurons[site])
        return columns

    def activation_changes(self, anatomy: Anatomy) -> list[tuple[Site, tuple[int, ...], ActivationChange]]:
        """Returns for each tap which units change and how. Without a gate `act` is `post`, and is changed there, in the plan's order."""
        changes = []
        for site, units in self.neurons.items():
            tapped = site.at("post") if site.role == "act" and not anatomy.has_gate(site) else site
            changes.append((tapped, units, self._change(site)))
        return changes

    @abstractmethod
    def _change(self, site: Site) -> ActivationChange:
        """Returns how the values of this site's units change."""


@dataclass(frozen=True)
class Scale(NeuronEdit):
    """Multiplies units by a factor; 0 removes them.

    At a matrix a unit is a row and its bias entry; at `act` or `post` (in gated blocks post = act · up, so that scaling
    either is the same) it is a column of `down`. Both forms exist everywhere.

    Parameters
    ----------
    neurons : Neurons, at matrices and moments
    factor : finite

    Raises InputError, BadAddress. Source: the removal of CRISPR (arXiv:2311.09627), the deactivation of LAPE (arXiv:2402.16438). Differs
    from the sources in: nothing.
    """

    kind: ClassVar[str] = "scale"
    factor: float = 0.0

    def __init__(self, neurons: NeuronsLike, factor: float = 0.0) -> None:
        self._set_fields(neurons=neurons, factor=factor)

    def _validate(self) -> None:
        super()._validate()
        object.__setattr__(self, "factor", finite_number("factor of a scale", self.factor))

    @property
    def only_scales(self) -> bool:
        """True: its order among other scalings of the same units does not matter."""
        return True

    def written_slices(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """Returns rows and bias entries of matrices, columns of `down` for moments."""
        slices = []
        for site, units in self.neurons.items():
            if site.is_moment:
                slices.append(TensorSlice(site.at("down"), "columns", units))
                continue
            slices.append(TensorSlice(site, "rows", units))
            if anatomy.has_bias(site):
                slices.append(TensorSlice(site, "bias", units))
        return tuple(slices)

    def random_like(self, substitutes: RandomSubstitutes) -> "Scale":
        """Returns the same factor at as many other units of each site."""
        return Scale(substitutes.of(self.neurons), self.factor)

    def _write(self, anatomy: Anatomy) -> None:
        for tensor_slice in self.written_slices(anatomy):
            parameter, index = tensor_slice.locate(anatomy)
            parameter.data[index] = self._scaled(at_least_float32(parameter.data[index])).to(parameter.dtype)

    def _change(self, site: Site) -> ActivationChange:
        return self._scaled

    def _scaled(self, values: Tensor) -> Tensor:
        return values * self.factor if self.factor else torch.zeros_like(values)  # 0 · inf would be NaN


@dataclass(frozen=True)
class _ConstantEdit(NeuronEdit):
    """Base of Clamp and Shift: numbers for units at `act` or `post`."""

    values: float | UnitValues

    def __init__(self, neurons: NeuronsLike, values: float | Mapping[Any, Any] | Sequence[Sequence[float]]) -> None:
        self._set_fields(neurons=neurons, values=values)

    def _validate(self) -> None:
        super()._validate()
        for site in self.neurons:
            if not site.is_moment:
                raise InputError(f"A {self.kind} is of units at act or post, not at {site}; at a matrix use Scale.")
        numbers = _by_site(self.values, self.sites)
        if not isinstance(numbers, Mapping):
            object.__setattr__(self, "values", finite_number(f"value of a {self.kind}", numbers))
            return
        values = UnitValues(numbers)
        for site in dict.fromkeys((*self.neurons, *values)):
            n_units, n_values = len(self.neurons.get(site, ())), len(values.get(site, ()))
            if n_units != n_values:
                raise InputError(
                    f"The {self.kind} has {n_units} units at {site} and {n_values} values; it needs one number for all, or one a unit."
                )
        object.__setattr__(self, "values", UnitValues({site: values[site] for site in self.neurons}))

    def random_like(self, substitutes: RandomSubstitutes) -> Self:
        """Returns as many other units of each site with the same values, permuted over them."""
        units = substitutes.of(self.neurons)
        if not isinstance(self.values, UnitValues):
            return type(self)(units, self.values)
        values = self.values
        return type(self)(units, {site: [values[site][position] for position in np.argsort(units[site])] for site in units})

    def values_at(self, site: Site) -> tuple[float, ...]:
        """Returns one number for each unit of a site."""
        return self.values[site] if isinstance(self.values, UnitValues) else (self.values,) * len(self.neurons[site])

    def folds_into_bias(self, anatomy: Anatomy) -> bool:
        """Returns whether a constant other than 0 is added to `down`'s bias."""
        return any(any(self.values_at(site)) for site in self.neurons)

    def weight_obstacles(self, anatomy: Anatomy) -> list[str]:
        """Returns where there is no bias, or where a gate that changes from token to token would multiply the constant."""
        obstacles = []
        for site in self.neurons:
            if not any(self.values_at(site)):
                continue
            if site.role == "act" and anatomy.has_gate(site):
                obstacles.append(
                    f"A {self.kind} to other than 0 at {site} cannot be written: post = act · up there, and up changes from token to "
                    "token; use the activation form, or post."
                )
            elif not anatomy.has_bias(site.at("down")):
                obstacles.append(
                    f"A {self.kind} to other than 0 at {site} cannot be written: {site.at('down')} has no bias to add it to; use the "
                    "activation form."
                )
            elif set(self.neurons.get(site.at("act"), ())) & set(self.neurons.get(site.at("post"), ())):
                obstacles.append(
                    f"A {self.kind} that names units both at {site.at('act')} and at {site.at('post')} cannot be written; use the "
                    "activation form, or two edits."
                )
        return obstacles

    def matrices_read(self, anatomy: Anatomy) -> tuple[Site, ...]:
        """Returns each `down` of which an output is added to its bias."""
        return tuple(dict.fromkeys(site.at("down") for site in self.neurons if any(self.values_at(site))))

    def _output(self, anatomy: Anatomy, site: Site) -> Float[Tensor, " out"]:
        """Returns the product of `down` and this site's values."""
        columns = at_least_float32(anatomy.weight(site.at("down"))[:, list(self.neurons[site])])
        return columns @ torch.tensor(self.values_at(site), dtype=columns.dtype, device=columns.device)

    def _fold(self, anatomy: Anatomy, site: Site) -> None:
        bias = anatomy.bias(site.at("down"))
        if bias is not None and any(self.values_at(site)):
            anatomy.write_bias(site.at("down"), None, at_least_float32(bias) + self._output(anatomy, site))

    def _bias_slices(self) -> tuple[TensorSlice, ...]:
        return tuple(TensorSlice(site.at("down"), "bias") for site in self.neurons if any(self.values_at(site)))


@dataclass(frozen=True, init=False)
class Clamp(_ConstantEdit):
    """Sets units at `act` or `post` to constants, at every token.

    Parameters
    ----------
    neurons : Neurons, at `act` or `post`
    values : a finite number for all, or by site one number for each of its units in rising order

    The weight form sets the units' columns of `down` to 0 and adds their output to its bias: it exists for 0, else at
    `post` where `down` has a bias. Raises InputError, BadAddress. Source: steering by replacement, arXiv:2402.16438
    (LAPE). Differs from the source in: nothing.
    """

    kind: ClassVar[str] = "clamp"

    @property
    def only_scales(self) -> bool:
        """Whether all its values are 0, so that it is a scaling."""
        return not any(any(self.values_at(site)) for site in self.neurons)

    def written_slices(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """Returns columns of `down`, and its bias where the values are not 0."""
        return tuple(TensorSlice(site.at("down"), "columns", units) for site, units in self.neurons.items()) + self._bias_slices()

    def _write(self, anatomy: Anatomy) -> None:
        for site, units in self.neurons.items():
            self._fold(anatomy, site)
            anatomy.write_columns(site.at("down"), units, 0.0)

    def _change(self, site: Site) -> ActivationChange:
        return lambda values: torch.tensor(self.values_at(site), dtype=values.dtype, device=values.device).expand_as(values)


@dataclass(frozen=True, init=False)
class Shift(_ConstantEdit):
    """Adds constants to units at `act` or `post`, at every token.

    Parameters
    ----------
    neurons : Neurons, at `act` or `post`
    values : a finite number for all, or by site one number for each of its units in rising order

    The weight form adds the product of `down` and the constants to its bias: it exists at `post` where `down` has a bias (and at
    `act` where there is no gate). Raises InputError, BadAddress. Source: additive steering after LAPE (arXiv:2402.16438).
    Differs from the source in: nothing.
    """

    kind: ClassVar[str] = "shift"

    @property
    def only_scales(self) -> bool:
        """False: an addition before a scaling is not the same as one after it."""
        return False

    def written_slices(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """Returns the bias of `down`."""
        return self._bias_slices()

    def _write(self, anatomy: Anatomy) -> None:
        for site in self.neurons:
            self._fold(anatomy, site)

    def _change(self, site: Site) -> ActivationChange:
        return lambda values: values + torch.tensor(self.values_at(site), dtype=values.dtype, device=values.device)


def _by_site(values: object, sites: Sequence[Site]) -> object:
    """Returns one list a site, given without the sites, as a mapping by site; anything else as it is."""
    if not isinstance(values, list | tuple) or len(values) != len(sites):
        return values
    return dict(zip(sites, values, strict=True)) if all(isinstance(entries, list | tuple) for entries in values) else values
