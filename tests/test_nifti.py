"""NIfTI in and out, with volumes that nibabel carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import coregister as cr
from coregister.io import contents, read, write

nibabel = pytest.importorskip("nibabel")
DATA = Path(nibabel.__file__).parent / "tests/data"


@pytest.fixture(scope="module")
def volumes():
    """A brain, and the same as if it had been moved by (0.6, -1.3, 2.2) voxels, (z, y, x)."""
    brain = read(DATA / "anatomical.nii")
    rng = np.random.default_rng(0)
    moved = cr.fourier_shift(brain.data.astype(float), (0.6, -1.3, 2.2))
    return brain, moved + rng.normal(size=moved.shape) * 0.01 * moved.std()


def test_the_last_axis_is_x():
    image = nibabel.load(DATA / "anatomical.nii")
    loaded = read(DATA / "anatomical.nii")
    np.testing.assert_array_equal(loaded.data, image.get_fdata().T)
    assert loaded.spacing == ((2.0, "mm"), (2.0, "mm"), (2.0, "mm"))


def test_one_volume_of_many_is_chosen():
    path = DATA / "example4d.nii.gz"
    assert contents(path)[0].shape == (2, 24, 96, 128)
    loaded = read(path, ext=1)
    assert loaded.part == "volume 1 of 2"
    np.testing.assert_array_equal(loaded.data, nibabel.load(path).get_fdata()[..., 1].T)
    assert [size for size, _ in loaded.spacing] == pytest.approx([2.2, 2.0, 2.0], rel=1e-5)
    for choice in ({}, {"ext": 2}, {"ext": "all"}):
        with pytest.raises(cr.InputError, match="ext=0"):
            read(path, **choice)


def test_two_volumes_of_one_head_are_not_displaced():
    """A scan and its repetition: the head is still, the contrast changes; the result says so."""
    first, second = (read(DATA / "example4d.nii.gz", ext=n) for n in (0, 1))
    with pytest.warns(cr.RegistrationWarning, match="MISFIT"):
        result = cr.register(first.data, second.data)
    assert np.all(np.abs(result.offset) < 0.02)


def test_offsets_in_millimetres(volumes):
    brain, moved = volumes
    result = cr.register(brain.path, moved, boundary="periodic")
    np.testing.assert_allclose(result.physical().offset, (1.2, -2.6, 4.4), atol=0.05)
    assert "mm" in str(result)


def test_an_aligned_volume_lies_where_the_reference_lies(volumes, tmp_path):
    brain, moved = volumes
    source = nibabel.load(brain.path)
    affine = source.affine.copy()
    affine[:3, 3] += (1.0, 2.0, 3.0)
    path = tmp_path / "moved.nii.gz"
    nibabel.save(nibabel.Nifti1Image(moved.T.astype(np.float32), affine), path)
    like = read(path)
    result = cr.register(brain.data, like.data, boundary="periodic")
    aligned = result.apply(like.data)
    out = tmp_path / "aligned.nii"
    write(out, aligned, like=like, reference=brain, offset=result.offset)
    written = nibabel.load(out)
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-6)
    np.testing.assert_allclose(written.get_fdata(), aligned.T, rtol=1e-6, atol=1e-3)
    # on its own its voxels stay where they were in space
    alone = tmp_path / "alone.nii"
    write(alone, aligned, like=like, offset=(1.0, 0.0, 0.0))
    moved_affine = nibabel.load(alone).affine
    np.testing.assert_allclose(
        moved_affine @ (0, 0, 0, 1), affine @ (0, 0, 1, 1), rtol=1e-6, atol=1e-4
    )


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "cut.nii"
    path.write_bytes((DATA / "anatomical.nii").read_bytes()[:5000])
    with pytest.raises(cr.InputError, match="truncated or damaged"):
        read(path)
