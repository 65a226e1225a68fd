"""The decomposition of one matrix: against float64, on spectra of every kind; and the authors' approximation."""

import pytest
import torch

from resect.core.errors import InputError, NotFinite, UnknownName
from resect.edits.kinds import from_json
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd import Decomposition, official_matrix, official_rank

SHAPES = [(40, 90), (90, 40), (50, 50), (1, 7), (7, 1)]


def spectrum(name: str, size: int) -> torch.Tensor:
    place = torch.arange(size, dtype=torch.float64)
    return {
        "flat": 1 + 0.01 * place.flip(0) / size,
        "power": 1 / (1 + place),
        "steep": 10 ** (-10 * place / size),
        "very steep": 10 ** (-30 * place / size),
        "step": torch.where(place < size / 2, 1.0, 1e-6).double(),
        "low rank": torch.where(place < size / 5, 1.0, 0.0).double(),
    }[name]


SPECTRA = ["flat", "power", "steep", "very steep", "step", "low rank"]


def matrix_with(values: torch.Tensor, shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """A float32 matrix that has these singular values, up to its rounding."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(side, len(values), generator=generator, dtype=torch.float64)).Q for side in shape)
    return ((left * values) @ right.T).float()


def exact(weight: torch.Tensor) -> Decomposition:
    return Decomposition(*torch.linalg.svd(weight.double(), full_matrices=False))


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_truncation_is_that_of_float64_to_the_precision_of_float32(shape, name):
    weight = matrix_with(spectrum(name, min(shape)), shape)
    found, wanted, plain = Decomposition.of(weight), exact(weight), Decomposition(*torch.linalg.svd(weight, full_matrices=False))
    norm = weight.double().norm()
    assert found.values.dtype == found.left.dtype == found.right.dtype == torch.float32
    assert (found.values.double() - wanted.values).abs().max() <= 1e-7 * wanted.values[0]
    assert (found.values.diff() <= 0).all()
    for rank in sorted({0, 1, min(shape) // 3, min(shape) // 2, min(shape) - 1, min(shape)}):
        gone = wanted.values[rank:].norm()
        assert (weight.double() - found.matrix(rank).double()).norm() <= gone + 5e-7 * norm  # Eckart–Young
        gap = float(wanted.values[rank - 1] - wanted.values[rank]) if 0 < rank < min(shape) else 1.0
        if gap < 1e-12 * wanted.values[0]:
            continue  # the best approximation is not unique
        for keep, taken in (("largest", rank), ("smallest", min(shape) - rank)):
            error, of_plain = ((d.matrix(taken, keep).double() - wanted.matrix(taken, keep)).norm() for d in (found, plain))
            assert error <= 5e-7 * norm
            assert error <= of_plain + 3e-7 * norm


def test_where_the_gap_is_narrow_the_gram_matrix_is_far_nearer_than_float32():
    weight = matrix_with(spectrum("flat", 60), (60, 100))
    found, plain = Decomposition.of(weight), Decomposition(*torch.linalg.svd(weight, full_matrices=False))
    wanted = exact(weight).matrix(20)
    errors = [(d.matrix(20).double() - wanted).norm() / weight.norm() for d in (found, plain)]
    assert errors[0] < 5e-7 < 5e-6 < errors[1]


def test_small_singular_values_keep_their_digits():
    weight = matrix_with(10 ** torch.linspace(0, -5, 30, dtype=torch.float64), (30, 70))
    wanted = exact(weight).values
    assert ((Decomposition.of(weight).values.double() - wanted) / wanted).abs().max() < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_both_factors_are_orthonormal_and_can_be_had_from_the_basis(shape):
    weight = matrix_with(spectrum("power", min(shape)), shape)
    found, one = Decomposition.of(weight), torch.eye(min(shape))
    torch.testing.assert_close(found.left.T @ found.left, one, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.right @ found.right.T, one, atol=1e-5, rtol=0)
    again = Decomposition.on(weight, found.basis.clone())
    assert all(torch.equal(*pair) for pair in zip(vars(found).values(), vars(again).values(), strict=True))
    first, second = found.factors(min(shape))
    torch.testing.assert_close(first @ second, weight, atol=1e-5, rtol=0)


def test_the_zero_matrix_and_narrow_types():
    zero = Decomposition.of(torch.zeros(4, 6))
    assert not zero.values.any()
    assert not zero.matrix(4).any()
    weight = matrix_with(spectrum("power", 20), (20, 30))
    for dtype in (torch.bfloat16, torch.float16):
        narrow = weight.to(dtype)
        assert torch.equal(Decomposition.of(narrow).matrix(7), Decomposition.of(narrow.float()).matrix(7))
    double = Decomposition.of(weight.double())
    assert double.values.dtype == torch.float64
    torch.testing.assert_close(double.matrix(20), weight.double(), atol=1e-14, rtol=0)
    huge = Decomposition.of(weight * 1e30)
    torch.testing.assert_close(huge.matrix(20) * 1e-30, weight, atol=1e-6, rtol=0)


def test_what_cannot_be_decomposed_says_which():
    for bad in (torch.nan, torch.inf):
        weight = torch.ones(3, 4)
        weight[1, 2] = bad
        for edit in (ReduceRank("decoder.0.up", 0.5), ReduceRank("decoder.0.up", 0.5, variant="official", seed=0)):
            with pytest.raises(NotFinite, match=r"decoder\.0\.up of shape \[3, 4\]"):
                edit.reduced(weight)


# -- the authors' way --------------------------------------------------------------------------------------------------


def test_the_official_rank_is_that_of_the_authors_floats():
    for rho, rate in ((0.9, 1), (0.8, 2), (0.6, 4), (0.4, 6), (0.2, 8), (0.1, 9), (0.05, 9.5), (0.01, 9.9)):
        for size in (24, 100, 768, 4096):
            assert official_rank(rho, (size, 3 * size)) == int(size * ((10 - rate) * 0.1))
    assert official_rank(0.28, (100, 100)) == 27
    assert ReduceRank("decoder.0.up", 0.28).rank((100, 100)) == 28
    assert ReduceRank("decoder.0.up", 0.28, variant="official", seed=0).rank((100, 100)) == 27


def test_the_official_variant_is_svd_lowrank_with_a_seed_and_leaves_the_generator_alone():
    weight = matrix_with(spectrum("flat", 40), (40, 60))
    state = torch.get_rng_state()
    one, again, other = (ReduceRank("decoder.0.up", 0.5, variant="official", seed=seed).reduced(weight) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        left, values, right = torch.svd_lowrank(weight, q=20, niter=2)
    torch.testing.assert_close(one, left @ values.diag() @ right.T)
    assert torch.linalg.matrix_rank(one) == 20
    best = (weight - Decomposition.of(weight).matrix(20)).norm()
    twenty = {family: (weight - official_matrix(weight, 20, 1, family)).norm() for family in ("llama", "roberta", "decision_transformer")}
    assert best < twenty["roberta"] == twenty["decision_transformer"] < twenty["llama"] == (weight - one).norm()


def test_the_official_variant_of_rank_0_is_zero_and_of_half_precision_computed_in_float32():
    weight = matrix_with(spectrum("power", 20), (20, 30)).bfloat16()
    edit = ReduceRank("decoder.0.up", 0.01, variant="official", seed=0)
    assert not edit.reduced(weight).any()
    edit = ReduceRank("decoder.0.up", 0.4, variant="official", seed=0)
    assert edit.reduced(weight).dtype == torch.bfloat16
    assert torch.equal(edit.reduced(weight), edit.reduced(weight.float()).bfloat16())


def test_one_decomposition_serves_every_rho_to_the_last_bit():
    weight = matrix_with(spectrum("power", 30), (50, 30))
    factors = Decomposition.of(weight)
    for edit in (ReduceRank("decoder.0.up", rho, keep) for rho in (0.0, 0.2, 0.9) for keep in ("largest", "smallest")):
        assert torch.equal(edit.of_factors(weight, factors), edit.reduced(weight))
    official = ReduceRank("decoder.0.up", 0.3, variant="official", seed=4)
    assert torch.equal(official.of_factors(weight, None), official.reduced(weight))
    with pytest.raises(ValueError, match="decomposition"):
        ReduceRank("decoder.0.up", 0.3).of_factors(weight, None)


def test_the_variant_stands_in_the_json_only_where_it_is_not_the_default():
    exactly, official = ReduceRank("decoder.0.up", 0.3), ReduceRank("decoder.0.up", 0.3, variant="official", seed=4)
    assert exactly.to_json() == {"kind": "reduce_rank", "site": "decoder.0.up", "rho": 0.3, "keep": "largest"}
    assert official.to_json() == exactly.to_json() | {"variant": "official", "seed": 4}
    for plan in (Plan((exactly,)), Plan((official,))):
        assert Plan.from_json(plan.to_json()) == plan


def test_variants_and_seeds_that_cannot_be():
    for settings, error, words in (
        ({"variant": "offical"}, UnknownName, "official"),
        ({"variant": "official"}, InputError, "a seed"),
        ({"seed": 3}, InputError, "no seed"),
        ({"variant": "official", "seed": -1}, InputError, "from 0 on"),
        ({"variant": "official", "seed": 1.5}, InputError, "integer"),
        ({"variant": "official", "seed": 1, "keep": "smallest"}, InputError, "smallest"),
    ):
        with pytest.raises(error, match=words):
            from_json({"kind": "reduce_rank", "site": "decoder.0.up", "rho": 0.3} | settings)
