"""Frames so noisy that no two match: the mean of many shows them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import coregister as cr

SIDE = 64


def faint(seed, frames=24, noise=3.0):
    rng = np.random.default_rng([seed, 5])
    scene = cr.random_scene("power-law-2", (2 * SIDE, 2 * SIDE), rng=rng)
    truth = np.cumsum(rng.normal(scale=0.2, size=(frames, 2)), axis=0)
    return cr.simulate_stack(scene, truth, noise=noise, rng=rng, shape=(SIDE, SIDE)), truth


def unrelated(frames, rng, kind="power-law-2"):
    """Frames that show a scene each."""
    return np.array([cr.random_scene(kind, (SIDE, SIDE), rng=rng) for _ in range(frames)])


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register_stack(*args, **options)


def test_no_two_frames_match_and_the_stack_does():
    taken, truth = faint(0, noise=4.0)
    links = [cr.Status.NO_MATCH in quiet(taken[[12, t]]).flags[1] for t in (0, 6, 11, 13, 18)]
    assert all(links)
    result = quiet(taken)
    assert result.trusted.sum() > 18
    assert np.all(np.abs(result.pull(truth)[result.trusted]) < 5)


def test_where_nothing_is_trusted_there_are_no_pulls():
    taken = unrelated(3, np.random.default_rng(8))
    result = quiet(taken)
    assert not result.trusted.any()
    assert np.isnan(result.pull(np.zeros((3, 2)))).all()


@pytest.mark.calibration
def test_faint_stacks_have_true_bars():
    total, freedom = 0.0, 0
    for seed in range(10):
        taken, truth = faint(seed)
        result = quiet(taken)
        good = int(result.trusted.sum())
        assert good > 20
        total += np.sum(result.pull(truth)[result.trusted] ** 2)
        freedom += 2 * (good - 1)
    ratio = np.sqrt(total / freedom)
    scatter = 3.3 / np.sqrt(2 * freedom)  # chance alone exceeds it once in 1000
    assert 0.9 - scatter < ratio < 1.1 + scatter


@pytest.mark.parametrize("kind", ["power-law-2", "power-law-3"])
def test_unrelated_frames_are_never_trusted(kind):
    for seed in range(2):
        frames = unrelated(12, np.random.default_rng([seed, 9]), kind)
        assert not quiet(frames).trusted.any()


def test_what_does_not_belong_is_not_found_in_the_mean():
    taken, truth = faint(1)
    bad = [3, 8, 14, 20]
    other = unrelated(4, np.random.default_rng(0))
    taken[bad] = other / other.std() * taken.std()
    result = quiet(taken)
    assert not result.trusted[bad].any()
    assert result.trusted.sum() >= 16
    assert np.all(np.abs(result.pull(truth)[result.trusted]) < 5)
