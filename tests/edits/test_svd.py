"""The decomposition of one matrix: against float64, on spectra of many kinds; and the authors' approximation."""

import pytest
import torch

from resect.core.errors import InputError, NotFinite, UnknownName
from resect.edits.kinds import from_json
from resect.edits.matrices import ReduceRank
from resect.edits.plan import Plan
from resect.edits.svd import Decomposition, official_matrix, official_rank

SHAPES = [(40, 90), (90, 40), (50, 50), (1, 7), (7, 1)]


def spectrum(name: str, size: int) -> torch.Tensor:
    position = torch.arange(size, dtype=torch.float64)
    return {
        "flat": 1 + 0.01 * position.flip(0) / size,
        "power": 1 / (1 + position),
        "steep": 10 ** (-10 * position / size),
        "very steep": 10 ** (-30 * position / size),
        "step": torch.where(position < size / 2, 1.0, 1e-6).double(),
        "low rank": torch.where(position < size / 5, 1.0, 0.0).double(),
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
    gram, expected, plain = Decomposition.of(weight), exact(weight), Decomposition(*torch.linalg.svd(weight, full_matrices=False))
    norm = weight.double().norm()
    assert gram.values.dtype == gram.left.dtype == gram.right.dtype == torch.float32
    assert (gram.values.double() - expected.values).abs().max() <= 1e-7 * expected.values[0]
    assert (gram.values.diff() <= 0).all()
    for rank in sorted({0, 1, min(shape) // 3, min(shape) // 2, min(shape) - 1, min(shape)}):
        dropped = expected.values[rank:].norm()
        assert (weight.double() - gram.matrix(rank).double()).norm() <= dropped + 5e-7 * norm  # Eckart–Young
        gap = float(expected.values[rank - 1] - expected.values[rank]) if 0 < rank < min(shape) else 1.0
        if gap < 1e-12 * expected.values[0]:
            continue  # the best approximation is not unique
        for keep, kept in (("largest", rank), ("smallest", min(shape) - rank)):
            error, plain_error = ((d.matrix(kept, keep).double() - expected.matrix(kept, keep)).norm() for d in (gram, plain))
            assert error <= 5e-7 * norm
            assert error <= plain_error + 3e-7 * norm


def test_with_a_narrow_gap_the_gram_matrix_is_far_more_accurate_than_float32():
    weight = matrix_with(spectrum("flat", 60), (60, 100))
    gram, plain = Decomposition.of(weight), Decomposition(*torch.linalg.svd(weight, full_matrices=False))
    expected = exact(weight).matrix(20)
    errors = [(d.matrix(20).double() - expected).norm() / weight.norm() for d in (gram, plain)]
    assert errors[0] < 5e-7 < 5e-6 < errors[1]


def test_small_singular_values_keep_their_digits():
    weight = matrix_with(10 ** torch.linspace(0, -5, 30, dtype=torch.float64), (30, 70))
    expected = exact(weight).values
    assert ((Decomposition.of(weight).values.double() - expected) / expected).abs().max() < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_both_factors_are_orthonormal_and_follow_from_the_basis(shape):
    weight = matrix_with(spectrum("power", min(shape)), shape)
    gram, one = Decomposition.of(weight), torch.eye(min(shape))
    torch.testing.assert_close(gram.left.T @ gram.left, one, atol=1e-5, rtol=0)
    torch.testing.assert_close(gram.right @ gram.right.T, one, atol=1e-5, rtol=0)
    again = Decomposition.from_basis(weight, gram.basis.clone())
    assert all(torch.equal(*pair) for pair in zip(vars(gram).values(), vars(again).values(), strict=True))
    first, second = gram.factors(min(shape))
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


def test_a_matrix_that_cannot_be_decomposed_is_named():
    for bad in (torch.nan, torch.inf):
        weight = torch.ones(3, 4)
        weight[1, 2] = bad
        for edit in (ReduceRank("decoder.0.up", 0.5), ReduceRank("decoder.0.up", 0.5, variant="official", seed=0)):
            with pytest.raises(NotFinite, match=r"decoder\.0\.up of shape \[3, 4\]"):
                edit.reduced(weight)


# -- the authors' code -------------------------------------------------------------------------------------------------


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
    decomposition = Decomposition.of(weight)
    for edit in (ReduceRank("decoder.0.up", rho, keep) for rho in (0.0, 0.2, 0.9) for keep in ("largest", "smallest")):
        assert torch.equal(edit.reduced_from(weight, decomposition), edit.reduced(weight))
    official = ReduceRank("decoder.0.up", 0.3, variant="official", seed=4)
    assert torch.equal(official.reduced_from(weight, None), official.reduced(weight))
    with pytest.raises(ValueError, match="decomposition"):
        ReduceRank("decoder.0.up", 0.3).reduced_from(weight, None)


def test_the_variant_is_in_the_json_only_where_it_is_not_the_default():
    exactly, official = ReduceRank("decoder.0.up", 0.3), ReduceRank("decoder.0.up", 0.3, variant="official", seed=4)
    assert exactly.to_json() == {"kind": "reduce_rank", "site": "decoder.0.up", "rho": 0.3, "keep": "largest"}
    assert official.to_json() == exactly.to_json() | {"variant": "official", "seed": 4}
    for plan in (Plan((exactly,)), Plan((official,))):
        assert Plan.from_json(plan.to_json()) == plan


def test_impossible_variants_and_seeds_are_refused():
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
