"""How specific to languages units are, and which are taken: the arithmetic of LAPE and of what it is compared with.

Knows arrays [languages, units]; knows no model, no text and no file. Units are numbered in the order of the model, so that "the first of
equals" means: by layer, then by unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from resect.core.errors import InputError, NotFinite


@dataclass(frozen=True)
class SelectedUnits:
    """Which units are taken.

    Attributes
    ----------
    belongs : whether a language has a unit, [languages, units]
    bar : the value that a language must exceed; None where there is none
    """

    belongs: Bool[np.ndarray, "languages units"]
    bar: float | None = None

    def of(self, language: int) -> Int64[np.ndarray, " chosen"]:
        """The units of a language, in rising order."""
        return np.asarray(np.flatnonzero(self.belongs[language]), dtype=np.int64)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many units each language has."""
        return tuple(int(number) for number in self.belongs.sum(axis=1))


def entropy(values: Float64[np.ndarray, "languages units"]) -> Float64[np.ndarray, " units"]:
    """The entropy (natural logarithm, in [0, log(languages)]) of each unit's values, normalised to sum 1 over the languages.

    Values below 0 count as 0, and 0 · log 0 = 0. A unit with no value above 0 has +inf. The values are put in order before they are added,
    so that units with the same values in other languages have the same entropy to the last bit, and are ties.

    Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438), equation 4. Differs from the source in: nothing.

    >>> entropy(np.array([[0.45], [0.01], [0.01], [0.01], [0.02]])).round(4).tolist()
    [0.4583]
    """
    ordered = np.sort(np.clip(values, 0.0, None), axis=0)
    total = ordered.sum(axis=0)
    shares = ordered / np.where(total > 0, total, 1.0)
    terms = shares * np.log(np.where(shares > 0, shares, 1.0))
    return np.where(total > 0, -terms.sum(axis=0) + 0.0, np.inf)


def by_entropy(values: Float64[np.ndarray, "languages units"], fraction: float, quantile: float) -> SelectedUnits:
    """The units of lowest entropy among those that some language lifts above the bar; a unit belongs to every language that does.

    Parameters
    ----------
    values : float64 [languages, units]: probabilities (LAPE), mean activations (LAVE), steadiness (PV)
    fraction : the share of all units that is taken: round(fraction · units), or fewer where fewer pass the bar
    quantile : the bar is the value of rank round(quantile · N), from 1, of all N values in rising order

    Raises InputError for fewer than two languages or shares out of [0, 1], NotFinite.
    Source: METHODS.md, section 2; Tang et al. 2024 (arXiv:2402.16438), section 2.2. Differs from the source in: nothing.
    """
    languages, units = values.shape
    if languages < 2:
        raise InputError("With one language there is no entropy over languages, and nothing is specific to it; give two or more.")
    if not (0 <= fraction <= 1 and 0 <= quantile <= 1):
        raise InputError(f"The fraction and the quantile are shares from 0 to 1, not {fraction} and {quantile}.")
    if not np.isfinite(values).all():
        raise NotFinite(f"{int((~np.isfinite(values)).sum())} of the values by which units are chosen are NaN or infinite.")
    rank = min(max(round(quantile * values.size), 1), values.size)
    bar = float(np.partition(values, rank - 1, axis=None)[rank - 1])
    above = values > bar
    worth = np.where(above.any(axis=0), entropy(values), np.inf)
    best = np.argsort(worth, kind="stable")[: round(fraction * units)]
    taken = np.zeros(units, dtype=bool)
    taken[best[np.isfinite(worth[best])]] = True
    return SelectedUnits(above & taken, bar)


def most_active(probabilities: Float64[np.ndarray, "languages units"], sizes: Sequence[int], bar: float) -> SelectedUnits:
    """For each language the `sizes[language]` units that it activates most often, of those at more than the share `bar` of its tokens.

    Source: LAP in Tang et al. 2024 (arXiv:2402.16438), section 3.1. Differs from the source in: it says how many by "more than 95 %" and
    "the same number" as LAPE both; here the most active are taken until there are as many, and none that is not above the bar.
    """
    belongs = np.zeros(probabilities.shape, dtype=bool)
    for language, size in enumerate(sizes):
        shares = probabilities[language]
        best = np.argsort(-shares, kind="stable")[:size]
        belongs[language, best[shares[best] > bar]] = True
    return SelectedUnits(belongs, bar)


def at_random(units: int, sizes: Sequence[int], seed: int) -> SelectedUnits:
    """For each language as many units as `sizes` says, drawn from all of them without regard to anything.

    Source: RS in Tang et al. 2024 (arXiv:2402.16438), section 3.1. Differs from the source in: nothing.
    """
    belongs = np.zeros((len(sizes), units), dtype=bool)
    for language, size in enumerate(sizes):
        belongs[language, np.random.default_rng([seed, language]).choice(units, size, replace=False)] = True
    return SelectedUnits(belongs)


def specificity(values: Float64[np.ndarray, "languages units"]) -> Float64[np.ndarray, " units"]:
    """log(languages) − entropy: 0 for a unit that all languages use alike, or none uses; high for a unit of few languages."""
    found = math.log(len(values)) - entropy(values)
    return np.where(np.isfinite(found), np.clip(found, 0.0, None), 0.0)


def steadiness(changes: Float64[np.ndarray, "languages units"]) -> Float64[np.ndarray, "languages units"]:
    """How much less a unit changes under one language's tuning than under the tuning that changes it most, from relative changes.

    High where it changes little under this language's tuning and much under others'. Source: PV in Tang et al. 2024 (arXiv:2402.16438),
    section 3.1, which gives no formula: "change little" and "change much" are one difference here, to which LAPE's entropy and bar apply.
    """
    return np.asarray(changes.max(axis=0, keepdims=True) - changes)
