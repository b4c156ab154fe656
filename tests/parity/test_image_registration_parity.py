"""The other functions beside the originals: equal where those are right, right where they are not.

What is wrong there is asserted too: if such a test fails, the migration page is out of date.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import coregister as cr
import coregister.image_registration as ours
from coregister.fourier import fourier_shift
from coregister.image_registration.tests import make_extended, make_offset_extended

pytestmark = pytest.mark.parity

PLANE = [(64, 60), (33, 40), (41, 35)]
MODULES = {
    "top": "",
    "shift": ".fft_tools.shift",
    "zoom": ".fft_tools.zoom",
    "scale": ".fft_tools.scale",
    "upsample": ".fft_tools.upsample",
    "correlate": ".fft_tools.correlate2d",
    "downsample": ".fft_tools.downsample",
    "smooth": ".fft_tools.smooth_tools",
    "chi2": ".chi2_shifts",
    "register": ".register_images",
    "tests": ".tests",
}


@pytest.fixture(scope="module")
def original(theirs):
    """The modules of the original."""
    return SimpleNamespace(**{name: theirs(path) for name, path in MODULES.items()})


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


def image(shape, seed=3):
    return make_extended(shape[1], shape[0], rng=seed)


def displaced(shape, offset=(3.3, -2.7)):
    first = image(shape)
    return first, fourier_shift(first, offset[::-1])


def without_nyquist(shape):
    """Waves at the Nyquist frequencies of even axes have no direction: see below."""
    return fourier_shift(image(shape), (0.5, 0.5))


class TestEqual:
    """Where the original is right, on even, odd and rectangular images."""

    @pytest.mark.parametrize("shape", PLANE)
    @pytest.mark.parametrize("phase", [0, 0.7])
    def test_shift(self, original, shape, phase):
        data = without_nyquist(shape)
        theirs = quiet(original.shift.shift2d, data, 1.3, -2.6, phase=phase)
        mine = ours.fft_tools.shift2d(data, 1.3, -2.6, phase=phase)
        np.testing.assert_allclose(mine, theirs, atol=1e-10)
        theirs = quiet(original.shift.shiftnd, data, (1.3, -2.6), phase=phase, return_real=False)
        mine = ours.fft_tools.shiftnd(data, (1.3, -2.6), phase=phase, return_real=False)
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, atol=1e-10)

    def test_shift_with_missing_pixels(self, original):
        data = image((41, 35))
        data[3, 4] = np.nan
        theirs = quiet(original.shift.shift2d, data, 1.3, -2.6)
        np.testing.assert_allclose(ours.fft_tools.shift2d(data, 1.3, -2.6), theirs, atol=1e-10)

    def test_shift_of_cubes(self, original):
        data = np.random.default_rng(1).normal(size=(7, 8, 9))
        theirs = quiet(original.shift.shiftnd, data, (0.5, -1.2, 2))
        np.testing.assert_allclose(ours.fft_tools.shiftnd(data, (0.5, -1.2, 2)), theirs, atol=1e-10)

    @pytest.mark.parametrize("shape", PLANE)
    @pytest.mark.parametrize("usfac", [1, 4])
    def test_zoom(self, original, shape, usfac):
        data = without_nyquist(shape)
        for outshape in (None, (9, 12)):
            options = {"usfac": usfac, "outshape": outshape, "return_xouts": True}
            theirs = quiet(original.zoom.zoom_on_pixel, data, (12.3, 20), **options)
            mine = ours.fft_tools.zoom.zoom_on_pixel(data, (12.3, 20), **options)
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-10)
            theirs = quiet(original.zoom.zoomnd, data, (1.5, -2), **options)
            mine = ours.fft_tools.zoom.zoomnd(data, (1.5, -2), **options)
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-10)
        theirs = quiet(original.zoom.zoom1d, data[0], usfac, 7, 1.5, return_xouts=True)
        mine = ours.fft_tools.zoom.zoom1d(data[0], usfac, 7, 1.5, return_xouts=True)
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)

    @pytest.mark.parametrize("shape", PLANE)
    def test_upsample(self, original, shape):
        data = without_nyquist(shape)
        options = {"upsample_factor": 3, "output_size": (20, 30), "xshift": 2, "yshift": -5}
        theirs = quiet(original.upsample.upsample_image, data, **options)
        mine = ours.fft_tools.upsample_image(data, **options)
        np.testing.assert_allclose(mine, theirs, atol=1e-10)
        assert quiet(original.upsample.upsample_image, data, 2).shape == (
            ours.fft_tools.upsample_image(data, 2).shape
        )
        theirs = quiet(original.upsample.dftups, np.fft.ifft2(data), 20, 30, 3, -5, 2)
        mine = ours.fft_tools.dftups(np.fft.ifft2(data), 20, 30, 3, -5, 2)
        np.testing.assert_allclose(mine.real, theirs, atol=1e-10)

    @pytest.mark.parametrize("shape", PLANE)
    def test_interpolation(self, original, shape):
        data = without_nyquist(shape)
        vectors = [np.linspace(-3, 50, 17), np.linspace(1, 9, 5)]
        grid = np.stack(np.meshgrid(*vectors, indexing="ij"))
        for positions in (vectors, grid):
            theirs = quiet(original.scale.fourier_interp2d, data, positions)
            mine = ours.fft_tools.scale.fourier_interp2d(data, positions)
            np.testing.assert_allclose(mine, theirs, atol=1e-10)
        x = np.cumsum(np.linspace(1, 2, shape[1]))
        for known in (None, x):
            wanted = np.linspace(x[0], x[-1], 30)
            theirs = quiet(original.scale.fourier_interp1d, data[0], wanted, known)
            mine = ours.fft_tools.scale.fourier_interp1d(data[0], wanted, known)
            np.testing.assert_allclose(mine, theirs, atol=1e-10)

    @pytest.mark.parametrize("shape", PLANE)
    @pytest.mark.parametrize("boundary", ["wrap", "fill"])
    def test_correlate2d(self, original, shape, boundary):
        first, second = image(shape, 3), image(shape, 4)
        first[2, 3] = np.nan
        theirs = quiet(original.correlate.correlate2d, first, second, boundary=boundary)
        mine = ours.fft_tools.correlate2d(first, second, boundary=boundary)
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)

    @pytest.mark.parametrize("shape", PLANE)
    def test_downsample_and_kernel(self, original, shape):
        data = image(shape)
        data[2, 3] = np.nan
        for estimator in (np.nanmean, np.sum):
            theirs = quiet(original.downsample.downsample, data, 3, estimator)
            np.testing.assert_allclose(
                ours.fft_tools.downsample.downsample(data, 3, estimator), theirs
            )
        theirs = quiet(original.smooth.make_kernel, (20, 24), 3)
        np.testing.assert_allclose(ours.fft_tools.smooth_tools.make_kernel((20, 24), 3), theirs)

    @pytest.mark.parametrize("shape", PLANE)
    @pytest.mark.parametrize("usfac", [1, 10, 100])
    def test_register_images(self, original, shape, usfac):
        first, second = displaced(shape)
        theirs = quiet(original.top.register_images, first, second, usfac)
        mine = ours.register_images(first, second, usfac)
        assert type(mine) is type(theirs)
        assert mine == pytest.approx(theirs, abs=1.01 / usfac)  # a node of its own grid
        assert np.asarray(mine[0]).dtype == np.asarray(theirs[0]).dtype
        spectra = np.fft.fft2(first), np.fft.fft2(second)
        theirs = quiet(original.register.dftregistration, *spectra, usfac)
        assert ours.dftregistration(*spectra, usfac) == pytest.approx(theirs, abs=1.01 / usfac)

    def test_cross_correlation_shifts_of_whole_pixels_on_even_axes(self, original):
        first = image((64, 60))
        second = np.roll(first, (2, -5), (0, 1))
        theirs = quiet(original.top.cross_correlation_shifts, first, second)
        mine = ours.cross_correlation_shifts(first, second)
        assert type(mine) is type(theirs)
        assert mine == pytest.approx((-5, 2), abs=1e-9)
        assert theirs == pytest.approx((-5, 2), abs=0.01)


class TestWhereItIsWrong:
    """The defects, and what is returned here."""

    def test_iterzoom_has_no_call_that_works(self, original):
        first, second = displaced((41, 35))
        with pytest.raises(NameError, match="allow_huge"):
            quiet(original.top.chi2_shift_iterzoom, first, second)
        found = ours.chi2_shift_iterzoom(first, second, return_error=False)
        assert found == pytest.approx([3.3, -2.7], abs=1e-9)

    @pytest.mark.parametrize("shape", [(41, 35), (35, 41)])
    def test_cross_correlation_shifts_is_half_a_pixel_off_on_odd_axes(self, original, shape):
        first, second = displaced(shape)
        theirs = quiet(original.top.cross_correlation_shifts, first, first)
        assert theirs == pytest.approx((0.5, 0.5), abs=0.01)
        assert ours.cross_correlation_shifts(first, first) == pytest.approx((0, 0), abs=1e-9)
        assert ours.cross_correlation_shifts(first, second) == pytest.approx((3.3, -2.7), abs=1e-9)

    def test_cross_correlation_shifts_is_biased_between_pixels(self, original):
        first, second = displaced((64, 60))
        theirs = quiet(original.top.cross_correlation_shifts, first, second)
        assert abs(theirs[0] - 3.3) > 0.05
        assert ours.cross_correlation_shifts(first, second) == pytest.approx((3.3, -2.7), abs=1e-9)

    def test_cross_correlation_shifts_errors_and_maxoff(self, original):
        first = image((64, 60))
        second = make_offset_extended(first, 3.3, -2.7, noise=0.3, rng=1)
        function = original.top.cross_correlation_shifts
        theirs = quiet(function, first, second, return_error=True)
        mine = ours.cross_correlation_shifts(first, second, return_error=True)
        assert theirs[2] > 0.1
        assert 0 < mine[2] < 0.01
        assert abs(mine[0] - 3.3) < 4 * mine[2]
        with pytest.raises(TypeError):
            quiet(function, first, second, maxoff=5)
        assert ours.cross_correlation_shifts(first, second, maxoff=5) == pytest.approx(mine[:2])
        with pytest.raises(ImportError):
            quiet(function, first, second, gaussfit=True)

    def test_maxoff_of_register_images_counts_half_pixels(self, original):
        first, second = displaced((64, 64))
        theirs = quiet(original.top.register_images, first, second, 100, maxoff=5)
        assert abs(theirs[0] - 3.3) > 0.04
        assert ours.register_images(first, second, 100, maxoff=5) == pytest.approx([3.3, -2.7])

    @pytest.mark.parametrize("shape", [(41, 35), (64, 60)])
    def test_the_registered_image_is_of_no_use(self, original, shape):
        first, second = displaced(shape)
        theirs = quiet(original.top.register_images, first, second, 10, return_registered=True)[-1]
        mine = ours.register_images(first, second, 10, return_registered=True)[-1]
        assert np.std(theirs - first) > first.std()
        assert np.std(mine - first) < 0.1 * first.std()

    def test_the_errors_of_register_images_are_its_step(self, original):
        first, second = displaced((41, 35))
        theirs = quiet(original.top.register_images, first, second, 10, return_error=True)
        assert theirs[2:] == [0.1, 0.1]
        mine = ours.register_images(first, second, 10, return_error=True)
        assert mine[2:] == pytest.approx([0.1 / np.sqrt(12)] * 2, rel=1e-3)

    def test_err_of_zeros(self, original):
        first, second = displaced((64, 60))
        theirs = quiet(original.top.chi2_shift, first, second, np.zeros_like(first))
        assert abs(theirs[0] - 3.3) > 1
        with pytest.warns(ours.MisuseWarning):
            mine = ours.chi2_shift(first, second, np.zeros_like(first))
        assert mine[:2] == pytest.approx([3.3, -2.7], abs=1e-6)

    def test_return_abs(self, original):
        data = image((41, 35)) - 20
        assert quiet(original.shift.shift2d, data, 1.5, 0, return_abs=True).min() < 0
        assert ours.fft_tools.shift2d(data, 1.5, 0, return_abs=True).min() >= 0

    def test_the_corner_of_even_axes(self, original):
        board = (-1.0) ** np.add.outer(np.arange(6), np.arange(8))  # Nyquist waves both ways
        theirs = quiet(original.shift.shift2d, board, 0.3, -0.3)
        np.testing.assert_allclose(theirs, board)  # as if it had a direction
        mine = ours.fft_tools.shift2d(board, 0.3, -0.3)
        np.testing.assert_allclose(mine, np.cos(0.3 * np.pi) ** 2 * board)

    def test_the_upsampled_image_is_complex_on_even_axes(self, original):
        data = image((64, 60))
        theirs = quiet(original.upsample.upsample_image, data, 2)
        assert np.abs(theirs.imag).max() > 0.1
        assert ours.fft_tools.upsample_image(data, 2).dtype == float

    def test_interpolation_in_other_than_two_dimensions(self, original):
        cube = np.random.default_rng(1).normal(size=(4, 5, 6))
        positions = ([1, 2], [3], [4, 5])
        for data, where in ((cube, positions), (cube[0], positions[1:])):
            with pytest.raises(IndexError):
                quiet(original.scale.fourier_interpnd, data, where)
        mine = ours.fft_tools.scale.fourier_interpnd(cube, positions)
        np.testing.assert_allclose(mine, cube[1:3, 3:4, 4:6], atol=1e-12)
        with pytest.raises(NotImplementedError):
            quiet(original.zoom.zoomnd, cube)
        np.testing.assert_allclose(ours.fft_tools.zoom.zoomnd(cube), cube, atol=1e-12)

    def test_falling_places_of_samples(self, original):
        x = np.linspace(7, 0, 8)
        wave, wanted = np.cos(2 * np.pi * x / 8), np.array([0.0, 1, 2])
        expected = np.cos(2 * np.pi * wanted / 8)
        theirs = quiet(original.scale.fourier_interp1d, wave, wanted, x)
        assert np.abs(theirs - expected).max() > 0.2
        mine = ours.fft_tools.scale.fourier_interp1d(wave, wanted, x)
        np.testing.assert_allclose(mine, expected, atol=1e-12)

    def test_positions_that_are_no_outer_grid(self, original):
        y, x = np.indices((8, 8))
        wave, turned = np.cos(2 * np.pi * x / 8), np.stack([y - x, y + x])
        theirs = quiet(original.scale.fourier_interp2d, wave, turned)
        assert np.abs(theirs - np.cos(2 * np.pi * turned[1] / 8)).max() > 1
        with pytest.raises(cr.InputError, match="outer grid"):
            ours.fft_tools.scale.fourier_interp2d(wave, turned)

    def test_correlations_of_two_shapes_and_documented_options(self, original):
        first, second = np.ones((8, 6)), np.ones((5, 9))
        assert quiet(original.correlate.correlate2d, first, second).shape == (8, 6)
        assert ours.fft_tools.correlate2d(first, second).shape == (8, 9)
        with pytest.raises(TypeError):
            quiet(original.correlate.correlate2d, first, first, fftshift=False)
        assert ours.fft_tools.correlate2d(first, first, fftshift=False)[0, 0] == 48

    def test_downsample_but_for_images(self, original):
        module = ours.fft_tools.downsample
        with pytest.raises(NameError):
            original.downsample.downsample_cube(np.ones((4, 4, 4)), 2)
        assert module.downsample_cube(np.ones((4, 4, 4)), 2).shape == (4, 2, 2)
        with pytest.raises(UnboundLocalError):
            original.downsample.downsample_1d(np.arange(4.0), 2)
        np.testing.assert_allclose(module.downsample_1d(np.arange(4.0), 2), [0.5, 2.5])
        with pytest.raises(IndexError):
            quiet(original.downsample.downsample_axis, np.eye(4), 2, 0)
        assert module.downsample_axis(np.eye(4), 2, 0).shape == (2, 4)

    def test_smoothing(self, original):
        data = image((40, 40))
        with pytest.raises(AttributeError, match="has_key"):
            quiet(original.smooth.smooth, data, 3)
        assert ours.fft_tools.smooth(data, 3).std() < data.std()
        for kind, error in (("boxcar", IndexError), ("airy", NameError)):
            with pytest.raises(error):
                quiet(original.smooth.make_kernel, (20, 20), 3, kind)
            assert ours.fft_tools.smooth_tools.make_kernel((20, 20), 3, kind).sum() == (
                pytest.approx(1)
            )
        theirs = quiet(original.smooth.make_kernel, (20,), 4, "tophat")
        x = np.arange(20)
        assert np.average(x, weights=theirs) == pytest.approx(9.5)  # the pixel n // 2 is 10
        mine = ours.fft_tools.smooth_tools.make_kernel((20,), 4, "tophat")
        assert np.average(x, weights=mine) == pytest.approx(10)

    def test_the_sample_image_faded_and_its_example_is_lost_in_noise(self, original):
        np.random.seed(1)  # noqa: NPY002 - the source of the original
        theirs = quiet(original.tests.make_extended, 100)
        mine = make_extended(100, rng=1)
        assert mine.std() / theirs.std() == pytest.approx(100**2, rel=0.3)
        moved = quiet(original.tests.make_offset_extended, theirs, 4.76666, -12.33333, noise=0.1)
        dx, *_ = quiet(original.top.chi2_shift, theirs, moved)
        assert abs(dx - 4.76666) > 0.5
        moved = make_offset_extended(mine, 4.76666, -12.33333, noise=0.1, rng=2)
        dx, dy, errx, erry = ours.chi2_shift(mine, moved)
        assert abs(dx - 4.76666) < 3 * errx < 0.01
        assert abs(dy + 12.33333) < 3 * erry < 0.01
