"""Cross-correlation of two images."""

from __future__ import annotations

import numpy as np
import pytest

import coregister as cr
from coregister.image_registration.fft_tools import correlate2d, get_ffts


def brute(im1, im2, boundary):
    """The sum over pixels, lag by lag."""
    shape = tuple(np.maximum(im1.shape, im2.shape))
    first, second = np.zeros(shape), np.zeros(shape)
    first[: im1.shape[0], : im1.shape[1]] = im1
    second[: im2.shape[0], : im2.shape[1]] = im2
    result = np.zeros(shape)
    for row, column in np.ndindex(shape):
        lag = np.array([row - (shape[0] - 1) // 2, column - (shape[1] - 1) // 2])
        for place in np.ndindex(shape):
            other = lag + place
            if boundary == "wrap":
                other %= shape
            elif np.any(other < 0) or np.any(other >= shape):
                continue
            result[row, column] += first[tuple(other)] * second[place]
    return result


@pytest.mark.parametrize("boundary", ["wrap", "fill"])
@pytest.mark.parametrize(
    ("first", "second"), [((8, 8), (8, 8)), ((7, 9), (7, 9)), ((8, 5), (8, 5)), ((8, 6), (5, 9))]
)
def test_against_the_sum_over_pixels(first, second, boundary):
    rng = np.random.default_rng(1)
    im1, im2 = rng.normal(size=first), rng.normal(size=second)
    expected = brute(im1, im2, boundary)
    np.testing.assert_allclose(correlate2d(im1, im2, boundary), expected, atol=1e-12)
    unmoved = correlate2d(im1, im2, boundary, fftshift=False)
    lag = [-((n - 1) // 2) for n in expected.shape]
    np.testing.assert_allclose(unmoved, np.roll(expected, lag, (0, 1)), atol=1e-12)


def test_the_cross_spectrum():
    rng = np.random.default_rng(1)
    im1, im2 = rng.normal(size=(2, 8, 9))
    cross = correlate2d(im1, im2, return_fft=True, fftshift=False)
    np.testing.assert_allclose(cross, np.fft.fft2(im1) * np.conj(np.fft.fft2(im2)), atol=1e-12)
    power = correlate2d(im1, im1, return_fft=True)
    assert power[4, 4] == pytest.approx(im1.sum() ** 2)


def test_missing_pixels_count_as_zero_and_one_axis_is_fine():
    rng = np.random.default_rng(1)
    im1, im2 = rng.normal(size=(2, 7, 6))
    im1[2, 3] = np.nan
    np.testing.assert_array_equal(correlate2d(im1, im2), correlate2d(np.nan_to_num(im1), im2))
    np.testing.assert_allclose(
        correlate2d(im2[0], im2[1]), correlate2d(im2[:1], im2[1:2])[0], atol=1e-12
    )


def test_how_the_fft_is_done_changes_nothing():
    im1, im2 = np.random.default_rng(1).normal(size=(2, 7, 6))
    for options in ({"nthreads": 2}, {"use_numpy_fft": True}):
        np.testing.assert_allclose(correlate2d(im1, im2, **options), correlate2d(im1, im2))


def test_what_does_not_fit_is_refused():
    image = np.eye(4)
    with pytest.raises(cr.InputError, match="boundary"):
        correlate2d(image, image, "reflect")
    with pytest.raises(cr.InputError, match="same number of axes"):
        correlate2d(image, np.ones(4))
    with pytest.raises(cr.InputError, match="real images"):
        correlate2d(image * 1j, image)


@pytest.mark.parametrize("options", [{}, {"nthreads": 2}, {"use_numpy_fft": True}])
def test_get_ffts(options):
    fftn, ifftn = get_ffts(**options)
    cube = np.random.default_rng(1).normal(size=(3, 4, 5))
    np.testing.assert_allclose(fftn(cube), np.fft.fftn(cube), atol=1e-12)
    np.testing.assert_allclose(ifftn(fftn(cube)), cube, atol=1e-12)


def test_get_ffts_refuses_threads_that_numpy_has_not():
    with pytest.raises(cr.InputError, match="nthreads=2"):
        get_ffts(2, True)
