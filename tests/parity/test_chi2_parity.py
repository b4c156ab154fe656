"""Beside the package whose documentation is followed: equal where it does what it says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import coregister as cr
from coregister.fourier import fourier_shift

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def original(theirs):
    """The module of the original functions."""
    return theirs(".chi2_shifts")


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


def pair(shape=(64, 60), offset=(1.3, -2.4), noise=20.0, seed=2):
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    k[0, 0] = np.inf
    im1 = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) / k, s=shape)
    im1 *= 30 / im1.std()
    err = noise * np.exp(0.3 * rng.normal(size=shape))
    return im1, fourier_shift(im1, offset) + err * rng.normal(size=shape), err


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("shape", [(64, 60), (33, 40), (41, 35)])
def test_the_whole_pixel_map_is_the_same(original, shape, array):
    im1, im2, err = pair(shape)
    err = err if array else 20.0
    expected = quiet(original.chi2n_map, im1, im2, err, return_all=True)
    for theirs, ours in zip(expected, cr.chi2n_map(im1, im2, err, return_all=True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.max(np.abs(theirs)))
    reduced = quiet(original.chi2n_map, im1, im2, err, reduced=True)
    np.testing.assert_allclose(cr.chi2n_map(im1, im2, err, reduced=True), reduced, rtol=1e-9)


@pytest.mark.parametrize("zeromean", [False, True])
@pytest.mark.parametrize("offset", [(1.3, -2.4), (-5.26, 0.13)])
@pytest.mark.parametrize("shape", [(63, 61), (64, 64)])
def test_the_answer_is_the_same_to_a_node_of_its_grid(original, shape, offset, zeromean):
    im1, im2, _ = pair(shape, offset)
    theirs = quiet(original.chi2_shift, im1, im2, 20.0, zeromean=zeromean)
    ours = cr.chi2_shift(im1, im2, 20.0, zeromean=zeromean)
    assert len(ours) == len(theirs) == 4
    # its grid: 1/256 px, its images without the Nyquist samples, its window off centre
    np.testing.assert_allclose(ours[:2], theirs[:2], atol=1 / 128)
    np.testing.assert_allclose(ours[2:], theirs[2:], atol=1 / 128)


def test_the_map_has_the_other_sign_and_the_same_minimum(original):
    im1, im2, _ = pair((63, 61))
    *_, (x, y, chi2) = quiet(original.chi2_shift, im1, im2, 20.0, return_chi2array=True)
    *_, (own_x, own_y, own) = cr.chi2_shift(im1, im2, 20.0, return_chi2array=True)
    theirs, ours = (np.unravel_index(array.argmin(), array.shape) for array in (chi2, own))
    assert own_x[ours] == pytest.approx(-x[theirs], abs=1 / 128)
    assert own_y[ours] == pytest.approx(-y[theirs], abs=1 / 128)
    assert 0 <= chi2.min() - own.min() < 0.05  # a node is near the minimum, not at it
    np.testing.assert_allclose(
        cr.chi2map_to_errors(chi2, 256), quiet(original.chi2map_to_errors, chi2, 256), atol=2 / 256
    )


@pytest.mark.parametrize("factor", [7, 100])
def test_the_pixel_of_the_map_and_its_shape(original, factor):
    im1, im2, _ = pair((32, 32))
    *_, (x, _, _) = quiet(
        original.chi2_shift, im1, im2, 20.0, upsample_factor=factor, return_chi2array=True
    )
    *_, (own_x, _, own) = cr.chi2_shift(
        im1, im2, 20.0, upsample_factor=factor, return_chi2array=True
    )
    assert own.shape == x.shape
    assert np.diff(own_x[0]) == pytest.approx(np.diff(x[0]))


class TestWhereItDiffersFromItsDocumentation:
    """What docs/chi2_shift.md lists: if one of these fails, the list is out of date."""

    def test_identical_images(self, original):
        im1, _, _ = pair()
        assert quiet(original.chi2_shift, im1, im1, 1.0)[:2] != [0, 0]
        assert cr.chi2_shift(im1, im1, 1.0)[:2] == [0, 0]

    def test_nfitted(self, original):
        im1, im2, _ = pair()
        theirs = [quiet(original.chi2_shift, im1, im2, 20.0, nfitted=n) for n in (1, 2)]
        assert theirs[0][2:] == pytest.approx(theirs[1][2:], abs=1e-12)
        one, two = (cr.chi2_shift(im1, im2, 20.0, nfitted=n)[2] for n in (1, 2))
        assert two / one == pytest.approx(1.515, rel=0.05)

    def test_boundary(self, original):
        im1, im2, _ = pair()
        plain = quiet(original.chi2_shift, im1 + 90, im2 + 90, 20.0)
        for boundary in ("constant", "reflect", "nearest"):
            assert quiet(original.chi2_shift, im1 + 90, im2 + 90, 20.0, boundary=boundary) == plain
            assert cr.chi2_shift(im1 + 90, im2 + 90, 20.0, boundary=boundary) != pytest.approx(
                plain
            )

    def test_no_errors(self, original):
        im1, im2, _ = pair()
        assert quiet(original.chi2_shift, im1, im2) == quiet(original.chi2_shift, im1, im2, 1.0)
        learnt, told = cr.chi2_shift(im1, im2)[2], cr.chi2_shift(im1, im2, 21.0)[2]
        assert learnt == pytest.approx(told, rel=0.1)

    def test_err_0(self, original):
        im1, im2, err = pair()
        err[20:40] = 0
        theirs = quiet(original.chi2_shift, im1.copy(), im2.copy(), err.copy())
        ours = cr.chi2_shift(im1, im2, err)
        assert np.hypot(theirs[0] + 2.4, theirs[1] - 1.3) > 0.5
        assert np.hypot(ours[0] + 2.4, ours[1] - 1.3) < 0.5

    def test_integers(self, original):
        im1, im2, err = pair(noise=2.0)
        im1, im2 = (np.clip(100 + image, 0, 255).astype(np.uint8) for image in (im1, im2))
        as_float = [image.astype(float) for image in (im1, im2)]
        theirs = quiet(original.chi2_shift, im1, im2, err.copy())
        assert theirs[0] != quiet(original.chi2_shift, *as_float, err.copy())[0]
        assert cr.chi2_shift(im1, im2, err) == cr.chi2_shift(*as_float, err)
