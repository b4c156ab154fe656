"""When frames were taken: every place where it can stand, and what is no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

import coregister as cr
from coregister.errors import InputError
from coregister.io import open_stack
from coregister.io.times import as_times, times_of

fits = pytest.importorskip("astropy.io.fits")
tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")

SHAPE = (4, 12, 16)
SECONDS = [0.0, 1.5, 4.0, 4.25]
FIRST = datetime(2004, 3, 1, 2, 0, 10, 500000)
DATES = [FIRST + timedelta(seconds=s) for s in SECONDS]


@pytest.mark.parametrize(
    ("values", "dated"),
    [
        ([7 + s for s in SECONDS], False),
        (DATES, True),
        ([d.isoformat() for d in DATES], True),
        ([d.isoformat() + "Z" for d in DATES], True),
        ([d.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=5))) for d in DATES], True),
        (np.array(DATES, dtype="M8[ns]"), True),
    ],
)
def test_times_as_given(values, dated):
    found = as_times(values, 4)
    np.testing.assert_allclose(found.seconds, SECONDS, atol=1e-9)
    assert found.start == (FIRST.isoformat() if dated else None)


def test_astropy_times():
    time = pytest.importorskip("astropy.time").Time(DATES)
    np.testing.assert_allclose(as_times(time, 4).seconds, SECONDS, atol=1e-6)


@pytest.mark.parametrize("values", [SECONDS[:3], [0, 1, np.nan, 2], ["now"] * 4, [True] * 4, [[0]]])
def test_what_is_no_time_is_refused(values):
    with pytest.raises(InputError, match=r"times has"):
        as_times(values, 4)


def headers(kind: str) -> list[dict[str, object]]:
    days = [53065.0833391 + s / 86400 for s in SECONDS]
    if kind == "iso":  # with a clock beside it that must not be added
        return [{"DATE-OBS": d.isoformat(), "TIME-OBS": "00:00:00"} for d in DATES]
    if kind == "middle":  # of the exposure, rather than its begin
        return [
            {"DATE-AVG": d.isoformat(), "DATE-OBS": (FIRST + 9 * (d - FIRST)).isoformat()}
            for d in DATES
        ]
    if kind == "apart":
        return [{"DATE-OBS": str(d.date()), "TIME-OBS": d.time().isoformat()} for d in DATES]
    if kind == "day":  # the date alone says nothing
        return [
            {"DATE-OBS": "2004-03-01", "MJD-OBS": day} for day, _ in zip(days, DATES, strict=True)
        ]
    if kind == "julian":
        return [{"JD": day + 2400000.5} for day in days]
    return [{"DATE_OBS": d.isoformat() + "Z"} for d in DATES]


@pytest.mark.parametrize("kind", ["iso", "middle", "apart", "day", "julian", "old"])
@pytest.mark.parametrize("extension", [False, True])
def test_fits_files(tmp_path, kind, extension):
    data = np.random.default_rng(3).standard_normal(SHAPE).astype("f4")
    for i, cards in enumerate(headers(kind)):
        first = fits.PrimaryHDU(None if extension else data[i], fits.Header(cards))
        more = [fits.ImageHDU(data[i])] if extension else []
        fits.HDUList([first, *more]).writeto(tmp_path / f"f{i}.fits")
    found = times_of(open_stack(str(tmp_path / "f*.fits")))
    assert found is not None
    np.testing.assert_allclose(found.seconds, SECONDS, atol=1e-4 if kind == "julian" else 1e-5)
    assert found.start is not None
    assert found.start.startswith("2004-03-01T02:00:10") is (kind not in ("day", "julian")) or (
        found.start.startswith("2004-03-01T02:00:0")
    )


@pytest.mark.parametrize("lost", [0, 2])
def test_a_file_without_a_date_leaves_none(tmp_path, lost):
    for i, cards in enumerate(headers("iso")):
        header = fits.Header({} if i == lost else cards)
        fits.PrimaryHDU(np.zeros((12, 16)), header).writeto(tmp_path / f"f{i}.fits")
    assert times_of(open_stack(str(tmp_path / "f*.fits"))) is None


def zarr_with(path, axis, scale):
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", shape=SHAPE, chunks=SHAPE, dtype="f4")
    space = [{"name": n, "type": "space"} for n in "yx"]
    image = {
        "axes": [{"name": "t", "type": "time", **axis}, *space],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}],
            }
        ],
        "coordinateTransformations": [{"type": "scale", "scale": [scale, 1.0, 1.0]}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


def test_one_file_that_counts_time(tmp_path):
    data = np.zeros(SHAPE, "f4")
    planes = {"DeltaT": [s + 2 for s in SECONDS], "DeltaTUnit": ["s"] * 4}
    about = {"axes": "TYX", "Plane": planes, "AcquisitionDate": FIRST.isoformat()}
    tifffile.imwrite(tmp_path / "planes.ome.tif", data, metadata=about)
    even = {"axes": "TYX", "TimeIncrement": 250.0, "TimeIncrementUnit": "ms"}
    tifffile.imwrite(tmp_path / "even.ome.tif", data, metadata=even)
    tifffile.imwrite(
        tmp_path / "imagej.tif", data, imagej=True, metadata={"axes": "TYX", "finterval": 0.25}
    )
    zarr_with(tmp_path / "z.zarr", {"unit": "millisecond"}, 250.0)
    header = fits.Header({"CTYPE3": "UTC", "CDELT3": 0.25, "CUNIT3": "s"})
    fits.PrimaryHDU(data, header).writeto(tmp_path / "cube.fits")
    found = open_stack(tmp_path / "planes.ome.tif").times
    np.testing.assert_allclose(found.seconds, SECONDS, atol=1e-9)
    assert found.start == (FIRST + timedelta(seconds=2)).isoformat()
    for name in ("even.ome.tif", "imagej.tif", "z.zarr", "cube.fits"):
        np.testing.assert_allclose(open_stack(tmp_path / name).times.seconds, np.arange(4) * 0.25)


def test_a_file_that_does_not_say(tmp_path):
    data = np.zeros(SHAPE, "f4")
    tifffile.imwrite(tmp_path / "plain.tif", data, photometric="minisblack")
    tifffile.imwrite(tmp_path / "ome.ome.tif", data, metadata={"axes": "TYX"})
    tifffile.imwrite(
        tmp_path / "depth.ome.tif", data, metadata={"axes": "ZYX", "TimeIncrement": 1.0}
    )
    np.save(tmp_path / "plain.npy", data)
    fits.PrimaryHDU(data, fits.Header({"CTYPE3": "WAVE"})).writeto(tmp_path / "cube.fits")
    zarr_with(tmp_path / "z.zarr", {}, 250.0)  # no unit
    names = ("plain.tif", "ome.ome.tif", "depth.ome.tif", "plain.npy", "cube.fits", "z.zarr")
    for name in names:
        assert open_stack(tmp_path / name).times is None, name


def test_a_result_holds_them():
    rng = np.random.default_rng(0)
    scene = cr.random_scene("power-law-3", (80, 80), rng=rng)
    movie = cr.simulate_stack(scene, np.zeros((4, 2)), noise=0.1, rng=rng, shape=(48, 48))
    assert cr.register_stack(movie).times is None
    result = cr.register_stack(movie, times=DATES)
    np.testing.assert_allclose(result.times, SECONDS)
    assert result.relative_to(1).start == FIRST.isoformat()
    beside = cr.register_stack(movie[1:], reference=movie[0], times=DATES[1:])
    assert len(beside.times) == 3
    with pytest.raises(InputError, match="one a frame"):
        cr.register_stack(movie, times=DATES[1:])
    xarray = pytest.importorskip("xarray")
    cube = xarray.DataArray(
        movie, dims=("t", "y", "x"), coords={"t": np.array(DATES, dtype="M8[ns]")}
    )
    np.testing.assert_allclose(cr.register_stack(cube).times, SECONDS)
    hdus = [fits.PrimaryHDU(f, fits.Header(c)) for f, c in zip(movie, headers("iso"), strict=True)]
    np.testing.assert_allclose(cr.register_stack(hdus).times, SECONDS, atol=1e-6)
