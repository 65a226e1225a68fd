"""Edits of single units: Scale, Clamp, Shift.

Know what becomes of a unit's value, and which weights do the same. Write h for the values at `post` (what `down`
reads), W and b for `down`'s weight and bias: W (D h) + b = (W D) h + b, so that scaling units is scaling columns of W;
and setting units to v, or adding v, puts W v into b.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from resect.core.address import Neurons, Site
from resect.core.errors import InputError, WrongModel
from resect.models.anatomy import Anatomy

from .base import ActivationChange, Edit, TensorSlice, UnitsBySite, as_neurons, finite, wide


class UnitValues(Mapping[Site, tuple[float, ...]]):
    """One number a unit, by site: a frozen mapping of Site to numbers in the order of the site's (sorted) units."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[Any, Any]) -> None:
        held = {}
        for address, entries in values.items():
            entries = entries.tolist() if hasattr(entries, "tolist") else entries
            if not isinstance(entries, list | tuple):
                raise InputError(f"The values of {address} are one number a unit, in a list, not {entries!r}.")
            held[Site.of(address)] = tuple(finite(f"value of a unit of {address}", entry) for entry in entries)
        self._values = held

    def __getitem__(self, site: Site | str) -> tuple[float, ...]:
        return self._values[Site.of(site)]

    def __iter__(self) -> Iterator[Site]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"UnitValues({self.to_json()})"

    def to_json(self) -> dict[str, list[float]]:
        """A JSON object: address to list of numbers."""
        return {str(site): list(values) for site, values in self._values.items()}


@dataclass(frozen=True)
class NeuronEdit(Edit):
    """An edit of single units. Any mapping of address to indices will do for `neurons`."""

    neurons: Neurons

    def _judge(self) -> None:
        object.__setattr__(self, "neurons", as_neurons(self.neurons))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that have units in it."""
        return tuple(self.neurons)

    def check_fits(self, anatomy: Anatomy) -> None:
        """Raises UnknownName for a site, WrongModel for a unit that the model has not."""
        for site, units in self.neurons.items():
            width = anatomy.width(site)
            if units[-1] >= width:
                raise WrongModel(
                    f"The {self.kind} names unit {units[-1]} of {site}, which has {width} in this {anatomy.family}: 0 to {width - 1}."
                )

    def columns(self, anatomy: Anatomy) -> dict[Site, frozenset[int]]:
        """The columns of each `down` that stand for its units at `act` and `post`."""
        found: dict[Site, frozenset[int]] = {}
        for site in filter(lambda site: site.is_moment, self.neurons):
            down = site.at("down")
            found[down] = found.get(down, frozenset()).union(self.neurons[site])
        return found

    def changes(self, anatomy: Anatomy) -> list[tuple[Site, tuple[int, ...], ActivationChange]]:
        """At each tap, what becomes of which units.

        Without a gate `act` is `post`, and is changed there, in the plan's order.
        """
        found = []
        for site, units in self.neurons.items():
            tapped = site.at("post") if site.role == "act" and not is_gated(anatomy, site) else site
            found.append((tapped, units, self._change(site)))
        return found

    @abstractmethod
    def _change(self, site: Site) -> ActivationChange:
        """What becomes of the values of this site's units."""


@dataclass(frozen=True)
class Scale(NeuronEdit):
    """Multiply units by a factor; 0 removes them.

    At a matrix a unit is a row and its bias entry; at `act` or `post` (in gated blocks post = act · up, so that both
    scale alike) it is a column of `down`. Both forms exist everywhere.

    Parameters
    ----------
    neurons : Neurons, at matrices and moments
    factor : finite

    Raises InputError, BadAddress. Source: the removal of CRISPR (arXiv:2311.09627), the deactivation of LAPE (arXiv:2402.16438). Differs
    from the sources in: nothing.
    """

    kind: ClassVar[str] = "scale"
    factor: float = 0.0

    def __init__(self, neurons: UnitsBySite, factor: float = 0.0) -> None:
        self._set(neurons=neurons, factor=factor)

    def _judge(self) -> None:
        super()._judge()
        object.__setattr__(self, "factor", finite("factor of a scale", self.factor))

    @property
    def only_scales(self) -> bool:
        """True: it can trade places with any other scaling of the same units."""
        return True

    def touches(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """Rows and bias entries of matrices, columns of `down` for moments."""
        found = []
        for site, units in self.neurons.items():
            if site.is_moment:
                found.append(TensorSlice(site.at("down"), "columns", units))
                continue
            found.append(TensorSlice(site, "rows", units))
            if anatomy.has_bias(site):
                found.append(TensorSlice(site, "bias", units))
        return tuple(found)

    def _write(self, anatomy: Anatomy) -> None:
        for touch in self.touches(anatomy):
            parameter, index = touch.locate(anatomy)
            parameter.data[index] = self._scaled(wide(parameter.data[index])).to(parameter.dtype)

    def _change(self, site: Site) -> ActivationChange:
        return self._scaled

    def _scaled(self, values: Tensor) -> Tensor:
        return values * self.factor if self.factor else torch.zeros_like(values)  # 0 · inf would be NaN


@dataclass(frozen=True)
class _Constant(NeuronEdit):
    """What Clamp and Shift share: numbers for units at `act` or `post`."""

    values: float | UnitValues

    def __init__(self, neurons: UnitsBySite, values: float | Mapping[Any, Any] | Sequence[Sequence[float]]) -> None:
        self._set(neurons=neurons, values=values)

    def _judge(self) -> None:
        super()._judge()
        for site in self.neurons:
            if not site.is_moment:
                raise InputError(f"A {self.kind} is of units at act or post, not at {site}; Scale can be at a matrix.")
        given = _by_site(self.values, self.sites)
        if not isinstance(given, Mapping):
            object.__setattr__(self, "values", finite(f"value of a {self.kind}", given))
            return
        values = UnitValues(given)
        for site in dict.fromkeys((*self.neurons, *values)):
            wanted, given = len(self.neurons.get(site, ())), len(values.get(site, ()))
            if wanted != given:
                raise InputError(
                    f"The {self.kind} has {wanted} units at {site} and {given} values; it needs one number for all, or one a unit."
                )
        object.__setattr__(self, "values", UnitValues({site: values[site] for site in self.neurons}))

    def values_at(self, site: Site) -> tuple[float, ...]:
        """One number for each unit of a site."""
        return self.values[site] if isinstance(self.values, UnitValues) else (self.values,) * len(self.neurons[site])

    def folds(self, anatomy: Anatomy) -> bool:
        """Whether a constant other than 0 goes into `down`'s bias."""
        return any(any(self.values_at(site)) for site in self.neurons)

    def obstacles(self, anatomy: Anatomy) -> list[str]:
        """No bias, or the constant would meet a gate that changes from token to token."""
        found = []
        for site in self.neurons:
            if not any(self.values_at(site)):
                continue
            if site.role == "act" and is_gated(anatomy, site):
                found.append(
                    f"A {self.kind} to other than 0 at {site} cannot be written: post = act · up there, and up "
                    "changes from token to "
                    "token; use the activation form, or post."
                )
            elif not anatomy.has_bias(site.at("down")):
                found.append(
                    f"A {self.kind} to other than 0 at {site} cannot be written: {site.at('down')} has no bias to "
                    "carry it; use the activation form."
                )
            elif set(self.neurons.get(site.at("act"), ())) & set(self.neurons.get(site.at("post"), ())):
                found.append(
                    f"A {self.kind} that names units both at {site.at('act')} and at {site.at('post')} cannot be "
                    "written; use the activation form, or two edits."
                )
        return found

    def _output(self, anatomy: Anatomy, site: Site) -> Float[Tensor, " out"]:
        """What `down` makes of this site's values."""
        columns = wide(anatomy.weight(site.at("down"))[:, list(self.neurons[site])])
        return columns @ torch.tensor(self.values_at(site), dtype=columns.dtype, device=columns.device)

    def _fold(self, anatomy: Anatomy, site: Site) -> None:
        bias = anatomy.bias(site.at("down"))
        if bias is not None and any(self.values_at(site)):
            anatomy.write_bias(site.at("down"), None, wide(bias) + self._output(anatomy, site))

    def _bias_touches(self) -> tuple[TensorSlice, ...]:
        return tuple(TensorSlice(site.at("down"), "bias") for site in self.neurons if any(self.values_at(site)))


@dataclass(frozen=True, init=False)
class Clamp(_Constant):
    """Set units at `act` or `post` to constants, at every token.

    Parameters
    ----------
    neurons : Neurons, at `act` or `post`
    values : a finite number for all, or by site one number for each of its units in rising order

    The weight form zeroes the units' columns of `down` and puts what they gave into its bias: it exists for 0, else at
    `post` where `down` has a bias. Raises InputError, BadAddress. Source: steering by replacement, arXiv:2402.16438
    (LAPE). Differs from the source in: nothing.
    """

    kind: ClassVar[str] = "clamp"

    @property
    def only_scales(self) -> bool:
        """Whether all its values are 0, so that it is a scaling."""
        return not any(any(self.values_at(site)) for site in self.neurons)

    def touches(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """Columns of `down`, and its bias where the values are not 0."""
        return tuple(TensorSlice(site.at("down"), "columns", units) for site, units in self.neurons.items()) + self._bias_touches()

    def _write(self, anatomy: Anatomy) -> None:
        for site, units in self.neurons.items():
            self._fold(anatomy, site)
            anatomy.write_columns(site.at("down"), units, 0.0)

    def _change(self, site: Site) -> ActivationChange:
        return lambda seen: torch.tensor(self.values_at(site), dtype=seen.dtype, device=seen.device).expand_as(seen)


@dataclass(frozen=True, init=False)
class Shift(_Constant):
    """Add constants to units at `act` or `post`, at every token.

    Parameters
    ----------
    neurons : Neurons, at `act` or `post`
    values : a finite number for all, or by site one number for each of its units in rising order

    The weight form adds what `down` makes of them to its bias: it exists at `post` where `down` has a bias (and at
    `act` where there is no gate). Raises InputError, BadAddress. Source: additive steering after LAPE (arXiv:2402.16438).
    Differs from the source in: nothing.
    """

    kind: ClassVar[str] = "shift"

    @property
    def only_scales(self) -> bool:
        """False: adding comes before or after a scaling, and that matters."""
        return False

    def touches(self, anatomy: Anatomy) -> tuple[TensorSlice, ...]:
        """The bias of `down`."""
        return self._bias_touches()

    def _write(self, anatomy: Anatomy) -> None:
        for site in self.neurons:
            self._fold(anatomy, site)

    def _change(self, site: Site) -> ActivationChange:
        return lambda seen: seen + torch.tensor(self.values_at(site), dtype=seen.dtype, device=seen.device)


def _by_site(values: object, sites: Sequence[Site]) -> object:
    """One list a site, without the sites' names, as a mapping; anything else as it is."""
    if not isinstance(values, list | tuple) or len(values) != len(sites):
        return values
    return dict(zip(sites, values, strict=True)) if all(isinstance(each, list | tuple) for each in values) else values


def is_gated(anatomy: Anatomy, site: Site) -> bool:
    """Whether the block of a site has a gate, so that its `act` and `post` differ."""
    return site.at("gate") in anatomy.sites
