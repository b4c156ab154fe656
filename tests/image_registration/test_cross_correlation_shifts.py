"""The peak of the cross-correlation and its errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import coregister as cr
from coregister.fourier import fourier_shift
from coregister.image_registration import cross_correlation_shifts
from coregister.image_registration.tests import make_extended, make_offset_extended

SHAPES = [(64, 60), (33, 40), (41, 35), (64, 64), (63, 64)]


@pytest.mark.parametrize("offset", [(3.3, -2.7), (0.5, -0.5), (0, 0), (-12.25, 9.9), (15.9, 16.4)])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_exact_shift_is_found_exactly(shape, offset):
    image = make_extended(shape[1], shape[0], rng=3)
    moved = fourier_shift(image, offset[::-1])
    assert cross_correlation_shifts(image, moved) == pytest.approx(offset, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_and_itself(shape):
    image = make_extended(shape[1], shape[0], rng=3)
    dx, dy, errx, erry = cross_correlation_shifts(image, image, return_error=True)
    assert abs(dx) < 1e-9
    assert abs(dy) < 1e-9
    assert 0 < errx < 1e-9
    assert 0 < erry < 1e-9


def test_offsets_of_half_the_image_go_round():
    image = make_extended(64, rng=3)
    for offset in (31.8, 32.2, -31.8):
        dx, _ = cross_correlation_shifts(image, fourier_shift(image, (0, offset)))
        assert dx == pytest.approx((offset + 32) % 64 - 32, abs=1e-9)


def test_the_example_of_the_original():
    im1, im2 = np.zeros((10, 10)), np.zeros((10, 10))
    im1[4, 3] = im2[5, 5] = 1
    assert cross_correlation_shifts(im1, im2) == pytest.approx((2, 1), abs=1e-9)


def test_gain_background_and_missing_pixels():
    image = make_extended(65, rng=3)
    moved = fourier_shift(image, (-2, 3))
    expected = cross_correlation_shifts(image, moved)
    assert cross_correlation_shifts(image, 5 * moved + 100) == pytest.approx(expected, abs=1e-9)
    plain = cross_correlation_shifts(image + 50, moved, zeromean=False)
    assert plain == pytest.approx(expected, abs=1e-9)
    moved[10:13, 20:30] = np.nan
    before = moved.copy()
    assert cross_correlation_shifts(image, moved) == pytest.approx((3, -2), abs=0.1)
    np.testing.assert_array_equal(moved, before)


def test_maxoff_is_in_pixels_and_binds():
    image = make_extended(64, rng=3)
    moved = fourier_shift(image, (-2.7, 3.3))
    assert cross_correlation_shifts(image, moved, maxoff=4) == pytest.approx((3.3, -2.7), abs=1e-9)
    dx, dy = cross_correlation_shifts(image, moved, maxoff=2)
    assert abs(dx) <= 2
    assert abs(dy) <= 2
    dx, dy = cross_correlation_shifts(image, moved, maxoff=0)
    assert (dx, dy) == (0, 0)
    with pytest.raises(cr.InputError, match="maxoff"):
        cross_correlation_shifts(image, moved, maxoff=2.5)


def test_images_that_do_not_wrap():
    """Rows and columns of zeros around a spot: nothing enters, so the edges do not matter."""
    y, x = np.mgrid[:40, :37]
    first = np.exp(-((y - 8) ** 2 + (x - 30) ** 2) / 8)
    second = np.exp(-((y - 33.3) ** 2 + (x - 5.5) ** 2) / 8)  # more than half the image away
    found = cross_correlation_shifts(first, second, boundary="fill", return_error=True)
    assert found[:2] == pytest.approx((-24.5, 25.3), abs=0.02)
    told = cross_correlation_shifts(first, second, 0.1, np.full((40, 37), 0.1), 30, boundary="fill")
    assert told == pytest.approx(found[:2], abs=1e-9)
    wrapped = cross_correlation_shifts(first, second)
    assert wrapped == pytest.approx((12.5, -14.7), abs=0.05)


def pulls(scale=1.0, told=False, noise=(2.0, 4.0), n=300, gain=1.0):
    """Errors over bars; at this noise no wrong peak is found."""
    z = []
    for seed in range(n):
        rng = np.random.default_rng([seed, 7])
        image = make_extended(48, 40, rng=rng)
        truth = rng.uniform(-5, 5, 2)
        moved = gain * make_offset_extended(image, *truth, noise=0) + noise[1] * rng.normal(
            size=image.shape
        )
        image = image + noise[0] * rng.normal(size=image.shape)
        errors = noise if told else (None, None)
        *found, errx, erry = cross_correlation_shifts(image, moved, *errors, return_error=True)
        z.append((np.array(found) - truth) / np.array([errx, erry]) / scale)
    return np.array(z)


def credible(z):
    """Two-sided: the sum of squares inside the central 1 - 1e-3 interval of chi^2."""
    low, high = stats.chi2.interval(1 - 1e-3, z.size)
    return low < np.sum(z**2) < high and np.all(abs(z.mean(axis=0)) < 4 / np.sqrt(len(z)))


@pytest.mark.parametrize("noise", [(0.0, 2.0), (2.0, 0.0), (2.0, 2.0)])
@pytest.mark.parametrize("told", [False, True])
def test_the_errors_are_true(noise, told):
    assert credible(pulls(told=told, noise=noise, gain=1.7))


def test_errors_that_are_not_true_are_seen():
    z = pulls(noise=(2.0, 2.0))
    assert credible(z)
    assert not credible(z / 0.8)
    assert not credible(z / 1.25)


def test_an_array_of_errors_counts_where_it_is():
    image = make_extended(48, rng=3)
    moved = make_offset_extended(image, 2.3, 1.1, noise=1.0, rng=4)
    one = cross_correlation_shifts(image, moved, errim2=1.0, return_error=True)
    array = cross_correlation_shifts(image, moved, errim2=np.ones((48, 48)), return_error=True)
    assert array == pytest.approx(one)
    half = np.ones((48, 48))
    half[:24] = 0
    *_, errx, erry = cross_correlation_shifts(image, moved, errim2=half, return_error=True)
    assert 0.3 * one[2] < errx < one[2]
    assert 0.3 * one[3] < erry < one[3]


def test_along_stripes_nothing_is_known():
    image = np.broadcast_to(np.random.default_rng(1).normal(size=(1, 40)), (30, 40))
    dx, _, errx, erry = cross_correlation_shifts(image, np.roll(image, 3, 1), return_error=True)
    assert dx == pytest.approx(3, abs=1e-9)
    assert np.isfinite(errx)
    assert erry == np.inf


def test_a_constant_image_is_told():
    image = make_extended(32, rng=3)
    for first, second in ((image, np.ones((32, 32))), (np.zeros((32, 32)), image)):
        with pytest.warns(cr.RegistrationWarning, match="constant"):
            found = cross_correlation_shifts(first, second, return_error=True)
        assert found == (0, 0, np.inf, np.inf)


def test_verbose_prints(capsys):
    image = make_extended(32, rng=3)
    cross_correlation_shifts(image, image, verbose=True)
    assert "dx = " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gaussfit": True}, "gaussfit"),
        ({"boundary": "reflect"}, "boundary"),
        ({"image2": np.ones((32, 33))}, "shape"),
        ({"image1": np.ones((3, 32, 32)), "image2": np.ones((3, 32, 32))}, "3 axes"),
        ({"image2": np.full((32, 32), np.nan)}, "no pixel"),
        ({"image2": np.ones((32, 32)) * 1j}, "complex"),
        ({"errim1": -1.0}, "errim1"),
        ({"errim2": np.ones(3)}, "errim2"),
    ],
)
def test_what_cannot_be_used_is_refused(change, words):
    image = make_extended(32, rng=3)
    with pytest.raises(cr.InputError, match=words):
        cross_correlation_shifts(**{"image1": image, "image2": image} | change)
