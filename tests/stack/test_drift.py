"""A motion that is smooth in time, of frames at uneven distances."""

from __future__ import annotations

import numpy as np

import coregister as cr
from coregister.stack.drift import smooth

NOISE, SERIES, FRAMES = 0.1, 100, 30


def test_frames_at_uneven_distances():
    """Smooth in time; by number the same motion is a jerky one."""
    rng = np.random.default_rng(3)
    squares: dict[str, list[float]] = {"times": [], "numbers": []}
    pulls = []
    good = np.ones(FRAMES, dtype=bool)
    for _ in range(SERIES):
        times = 100 * np.sort(rng.uniform(0, 1, FRAMES)) ** 3
        truth = np.stack([0.5 * np.sin(times / 30), 0 * times], axis=1)
        offsets = truth + NOISE * rng.standard_normal(truth.shape)
        variances = np.full(truth.shape, NOISE**2)
        for name, given in (("times", times), ("numbers", None)):
            drift = smooth(offsets, variances, good, given)
            squares[name].append(float(np.mean((drift.offsets - truth)[:, 0] ** 2)))
            if name == "times":
                error = (drift.offsets - truth) / drift.stderr
                pulls.append(float(np.mean(error**2)))
    # SERIES series, each with about three numbers in its smooth motion a side
    tolerance = 4 * np.sqrt(2 / (3 * SERIES))
    assert abs(np.mean(pulls) - 1) < tolerance
    better = np.array(squares["numbers"]) - squares["times"]
    assert np.mean(better) > 4 * np.std(better) / np.sqrt(SERIES)


def test_times_reach_the_fit():
    rng = np.random.default_rng(4)
    scene = cr.random_scene("power-law-2", (96, 96), rng=rng)
    times = np.array([0.0, 1, 2, 3, 4, 5, 26, 27, 28, 29])
    truth = np.stack([0.1 * times, 0 * times], axis=1)
    movie = cr.simulate_stack(scene, truth, noise=0.3, rng=rng, shape=(64, 64))
    by_time = cr.register_stack(movie, drift="smooth", times=times).drift
    by_number = cr.register_stack(movie, drift="smooth").drift
    # a straight line in time has the bars of a straight line; by number there is a jump
    assert np.all(by_time.stderr[:, 0] < by_number.stderr[:, 0])
    moved = by_time.offsets - by_time.offsets.mean(axis=0) - (truth - truth.mean(axis=0))
    assert np.all(np.abs(moved) < 5 * by_time.stderr)
