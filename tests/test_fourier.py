"""The Fourier tools against sums written out and finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.fft

from coregister.fourier import TrigPolynomial, fourier_shift, frequencies

SHAPES = [(7,), (8,), (7, 9), (8, 9), (9, 8), (8, 10), (4, 5, 6), (5, 4, 3)]


def random(shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape)


def polynomial(image):
    return TrigPolynomial(scipy.fft.rfftn(image) / image.size, image.shape)


def direct_value(image, position):
    """The function through the samples, all frequencies summed one by one."""
    spectrum = np.fft.fftn(image) / image.size
    total = 0.0
    for index in np.ndindex(image.shape):
        term = spectrum[index]
        for k, n, d in zip(index, image.shape, position, strict=True):
            if 2 * k == n:
                term *= np.cos(np.pi * d)
            else:
                term *= np.exp(2j * np.pi * (k if 2 * k < n else k - n) * d / n)
        total += term.real
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_frequencies_are_those_of_the_half_spectrum(shape):
    grids = frequencies(shape)
    assert np.broadcast_shapes(*(g.shape for g in grids)) == scipy.fft.rfftn(random(shape)).shape
    assert grids[-1].max() == pytest.approx(
        np.pi if shape[-1] % 2 == 0 else np.pi - np.pi / shape[-1]
    )


@pytest.mark.parametrize("shape", SHAPES)
class TestTrigPolynomial:
    def test_meets_the_samples(self, shape):
        image = random(shape)
        found = polynomial(image)
        np.testing.assert_allclose(found.samples(), image, atol=1e-13)
        np.testing.assert_allclose(found.grid([np.arange(n) for n in shape]), image, atol=1e-13)
        np.testing.assert_allclose(TrigPolynomial.from_samples(image).samples(), image, atol=1e-13)
        spectrum = scipy.fft.rfftn(image)
        direct = TrigPolynomial(spectrum, shape)
        expected = scipy.fft.irfftn(spectrum, s=shape) * image.size
        np.testing.assert_allclose(direct.samples(), expected, atol=1e-11)

    def test_between_the_samples_it_is_the_sum_of_its_waves(self, shape):
        image = random(shape)
        position = np.linspace(0.3, 1.7, len(shape))
        value, _, _ = polynomial(image).derivatives(position)
        assert value == pytest.approx(direct_value(image, position), abs=1e-13)

    def test_gradient_and_hessian_against_finite_differences(self, shape):
        found = polynomial(random(shape))
        position = np.linspace(-0.7, 2.2, len(shape))
        _, gradient, hessian = found.derivatives(position)
        step = 1e-5
        for axis, unit in enumerate(np.eye(len(shape))):
            above = found.derivatives(position + step * unit)
            below = found.derivatives(position - step * unit)
            slope = (above[0] - below[0]) / (2 * step)
            assert gradient[axis] == pytest.approx(slope, rel=1e-6, abs=1e-8)
            bend = (above[1] - below[1]) / (2 * step)
            np.testing.assert_allclose(hessian[axis], bend, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(hessian, hessian.T, rtol=1e-14)

    def test_taylor_predicts_the_values_around(self, shape):
        found = polynomial(random(shape))
        position = np.linspace(-0.7, 2.2, len(shape))
        coefficients = found.taylor(position, 20)
        assert coefficients.shape == (21,) * len(shape)
        for corner in itertools.product((-0.4, 0.3), repeat=len(shape)):
            predicted = coefficients
            for x in corner:
                predicted = x ** np.arange(21) @ predicted.reshape(21, -1)
                predicted = predicted.reshape((21,) * (round(np.log(predicted.size) / np.log(21))))
            value, _, _ = found.derivatives(position + np.array(corner))
            assert float(predicted) == pytest.approx(value, abs=1e-12)

    def test_density_counts_samples_in_a_pixel(self, shape):
        image = random(shape)
        dense = TrigPolynomial.from_samples(image, density=2)
        nodes = [np.arange(n) / 2 for n in shape]
        np.testing.assert_allclose(dense.grid(nodes), image, atol=1e-13)
        position = np.linspace(0.1, 0.9, len(shape))
        plain = polynomial(image)
        value, gradient, hessian = plain.derivatives(2 * position)
        found = dense.derivatives(position)
        assert found[0] == pytest.approx(value, abs=1e-13)
        np.testing.assert_allclose(found[1], 2 * gradient, atol=1e-12)
        np.testing.assert_allclose(found[2], 4 * hessian, atol=1e-11)

    def test_grid_is_the_value_at_each_node(self, shape):
        found = polynomial(random(shape))
        nodes = [np.array([-1.2, 0.4, 3.3])[: 2 + axis % 2] for axis in range(len(shape))]
        grid = found.grid(nodes)
        for index in np.ndindex(grid.shape):
            position = [node[i] for node, i in zip(nodes, index, strict=True)]
            assert grid[index] == pytest.approx(found.derivatives(position)[0], abs=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
class TestFourierShift:
    def test_whole_pixels_roll(self, shape):
        image = random(shape)
        offset = tuple(range(1, len(shape) + 1))
        rolled = np.roll(image, offset, tuple(range(len(shape))))
        np.testing.assert_allclose(fourier_shift(image, offset), rolled, atol=1e-13)

    def test_content_moves_towards_larger_indices(self, shape):
        image = random(shape)
        offset = np.linspace(0.3, 1.7, len(shape))
        found = fourier_shift(image, offset)
        expected = polynomial(image).grid(
            [np.arange(n) - d for n, d in zip(shape, offset, strict=True)]
        )
        np.testing.assert_allclose(found, expected, atol=1e-13)

    def test_there_and_back_loses_at_most_the_nyquist_waves(self, shape):
        offset = np.full(len(shape), 0.37)
        image = random(shape)
        back = fourier_shift(fourier_shift(image, offset), -offset)
        lost = np.abs(scipy.fft.fftn(back - image)) > 1e-10
        nyquist = np.zeros(shape, bool)
        for axis, n in enumerate(shape):
            if n % 2 == 0:
                np.moveaxis(nyquist, axis, 0)[n // 2] = True
        assert np.array_equal(lost, nyquist)

    def test_input_is_kept(self, shape):
        image = random(shape)
        kept = image.copy()
        fourier_shift(image, np.full(len(shape), 0.5))
        assert np.array_equal(image, kept)


def test_nyquist_moves_as_a_cosine():
    wave = np.cos(np.pi * np.arange(6))
    np.testing.assert_allclose(fourier_shift(wave, [0.25]), np.cos(np.pi / 4) * wave, atol=1e-15)
    value, gradient, hessian = polynomial(wave).derivatives([0.25])
    assert value == pytest.approx(np.cos(np.pi / 4))
    assert gradient[0] == pytest.approx(-np.pi * np.sin(np.pi / 4))
    assert hessian[0, 0] == pytest.approx(-(np.pi**2) * np.cos(np.pi / 4))
