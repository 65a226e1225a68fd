"""One decomposition by the Gram matrix and 8 ranks, against 8 float32 SVDs, one SVD and 8 ranks, and `svd_lowrank` for each rank.

Prints ratios of the same run, and the largest error against float64: ‖W_r − exact‖ / ‖W‖ over the ranks. Wanted: at least 5 times as fast
as 8 SVDs, and no error above 1e-6.
"""

import argparse
from collections.abc import Callable

import torch

from measurement import best_of_each
from resect.edits.svd import Decomposition, floor_of_share
from resect.methods.laser.settings import RHOS

WANTED_RATIO, WANTED_ERROR = 5.0, 1e-6


def matrix(shape: tuple[int, int], spectrum: str) -> torch.Tensor:
    """Gaussian noise, which has the flattest spectrum of all weights; or the same with falling singular values, as trained weights have."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    if spectrum == "noise":
        return weight
    scale = torch.arange(1, min(shape) + 1) ** -0.5
    falling: torch.Tensor = (weight * scale[:, None]) @ torch.randn(shape[1], shape[1], generator=generator) / shape[1] ** 0.5
    return falling


def full_svd(weight: torch.Tensor) -> Decomposition:
    """LAPACK's, in the dtype of the weight."""
    return Decomposition(*torch.linalg.svd(weight, full_matrices=False))


def randomised(weight: torch.Tensor, rank: int) -> torch.Tensor:
    """The approximation of LASER's authors."""
    left, values, right = torch.svd_lowrank(weight, q=rank, niter=2)
    return (left * values) @ right.T


def largest_error(approximations: list[torch.Tensor], exact: list[torch.Tensor], weight: torch.Tensor) -> float:
    """Over the ranks, as a share of the weight's norm."""
    return max(float((one.double() - other).norm() / weight.norm()) for one, other in zip(approximations, exact, strict=True))


def measure(shape: tuple[int, int], rounds: int) -> None:
    """Print the times and errors of one shape."""
    ranks = [floor_of_share(rho, min(shape)) for rho in RHOS]
    weight = matrix(shape, "noise")
    basis = Decomposition.of(weight).basis  # what a second run reads from disk

    def all_ranks(decompose: Callable[[torch.Tensor], Decomposition]) -> list[torch.Tensor]:
        decomposition = decompose(weight)
        return [decomposition.matrix(rank) for rank in ranks]

    workloads = {
        "gram": lambda: all_ranks(Decomposition.of),
        "8 SVDs": lambda: [full_svd(weight).matrix(rank) for rank in ranks],
        "one SVD": lambda: all_ranks(full_svd),
        "svd_lowrank": lambda: [randomised(weight, rank) for rank in ranks],
        "from the cache": lambda: all_ranks(lambda given: Decomposition.from_basis(given, basis)),
    }
    seconds = best_of_each(rounds, workloads)
    times = ", ".join(f"{name} {1000 * taken:.0f} ms ({taken / seconds['gram']:.1f} ×)" for name, taken in seconds.items())
    print(f"{shape[0]} × {shape[1]}, {len(ranks)} ranks: {times}; wanted of 8 SVDs: {WANTED_RATIO:.0f} × or more")
    for spectrum in ("noise", "falling"):
        weight = matrix(shape, spectrum)
        decomposition = full_svd(weight.double())
        exact = [decomposition.matrix(rank) for rank in ranks]
        errors = {
            "gram": largest_error(all_ranks(Decomposition.of), exact, weight),
            "float32 SVD": largest_error(all_ranks(full_svd), exact, weight),
            "svd_lowrank": largest_error([randomised(weight, rank) for rank in ranks], exact, weight),
        }
        printed = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        print(f"  {spectrum}: error {printed}; wanted: {WANTED_ERROR:.0e}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shapes", nargs="+", default=["256x1024", "768x3072", "1024x4096"], help="out x in")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for shape in options.shapes:
        first, second = map(int, shape.split("x"))
        measure((first, second), options.rounds)


if __name__ == "__main__":
    main()
