"""Rings of one frequency, and the spectra of a pair read from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coregister.estimator.rings import MANY, Rings
from coregister.estimator.spectrum import (
    DOUBT,
    DOUBT_LEVEL,
    SCENE_STIFFNESS,
    Spectra,
    _penalise,
    fit_rings,
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


def left_over(fit: Spectra, cross: np.ndarray, count: np.ndarray) -> np.ndarray:
    """By how much data, smoothness and doubt are out of balance, ring by ring, in the logarithm."""
    product = fit.noise_product / count
    variance = (2 * fit.scene + fit.residual) * fit.scene / count + product
    data = (cross - fit.scene) * fit.scene / variance
    log, bands = np.log(fit.scene), penalty_bands(cross.size, SCENE_STIFFNESS)
    doubt = DOUBT * (np.log(DOUBT_LEVEL * np.sqrt(product)) - log)
    stiffness = fit.scene**2 / variance + DOUBT + bands[2]
    return np.asarray((data + doubt - _penalise(bands, log)) / stiffness)


def test_a_ring_far_above_the_others_is_fitted_to_the_end() -> None:
    """Where the fit stops all is in balance; of a pair alone, and of one of many.

    A ring of few modes, far above the smooth curve through the others, once made the steps swing
    between two values, a factor of two and more apart, for as long as they were allowed to.
    """
    cross = np.array([49.5, 2.65, 0.375, 1.23, 0.815, 0.552, 0.078, 0.09, 0.2, 0.075, 0.146, 0.066])
    count = np.full(cross.size, 8.0)
    noise = np.geomspace(0.03, 0.018, cross.size)
    auto = cross + noise / 2
    fit = fit_spectra(xx=auto, yy=auto, xy=cross, residual=noise, count=count)
    assert left_over(fit, cross, count) == pytest.approx(0, abs=0.02)
    rows = [np.stack([v, v[::-1], 3 * v]) for v in (auto, auto, cross, noise)]
    scene, residual, share = fit_rings(*rows, count, None)
    for row, crossed in enumerate(rows[2]):
        one = Spectra(
            scene=scene[row], residual=residual[row], share=share[row, 0], coherence=crossed
        )
        assert left_over(one, crossed, count) == pytest.approx(0, abs=0.02)
    further = replace(fit, scene=2 * fit.scene)
    assert np.abs(left_over(further, cross, count)).max() > 0.05
