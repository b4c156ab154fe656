"""Shifts, zooms, upsampling: all of them values of the one polynomial through the samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import coregister as cr
from coregister.image_registration import MisuseWarning, fft_tools
from coregister.image_registration.fft_tools.scale import (
    fourier_interp1d,
    fourier_interp2d,
    fourier_interpnd,
)
from coregister.image_registration.fft_tools.shift import shift2d, shiftnd
from coregister.image_registration.fft_tools.zoom import zoom1d, zoom_on_pixel, zoomnd

SHAPES = [(8,), (9,), (8, 8), (7, 9), (8, 11), (6, 5, 4), (3, 4, 5)]
PLANE = [(8, 8), (7, 9), (8, 11), (9, 6)]


def image(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def dense(values, positions):
    """The sum over all waves, one by one; waves at a Nyquist frequency are cosines."""
    coefficients = np.fft.fftn(values) / values.size
    result = coefficients
    for axis, (n, points) in enumerate(zip(values.shape, positions, strict=True)):
        waves = np.exp(2j * np.pi * np.outer(points, np.fft.fftfreq(n)))
        if n % 2 == 0:
            waves[:, n // 2] = np.cos(np.pi * np.asarray(points))
        result = np.moveaxis(np.tensordot(waves, result, (1, axis)), 0, axis)
    return result.real


class TestShift:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_against_the_sum_over_waves(self, shape):
        values = image(shape)
        offset = np.array([1.3, -2.6, 0.5])[: len(shape)]
        expected = dense(values, [np.arange(n) - d for n, d in zip(shape, offset, strict=True)])
        np.testing.assert_allclose(shiftnd(values, tuple(offset)), expected, atol=1e-12)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_whole_pixels_are_a_roll(self, shape):
        values = image(shape)
        offset = (2, -3, 1)[: len(shape)]
        expected = np.roll(values, offset, range(len(shape)))
        np.testing.assert_allclose(shiftnd(values, offset), expected, atol=1e-12)

    @pytest.mark.parametrize("shape", PLANE)
    def test_x_first_in_two_dimensions(self, shape):
        values = image(shape)
        np.testing.assert_allclose(shift2d(values, 2, -1), np.roll(values, (-1, 2), (0, 1)))
        np.testing.assert_array_equal(shift2d(values, 1.3, -0.4), shiftnd(values, (-0.4, 1.3)))

    def test_pixels_without_a_value_are_zero_and_stay_in_the_input(self):
        values = image((9, 8))
        values[2, 3] = np.nan
        filled = np.nan_to_num(values)
        np.testing.assert_array_equal(shift2d(values, 0.5, 1), shift2d(filled, 0.5, 1))
        assert np.isnan(values[2, 3])
        values[2, 3] = np.inf
        np.testing.assert_array_equal(shift2d(values, 0.5, 1), shift2d(filled, 0.5, 1))
        masked = np.ma.masked_invalid(values)
        np.testing.assert_array_equal(shift2d(masked, 0.5, 1), shift2d(filled, 0.5, 1))

    def test_phase_modulus_and_complex(self):
        values = image((9, 8))
        moved = shift2d(values, 0.5, 1)
        np.testing.assert_allclose(shift2d(values, 0.5, 1, phase=1.0), np.cos(1) * moved)
        turned = shift2d(values, 0.5, 1, phase=1.0, return_real=False)
        np.testing.assert_allclose(turned, np.exp(-1j) * moved)
        np.testing.assert_allclose(shift2d(values, 0.5, 1, return_abs=True), abs(moved))
        assert shift2d(values, 0.5, 1, return_real=False).dtype == complex
        both = shift2d(values + 2j * values, 0.5, 1, return_real=False)
        np.testing.assert_allclose(both, (1 + 2j) * moved)
        assert shift2d(values, 0.5, 1).dtype == shift2d(values.astype("f4"), 0.5, 1).dtype == float

    @pytest.mark.parametrize("options", [{"nthreads": 2}, {"use_numpy_fft": True}])
    def test_how_the_fft_is_done_changes_nothing(self, options):
        values = image((9, 8))
        np.testing.assert_allclose(shift2d(values, 0.5, 1, **options), shift2d(values, 0.5, 1))

    def test_offsets_one_by_one_are_told(self):
        values = image((9, 8))
        with pytest.warns(MisuseWarning, match=r"shiftnd\(data, \(1.5, -2\)\).*shift2d") as told:
            result = shiftnd(values, 1.5, -2)
        assert told[0].filename == __file__
        np.testing.assert_array_equal(result, shiftnd(values, (1.5, -2)))

    @pytest.mark.parametrize("offset", [1.0, (1, 2, 3), (1, np.nan), ((1, 2),), ()])
    def test_an_offset_that_does_not_fit_is_refused(self, offset):
        with pytest.raises(cr.InputError, match="offset"):
            shiftnd(image((9, 8)), offset)

    def test_one_number_is_enough_for_one_axis(self):
        values = image((9,))
        np.testing.assert_array_equal(shiftnd(values, 2.5), shiftnd(values, (2.5,)))
        turned = shiftnd(values, 2.5, 1.0)  # here the third argument is the phase
        np.testing.assert_allclose(turned, np.cos(1) * shiftnd(values, 2.5))

    def test_shift2d_needs_two_axes(self):
        with pytest.raises(cr.InputError, match="3 axes"):
            shift2d(image((4, 4, 4)), 1, 1)


class TestInterpolation:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_against_the_sum_over_waves(self, shape):
        values = image(shape)
        vectors = [np.linspace(-2, 2 * n, 5 + axis) for axis, n in enumerate(shape)]
        expected = dense(values, vectors)
        np.testing.assert_allclose(fourier_interpnd(values, vectors), expected, atol=1e-12)
        grid = np.stack(np.meshgrid(*vectors, indexing="ij"))
        np.testing.assert_allclose(fourier_interpnd(values, grid), expected, atol=1e-12)
        result = fourier_interpnd(values, grid, return_real=False)
        assert result.dtype == complex
        np.testing.assert_allclose(result, expected, atol=1e-12)

    def test_at_the_samples(self):
        values = image((6, 5, 4))
        np.testing.assert_allclose(fourier_interpnd(values, np.indices(values.shape)), values)
        np.testing.assert_allclose(fourier_interp2d(values[0], np.indices((5, 4))), values[0])

    @pytest.mark.parametrize("n", [8, 9])
    @pytest.mark.parametrize("direction", [1, -1])
    def test_places_of_the_samples(self, n, direction):
        x = (10 + 0.5 * np.arange(n))[::direction]
        wave = np.cos(2 * np.pi * x / (0.5 * n))
        wanted = np.linspace(8, 18, 41)  # beyond both ends too
        expected = np.cos(2 * np.pi * wanted / (0.5 * n))
        np.testing.assert_allclose(fourier_interp1d(wave, wanted, x), expected, atol=1e-12)

    def test_uneven_places_are_joined_by_lines(self):
        values, x = image((5,)), np.array([0.0, 1, 3, 4, 8])
        at = fourier_interp1d(values, np.array([0.5, 2, 6, -1, 12]), x)
        expected = fourier_interp1d(values, np.array([0.5, 1.5, 3.5, -1, 5]))
        np.testing.assert_allclose(at, expected)
        backwards = fourier_interp1d(values[::-1], np.array([0.5, 2, 6, -1, 12]), x[::-1])
        # the series through the same points, the other way round
        np.testing.assert_allclose(backwards, at)

    @pytest.mark.parametrize("x", [[0, 2, 1, 3], [0, 1, 1, 2], [0, 1, 2], np.nan * np.ones(4)])
    def test_places_without_an_order_are_refused(self, x):
        with pytest.raises(cr.InputError, match="data_x"):
            fourier_interp1d(image((4,)), np.array([0.5]), x)

    def test_what_does_not_fit_is_refused(self):
        values = image((8, 9))
        y, x = np.indices((8, 9))
        for wrong in ((x + y, x - y), (x, y), (y, x + 0.1 * y), ([1, 2], y)):
            with pytest.raises(cr.InputError, match="outer grid"):
                fourier_interp2d(values, wrong)
        with pytest.raises(cr.InputError, match="2 axes"):
            fourier_interp2d(values, ([1, 2],))
        with pytest.raises(cr.InputError, match="1 is needed"):
            fourier_interp1d(values, np.array([1.0]))
        values[3, 4] = np.nan
        with pytest.raises(cr.InputError, match="1 pixels without a value"):
            fourier_interp2d(values, ([1], [2]))

    def test_one_row_of_an_array_is_a_vector_too(self):
        values = image((8, 9))
        both = fourier_interp2d(values, np.array([[1, 2, 3], [4, 5, 6]]))
        np.testing.assert_allclose(both, values[1:4, 4:7], atol=1e-12)


class TestZoom:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("usfac", [1, 3, 2.5])
    def test_values_and_places(self, shape, usfac):
        values = image(shape)
        centre = (2.25, 4, 1.5)[: len(shape)]
        outshape = (4, 5, 3)[: len(shape)]
        xouts, result = zoom_on_pixel(values, centre, usfac, outshape, return_xouts=True)
        assert xouts.shape == (len(shape), *outshape)
        assert result.shape == outshape
        for axis, (c, n) in enumerate(zip(centre, outshape, strict=True)):
            line = np.moveaxis(xouts[axis], axis, -1).reshape(-1, n)[0]
            np.testing.assert_allclose(line, c + (np.arange(n) - (n - 1) / 2) / usfac)
        np.testing.assert_allclose(result, fourier_interpnd(values, xouts), atol=1e-12)
        plain = zoom_on_pixel(values, centre, usfac, outshape)
        np.testing.assert_array_equal(plain, result)
        assert zoom_on_pixel(values, centre, return_real=False).dtype == complex

    @pytest.mark.parametrize("shape", SHAPES)
    def test_the_middle(self, shape):
        values = image(shape)
        np.testing.assert_allclose(zoomnd(values), values, atol=1e-12)
        offsets = (0.5, -1, 2)[: len(shape)]
        for convention in (float, math.floor, math.ceil):
            middle = [convention((n - 1) / 2) + o for n, o in zip(shape, offsets, strict=True)]
            result = zoomnd(values, offsets, convention, usfac=2)
            np.testing.assert_array_equal(result, zoom_on_pixel(values, middle, 2))

    def test_one_dimension(self):
        values = image((9,))
        x, result = zoom1d(values, 4, 7, offset=1.0, return_xouts=True)
        np.testing.assert_allclose(x, 5 + (np.arange(7) - 3) / 4)
        np.testing.assert_allclose(result, fourier_interp1d(values, x))
        np.testing.assert_array_equal(zoom1d(values, 4, 7, offset=1.0), result)
        assert zoom1d(values).shape == (9,)

    def test_one_number_for_the_shape_is_told(self):
        values = image((8, 9))
        with pytest.warns(MisuseWarning, match=r"taken as \(5, 5\)") as told:
            result = zoom_on_pixel(values, (4, 4), 2, 5)
        assert told[0].filename == __file__
        assert result.shape == (5, 5)
        assert zoom_on_pixel(values, (4, 4), 2, [5, 6]).shape == (5, 6)
        assert zoom1d(image((9,)), 2, 5).shape == (5,)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"outshape": (3,)}, "outshape"),
            ({"outshape": (0, 3)}, "outshape"),
            ({"outshape": (2.5, 3)}, "outshape"),
            ({"usfac": 0}, "usfac"),
            ({"coordinates": (1,)}, "coordinates"),
            ({"coordinates": (1, np.nan)}, "coordinates"),
            ({"inp": np.full((3, 3), np.nan)}, "without a value"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, options, words):
        with pytest.raises(cr.InputError, match=words):
            zoom_on_pixel(**{"inp": image((8, 9)), "coordinates": (4, 4)} | options)
        with pytest.raises(cr.InputError, match="offsets"):
            zoomnd(image((8, 9)), (1, 2, 3))


class TestUpsample:
    @pytest.mark.parametrize(("shape", "factor"), list(itertools.product(PLANE, [1, 2, 5])))
    def test_every_so_many_pixels_is_the_image(self, shape, factor):
        values = image(shape)
        result = fft_tools.upsample_image(values, factor)
        assert result.shape == (shape[0] * factor, shape[1] * factor)
        assert result.dtype == float
        np.testing.assert_allclose(result[::factor, ::factor], values, atol=1e-12)

    @pytest.mark.parametrize("shape", PLANE)
    def test_shifts_and_size(self, shape):
        values = image(shape)
        result = fft_tools.upsample_image(values, 3, (10, 12), xshift=2.5, yshift=-1)
        expected = dense(values, [(np.arange(10) + 1) / 3, (np.arange(12) - 2.5) / 3])
        np.testing.assert_allclose(result, expected, atol=1e-12)
        assert fft_tools.upsample_image(values, 3, 7).shape == (7, 7)
        both = fft_tools.upsample_image(values * (1 + 2j), 2)
        np.testing.assert_allclose(both, (1 + 2j) * fft_tools.upsample_image(values, 2))

    @pytest.mark.parametrize("shape", PLANE)
    def test_dftups_is_the_transform_between_its_samples(self, shape):
        values = image(shape)
        result = fft_tools.dftups(np.fft.ifft2(values), 10, 12, 3, roff=-1, coff=2.5)
        expected = fft_tools.upsample_image(values, 3, (10, 12), xshift=2.5, yshift=-1)
        assert result.dtype == complex
        np.testing.assert_allclose(result, expected, atol=1e-12)
        spectrum = np.fft.fft2(values)  # any complex array
        same = fft_tools.dftups(spectrum)
        np.testing.assert_allclose(same, np.fft.fft2(spectrum), atol=1e-10)

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(cr.InputError, match="without a value"):
            fft_tools.upsample_image(np.full((3, 3), np.nan))
        with pytest.raises(cr.InputError, match="1 axes"):
            fft_tools.upsample_image(image((9,)))
        with pytest.raises(cr.InputError, match="size of the result"):
            fft_tools.dftups(image((9, 9)), 0)
