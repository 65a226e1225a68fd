"""Confidence intervals and p-values of a mean over groups. Knows numbers and groups, not their meaning.

**The interval of values with bounds** (`bounded_interval`: accuracies, and their changes) needs no symmetry. To the groups that were
seen it adds one that was not, with the worst value possible, and weights all of them at random (uniformly over weights that sum to 1,
which is the Bayesian bootstrap of Rubin 1981); the lower end is the 2.5 % quantile of the weighted mean, the upper end is found with the
best value possible. Source: Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
variable", Mathematical Methods of Statistics 14; Learned-Miller and Thomas 2019, arXiv:1905.06208. Of zeros and ones it is exactly the
interval of Clopper and Pearson: 0 of 42 is 0 to 8.4 %. Its validity for all shapes is a conjecture without a known counterexample; the
betting intervals of Waudby-Smith and Ramdas 2024 are proved valid, and were more than half as wide again with 21 groups.
Differs from the source in: groups of different sizes make the mean a ratio of two sums, which is exact for equal sizes only.

**Random halves** (`GroupHalves`, Hartigan 1969, "Using subsample values as typical values", JASA 64) serve values without bounds, and the
p-value: each draw assigns every group to one half or the other by a fair coin, all its examples and instructions together; a draw covers
the effects between the means of the two halves; the interval contains the effects that more than 5 % of the draws cover. It is exactly
the set of effects that a sign-flip test over groups does not reject. It is right for changes that are about symmetric: over simulated
nulls (20 to 400 groups, 1 to 10 instructions) both ends are above 0 in 2.0 to 2.9 % of the cases, where the percentile bootstrap reaches
4.5 % and BCa 5.3 %. It is wrong for skewed ones.

**A change of bounded values** has on each side the wider end of the two, where the one without symmetry is allowed 5 % a side. So an
interval without 0 has p <= 0.05; the reverse does not hold: the p-value assumes symmetry. With 21 groups and less no gain below some 15
points is claimed, since one group in ten that loses everything would remain unseen in 11 % of the cases.
How often "improved" is claimed, in per cent of 2,000 simulations, by random halves alone and as reported
(`scripts/interval_calibration.py`; the first four shapes have no effect, the others show the loss of power):

    changes of groups, in points          21 groups          58 groups          116 groups
                                          halves  reported   halves  reported   halves  reported
    10 % lose all, 90 % gain 11           10.8     0.0        6.8     1.7        4.7     4.0
    10 % lose all, 90 % gain 0 to 22      11.2     0.0        6.6     2.8        5.1     3.2
    10 % gain all, 90 % lose 11            0.4     0.4        0.7     0.7        1.0     1.0
    symmetric, deviation 25                2.4     0.1        2.8     1.1        2.9     2.0
    gain of 10, deviation 25              42.1     7.0       85.8    74.0       98.8    98.0
    gain of 20, deviation 25              92.9    65.0      100.0   100.0      100.0   100.0
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

DRAWS = 10_000
LEVEL = 0.05
#: The error of both sides of a change's interval where no symmetry is assumed: 5 % a side.
SKEWED_LEVEL = 0.10
#: Up to this many groups all 2^(n-1) ways to halve them are enumerated.
EXACT_GROUPS = 20
#: Sums smaller than this share of what was summed count as 0: rounding in float additions is not evidence.
_ROUNDING = 1e-12
_CHUNK = 256


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class GroupHalves:
    """Groups in two halves, one row a draw; in the first draw one half is empty (the "+1" of a Monte Carlo test)."""

    totals: Float[np.ndarray, "groups 2"]
    """Sum of the values and number of pairs of each group, groups sorted by name."""
    first: Float[np.ndarray, "draws 2"]
    """The same two numbers, of all groups in the first half."""
    exact: bool
    """Whether the draws are all ways to halve the groups."""

    @classmethod
    def of(cls, pairs: Float[np.ndarray, "examples instructions"], groups: Sequence[str], seed: int) -> "GroupHalves":
        """Returns the halves of the groups of these pairs; the order of the examples does not matter."""
        names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        sums = np.bincount(index, weights=pairs.sum(axis=1), minlength=len(names))
        counts = np.bincount(index, minlength=len(names)) * float(pairs.shape[1])
        totals = np.stack([sums, counts], axis=1)
        exact = len(names) <= EXACT_GROUPS
        return cls(totals, _all_halves(totals) if exact else _drawn_halves(totals, seed), exact)

    @property
    def mean(self) -> float:
        """The mean over all pairs."""
        total = self.totals.sum(axis=0)
        return float(total[0] / total[1]) + 0.0

    def _sums(self) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
        """Returns the summed values of both halves; what rounding keeps from 0 is 0."""
        first, second = self.first[:, 0], self.totals[:, 0].sum() - self.first[:, 0]
        tolerance = _ROUNDING * float(np.abs(self.totals[:, 0]).sum())
        return np.where(np.abs(first) <= tolerance, 0, first), np.where(np.abs(second) <= tolerance, 0, second)

    def p_value(self) -> float:
        """Returns the two-sided p-value: the share of draws in which the halves' sums have opposite signs, or one is 0.

        A sign flip turns |first + second| into |first − second|, which is as large exactly then.
        """
        first, second = self._sums()
        return float((np.sign(first) * np.sign(second) <= 0).mean())

    def p_value_of_loss(self) -> float:
        """Returns the one-sided p-value of a mean below 0: the share of all sign flips that give a sum as low as the observed one.

        A flip gives a sum as low exactly where the half that is flipped sums to 0 or more. With n groups it is 1 / 2^n at least.
        """
        first, second = self._sums()
        return float(((first >= 0).mean() + (second >= 0).mean()) / 2)

    def _bounds(self) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
        """Returns the lower and the higher mean of the two halves in each draw; a draw with an empty half covers every effect."""
        (first, second), first_count = self._sums(), self.first[:, 1]
        second_count = self.totals[:, 1].sum() - first_count
        empty = (first_count == 0) | (second_count == 0)
        means = np.stack([first / np.where(empty, 1, first_count), second / np.where(empty, 1, second_count)])
        return np.where(empty, -np.inf, means.min(axis=0)), np.where(empty, np.inf, means.max(axis=0))

    def interval(self, include: float | None = None) -> Interval:
        """Returns the effects that more than 5 % of the draws cover.

        Where that is every effect (under six groups): the range of the groups' means and `include`.
        """
        lows, highs = self._bounds()
        rank = math.floor(LEVEL * len(lows) + 1e-9)
        low, high = np.partition(lows, rank)[rank], -np.partition(-highs, rank)[rank]
        means = [*(self.totals[:, 0] / self.totals[:, 1]).tolist(), *([] if include is None else [include])]
        return Interval(
            (float(low) if np.isfinite(low) else min(means)) + 0.0,
            (float(high) if np.isfinite(high) else max(means)) + 0.0,
        )

    def consistent_with(self, interval: Interval, p_value: float) -> Interval:
        """Returns the interval, moved where the noise of the draws contradicts an exact p-value: 0 is outside exactly where p <= 5 %."""
        low, high = interval
        if p_value > LEVEL:
            return Interval(min(low, 0.0), max(high, 0.0))
        lows, highs = self._bounds()
        if self.mean > 0 >= low:
            low = float(np.min(lows[lows > 0], initial=self.mean))
        if self.mean < 0 <= high:
            high = float(np.max(highs[highs < 0], initial=self.mean))
        return Interval(low, high)


def bounded_interval(
    sums: Float[np.ndarray, " groups"],
    counts: Float[np.ndarray, " groups"],
    low: float,
    high: float,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Returns the interval of sum(sums) / sum(counts), for single values that are never outside [low, high].

    Parameters
    ----------
    sums, counts : of each group the sum of its values, and their number (above 0); one group or more
    seed : of the random weights; the order of the groups does not matter
    level : the error of both sides together, in (0, 1)
    """
    lower = _lower_end(sums, counts, low, seed, level / 2)
    return Interval(max(low, lower) + 0.0, min(high, -_lower_end(-sums, counts, -high, seed, level / 2)) + 0.0)


def _lower_end(sums: Float[np.ndarray, " groups"], counts: Float[np.ndarray, " groups"], worst: float, seed: int, level: float) -> float:
    """Returns the quantile of the randomly weighted mean of the groups and one more, the largest, that has the worst value throughout."""
    largest = float(counts.max())
    groups = np.concatenate([np.stack([sums, counts], axis=1), [[worst * largest, largest]]])
    # Exponential weights, divided by their sum, are uniform; those of equal groups add up to one gamma weight.
    distinct, times = np.unique(groups, axis=0, return_counts=True)
    random = np.random.default_rng([seed, len(sums)])
    total, count = np.zeros(DRAWS), np.zeros(DRAWS)
    for (group_sum, group_count), number in zip(distinct.tolist(), times.tolist(), strict=True):
        weight = random.standard_gamma(number, DRAWS)
        total += group_sum * weight
        count += group_count * weight
    rank = math.floor(level * DRAWS)
    return float(np.partition(total / count, rank)[rank])


def _all_halves(totals: Float[np.ndarray, "groups 2"]) -> Float[np.ndarray, "draws 2"]:
    """Returns every way to halve the groups, once: the last group is always in the second half."""
    first = np.zeros((1, 2))
    for total in totals[:-1]:
        first = np.concatenate([first, first + total])
    return first


def _drawn_halves(totals: Float[np.ndarray, "groups 2"], seed: int) -> Float[np.ndarray, "draws 2"]:
    """Returns the empty half, then DRAWS random ones."""
    random = np.random.default_rng([seed, len(totals)])
    first = np.zeros((DRAWS + 1, 2))
    for start in range(0, len(totals), _CHUNK):
        part = totals[start : start + _CHUNK]
        coins = random.integers(0, 2, size=(DRAWS, len(part)), dtype=np.uint8)
        first[1:] += coins.astype(np.float64) @ part
    return first


def mcnemar(fixed: int, broken: int) -> float:
    """Returns the two-sided exact p-value: twice the smaller tail of Binomial(fixed + broken, 1/2), at most 1."""
    changed, fewer = fixed + broken, min(fixed, broken)
    term = tail = 1
    for k in range(fewer):
        term = term * (changed - k) // (k + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**changed))
