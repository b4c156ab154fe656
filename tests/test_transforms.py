"""The displacement in the forms of other tools, read back by those tools."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import coregister as cr
from coregister.transforms import itk_text, ngff, skimage_matrix

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


def test_itk_moves_points_of_the_reference_to_the_moving_image(result, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "shift.tfm"
    result.save_transform(path, spacing=(0.25, 0.1))
    transform = sitk.ReadTransform(str(path))
    there = transform.TransformPoint((1.0, 2.0))
    np.testing.assert_allclose(there, (1.0 - 0.22, 2.0 + 0.825), atol=0.01)
    with pytest.raises(cr.InputError, match="exists"):
        result.save_transform(path)


def test_skimage_warps_onto_the_reference(pair, result):
    transform = pytest.importorskip("skimage.transform")
    reference, moving = pair
    warped = transform.warp(moving, transform.AffineTransform(matrix=skimage_matrix(result.offset)))
    inner = (slice(8, -8), slice(8, -8))
    left = np.std((warped - reference)[inner])
    assert left < 0.4 * np.std((moving - reference)[inner])


def test_ngff_maps_the_moving_image_onto_the_reference(result, tmp_path):
    path = tmp_path / "shift.json"
    result.save_transform(path)
    record = json.loads(path.read_text())
    (transform,) = record["coordinateTransformations"]
    assert transform == ngff(result.offset)
    np.testing.assert_allclose(transform["translation"], -result.offset)
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
