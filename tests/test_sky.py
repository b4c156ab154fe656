"""Two images of the sky on grids of their own: the pointing error, and bars that are true."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, Sip
from astropy.wcs.utils import pixel_to_pixel
from scipy.special import erf
from scipy.stats import chi2

import coregister as cr

pytest.importorskip("reproject")
DATA = Path(fits.__file__).parents[2]
M13 = DATA / "io/fits/hdu/compressed/tests/data/m13.fits"


def camera(side, scale, *, angle=0.0, projection="TAN", frame="RA DEC"):
    """A WCS that looks at one place of the sky, `scale` arcsec a pixel."""
    wcs, turn = WCS(naxis=2), np.radians(angle)
    lon, lat = frame.split()
    wcs.wcs.ctype = f"{lon:-<4}-{projection}", f"{lat:-<4}-{projection}"
    there = SkyCoord(10, 40, unit="deg")
    wcs.wcs.crval = (10.0, 40.0) if lon == "RA" else (there.galactic.l.deg, there.galactic.b.deg)
    wcs.wcs.crpix = (side + 1) / 2, (side + 1) / 2
    matrix = np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wcs.wcs.cd = scale / 3600 * matrix
    wcs.wcs.set()
    return wcs


def expose(wcs, side, scale, rng, noise):
    """Stars, integrated over the pixels; the sky is the same for all cameras."""
    sky = np.random.default_rng(7)
    lon = 10 + sky.uniform(-60, 60, 150) / 3600 / np.cos(np.radians(40))
    lat = 40 + sky.uniform(-60, 60, 150) / 3600
    there = pixel_to_pixel(camera(80, 1.0), wcs, *camera(80, 1.0).world_to_pixel_values(lon, lat))
    edges = np.arange(side + 1) - 0.5
    x, y = (
        np.diff(0.5 * erf((edges[:, None] - place) * scale / 2 / np.sqrt(2)), axis=0)
        for place in there
    )
    image = (y * sky.exponential(1, 150)) @ x.T
    return image + noise * image.std() * rng.standard_normal(image.shape)


def exposures(error, *, seed, scales=(1.0, 0.8), angle=25.0, noise=0.2, **kind):
    """Two images, their coordinates, those of `moving` wrong by `error` pixels (y, x)."""
    rng = np.random.default_rng(seed)
    sides = [round(80 / scale) for scale in scales]
    wcs = [camera(sides[0], scales[0]), camera(sides[1], scales[1], angle=angle, **kind)]
    images = [
        expose(w, side, scale, rng, noise)
        for w, side, scale in zip(wcs, sides, scales, strict=True)
    ]
    true = wcs[1].deepcopy()
    wcs[1].wcs.crpix = wcs[1].wcs.crpix - np.asarray(error)[::-1]
    return images, wcs, true


def test_the_bars_are_true_and_others_are_not():
    each, total = 60, []
    grids = (
        ((1.0, 1.0), 25.0),
        ((1.0, 0.8), 25.0),
        ((0.8, 1.0), 147.0),
        ((1.0, 1.0), 90.0),
        ((1.0, 2.0), -40.0),
    )
    for scales, angle in grids:
        pulls = []
        for seed in range(each):
            error = np.random.default_rng((seed, 1)).uniform(-3, 3, 2)
            noise = (0.2, 1.0)[seed % 2]  # down to a signal no stronger than the noise
            images, wcs, _ = exposures(error, seed=seed, scales=scales, angle=angle, noise=noise)
            result = cr.register_sky(*images, reference_wcs=wcs[0], moving_wcs=wcs[1])
            assert result.trusted
            assert result.grid == ("moving" if scales[1] < scales[0] else "reference")
            off, covariance = result.moving_pixels
            pulls.append(np.linalg.solve(np.linalg.cholesky(covariance), off - error))
        # each bound fails by chance once in 1000
        low, high = chi2.ppf([5e-4, 1 - 5e-4], 2 * each)
        assert low < np.sum(np.square(pulls)) < high
        assert np.all(np.abs(np.mean(pulls, axis=0)) < 4 / np.sqrt(each))
        total += pulls
    low, high = chi2.ppf([5e-4, 1 - 5e-4], 2 * len(total))
    assert low < np.sum(np.square(total)) < high
    for scale in (0.8, 1.25):  # the control: bars that are wrong by so much are seen to be
        assert not low < np.sum(np.square(total)) / scale**2 < high


@pytest.mark.parametrize(
    "kind",
    [{}, {"projection": "SIN"}, {"projection": "ZEA", "frame": "GLON GLAT"}],
    ids=str,
)
def test_sky_pixels_and_corrected_coordinates_agree(kind):
    images, wcs, true = exposures((1.7, -2.4), seed=3, noise=0.02, **kind)
    result = cr.register_sky(*images, reference_wcs=wcs[0], moving_wcs=wcs[1])
    bars = result.moving_pixels.stderr
    assert np.all(np.abs(result.moving_pixels.offset - (1.7, -2.4)) < 4.5 * bars + 1e-3)
    # places that the corrected coordinates give are the true ones, all over the field
    x, y = np.array([10.0, 80.0, 45.0]), np.array([20.0, 30.0, 90.0])
    true_places = true.pixel_to_world(x, y)
    places = result.to_wcs().pixel_to_world(x, y)
    assert places.separation(true_places).arcsec.max() < 0.8 * (4.5 * np.hypot(*bars) + 2e-3)
    # where the wrong coordinates put a thing, minus where it is, in pixels of the reference
    wrong = wcs[1].pixel_to_world(49.5, 49.5)
    right = true.pixel_to_world(49.5, 49.5)
    moved = np.array(wcs[0].world_to_pixel(wrong)) - wcs[0].world_to_pixel(right)
    reference = result.reference_pixels
    assert np.all(np.abs(reference.offset - moved[::-1]) < 4.5 * reference.stderr + 2e-3)
    # and as angles, in the frame of the grid
    east, north = right.transform_to(wrong.frame).spherical_offsets_to(wrong)
    angles = np.array([east.arcsec, north.arcsec])
    assert result.grid == "moving"
    assert np.all(np.abs(result.sky.offset - angles) < 4.5 * result.sky.stderr + 2e-3)
    assert result.sky.quantity.unit == u.arcsec
    area = np.linalg.det(result.sky.covariance) / np.linalg.det(result.moving_pixels.covariance)
    np.testing.assert_allclose(area, 0.8**4, rtol=1e-3)


def test_a_distorted_camera():
    """SIP: 2 px of distortion at the corners, which shape and coordinates of the stars follow."""
    errors, pulls = np.random.default_rng(4).uniform(-3, 3, (20, 2)), []
    true = camera(100, 0.8, angle=25.0)
    true.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[2, 0], a[0, 3], b[0, 2], b[1, 1] = 4e-4, 8e-6, -4e-4, 4e-4
    true.sip = Sip(a, b, None, None, true.wcs.crpix)
    true.wcs.set()
    reference = camera(80, 1.0)
    for seed, error in enumerate(errors):
        rng = np.random.default_rng((seed, 2))
        images = expose(reference, 80, 1.0, rng, 0.2), expose(true, 100, 0.8, rng, 0.2)
        wrong = true.deepcopy()
        wrong.wcs.crpix = wrong.wcs.crpix - error[::-1]
        wrong.sip = Sip(a, b, None, None, wrong.wcs.crpix)
        wrong.wcs.set()
        result = cr.register_sky(*images, reference_wcs=reference, moving_wcs=wrong)
        assert result.trusted
        off, covariance = result.moving_pixels
        pulls.append(np.linalg.solve(np.linalg.cholesky(covariance), off - error))
        corrected = result.to_wcs().pixel_to_world(12, 88)
        apart = corrected.separation(true.pixel_to_world(12, 88)).arcsec
        assert apart < 0.8 * 4.5 * np.hypot(*result.moving_pixels.stderr)
    low, high = chi2.ppf([5e-4, 1 - 5e-4], 40)
    assert low < np.sum(np.square(pulls)) < high
    # the control: without the distortion the field does not fit
    bare = camera(100, 0.8, angle=25.0)
    with pytest.warns(cr.RegistrationWarning, match="MISFIT"):
        cr.register_sky(*images, reference_wcs=reference, moving_wcs=bare)


def test_a_cluster_of_stars_on_another_grid():
    """M 13, turned, on larger pixels, and its header made wrong."""
    reproject = pytest.importorskip("reproject")
    rng = np.random.default_rng(5)
    with fits.open(M13) as hdus:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own = WCS(hdus[0].header)
        image = hdus[0].data.astype(float)
        turned = camera(240, 1.3, angle=20.0)
        turned.wcs.crval = own.pixel_to_world_values(150, 150)
        # splines: lines between pixels would blur by place, which no camera does and MISFIT sees
        seen = reproject.reproject_interp(
            (image, own), turned, shape_out=(240, 240), order="bicubic"
        )[0]
        seen += rng.normal(size=seen.shape) * 0.05 * np.nanstd(seen)
        header = turned.to_header()
        header["CRPIX1"] -= 3.4
        header["CRPIX2"] += 2.2
        result = cr.register_sky(hdus, fits.ImageHDU(seen, header), max_offset=20 * u.arcsec)
    assert result.grid == "reference"
    assert np.all(np.abs(result.moving_pixels.offset - (-2.2, 3.4)) < 0.05)
    corrected = result.to_wcs(header=header)
    np.testing.assert_allclose(
        WCS(corrected).pixel_to_world_values(100, 100),
        turned.pixel_to_world_values(100, 100),
        atol=0.05 * 1.3 / 3600,
    )
    assert corrected["CRDER2"] * 3600 == pytest.approx(result.sky.stderr[1], rel=0.1)
    aligned = result.apply()
    inner = np.isfinite(aligned)
    assert np.corrcoef(aligned[inner], image[inner])[0, 1] > 0.95


def test_pixels_without_use_and_errors_are_brought_along():
    images, wcs, _ = exposures((0.6, -0.9), seed=1, scales=(0.8, 1.0))
    clean = cr.register_sky(*images, reference_wcs=wcs[0], moving_wcs=wcs[1])
    spoilt = images[1].copy()
    spoilt[20:26, 30:40] = 1e6
    valid = spoilt < 1e5
    err = np.where(valid, 1.0, np.nan)
    for options in ({"moving_valid": valid}, {"moving_err": err}):
        result = cr.register_sky(
            images[0], spoilt, reference_wcs=wcs[0], moving_wcs=wcs[1], **options
        )
        difference = result.moving_pixels.offset - clean.moving_pixels.offset
        assert np.all(np.abs(difference) < 3 * clean.moving_pixels.stderr)


def test_the_printed_form_names_sky_and_pixels():
    images, wcs, _ = exposures((0.6, -0.9), seed=1)
    result = cr.register_sky(*images, reference_wcs=wcs[0], moving_wcs=wcs[1])
    text, page = str(result), result._repr_html_()
    assert text.startswith("trusted")
    assert page.index("on the sky, along DEC") < page.index("more") < page.index("false alarm")
    for word in ("on the sky, along RA", "in pixels of reference, y", "in pixels of moving, x"):
        assert word in text


def test_what_cannot_be_brought_onto_one_grid_is_refused():
    images, wcs, _ = exposures((0.6, -0.9), seed=1)
    with pytest.raises(cr.InputError, match="moving_wcs="):
        cr.register_sky(*images, reference_wcs=wcs[0])
    with pytest.raises(cr.InputError, match="a longitude and a latitude"):
        cr.register_sky(*images, reference_wcs=wcs[0], moving_wcs=WCS(naxis=2))
    elsewhere = wcs[1].deepcopy()
    elsewhere.wcs.crval = 190.0, -40.0
    with pytest.raises(cr.InputError, match="nothing in common"):
        cr.register_sky(*images, reference_wcs=wcs[0], moving_wcs=elsewhere)
    with pytest.raises(cr.InputError, match="reference_wcs="):
        cr.register_sky(np.zeros((9, 9, 9)), images[1], moving_wcs=wcs[1])
    with pytest.raises(cr.InputError, match="leave moving_plane out"):
        cr.register_sky(*images, reference_wcs=wcs[0], moving_wcs=wcs[1], moving_plane=0)
    with pytest.raises(cr.InputError, match="pick one with an index"):
        cr.register_sky(np.zeros((9, 9, 9, 9)), images[1], reference_wcs=wcs[0], moving_wcs=wcs[1])


def cube(image, wcs, axis, rng, noise=0.3, count=5):
    """A line over five planes, the outer ones without it, as an HDU; `axis` is the spectral one."""
    line = np.array([0.0, 0.5, 1.0, 0.4, 0.0])
    planes = line[:, None, None] * image
    planes += noise * image.std() * rng.standard_normal(planes.shape)
    header = wcs.to_header()
    order = [1, 2, 3] if axis == 0 else [2, 3, 1]  # FITS axes of longitude, latitude, wavelength
    new = fits.Header()
    for key, value in (("CTYPE", "WAVE"), ("CRVAL", 5e-7), ("CRPIX", 1), ("CDELT", 1e-10)):
        new[f"{key}{order[2]}"] = value
    new[f"CUNIT{order[2]}"] = "m"
    for n in (1, 2):
        for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT"):
            new[f"{key}{order[n - 1]}"] = header[f"{key}{n}"]
        for m in (1, 2):
            new[f"PC{order[n - 1]}_{order[m - 1]}"] = header.get(f"PC{n}_{m}", float(n == m))
    return fits.ImageHDU(np.moveaxis(planes, 0, axis), new)


@pytest.mark.parametrize("axis", [0, 2], ids=["planes first", "planes last"])
@pytest.mark.parametrize("plane", [2, -3, "sum"], ids=str)
def test_a_cube_gives_a_plane_or_their_sum(axis, plane):
    images, wcs, true = exposures((1.7, -2.4), seed=3, noise=0.02)
    hdu = cube(images[1], wcs[1], axis, np.random.default_rng(0))
    reference = fits.ImageHDU(images[0], wcs[0].to_header())
    with pytest.raises(cr.InputError, match="moving_plane=0 to 4, or moving_plane='sum'"):
        cr.register_sky(reference, hdu)
    result = cr.register_sky(reference, hdu, moving_plane=plane)
    assert result.trusted
    found = result.moving_pixels
    assert np.all(np.abs(found.offset - (1.7, -2.4)) < 4.5 * found.stderr)
    # coordinates of the cube: the sky is corrected, the wavelengths are as they were
    x, y, k = np.array([10.0, 80.0]), np.array([20.0, 30.0]), np.array([0.0, 3.0])
    pixels = (x, y, k) if axis == 0 else (k, x, y)
    corrected, old = result.to_wcs(), WCS(hdu.header)
    assert corrected.naxis == 3
    world, before = corrected.pixel_to_world_values(*pixels), old.pixel_to_world_values(*pixels)
    np.testing.assert_allclose(world[old.wcs.spec], before[old.wcs.spec], rtol=1e-12)
    wanted = true.pixel_to_world(x, y)
    places = SkyCoord(world[old.wcs.lng], world[old.wcs.lat], unit="deg")
    assert places.separation(wanted).arcsec.max() < 0.8 * 4.5 * np.hypot(*found.stderr) + 1e-3
    written = result.to_wcs(header=hdu.header)
    again = WCS(written).pixel_to_world_values(*pixels)
    np.testing.assert_allclose(again, world, rtol=1e-11)
    assert written[f"CRDER{old.wcs.lat + 1}"] * 3600 == pytest.approx(result.sky.stderr[1], rel=0.1)
    aligned = result.apply()
    inner = np.isfinite(aligned)
    assert np.corrcoef(aligned[inner], images[0][inner])[0, 1] > 0.9


def test_a_sum_takes_the_errors_and_the_bad_pixels_of_its_planes():
    images, wcs, _ = exposures((1.7, -2.4), seed=3, noise=0.02)
    hdu = cube(images[1], wcs[1], 0, np.random.default_rng(0))
    reference = fits.ImageHDU(images[0], wcs[0].to_header())
    clean = cr.register_sky(reference, hdu, moving_plane="sum")
    hdu.data[4] = np.nan  # a plane that is missing is left out, a bad pixel is one in the sum
    hdu.data[1, 40:44, 50:60] = np.nan
    err = np.full(hdu.data.shape, 0.3 * images[1].std())
    err[2, 60:64, 20:30] = np.inf
    hdu.data[2, 60:64, 20:30] = 1e6
    result = cr.register_sky(reference, hdu, moving_plane="sum", moving_err=err)
    kept = result._images[1].image
    assert np.count_nonzero(~kept.valid) == 80
    np.testing.assert_allclose(np.unique(kept.sigma[kept.valid]), 2 * 0.3 * images[1].std())
    difference = result.moving_pixels.offset - clean.moving_pixels.offset
    assert np.all(np.abs(difference) < 3 * clean.moving_pixels.stderr)
    hdu.data[0] = np.where(np.indices(hdu.data[0].shape).sum(axis=0) % 2, np.nan, 1)
    hdu.data[1] = np.where(np.indices(hdu.data[0].shape).sum(axis=0) % 2, 1, np.nan)
    with pytest.raises(cr.InputError, match="usable in all of its planes"):
        cr.register_sky(reference, hdu, moving_plane="sum")
    with pytest.raises(cr.InputError, match="and the cube"):
        cr.register_sky(reference, hdu, moving_plane="sum", moving_err=np.ones((3, 3)))


def test_axes_of_length_one_stay_in_the_header(tmp_path):
    """As radio telescopes write it: two more axes, both of one pixel."""
    images, wcs, true = exposures((1.7, -2.4), seed=3, noise=0.02)
    header = wcs[1].to_header()
    for n, (kind, value) in enumerate((("FREQ", 1.4e9), ("STOKES", 1.0)), start=3):
        header[f"CTYPE{n}"], header[f"CRVAL{n}"], header[f"CRPIX{n}"] = kind, value, 1.0
        header[f"CDELT{n}"] = 1.0
    hdu = fits.ImageHDU(images[1][None, None], header)
    result = cr.register_sky(fits.ImageHDU(images[0], wcs[0].to_header()), hdu)
    written = result.to_wcs(header=hdu.header)
    assert (written["CTYPE3"], written["CRVAL3"], written["CTYPE4"]) == ("FREQ", 1.4e9, "STOKES")
    lon, lat = WCS(written).pixel_to_world_values(40, 60, 0, 0)[:2]
    wanted = true.pixel_to_world(40, 60)
    bars = result.moving_pixels.stderr
    assert SkyCoord(lon, lat, unit="deg").separation(wanted).arcsec < 0.8 * 4.5 * np.hypot(*bars)
    assert result.to_wcs().naxis == 2
    # the same when the array is given without them, and the coordinates with all four
    again = cr.register_sky(images[0], images[1], reference_wcs=wcs[0], moving_wcs=WCS(hdu.header))
    np.testing.assert_allclose(again.moving_pixels.offset, result.moving_pixels.offset, atol=1e-6)


def test_the_command_corrects_a_header_and_leaves_the_pixels(tmp_path):
    from click.testing import CliRunner

    from coregister.cli import cli

    images, wcs, true = exposures((1.7, -2.4), seed=3)
    reference, moving, out = (tmp_path / f"{name}.fits" for name in ("a", "b", "out"))
    fits.writeto(reference, images[0], wcs[0].to_header())
    counts = np.rint(1e4 + 2e3 * images[1] / images[1].max()).astype(np.uint16)  # kept with BZERO
    science = fits.ImageHDU(counts, wcs[1].to_header(), name="SCI")
    science.header["OBJECT"] = "field 7"
    fits.HDUList([fits.PrimaryHDU(), science]).writeto(moving)
    record = tmp_path / "r.json"
    call = ["sky", str(reference), str(moving), "-o", str(out), "--json", str(record)]
    done = CliRunner().invoke(cli, call)
    assert done.exit_code == 0, done.output
    assert "in pixels of moving, y" in done.output
    with fits.open(out) as hdus, fits.open(moving) as before:
        np.testing.assert_array_equal(hdus["SCI"].data, before["SCI"].data)
        assert hdus["SCI"].data.dtype == np.uint16
        assert hdus["SCI"].header["OBJECT"] == "field 7"
        assert hdus["SCI"].header["CRPIX1O"] == pytest.approx(wcs[1].wcs.crpix[0])
        places = WCS(hdus["SCI"].header).pixel_to_world(40, 60)
    found = json.loads(record.read_text())
    bars = found["moving_pixels"]["stderr"]
    assert places.separation(true.pixel_to_world(40, 60)).arcsec < 0.8 * 4.5 * np.hypot(*bars)
    np.testing.assert_allclose(found["moving_pixels"]["offset"], (1.7, -2.4), atol=0.2)
    assert found["sky"]["axes"] == ["RA", "DEC"]
    again = cr.Registration.from_dict(found)
    assert again.trusted
    refused = CliRunner().invoke(cli, call)
    assert "exists" in str(refused.exception)


def test_the_command_takes_cubes(tmp_path):
    from click.testing import CliRunner

    from coregister.cli import cli

    images, wcs, _ = exposures((1.7, -2.4), seed=3, noise=0.02)
    hdu = cube(images[1], wcs[1], 0, np.random.default_rng(0))
    reference, moving, out = (str(tmp_path / f"{name}.fits") for name in ("a", "b", "out"))
    fits.writeto(reference, images[0], wcs[0].to_header())
    fits.writeto(moving, hdu.data, hdu.header)
    call = ["sky", reference, moving, "-o", out]
    refused = CliRunner().invoke(cli, call)
    assert "moving_plane='sum'" in str(refused.exception)
    assert "or sum is needed" in str(
        CliRunner().invoke(cli, [*call, "--mov-plane", "all"]).exception
    )
    done = CliRunner().invoke(cli, [*call, "--mov-plane", "sum"])
    assert done.exit_code == 0, done.output
    with fits.open(out) as hdus:
        np.testing.assert_array_equal(hdus[0].data, hdu.data)
        assert hdus[0].header["CTYPE3"] == "WAVE"
        assert hdus[0].header["CRPIX1"] == pytest.approx(wcs[1].wcs.crpix[0] - 2.4, abs=0.1)
