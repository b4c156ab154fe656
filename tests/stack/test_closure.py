"""Pairs against the joint answer: silent where bars are true; if not, they widen them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import binom

import coregister as cr

SIDE = 64
KINDS = [("power-law-2", 20, 0.3), ("power-law-2", 10, 1.0), ("power-law-3", 20, 0.05)]


def movie(seed, kind="power-law-2", frames=20, noise=0.3, pattern=0.0):
    """With a pattern that stays on the detector, if it is asked for: frames are drawn to it."""
    rng = np.random.default_rng([seed, 77])
    scene = cr.random_scene(kind, (2 * SIDE, 2 * SIDE), rng=rng)
    truth = np.cumsum(rng.normal(scale=0.3, size=(frames, 2)), axis=0)
    taken = cr.simulate_stack(scene, truth, noise=noise, rng=rng, shape=(SIDE, SIDE))
    fixed = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    return taken + pattern * taken[0].std() * fixed, truth


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register_stack(*args, **options)


def off(result, truth):
    """Mean square of the errors over the bars of each frame alone, whatever is flagged."""
    error = result.offsets - truth
    error = error - error.mean(axis=0)
    return float(np.mean(error**2 / np.einsum("tii->ti", result.own)))


@pytest.mark.calibration
@pytest.mark.parametrize(("kind", "frames", "noise"), KINDS)
def test_true_bars_stay_as_they_are(kind, frames, noise, monkeypatch):
    movies = 12
    closures, widened = [], 0
    for seed in range(movies):
        taken, _ = movie(seed, kind, frames, noise)
        result = quiet(taken)
        closures.append(result.closure)
        with monkeypatch.context() as patch:
            patch.setattr("coregister.stack.joint.MAX_EXCESS", 0.0)
            widened += bool(np.any(result.own != quiet(taken).own))
    assert widened <= binom.ppf(0.999, movies, 0.005)
    # the little that pairs may differ by besides is an upper limit
    assert 0.4 < np.sqrt(np.mean(np.square(closures))) < 1.25


@pytest.mark.calibration
def test_what_the_bars_miss_is_found_and_enters_them(monkeypatch):
    """The negative control: without it, bars are too small by half."""
    found, without = [], []
    for seed in range(10):
        taken, truth = movie(seed, pattern=0.1)
        found.append(off(quiet(taken), truth))
        with monkeypatch.context() as patch:
            patch.setattr("coregister.stack.joint.MAX_EXCESS", 0.0)
            without.append(off(quiet(taken), truth))
    assert np.sqrt(np.mean(without)) > 1.3
    assert np.sqrt(np.mean(found)) < 1.25
    assert max(found) < 0.7 * max(without)
