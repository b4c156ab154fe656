"""Modes are orthonormal, hold each wave once, and move frames as windows of them do."""

from __future__ import annotations

import numpy as np
import pytest

from coregister.estimator.movable import MovableImage
from coregister.stack.basis import Cosines, Waves, basis_of

SHAPES = [(8, 10), (9, 10), (8, 9), (12,), (13,), (6, 8, 10), (7, 8, 9)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [Cosines, Waves])
def test_modes_hold_the_field_and_its_products(kind, shape):
    rng = np.random.default_rng(0)
    basis = kind(shape, 2)
    first, second = rng.normal(size=(2, *shape))
    first, second = first - first.mean(), second - second.mean()
    modes, others = basis.modes(first.copy()), basis.modes(second.copy())
    np.testing.assert_allclose(basis.field(modes), first, atol=1e-12)
    assert modes @ others == pytest.approx(np.vdot(first, second))
    assert basis.rings.count.sum() == first.size - 1
    assert basis.rings.count @ basis.power(modes) == pytest.approx(modes @ modes)
    # a wave along the first axis has one frequency
    turns = np.cos(2 * np.pi * 2 * (np.arange(shape[0]) + 0.5) / shape[0])
    wave = np.ones(shape) * turns.reshape(-1, *[1] * (len(shape) - 1))
    energy = (basis.modes(wave) ** 2).reshape(basis.shape)
    mean = np.sum(energy * basis.squares[0]) / energy.sum()
    assert mean == pytest.approx((2 * np.pi * 2 / (2 * shape[0])) ** 2)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("step", [1, 2])
def test_a_frame_that_wraps_is_moved_in_its_waves(step, single):
    rng = np.random.default_rng(1)
    image = MovableImage(rng.normal(size=(64, 48)), periodic=True, step=step, single=single)
    shape = (64 // step, 48 // step)
    waves = basis_of(shape, step, periodic=True)
    assert isinstance(waves, Waves)
    for offset in (np.array([3.3, -7.8]), np.array([-40.0, 0.5])):
        whole = np.rint(offset).astype(int)
        (window,) = image.window(whole, shape, offset - whole)
        near = 1e-5 if single else 1e-12
        expected = waves.modes(window - window.mean()) / 2.0
        np.testing.assert_allclose(waves.moved(image, offset, 0.5), expected, atol=near)
        beside = waves.moved(image, offset + np.array([0.1, 0.0]), 0.5)
        assert np.max(np.abs(beside - expected)) > 1e-2


def test_slopes_are_those_of_the_window():
    rng = np.random.default_rng(3)
    image = MovableImage(rng.normal(size=(64, 48)), periodic=True, step=2)
    waves = basis_of((32, 24), 2, periodic=True)
    assert isinstance(waves, Waves)
    fields = image.window((0, 0), (32, 24), np.zeros(2), gradient=True)
    found = waves.with_slopes(image)
    for modes, field in zip(found, fields, strict=True):
        np.testing.assert_allclose(modes, waves.modes(field - field.mean()), atol=1e-12)
    assert np.max(np.abs(found[1] - found[2])) > 0.1
