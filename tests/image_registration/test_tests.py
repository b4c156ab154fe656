"""The images that a registration is tried on."""

from __future__ import annotations

import numpy as np
import pytest

import coregister as cr
from coregister.fourier import fourier_shift
from coregister.image_registration import tests


def test_the_extended_image_is_that_of_the_example_before_it_faded():
    spread = [tests.make_extended(128, rng=seed).std() for seed in range(20)]
    mean = [tests.make_extended(128, rng=seed).mean() for seed in range(20)]
    assert np.mean(spread) == pytest.approx(3.67, rel=0.1)
    assert np.mean(mean) == pytest.approx(7.06, rel=0.1)


def test_shape_seed_and_generator():
    assert tests.make_extended(30, 21, rng=1).shape == (21, 30)
    np.testing.assert_array_equal(
        tests.make_extended(32, rng=5), tests.make_extended(32, rng=np.random.default_rng(5))
    )
    assert not np.array_equal(tests.make_extended(32), tests.make_extended(32))


def test_the_power_law_is_that_of_the_field():
    steep, flat = (tests.make_extended(128, powerlaw=p, rng=1) for p in (3.0, 0.0))
    ratio = [np.std(np.diff(image)) / image.std() for image in (steep, flat)]
    assert ratio[0] < 0.5
    assert ratio[1] == pytest.approx(np.sqrt(2), rel=0.05)  # white


@pytest.mark.parametrize("shape", [(32, 32), (31, 40)])
def test_the_offset_image_is_displaced_and_noisy(shape):
    image = tests.make_extended(shape[1], shape[0], rng=1)
    clean = tests.make_offset_extended(image, 2.5, -1, noise=0)
    np.testing.assert_allclose(clean, fourier_shift(image, (-1, 2.5)), atol=1e-12)
    noisy = tests.make_offset_extended(image, 2.5, -1, noise=3, rng=2)
    assert np.std(noisy - clean) == pytest.approx(3, rel=0.1)
    tapered = tests.make_offset_extended(image, 2.5, -1, noise=3, noise_taper=True, rng=2)
    weight = np.sqrt((noisy - clean) / (tapered - clean))
    assert weight[15, 15] == pytest.approx(1, abs=0.01)
    assert weight[0, 15] == pytest.approx(0.54, abs=0.01)
    assert weight[0, 0] == pytest.approx(0.29, abs=0.01)


def test_the_tolerance_of_the_gaussian_is_three_times_the_bound():
    image, moved, tolerance = tests.make_offset_images(1.5, -2, 100, amp=50, noiseamp=2, rng=1)
    slope = np.gradient(image, axis=1)
    assert tolerance == pytest.approx(3 * 2 / np.sqrt(np.sum(slope**2)), rel=0.1)
    dx, dy = cr.chi2_shift(image, moved, 2.0, return_error=False)
    assert abs(dx - 1.5) < 1.5 * tolerance
    assert abs(dy + 2) < 1.5 * tolerance


def test_chi2_at_an_offset_is_the_sum_of_squares():
    image = tests.make_extended(33, 32, rng=1)
    moved = tests.make_offset_extended(image, 2.5, -1, noise=1, rng=2)
    expected = np.sum((moved - fourier_shift(image, (-0.5, 2))) ** 2) / 4
    assert tests.chi2(image, moved, 2, -0.5, err=2.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tests.make_extended(0), "imsize"),
        (lambda: tests.make_offset_extended(np.ones((9, 9)), 1, 1, mode="reflect"), "mode"),
        (lambda: tests.chi2(np.eye(9), np.eye(9), 0, 0, upsample=2), "upsample"),
    ],
)
def test_what_cannot_be_used_is_refused(call, words):
    with pytest.raises(cr.InputError, match=words):
        call()
