"""The displacement in the forms of other tools, read back by those tools."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import coregister as cr
from coregister.transforms import itk_text

SPACING = ((0.25, "µm"), (0.1, "µm"))


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    scene = cr.random_scene("power-law-2", (128, 128), rng=rng)
    return cr.simulate_pair(scene, (3.3, -2.2), noise=0.1, rng=rng, shape=(64, 64))


@pytest.fixture(scope="module")
def result(pair):
    return cr.register(*pair)


def test_the_offset_in_micrometres(result):
    real = result.physical(SPACING)
    np.testing.assert_allclose(real.offset, result.offset * (0.25, 0.1))
    np.testing.assert_allclose(real.stderr, result.stderr * (0.25, 0.1))
    assert real.units == ("µm", "µm")
    with pytest.raises(cr.InputError, match="size of a pixel is not known"):
        result.physical()
    with pytest.raises(cr.InputError, match="a size and a unit"):
        result.physical((0.25, 0.1))


def test_itk_moves_points_of_the_reference_to_the_moving_image(result, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "shift.tfm"
    result.save_transform(path, spacing=SPACING)
    transform = sitk.ReadTransform(str(path))
    there = transform.TransformPoint((1.0, 2.0))
    np.testing.assert_allclose(there, (1.0 - 0.22, 2.0 + 0.825), atol=0.01)
    with pytest.raises(cr.InputError, match="exists"):
        result.save_transform(path)


def turned(angles, spacing):
    """Direction cosines of a turned scanner times the size of its voxels, x first."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.asarray(spacing)


@pytest.fixture(scope="module")
def volumes():
    rng = np.random.default_rng(1)
    scene = cr.random_scene("power-law-2", (48, 48, 48), rng=rng)
    return cr.simulate_pair(scene, (1.3, 2.4, -2.2), noise=0.02, rng=rng, shape=(24, 26, 28))


@pytest.mark.parametrize("source", ["NIfTI", "SimpleITK"])
@pytest.mark.parametrize("scanner", ["the same", "another place", "another orientation"])
def test_itk_knows_origins_and_direction_cosines(volumes, scanner, source, tmp_path):
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    matrices = [turned((20, -30, 50), (1.5, 2.0, 3.0))] * 2
    origins = [np.array([10.0, 20.0, -7.0])] * 2
    if scanner != "the same":
        origins = [origins[0], np.array([-4.0, 2.0, 11.0])]
    if scanner == "another orientation":
        matrices = [matrices[0], turned((-5, 12, 3), (1.5, 2.0, 3.0))]
    paths = [tmp_path / f"{name}.nii" for name in "ab"]
    for path, data, matrix, origin in zip(paths, volumes, matrices, origins, strict=True):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix, origin
        volume = nibabel.Nifti1Image(data.T.astype(np.float32), affine)
        volume.header.set_xyzt_units("mm")
        nibabel.save(volume, path)
    images = [sitk.ReadImage(str(path)) for path in paths]
    result = cr.register(*(paths if source == "NIfTI" else images))
    assert result.trusted
    np.testing.assert_allclose(result.offset, (1.3, 2.4, -2.2), atol=0.05)
    np.testing.assert_allclose(result.physical().offset, result.offset * (3.0, 2.0, 1.5), rtol=1e-5)
    result.save_transform(tmp_path / "shift.tfm")
    transform = sitk.ReadTransform(str(tmp_path / "shift.tfm"))
    for index in ((3.0, 5.0, 7.0), (20.0, 1.0, 11.0)):
        point = images[0].TransformContinuousIndexToPhysicalPoint(index)
        there = images[1].TransformPhysicalPointToContinuousIndex(transform.TransformPoint(point))
        np.testing.assert_allclose(there, np.add(index, result.offset[::-1]), atol=1e-4)
    # and ITK resamples with it to what `apply` gives
    back = sitk.Resample(images[1], images[0], transform, sitk.sitkBSpline, np.nan)
    back, inner = sitk.GetArrayFromImage(back), (slice(4, -4),) * 3
    np.testing.assert_allclose(back[inner], result.apply(volumes[1])[inner], atol=1e-2)
    # without origins and directions it does not
    result.save_transform(tmp_path / "plain.tfm", spacing=((3.0, "mm"), (2.0, "mm"), (1.5, "mm")))
    other = sitk.ReadTransform(str(tmp_path / "plain.tfm")).TransformPoint(point)
    assert np.linalg.norm(np.subtract(other, transform.TransformPoint(point))) > 3


def test_a_slice_of_a_volume_lies_in_space_too(pair, tmp_path):
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    affine = np.eye(4)
    affine[:3, :3] = turned((20, -30, 50), (1.5, 2.0, 3.0))
    paths = [tmp_path / f"{name}.nii" for name in "ab"]
    for path, data in zip(paths, pair, strict=True):
        nibabel.save(nibabel.Nifti1Image(data.T[:, None].astype(np.float32), affine), path)
    result = cr.register(*paths)
    result.save_transform(tmp_path / "shift.tfm")
    transform = sitk.ReadTransform(str(tmp_path / "shift.tfm"))
    image = sitk.ReadImage(str(paths[0]))
    point = image.TransformContinuousIndexToPhysicalPoint((5.0, 0.0, 7.0))
    there = image.TransformPhysicalPointToContinuousIndex(transform.TransformPoint(point))
    np.testing.assert_allclose(there, (5 + result.offset[1], 0, 7 + result.offset[0]), atol=1e-4)


def test_a_file_that_does_not_know_its_place(pair, tmp_path):
    """Neither qform nor sform: the axes are those of space, as ITK reads such a file."""
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    paths = [tmp_path / f"{name}.nii" for name in "ab"]
    for path, data in zip(paths, pair, strict=True):
        image = nibabel.Nifti1Image(data.T[..., None].astype(np.float32), None)
        image.header.set_zooms((1.5, 2.0, 3.0))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
    result = cr.register(*paths)
    result.save_transform(tmp_path / "shift.tfm")
    there = sitk.ReadTransform(str(tmp_path / "shift.tfm")).TransformPoint((0.0, 0.0))
    np.testing.assert_allclose(there, (1.5 * result.offset[1], 2.0 * result.offset[0]))


def test_skimage_warps_onto_the_reference(pair, result):
    transform = pytest.importorskip("skimage.transform")
    reference, moving = pair
    warped = transform.warp(moving, transform.EuclideanTransform(result.to_skimage()))
    inner = (slice(8, -8), slice(8, -8))
    left = np.std((warped - reference)[inner])
    assert left < 0.4 * np.std((moving - reference)[inner])


def test_ngff_maps_the_moving_image_onto_the_reference(result, tmp_path):
    path = tmp_path / "shift.json"
    result.save_transform(path)
    record = json.loads(path.read_text())
    scene = record["ome"]["scene"]
    (transform,) = scene["coordinateTransformations"]
    assert scene == result.to_ngff()["ome"]["scene"]
    assert [system["name"] for system in scene["coordinateSystems"]] == ["reference", "moving"]
    np.testing.assert_allclose(transform["translation"], -result.offset)
    real = result.to_ngff(spacing=SPACING)["ome"]["scene"]
    np.testing.assert_allclose(
        real["coordinateTransformations"][0]["translation"], -result.physical(SPACING).offset
    )
    assert real["coordinateSystems"][0]["axes"][0] == {
        "name": "y",
        "type": "space",
        "unit": "micrometer",
    }
    again = cr.Registration.from_dict(record["coregister"])
    np.testing.assert_array_equal(again.offset, result.offset)
    with pytest.raises(cr.InputError, match=r"\.tfm \(ITK\)"):
        result.save_transform(tmp_path / "shift.h5")


def test_itk_counts_x_first():
    rng = np.random.default_rng(1)
    scene = cr.random_scene("power-law-2", (40, 40, 40), rng=rng)
    a, b = cr.simulate_pair(scene, (1.0, 2.0, 3.0), noise=0.02, rng=rng, shape=(24, 24, 24))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = itk_text(cr.register(a, b).offset)
    values = [float(word) for word in text.split("Parameters: ")[1].split("\n")[0].split()]
    np.testing.assert_allclose(values, (3, 2, 1), atol=0.1)
    assert "TranslationTransform_double_3_3" in text


def test_labelled_arrays_in_and_out(pair):
    xarray = pytest.importorskip("xarray")
    reference, moving = (
        xarray.DataArray(
            data,
            dims=("y", "x"),
            coords={
                "y": ("y", 0.25 * np.arange(64), {"units": "µm"}),
                "x": ("x", 10 + 0.1 * np.arange(64), {"units": "µm"}),
            },
            name="frame",
        )
        for data in pair
    )
    result = cr.register(reference, moving)
    np.testing.assert_allclose(result.physical().offset, result.offset * (0.25, 0.1))
    assert "µm" in str(result)
    aligned = result.apply(moving)
    assert aligned.dims == ("y", "x")
    assert aligned.name == "frame"
    np.testing.assert_array_equal(aligned.coords["x"], reference.coords["x"])
    np.testing.assert_array_equal(aligned.values, cr.register(*pair).apply(pair[1]))


def test_pixel_sizes_of_microscope_files(pair, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    paths = tmp_path / "a.ome.tif", tmp_path / "b.tif"
    tifffile.imwrite(
        paths[0],
        pair[0].astype(np.float32),
        ome=True,
        metadata={
            "axes": "YX",
            "PhysicalSizeX": 0.1,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.25,
            "PhysicalSizeYUnit": "µm",
        },
    )
    tifffile.imwrite(
        paths[1],
        pair[0].astype(np.float32),
        imagej=True,
        resolution=(10.0, 4.0),
        metadata={"unit": "um", "axes": "YX"},
    )
    for path, unit in zip(paths, ("µm", "um"), strict=True):
        real = cr.register(path, pair[1]).physical()
        np.testing.assert_allclose(real.offset, (0.825, -0.22), atol=0.01)
        assert real.units == (unit, unit)


def test_the_scene_is_valid_ngff(result):
    ngff_zarr = pytest.importorskip("ngff_zarr")
    for spacing in (None, SPACING):
        metadata = result.to_ngff(spacing=spacing)
        ngff_zarr.validate(metadata, version="0.6", model="scene")
    metadata["ome"]["scene"]["coordinateTransformations"][0]["input"] = "moving"
    with pytest.raises(Exception, match="moving"):
        ngff_zarr.validate(metadata, version="0.6", model="scene")


def test_the_command_knows_the_size_of_the_pixels(pair, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    runner = pytest.importorskip("click.testing").CliRunner()
    from coregister.cli import cli

    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.25}
    paths = [tmp_path / f"{name}.ome.tif" for name in "ab"]
    for path, data in zip(paths, pair, strict=True):
        data = data.astype(np.float32)
        tifffile.imwrite(path, data, ome=True, metadata={"axes": "YX", **sizes})
    done = runner.invoke(cli, ["pair", *map(str, paths), "--json", str(tmp_path / "r.json")])
    assert "in µm, y" in done.output
    record = json.loads((tmp_path / "r.json").read_text())["physical"]
    np.testing.assert_allclose(record["offset"], (0.825, -0.22), atol=0.01)
    assert record["units"] == ["µm", "µm"]
