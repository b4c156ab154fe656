"""Rings of one frequency, and the spectra of a pair read from them."""

from __future__ import annotations

import numpy as np
import pytest

from coregister.estimator.rings import MANY, Rings
from coregister.estimator.spectrum import (
    DOUBT,
    DOUBT_LEVEL,
    SCENE_STIFFNESS,
    _penalise,
    fit_spectra,
    penalty_bands,
)


def half_plane(shape: tuple[int, ...]) -> np.ndarray:
    """Frequency of every mode of a half spectrum, cycles/sample."""
    axes = [*(np.fft.fftfreq(n) for n in shape[:-1]), np.fft.rfftfreq(shape[-1])]
    return np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))


@pytest.mark.parametrize(
    "shape", [(40,), (20, 24), (21, 25), (256, 200), (255, 201), (40, 42, 44), (41, 40, 43)]
)
def test_sums_over_a_half_spectrum_are_those_over_the_whole(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    frequency = half_plane(shape)
    rings = Rings(frequency, half=True)
    values = rng.normal(size=frequency.shape)
    twice = np.full(frequency.shape[-1], 2.0)
    twice[0] = 1.0
    expected = np.bincount(rings.of_mode.ravel(), (values * twice).ravel(), rings.size + 1)
    expected = expected[: rings.size] / rings.count
    scale = np.sqrt(4 * frequency.size) * 1e-15
    assert rings.mean(values) == pytest.approx(expected, abs=scale)
    assert rings.average(rings.sums(values)) == pytest.approx(expected, abs=scale)


def test_both_ways_to_sum_are_asked() -> None:
    assert half_plane((20, 24)).size < MANY < half_plane((256, 200)).size


def test_a_ring_far_above_the_others_is_fitted_to_the_end() -> None:
    """Data, smoothness and doubt are in balance, ring by ring, where the fit stops.

    A ring of few modes, far above the smooth curve through the others, once made the steps swing
    between two values, a factor of two and more apart, for as long as they were allowed to.
    """
    cross = np.array([49.5, 2.65, 0.375, 1.23, 0.815, 0.552, 0.078, 0.09, 0.2, 0.075, 0.146, 0.066])
    count = np.full(cross.size, 8.0)
    noise = np.geomspace(0.03, 0.018, cross.size)
    auto = cross + noise / 2
    fit = fit_spectra(xx=auto, yy=auto, xy=cross, residual=noise, count=count)
    product = fit.noise_product / count
    variance = (2 * fit.scene + fit.residual) * fit.scene / count + product
    data = (cross - fit.scene) * fit.scene / variance
    log, bands = np.log(fit.scene), penalty_bands(cross.size, SCENE_STIFFNESS)
    doubt = DOUBT * (np.log(DOUBT_LEVEL * np.sqrt(product)) - log)
    stiffness = fit.scene**2 / variance + DOUBT + bands[2]
    left_over = (data + doubt - _penalise(bands, log)) / stiffness
    assert left_over == pytest.approx(0, abs=0.02)
