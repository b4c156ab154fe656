"""The bars: what is taken from them because the spectra are read from the same pair."""

import numpy as np
import pytest

from coregister.estimator.compare import Comparison
from coregister.estimator.movable import MovableImage
from coregister.estimator.uncertainty import weight_beside
from coregister.estimator.uncertainty.covariance import MOST_LOST, loosened_by
from coregister.estimator.uncertainty.disagreement import InRings
from coregister.estimator.window import Window
from coregister.images import prepare
from coregister.simulate import random_scene, simulate_pair

BREAD = np.array([[0.04, 0.01], [0.01, 0.09]])


class TestWeightsThatFollow:
    def test_weights_that_stay_take_nothing(self):
        np.testing.assert_allclose(loosened_by(BREAD, lambda away: np.ones(2)), BREAD, rtol=1e-12)

    def test_weights_that_follow_flatten_the_score(self):
        lost = 0.1 * np.linalg.inv(BREAD)
        found = loosened_by(BREAD, lambda away: -lost @ away)
        np.testing.assert_allclose(found, BREAD / 0.9, rtol=1e-12)

    def test_bars_never_shrink_and_do_not_burst(self):
        information = np.linalg.inv(BREAD)
        np.testing.assert_allclose(loosened_by(BREAD, lambda a: information @ a), BREAD, rtol=1e-12)
        burst = loosened_by(BREAD, lambda away: -2 * information @ away)
        np.testing.assert_allclose(burst, BREAD / (1 - MOST_LOST), rtol=1e-12)

    def test_an_open_direction_stays_open(self):
        bread = np.diag([0.04, 0.0])
        np.testing.assert_allclose(loosened_by(bread, lambda away: -away)[1], 0.0, atol=1e-15)

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("away", [(0.1, 0.0), (0.0, -0.1)])
    def test_weights_beside_are_those_read_there(self, away, seed):
        pair = _pair(seed)
        movable = [MovableImage(image.data, periodic=False) for image in pair.images]
        offset = np.array([1.6, -2.3])
        comparison = Comparison(pair, *movable, Window.at(pair, offset))
        equations = comparison.equations(offset)
        in_rings = InRings.of(comparison.rings, equations)
        guess = weight_beside(comparison, equations, in_rings, np.array(away))
        read = Comparison(pair, *movable, Window.at(pair, offset), gain=equations.gain).equations(
            offset + away
        )
        change = np.log(read.spectra.weight / equations.spectra.weight)
        # they move, and as guessed
        assert np.std(change) > 1e-2
        residual = np.log(guess / equations.spectra.weight) - change
        assert np.std(residual) < 0.3 * np.std(change)


def _pair(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene("power-law-3", (96, 96), rng=rng)
    return prepare(*simulate_pair(scene, (1.6, -2.3), noise=0.1, rng=rng, shape=(64, 64)))
