"""Scores: one number for every unit of the sites that a method examined. Knows no model and no method."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from .address import Neurons, Site, SiteMapping
from .errors import BadAddress, InputError, NotFinite
from .files import read_arrays, write_arrays


class Scores(SiteMapping[np.ndarray]):
    """One float32 number a unit, by site, in model order, with what the numbers mean and how they were computed.

    Parameters
    ----------
    values : mapping of Site (or its text) to float array [units], in model order
    unit : what one entry is of ("neuron")
    meaning : one sentence: what a high number means
    provenance : JSON: the settings and examples that the numbers were computed from

    Raises NotFinite where a value is NaN or infinite.
    """

    def __init__(
        self,
        values: Mapping[Site, np.ndarray] | Mapping[str, np.ndarray],
        unit: str = "neuron",
        meaning: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        by_site: dict[Site, Float32[np.ndarray, " units"]] = {}
        for address, array in values.items():
            scores = np.array(array, dtype=np.float32)
            if scores.ndim != 1:
                raise BadAddress(f"The scores of {address} have the shape {scores.shape}; one number a unit is needed.")
            if not np.isfinite(scores).all():
                raise NotFinite(f"{int((~np.isfinite(scores)).sum())} scores of {address} are NaN or infinite.")
            scores.flags.writeable = False
            by_site[Site.of(address)] = scores
        super().__init__(by_site)
        self.unit, self.meaning, self.provenance = unit, meaning, dict(provenance or {})

    def __repr__(self) -> str:
        return f"Scores({len(self)} sites, {self.count} {self.unit}s)"

    @property
    def count(self) -> int:
        """The number of units, over all sites."""
        return sum(len(array) for array in self._by_site.values())

    def top(self, n: int) -> Neurons:
        """Returns the `n` units with the highest scores of all sites. Equal scores: by model order of the sites, then by unit.

        Raises InputError where n is negative or more than there are.
        """
        if not 0 <= n <= self.count:
            raise InputError(f"top({n}) is not possible: n is from 0 to {self.count}, the number of {self.unit}s with scores.")
        if n == 0:
            return Neurons()
        flat = np.concatenate(list(self._by_site.values()))
        best = np.argsort(-flat, kind="stable")[:n]
        starts = np.cumsum([0, *(len(array) for array in self._by_site.values())])
        positions = np.searchsorted(starts, best, side="right") - 1
        sites = list(self._by_site)
        chosen: dict[Site | str, list[int]] = {}
        for position, index in zip(positions.tolist(), best.tolist(), strict=True):
            chosen.setdefault(sites[position], []).append(index - int(starts[position]))
        return Neurons(chosen)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: key = address, float32 [units]; everything else in its metadata. Raises StorageFailure."""
        metadata = {
            "order": json.dumps([str(site) for site in self]),
            "unit": self.unit,
            "meaning": self.meaning,
            "provenance": json.dumps(self.provenance, sort_keys=True),
        }
        write_arrays(Path(path), {str(site): array for site, array in self._by_site.items()}, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Scores":
        """Returns the scores that `save` wrote. Raises InputError."""
        arrays, metadata = read_arrays(Path(path))
        try:
            order = json.loads(metadata.get("order", "null")) or sorted(arrays)
            provenance = json.loads(metadata.get("provenance", "{}"))
            values = {address: arrays[address] for address in order}
        except (ValueError, KeyError) as error:
            raise InputError(f"{path} is no file of scores: {error}.") from error
        return cls(values, metadata.get("unit", "neuron"), metadata.get("meaning", ""), provenance)
