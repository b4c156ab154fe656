"""Rims without data: NaN, masks, and what earlier shifts and crops padded with one value."""

from __future__ import annotations

import numpy as np
import pytest

import coregister as cr
from coregister.images import as_image
from coregister.padding import unpadded

WIDTHS = (5, 9)
OFFSET = np.array([2.3, -1.7])


def scene_pair(seed: int, shape: tuple[int, int] = (96, 112), noise: float = 0.1):
    rng = np.random.default_rng(seed)
    scene = cr.random_scene("power-law-2", (160, 192), rng=rng)
    return cr.simulate_pair(scene, OFFSET, noise=noise, shape=shape, rng=rng)


def filled(image: np.ndarray, value: float, *, first: bool) -> np.ndarray:
    """The image with `value` in its first or last rows and columns."""
    image = image.copy()
    for axis, width in enumerate(WIDTHS):
        lines = np.moveaxis(image, axis, 0)
        lines[slice(None, width) if first else slice(-width, None)] = value
    return image


@pytest.fixture(scope="module")
def pair():
    return scene_pair(1)


@pytest.fixture(scope="module")
def cropped(pair):
    """The pair without the lines that `filled` takes: offsets are smaller by WIDTHS."""
    reference, moving = pair
    return cr.register(reference[: -WIDTHS[0], : -WIDTHS[1]], moving[WIDTHS[0] :, WIDTHS[1] :])


@pytest.mark.parametrize("value", [0.0, np.nan, 255.0, -1e4])
def test_a_rim_without_data_is_no_part_of_the_image(pair, cropped, value):
    reference, moving = filled(pair[0], value, first=False), filled(pair[1], value, first=True)
    result = cr.register(reference, moving)
    assert result.trusted
    np.testing.assert_allclose(result.offset, cropped.offset + WIDTHS, atol=1e-12)
    np.testing.assert_allclose(result.covariance, cropped.covariance, rtol=1e-9)
    assert np.all(np.abs(result.offset - OFFSET) < 4 * result.stderr)


def test_a_mask_of_the_rim_says_the_same(pair, cropped):
    valid = [filled(np.ones(pair[0].shape), 0.0, first=first) > 0 for first in (False, True)]
    result = cr.register(*pair, reference_valid=valid[0], moving_valid=valid[1])
    np.testing.assert_allclose(result.offset, cropped.offset + WIDTHS, atol=1e-12)


def test_a_rim_of_another_pattern_is_told(pair):
    # the control: what is not of one value is part of the image, and spoils it
    pattern = np.random.default_rng(3).normal(size=pair[0].shape)
    reference, moving = (
        np.where(np.isnan(filled(image, np.nan, first=True)), 30 * pattern, image) for image in pair
    )
    with pytest.warns(cr.RegistrationWarning):
        assert not cr.register(reference, moving).trusted


def test_limits_and_surface_count_pixels_of_the_whole_image(pair, cropped):
    reference, moving = (filled(image, 0.0, first=f) for image, f in zip(pair, (0, 1), strict=True))
    result = cr.register(reference, moving, initial=(2, -2), max_offset=2)
    np.testing.assert_allclose(result.offset, cropped.offset + WIDTHS, atol=1e-9)
    with pytest.warns(cr.RegistrationWarning, match="SEARCH_EDGE|NO_MATCH"):
        cr.register(reference, moving, initial=(9, 9), max_offset=2)
    positions, rise = result.chi2_map(half_width=3, points=31)
    lowest = np.unravel_index(np.argmin(rise), rise.shape)
    for axis, place in enumerate(lowest):
        assert abs(positions[axis][place] - result.offset[axis]) < 0.3 * result.stderr[axis]
    assert rise[0, 15] == pytest.approx(9.0, rel=0.2)  # three bars, of two that hardly correlate


def test_one_reference_for_many(pair, cropped):
    reference = cr.Reference(filled(pair[0], 0.0, first=False))
    result = reference.register(filled(pair[1], 0.0, first=True))
    np.testing.assert_allclose(result.offset, cropped.offset + WIDTHS, atol=1e-12)


def test_padded_volumes():
    rng = np.random.default_rng(2)
    scene = cr.random_scene("power-law-2", (48, 48, 48), rng=rng)
    offset = np.array([0.4, -1.2, 0.7])
    reference, moving = cr.simulate_pair(scene, offset, noise=0.05, shape=(32, 32, 32), rng=rng)
    moving[:, :3], reference[-4:] = 0.0, 0.0
    result = cr.register(reference, moving)
    plain = cr.register(reference[:-4], moving[:, 3:])
    assert result.trusted
    np.testing.assert_allclose(result.offset - plain.offset, [0, 3, 0], atol=1e-12)


def test_padded_frames_of_a_stack():
    # left in, the rim of a movie that was shifted before is the strongest edge of every frame
    rng = np.random.default_rng(4)
    scene = cr.random_scene("blobs", (160, 160), rng=rng)
    offsets = np.cumsum(rng.normal(size=(8, 2)), axis=0)
    frames = cr.simulate_stack(scene, offsets, noise=0.1, shape=(96, 96), rng=rng)
    for frame, width in zip(frames, rng.integers(-8, 9, size=(8, 2)), strict=True):
        for axis, n in enumerate(width):
            lines = np.moveaxis(frame, axis, 0)
            lines[slice(0, n) if n > 0 else slice(96 + n, None)] = 0.0
    result = cr.register_stack(frames)
    assert result.trusted.all()
    error = (result.offsets - result.offsets.mean(axis=0)) - (offsets - offsets.mean(axis=0))
    assert np.sqrt(np.mean(error**2)) < 0.03


def test_padded_windows(pair):
    reference, moving = (filled(image, 0.0, first=True) for image in pair)
    result = cr.register_windows(reference, moving, size=32, step=16)
    plain = cr.register_windows(*pair, size=32, step=16)
    assert result.trusted.sum() >= plain.trusted.sum() - 2
    pulls = np.abs(result.offsets - OFFSET)[result.trusted] / result.stderr[result.trusted]
    assert pulls.max() < 5


def test_a_blank_window_above_others_is_no_rim():
    rng = np.random.default_rng(6)
    scenes = [scene_pair(seed, shape=(48, 48)) for seed in (1, 2, 3)]
    reference, moving = (np.stack(images) for images in zip(*scenes, strict=True))
    moving[0] = 0.0
    reference[0] = rng.normal(size=(48, 48))
    with pytest.warns(cr.RegistrationWarning, match="1 of 3 windows"):
        result = cr.register_windows(reference, moving)
    assert result.trusted.tolist() == [False, True, True]
    assert cr.Status.CONSTANT_IMAGE in result.flags[0]


# ------------------------------------------------------------ what is padding, and what is not

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(40, 50))
ROW, COLUMN = np.mgrid[:40, :50]


def padded(image: np.ndarray, value: float, *widths: tuple[int, int]) -> np.ndarray:
    return np.pad(image, widths, constant_values=value)


@pytest.mark.parametrize(
    ("image", "core"),
    [
        (padded(NOISE, 0.0, (3, 0), (0, 2)), (slice(3, 43), slice(0, 50))),
        (padded(NOISE, 0.0, (0, 1), (0, 0)), (slice(0, 40), slice(0, 50))),
        (padded(NOISE + 100, -7.5, (2, 4), (6, 8)), (slice(2, 42), slice(6, 56))),
        (padded(np.round(50 + 3 * NOISE), 0.0, (0, 0), (4, 0)), (slice(0, 40), slice(4, 54))),
    ],
)
def test_padding_is_found(image, core):
    assert unpadded(image, 8) == core


@pytest.mark.parametrize(
    "image",
    [
        NOISE,
        np.zeros((40, 50)),
        RNG.poisson(0.02, size=(40, 50)).astype(float),  # a dark sky, often a row without a photon
        np.maximum(20.0 - ROW, 0.0) * (COLUMN + 1.0),  # fades to nothing
        np.exp(-((ROW - 20.0) ** 2 + (COLUMN - 25.0) ** 2) / 2).round(12),  # a star without noise
        ((ROW - 20) ** 2 + (COLUMN - 25) ** 2 < 15**2).astype(float),  # a disc, its limb sharp
        ((ROW > 10) & (ROW < 30) & (COLUMN > 5) & (COLUMN < 45)).astype(float),  # a box
        (ROW // 4 % 2).astype(float),  # stripes without noise
        np.minimum(NOISE + np.linspace(9, -1, 40)[:, None], 1.0),  # saturated at one side
        padded(NOISE[:6, :6], 0.0, (30, 4), (20, 24)),  # too little would be left
    ],
)
def test_what_is_no_padding_is_kept(image):
    assert unpadded(image, 8) == tuple(slice(0, n) for n in image.shape)


def test_along_one_axis_a_line_is_a_pixel():
    assert unpadded(np.concatenate([np.zeros(9), RNG.normal(size=90)]), 8) == (slice(0, 99),)


def test_padding_is_not_valid_and_what_is_given_stays():
    image = padded(NOISE, 0.0, (3, 0), (0, 2))
    before = image.copy()
    known = as_image(image, name="image")
    assert known.valid is not None
    assert not known.valid[:3].any()
    assert not known.valid[:, -2:].any()
    assert known.valid[3:, :-2].all()
    np.testing.assert_array_equal(image, before)
    assert as_image(image, name="image", padded=False).valid is None
