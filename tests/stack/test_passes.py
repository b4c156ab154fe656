"""The passes over many frames: how many they take, and that fewer of them cost nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import coregister as cr
from coregister.stack import passes
from coregister.stack.look import Look

FRAMES = 70


def movie_of(boundary: str, gains: np.ndarray | float = 1.0, noise: np.ndarray | float = 0.1):
    """Many frames alike, but for what is asked; and their offsets."""
    rng = np.random.default_rng(7)
    truth = np.cumsum(rng.normal(scale=0.3, size=(FRAMES, 2)), axis=0)
    side = 128 if boundary == "periodic" else 160
    scene = cr.random_scene("power-law-2", (side, side), rng=rng)
    movie = cr.simulate_stack(scene, truth, noise=0.0, rng=rng, shape=(128, 128))
    scaled = np.multiply.outer(np.broadcast_to(noise, FRAMES), np.ones((128, 128)))
    frames = np.reshape(np.broadcast_to(gains, FRAMES), (-1, 1, 1)) * movie
    return frames + scaled * rng.normal(size=movie.shape), truth


@pytest.fixture
def taken(monkeypatch) -> list[tuple[int, bool]]:
    """Passes: over how many frames, and if what is left over was looked at."""
    found = []
    plain = passes._Passes._compared

    def compared(self, counted, asked, *, looked_at):
        found.append((len(counted), looked_at))
        return plain(self, counted, asked, looked_at=looked_at)

    monkeypatch.setattr(passes._Passes, "_compared", compared)
    return found


@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
def test_many_frames_take_one_pass(boundary, taken, monkeypatch):
    """After some of them have told the noise; two passes over all give the same."""
    movie, truth = movie_of(boundary)
    once = cr.register_stack(movie, boundary=boundary)
    assert taken == [(passes.SOME, False), (FRAMES, True)]
    taken.clear()
    monkeypatch.setattr(passes, "MANY", FRAMES + 1)
    twice = cr.register_stack(movie, boundary=boundary)
    assert taken == [(FRAMES, False), (FRAMES, True)]
    assert once.trusted.all()
    assert twice.trusted.all()
    apart = (once.offsets - twice.offsets) / twice.stderr
    assert 0 < np.std(apart) < 0.05
    np.testing.assert_allclose(once.stderr, twice.stderr, rtol=0.03)
    for result in (once, twice):
        error = result.offsets - truth
        assert np.std((error - error.mean(axis=0)) / result.stderr) == pytest.approx(1, abs=0.24)


def test_executors_give_the_same_numbers():
    movie, _ = movie_of("overlap")
    alone = cr.register_stack(movie)
    with ThreadPoolExecutor(2) as executor:
        shared = cr.register_stack(movie, executor=executor)
    assert np.array_equal(alone.offsets, shared.offsets)
    assert np.array_equal(alone.covariances, shared.covariances)


def test_frames_that_are_not_alike_take_more_passes(taken):
    """Gains that are not known yet make steps wrong, weights that are not make the mean noisy."""
    rng = np.random.default_rng(3)
    for unlike in (
        {"gains": rng.uniform(0.5, 1.5, FRAMES)},
        {"noise": 0.1 * 4 ** rng.uniform(-1, 1, FRAMES)},
    ):
        taken.clear()
        movie, truth = movie_of("overlap", **unlike)
        result = cr.register_stack(movie)
        assert taken.count((FRAMES, True)) + taken.count((FRAMES, False)) > 1
        error = result.offsets - truth
        pulls = (error - error.mean(axis=0)) / result.stderr
        assert np.std(pulls) == pytest.approx(1, abs=0.24)


def test_links_that_are_far_off_take_more_passes(taken, monkeypatch):
    """And the answer does not depend on them."""
    movie, _ = movie_of("overlap")
    near = cr.register_stack(movie)
    rng = np.random.default_rng(4)
    plain = Look.of

    def off(self, movable):
        found = plain(self, movable)
        return None if found is None else found + rng.normal(scale=0.2, size=2)

    monkeypatch.setattr(Look, "of", off)
    taken.clear()
    far = cr.register_stack(movie)
    assert taken[:2] == [(passes.SOME, False), (FRAMES, False)]
    assert np.std((far.offsets - near.offsets) / near.stderr) < 0.05
