"""A motion that is smooth in time, of frames at uneven distances."""

from __future__ import annotations

import numpy as np
import pytest

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
        alone = np.diag(np.full(FRAMES, NOISE**2))
        for name, given in (("times", times), ("numbers", None)):
            drift = smooth(offsets, lambda _: alone, good, given)  # noqa: B023
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


@pytest.mark.parametrize("kind", ["windows", "chain"])
def test_what_frames_share_is_in_the_bars(kind):
    """Many windows have errors in common, pairs of neighbours add theirs up; alone they are others.

    The control: bars of errors of the same size that are taken as independent.
    """
    rng = np.random.default_rng(6)
    places = np.linspace(0, 1, FRAMES)
    truth = np.stack([0.5 * np.sin(3 * places), places], axis=1)
    if kind == "windows":
        factors = np.stack([places - 0.5, np.cos(np.pi * places)], axis=1)
        noise = np.diag(np.full(FRAMES, NOISE**2)) + NOISE**2 * 4 * factors @ factors.T
    else:
        total = np.arange(FRAMES) * NOISE**2 / 5
        noise = np.minimum.outer(total, total)
    values, vectors = np.linalg.eigh(noise)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    good = np.ones(FRAMES, dtype=bool)
    good[[4, 17]] = False
    found: dict[str, list[float]] = {"true": [], "alone": []}
    chances = []
    for _ in range(SERIES):
        errors = root @ rng.standard_normal(truth.shape)
        alone = np.diag(np.diag(noise) + 1e-9)
        for name, given in (("true", noise), ("alone", alone)):
            drift = smooth(truth + errors, lambda _: given, good)  # noqa: B023
            error = (drift.offsets - truth)[1:] / drift.stderr[1:]
            found[name].append(float(np.mean(error**2)))
        chances.append(smooth(errors, lambda _: noise, good).chance)
    # SERIES series, of about two numbers in the smooth motion a side that count most
    tolerance = 4 * np.sqrt(2 / (2 * SERIES))
    assert abs(np.mean(found["true"]) - 1) < tolerance
    assert abs(np.mean(found["alone"]) - 1) > tolerance
    # where nothing moves, chance is what it says
    assert 1 <= np.count_nonzero(np.array(chances) < 0.1) <= 25


def test_the_smooth_motion_of_neighbours_that_add_up():
    """Counted from the first frame, which is certain."""
    rng = np.random.default_rng(4)
    scene = cr.random_scene("power-law-2", (96, 96), rng=rng)
    truth = np.stack([0.1 * np.arange(12.0), np.zeros(12)], axis=1)
    movie = cr.simulate_stack(scene, truth, noise=0.3, rng=rng, shape=(64, 64))
    result = cr.register_stack(movie, drift="smooth", reference="previous")
    drift = result.drift
    assert np.all(drift.stderr[0] < 1e-3 * drift.stderr[1])
    assert np.all(np.abs(drift.offsets - truth)[1:] < 5 * drift.stderr[1:])
    assert np.all(drift.stderr[1:] < result.stderr[1:])
    assert drift.chance < 1e-4
