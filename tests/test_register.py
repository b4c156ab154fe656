"""The pipeline: one reference for many images, and samples farther apart where nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import coregister as cr
from coregister.estimator.overlap import OverlapRoute
from coregister.estimator.single import Single
from coregister.images import as_image, prepare


def pair(scene="power-law-3", noise=0.1, side=96, seed=0, boundary="overlap", truth=(2.3, -3.7)):
    rng = np.random.default_rng(seed)
    shape = (side if boundary == "periodic" else 2 * side,) * 2
    field = cr.random_scene(scene, shape, rng=rng)
    options = {} if boundary == "periodic" else {"shape": (side, side)}
    return cr.simulate_pair(field, truth, noise=noise, rng=rng, boundary=boundary, **options)


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
@pytest.mark.parametrize("holes", [False, True])
def test_a_kept_reference_gives_what_register_gives(boundary, holes):
    first, _ = pair(boundary=boundary)
    valid = np.ones(first.shape, bool)
    if holes:
        valid[20:28, 30:40] = False
    reference = cr.Reference(first, valid=valid, boundary=boundary)
    for seed in (0, 1):  # the second shows another scene
        _, moving = pair(boundary=boundary, seed=seed)
        alone = _quiet(
            lambda m=moving: cr.register(first, m, reference_valid=valid, boundary=boundary)
        )
        kept = _quiet(lambda m=moving: reference.register(m))
        np.testing.assert_array_equal(kept.offset, alone.offset)
        np.testing.assert_array_equal(kept.covariance, alone.covariance)
        assert kept.flags == alone.flags
        assert kept.trusted == (seed == 0)


def _quiet(call):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return call()


def test_a_kept_reference_is_not_changed_by_later_writes():
    first, moving = pair()
    kept = cr.Reference(first)
    before = kept.register(moving)
    first[:] = 0
    after = kept.register(moving)
    np.testing.assert_array_equal(before.offset, after.offset)


def test_a_reference_is_validated_once():
    with pytest.raises(cr.InputError, match="'overlap'"):
        cr.Reference(pair()[0], boundary="wrap")
    with pytest.raises(cr.InputError, match="err has negative values"):
        cr.Reference(pair()[0], err=-np.ones((96, 96)))


def step_of(first, second):
    images = prepare(first, second)
    reference, moving = (Single(image, periodic=False) for image in images.images)
    return OverlapRoute(images, (reference, moving))


@pytest.mark.parametrize(
    ("scene", "noise", "coarse"), [("power-law-4", 0.02, True), ("texture", 0.02, False)]
)
def test_samples_are_farther_apart_only_where_nothing_is_finer(scene, noise, coarse):
    first, second = pair(scene, noise, side=256)
    assert (step_of(first, second)._step > 1) == coarse


@pytest.mark.parametrize("holes", [0, 30])
@pytest.mark.parametrize("scene", ["power-law-3", "blobs"])
def test_what_larger_steps_cost(scene, holes):
    """Against a comparison of every pixel: the same bars, and an offset near by as they say."""
    apart, ratio = [], []
    for seed in range(8):
        first, second = pair(scene, 0.1, side=256, seed=seed)
        if holes:
            first[100 : 100 + holes, 60 : 60 + holes] = np.nan
        route = step_of(first, second)
        assert route._step > 1
        candidate = route.search()[0]
        fast = route.refine(candidate)
        images = prepare(first, second)
        singles = Single(images.reference, periodic=False), Single(images.moving, periodic=False)
        slow = OverlapRoute(images, singles, every_pixel=True).refine(candidate)
        assert fast.candidate is slow.candidate
        bars = np.sqrt(np.diag(slow.covariance))
        apart.append((fast.offset - slow.offset) / bars)
        ratio.append(np.sqrt(np.diag(fast.covariance)) / bars)
    # 3 % of the information lost, and a margin twice as wide: 0.2 bars apart
    assert np.sqrt(np.mean(np.square(apart))) < 0.4
    assert 0.95 < np.mean(ratio) < 1.1


@pytest.mark.parametrize("level", [0.0, 1e4, -1e6])
def test_the_mean_of_single_precision_is_better_than_its_pixels(level):
    rng = np.random.default_rng(0)
    values = (level + rng.normal(size=(300, 517))).astype(np.float32)
    expected = float(values.mean(dtype=np.float64))
    least = 1e-2 / np.sqrt(values.size) + 1e-8 * abs(level)  # pixels are known to 6e-8 of it
    assert abs(as_image(values, name="image").mean - expected) < least
    line = as_image(values.ravel(), name="image")  # one row: all of it in double precision
    assert line.mean == pytest.approx(expected, abs=1e-9)
    huge = np.full((8, 512), 3e38, dtype=np.float32)  # finite, though the sum of a row is not
    huge[3] /= 2
    assert as_image(huge, name="image").mean == pytest.approx(float(huge.mean(dtype=np.float64)))


@pytest.mark.parametrize("end", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "shapes", [((180,), (40,)), ((150, 120), (32, 40)), ((80, 60, 50), (16,) * 3)]
)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("hole", [False, True])
def test_a_small_image_is_found_all_over_a_large_one(shapes, end, swapped, hole):
    rng = np.random.default_rng(8)
    scene = cr.random_scene("texture", shapes[0], rng=rng)
    start = [int(end * (n - m)) for n, m in zip(*shapes, strict=True)]
    small = scene[tuple(slice(s, s + m) for s, m in zip(start, shapes[1], strict=True))]
    large, small = (image + 0.05 * rng.normal(size=image.shape) for image in (scene, small))
    if hole:
        small[(slice(5, 7),) * small.ndim] = np.nan
    images = (small, large) if swapped else (large, small)
    result = cr.register(*images)
    assert result.trusted
    np.testing.assert_allclose(result.offset, np.array(start) * (1 if swapped else -1), atol=0.2)
    if len(start) < 3:  # the posterior looks everywhere, too
        likely = result.posterior().modes[0]
        np.testing.assert_allclose(likely.offset, result.offset, atol=0.2)


def damaged(rng):
    """A pair of small images of which rims, lines and pixels are lost, and some limits."""
    ndim = int(rng.integers(1, 4))
    most = (0, 60, 40, 14)[ndim]
    scene = gaussian_filter(rng.normal(size=(most + 10,) * ndim), rng.uniform(0, 2))
    images = []
    for _ in range(2):
        shape = rng.integers(8, most, ndim)
        corner = [rng.integers(0, most + 11 - n) for n in shape]
        image = scene[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))].copy()
        image += rng.choice([0, 0.01, 0.3]) * rng.normal(size=image.shape)
        for _ in range(rng.integers(0, 4)):
            lines = np.moveaxis(image, rng.integers(ndim), 0)
            lines = lines[::-1] if rng.random() < 0.5 else lines
            lines[: rng.integers(1, len(lines))] = rng.choice([0.0, np.nan, 5.0])
        if rng.random() < 0.3:
            image[rng.random(image.shape) < rng.uniform(0, 0.6)] = np.nan
        images.append(image)
    options = {}
    if rng.random() < 0.3:
        options["max_offset"] = rng.uniform(0.5, 10)
    if rng.random() < 0.3:
        options["initial"] = rng.uniform(-5, 5, ndim)
    if rng.random() < 0.2:
        options["moving_err"] = np.abs(rng.normal(size=images[1].shape))
    return images, options


@pytest.mark.filterwarnings("ignore::coregister.RegistrationWarning")
@pytest.mark.parametrize("seed", range(8))
def test_pairs_of_which_little_is_left_come_back_flagged(seed):
    rng = np.random.default_rng([11, seed])
    flagged = 0
    for _ in range(25):
        images, options = damaged(rng)
        try:
            result = cr.register(*images, **options)
        except cr.InputError:
            continue
        flagged += not result.trusted
        assert np.all(np.isfinite(result.offset))
        assert np.all(result.stderr > 0)
    assert flagged > 12


def test_pairs_that_show_nothing_together_have_no_overlap():
    rng = np.random.default_rng(5)
    reference, moving = rng.normal(size=(2, 32, 32))
    # valid in two corners of each, which never lie on those of the other
    reference[1:, :], moving[:, 1:] = np.nan, np.nan
    reference[31, 31] = moving[31, 31] = 1.0
    with pytest.warns(cr.RegistrationWarning, match="LOW_OVERLAP"):
        result = cr.register(reference, moving)
    assert result.flags == {cr.Status.LOW_OVERLAP, cr.Status.UNDETERMINED_AXIS}
    assert np.all(np.isinf(result.stderr))
