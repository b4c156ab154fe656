"""FITS images of one sky through different coordinates: the offset comes back, in true bars."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from scipy import stats

import coregister as cr

fits = pytest.importorskip("astropy.io.fits", reason="extra fits")
pytest.importorskip("reproject", reason="extra fits")

from astropy.wcs import WCS  # noqa: E402

from coregister.image_registration.FITS_tools import (  # noqa: E402
    load_data,
    load_header,
    match_fits,
    project_to_header,
    register_fits,
)

DEC = 60.0
#: degrees of longitude and latitude, as coordinates
OFFSET = np.array([0.0031, -0.0017])
NOISE = 1.0


def header(n=64, scale=(-0.001, 0.001), rotation=0.0, kind="TAN"):
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    cards = {
        "NAXIS": 2, "NAXIS1": n, "NAXIS2": n,
        "CTYPE1": f"RA---{kind}", "CTYPE2": f"DEC--{kind}", "CRVAL1": 30.0, "CRVAL2": DEC,
        "CRPIX1": (n + 1) / 2, "CRPIX2": (n + 1) / 2, "CDELT1": scale[0], "CDELT2": scale[1],
        "PC1_1": cos, "PC1_2": -sin, "PC2_1": sin, "PC2_2": cos,
    }  # fmt: skip
    return fits.Header(cards)


GRIDS = {
    "the same pixels": header(),
    "rotated": header(rotation=30),
    "east to the right": header(scale=(0.001, 0.001)),
    "finer, rotated": header(110, (-0.0006, 0.0006), -20),
    "coarser, rotated": header(44, (-0.0015, 0.0015), 10),
    "not square": header(90, (-0.0008, 0.0011)),
}


def picture(head, offset=(0.0, 0.0), noise=0.0, seed=0):
    """Eight sources on the sky as the pixels of a header see them, displaced by `offset`."""
    sky = np.random.default_rng(5)
    wcs, (y, x) = WCS(head), np.mgrid[: head["NAXIS2"], : head["NAXIS1"]]
    image = np.zeros(x.shape)
    turn = np.degrees(np.linalg.inv(wcs.pixel_scale_matrix))  # px per degree, times 180/pi
    scale = np.linalg.inv(turn * np.pi / 180)
    for _ in range(8):
        east, north = sky.uniform(-0.016, 0.016, 2)
        world = [[30 + east / np.cos(np.radians(DEC)) + offset[0], DEC + north + offset[1]]]
        px, py = wcs.all_world2pix(world, 0)[0]
        angle = np.tensordot(scale, np.stack([x - px, y - py]), 1)  # degrees on the sky
        image += sky.uniform(20, 80) * np.exp(-np.sum(angle**2, axis=0) / (2 * 0.0026**2))
    return image + noise * np.random.default_rng(seed).normal(size=image.shape)


def pair(grid="rotated", noise=0.0, seed=0):
    """HDUs whose second puts everything `OFFSET` too high."""
    one, two = header(rotation=15), GRIDS[grid]
    return fits.ImageHDU(picture(one), one), fits.ImageHDU(picture(two, OFFSET, noise, seed), two)


@pytest.mark.parametrize("grid", GRIDS)
def test_an_offset_on_the_sky_comes_back_within_its_bars(grid):
    one, two = pair(grid, NOISE)
    x, y, x_wcs, y_wcs, ex, ey, ex_wcs, ey_wcs = register_fits(
        one, two, errfile=NOISE, register_method=cr.chi2_shift, nfitted=1
    )
    assert all(type(value) is float for value in (x, y, x_wcs, y_wcs, ex, ey, ex_wcs, ey_wcs))
    bars = np.array([ex_wcs, ey_wcs])
    assert np.all(bars > 0)
    assert ex > 0
    assert ey > 0
    assert np.all(abs(np.array([x_wcs, y_wcs]) - OFFSET) < 4 * bars)
    assert np.all(bars < 0.02 * abs(OFFSET))
    where = WCS(one.header).all_world2pix([[30, DEC], [30 + OFFSET[0], DEC + OFFSET[1]]], 0)
    assert np.allclose([x, y], where[1] - where[0], atol=4 * max(ex, ey))


@pytest.mark.parametrize("grid", ["rotated", "finer, rotated", "coarser, rotated"])
def test_the_bars_with_errfile_are_true(grid):
    n, head = 120, GRIDS[grid]
    one, clean = header(rotation=15), picture(GRIDS[grid], OFFSET)
    reference = picture(one)
    rng = np.random.default_rng(8)
    pulls = []
    for _ in range(n):
        two = clean + NOISE * rng.normal(size=clean.shape)
        found = register_fits(
            (reference, one),
            (two, head),
            errfile=np.full(two.shape, NOISE),
            register_method=cr.chi2_shift,
            nfitted=1,
        )
        pulls.append((np.array(found[2:4]) - OFFSET) / found[6:8])
    # chance alone fails this once in a thousand; sky axes are all but uncorrelated here
    low, high = stats.chi2(2 * n).ppf([5e-4, 1 - 5e-4])
    total = np.sum(np.square(pulls))
    assert low < total < high
    assert not low < total / 0.8**2 < high
    assert not low < total / 1.25**2 < high


def test_the_outputs_correct_a_header():
    one, two = pair("rotated")
    x, y, x_wcs, y_wcs = register_fits(one, two, register_method=cr.chi2_shift, return_error=False)
    mended = fits.ImageHDU(two.data, two.header.copy())
    mended.header["CRVAL1"] -= x_wcs
    mended.header["CRVAL2"] -= y_wcs
    again = register_fits(one, mended, register_method=cr.chi2_shift, return_error=False)
    assert np.all(np.abs(again[:2]) < 0.01)
    source = WCS(GRIDS["rotated"]).all_world2pix([[30 + OFFSET[0], DEC + OFFSET[1]]], 0)
    seen = WCS(mended.header).all_pix2world(source, 0)[0]
    assert np.allclose(seen, [30, DEC], atol=2e-5)

    one, two = (fits.ImageHDU(picture(header(), o), header()) for o in ((0, 0), OFFSET))
    x, y, *_ = register_fits(one, two, register_method=cr.chi2_shift)
    two.header["CRPIX1"] += x
    two.header["CRPIX2"] += y
    again = register_fits(one, two, register_method=cr.chi2_shift)
    assert np.all(np.abs(again[:2]) < 0.01)


def by_register(image1, image2, return_error=True):
    r = cr.register(image1, image2)
    return *r.offset[::-1], *r.stderr[::-1]


def by_name(name):
    package = importlib.import_module("coregister.image_registration")
    if not hasattr(package, name):
        pytest.skip(f"{name} is not there")
    return getattr(package, name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("chi2_shift", {"zeromean": True, "upsample_factor": 100.0}),
        ("chi2_shift_iterzoom", {}),
        ("register_images", {"usfac": 50}),
        ("cross_correlation_shifts", {}),
    ],
)
def test_any_method(name, options):
    found = register_fits(*pair(noise=NOISE), register_method=by_name(name), **options)
    assert np.allclose(found[2:4], OFFSET, atol=4 * max(found[6:8]) + 3e-5)
    assert min(found[4:8]) > 0


def test_the_errors_reach_the_correlation():
    method = by_name("cross_correlation_shifts")
    bars = [
        register_fits(*pair(noise=NOISE), errfile=noise, register_method=method)[4]
        for noise in (NOISE, np.full((64, 64), NOISE), 2 * NOISE)
    ]
    assert 0.8 < bars[1] / bars[0] <= 1
    assert np.isclose(bars[2] / bars[0], 2, rtol=0.01)


def test_a_method_of_ones_own_and_the_default():
    found = register_fits(*pair(noise=NOISE), register_method=by_register)
    assert np.all(np.abs(found[2:4] - OFFSET) < 4 * np.array(found[6:8]))
    by_name("chi2_shift_iterzoom")
    assert np.allclose(register_fits(*pair())[2:4], OFFSET, atol=5e-5)


def test_a_method_that_takes_no_errors_says_so():
    with pytest.raises(cr.InputError, match="by_register does not take the noise"):
        register_fits(*pair(), errfile=1.0, register_method=by_register)


def test_names_hdus_lists_and_pairs_are_one(tmp_path):
    one, two = pair(noise=NOISE)
    expected = register_fits(one, two, register_method=cr.chi2_shift)
    files = []
    for name, hdu in (("one.fits", one), ("two.fits", two)):
        files.append(tmp_path / name)
        fits.PrimaryHDU(hdu.data, hdu.header).writeto(files[-1])
    lists = [fits.HDUList([fits.PrimaryHDU(), hdu]) for hdu in (one, two)]
    radio = [
        (hdu.data[None, None], fits.Header({**hdu.header, "NAXIS": 4, "CTYPE3": "FREQ",
                                            "CTYPE4": "STOKES"}))
        for hdu in (one, two)
    ]  # fmt: skip
    for pair_ in (
        files,
        [str(f) for f in files],
        lists,
        radio,
        [(h.data, h.header) for h in (one, two)],
    ):
        found = register_fits(*pair_, register_method=cr.chi2_shift)
        assert np.allclose(found, expected, atol=1e-9)


def test_everything_that_can_be_returned():
    one, two = pair()
    found = register_fits(
        one, two, register_method=cr.chi2_shift, return_cropped_images=True,
        return_shifted_image=True, return_header=True, quiet=True,
    )  # fmt: skip
    assert len(found) == 12
    image1, image2, shifted, head = found[8:]
    assert np.array_equal(image1, one.data)
    assert head == one.header
    both = np.isfinite(shifted)
    assert both.mean() > 0.7
    assert abs(shifted - image1)[both].max() < 0.05 * image1.max()
    assert np.nanmax(abs(image2 - image1)) > 0.3 * image1.max()
    short = register_fits(
        one, two, register_method=cr.chi2_shift, return_error=False, return_header=True
    )
    assert len(short) == 5


def test_both_on_the_grid_of_a_header():
    grid = header(80, (-0.0009, 0.0009), 5)
    image1, image2, head = match_fits(*pair(), header=grid, return_header=True)
    assert image1.shape == image2.shape == (80, 80)
    assert head == grid
    found = register_fits(*pair(), header=grid, register_method=cr.chi2_shift)
    assert np.allclose(found[2:4], OFFSET, atol=3e-5)
    plain = register_fits(*pair(), register_method=cr.chi2_shift)
    assert not np.allclose(found[:2], plain[:2], atol=0.1)  # pixels of the grid


def test_galactic_coordinates_of_the_grid_are_those_of_the_answer():
    sky = importlib.import_module("astropy.coordinates")
    place = [sky.SkyCoord(30 + a, DEC + b, unit="deg").galactic for a, b in ((0, 0), OFFSET)]
    grid = header()
    grid.update(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=place[0].l.deg, CRVAL2=place[0].b.deg)
    found = register_fits(*pair(), header=grid, register_method=cr.chi2_shift)
    truth = [place[1].l.deg - place[0].l.deg, place[1].b.deg - place[0].b.deg]
    assert np.allclose(found[2:4], truth, atol=3e-5)


@pytest.mark.parametrize("order", ["bilinear", "bicubic"])
def test_pixels_without_a_value(order):
    one, two = pair("the same pixels", NOISE)
    two.data[:6] = np.nan
    two.data[30:33, 20:24] = np.nan
    _, image2 = match_fits(one, two, order=order)
    assert 0.1 < np.isnan(image2).mean() < 0.4
    found = register_fits(one, two, errfile=NOISE, order=order, register_method=cr.chi2_shift)
    assert np.all(np.abs(found[2:4] - OFFSET) < 4 * np.array(found[6:8]))


def test_errors_of_a_file(tmp_path):
    one, two = pair(noise=NOISE)
    noise = np.full(two.data.shape, NOISE)
    noise[:, :20] = 3 * NOISE
    noise[10:20, 30:40] = 0  # left out
    two.data[10:20, 30:40] = 1e4
    path = tmp_path / "two.fits"
    parts = [fits.PrimaryHDU(), fits.ImageHDU(two.data, two.header, name="SCI")]
    fits.HDUList([*parts, fits.ImageHDU(noise**2, name="VAR")]).writeto(path)
    results = [
        register_fits(one, path, errfile=err, register_method=cr.chi2_shift, zeromean=True)
        for err in (noise, path, str(path), (noise, two.header), fits.ImageHDU(noise, two.header))
    ]
    assert np.allclose(results, results[0], atol=1e-9)
    assert np.all(np.abs(results[0][2:4] - OFFSET) < 4 * np.array(results[0][6:8]))
    even = register_fits(*pair(), errfile=NOISE, register_method=cr.chi2_shift)
    assert results[0][4] > 1.1 * even[4]
    with pytest.raises(cr.InputError, match="errfile has shape"):
        register_fits(one, two, errfile=noise[1:], register_method=cr.chi2_shift)


def test_only_what_stands_out():
    one, two = pair("the same pixels", NOISE)
    image1, image2 = match_fits(one, two, sigma_cut=5)
    assert np.count_nonzero(image1) < image1.size / 2
    assert np.array_equal(image1[image1 > 0], one.data[image1 > 0])
    assert np.nanmin(image2) == 0
    wide = match_fits(one, two, sigma_cut=5, use_mad_std=False)[0]
    assert np.count_nonzero(wide) < np.count_nonzero(image1)
    with pytest.warns(UserWarning, match="lower it"):
        uncut, _ = match_fits(one, two, sigma_cut=1e6)
    assert np.array_equal(uncut, one.data)


def test_images_are_not_modified():
    one, two = pair()
    before = one.data.copy(), two.data.copy(), one.header.copy(), two.header.copy()
    register_fits(one, two, errfile=1.0, register_method=cr.chi2_shift, sigma_cut=2)
    assert np.array_equal(one.data, before[0])
    assert np.array_equal(two.data, before[1])
    assert (one.header, two.header) == before[2:]


def test_headers_of_any_kind(tmp_path):
    head = header()
    text = tmp_path / "head.txt"
    text.write_text(head.tostring(sep="\n"))
    image = tmp_path / "image.fits"
    fits.PrimaryHDU(picture(head), head).writeto(image)
    hdu = fits.ImageHDU(picture(head), head)
    for kind in (head, text, str(text), image, hdu, fits.HDUList([fits.PrimaryHDU(), hdu]),
                 (hdu.data, head), head.tostring(), head.tostring(sep="\n")):  # fmt: skip
        assert load_header(kind)["CRPIX1"] == head["CRPIX1"]
        assert project_to_header(hdu, kind, quiet=False).shape == (64, 64)
    for kind in (image, hdu, fits.HDUList([fits.PrimaryHDU(), hdu]), (hdu.data, head), hdu.data):
        assert np.array_equal(load_data(kind), hdu.data)


def test_what_cannot_be_used_says_why(tmp_path):
    one, two = pair()
    away = two.header.copy()
    away["CRVAL2"] = 10.0
    with pytest.raises(cr.InputError, match="no pixel in common"):
        match_fits(one, (two.data, away))
    with pytest.raises(cr.InputError, match="no celestial coordinates"):
        match_fits(one, fits.ImageHDU(two.data))
    cube = header()
    cube.update(NAXIS=3, CTYPE3="FREQ")
    with pytest.raises(cr.InputError, match="one plane of the sky"):
        match_fits(one, (np.zeros((5, 64, 64)), cube))
    bare = header()
    del bare["NAXIS*"]
    with pytest.raises(cr.InputError, match="lacks NAXIS1 and NAXIS2"):
        project_to_header(one, bare)
    with pytest.raises(cr.InputError, match="holds no image"):
        load_data(fits.HDUList([fits.PrimaryHDU()]))
    with pytest.raises(cr.InputError, match="holds no image"):
        load_data(fits.PrimaryHDU())
    with pytest.raises(cr.InputError, match="not a FITS image"):
        match_fits(one, 3)


@pytest.mark.parametrize("name", ["load_header", "match_images"])
def test_the_examples_run(name):
    module = importlib.import_module(f"coregister.image_registration.FITS_tools.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 3
    assert result.failed == 0
    for function in (load_data, load_header, match_fits, project_to_header, register_fits):
        assert ">>>" in function.__doc__


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(importlib.import_module("sys").modules, "reproject", None)
    with pytest.raises(ImportError, match=r"coregister\[fits\]"):
        match_fits(*pair())
