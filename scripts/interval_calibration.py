#!/usr/bin/env python3
"""How often an interval of a change claims a gain: where there is none, by the shape of the changes, and where there is one.

Compares the interval of random halves, which assumes symmetric changes, with that of `resect.core.comparison.difference`, which does not.
Takes some minutes on one core.
"""

import argparse
from collections.abc import Callable

import numpy as np

from resect.core.intervals import SKEWED_LEVEL, GroupHalves, bounded_interval

Draw = Callable[[np.random.Generator, int], np.ndarray]
#: Changes of groups, each in [-1, 1]: the first four without an effect on average, the others with one.
SHAPES: dict[str, Draw] = {
    "10 % lose all, 90 % gain 11": lambda random, n: np.where(random.random(n) < 0.1, -1.0, 1 / 9),
    "10 % lose all, 90 % gain 0 to 22": lambda random, n: np.where(random.random(n) < 0.1, -1.0, random.uniform(0, 2 / 9, n)),
    "10 % gain all, 90 % lose 11": lambda random, n: np.where(random.random(n) < 0.1, 1.0, -1 / 9),
    "symmetric, deviation 25": lambda random, n: np.clip(random.normal(0, 0.25, n), -1, 1),
    "gain of 10, deviation 25": lambda random, n: np.clip(random.normal(0.1, 0.25, n), -1, 1),
    "gain of 20, deviation 25": lambda random, n: np.clip(random.normal(0.2, 0.25, n), -1, 1),
}


def claims(draw: Draw, groups: int, runs: int) -> tuple[float, float]:
    """The shares of simulations in which a gain is claimed: by random halves, and by the wider of both intervals."""
    random, names = np.random.default_rng(groups), [str(number) for number in range(groups)]
    by_halves = by_both = 0
    for run in range(runs):
        change = draw(random, groups)
        if GroupHalves.of(change[:, None], names, run).interval(include=0.0).low > 0:
            by_halves += 1
            by_both += bounded_interval(change, np.ones(groups), -1.0, 1.0, run, SKEWED_LEVEL).low > 0
    return by_halves / runs, by_both / runs


def main() -> None:
    """Print a table of claims, in per cent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="simulations of each cell (default: 2000)")
    parser.add_argument("--groups", type=int, nargs="+", default=[21, 58, 116], help="numbers of groups (default: 21 58 116)")
    given = parser.parse_args()
    print(f"{'changes of groups, in points':34}" + "".join(f"{f'{n} groups':>24}" for n in given.groups))
    print(f"{'':34}" + f"{'halves':>12}{'reported':>12}" * len(given.groups))
    for name, draw in SHAPES.items():
        cells = [f"{100 * share:12.1f}" for n in given.groups for share in claims(draw, n, given.runs)]
        print(f"{name:34}{''.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
