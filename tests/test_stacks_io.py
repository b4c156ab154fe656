"""Stacks in files: every format there and back, what is damaged, what is read when."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from coregister.errors import InputError, OutputError
from coregister.io import open_stack, write_stack

fits = pytest.importorskip("astropy.io.fits")
mrcfile = pytest.importorskip("mrcfile")
tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")

SHAPE = (5, 12, 16)
SCALE = ((0.2, "micrometer"), (0.1, "micrometer"))


@pytest.fixture
def movie() -> np.ndarray:
    return np.random.default_rng(3).standard_normal(SHAPE).astype("f4")


def ome_zarr(path: Path, data: np.ndarray, axes: str, version: str) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    level = group.create_array("0", shape=data.shape, chunks=data.shape, dtype=data.dtype)
    level[:] = data
    kinds = {"t": "time", "c": "channel"}
    sizes = {"t": 3.0, "y": 0.2, "x": 0.1}
    image = {
        "axes": [
            {
                "name": a,
                "type": kinds.get(a, "space"),
                **({"unit": "micrometer"} if a in "yx" else {}),
            }
            for a in axes
        ],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [sizes.get(a, 1.0) for a in axes]}
                ],
            }
        ],
    }
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


def written(folder: Path, kind: str, data: np.ndarray) -> Path:
    """The movie in one of the formats, by the library that knows it."""
    if kind == "npy":
        np.save(folder / "m.npy", data)
        return folder / "m.npy"
    if kind == "fits":
        fits.PrimaryHDU(data).writeto(folder / "m.fits")
        return folder / "m.fits"
    if kind == "mrc":
        with mrcfile.new(folder / "m.mrcs") as file:
            file.set_data(data)
            file.set_image_stack()
            file.voxel_size = 1.5
        return folder / "m.mrcs"
    if kind == "tiff":
        tifffile.imwrite(folder / "m.tif", data, photometric="minisblack")
        return folder / "m.tif"
    if kind == "ome-tiff":
        about = {"axes": "TYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2}
        tifffile.imwrite(folder / "m.ome.tif", data, metadata=about)
        return folder / "m.ome.tif"
    if kind == "imagej":
        tifffile.imwrite(folder / "m.tif", data, imagej=True, metadata={"axes": "TYX"})
        return folder / "m.tif"
    if kind == "zarr":
        zarr.save_array(folder / "m.zarr", data)
        return folder / "m.zarr"
    return ome_zarr(folder / "m.zarr", data, "tyx", kind.removeprefix("ome-zarr-"))


KINDS = ["npy", "fits", "mrc", "tiff", "ome-tiff", "imagej", "zarr", "ome-zarr-0.4", "ome-zarr-0.5"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_read(tmp_path, movie, kind):
    path = written(tmp_path, kind, movie)
    stack = open_stack(path)
    for source in (stack, pickle.loads(pickle.dumps(stack))):
        assert len(source) == len(movie)
        for index in (3, 0, 4):
            np.testing.assert_array_equal(source[index], movie[index])
    np.testing.assert_array_equal(stack[-1], movie[-1])
    with pytest.raises(IndexError):  # what iteration stops at
        stack[len(movie)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_sentence(tmp_path, movie, kind):
    path = written(tmp_path, kind, movie)
    if path.is_dir():
        (path / ("zarr.json" if (path / "zarr.json").exists() else ".zgroup")).write_text("{")
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(InputError) as error:
        list(open_stack(path))
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".npy", ".fits", ".tif", ".zarr"])
def test_there_and_back(tmp_path, movie, suffix):
    path = tmp_path / f"out{suffix}"
    movie[1, :3] = np.nan
    scale = SCALE if suffix in (".tif", ".zarr") else None
    write_stack(path, iter(movie), count=len(movie), shape=movie.shape[1:], scale=scale)
    stack = open_stack(path)
    np.testing.assert_array_equal(np.stack([stack[i] for i in range(len(stack))]), movie)
    assert stack[0].dtype.newbyteorder("=") == np.float32
    if scale is not None:
        assert [size for size, _ in stack.scale] == pytest.approx([0.2, 0.1])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".npy", ".fits", ".tif", ".zarr"])
def test_volumes_there_and_back(tmp_path, suffix):
    movie = np.random.default_rng(3).standard_normal((4, 3, 12, 16)).astype("f4")
    path = tmp_path / f"out{suffix}"
    write_stack(path, iter(movie), count=4, shape=movie.shape[1:])
    stack = open_stack(path)
    np.testing.assert_array_equal(np.stack([stack[i] for i in range(len(stack))]), movie)


@pytest.mark.parametrize("suffix", [".npy", ".fits", ".tif", ".zarr"])
def test_what_exists_is_replaced_only_when_asked_and_only_when_whole(tmp_path, movie, suffix):
    path = tmp_path / f"out{suffix}"
    about = {"count": len(movie), "shape": movie.shape[1:]}
    write_stack(path, iter(movie), **about)
    with pytest.raises(InputError, match="exists"):
        write_stack(path, iter(movie + 1), **about)

    def breaks():
        yield movie[0] + 1
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_stack(path, breaks(), overwrite=True, **about)
    np.testing.assert_array_equal(open_stack(path)[0], movie[0])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    write_stack(path, iter(movie + 1), overwrite=True, **about)
    np.testing.assert_array_equal(open_stack(path)[0], movie[0] + 1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".npy", ".fits", ".tif", ".zarr"])
@pytest.mark.parametrize("given", [3, 6])
def test_a_count_that_is_not_true_leaves_nothing(tmp_path, movie, suffix, given):
    frames = [movie[i % 5] for i in range(given)]
    with pytest.raises((OutputError, InputError), match=r"5 frames"):
        write_stack(tmp_path / f"out{suffix}", iter(frames), count=5, shape=movie.shape[1:])
    assert list(tmp_path.iterdir()) == []


def test_aligned_zarr_is_ngff_with_one_chunk_a_frame(tmp_path, movie):
    path = tmp_path / "out.zarr"
    write_stack(path, iter(movie), count=5, shape=movie.shape[1:], scale=SCALE, about={"a": 1})
    group = zarr.open_group(path, mode="r")
    about = group.attrs["ome"]
    assert about["version"] == "0.5"
    assert [a["name"] for a in about["multiscales"][0]["axes"]] == ["t", "y", "x"]
    level = about["multiscales"][0]["datasets"][0]
    assert level["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 0.2, 0.1]}]
    assert group["0"].chunks == (1, 12, 16)
    assert group.attrs["coregister"] == {"a": 1}


@pytest.mark.parametrize("kind", ["ome-tiff", "ome-zarr-0.4", "ome-zarr-0.5"])
def test_one_channel_of_several(tmp_path, kind):
    data = np.random.default_rng(3).standard_normal((4, 2, 12, 16)).astype("f4")
    if kind == "ome-tiff":
        path = tmp_path / "m.ome.tif"
        tifffile.imwrite(path, data, metadata={"axes": "TCYX"})
    else:
        path = ome_zarr(tmp_path / "m.zarr", data, "tcyx", kind[-3:])
    with pytest.raises(InputError, match="2 channels"):
        len(open_stack(path))
    np.testing.assert_array_equal(open_stack(path, channel=1)[2], data[2, 1])
    np.testing.assert_array_equal(open_stack(path, channel="0")[2], data[2, 0])
    with pytest.raises(InputError, match="channel=2"):
        len(open_stack(path, channel=2))


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("ome-tiff", [0.2, 0.1]), ("mrc", [1.5, 1.5]), ("ome-zarr-0.5", [0.2, 0.1]), ("npy", None)],
)
def test_pixel_sizes(tmp_path, movie, kind, sizes):
    scale = open_stack(written(tmp_path, kind, movie)).scale
    assert (scale and [size for size, _ in scale]) == (sizes and pytest.approx(sizes))


def test_planes_of_a_volume_are_frames_of_two_pixel_sizes(tmp_path, movie):
    data = movie[None, :, None]
    path = ome_zarr(tmp_path / "m.zarr", data, "tzcyx", "0.4")
    stack = open_stack(path)
    assert (len(stack), stack[1].shape, len(stack.scale)) == (5, (12, 16), 2)


def test_frames_are_read_when_they_are_asked_for(tmp_path, movie):
    path = ome_zarr(tmp_path / "m.zarr", movie, "tyx", "0.5")
    group = zarr.open_group(path, mode="a")
    del group["0"]
    level = group.create_array("0", shape=movie.shape, chunks=(1, 12, 16), dtype="f4")
    level[:] = movie
    stack = open_stack(path)
    for chunk in (path / "0" / "c").iterdir():  # all but one go away once it is open
        if chunk.name != "3":
            for file in sorted(chunk.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
    np.testing.assert_array_equal(stack[3], movie[3])
    assert not np.array_equal(stack[2], movie[2])


def test_a_pattern_and_a_list(tmp_path, movie):
    for i, frame in enumerate(movie):
        fits.PrimaryHDU(frame).writeto(tmp_path / f"f{i}.fits")
    found = open_stack(str(tmp_path / "f*.fits"))
    assert [p.name for p in found] == [f"f{i}.fits" for i in range(5)]
    assert open_stack([str(p) for p in found]) == found
    with pytest.raises(InputError, match="matches 0 files"):
        open_stack(str(tmp_path / "g*.fits"))


def test_what_is_no_stack_is_refused(tmp_path, movie):
    (tmp_path / "a.txt").write_text("no")
    np.save(tmp_path / "line.npy", np.zeros(7))
    np.save(tmp_path / "number.npy", np.array(7.0))
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    for name in ("a.txt", "missing.npy", "number.npy", "line.npy", "objects.npy", "group.zarr"):
        with pytest.raises(InputError, match=name):
            len(open_stack(tmp_path / name))


def test_one_image_is_no_stack_of_spectra(tmp_path, movie):
    """A file of one image is a mistake; rows that are spectra come as an array."""
    import coregister as cr

    np.save(tmp_path / "one.npy", movie[0])
    zarr.save(tmp_path / "one.zarr", movie[0])
    fits.writeto(tmp_path / "one.fits", movie[0])
    for name in ("one.npy", "one.zarr", "one.fits"):
        with pytest.raises(InputError, match=f"{name} holds one image.*name more files"):
            open_stack(tmp_path / name)
    rng = np.random.default_rng(3)
    line = np.cumsum(rng.normal(size=400))
    spectra = np.stack([line[50 + d : 306 + d] for d in (0, 2, 5)])
    result = cr.register_stack(spectra + 0.01 * rng.normal(size=spectra.shape), reference="first")
    assert result.trusted.all()
    np.testing.assert_allclose(result.offsets[:, 0], [0, -2, -5], atol=0.1)


def test_tables_there_and_back(tmp_path):
    import coregister as cr

    rng = np.random.default_rng(2)
    scene = cr.random_scene("power-law-2", (96, 96), rng=rng)
    movie = cr.simulate_stack(
        scene, [(0, 0), (0.5, -1), (1, -2), (1, 1)], noise=0.05, rng=rng, shape=(48, 48)
    )
    movie[2] = 1.0
    with pytest.warns(cr.RegistrationWarning):
        result = cr.register_stack(movie)
    from astropy.table import QTable

    for suffix, form in ((".ecsv", "ascii.ecsv"), (".csv", "ascii.csv"), (".parquet", "parquet")):
        path = tmp_path / f"t{suffix}"
        result.save(path)
        table = QTable.read(path, format=form)
        assert len(table) == 4
        assert [str(v) == "True" for v in table["trusted"]] == result.trusted.tolist()
        assert [str(s) for s in table["status"]] == [str(s) for s in result.status]
        if suffix == ".csv":
            np.testing.assert_array_equal(table["offset_y_px"], result.offsets[:, 0])
            np.testing.assert_array_equal(table["stderr_x_px"], result.stderr[:, 1])
        else:
            assert str(table["offset"].unit) == "pix"
            np.testing.assert_array_equal(table["offset"].value, result.offsets)
            flat = np.asarray(table["covariance"].value).reshape(4, 2, 2)
            np.testing.assert_array_equal(flat, result.covariances)
            assert table.meta["coregister"]["version"] == cr.__version__
    result.save(tmp_path / "t.json")
    text = (tmp_path / "t.json").read_text()
    strict = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = cr.StackRegistration.from_dict(strict)
    np.testing.assert_array_equal(again.covariances, result.covariances)
    assert again.flags == result.flags


@pytest.mark.parametrize("suffix", [".zarr", ".ome.tif", ".fits"])
@pytest.mark.parametrize("even", [True, False])
def test_times_there_and_back(tmp_path, movie, suffix, even):
    times = np.arange(5) * 0.25 if even else np.array([0.0, 0.25, 0.5, 0.75, 2.0])
    path = tmp_path / f"out{suffix}"
    write_stack(path, iter(movie), count=5, shape=movie.shape[1:], scale=SCALE, times=times)
    found = open_stack(path).times
    if even or suffix == ".ome.tif":
        np.testing.assert_allclose(found.seconds, times, atol=1e-9)
    else:
        assert found is None
    np.testing.assert_array_equal(open_stack(path)[3], movie[3])


def test_times_of_volumes_in_a_tiff(tmp_path):
    volumes = np.random.default_rng(3).standard_normal((3, 4, 12, 16)).astype("f4")
    times = np.array([0.0, 1.0, 3.0])
    write_stack(tmp_path / "v.tif", iter(volumes), count=3, shape=volumes.shape[1:], times=times)
    stack = open_stack(tmp_path / "v.tif")
    np.testing.assert_array_equal(stack[2], volumes[2])
    np.testing.assert_allclose(stack.times.seconds, times)


@pytest.mark.parametrize("kind", ["u2", "scaled", "blank"])
def test_scaled_integers_in_a_cube(tmp_path, kind):
    data = np.random.default_rng(3).integers(0, 60000, SHAPE).astype("u2" if kind == "u2" else "i4")
    hdu = fits.PrimaryHDU(data)
    if kind != "u2":
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 7.0
    if kind == "blank":
        hdu.data[2, 3, 4] = -1
        hdu.header["BLANK"] = -1
    with fits.open(tmp_path / "m.fits", mode="append") as hdus:
        hdus.append(hdu)
    expected = fits.getdata(tmp_path / "m.fits")
    assert np.isnan(expected).sum() == (kind == "blank")
    np.testing.assert_array_equal(np.stack([*open_stack(tmp_path / "m.fits")]), expected)
