"""A pattern on the detector that windows tell together and none tells alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from numpy.typing import NDArray

import coregister as cr
from coregister.windows import measure as windows_measure
from coregister.windows.places import around, on_grid, overlaps
from coregister.windows.together import pulled_alike

Float = NDArray[np.float64]
GRID = on_grid((256, 256), (64, 64), (32, 32))
APART = on_grid((512, 512), (64, 64), (64, 64))


def quietly(*args: Any, **options: Any) -> cr.WindowsRegistration:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register_windows(*args, **options)


def moved(seed: int, shape: int = 256) -> tuple[Float, Float, Float, Float]:
    """A pair, how far it moved, and dust of the contrast of its scene."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1.8, 1.8, 2)
    scene = cr.random_scene("power-law-2", (2 * shape, 2 * shape), rng=rng)
    first, second = cr.simulate_pair(scene, truth, noise=0.1, shape=(shape, shape), rng=rng)
    dust = scipy.ndimage.gaussian_filter(rng.normal(size=first.shape), 1.5)
    return first, second, truth, dust * first.std() / dust.std()


def test_a_pattern_that_no_window_tells_is_told_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, truth, dust = moved(0)
    images = first + 0.3 * dust, second + 0.3 * dust
    assert not quietly(*images, size=64).trusted.any()
    monkeypatch.setattr(windows_measure, "pulled_alike", lambda *_: False)
    alone = quietly(*images, size=64)
    assert alone.trusted.sum() > 25
    assert np.median(np.abs(alone.pull(truth)[alone.trusted]).max(axis=1)) > 5


def test_the_same_pattern_on_the_scene_is_part_of_it() -> None:
    """It moves along: negative control."""
    first, second, truth, dust = moved(0)
    along = cr.fourier_shift(dust, truth)
    result = quietly(first + 0.3 * dust, second + along * 0.3, size=64)
    inner = result.on_grid(result.trusted)[1:-1, 1:-1]  # it wraps at the edges
    assert inner.all()


def test_a_pattern_and_a_scene_that_both_stay_are_trusted() -> None:
    rng = np.random.default_rng(4)
    scene = cr.random_scene("power-law-2", (512, 512), rng=rng)
    first, second = cr.simulate_pair(scene, (0.0, 0.0), noise=0.1, shape=(256, 256), rng=rng)
    dust = scipy.ndimage.gaussian_filter(rng.normal(size=first.shape), 1.5)
    dust *= 0.5 * first.std() / dust.std()
    assert quietly(first + dust, second + dust, size=64).trusted.all()


def test_something_else_in_a_few_windows_says_nothing_of_the_others() -> None:
    """A patch that moves by itself, and row noise of each image: windows far away stay trusted."""
    rng = np.random.default_rng(5)
    first, second, truth, dust = moved(5)
    first[40:80, 40:80] = dust[40:80, 40:80]
    second[42:82, 39:79] = dust[40:80, 40:80]
    for image in (first, second):
        image += 0.05 * rng.normal(size=(256, 1))
    result = quietly(first, second, size=64)
    away = np.any(result.centers > 80 + 32, axis=1)
    assert not result.trusted[~away].all()
    assert result.trusted[away].mean() > 0.9
    assert np.abs(result.pull(truth)[away & result.trusted]).max() < 5


def test_windows_farther_away_than_a_pattern_pulls_are_left_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, _, dust = moved(0, 384)
    second[:, 192:] = np.roll(second[:, 192:], 5, axis=0)
    images = first + 0.3 * dust, second + 0.3 * dust
    result = quietly(*images, size=64, step=64)
    monkeypatch.setattr(windows_measure, "pulled_alike", lambda *_: False)
    alone = quietly(*images, size=64, step=64)
    near = result.centers[:, 1] < 192
    assert not result.trusted[near].any()
    assert alone.trusted[near].any()
    assert np.array_equal(result.trusted[~near], alone.trusted[~near])
    assert alone.trusted[~near].any()


# ---------------------------------------------------------------- the votes


def test_directions_by_chance_are_not_alike() -> None:
    rng = np.random.default_rng(6)
    for _ in range(300):
        votes = rng.normal(size=(49, 10)) * rng.lognormal(0, 2, (49, 1))
        assert not pulled_alike(votes - votes.mean(axis=1, keepdims=True), GRID)


@pytest.mark.parametrize(("share", "told"), [(5 / 64, False), (1.0, True)])
def test_most_windows_must_be_alike(share: float, told: bool) -> None:
    rng = np.random.default_rng(7)
    votes = rng.normal(size=(64, 10))
    pulled = np.arange(64) < share * 64
    votes[pulled] += (1.0 if told else 100.0) * np.linspace(-2, 2, 10)
    assert pulled_alike(votes, APART) == told


def test_what_is_not_known_does_not_vote() -> None:
    votes = np.tile(np.linspace(-2.0, 2.0, 10), (64, 1))
    assert pulled_alike(votes, APART)
    votes[2:] = np.nan
    assert not pulled_alike(votes, APART)  # two alike may be so by chance
    assert not pulled_alike(np.full((64, 10), np.nan), APART)


def test_windows_that_overlap_count_as_fewer() -> None:
    every = np.ones(64, dtype=bool)
    assert overlaps(APART, every) == 1
    twice = around(np.repeat([[32, 32], [100, 100]], 3, axis=0), (256, 256), (64, 64))
    assert overlaps(twice, np.ones(6, dtype=bool)) == 3
    assert overlaps(twice, np.arange(6) % 3 == 0) == 1
    assert overlaps(GRID, np.ones(49, dtype=bool)) == pytest.approx((7 + 12 * 0.5) ** 2 / 49)


# ---------------------------------------------------------------- aliasing


def binned(seed: int, offset: tuple[float, float], noise: float = 0.05) -> tuple[Float, Float]:
    """A pair whose pixels are too large for its scene: means over 4 x 4 finer ones."""
    rng = np.random.default_rng(seed)
    scene = cr.random_scene("power-law-1", (1152, 1152), rng=rng)
    images = []
    for by in (np.zeros(2), np.array(offset)):
        seen = cr.fourier_shift(scene, 4 * by)[64:-64, 64:-64]
        image = seen.reshape(256, 4, 256, 4).mean(axis=(1, 3))
        images.append(image + noise * image.std() * rng.normal(size=image.shape))
    return images[0], images[1]


def test_aliasing_is_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """It pulls along the offset in all windows alike, and is told as what it is."""
    asked = []
    monkeypatch.setattr(
        windows_measure, "pulled_alike", lambda *args: asked.append(args[0]) or False
    )
    images = binned(0, (2.2, 0.5))
    result = quietly(*images, size=64)
    assert all(cr.Status.UNDERSAMPLED in flags for flags in result.flags)
    assert np.isnan(asked[0]).all()
    dusty = moved(0)
    quietly(dusty[0] + 0.3 * dusty[3], dusty[1] + 0.3 * dusty[3], size=64)
    assert np.isfinite(asked[1]).any()  # a control: others vote
