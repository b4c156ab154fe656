"""The bars: what is taken from them because the spectra are read from the same pair."""

import numpy as np
import pytest

from coregister.estimator.compare import Comparison
from coregister.estimator.movable import MovableImage
from coregister.estimator.spectrum import Spectra
from coregister.estimator.uncertainty import weight_beside
from coregister.estimator.uncertainty.covariance import MOST_LOST, loosened_by
from coregister.estimator.uncertainty.disagreement import InRings
from coregister.estimator.uncertainty.misfit import _heard, echo
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


@pytest.mark.parametrize(
    ("shape", "step"),
    [((64, 64), 1), ((128, 128), 2), ((129, 150), 2), ((400,), 1), ((24, 24, 24), 1)],
)
def test_the_chance_of_an_echo_is_that_of_white_noise(shape, step):
    rng = np.random.default_rng(11)
    noise = rng.normal(size=(400, *shape)).astype(np.float32)
    ring = np.array([0.1]), np.array([100.0]), np.array([10.0])
    chance = np.concatenate([_heard(part, step, *ring).probability for part in np.split(noise, 8)])
    for level in (0.5, 0.1, 0.03):
        # below: one lag of a smooth correlation is not independent of the next
        assert 0.4 * level < np.mean(chance < level) < 1.4 * level + 3 * np.sqrt(level / 400)


@pytest.mark.parametrize("lag", [(9, -15), (30, 8)])
@pytest.mark.parametrize("energy", [0.02, 0.2])
def test_the_energy_of_a_second_scene_is_that_of_what_was_put_in(energy, lag):
    """White within the band, its power in units of noise of 1, of which the first has a hundred."""
    rng = np.random.default_rng(12)
    frequency = np.linspace(0.005, 0.495, 50)
    spectra = Spectra(
        scene=np.full(50, 100.0),
        residual=np.full(50, 1 + 200 * energy),
        share=0.5,
        coherence=np.full(50, 0.9),
    )
    for _ in range(4):
        second = np.sqrt(100 * energy) * rng.normal(size=(256, 256))
        left = rng.normal(size=second.shape) + second - np.roll(second, lag, (0, 1))
        found = echo(left, frequency, frequency, spectra)
        assert found.probability < 1e-9
        np.testing.assert_allclose(found.second, energy, rtol=0.1)
        # all that is left over, as much as two such scenes, is what one could have at most
        most = (1 + 200 * energy) / 100
        assert echo(left, frequency, frequency, spectra, faintest=0.99 * most).probability < 1e-9
        assert echo(left, frequency, frequency, spectra, faintest=1.01 * most) == (1.0, 0.0)
