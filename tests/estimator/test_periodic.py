"""The periodic route: noiseless pairs come back exactly, whatever their shape."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest

import coregister as cr
from coregister.estimator.overlap import OverlapRoute
from coregister.estimator.periodic import PeriodicRoute, bars
from coregister.estimator.periodic.modes import auto_spectra, coarser
from coregister.estimator.single import Single
from coregister.images import prepare
from coregister.simulate import random_scene, simulate_pair

SHAPES = [(64,), (65,), (32, 33), (48, 64), (31, 45), (12, 16, 20), (15, 17, 11)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_noiseless_pairs_come_back_exactly(shape, seed):
    rng = np.random.default_rng(seed)
    scene = rng.normal(size=shape)
    truth = rng.uniform(-0.45, 0.45, len(shape)) * np.array(shape)
    moving = 1.7 * cr.fourier_shift(scene, truth) + 5.0
    with warnings.catch_warnings():  # 64 samples of a line may not prove a match
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        result = cr.register(scene, moving, boundary="periodic")
    error = result.offset - truth
    error -= np.rint(error / shape) * shape
    assert np.max(np.abs(error)) < 1e-8
    assert result.gain == pytest.approx(1.7, rel=1e-6) or len(shape) == 3
    assert np.all(result.stderr > 0)


def test_equivalent_offsets_are_told_nearest_to_the_guess():
    scene = np.random.default_rng(0).normal(size=(40, 50))
    moving = cr.fourier_shift(scene, (3.25, -7.5))
    near = cr.register(scene, moving, boundary="periodic", initial=(40.0, 0.0))
    assert near.offset == pytest.approx([43.25, -7.5], abs=1e-8)


@pytest.mark.parametrize("noise", [0.1, 1e-3, 1e-5, 0.0])
@pytest.mark.parametrize("background", [0.0, 300.0])
def test_single_precision_tells_what_double_precision_tells(noise, background):
    """Down to the noise that rounding to float32 makes, where the transforms widen."""
    rng = np.random.default_rng(7)
    scene = cr.random_scene("power-law-2", (64, 80), rng=rng)
    images = cr.simulate_pair(scene, (3.3, -5.1), noise=noise, rng=rng, boundary="periodic")
    narrow = [(image + background).astype(np.float32) for image in images]
    single = cr.register(*narrow, boundary="periodic")
    double = cr.register(*(i.astype(np.float64) for i in narrow), boundary="periodic")
    assert np.all(np.abs(single.offset - double.offset) < 0.02 * double.stderr)
    assert single.stderr == pytest.approx(double.stderr, rel=0.02)
    assert single.flags == double.flags
    assert single.background == pytest.approx(double.background, abs=1e-3 * (1 + background))


def _fit(images):
    """Offset, its covariance, and the precision of the transforms."""
    pair = prepare(*images, boundary="periodic")
    first, second = (Single(image, periodic=True) for image in pair.images)
    route = PeriodicRoute(pair, (first, second))
    fit = route.refine(route.search()[0])
    return fit.offset, fit.covariance, route.precision


@pytest.mark.parametrize(
    ("size", "dtype", "noise", "precision"),
    [
        (64, np.float32, 0.1, np.float32),
        (64, np.float32, 1e-7, np.float64),
        (64, np.float64, 0.1, np.float64),  # nothing would be gained
        (512, np.float64, 0.1, np.float32),
        (512, np.float64, 1e-5, np.float64),
    ],
)
def test_single_precision_is_kept_where_it_is_enough(size, dtype, noise, precision):
    rng = np.random.default_rng(8)
    scene = cr.random_scene("power-law-2", (size, size), rng=rng)
    images = cr.simulate_pair(scene, (3.3, -5.1), noise=noise, rng=rng, boundary="periodic")
    assert _fit([image.astype(dtype) for image in images])[2] == precision


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 0.3])
@pytest.mark.parametrize("scale", [1.0, 1e20])  # beyond what single precision can square
def test_large_images_in_double_precision_lose_nothing(monkeypatch, noise, scale):
    rng = np.random.default_rng(10)
    scene = cr.random_scene("power-law-3", (384, 400), rng=rng) + 30.0
    images = [
        scale * image
        for image in cr.simulate_pair(scene, (3.3, -5.1), noise=noise, rng=rng, boundary="periodic")
    ]
    offset, covariance, _ = _fit(images)
    monkeypatch.setattr(Single, "narrow_spectrum", None)
    wide, bars, precision = _fit(images)
    assert precision == np.float64
    assert np.all(np.abs(offset - wide) < 0.01 * np.sqrt(bars.diagonal()))
    assert covariance.diagonal() == pytest.approx(bars.diagonal(), rel=0.01)


@pytest.mark.parametrize(("scene", "matters"), [("power-law-2", False), ("few-stars", True)])
def test_what_a_fit_absorbs_counts_where_few_pixels_make_it(monkeypatch, scene, matters):
    rng = np.random.default_rng(11)
    scene = cr.random_scene(scene, (128, 128), rng=rng)
    images = cr.simulate_pair(scene, (3.3, -5.1), noise=0.1, rng=rng, boundary="periodic")
    told = _fit(images)[1].diagonal()
    monkeypatch.setattr(bars, "MOST_ABSORBED", -1.0)  # taken out, however little it is
    always = _fit(images)[1].diagonal()
    monkeypatch.setattr(bars, "MOST_ABSORBED", 1.0)
    never = _fit(images)[1].diagonal()
    assert told == pytest.approx(always, rel=0.003)
    assert bool(np.all(always > 1.003 * never)) == matters


def test_every_other_row_of_many_tells_the_same_steps():
    """Where an image is large, its auto-spectrum is read from some rows only."""
    rng = np.random.default_rng(9)
    scene = cr.random_scene("power-law-3", (256, 512), rng=rng) + 0.1 * rng.normal(size=(256, 512))
    spectra = [np.fft.rfft2(scene)] * 2
    low = coarser(spectra, (256, 512), 8)
    thin, every = (auto_spectra(spectra, (256, 512), low, step) for step in (4, 1))
    assert thin.count.sum() == pytest.approx(every.count.sum(), rel=0.02)
    assert 3.9 < (thin.count / thin.read)[-1] < 4.1
    same = np.interp(thin.frequency, every.frequency, every.powers[0])
    scatter = np.sqrt(2 / thin.read + 2 / thin.count)
    assert np.all(np.abs(thin.powers[0] / same - 1)[thin.frequency > 0.07] < 5 * scatter.max())


def wrapped(kind, seed, *, rays=0, hot=0):
    """A periodic pair with pixels that one image shows, and others that stay in place."""
    rng = np.random.default_rng([seed, 5])
    scene = random_scene(kind, (96, 96), rng=rng)
    offset = rng.uniform(-6, 6, 2)
    images = simulate_pair(scene, offset, noise=0.1, boundary="periodic", rng=rng)
    for image in images:
        for _ in range(rays):
            image[tuple(rng.integers(96, size=2))] += rng.uniform(3, 30)
    for _ in range(hot):
        place, value = tuple(rng.integers(96, size=2)), rng.uniform(3, 20)
        for image in images:
            image[place] += value
    return images, offset


@pytest.mark.parametrize("kind", ["power-law-2", "power-law-3", "blobs"])
@pytest.mark.parametrize("spoilt", [{"rays": 3}, {"rays": 20}, {"hot": 5}])
def test_pixels_that_do_not_move_with_the_scene_are_left_out_of_images_that_wrap(kind, spoilt):
    """The errors are those of the same pairs without them."""
    errors: dict[str, list[float]] = {"clean": [], "spoilt": []}
    for seed in range(8):
        for name, defects in (("clean", {}), ("spoilt", spoilt)):
            images, offset = wrapped(kind, seed, **defects)
            result = cr.register(*images, boundary="periodic")
            assert result.trusted
            assert np.all(np.abs(result.pull(offset)) < 5)
            errors[name] += list(result.offset - offset)
    clean, left = (np.sqrt(np.mean(np.square(e))) for e in errors.values())
    assert left < 1.3 * clean


def test_only_pixels_that_stand_out_take_a_pair_that_wraps_the_longer_way(monkeypatch):
    module, taken = importlib.import_module("coregister.register"), []
    monkeypatch.setattr(
        module, "OverlapRoute", lambda *given: taken.append(given) or OverlapRoute(*given)
    )
    for defects, times in (({}, 0), ({"rays": 3}, 1)):
        images, offset = wrapped("power-law-2", 0, **defects)
        result = cr.register(*images, boundary="periodic")
        assert np.all(np.abs(result.pull(offset)) < 4)
        assert len(taken) == times
