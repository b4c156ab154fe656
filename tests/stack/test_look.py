"""The first look: a lone peak is what the whole search tells, and doubt is left to that."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

import coregister as cr
from coregister.stack import look
from coregister.stack.frames import Frames
from coregister.stack.links import Centre, Options
from coregister.stack.look import Look


def looked(movie: np.ndarray, max_offset: np.ndarray | None = None) -> tuple[Look, list]:
    """The look at the first frame, and all frames made ready for it."""
    options = Options(boundary="periodic", max_offset=max_offset)
    frames = Frames(movie)
    centres = [Centre(frames, t, options) for t in range(len(movie))]
    hub = centres[0]
    found = hub._look
    assert found is not None
    return found, [c.ready(hub.samples).at(found.step).movable for c in centres]


def movie_of(kind: str, noise: float, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    scene = cr.random_scene(kind, (128, 128), rng=rng)
    truth = np.vstack([np.zeros(2), rng.uniform(-40, 40, (count - 1, 2))])
    return cr.simulate_stack(scene, truth, noise=noise, rng=rng, shape=None), truth


@pytest.mark.parametrize("kind", ["power-law-2", "power-law-3", "texture"])
@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_a_lone_peak_is_where_the_search_finds_it(monkeypatch, kind, noise):
    movie, truth = movie_of(kind, noise)
    here, frames = looked(movie)
    asked = []
    monkeypatch.setattr(look, "pick", lambda *a, **k: asked.append(a))
    quick = [here.of(frame) for frame in frames]
    assert not asked  # nothing was in doubt
    monkeypatch.undo()
    monkeypatch.setattr(Look, "_lone_peak", lambda *_: None)
    for one, other, true in zip(quick, (here.of(frame) for frame in frames), truth, strict=True):
        np.testing.assert_array_equal(one, other)
        apart = one - true
        assert np.max(np.abs(apart - 128 * np.rint(apart / 128))) < 0.5


def test_what_unrelated_frames_scatter_by_follows_from_the_spectra(monkeypatch):
    movie, _ = movie_of("power-law-2", 0.3, 2)
    here, frames = looked(movie)
    own, other = here._own, here._filtered(frames[1], hub=False)
    null = scipy.fft.irfftn(here._mirrored * other.spectrum, s=here._full)
    null /= np.sqrt(own.mirrored * other.energy)
    told = np.vdot(here._unlike, np.abs(other.spectrum) ** 2) / (own.energy * other.energy)
    assert told == pytest.approx(here._samples * np.mean(null**2), rel=1e-9)


@pytest.mark.parametrize("case", ["unrelated", "twice", "out of reach"])
def test_doubt_is_left_to_the_search(monkeypatch, case):
    movie, truth = movie_of("texture", 0.1, 2)
    reach = None
    if case == "unrelated":
        movie[1] = cr.random_scene("texture", (128, 128), rng=np.random.default_rng(9))
    if case == "twice":  # two offsets, nearly as good
        movie[1] = movie[0] + 0.9 * np.roll(movie[0], 40, axis=1)
    if case == "out of reach":
        reach = np.abs(truth[1]) / 2
    here, frames = looked(movie, reach)
    told = []

    def asked(*args, **options):
        told.append(args)
        return []

    monkeypatch.setattr(look, "pick", asked)
    assert here.of(frames[1]) is None
    assert len(told) == 1
    assert here.of(frames[0]) is not None  # a control: the frame itself is found
