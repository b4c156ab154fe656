"""chi^2 as scripts for the original call it."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import coregister as cr
from coregister.image_registration import MisuseWarning, chi2_shift, chi2_shift_iterzoom, chi2n_map
from coregister.image_registration.tests import make_extended, make_offset_extended

SHAPES = [(64, 60), (33, 40), (41, 35), (64, 64)]


def pair(shape=(64, 60), noise=1.0):
    image = make_extended(shape[1], shape[0], rng=3)
    return image, make_offset_extended(image, 3.3, -2.7, noise=noise, rng=4)


@pytest.mark.parametrize("name", ["chi2_shift", "chi2n_map"])
def test_the_signature_is_that_of_our_function_and_allow_huge(name):
    from coregister.image_registration import chi2_shifts

    ours = inspect.signature(getattr(chi2_shifts, name)).parameters
    core = inspect.signature(getattr(cr, name)).parameters
    assert [(p.name, p.default) for p in ours.values()] == [
        *((p.name, p.default) for p in core.values()),
        ("allow_huge", False),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_option_reaches_our_function(shape):
    im1, im2 = pair(shape)
    options = {
        "upsample_factor": 20,
        "boundary": "reflect",
        "nthreads": 2,
        "zeromean": True,
        "nfitted": 1,
        "return_chi2array": True,
        "max_auto_size": 20,
        "max_nsig": 2.0,
    }
    ours = chi2_shift(im1, im2, 1.5, allow_huge=True, **options)
    core = cr.chi2_shift(im1, im2, 1.5, **options)
    assert ours[:4] == core[:4]
    for mine, theirs in zip(ours[4], core[4], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(
        chi2n_map(im1, im2, 1.5, reduced=True, allow_huge=True),
        cr.chi2n_map(im1, im2, 1.5, reduced=True),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("err", [None, 1.0, "array"])
def test_iterzoom_is_the_same_answer(shape, err):
    im1, im2 = pair(shape)
    err = np.linspace(0.8, 1.2, im1.size).reshape(shape) if err == "array" else err
    assert chi2_shift_iterzoom(im1, im2, err, nfitted=1) == chi2_shift(im1, im2, err, nfitted=1)
    dx, dy = chi2_shift_iterzoom(im1, im2, err, return_error=False)
    assert [dx, dy] == pytest.approx([3.3, -2.7], abs=0.1)


def test_iterzoom_of_identical_images_is_nothing():
    image, _ = pair((64, 64))
    assert chi2_shift_iterzoom(image, image, return_error=False) == [0, 0]


def test_the_map_of_iterzoom():
    im1, im2 = pair()
    dx, dy, errx, _, (x, y, chi2) = chi2_shift_iterzoom(im1, im2, 1.0, return_chi2array=True)
    assert x.shape == y.shape == chi2.shape == (100, 100)
    place = np.unravel_index(chi2.argmin(), chi2.shape)
    assert (x[place], y[place]) == (dx, dy)
    step = x[0, 1] - x[0, 0]
    low, high, _, _ = cr.chi2map_to_errors(chi2, 1 / step)
    assert (low + high) / 2 == pytest.approx(errx, rel=0.01)
    small = chi2_shift_iterzoom(im1, im2, 1.0, rezoom_shape=[30, 30], return_chi2array=True)[-1]
    assert small[2].shape == (30, 30)


@pytest.mark.parametrize("shape", [(10, 20), (10,), (2, 2), (10.5, 10.5)])
def test_a_map_that_cannot_be_made_is_refused(shape):
    with pytest.raises(cr.InputError, match="rezoom_shape"):
        chi2_shift_iterzoom(*pair(), rezoom_shape=shape)


@pytest.mark.parametrize("function", [chi2_shift, chi2_shift_iterzoom, chi2n_map])
@pytest.mark.parametrize("err", [0, 0.0, np.zeros((64, 60))])
def test_err_of_zeros_is_taken_as_none(function, err):
    im1, im2 = pair()
    with pytest.warns(MisuseWarning, match="err=None") as caught:
        result = function(im1, im2, err)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(result, function(im1, im2))


def test_err_that_is_the_mean_of_an_image_is_told():
    im1, im2 = pair()
    for image, name in ((im1, "im1"), (im2, "im2")):
        with pytest.warns(MisuseWarning, match=f"mean of {name}"):
            result = chi2_shift(im1, im2, image.mean())
        assert result == cr.chi2_shift(im1, im2, image.mean())


def test_other_errors_are_not_warned_of():
    im1, im2 = pair()
    mask = np.ones_like(im1)
    mask[:5] = 0
    normal = im2 / im2.mean()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chi2_shift(im1, im2, 1.0)
        chi2_shift(im1, im2, mask)
        chi2_shift(im1, im2, 1.0001 * im2.mean())
        chi2_shift(im1 / im2.mean(), normal, 1.0)  # the mean is 1 too
        chi2_shift(im1, im2, mask.tolist())
