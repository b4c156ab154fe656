"""Frames as they are, put where they belong by metadata: OME-Zarr, and planes of FITS cubes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import coregister as cr
from coregister.errors import InputError
from coregister.io import open_stack, write_stack

fits = pytest.importorskip("astropy.io.fits")
zarr = pytest.importorskip("zarr")
wcs_module = pytest.importorskip("astropy.wcs")

OFFSETS = np.array([(0, 0), (0.7, -1.2), (1.1, -2.5), (2.3, -3.1), (2.9, -4.4)])
SHAPE = (64, 72)


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    rng = np.random.default_rng(4)
    scene = cr.random_scene("power-law-2", (160, 160), rng=rng)
    frames = 2000 + 300 * cr.simulate_stack(scene, OFFSETS, noise=0.05, rng=rng, shape=SHAPE)
    frames[3] = 2000
    return np.rint(frames).astype(np.uint16)


@pytest.fixture(scope="module")
def result(movie) -> cr.StackRegistration:
    with pytest.warns(cr.RegistrationWarning, match="3 CONSTANT_IMAGE"):
        return cr.register_stack(movie, times=np.arange(5) * 0.5)


def test_frames_with_translations(tmp_path, movie, result):
    path = tmp_path / "p.zarr"
    scale = ((0.2, "micrometer"), (0.1, "micrometer"))
    result.save_ngff(path, movie, scale=scale, provenance={"frames": ["m.tif"]})
    group = zarr.open_group(path, mode="r")
    assert group.attrs["ome"]["bioformats2raw.layout"] == 3
    assert group["OME"].attrs["ome"]["series"] == ["0", "1", "2", "4"]  # 3 is not trusted
    assert group.attrs["coregister"] == {"frames": ["m.tif"]}
    places = {}
    for t in (0, 1, 2, 4):
        node = group[str(t)]
        image = node.attrs["ome"]["multiscales"][0]
        first, second = image["datasets"][0]["coordinateTransformations"]
        assert first == {"type": "scale", "scale": [1.0, 0.2, 0.1]}
        time, *places[t] = second["translation"]
        assert time == t * 0.5
        np.testing.assert_array_equal(node["0"][0], movie[t])
        assert node["0"].dtype == np.uint16
        np.testing.assert_array_equal(
            node.attrs["coregister"]["covariance_px2"], result.covariances[t]
        )
    for t in (1, 2, 4):  # the content, at +offset in its frame, comes to one place
        moved = np.subtract(places[t], places[0]) / (0.2, 0.1) + OFFSETS[t]
        assert np.all(np.abs(moved) < 6 * result.relative_to(0).stderr[t])
        assert np.all(np.abs(moved - 2 * OFFSETS[t]) > 0.1)  # the control: the other sign
    with pytest.raises(InputError, match="exists"):
        result.save_ngff(path, movie)
    with pytest.raises(InputError, match=r"\.zarr is needed"):
        result.save_ngff(tmp_path / "p.tif", movie)
    with pytest.raises(InputError, match="they must agree"):
        result.save_ngff(tmp_path / "q.zarr", movie[1:])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.zarr"]


@pytest.mark.parametrize("scale", [None, ((0.2, "micrometer"), (0.1, "micrometer"))])
def test_stores_are_valid_ngff(tmp_path, movie, result, scale):
    models = pytest.importorskip("ome_zarr_models.v05")
    result.save_ngff(tmp_path / "p.zarr", movie, scale=scale)
    write_stack(
        tmp_path / "a.zarr",
        result.aligned(movie),
        count=5,
        shape=SHAPE,
        scale=scale,
        times=result.times,
    )
    group = zarr.open_group(tmp_path / "p.zarr", mode="r")
    for node in (zarr.open_group(tmp_path / "a.zarr", mode="r"), group["0"], group["4"]):
        image = models.Image.from_zarr(node)
        assert image.ome_attributes.multiscales[0].axes[0].unit == "second"
    models.BioFormats2Raw.from_zarr(group)
    about = dict(group["0"].attrs["ome"])
    about["multiscales"][0]["datasets"][0]["coordinateTransformations"].reverse()
    wrong = zarr.open_group(tmp_path / "p.zarr", mode="a")["0"]
    wrong.attrs["ome"] = about
    with pytest.raises(ValueError, match="scale"):  # the control
        models.Image.from_zarr(wrong)


@pytest.mark.parametrize("extension", [False, True])
def test_planes_of_a_cube_with_corrected_headers(tmp_path, movie, result, extension):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CTYPE3": "TIME"})
    header.update({"CRVAL1": 83.6, "CRVAL2": 60.0, "CRPIX1": 36.0, "CRPIX2": 32.0, "CRPIX3": 1.0})
    header.update({"PC1_1": 0.6, "PC1_2": 0.8, "PC2_1": -0.8, "PC2_2": 0.6, "PC3_3": 1.0})
    header.update({"CDELT1": -5e-5, "CDELT2": 5e-5, "CDELT3": 0.5, "CUNIT3": "s", "OBJECT": "M42"})
    path = tmp_path / "cube.fits"
    if extension:
        first = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "T"}))
        fits.HDUList([first, fits.ImageHDU(movie, header)]).writeto(path)
    else:
        fits.PrimaryHDU(movie, header).writeto(path)
    before = path.read_bytes()
    (tmp_path / "new").mkdir()
    written = result.save_headers(path, tmp_path / "new")
    assert [p.name for p in written] == [f"cube-{t}.fits" for t in (0, 1, 2, 4)]
    assert path.read_bytes() == before
    first = wcs_module.WCS(header).celestial
    for t, place in zip((0, 1, 2, 4), written, strict=True):
        data, new = fits.getdata(place, header=True)
        np.testing.assert_array_equal(data, movie[t])
        assert (new["NAXIS"], new["OBJECT"]) == (2, "M42")
        assert not any(card.endswith("3") for card in new if card.startswith(("C", "PC")))
        moved = result.offsets[t] - result.offsets[0]
        there = wcs_module.WCS(new).pixel_to_world_values(20 + moved[1], 30 + moved[0])
        np.testing.assert_allclose(there, first.pixel_to_world_values(20, 30), rtol=0, atol=1e-10)
        assert (new["CRPIX1O"], new["CRPIX2O"]) == (36, 32)
        assert (new["CRDER2"] > 0) == (t > 0)
        if extension:
            assert fits.getheader(place)["TELESCOP"] == "T"
        with fits.open(place, do_not_scale_image_data=True) as hdus:
            assert hdus[-1].data.dtype == np.dtype(">i2")
    with pytest.raises(InputError, match="exists"):
        result.save_headers(path, tmp_path / "new")


def test_the_command(tmp_path, movie):
    testing = pytest.importorskip("click.testing")
    from coregister.cli.stack import stack

    fits.PrimaryHDU(movie, fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})).writeto(
        tmp_path / "c.fits"
    )
    (tmp_path / "new").mkdir()
    words = ["c.fits", "--headers", "new", "--ngff", "p.zarr", "--table", "t.json"]
    words = [str(tmp_path / w) if w[0] != "-" else w for w in words]
    with pytest.warns(cr.RegistrationWarning):
        done = testing.CliRunner().invoke(stack, words)
    assert done.exit_code == 3, (done.output, done.exception)
    assert len(list((tmp_path / "new").iterdir())) == 4
    offsets = json.loads((tmp_path / "t.json").read_text())["offsets"]
    place = zarr.open_group(tmp_path / "p.zarr", mode="r")["4"].attrs["coregister"]["offset_px"]
    assert place == offsets[4]
    assert len(open_stack(tmp_path / "c.fits")) == 5
    np.save(tmp_path / "m.npy", movie)
    for words in (("--headers", str(tmp_path / "new")), ("--ngff", str(tmp_path / "a.tif"))):
        done = testing.CliRunner().invoke(stack, [str(tmp_path / "m.npy"), *words])
        assert isinstance(done.exception, InputError)


@pytest.mark.parametrize("cube", [False, True])
def test_aligned_frames_and_mean_have_the_coordinates_of_their_grid(tmp_path, movie, cube):
    """A star of the sky stands at one place in all of them, and where the header says."""
    testing = pytest.importorskip("click.testing")
    from coregister.cli.stack import stack

    base = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -5e-5, "CDELT2": 5e-5}
    base |= {"CRVAL1": 83.6, "CRVAL2": 60.0}
    paths = [tmp_path / "cube.fits"] if cube else [tmp_path / f"f{t}.fits" for t in range(5)]
    for path, data, place in zip(paths, [movie] if cube else movie, OFFSETS, strict=False):
        crpix = {"CRPIX1": 36.0 + place[1], "CRPIX2": 32.0 + place[0]}  # a true pointing
        fits.PrimaryHDU(data, fits.Header(base | crpix)).writeto(path)
    outputs = ["-o", str(tmp_path / "a.fits"), "--mean", str(tmp_path / "m.fits")]
    table = ["--table", str(tmp_path / "t.ecsv")]
    with pytest.warns(cr.RegistrationWarning):
        done = testing.CliRunner().invoke(stack, [*map(str, paths), *outputs, *table])
    assert done.exit_code == 3, (done.output, done.exception)
    result = cr.read_table(tmp_path / "t.ecsv")
    for name in ("a.fits", "m.fits"):
        header = fits.getheader(tmp_path / name)
        assert header["NAXIS"] == 3
        world = wcs_module.WCS(header).celestial
        # aligned pixel p shows what frame 0 has at p + offset
        np.testing.assert_allclose(
            world.wcs.crpix, [36 - result.offsets[0, 1], 32 - result.offsets[0, 0]], atol=1e-9
        )
        assert (header["CRVAL1"], header["CRVAL2"]) == (83.6, 60.0)
    np.save(tmp_path / "m.npy", movie)
    words = [str(tmp_path / "m.npy"), "-o", str(tmp_path / "b.fits")]
    with pytest.warns(cr.RegistrationWarning):
        testing.CliRunner().invoke(stack, words)
    assert "CTYPE1" not in fits.getheader(tmp_path / "b.fits")
