"""Files: there and back, headers and world coordinates, damage, and writing whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coregister.errors import CoregisterError, InputError, OutputError
from coregister.io import (
    atomic_write,
    check_output,
    contents,
    read,
    sky_jacobian,
    sky_offset,
    write,
)

fits = pytest.importorskip("astropy.io.fits")
tifffile = pytest.importorskip("tifffile")
image_module = pytest.importorskip("PIL.Image")

IMAGE = np.random.default_rng(3).normal(500, 90, (24, 30))


def sky_header(**changes: object):
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 83.6, 60.0
    header["CRPIX1"], header["CRPIX2"] = 15.5, 12.5
    header["CDELT1"], header["CDELT2"] = -0.2 / 3600, 0.2 / 3600
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header.update(changes)
    return header


def world(path: Path, x: float, y: float) -> np.ndarray:
    wcs = read(path).wcs
    return np.array([float(value) for value in wcs.pixel_to_world_values(x, y)])


# -------------------------------------------------------------------- there and back


def save(path: Path, data: np.ndarray) -> Path:
    """Write with the packages themselves, not with ours."""
    name = path.name.lower()
    if ".fit" in name or name.endswith(".fts"):
        if name.endswith(".fz"):
            fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)]).writeto(path)
        else:
            fits.PrimaryHDU(data).writeto(path)
    elif name.endswith(("tif", "tiff")):
        tifffile.imwrite(path, data)
    elif name.endswith("npy"):
        np.save(path, data)
    else:
        image_module.fromarray(data).save(path)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">f4"])
@pytest.mark.parametrize(
    "name", ["a.fits", "a.fit", "a.FTS", "a.fits.gz", "a.tif", "a.TIFF", "a.ome.tif", "a.npy"]
)
def test_numbers_come_back_as_they_were(tmp_path, name, dtype):
    data = np.clip(IMAGE / 5, 0, 255).astype(dtype)
    path = save(tmp_path / name, data)
    loaded = read(path)
    assert loaded.data.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(loaded.data, data)
    assert loaded.valid is None
    assert loaded.err is None
    aligned = np.array(data, dtype=np.float64)
    aligned[:3] = np.nan
    assert write(tmp_path / f"out-{name}", aligned, like=loaded) == []
    again = read(tmp_path / f"out-{name}")
    expected = np.float64 if dtype == "f8" else np.float32
    assert again.data.dtype.newbyteorder("=") == expected
    np.testing.assert_array_equal(again.data, aligned.astype(expected))


@pytest.mark.parametrize(
    ("name", "dtype", "close"),
    [("a.png", "u1", 0), ("a.png", "u2", 0), ("a.jpg", "u1", 4), ("a.JPEG", "u1", 4)],
)
def test_pictures_keep_their_depth_and_say_what_they_cannot_hold(tmp_path, name, dtype, close):
    data = np.clip(IMAGE / 5, 0, 255).astype(dtype) * np.dtype(dtype).type(257 // 256)
    smooth = np.add.outer(np.arange(24), np.arange(30)).astype(dtype) * 3
    data = data if close == 0 else smooth
    loaded = read(save(tmp_path / name, data))
    assert loaded.data.dtype == dtype
    assert np.abs(loaded.data.astype(float) - data).max() <= close
    top = np.iinfo(dtype).max
    aligned = data.astype(float)
    aligned[0, :] = np.nan
    aligned[1, 0], aligned[1, 1] = -5, top + 5
    notes = write(tmp_path / f"out{name}", aligned, like=loaded)
    assert any(
        f"30 of 720 pixels, where nothing is known, are 0, since {loaded.format}" in n
        for n in notes
    )
    assert any("2 pixels beyond that range are clipped" in note for note in notes)
    again = read(tmp_path / f"out{name}").data
    assert again.dtype == dtype
    expected = np.clip(np.nan_to_num(aligned), 0, top)
    assert np.abs(again.astype(float) - expected)[8:].max() <= close
    if close == 0:
        np.testing.assert_array_equal(again, expected)


def test_black_and_white_stays_black_and_white(tmp_path):
    image_module.fromarray(IMAGE > 500).save(tmp_path / "a.png")
    loaded = read(tmp_path / "a.png")
    assert loaded.data.dtype == bool
    write(tmp_path / "b.png", loaded.data * 0.9, like=loaded)
    np.testing.assert_array_equal(read(tmp_path / "b.png").data, 255 * (IMAGE > 500))


def test_texts_and_resolution_of_a_png_are_kept(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "Ada")
    image_module.fromarray(IMAGE.astype("u2")).save(
        tmp_path / "a.png", pnginfo=info, dpi=(300, 300)
    )
    write(tmp_path / "b.png", IMAGE, like=read(tmp_path / "a.png"))
    with image_module.open(tmp_path / "b.png") as picture:
        assert picture.info["Author"] == "Ada"
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)


# -------------------------------------------------------------------- colour


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_colour_needs_a_channel(tmp_path, name):
    ramp = np.add.outer(np.arange(24), np.arange(30)).astype("u1")
    colour = np.stack([ramp, 2 * ramp, 3 * ramp], axis=-1)
    path = tmp_path / name
    if name == "a.tif":
        tifffile.imwrite(path, colour, photometric="rgb")
    else:
        image_module.fromarray(colour).save(path, **({"quality": 100} if name == "a.jpg" else {}))
    with pytest.raises(InputError, match=r"3 channels.*--channel"):
        read(path)
    slack = 6 if name == "a.jpg" else 0
    for asked, expected in [
        (1, 2 * ramp),
        ("green", 2 * ramp),
        ("2", 3 * ramp),
        ("grey", 2 * ramp),
    ]:
        assert np.abs(read(path, channel=asked).data - expected.astype(float)).max() <= slack
    with pytest.raises(InputError, match="from 0 to 2"):
        read(path, channel=3)
    with pytest.raises(InputError, match="purple"):
        read(path, channel="purple")
    loaded = read(path, channel="red")
    write(tmp_path / f"out{name}", ramp.astype(float), like=loaded)
    assert np.abs(read(tmp_path / f"out{name}").data - ramp.astype(float)).max() <= slack


def test_a_palette_is_read_as_its_colours(tmp_path):
    image_module.fromarray(IMAGE.astype("u1")).convert("P").save(tmp_path / "a.png")
    with pytest.raises(InputError, match="channel"):
        read(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png", channel="red").data, IMAGE.astype("u1"))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_the_only_channel_may_be_named_but_no_other(tmp_path, name):
    path = save(tmp_path / name, IMAGE.astype("u1"))
    np.testing.assert_array_equal(read(path, channel="grey").data, IMAGE.astype("u1"))
    with pytest.raises(InputError, match="one channel"):
        read(path, channel=1)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("a.npy", "ext"),
        ("a.png", "ext"),
        ("a.fits", "channel"),
        ("a.tif", "err_ext"),
        ("a.png", "mask_ext"),
        ("a.npy", "err_ext"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused(tmp_path, name, option):
    path = save(tmp_path / name, IMAGE.astype("u1"))
    with pytest.raises(InputError, match=f"{option}=1 does not apply"):
        read(path, **{option: 1})


# -------------------------------------------------------------------- FITS


def test_the_first_hdu_with_an_image_is_used_and_others_by_number_or_name(tmp_path):
    path = tmp_path / "a.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.arange(3.0))])
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            table,
            fits.ImageHDU(np.arange(9.0), name="SPEC"),
            fits.ImageHDU(IMAGE, name="SCI", ver=1),
            fits.ImageHDU(2 * IMAGE, name="SCI", ver=2),
        ]
    ).writeto(path)
    assert read(path).part == "HDU 3 SCI"
    np.testing.assert_array_equal(read(path).data, IMAGE)
    for ext in (4, "4", "SCI,2", "sci,2"):
        np.testing.assert_array_equal(read(path, ext=ext).data, 2 * IMAGE)
    assert read(path, ext="spec").data.shape == (9,)
    for ext in (9, "NONE", "SCI,3", 1, 0):
        with pytest.raises(InputError, match=r"HDU 3 SCI \(24, 30\)"):
            read(path, ext=ext)
    assert [part.label for part in contents(path)] == [
        "HDU 0 PRIMARY",
        "HDU 1 (table)",
        "HDU 2 SPEC",
        "HDU 3 SCI",
        "HDU 4 SCI",
    ]


def test_a_spectrum_alone_is_an_image(tmp_path):
    fits.PrimaryHDU(np.arange(40.0)).writeto(tmp_path / "a.fits")
    assert read(tmp_path / "a.fits").data.shape == (40,)


def test_a_file_of_tables_is_refused(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.arange(3.0))])
    table.writeto(tmp_path / "a.fits")
    with pytest.raises(InputError, match="no image"):
        read(tmp_path / "a.fits")


def test_errors_and_mask_of_the_same_version_are_found(tmp_path):
    path = tmp_path / "a.fits"
    hdus = [fits.PrimaryHDU()]
    for ver in (1, 2):
        bad = np.zeros(IMAGE.shape, "i2")
        bad[ver, 5] = 4
        hdus += [
            fits.ImageHDU(IMAGE * ver, name="SCI", ver=ver),
            fits.ImageHDU(np.full(IMAGE.shape, 3.0 * ver), name="ERR", ver=ver),
            fits.ImageHDU(bad, name="DQ", ver=ver),
        ]
    hdus.append(fits.ImageHDU(np.full(IMAGE.shape, 25.0), name="VAR"))
    fits.HDUList(hdus).writeto(path)
    for ver in (1, 2):
        loaded = read(path, ext=f"SCI,{ver}")
        assert np.all(loaded.err == 3.0 * ver)
        assert np.argwhere(~loaded.valid).tolist() == [[ver, 5]]
    assert read(path, err_ext="none").err is None
    assert read(path, mask_ext="none").valid is None
    assert np.all(read(path, err_ext="VAR").err == 5.0)
    assert np.argwhere(~read(path, mask_ext="DQ,2").valid).tolist() == [[2, 5]]
    with pytest.raises(InputError, match="err_ext='NOISE'"):
        read(path, err_ext="NOISE")


@pytest.mark.parametrize("kind", ["StdDevUncertainty", "VarianceUncertainty", "InverseVariance"])
def test_a_ccddata_file_gives_its_uncertainty_and_mask(tmp_path, kind):
    nddata = pytest.importorskip("astropy.nddata")
    value = {"S": 4.0, "V": 16.0, "I": 1 / 16}[kind[0]]
    uncertainty = getattr(nddata, kind)(np.full(IMAGE.shape, value))
    nddata.CCDData(IMAGE, unit="adu", mask=IMAGE > 600, uncertainty=uncertainty).write(
        tmp_path / "a.fits"
    )
    loaded = read(tmp_path / "a.fits")
    np.testing.assert_allclose(loaded.err, 4.0)
    np.testing.assert_array_equal(loaded.valid, IMAGE <= 600)


def test_an_error_extension_of_another_shape_is_refused_when_asked_for(tmp_path):
    fits.HDUList([fits.PrimaryHDU(IMAGE), fits.ImageHDU(IMAGE[:5], name="ERR")]).writeto(
        tmp_path / "a.fits"
    )
    assert read(tmp_path / "a.fits").err is None
    with pytest.raises(InputError, match="they must agree"):
        read(tmp_path / "a.fits", err_ext="ERR")


@pytest.mark.parametrize("blank", [-3, 0, 4])
def test_blank_integers_are_not_used(tmp_path, blank):
    data = np.random.default_rng(0).integers(-5, 6, IMAGE.shape).astype("i2")
    hdu = fits.PrimaryHDU(data)
    hdu.header["BLANK"] = blank
    hdu.writeto(tmp_path / "a.fits")
    loaded = read(tmp_path / "a.fits")
    usable = np.isfinite(loaded.data)
    if loaded.valid is not None:
        usable &= loaded.valid
    np.testing.assert_array_equal(usable, data != blank)


def test_scaled_integers_are_read_in_their_units(tmp_path):
    hdu = fits.PrimaryHDU(IMAGE.copy())
    hdu.scale("int16", bscale=0.05, bzero=500)
    hdu.writeto(tmp_path / "a.fits")
    np.testing.assert_allclose(read(tmp_path / "a.fits").data, IMAGE, atol=0.026)


def test_axes_of_length_one_are_dropped_and_put_back(tmp_path):
    hdu = fits.PrimaryHDU(IMAGE[None, None], sky_header())
    hdu.header["CTYPE3"], hdu.header["CTYPE4"] = "FREQ", "STOKES"
    hdu.writeto(tmp_path / "a.fits")
    loaded = read(tmp_path / "a.fits")
    assert loaded.data.shape == (24, 30)
    assert sky_jacobian(loaded).shape == (2, 2)
    write(tmp_path / "b.fits", IMAGE, like=loaded, reference=loaded)
    assert fits.getdata(tmp_path / "b.fits").shape == (1, 1, 24, 30)


@pytest.mark.parametrize("sip", [False, True])
def test_the_result_has_the_header_of_moving_and_the_sky_of_the_reference(tmp_path, sip):
    here = sky_header(OBJECT="ref", CD1_1=1e-4)
    if sip:
        here.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2)
        here.update(A_2_0=1e-4, B_0_2=2e-4)
    del here["CD1_1"]
    there = sky_header(OBJECT="mov", CRPIX1=17.0, CROTA2=3.0, PV2_1=0.0, CTYPE1A="LINEAR")
    there.update(EXPTIME=30.0, BUNIT="adu", DATE_OBS="2004-03-01", CRPIX2=9.0)
    fits.PrimaryHDU(IMAGE, here).writeto(tmp_path / "ref.fits")
    fits.HDUList(
        [fits.PrimaryHDU(header=fits.Header({"ORIGIN": "us"})), fits.ImageHDU(IMAGE, there, "SCI")]
    ).writeto(tmp_path / "mov.fits")
    reference, moving = read(tmp_path / "ref.fits"), read(tmp_path / "mov.fits")
    path = tmp_path / "out.fits"
    assert (
        write(
            path,
            IMAGE,
            like=moving,
            reference=reference,
            offset=[1.5, -2.0],
            history="aligned to réf",
            cards=[("CRGOFF1", 1.5, "px"), ("CRGERR1", float("inf"), "px"), ("CRGREF", "é", "")],
            err=np.full(IMAGE.shape, 2.0),
        )
        == []
    )
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SCI", "ERR"]
        assert hdus[0].header["ORIGIN"] == "us"
        header = hdus[1].header
    assert (header["OBJECT"], header["EXPTIME"], header["BUNIT"]) == ("mov", 30.0, "adu")
    assert (header["CRGOFF1"], header["CRGREF"]) == (1.5, "?")
    assert "CRGERR1" not in header
    assert not {"CROTA2", "PV2_1", "CTYPE1A"} & set(header)
    assert "aligned to r?f" in str(header["HISTORY"])
    for x, y in [(0, 0), (29, 23), (14.5, 3)]:
        np.testing.assert_allclose(
            world(path, x, y), world(tmp_path / "ref.fits", x, y), atol=1e-12
        )
    assert np.all(read(path).err == 2.0)


def test_without_a_sky_in_the_reference_that_of_moving_moves_with_the_pixels(tmp_path):
    fits.PrimaryHDU(IMAGE).writeto(tmp_path / "ref.fits")
    fits.PrimaryHDU(IMAGE, sky_header(CRPIX1A=3.0, CTYPE1A="LINEAR")).writeto(tmp_path / "mov.fits")
    reference, moving = read(tmp_path / "ref.fits"), read(tmp_path / "mov.fits")
    write(tmp_path / "out.fits", IMAGE, like=moving, reference=reference, offset=[1.25, -2.5])
    # the feature at (x, y) = (7, 9) of the result was at (4.5, 10.25) of moving
    np.testing.assert_allclose(
        world(tmp_path / "out.fits", 7, 9), world(tmp_path / "mov.fits", 4.5, 10.25), atol=1e-12
    )
    assert fits.getheader(tmp_path / "out.fits")["CRPIX1A"] == 5.5


def test_a_compressed_result_is_lossless(tmp_path):
    path = save(tmp_path / "a.fits.fz", IMAGE.astype("i2"))
    loaded = read(path)
    np.testing.assert_array_equal(loaded.data, IMAGE.astype("i2"))
    aligned = IMAGE.astype("f4")
    aligned[:, :2] = np.nan
    write(tmp_path / "b.fits.fz", aligned, like=loaded)
    np.testing.assert_array_equal(read(tmp_path / "b.fits.fz").data, aligned)
    write(tmp_path / "b.fits", aligned, like=loaded)
    np.testing.assert_array_equal(read(tmp_path / "b.fits").data, aligned)


# -------------------------------------------------------------------- sky


def test_the_offset_on_the_sky_is_a_true_angle_with_true_bars(tmp_path):
    fits.PrimaryHDU(IMAGE, sky_header()).writeto(tmp_path / "a.fits")
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])
    sky = sky_offset(read(tmp_path / "a.fits"), [3.0, 2.0], covariance)
    assert sky.names == ("RA", "DEC")
    np.testing.assert_allclose(sky.offset, [-0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(
        sky.covariance, 0.04 * np.array([[0.09, -0.01], [-0.01, 0.04]]), rtol=1e-6
    )


def test_a_rotated_camera_and_swapped_axes(tmp_path):
    header = sky_header(PC1_1=0.0, PC1_2=-1.0, PC2_1=1.0, PC2_2=0.0)
    fits.PrimaryHDU(IMAGE, header).writeto(tmp_path / "a.fits")
    sky = sky_offset(read(tmp_path / "a.fits"), [3.0, 2.0], np.diag([0.04, np.inf]))
    np.testing.assert_allclose(sky.offset, [0.6, 0.4], rtol=1e-6)
    np.testing.assert_allclose(sky.stderr, [0.04, np.inf], rtol=1e-6)
    swapped = sky_header(CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRVAL1=60.0, CRVAL2=83.6)
    fits.PrimaryHDU(IMAGE, swapped).writeto(tmp_path / "b.fits")
    sky = sky_offset(read(tmp_path / "b.fits"), [3.0, 2.0], np.eye(2))
    np.testing.assert_allclose(sky.offset, [0.6, -0.4], rtol=1e-6)


def test_solar_coordinates_and_the_pole(tmp_path):
    header = sky_header(CTYPE1="HPLN-TAN", CTYPE2="HPLT-TAN", CRVAL1=359.99, CRVAL2=0.0)
    fits.PrimaryHDU(IMAGE, header).writeto(tmp_path / "a.fits")
    sky = sky_offset(read(tmp_path / "a.fits"), [0.0, 2.0], np.eye(2))
    assert sky.names == ("HPLN", "HPLT")
    np.testing.assert_allclose(sky.offset, [-0.4, 0.0], atol=1e-6)
    fits.PrimaryHDU(IMAGE, sky_header(CRVAL2=90.0)).writeto(tmp_path / "b.fits")
    sky = sky_offset(read(tmp_path / "b.fits"), [3.0, 2.0], np.eye(2))
    np.testing.assert_allclose(np.hypot(*sky.offset), 0.2 * np.hypot(3, 2), rtol=1e-6)


def test_no_sky_without_celestial_axes(tmp_path):
    fits.PrimaryHDU(IMAGE, sky_header(CTYPE1="Solar-X", CTYPE2="Solar-Y")).writeto(
        tmp_path / "a.fits"
    )
    assert sky_offset(read(tmp_path / "a.fits"), [1, 1], np.eye(2)) is None
    assert sky_offset(read(save(tmp_path / "a.npy", IMAGE)), [1, 1], np.eye(2)) is None


# -------------------------------------------------------------------- TIFF


def test_pages_are_not_guessed(tmp_path):
    stack = np.stack([IMAGE, 2 * IMAGE, 3 * IMAGE, 4 * IMAGE]).astype("f4")
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    with pytest.raises(InputError, match=r"4 pages.*--ext 0\) to 3, or all"):
        read(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", ext=2).data, stack[2])
    np.testing.assert_array_equal(read(tmp_path / "a.tif", ext="1").data, stack[1])
    np.testing.assert_array_equal(read(tmp_path / "a.tif", ext="all").data, stack)
    for ext in (4, "SCI", -1):
        with pytest.raises(InputError, match="from 0 to 3"):
            read(tmp_path / "a.tif", ext=ext)
    write(tmp_path / "b.tif", stack, like=read(tmp_path / "a.tif", ext="all"))
    np.testing.assert_array_equal(read(tmp_path / "b.tif").data, stack)


def test_several_images_in_one_file_are_not_guessed(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(IMAGE.astype("f4"), metadata=None)
        writer.write(IMAGE[:9].astype("f4"), metadata=None)
    with pytest.raises(InputError, match="2 pages"):
        read(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif", ext=1).data.shape == (9, 30)


@pytest.mark.parametrize("dialect", ["imagej", "ome"])
def test_a_volume_that_says_so_is_one_and_keeps_its_pixel_size(tmp_path, dialect):
    volume = np.stack([IMAGE] * 3).astype("u2")
    path = tmp_path / ("a.ome.tif" if dialect == "ome" else "a.tif")
    if dialect == "ome":
        metadata = {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        tifffile.imwrite(path, volume, metadata=metadata)
    else:
        metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
        tifffile.imwrite(path, volume, imagej=True, metadata=metadata, resolution=(4.0, 4.0))
    loaded = read(path)
    np.testing.assert_array_equal(loaded.data, volume)
    out = tmp_path / f"out-{path.name}"
    write(out, volume.astype(float), like=loaded)
    assert read(out).data.shape == volume.shape
    with tifffile.TiffFile(out) as file:
        if dialect == "ome":
            assert 'PhysicalSizeX="0.25"' in file.ome_metadata
        else:
            assert file.imagej_metadata["spacing"] == 2.0
            assert file.pages[0].resolution == (4.0, 4.0)


def test_channels_of_a_microscope_need_a_choice(tmp_path):
    pair = np.stack([IMAGE, 3 * IMAGE]).astype("u2")
    tifffile.imwrite(tmp_path / "a.ome.tif", pair, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="2 channels"):
        read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif", channel=1).data, pair[1])


def test_channels_of_a_microscope_have_names(tmp_path):
    three = np.stack([IMAGE, 3 * IMAGE, 5 * IMAGE]).astype("u2")
    for names, asked in (
        (["DAPI", "GFP", "Red"], {"dapi": 0, "GFP": 1, "red": 2, "2": 2, 0: 0}),
        (["488", "grey", "0"], {"488": 0, "grey": 1, "0": 0, "2": 2}),  # a number counts
        (["GFP", "GFP", ""], {"blue": 2, "1": 1}),  # alike, or without one: no name
    ):
        metadata = {"axes": "CYX", "Channel": {"Name": names}}
        tifffile.imwrite(tmp_path / "a.ome.tif", three, metadata=metadata)
        for channel, number in asked.items():
            found = read(tmp_path / "a.ome.tif", channel=channel).data
            np.testing.assert_array_equal(found, three[number])
        with pytest.raises(InputError, match=", ".join(names)):
            read(tmp_path / "a.ome.tif")
        with pytest.raises(InputError, match=", ".join(names)):
            read(tmp_path / "a.ome.tif", channel="GFP" if names[0] == "GFP" else "RFP")


def test_resolution_and_description_of_a_tiff_are_kept(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        IMAGE.astype("u2"),
        description="sample 7",
        resolution=(1200, 600),
        resolutionunit="CENTIMETER",
        datetime="2024:03:01 10:00:00",
    )
    write(tmp_path / "b.tif", IMAGE, like=read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        page = file.pages[0]
        assert page.description == "sample 7"
        assert page.resolution == (1200, 600)
        assert page.resolutionunit == 3
        assert page.tags["DateTime"].value == "2024:03:01 10:00:00"
        assert page.dtype == np.float32


def test_a_map_takes_the_place_of_the_reference_and_nodata_is_not_used(tmp_path):
    def tags(x: float):
        return [
            (33550, "d", 3, (10.0, 10.0, 0.0), True),
            (33922, "d", 6, (0.0, 0.0, 0.0, x, 5e6, 0.0), True),
            (42113, "s", 0, "7", True),
        ]

    data = IMAGE.astype("i2")
    data[3, 4] = 7
    tifffile.imwrite(tmp_path / "ref.tif", data, extratags=tags(4e5))
    tifffile.imwrite(tmp_path / "mov.tif", data, extratags=tags(9e5))
    tifffile.imwrite(tmp_path / "bare.tif", data)
    reference, moving = read(tmp_path / "ref.tif"), read(tmp_path / "mov.tif")
    assert np.argwhere(~moving.valid).tolist() == [[3, 4]]
    write(tmp_path / "out.tif", IMAGE, like=moving, reference=reference)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages[0].tags[33922].value[3] == 4e5
        assert file.pages[0].tags[42113].value == "nan"
    notes = write(tmp_path / "out2.tif", IMAGE, like=moving, reference=read(tmp_path / "bare.tif"))
    assert "map position" in notes[0]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_common_compressions_are_read(tmp_path, compression):
    image_module.fromarray(IMAGE.astype("u1")).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").data, IMAGE.astype("u1"))


# -------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    "name", ["a.fits", "a.fits.gz", "a.fits.fz", "a.tif", "a.png", "a.jpg", "a.npy"]
)
@pytest.mark.parametrize("share", [0.0, 0.002, 0.4, 0.8])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path, name, share):
    data = np.random.default_rng(1).integers(0, 255, (90, 90)).astype("u1")
    path = save(tmp_path / name, data)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert "fetch it again" in message


@pytest.mark.parametrize("name", ["a.fits", "a.tif", "a.png", "a.jpg", "a.npy"])
def test_something_else_under_the_name_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<html>404 not found</html>\n" * 40)
    with pytest.raises(InputError, match="not a readable"):
        read(tmp_path / name)
    with pytest.raises(InputError, match="not a readable"):
        contents(tmp_path / name)


def test_objects_in_an_npy_file_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a readable NPY"):
        read(tmp_path / "a.npy")


def test_what_is_not_an_image_file_is_refused(tmp_path):
    for path, word in [
        (tmp_path, "folder"),
        (tmp_path / "none.fits", "does not exist"),
        (Path(os.devnull), "not a regular file"),
    ]:
        with pytest.raises(InputError, match=word):
            read(path)
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "a").write_text("x")
    with pytest.raises(InputError, match=r"'\.mp4'; one of \.fits"):
        read(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="no suffix"):
        read(tmp_path / "a")


# -------------------------------------------------------------------- writing


def test_an_output_that_exists_is_kept_unless_asked(tmp_path):
    loaded = read(save(tmp_path / "a.npy", IMAGE))
    (tmp_path / "b.npy").write_bytes(b"old")
    with pytest.raises(InputError, match="--overwrite"):
        write(tmp_path / "b.npy", IMAGE, like=loaded)
    assert (tmp_path / "b.npy").read_bytes() == b"old"
    write(tmp_path / "b.npy", IMAGE, like=loaded, overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "b.npy").data, IMAGE)


def test_the_format_is_kept(tmp_path):
    loaded = read(save(tmp_path / "a.npy", IMAGE))
    with pytest.raises(InputError, match=r"name it b\.npy"):
        write(tmp_path / "b.fits", IMAGE, like=loaded)


def test_places_that_cannot_be_written_to(tmp_path):
    for path, word in [
        (tmp_path, "folder"),
        (tmp_path / "no" / "a.npy", "does not exist"),
        (Path(os.devnull), "regular file"),
    ]:
        with pytest.raises(InputError, match=word):
            check_output(path, overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_closed_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="writable"):
        check_output(tmp_path / "a.npy")


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    place = tmp_path / "a.txt"
    place.write_text("old")

    def fail() -> None:
        with atomic_write(place, overwrite=True) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert place.read_text() == "old"
    assert left_over(tmp_path) == ["a.txt"]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path):
    place = tmp_path / "a.npy"
    place.write_text("old")
    limited = (
        "import resource, signal, sys, numpy as np\n"
        "from coregister.io import read, write\n"
        "from coregister.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "like = read(sys.argv[1])\n"
        "image = 255 * np.random.default_rng(0).random((300, 300))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    write(sys.argv[2], image, like=like, overwrite=True)\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    for name in ("a.npy", "a.fits", "a.tif", "a.png"):
        source = save(tmp_path / name.replace("a.", "source."), IMAGE.astype("u1"))
        place = tmp_path / name
        place.write_text("old")
        done = subprocess.run(
            [sys.executable, "-c", limited, source, place],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "could not be written" in done.stdout, (name, done.stdout, done.stderr)
        assert done.stdout.count("\n") == 1
        assert place.read_text() == "old"
    assert not [name for name in left_over(tmp_path) if name.startswith(".")]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    place = tmp_path / "a.txt"
    place.write_text("old")
    code = (
        "import sys, time\n"
        "from coregister.io import atomic_write\n"
        "with atomic_write(sys.argv[1], overwrite=True) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, place], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert place.read_text() == "old"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    place = tmp_path / "a.txt"

    def race() -> None:
        with atomic_write(place) as temporary:
            temporary.write_text("ours")
            place.write_text("theirs")

    with pytest.raises(InputError, match="exists"):
        race()
    assert place.read_text() == "theirs"
    assert left_over(tmp_path) == ["a.txt"]


def test_a_link_stays_a_link_and_permissions_stay(tmp_path):
    target = tmp_path / "target.txt"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link.txt").symlink_to(target)
    with atomic_write(tmp_path / "link.txt", overwrite=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_permissions_that_the_user_set(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_the_error_of_a_writer_is_both_ours_and_the_builtin():
    assert issubclass(OutputError, CoregisterError)
    assert issubclass(OutputError, OSError)
