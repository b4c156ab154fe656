"""Noise that follows the brightness, of which nothing is told."""

import warnings

import numpy as np
import pytest

import coregister as cr
import coregister.estimator.overlap as overlap

PAIRS = 30
#: 5 sigma of a mean of squares of 2 * PAIRS numbers of unit variance
SLACK = 5 * np.sqrt(2 / (2 * PAIRS))


def photons(seed, kind, per_unit, sky, offset=(2.4, -3.3)):
    rng = np.random.default_rng(seed)
    scene = cr.random_scene(kind, (160, 160), rng=rng)
    return cr.simulate_pair(
        scene, offset, noise=0.05, rng=rng, shape=(96, 96), poisson=per_unit, background=sky
    )


def mean_squares(kind, per_unit, sky):
    """Mean square of the pulls, that of the model's bars, and of the errors."""
    truth = np.array((2.4, -3.3))
    seen, even, errors = [], [], []
    for seed in range(PAIRS):
        result = cr.register(*photons(seed, kind, per_unit, sky))
        error = result.offset - truth
        seen.append(error @ np.linalg.solve(result.covariance, error) / 2)
        even.append(error @ np.linalg.solve(result.model_covariance, error) / 2)
        errors.append(error @ error / 2)
    return np.mean(seen), np.mean(even), np.mean(errors)


@pytest.mark.parametrize(
    ("kind", "per_unit", "sky"), [("few-stars", 20.0, 2.0), ("blobs", 10.0, 1.0)]
)
def test_bright_pixels_weigh_as_little_as_their_photons_scatter(kind, per_unit, sky, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.RegistrationWarning)
        seen, even, errors = mean_squares(kind, per_unit, sky)
        monkeypatch.setattr(overlap, "with_learnt_noise", lambda pair, state: None)
        _, alike_even, alike_errors = mean_squares(kind, per_unit, sky)
    # the model knows the noise now, so both bars are true
    assert 1 - SLACK < seen < 1 + SLACK
    assert 1 - SLACK < even < 1 + SLACK
    # with all pixels weighed alike its bars were false, and the errors larger
    assert alike_even > 1 + SLACK
    assert alike_errors > 1.1 * errors


@pytest.mark.parametrize("kind", ["blobs", "power-law-2"])
def test_even_noise_and_rays_are_left_as_they_are(kind, monkeypatch):
    """A ray is bright too, and is left over: but only one image shows it."""

    def told(route, pair):
        raise AssertionError("noise was found to rise with brightness")

    monkeypatch.setattr(overlap.OverlapRoute, "_told", told)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        scene = cr.random_scene(kind, (160, 160), rng=rng)
        rays = 6 * (seed % 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cr.RegistrationWarning)
            cr.register(
                *cr.simulate_pair(
                    scene, (2.4, -3.3), noise=0.1, rng=rng, shape=(96, 96), cosmic_rays=rays
                )
            )


def test_errors_that_were_given_are_not_learnt_anew():
    reference, moving = photons(3, "blobs", 100, 1)
    err = np.sqrt(0.05**2 + np.clip(reference, 0, None) / 100)
    told = cr.register(reference, moving, reference_err=err)
    assert told.trusted
    assert np.all(np.abs(told.pull((2.4, -3.3))) < 5)


def test_the_images_of_the_result_are_those_given():
    """Learnt errors weigh pixels; they are not made out to be the caller's."""
    reference, moving = photons(3, "blobs", 100, 1)
    result = cr.register(reference, moving)
    assert result._pair.reference.sigma is None
    assert result._pair.moving.sigma is None
