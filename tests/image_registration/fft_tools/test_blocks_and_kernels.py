"""Averages over blocks, and smoothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import coregister as cr
from coregister.image_registration.fft_tools import smooth
from coregister.image_registration.fft_tools.downsample import (
    downsample,
    downsample_1d,
    downsample_axis,
    downsample_cube,
)
from coregister.image_registration.fft_tools.smooth_tools import make_kernel

KERNELS = ["gaussian", "boxcar", "tophat", "airy", "brickwall", "trapezoid"]


class TestDownsample:
    @pytest.mark.parametrize("shape", [(12, 12), (13, 14), (7, 20)])
    @pytest.mark.parametrize("estimator", [np.nanmean, np.sum, np.median])
    def test_against_the_blocks(self, shape, estimator):
        image = np.random.default_rng(1).normal(size=shape)
        expected = [
            [estimator(image[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]) for j in range(shape[1] // 3)]
            for i in range(shape[0] // 3)
        ]
        np.testing.assert_allclose(downsample(image, 3, estimator), expected)

    def test_missing_pixels(self):
        image = np.arange(16.0).reshape(4, 4)
        image[0, 0] = np.nan
        image[2:, 2:] = np.nan
        np.testing.assert_allclose(downsample(image, 2), [[10 / 3, 4.5], [10.5, np.nan]])

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_cubes(self, axis):
        cube = np.random.default_rng(1).normal(size=(5, 6, 7))
        planes = np.stack([downsample(plane, 2) for plane in np.moveaxis(cube, axis, 0)])
        np.testing.assert_allclose(downsample_cube(cube, 2, axis), np.moveaxis(planes, 0, axis))

    def test_along_one_axis(self):
        x = np.outer(np.arange(10), np.ones(4))
        np.testing.assert_allclose(downsample_axis(x, 1, 0), x)
        np.testing.assert_allclose(downsample_axis(x, 2, 0)[:, 0], np.arange(0.5, 10, 2))
        np.testing.assert_allclose(downsample_axis(x, 3, 0)[:, 0], [1, 4, 7, 9])
        np.testing.assert_allclose(downsample_axis(x, 3, 0, truncate=True)[:, 0], [1, 4, 7])
        np.testing.assert_allclose(downsample_axis(x.T, 3, -1)[0], [1, 4, 7, 9])
        np.testing.assert_allclose(downsample_1d(np.arange(7), 3), [1, 4])

    def test_what_does_not_fit_is_refused(self):
        for call in (
            lambda: downsample(np.ones(4), 2),
            lambda: downsample_cube(np.ones((4, 4)), 2),
            lambda: downsample_1d(np.ones((4, 4)), 2),
        ):
            with pytest.raises(cr.InputError, match="axes"):
                call()
        for factor in (0, 2.5, 5):
            with pytest.raises(cr.InputError, match="factor"):
                downsample(np.ones((4, 4)), factor)


class TestKernel:
    @pytest.mark.parametrize("kind", KERNELS)
    @pytest.mark.parametrize("shape", [(21,), (20,), (21, 20), (11, 12, 13)])
    @pytest.mark.parametrize("width", [3, 4, 2.5])
    def test_it_is_symmetric_and_its_sum_is_one(self, kind, shape, width):
        kernel = make_kernel(shape, width, kind, trapslope=0.5)
        assert kernel.shape == shape
        assert kernel.sum() == pytest.approx(1)
        for axis, n in enumerate(shape):
            centred = kernel if n % 2 else np.delete(kernel, 0, axis)
            np.testing.assert_allclose(np.flip(centred, axis), centred, atol=1e-15)

    def test_shapes_of_the_kernels(self):
        r = np.abs(np.arange(-10, 11))
        gauss = make_kernel((21,), 3, normalize_kernel=np.max)
        np.testing.assert_allclose(gauss, np.exp(-(r**2) / 18))
        np.testing.assert_allclose(make_kernel((21,), 3, "boxcar") * 3, r <= 1)
        np.testing.assert_allclose(make_kernel((21,), 4, "tophat", normalize_kernel=False), r < 4)
        trapezoid = make_kernel((21,), 4, "trapezoid", 0.25, normalize_kernel=np.max)
        np.testing.assert_allclose(trapezoid, np.clip(2 - r / 4, 0, 1))
        airy = make_kernel((41, 41), 2, "airy", normalize_kernel=np.max)
        assert abs(airy[20, 20 + 8]) < 0.06  # its first zero lies at 3.83 widths
        assert make_kernel((20, 21), 3, force_odd=True).shape == (19, 21)

    @pytest.mark.parametrize(
        "call",
        [
            lambda: make_kernel((9,), 3, "triangle"),
            lambda: make_kernel((9,), 3, "trapezoid"),
            lambda: make_kernel((9,), 0),
        ],
    )
    def test_what_does_not_fit_is_refused(self, call):
        with pytest.raises(cr.InputError):
            call()


class TestSmooth:
    @pytest.mark.parametrize("shape", [(40, 40), (41, 37), (40, 51)])
    @pytest.mark.parametrize("psf_pad", [True, False])
    def test_against_a_filter_in_real_space(self, shape, psf_pad):
        image = np.random.default_rng(1).normal(size=shape)
        mode = "constant" if psf_pad else "wrap"
        expected = ndimage.gaussian_filter(image, 3, mode=mode, truncate=6)
        result = smooth(image, 3, nwidths=12, psf_pad=psf_pad)
        np.testing.assert_allclose(result, expected, atol=1e-6)
        expected = ndimage.uniform_filter(image, 5, mode=mode)
        result = smooth(image, 5, "boxcar", psf_pad=psf_pad)
        np.testing.assert_allclose(result, expected, atol=1e-12)

    @pytest.mark.parametrize("kind", KERNELS)
    @pytest.mark.parametrize("width", [3, 4])
    @pytest.mark.parametrize("n", [40, 41])
    def test_nothing_is_displaced(self, n, width, kind):
        spot = np.zeros((n, n))
        spot[20, 20] = 1
        result, kernel = smooth(spot, width, kind, 0.5, return_kernel=True)
        weight = np.abs(result)
        y, x = np.indices(spot.shape)
        inner = (abs(y - 20) < 18) & (abs(x - 20) < 18)
        assert np.average(y[inner], weights=weight[inner]) == pytest.approx(20, abs=1e-9)
        assert np.average(x[inner], weights=weight[inner]) == pytest.approx(20, abs=1e-9)
        assert kernel.shape == (n + n % 2, n + n % 2)

    def test_missing_pixels_leave_their_neighbours_alone(self):
        image = np.full((30, 30), 7.0)
        image[10, 12] = image[3, 3] = np.nan
        result = smooth(image, 2, psf_pad=False)
        assert np.isnan(result[10, 12])
        np.testing.assert_allclose(result[np.isfinite(image)], 7)
        filled = smooth(image, 2, psf_pad=False, interp_nan=True)
        np.testing.assert_allclose(filled, 7)
        image[5:25, 5:25] = np.nan
        assert np.isnan(smooth(image, 1, "tophat", nwidths=4, interp_nan=True)[15, 15])

    def test_blocks_afterwards_and_words(self, capsys):
        image = np.random.default_rng(1).normal(size=(30, 30))
        np.testing.assert_allclose(
            smooth(image, 3, downsample=True), downsample(smooth(image, 3), 3)
        )
        small = smooth(image, 3, downsample=True, downsample_factor=5, silent=False)
        assert small.shape == (6, 6)
        assert "gaussian" in capsys.readouterr().out

    def test_a_kernel_larger_than_the_image(self):
        image = np.ones((10, 10))
        result, kernel = smooth(image, 3, psf_pad=False, return_kernel=True)
        assert kernel.shape == (18, 18)
        np.testing.assert_allclose(result, 1)

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(cr.InputError, match="1 axes"):
            smooth(np.ones(9))
        with pytest.raises(cr.InputError, match="complex"):
            smooth(np.ones((9, 9)) * 1j)
        with pytest.raises(cr.InputError, match="nwidths"):
            smooth(np.ones((90, 90)), nwidths="all")
