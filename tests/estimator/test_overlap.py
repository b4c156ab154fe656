"""Pairs with defects: bars that are true, and errors near the smallest possible."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import chi2

import coregister as cr
from coregister.estimator.compare import Comparison
from coregister.simulate import Observation, random_scene
from coregister.simulate.bounds import bound_of

PAIRS = 30


def border(image):
    image[:10] = image[-10:] = image[:, :10] = image[:, -10:] = np.nan


def quarter(image):
    image[:48, :48] = np.nan


def errors_and_pulls(scene, noise, *, spoil=None, **options):
    """Errors in units of the bound, pulls, and the number of results that are not trusted."""
    observation = Observation(noise=noise, shape=(96, 96), **options)
    ratios, pulls, untrusted = [], [], 0
    for i in range(PAIRS):
        rng = np.random.default_rng([17, i])
        field = random_scene(scene, (192, 192), rng=rng)
        offset = rng.uniform(-6, 6, 2)
        reference, moving = observation.take(field, offset, rng)
        if spoil is not None:
            spoil(moving)
        result = cr.register(reference, moving)
        bound = bound_of(
            observation, field, offset, valid=(np.isfinite(reference), np.isfinite(moving))
        )
        error = result.offset - offset
        ratios.append(error @ np.linalg.solve(bound, error) / 2)
        pulls.append(result.pull(offset))
        untrusted += not result.trusted
    return np.sqrt(np.mean(ratios)), np.concatenate(pulls), untrusted


@pytest.mark.filterwarnings("ignore::coregister.RegistrationWarning")
@pytest.mark.parametrize(
    ("scene", "noise", "options"),
    [
        ("power-law-2", 0.5, {"holes": 0.3}),
        ("texture", 0.1, {"holes": 0.4}),
        ("power-law-3", 0.1, {"holes": 0.1, "hole_size": 4}),
        ("blobs", 0.1, {"holes": 0.3, "hole_size": 3, "holes_on": "sky"}),
        ("power-law-2", 0.1, {"spoil": border}),
        ("power-law-3", 0.1, {"spoil": quarter}),
        ("power-law-3", 0.1, {"cosmic_rays": 5}),
        ("blobs", 0.1, {"cosmic_rays": 5}),
    ],
)
def test_defects_cost_what_they_hide_and_the_bars_say_so(scene, noise, options):
    ratio, pulls, untrusted = errors_and_pulls(scene, noise, **options)
    low, high = chi2.ppf([0.0005, 0.9995], pulls.size)  # chance alone fails it once in 1000
    assert low < np.sum(pulls**2) < high
    # errors at 1.2 times the bound: chance alone fails it once in 1000
    assert ratio < 1.2 * np.sqrt(chi2.ppf(0.999, pulls.size) / pulls.size)
    assert untrusted <= 1
    assert not low < np.sum((pulls / 0.6) ** 2) < high
    assert not low < np.sum((pulls * 0.6) ** 2) < high


@pytest.mark.filterwarnings("ignore::coregister.RegistrationWarning")
def test_guesses_that_do_not_settle_are_told():
    # so little noise that errors of the guesses rule: they are not in the bars
    _, pulls, untrusted = errors_and_pulls("power-law-2", 0.004, holes=0.5)
    assert np.sqrt(np.mean(pulls**2)) > 2
    assert untrusted >= 0.9 * PAIRS
    # the control: as many pixels that are missing, and enough noise
    _, pulls, untrusted = errors_and_pulls("power-law-2", 0.1, holes=0.5)
    assert np.sqrt(np.mean(pulls**2)) < 1.5
    assert untrusted <= 2


@pytest.mark.parametrize("seen", ["measured", "guessed, too"])
def test_what_stands_in_a_hole_is_no_witness(seen, monkeypatch):
    # it agrees with the other image, in coarse frequencies most of all
    if seen != "measured":  # the control
        monkeypatch.setattr(Comparison, "where_measured", lambda self, field: field)
    untrusted = 0
    for i in range(12):
        rng = np.random.default_rng([3, i])
        field = random_scene("power-law-3", (256, 256), rng=rng)
        images = Observation(noise=0.4, shape=(128, 128)).take(field, rng.uniform(-2, 2, 2), rng)
        for image in images:
            row, column = rng.integers(4, 92, 2)
            image[row : row + 32, column : column + 32] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cr.RegistrationWarning)
            untrusted += not cr.register(*images).trusted
    assert untrusted == 0 if seen == "measured" else untrusted >= 2


def test_a_track_beyond_the_overlap_is_not_felt():
    rng = np.random.default_rng(3)
    scene = random_scene("power-law-3", (192, 192), rng=rng)
    observation = Observation(noise=0.1, shape=(96, 96))
    offset = np.array([6.3, 0.4])
    reference, moving = observation.take(scene, offset, rng)
    clean = cr.register(reference, moving)
    reference[92, 30:35] += 40  # shown by the reference alone, two pixels beyond the overlap
    result = cr.register(reference, moving)
    assert result.trusted
    assert np.all(np.abs(result.offset - clean.offset) < 0.5 * clean.stderr)
    np.testing.assert_allclose(result.stderr, clean.stderr, rtol=0.2)
