"""Frames too far apart for one window: many windows, put together."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from scipy.stats import chi2

import coregister as cr
from coregister.stack.windows import windows

SIDE = 64


def far(seed, frames=13, noise=0.1, total=(90, -60)):
    rng = np.random.default_rng([seed, 2])
    scene = cr.random_scene("power-law-2", (320, 320), rng=rng)
    truth = np.outer(np.linspace(0, 1, frames), total) + rng.normal(scale=1, size=(frames, 2))
    return cr.simulate_stack(scene, truth, noise=noise, rng=rng, shape=(SIDE, SIDE)), truth


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register_stack(*args, **options)


def whitened(error, covariance):
    return error @ np.linalg.solve(covariance, error)


@pytest.mark.calibration
@pytest.mark.parametrize(("frames", "total"), [(13, (90, -60)), (30, (120, 0))])
def test_bars_across_many_windows_are_true(frames, total):
    """Of every frame, of the ends, and of neighbours; those that share nothing are too small."""
    movies = 16
    sums = dict.fromkeys(("ends", "neighbours", "alone"), 0.0)
    for seed in range(movies):
        taken, truth = far(seed, frames, total=total)
        result = quiet(taken)
        assert result.trusted.all()
        assert result.shared is not None
        assert np.all(np.abs(result.pull(truth)) < 5)
        error = result.offsets - truth
        last, middle = frames - 1, frames // 2
        for name, i, j in (("ends", 0, last), ("neighbours", middle, middle + 1)):
            sums[name] += whitened(error[j] - error[i], result.covariance_between(i, j))
        sums["alone"] += whitened(error[last] - error[0], result.own[0] + result.own[last])
    low, high = chi2.ppf([0.0005, 0.9995], 2 * movies)
    assert low < sums["ends"] < high
    assert low < sums["neighbours"] < high
    assert sums["alone"] > high


@pytest.mark.calibration
def test_windows_are_better_than_pairs_of_neighbours():
    taken, _ = far(0, 30, total=(120, 0))
    whole, chain = quiet(taken), quiet(taken, reference="previous")
    ends = [np.trace(result.covariance_between(0, 29)) for result in (whole, chain)]
    assert ends[0] < ends[1] / 4  # bars less than half


def test_a_jump_out_of_the_field_is_bridged_and_what_does_not_reach_is_told():
    taken, truth = far(3, 14, total=(110, 0))
    kept = [*range(4), *range(8, 14)]  # what is left has no window in common across the gap
    result = quiet(taken[kept])
    assert result.trusted.all()
    assert np.all(np.abs(result.pull(truth[kept])) < 5)
    ends = quiet(taken[[0, 1, 2, 11, 12, 13]])
    assert ends.trusted.sum() == 3


def test_what_is_shared_stands_in_files(tmp_path):
    taken, _ = far(1)
    result = quiet(taken)
    again = cr.StackRegistration.from_dict(json.loads(json.dumps(result.to_dict())))
    np.testing.assert_array_equal(again.covariance_between(0, 9), result.covariance_between(0, 9))
    image = quiet(taken[1:], reference=taken[0])
    assert image.shared.shape[0] == len(image) == 12


def test_windows_hold_all_frames_and_none_stands_in_another():
    rng = np.random.default_rng(0)
    offsets = rng.uniform(0, 100, (40, 2))
    held = [set(rows.tolist()) for rows in windows(offsets, (64, 64))]
    assert set().union(*held) == set(range(40))
    for rows in held:
        assert np.all(np.ptp(offsets[sorted(rows)], axis=0) <= 0.45 * 64 + 1e-9)
