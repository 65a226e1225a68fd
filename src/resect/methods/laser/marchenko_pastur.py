"""Where noise ends in a spectrum: the number of singular values of a matrix that are larger than those of noise alone.

Knows singular values and a shape; no model, no task. With an m × n matrix, m ≤ n, β = m/n, whose entries are signal of low rank plus
independent noise of variance σ²:

- noise has singular values up to σ · (√m + √n), the upper edge of the Marchenko–Pastur law (Marchenko & Pastur 1967);
- σ is not known. Signal of low rank hardly moves the median of the singular values, so σ = median(s) / √(n · μ_β), where μ_β is the median
  of the law with ratio β, whose density is √((β₊ − x)(x − β₋)) / (2πβx) on [β₋, β₊] = [(1 − √β)², (1 + √β)²].

Sources: Gavish & Donoho 2014, "The Optimal Hard Threshold for Singular Values is 4/√3", section III.E (σ from the median); the edge of the
law in place of their threshold. Differs from the source in: the threshold. Theirs (2.309 · σ · √n for a square matrix, where the edge is
2 · σ · √n) is where keeping a component begins to lower the expected squared error; the edge is where a component becomes distinguishable
from noise, which is the question for a trained weight.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from resect.core.errors import InputError

#: Steps of the integral of the law's density; the median is right to about 1e-9.
_STEPS = 20_000


def noise_edge(singular_values: Any, shape: tuple[int, int]) -> float:
    """The largest singular value that noise alone would have: σ · (√m + √n), with σ = median(singular values) / √(n · μ_β).

    Parameters
    ----------
    singular_values : all min(shape) of them, in any order
    shape : (out, in) of the matrix

    The law is that of large matrices: of pure noise, the largest singular value is within about n^(−2/3) of the edge, above or below it.
    Where more than half of the singular values are 0, so is the edge.
    Raises InputError where there are not min(shape) values, or one is negative or not finite.
    """
    values = np.asarray(singular_values, dtype=np.float64)
    m, n = sorted(shape)
    if values.shape != (m,) or m < 1:
        raise InputError(f"A matrix of shape {list(shape)} has {m} singular values, not {values.size}; give all of them.")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError("Singular values are finite and not negative; these are not.")
    sigma = float(np.median(values)) / math.sqrt(n * marchenko_pastur_median(m / n))
    return sigma * (math.sqrt(m) + math.sqrt(n))


def rank_above_noise(singular_values: Any, shape: tuple[int, int]) -> int:
    """The number of singular values above the `noise_edge`. Raises as `noise_edge`."""
    return int((np.asarray(singular_values, dtype=np.float64) > noise_edge(singular_values, shape)).sum())


@cache
def marchenko_pastur_median(beta: float) -> float:
    """μ_β, the median of the Marchenko–Pastur law of ratio β in (0, 1] and variance 1. Raises ValueError for another ratio.

    With x = (β₋ + β₊)/2 + (β₊ − β₋)/2 · cos θ the density has no edges left, and its integral is a plain sum.

    >>> round(marchenko_pastur_median(1.0), 4), round(marchenko_pastur_median(1e-6), 4)
    (0.6528, 1.0)
    """
    if not 0 < beta <= 1:
        raise ValueError(f"The ratio of the Marchenko–Pastur law is in (0, 1], not {beta!r}.")
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    half = (high - low) / 2
    angle = (np.arange(_STEPS) + 0.5) * math.pi / _STEPS
    x = low + half * (1 - np.cos(angle))
    # density(x) dx; sin² over x is finite at θ = 0 too, where x is 0 for β = 1.
    mass = (half * np.sin(angle)) ** 2 / (2 * math.pi * beta * x) * (math.pi / _STEPS)
    cumulative = np.concatenate([[0.0], np.cumsum(mass)])
    bounds = np.arange(_STEPS + 1) * math.pi / _STEPS
    return float(low + half * (1 - math.cos(np.interp(cumulative[-1] / 2, cumulative, bounds))))
