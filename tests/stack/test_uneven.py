"""Bars and misfit of a stack's frame are those of a pair, and so are its hot pixels."""

from __future__ import annotations

import numpy as np
import pytest

from coregister.estimator.fill import spikes, suspects
from coregister.estimator.uncertainty.covariance import spread_of
from coregister.estimator.uncertainty.misfit import distortion
from coregister.stack.rays import noise_beside, struck
from coregister.stack.uneven import Unevenness


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(50, 64), (12, 15, 14), (300,)])
def test_moments_taken_together_are_those_of_a_pair(shape, kind):
    rng = np.random.default_rng(0)
    ndim = len(shape)
    bright = np.linspace(0.5, 2, shape[0]).reshape(-1, *[1] * (ndim - 1))
    pulls = (rng.normal(size=(ndim, *shape)) * bright).astype(kind)
    root = rng.normal(size=(ndim, ndim))
    bread = 1e-5 * (root @ root.T + np.eye(ndim))
    near = 1e-4 if kind == np.float32 else 1e-9
    for tilt in (0.0, 0.5):  # evenly displaced, and not
        residual = rng.normal(size=shape) + tilt * pulls[0] * np.linspace(-1, 1, shape[-1])
        residual = residual.astype(kind)
        seen, pixels, chance = Unevenness(pulls).of(residual, bread)
        expected = spread_of(residual, pulls, bread)
        np.testing.assert_allclose(seen, expected.seen, rtol=near)
        assert pixels == pytest.approx(expected.dof, rel=near)
        assert chance == pytest.approx(distortion(residual, pulls), rel=0.01, abs=1e-12)
        assert (chance < 1e-3) == (tilt > 0)


@pytest.mark.parametrize("shape", [(128, 96), (64, 80), (20, 24, 28), (300,)])
def test_hot_pixels_are_those_of_a_pair(shape):
    rng = np.random.default_rng(3)
    found = 0
    for kind in (np.float32, np.float64):
        for _ in range(6):
            data = np.cumsum(rng.normal(size=shape), axis=0) + rng.normal(size=shape)
            noise = suspects(data).noise
            few = min(12, data.size // 100)
            places = rng.integers(0, data.size, few)
            data.flat[places] += rng.choice([-1, 1], few) * rng.uniform(5, 60, few) * noise
            data.flat[0] += 30 * noise
            data = data.astype(kind)
            assert noise_beside(data) == pytest.approx(suspects(data).noise, rel=1e-5)
            np.testing.assert_array_equal(struck(data), spikes(data, suspects(data)))
            found += int(struck(data).sum())
    assert found > 12
