"""Undersampled frames: what aliasing may do to them is told, frame by frame, and holds."""

from __future__ import annotations

import itertools
import warnings

import numpy as np

import coregister as cr
from coregister import Status

SIDE = 96


def stars(seed, *, width=0.6, noise=0.05, drift=(0.0, 0.0), frames=6, count=250):
    """Stars sharper than pixels, and where they lie."""
    rng = np.random.default_rng([seed, 9])
    truth = np.cumsum(rng.normal(0, 0.7, (frames, 2)) + drift, axis=0)
    places = rng.uniform(-6, (SIDE + 6 + frames * np.array(drift)), (count, 2))
    along = np.arange(SIDE)[:, None]
    movie = np.empty((frames, SIDE, SIDE))
    for frame, offset in zip(movie, truth, strict=True):
        y, x = (
            np.exp(-((along - place - d) ** 2) / (2 * width**2))
            for place, d in zip(places.T, offset - frames * np.array(drift), strict=True)
        )
        frame[:] = y @ x.T
    return movie + noise * rng.normal(size=movie.shape), truth


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        return cr.register_stack(*args, **options)


def test_the_bound_holds_and_the_bars_alone_do_not():
    """Of all frames, and of differences: few stars, all of whose modes are moved alike."""
    inside, within_bars = [], []
    for seed in range(8):
        movie, truth = stars(seed, width=0.5, noise=0.02, frames=5, count=25)
        result = quiet(movie)
        if not result.trusted.all():
            continue
        assert all(Status.UNDERSAMPLED in flags for flags in result.flags)
        for counted in (result, result.relative_to(0)):
            error = counted.offsets - truth
            error -= error.mean(axis=0) if counted is result else error[0]
            error, bars = np.abs(error[1:]), counted.stderr[1:]
            inside.append(error <= counted.systematic[1:] + 3 * bars)
            within_bars.append(error <= 2 * bars)
    assert len(inside) >= 2 * 6
    assert np.all(inside)
    # true bars hold 95 % of them
    assert np.mean(within_bars) < 0.93


def test_well_sampled_frames_have_none():
    movie, _ = stars(0, width=1.6)
    result = quiet(movie)
    assert result.trusted.all()
    np.testing.assert_array_equal(result.systematic, 0)
    assert not any(result.flags)
    assert "systematic" not in str(result)


def test_it_is_told_and_kept(tmp_path):
    movie, _ = stars(2, noise=0.1)
    result = quiet(movie)
    assert result.systematic.shape == result.offsets.shape
    assert np.all(result.systematic > 0)
    assert "systematic below" in str(result)
    result.save(tmp_path / "t.json")
    np.testing.assert_array_equal(cr.read_table(tmp_path / "t.json").systematic, result.systematic)
    first = quiet(movie, reference="first")
    np.testing.assert_array_equal(first.systematic[0], 0)
    np.testing.assert_array_equal(first.systematic[1:], result.systematic[1:])
    outside = quiet(movie[1:], reference=movie[0])
    assert outside.systematic.shape == outside.offsets.shape


def test_along_a_chain_it_adds_up():
    movie, truth = stars(3, noise=0.1)
    chain = quiet(movie, reference="previous")
    assert chain.trusted.all()
    steps = [cr.register(before, now).systematic for before, now in itertools.pairwise(movie)]
    np.testing.assert_allclose(chain.systematic[1:], np.cumsum(steps, axis=0))
    between = chain.relative_to(2)
    np.testing.assert_allclose(between.systematic[4], np.sum(steps[2:4], axis=0))
    np.testing.assert_allclose(between.systematic[0], np.sum(steps[:2], axis=0))
    error = chain.offsets - (truth - truth[0])
    assert np.all(np.abs(error) <= chain.systematic + 4 * chain.stderr)


def test_many_windows_add_theirs():
    movie, truth = stars(4, noise=0.1, drift=(9.0, 0.0), frames=12)
    result = quiet(movie)
    assert result.shared is not None
    assert result.trusted.all()
    far = np.abs(result.offsets).max(axis=1)
    order = np.argsort(far)
    assert np.all(np.diff(result.systematic[order], axis=0) >= 0)
    assert np.all(result.systematic[order[-1]] > 1.5 * result.systematic[order[0]])
    ends = result.relative_to(0)
    assert np.all(ends.systematic[-1] > result.systematic[-1])
    error = np.abs(ends.offsets - (truth - truth[0]))
    assert np.all(error <= ends.systematic + 4 * ends.stderr)
