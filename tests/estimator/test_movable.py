"""An image of which a window at any sub-pixel position can be taken."""

import numpy as np
import pytest
import scipy.fft

from coregister.estimator.movable import MovableImage


@pytest.mark.parametrize("shape", [(4,), (9, 5), (60, 48), (12, 7, 30)])
def test_an_image_continues_as_its_own_point_reflection_however_short_it_is(shape):
    data = np.random.default_rng(1).normal(size=shape) + 3
    movable = MovableImage(data, periodic=False)
    extended = scipy.fft.irfftn(movable.spectrum, s=movable.extended)
    widths = [
        (before, full - n - before)
        for n, full, before in zip(shape, movable.extended, movable.margins, strict=True)
    ]
    expected = np.pad(data - data.mean(), widths, mode="reflect", reflect_type="odd")
    for axis, (before, after) in enumerate(widths):
        fade = np.ones(expected.shape[axis])
        fade[:before] = np.sin(np.pi / 2 * (np.arange(before) + 0.5) / before) ** 2
        fade[-after:] = np.sin(np.pi / 2 * (np.arange(after) + 0.5) / after)[::-1] ** 2
        expected *= np.moveaxis(fade.reshape(-1, *[1] * (data.ndim - 1)), 0, axis)
    np.testing.assert_allclose(extended, expected, atol=1e-12 * np.abs(expected).max())
