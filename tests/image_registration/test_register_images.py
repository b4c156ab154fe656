"""The peak of the cross-correlation to a given fraction of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

import coregister as cr
from coregister.fourier import fourier_shift
from coregister.image_registration import dftregistration, register_images
from coregister.image_registration.tests import make_extended, make_offset_extended

SHAPES = [(64, 60), (33, 40), (41, 35), (64, 64), (63, 64)]
FACTORS = [1, 2, 3, 10, 100, 2.5]


@pytest.mark.parametrize("usfac", FACTORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_offset_is_the_node_next_to_the_truth(shape, usfac):
    image = make_extended(shape[1], shape[0], rng=3)
    answer = register_images(image, fourier_shift(image, (-2.7, 3.3)), usfac)
    assert isinstance(answer, list)
    nodes = np.rint(np.array([3.3, -2.7]) * usfac) / usfac
    assert answer == pytest.approx(nodes, abs=1e-9)
    assert all(np.asarray(a).dtype == (np.int64 if usfac == 1 else float) for a in answer)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_registered_image_is_the_first_one(shape):
    image = make_extended(shape[1], shape[0], rng=3)
    smooth = fourier_shift(image, (0.5, 0.5))  # without Nyquist waves
    moved = fourier_shift(smooth, (-2.7, 3.3))
    dx, dy, errx, erry, back = register_images(
        smooth, moved, 10, return_registered=True, return_error=True
    )
    assert (dx, dy) == pytest.approx((3.3, -2.7))
    assert errx == pytest.approx(0.1 / np.sqrt(12), rel=1e-6)
    assert erry == pytest.approx(0.1 / np.sqrt(12), rel=1e-6)
    assert back.dtype == float
    np.testing.assert_allclose(back, smooth, atol=1e-9)
    *_, back = register_images(image, np.roll(image, (2, -5), (0, 1)) + 10, return_registered=True)
    np.testing.assert_allclose(back, image + 10, atol=1e-9)


def test_the_error_is_that_of_the_noise_where_that_is_larger():
    image = make_extended(64, rng=3)
    moved = make_offset_extended(image, 3.3, -2.7, noise=20, rng=4)
    *_, errx, _ = register_images(image, moved, 1000, return_error=True)
    assert errx == pytest.approx(cr.chi2_shift(image, moved, 20.0, nfitted=1)[2], rel=0.15)


@pytest.mark.parametrize("usfac", [1, 2, 10])
def test_maxoff_counts_pixels_at_any_factor(usfac):
    image = make_extended(64, rng=3)
    moved = fourier_shift(image, (-2.7, 3.3))
    free = register_images(image, moved, usfac)
    assert register_images(image, moved, usfac, maxoff=4) == free
    dx, dy = register_images(image, moved, usfac, maxoff=2)
    assert abs(dx) <= 2
    assert abs(dy) <= 2
    assert register_images(image, moved, usfac, maxoff=0) == [0, 0]


def test_a_negative_is_found():
    image = make_extended(64, rng=3)
    moved = fourier_shift(image, (-2.7, 3.3))
    assert register_images(image, 7 - moved, 10) == pytest.approx([3.3, -2.7])
    *_, errx, _ = register_images(image, 7 - moved, 10, return_error=True)
    assert np.isfinite(errx)


@pytest.mark.parametrize("zeromean", [False, True])
def test_one_row_and_cubes(zeromean):
    rng = np.random.default_rng(1)
    row = rng.normal(size=(1, 65))
    moved = fourier_shift(row, (0, 3.28125))
    dx, dy = register_images(row, moved, usfac=32, maxoff=5, zeromean=zeromean)
    assert (dx, dy) == (3.28125, 0)
    cube = rng.normal(size=(9, 11, 13))
    moved = np.roll(cube, (1, 2, -3), (0, 1, 2))
    assert register_images(cube, moved) == [-3, 2, 1]


def test_missing_pixels_and_integers():
    image = np.rint(100 * make_extended(64, rng=3)).astype(np.int16)
    moved = np.roll(image, (2, -5), (0, 1)).astype(float)
    moved[3, 4:9] = np.nan
    dx, dy, back = register_images(image, moved, return_registered=True)
    assert (dx, dy) == (-5, 2)
    assert np.isfinite(back).all()


@pytest.mark.parametrize("usfac", [1, 10])
@pytest.mark.parametrize("shape", SHAPES)
def test_dftregistration_gives_what_moves_the_second_back(shape, usfac):
    image = make_extended(shape[1], shape[0], rng=3)
    moved = fourier_shift(image, (-2.7, 3.3))
    first, second = np.fft.fft2(image), np.fft.fft2(moved)
    dx, dy, errx, erry = register_images(image, moved, usfac, return_error=True)
    answer = dftregistration(first, second, usfac, return_error=True, return_registered=True)
    assert answer[:2] == [-dy, -dx]
    assert answer[2:4] == pytest.approx([erry, errx], rel=1e-6)
    expected = fourier_shift(moved, answer[:2])
    np.testing.assert_allclose(np.fft.ifft2(answer[4]), expected, atol=1e-9)
    flipped = dftregistration(first, -second, usfac, return_registered=True)[-1]
    np.testing.assert_allclose(np.fft.ifft2(flipped), expected, atol=1e-9)


@pytest.mark.parametrize("change", [np.fft.fftshift, lambda spectrum: spectrum * 1j])
def test_dftregistration_needs_real_images(change):
    spectrum = np.fft.fft2(make_extended(33, rng=3))
    with pytest.raises(cr.InputError, match="buf1ft is not the Fourier transform of a real image"):
        dftregistration(change(spectrum), spectrum)


def test_a_constant_image_is_told():
    image = make_extended(32, rng=3)
    with pytest.warns(cr.RegistrationWarning, match="constant"):
        assert register_images(image, np.ones((32, 32)), return_error=True) == [
            0,
            0,
            np.inf,
            np.inf,
        ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"usfac": 0}, "usfac"),
        ({"usfac": 0.5}, "usfac"),
        ({"usfac": "auto"}, "usfac"),
        ({"DEBUG": True}, "DEBUG"),
        ({"maxoff": -1}, "maxoff"),
        ({"nthreads": 0}, "nthreads"),
    ],
)
@pytest.mark.parametrize("function", [register_images, dftregistration])
def test_what_cannot_be_used_is_refused(function, options, words):
    image = np.fft.fft2(make_extended(32, rng=3))
    image = image if function is dftregistration else np.fft.ifft2(image).real
    with pytest.raises(cr.InputError, match=words):
        function(image, image, **options)
