"""Beside the original: equal where it is right, and wrong where the migration page says so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import coregister as cr

pytestmark = pytest.mark.parity
fits = pytest.importorskip("astropy.io.fits", reason="extra fits")
pytest.importorskip("reproject", reason="extra fits")

from coregister.image_registration.FITS_tools import match_fits, register_fits  # noqa: E402


@pytest.fixture(scope="module")
def original(theirs):
    return theirs(".FITS_tools"), theirs(".chi2_shifts").chi2_shift


def pair(dec=0.0, rotation=0.0):
    """The same pixels; content of the second 2.25 px to the right and 1.5 px down."""
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    cards = {"NAXIS": 2, "NAXIS1": 64, "NAXIS2": 64, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
             "CRVAL1": 30.0, "CRVAL2": dec, "CRPIX1": 32.5, "CRPIX2": 32.5,
             "CD1_1": -0.001 * cos, "CD1_2": -0.001 * sin, "CD2_1": -0.001 * sin,
             "CD2_2": 0.001 * cos}  # fmt: skip
    y, x = np.mgrid[:64, :64]
    images = (
        50 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b in ((30, 33), (32.25, 31.5))
    )
    return [fits.PrimaryHDU(image, fits.Header(cards)) for image in images]


def both(original, **options):
    tools, method = original
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = tools.register_fits(*pair(**options), register_method=method)
    ours = register_fits(*pair(**options), register_method=cr.chi2_shift)
    return np.array(theirs, dtype=float), np.array(ours)


def test_on_the_equator_without_rotation_both_agree(original):
    theirs, ours = both(original)
    assert np.allclose(ours[:2], [2.25, -1.5], atol=1e-3)
    assert np.allclose(theirs[:2], ours[:2], atol=5e-3)
    assert np.allclose(theirs[2:4], ours[2:4], atol=5e-6)
    assert theirs[6] <= 0 < min(ours[4:])


def test_elsewhere_on_the_sky_the_original_is_wrong(original):
    theirs, ours = both(original, dec=60.0)
    assert np.allclose(theirs[2], ours[2] / 2, rtol=0.01)
    assert np.allclose(ours[2:4], [-0.0045, -0.0015], atol=5e-6)
    theirs, ours = both(original, rotation=90.0)
    assert np.allclose(theirs[2:4], 0, atol=1e-6)
    assert np.allclose(ours[2:4], [0.0015, -0.00225], atol=5e-6)


def test_the_images_are_projected_alike(original):
    one, two = pair(dec=40.0)
    two.header["CRPIX1"] += 3.4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = original[0].match_fits(one, two)
    ours = match_fits(one, two)
    assert np.allclose(theirs[1], ours[1], equal_nan=True)
    assert np.array_equal(theirs[0], ours[0])
