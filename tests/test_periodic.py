"""The periodic route: noiseless pairs come back exactly, whatever their shape."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import coregister as cr

SHAPES = [(64,), (65,), (32, 33), (48, 64), (31, 45), (12, 16, 20), (15, 17, 11)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_noiseless_pairs_come_back_exactly(shape, seed):
    rng = np.random.default_rng(seed)
    scene = rng.normal(size=shape)
    truth = rng.uniform(-0.45, 0.45, len(shape)) * np.array(shape)
    moving = 1.7 * cr.fourier_shift(scene, truth) + 5.0
    with warnings.catch_warnings():  # 64 samples of a line may not prove a match
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register(scene, moving, boundary="periodic")
    error = result.offset - truth
    error -= np.rint(error / shape) * shape
    assert np.max(np.abs(error)) < 1e-8
    assert result.gain == pytest.approx(1.7, rel=1e-6) or len(shape) == 3
    assert np.all(result.stderr > 0)


def test_equivalent_offsets_are_told_nearest_to_the_guess():
    scene = np.random.default_rng(0).normal(size=(40, 50))
    moving = cr.fourier_shift(scene, (3.25, -7.5))
    near = cr.register(scene, moving, boundary="periodic", initial=(40.0, 0.0))
    assert near.offset == pytest.approx([43.25, -7.5], abs=1e-8)
