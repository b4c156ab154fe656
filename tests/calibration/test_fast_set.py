"""Are the bars true? Five kinds of pairs, two-sided, and controls that must fail.

Tolerances come from the number of pairs. For true bars a mean is beyond 4/sqrt(N) once in 16,000,
the sum of squared pulls outside its interval once in 1,000, a coverage outside Wilson's once in
1,000; the seeds are fixed, so that a failure is a change of the code and stays.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

import coregister as cr
from coregister.calibration import LEVELS, Calibration, Trials, calibrate
from coregister.simulate import random_scene, simulate_pair

pytestmark = pytest.mark.calibration

N_PAIRS = 200
CHANCE = 1e-3
CELLS: dict[str, dict[str, Any]] = {
    "fine scene, high S/N": {"scene": "power-law-2", "noise": (0.1, 0.1), "shape": (64, 64)},
    "red scene, low S/N, photometry": {
        "scene": "power-law-3",
        "noise": (0.3, 0.5),
        "shape": (56, 64),
        "gain": 1.7,
        "background": 1e3,
    },
    "band-limited, one image nearly clean": {
        "scene": "band-limited",
        "noise": (0.02, 0.2),
        "shape": (64, 64),
    },
    "texture, noise varies and is told": {
        "scene": "texture",
        "noise": (0.2, 0.2),
        "shape": (64, 64),
        "noise_map": np.linspace(0.5, 2.0, 64)[:, None] * np.ones((1, 64)),
    },
    "periodic": {
        "scene": "power-law-3",
        "noise": (0.5, 0.5),
        "shape": (64, 64),
        "boundary": "periodic",
        "offsets": 30,
    },
}


@pytest.fixture(scope="module", params=CELLS)
def cell(request: pytest.FixtureRequest) -> Calibration:
    return calibrate(**CELLS[request.param], n_pairs=N_PAIRS, seed=11)


def z2_interval(pairs: int, ndim: int) -> tuple[float, float]:
    """Where the sum of squared pulls lies but once in a thousand times, if the bars are true."""
    low, high = stats.chi2.ppf([CHANCE / 2, 1 - CHANCE / 2], pairs * ndim)
    return float(low), float(high)


def widths_are_true(trials: Trials, *, scale: float = 1.0) -> bool:
    """Bars times `scale` pass the test of the sum of squared pulls."""
    pulls = trials.pulls / scale
    low, high = z2_interval(*pulls.shape)
    return low < np.sum(pulls**2) < high


def wilson(share: float, total: int) -> tuple[float, float]:
    z = stats.norm.ppf(1 - CHANCE / 2)
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + (z / total / 2) ** 2)
    return middle - half, middle + half


def test_the_tolerances_are_what_they_claim():
    rng = np.random.default_rng(0)
    low, high = z2_interval(N_PAIRS, 2)
    sums = np.sum(rng.standard_normal((4000, 2 * N_PAIRS)) ** 2, axis=1)
    false_alarms = np.sum((sums < low) | (sums > high))
    assert 0 <= false_alarms <= stats.binom.ppf(1 - 1e-6, 4000, CHANCE)
    # a width that is wrong by 20 % is found out nearly always
    for width in (0.8, 1.25):
        assert np.mean((width**2 * sums < low) | (width**2 * sums > high)) > 0.95


def test_the_answer_is_not_biased(cell: Calibration):
    pulls = cell.trials["coregister"].pulls
    assert np.all(np.abs(pulls.mean(axis=0)) < 4 / math.sqrt(len(pulls)))


def test_the_bars_have_the_right_width(cell: Calibration):
    assert widths_are_true(cell.trials["coregister"]), cell.figures().pull_width


def test_bars_scaled_by_0_8_and_1_25_are_found_out(cell: Calibration):
    for scale in (0.8, 1.25):
        assert not widths_are_true(cell.trials["coregister"], scale=scale), scale


def test_the_regions_hold_the_truth_as_often_as_they_claim(cell: Calibration):
    trials = cell.trials["coregister"]
    for level, inside in zip(LEVELS, trials.inside[trials.trusted].T, strict=True):
        low, high = wilson(float(inside.mean()), len(inside))
        assert low < level < high, (level, inside.mean())


def test_the_bars_come_near_the_bound(cell: Calibration):
    # two-sided: nobody beats the bound for long
    efficiency = cell.figures().efficiency
    assert 1 - 3.3 * efficiency.stderr < efficiency.value < 1.3 + 3.3 * efficiency.stderr


def nearly_all_are_trusted(cell: Calibration) -> bool:
    """No more are flagged than the target for this bound allows by chance."""
    f = cell.figures()
    limit = {True: 0.02, False: 0.05}[f.bound < 0.03] if f.bound < 0.1 else 0.2
    return bool(f.pairs - f.trusted <= stats.binom.ppf(1 - CHANCE, f.pairs, limit))


def test_nearly_all_are_trusted(cell: Calibration):
    assert nearly_all_are_trusted(cell), cell.figures().flags


def test_nearly_all_blobs_are_trusted():
    found = calibrate("blobs", noise=0.2, shape=(64, 64), n_pairs=40, seed=11)
    assert nearly_all_are_trusted(found), found.figures().flags


def test_none_is_a_silent_failure(cell: Calibration):
    assert cell.figures().silent == 0


def test_the_textbook_covariance_is_found_out_at_low_signal():
    # sigma^2 (J^T J)^-1 with the gradient of a noisy image: noise counts as signal
    squares: dict[str, list[float]] = {"ours": [], "textbook": []}
    for i in range(60):
        rng = np.random.default_rng([5, i])
        truth = rng.uniform(-4, 4, 2)
        scene = random_scene("power-law-2", (128, 128), rng=rng)
        x, y = simulate_pair(scene, truth, noise=1.0, rng=rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = cr.register(x, y)
        if not result.trusted:
            continue
        error = result.offset - truth
        slopes = np.stack([g.ravel() for g in np.gradient(x)])
        textbook = np.linalg.inv(slopes @ slopes.T) * (1.0**2 + 1.0**2)
        squares["ours"].append(float(np.sum(result.pull(truth) ** 2)))
        squares["textbook"].append(float(error @ np.linalg.solve(textbook, error)))
    assert len(squares["ours"]) >= 50
    low, high = z2_interval(len(squares["ours"]), 2)
    assert low < sum(squares["ours"]) < high
    assert not low < sum(squares["textbook"]) < high


def test_a_few_stars_are_matched_as_a_field_and_not_one_by_one():
    # the brightest star of one image laid on the brightest of the other is a perfect match of
    # what little overlaps then; all stars together say where the images really lie
    found = calibrate("few-stars", noise=0.1, shape=(96, 96), n_pairs=60, seed=3)
    assert nearly_all_are_trusted(found), found.figures().flags
    assert found.figures().silent == 0
    trials = found.trials["coregister"]
    assert np.max(np.abs(trials.error[trials.trusted])) < 0.1


@pytest.mark.parametrize("scene", ["few-stars", "blobs"])
@pytest.mark.parametrize("boundary", ["overlap", "periodic"])
def test_unrelated_sources_are_not_trusted(scene: str, boundary: str):
    options: dict[str, Any] = {"boundary": boundary, "shape": (64, 64), "noise": 0.1}
    found = calibrate(scene, n_pairs=40, seed=4, related=False, **options)
    assert found.figures().trusted == 0
    # 4 below 0.1 on average; above 12 with probability 1e-4 were it uniform
    alarms = found.trials["coregister"].false_alarm
    assert np.count_nonzero(alarms < 0.1) <= 12


def test_unrelated_images_are_not_trusted():
    for scene, seed in (("white", 1), ("power-law-3", 2)):
        found = calibrate(
            scene, noise=0.1, shape=(48, 48), n_pairs=60, seed=seed, related=False
        ).figures()
        assert found.trusted == 0, scene
        assert found.false_alarm_uniform > 1e-4, scene
