"""How specific units are to languages, and which are selected: the arithmetic of LAPE and of the selectors it is compared with.

Knows arrays [languages, units]; knows no model, no text and no file. Units are numbered in model order, so that ties are broken by layer,
then by unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from resect.core.errors import InputError, NotFinite


@dataclass(frozen=True)
class SelectedUnits:
    """The selected units of each language.

    Attributes
    ----------
    mask : whether a unit belongs to a language, [languages, units]
    threshold : the value that a language must exceed; None where there is none
    """

    mask: Bool[np.ndarray, "languages units"]
    threshold: float | None = None

    def units(self, language: int) -> Int64[np.ndarray, " selected"]:
        """The units of a language, in rising order."""
        return np.asarray(np.flatnonzero(self.mask[language]), dtype=np.int64)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of units of each language."""
        return tuple(int(number) for number in self.mask.sum(axis=1))


def entropy(values: Float64[np.ndarray, "languages units"]) -> Float64[np.ndarray, " units"]:
    """The entropy (natural logarithm, in [0, log(languages)]) of each unit's values, normalised to sum 1 over the languages.

    Values below 0 count as 0, and 0 · log 0 = 0. A unit with no value above 0 has +inf. The values are sorted before they are summed, so
    that units with the same values in other languages have the same entropy to the last bit, and are ties.

    Source: Tang et al. 2024 (arXiv:2402.16438), equation 4. Differs from the source in: nothing.

    >>> entropy(np.array([[0.45], [0.01], [0.01], [0.01], [0.02]])).round(4).tolist()
    [0.4583]
    """
    ordered = np.sort(np.clip(values, 0.0, None), axis=0)
    total = ordered.sum(axis=0)
    shares = ordered / np.where(total > 0, total, 1.0)
    terms = shares * np.log(np.where(shares > 0, shares, 1.0))
    return np.where(total > 0, -terms.sum(axis=0) + 0.0, np.inf)


def select_by_entropy(values: Float64[np.ndarray, "languages units"], fraction: float, quantile: float) -> SelectedUnits:
    """The units of lowest entropy among those with a value above the threshold; a unit belongs to every language of such a value.

    Parameters
    ----------
    values : float64 [languages, units]: activation probabilities (LAPE), mean activations (LAVE), `variation_gap` (PV)
    fraction : the share of all units that is selected: round(fraction · units), or fewer where fewer exceed the threshold
    quantile : the threshold is the value of rank round(quantile · N), from 1, of all N values in rising order

    Raises InputError for fewer than two languages or shares out of [0, 1], NotFinite.
    Source: Tang et al. 2024 (arXiv:2402.16438), section 2.2. Differs from the source in: nothing.
    """
    languages, units = values.shape
    if languages < 2:
        raise InputError("With one language there is no entropy over languages, and no unit is specific to it; give two or more.")
    if not (0 <= fraction <= 1 and 0 <= quantile <= 1):
        raise InputError(f"The fraction and the quantile are shares from 0 to 1, not {fraction} and {quantile}.")
    if not np.isfinite(values).all():
        raise NotFinite(f"{int((~np.isfinite(values)).sum())} of the values by which units are selected are NaN or infinite.")
    rank = min(max(round(quantile * values.size), 1), values.size)
    threshold = float(np.partition(values, rank - 1, axis=None)[rank - 1])
    above = values > threshold
    entropies = np.where(above.any(axis=0), entropy(values), np.inf)
    lowest = np.argsort(entropies, kind="stable")[: round(fraction * units)]
    selected = np.zeros(units, dtype=bool)
    selected[lowest[np.isfinite(entropies[lowest])]] = True
    return SelectedUnits(above & selected, threshold)


def select_most_active(probabilities: Float64[np.ndarray, "languages units"], sizes: Sequence[int], threshold: float) -> SelectedUnits:
    """For each language its `sizes[language]` most active units, of those that are active at more than the share `threshold` of its tokens.

    Source: LAP in Tang et al. 2024 (arXiv:2402.16438), section 3.1. Differs from the source in: it gives the number of units both by "more
    than 95 %" and by "the same number" as LAPE; here the most active ones are selected up to that number, and none below the threshold.
    """
    mask = np.zeros(probabilities.shape, dtype=bool)
    for language, size in enumerate(sizes):
        shares = probabilities[language]
        best = np.argsort(-shares, kind="stable")[:size]
        mask[language, best[shares[best] > threshold]] = True
    return SelectedUnits(mask, threshold)


def select_random(units: int, sizes: Sequence[int], seed: int) -> SelectedUnits:
    """For each language `sizes[language]` units, drawn at random from all of them.

    Source: RS in Tang et al. 2024 (arXiv:2402.16438), section 3.1. Differs from the source in: nothing.
    """
    mask = np.zeros((len(sizes), units), dtype=bool)
    for language, size in enumerate(sizes):
        mask[language, np.random.default_rng([seed, language]).choice(units, size, replace=False)] = True
    return SelectedUnits(mask)


def specificity(values: Float64[np.ndarray, "languages units"]) -> Float64[np.ndarray, " units"]:
    """log(languages) − entropy: 0 for a unit that all languages activate alike, or none activates; high for a unit of few languages."""
    difference = math.log(len(values)) - entropy(values)
    return np.where(np.isfinite(difference), np.clip(difference, 0.0, None), 0.0)


def variation_gap(changes: Float64[np.ndarray, "languages units"]) -> Float64[np.ndarray, "languages units"]:
    """How much less a unit changes in the tuning on one language than in the tuning that changes it most, from relative changes.

    High where it changes little in this language's tuning and much in others'. Source: PV in Tang et al. 2024 (arXiv:2402.16438), section
    3.1, which gives no formula: "change little" and "change much" are one difference here, to which LAPE's entropy and threshold apply.
    """
    return np.asarray(changes.max(axis=0, keepdims=True) - changes)
