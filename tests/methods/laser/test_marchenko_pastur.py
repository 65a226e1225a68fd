"""The noise edge: of noise nothing is kept, of noise with planted components exactly these; the law against its own samples."""

import numpy as np
import pytest
from scipy.optimize import brentq

from resect.core.errors import InputError
from resect.methods.laser.marchenko_pastur import marchenko_pastur_median, noise_edge, rank_above_noise

SHAPES = [(200, 200), (120, 480), (480, 120), (64, 1024)]


def noise(shape: tuple[int, int], sigma: float = 1.0, seed: int = 0) -> np.ndarray:
    return sigma * np.random.default_rng(seed).normal(size=shape)


def singular_values(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.svd(matrix, compute_uv=False)


@pytest.mark.parametrize("sigma", [0.02, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_edge_of_pure_noise_is_its_largest_singular_value(shape, sigma):
    for seed in range(3):
        values = singular_values(noise(shape, sigma, seed))
        assert noise_edge(values, shape) == pytest.approx(sigma * (np.sqrt(shape[0]) + np.sqrt(shape[1])), rel=0.03)
        assert noise_edge(values, shape) == pytest.approx(values[0], rel=0.05)
        assert rank_above_noise(values, shape) <= 2


@pytest.mark.parametrize("spikes", [1, 5, 12])
@pytest.mark.parametrize("shape", SHAPES)
def test_planted_components_are_counted(shape, spikes):
    rng = np.random.default_rng(spikes)
    left, right = (np.linalg.qr(rng.normal(size=(side, spikes)))[0] for side in shape)
    edge = np.sqrt(shape[0]) + np.sqrt(shape[1])
    planted = (left * np.linspace(1.5, 3, spikes) * edge) @ right.T
    assert rank_above_noise(singular_values(planted + noise(shape)), shape) == spikes


def test_components_below_the_edge_are_not_kept():
    shape = (200, 200)
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(side, 5)))[0] for side in shape)
    hidden = (left * 0.3 * 2 * np.sqrt(200)) @ right.T
    assert rank_above_noise(singular_values(hidden + noise(shape)), shape) <= 1


@pytest.mark.parametrize("beta", [1.0, 0.5, 0.1, 0.01])
def test_the_median_of_the_law_is_that_of_a_large_matrix(beta):
    columns = 2000 if beta < 0.5 else 800
    shape = (round(beta * columns), columns)
    assert np.median(singular_values(noise(shape))) ** 2 / columns == pytest.approx(marchenko_pastur_median(beta), rel=0.02)


def test_medians_agree_with_published_thresholds():
    # Gavish & Donoho 2014, table IV: ω(β) = λ*(β) / √μ_β, with λ* by their equation 11.
    for beta, omega in ((0.05, 1.5194), (0.5, 2.1711), (1.0, 2.8582)):
        threshold = np.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + np.sqrt(beta**2 + 14 * beta + 1)))
        assert threshold / np.sqrt(marchenko_pastur_median(beta)) == pytest.approx(omega, abs=2e-4)


def test_medians_agree_with_closed_forms():
    quarter_circle = brentq(lambda s: s * np.sqrt(4 - s * s) / 2 + 2 * np.arcsin(s / 2) - np.pi / 2, 0, 2, xtol=1e-14)
    assert marchenko_pastur_median(1.0) == pytest.approx(quarter_circle**2, abs=1e-8)  # of a square matrix
    assert marchenko_pastur_median(1e-8) == pytest.approx(1, abs=1e-7)


def test_the_edge_scales_with_the_values_and_ignores_their_order():
    shape = (30, 70)
    values = singular_values(noise(shape))
    assert noise_edge(values[::-1], shape[::-1]) == noise_edge(values, shape)
    assert noise_edge(7 * values, shape) == pytest.approx(7 * noise_edge(values, shape))
    assert noise_edge(np.zeros(30), shape) == 0
    assert rank_above_noise(np.zeros(30), shape) == 0
    assert rank_above_noise([2.0], (1, 50)) in (0, 1)


def test_impossible_singular_values_are_refused():
    for values, shape in (([1.0, 2.0], (3, 4)), ([1.0, -2.0, 3.0], (3, 4)), ([1.0, np.nan, 3.0], (3, 4)), ([], (0, 4))):
        with pytest.raises(InputError):
            noise_edge(values, shape)
    with pytest.raises(ValueError, match="ratio"):
        marchenko_pastur_median(1.5)
