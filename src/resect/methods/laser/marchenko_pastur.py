"""Where noise ends in a spectrum: how many singular values of a matrix stand above those that noise alone would have.

Knows singular values and a shape; no model, no task. With an m × n matrix, m ≤ n, β = m/n, whose entries are signal of low rank plus
independent noise of variance σ²:

- noise has singular values up to σ · (√m + √n), the upper edge of the Marchenko–Pastur law (Marchenko & Pastur 1967);
- σ is not known. Signal of low rank hardly moves the median of the singular values, so σ = median(s) / √(n · μ_β), where μ_β is the median
  of the law with ratio β, whose density is √((β₊ − x)(x − β₋)) / (2πβx) on [β₋, β₊] = [(1 − √β)², (1 + √β)²].

Sources: Gavish & Donoho 2014, "The Optimal Hard Threshold for Singular Values is 4/√3", section III.E (σ from the median); the edge of the
law in place of their threshold. Differs from the source in: where to cut. Their threshold (2.309 · σ · √n for a square matrix, where the
edge is 2 · σ · √n) is where keeping a component begins to lower the expected squared error; the edge is where a component can be told from
noise, which is what is asked of a trained weight.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from resect.core.errors import InputError

#: Steps of the integral of the law's density; the median is right to about 1e-9.
_STEPS = 20_000


def noise_edge(values: Any, shape: tuple[int, int]) -> float:
    """The largest singular value that noise alone would have: σ · (√m + √n), with σ = median(values) / √(n · μ_β).

    Parameters
    ----------
    values : all min(shape) singular values, in any order
    shape : (out, in) of the matrix

    The law is that of large matrices: of pure noise, the largest value lies within about n^(−2/3) of the edge, above or below it.
    Where more than half of the values are 0, so is the edge.
    Raises InputError where there are not min(shape) values, or one is negative or not finite.
    """
    sizes = np.asarray(values, dtype=np.float64)
    few, many = sorted(shape)
    if sizes.shape != (few,) or few < 1:
        raise InputError(f"A matrix of shape {list(shape)} has {few} singular values, not {sizes.size}; give all of them.")
    if not (np.isfinite(sizes).all() and (sizes >= 0).all()):
        raise InputError("Singular values are finite and not negative; these are not.")
    sigma = float(np.median(sizes)) / math.sqrt(many * median_of_law(few / many))
    return sigma * (math.sqrt(few) + math.sqrt(many))


def kept_rank(values: Any, shape: tuple[int, int]) -> int:
    """How many singular values lie above the `noise_edge`. Raises as `noise_edge`."""
    return int((np.asarray(values, dtype=np.float64) > noise_edge(values, shape)).sum())


@cache
def median_of_law(beta: float) -> float:
    """μ_β, the median of the Marchenko–Pastur law of ratio β in (0, 1] and variance 1.

    With x = (β₋ + β₊)/2 + (β₊ − β₋)/2 · cos θ the density has no edges left, and its integral is a plain sum.

    >>> round(median_of_law(1.0), 4), round(median_of_law(1e-6), 4)
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
    total = np.concatenate([[0.0], np.cumsum(mass)])
    borders = np.arange(_STEPS + 1) * math.pi / _STEPS
    return float(low + half * (1 - math.cos(np.interp(total[-1] / 2, total, borders))))
