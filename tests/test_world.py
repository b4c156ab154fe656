"""Places on the sky agree after the correction, whatever the projection and the distortion."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import astropy.wcs
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDDataArray, StdDevUncertainty
from astropy.wcs import WCS, DistortionLookupTable, Sip
from scipy.stats import chi2

import coregister as cr

TRUTH = np.array([3.3, -2.2])


def images(seed=0, side=64):
    rng = np.random.default_rng(seed)
    scene = cr.random_scene("power-law-2", (2 * side, 2 * side), rng=rng)
    return cr.simulate_pair(scene, TRUTH, noise=0.1, rng=rng, shape=(side, side))


def solution(projection="TAN", *, angle=33.0, dec=60.0, sip=False, tables=False):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = f"RA---{projection}" + "-SIP" * sip, f"DEC--{projection}" + "-SIP" * sip
    wcs.wcs.crval = 40.0, dec
    wcs.wcs.crpix = 20.5, 41.0
    turn = np.radians(angle)
    wcs.wcs.cd = 2e-4 * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if sip:
        a, b = np.zeros((2, 3, 3))
        a[2, 0], b[1, 1] = 3e-4, -2e-4
        wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    if tables:
        rows = np.linspace(-0.5, 0.5, 81, dtype=np.float32)
        table = np.outer(rows, np.ones(81, dtype=np.float32))
        wcs.cpdis1 = DistortionLookupTable(table, (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    wcs.wcs.set()
    return wcs


CASES = [
    {},
    {"projection": "SIN", "angle": 120.0},
    {"projection": "CAR", "dec": 0.0},
    {"sip": True},
    {"tables": True},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_place_on_the_sky_is_the_same_in_both_images(case):
    reference, moving = images()
    result = cr.register(reference, moving)
    wcs = solution(**case)
    corrected = result.to_wcs(wcs)
    x, y = np.meshgrid([20.0, 31.5, 40.0], [18.0, 30.0, 44.25])
    before = np.array(wcs.pixel_to_world_values(x, y))
    after = np.array(corrected.pixel_to_world_values(x + result.offset[1], y + result.offset[0]))
    np.testing.assert_allclose(after, before, atol=1e-10)
    wrong = np.array(corrected.pixel_to_world_values(x, y))
    assert np.abs(wrong - before).max() > 1e-4  # a pixel is 2e-4 deg
    np.testing.assert_array_equal(wcs.wcs.crpix, (20.5, 41.0))  # the argument is left as it is


def test_a_header_says_how_well_it_points():
    reference, moving = images()
    result = cr.register(reference, moving)
    header = solution().to_header()
    own = solution(angle=30.0).to_header()
    own["OBJECT"] = "M 42"
    written = result.to_wcs(header, header=own)
    np.testing.assert_allclose(
        WCS(written).pixel_to_world_values(12.0 - 2.2, 7.0 + 3.3),
        solution().pixel_to_world_values(12.0, 7.0),
        atol=5 * 2e-4 * result.stderr.max(),
    )
    assert written["OBJECT"] == "M 42"
    assert "PC1_1O" in written
    sky = result.sky_offset(header)
    latitude = solution().pixel_to_world_values(31.5, 31.5)[1]
    bars = 3600 * np.array([written["CRDER1"] * np.cos(np.radians(latitude)), written["CRDER2"]])
    np.testing.assert_allclose(bars, sky.stderr, rtol=1e-3)
    np.testing.assert_allclose(written["PNTCOV12"], sky.covariance[0, 1], rtol=1e-6, atol=1e-12)


def test_the_bars_on_the_sky_are_those_of_the_pixels():
    wcs = solution(angle=17.0)
    inside, total = 0, 60
    for seed in range(total):
        reference, moving = images(seed)
        sky = cr.register(reference, moving).sky_offset(wcs)
        centre = np.array([31.5, 31.5])
        lon, lat = wcs.pixel_to_world_values(centre, centre)
        moved = wcs.pixel_to_world_values(centre + TRUTH[1], centre + TRUTH[0])
        truth = 3600 * np.array(
            [(moved[0] - lon)[0] * np.cos(np.radians(lat[0])), (moved[1] - lat)[0]]
        )
        error = sky.offset - truth
        inside += error @ np.linalg.solve(sky.covariance, error) < chi2.ppf(0.6827, 2)
    assert 29 <= inside <= 52  # chance alone: once in 1000
    assert sky.quantity.unit == u.arcsec


def test_what_carries_coordinates_need_not_be_asked_for_them():
    reference, moving = images()
    wcs = solution()
    noise = StdDevUncertainty(np.full(reference.shape, 0.1))
    for first in (
        NDDataArray(reference, wcs=wcs),
        CCDData(reference, wcs=wcs, unit="adu", uncertainty=noise, mask=np.zeros((64, 64), bool)),
        fits.PrimaryHDU(reference, wcs.to_header()),
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(reference, wcs.to_header())]),
    ):
        result = cr.register(first, moving)
        corrected = result.to_wcs()
        if not isinstance(corrected, WCS):
            corrected = WCS(corrected)
        np.testing.assert_allclose(
            corrected.wcs.crpix, wcs.wcs.crpix + result.offset[::-1], atol=1e-9
        )
        assert result.sky_offset().offset.shape == (2,)


def test_without_coordinates_it_says_what_to_pass():
    result = cr.register(*images())
    with pytest.raises(cr.InputError, match="pass that of the reference"):
        result.to_wcs()
    with pytest.raises(cr.InputError, match="pixel axes"):
        result.to_wcs(WCS(naxis=3))
    with pytest.raises(cr.InputError, match="longitude and a latitude"):
        result.sky_offset(WCS(naxis=2))


def test_a_header_keeps_its_own_date_and_distortion_of_the_reference():
    reference, moving = images()
    wcs = solution(sip=True)
    wcs.wcs.dateobs = "2001-01-01T00:00:00"
    own = solution(angle=30.0, sip=True).to_header(relax=True)
    own["DATE-OBS"] = "2020-02-02T00:00:00"
    result = cr.register(reference, moving)
    written = result.to_wcs(wcs, header=own)
    assert written["DATE-OBS"] == "2020-02-02T00:00:00"
    assert written["CTYPE1"] == "RA---TAN-SIP"
    assert written["CTYPE1O"] == "RA---TAN"  # a header has room for one polynomial
    x, y = np.array([5.0, 31.0]), np.array([40.0, 31.0])
    np.testing.assert_allclose(
        WCS(written).pixel_to_world_values(x + result.offset[1], y + result.offset[0]),
        wcs.pixel_to_world_values(x, y),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        WCS(written, key="O").wcs_pix2world(x, y, 0),  # without the polynomial
        solution(angle=30.0).pixel_to_world_values(x, y),
        atol=1e-9,
    )


def test_tables_do_not_fit_into_a_header():
    result = cr.register(*images())
    with pytest.raises(cr.InputError, match="to_fits"):
        result.to_wcs(solution(tables=True), header=solution().to_header())
    broken = solution().to_header()
    broken["CPDIS1"], broken["DP1.EXTVER"] = "LOOKUP", 1
    with pytest.raises(cr.InputError, match="whole list of HDUs"):
        result.to_wcs(broken)


def test_tables_of_a_camera_of_the_space_telescope():
    """ACS: polynomial, detector columns and two tables, in HDUs of their own."""
    path = Path(astropy.wcs.__file__).parent / "tests/data/dist_lookup.fits.gz"
    data, moving = images(side=100)
    with fits.open(path) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdus["SCI"].data = data.astype(np.float32)
        result = cr.register(hdus, moving)
        wcs = WCS(hdus["SCI"].header, hdus)
        corrected = result.to_wcs()
    assert corrected.sip is not None
    assert corrected.cpdis1 is not None
    x, y = np.meshgrid([10.0, 50.0, 90.0], [15.0, 50.0, 85.0])
    places = corrected.all_pix2world(x + result.offset[1], y + result.offset[0], 0)
    np.testing.assert_allclose(places, wcs.all_pix2world(x, y, 0), atol=1e-9)


def test_lists_of_hdus_bring_errors_and_masks():
    reference, moving = images()
    spoilt = reference.copy()
    spoilt[10:14, 20:30] = 1e5
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(spoilt[None], name="SCI"),
            fits.ImageHDU((spoilt > 1e4)[None].astype(np.uint8), name="MASK"),
        ]
    )
    clean = cr.register(reference, moving, reference_valid=spoilt < 1e4)
    np.testing.assert_array_equal(cr.register(hdus, moving).offset, clean.offset)


def test_a_plane_of_a_cube_has_the_coordinates_of_the_sky():
    reference, moving = images()
    header = solution().to_header()
    header.update(WCSAXES=3, CTYPE3="FREQ", CRVAL3=1e9, CDELT3=1e6, CRPIX3=1.0)
    result = cr.register(fits.ImageHDU(reference[None], header), moving)
    corrected = result.to_wcs()
    np.testing.assert_allclose(
        corrected.celestial.wcs.crpix, solution().wcs.crpix + result.offset[::-1], atol=1e-9
    )
    assert result.sky_offset().names == ("RA", "DEC")


def test_maps_of_the_sun_are_taken_as_they_are():
    found = importlib.util.find_spec("dkist")
    if found is None:
        pytest.skip("dkist, which carries frames of the Sun, is not installed")
    folder = Path(found.origin).parent / "data/test/EIT"
    with warnings.catch_warnings():  # of sunpy itself, and of what it imports
        warnings.simplefilter("ignore")
        sunpy = pytest.importorskip("sunpy.map", reason="sunpy is not installed")
        first, second = (sunpy.Map(path) for path in sorted(folder.glob("*.fits"))[2:4])
        result = cr.register(first, second)
        plain = cr.register(first.data, second.data)
        # two hours of rotation, flagged as no mere shift, on the grid that the headers share
        both = cr.register_sky(first, second)
    np.testing.assert_array_equal(result.offset, plain.offset)
    assert result.sky_offset().names == ("HPLN", "HPLT")
    assert np.all(np.abs(both.moving_pixels.offset - result.offset) < 2 * result.stderr)
    np.testing.assert_allclose(
        result.to_wcs().wcs.crpix, first.wcs.wcs.crpix + result.offset[::-1], atol=1e-9
    )
