"""One decomposition by the Gram matrix and 8 ranks, against 8 float32 SVDs, one SVD and 8 ranks, and `svd_lowrank` for each rank.

Prints ratios of the same run, and the largest error against float64: ‖W_r − exact‖ / ‖W‖ over the ranks. Wanted: at least 5 times as fast
as 8 SVDs, and no error above 1e-6.
"""

import argparse

import torch

from resect.edits.svd import Decomposition, share
from resect.methods.laser.gradient_screening import RHOS
from setting import best_of_each

WANTED_RATIO, WANTED_ERROR = 5.0, 1e-6


def matrix(shape: tuple[int, int], spectrum: str) -> torch.Tensor:
    """Gaussian noise, which is the flattest spectrum that weights have; or the same with falling singular values, as trained ones have."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    if spectrum == "noise":
        return weight
    scale = torch.arange(1, min(shape) + 1) ** -0.5
    return (weight * scale[:, None]) @ torch.randn(shape[1], shape[1], generator=generator) / shape[1] ** 0.5


def plain(weight: torch.Tensor) -> Decomposition:
    """LAPACK's, in the dtype of the weight."""
    return Decomposition(*torch.linalg.svd(weight, full_matrices=False))


def lowrank(weight: torch.Tensor, rank: int) -> torch.Tensor:
    """The authors' way."""
    left, values, right = torch.svd_lowrank(weight, q=rank, niter=2)
    return (left * values) @ right.T


def largest_error(found: list[torch.Tensor], wanted: list[torch.Tensor], weight: torch.Tensor) -> float:
    """Over the ranks, as a share of the weight's norm."""
    return max(float((one.double() - other).norm() / weight.norm()) for one, other in zip(found, wanted, strict=True))


def measure(shape: tuple[int, int], rounds: int) -> None:
    """Print what one shape gives."""
    ranks = [share(rho, min(shape)) for rho in RHOS]
    weight = matrix(shape, "noise")
    basis = Decomposition.of(weight).basis  # what a second run finds on disk

    def shared(decompose) -> list[torch.Tensor]:
        found = decompose(weight)
        return [found.matrix(rank) for rank in ranks]

    works = {
        "gram": lambda: shared(Decomposition.of),
        "8 SVDs": lambda: [plain(weight).matrix(rank) for rank in ranks],
        "one SVD": lambda: shared(plain),
        "svd_lowrank": lambda: [lowrank(weight, rank) for rank in ranks],
        "from the cache": lambda: shared(lambda given: Decomposition.on(given, basis)),
    }
    seconds = best_of_each(rounds, works)
    times = ", ".join(f"{name} {1000 * taken:.0f} ms ({taken / seconds['gram']:.1f} ×)" for name, taken in seconds.items())
    print(f"{shape[0]} × {shape[1]}, {len(ranks)} ranks: {times}; wanted of 8 SVDs: {WANTED_RATIO:.0f} × or more")
    for spectrum in ("noise", "falling"):
        weight = matrix(shape, spectrum)
        exact = plain(weight.double())
        wanted = [exact.matrix(rank) for rank in ranks]
        errors = {
            "gram": largest_error(shared(Decomposition.of), wanted, weight),
            "float32 SVD": largest_error(shared(plain), wanted, weight),
            "svd_lowrank": largest_error([lowrank(weight, rank) for rank in ranks], wanted, weight),
        }
        print(
            f"  {spectrum}: error " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()) + f"; wanted: {WANTED_ERROR:.0e}"
        )


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
