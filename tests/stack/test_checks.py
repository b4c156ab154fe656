"""Loops of pairs measured by themselves: they close where all is right, else they tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import coregister as cr
from coregister.stack.checks import loops


@pytest.fixture(scope="module", params=["overlap", "periodic"])
def taken(request):
    rng = np.random.default_rng(7)
    scene = cr.random_scene("power-law-3", (64, 64), rng=rng)
    periodic = request.param == "periodic"
    if not periodic:
        scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    truth = np.cumsum(rng.normal(scale=0.7, size=(9, 2)), axis=0)
    shape = None if periodic else (64, 64)
    movie = cr.simulate_stack(scene, truth, noise=0.3, rng=rng, shape=shape)
    return movie, cr.register_stack(movie, boundary=request.param)


def test_loops_close_and_agree(taken):
    movie, result = taken
    found = loops(result, movie, 8)
    assert 5 <= len(found) <= 8
    near = [loop for loop in found if np.ptp(loop.frames) == 2]
    assert 2 <= len(near) < len(found)  # neighbours, and frames far apart
    pulls = np.concatenate([loop.pulls for loop in found])
    closures = np.array([loop.closure for loop in found])
    assert 0.3 < np.sqrt(np.mean(pulls**2)) < 1.6
    # the noise is common to the pairs of a loop: well inside of the bars, and not nothing
    assert 0.02 < np.sqrt(np.mean(closures**2)) < 0.8


def test_a_wrong_answer_is_told(taken):
    """The control."""
    movie, result = taken
    offsets = result.offsets.copy()
    offsets[4] += 10 * result.stderr[4]
    pulls = np.concatenate(
        [loop.pulls for loop in loops(replace(result, offsets=offsets), movie, 8)]
    )
    assert np.abs(pulls).max() > 3
    close = [loop.closure for loop in loops(replace(result, offsets=offsets), movie, 8)]
    assert np.abs(close).max() < 1.5  # a loop knows nothing of the joint answer


def test_few_or_no_frames_have_no_loops():
    rng = np.random.default_rng(7)
    scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    movie = cr.simulate_stack(scene, np.zeros((3, 2)), noise=0.3, rng=rng, shape=(64, 64))
    result = cr.register_stack(movie)
    assert [loop.frames for loop in loops(result, movie, 8)] == [(0, 1, 2)]
    assert loops(cr.register_stack(movie[:2]), movie[:2], 8) == []
    with pytest.raises(cr.InputError, match="they must agree"):
        loops(result, movie[:2], 8)


@pytest.mark.parametrize("shape", [(256,), (12, 24, 20)])
def test_reports_of_lines_and_volumes(tmp_path, shape):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(3)
    sides = tuple(2 * n for n in shape)
    scene = cr.random_scene("power-law-2", sides, rng=rng)
    truth = rng.normal(size=(4, len(shape)))
    movie = cr.simulate_stack(scene, truth, noise=0.02, rng=rng, shape=shape)
    result = cr.register_stack(movie)
    result.report(tmp_path / "r.html", movie)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert ("The plane in the middle" in page) == (len(shape) == 3)
    assert ('id="picture"' in page) == (len(shape) == 3)
    assert "Pairs by themselves" in page
