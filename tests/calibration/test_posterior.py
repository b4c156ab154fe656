"""Is the posterior true where Gaussian bars are not? All pairs count, found or not.

Scenes of three kinds, so faint that between a tenth and nine tenths of the offsets are found.
Tolerances come from the number of pairs: true regions and probabilities fail each test once in
1,000; the seeds are fixed. The control, plain correlation with the noise known, must fail.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import stats

import coregister as cr

pytestmark = pytest.mark.calibration

CHANCE = 1e-3
SIDE = 32
LEVELS = (0.6827, 0.95)
#: px from the likeliest offset within which it counts as right
NEAR = 1.5
KINDS = ("power-law-1", "power-law-2", "power-law-3")
PAIRS = {"periodic": 60, "overlap": 45}
NOISE = {"periodic": (2.0, 5.0), "overlap": (2.0, 5.0)}


@dataclass
class Drawn:
    """What was claimed for some pairs, and what was true."""

    inside: list[list[bool]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    claimed: list[float] = field(default_factory=list)
    naive_inside: list[list[bool]] = field(default_factory=list)
    trusted: int = 0


def plain_correlation(reference, moving, truth, noise) -> list[bool]:
    """Regions of exp(-chi^2 / 2) with the noise known, at a quarter of a pixel."""
    cross = np.conj(np.fft.fft2(reference)) * np.fft.fft2(moving) / reference.size
    fine = 4 * SIDE
    padded = np.zeros((fine, fine), complex)
    half = SIDE // 2
    place = np.r_[0:half, fine - half + 1 : fine]
    kept = np.r_[0:half, half + 1 : SIDE]
    padded[np.ix_(place, place)] = cross[np.ix_(kept, kept)]
    padded[0, 0] = 0.0
    log = np.fft.ifft2(padded).real * fine**2 / (2 * noise**2)
    p = np.exp(log - log.max())
    p /= p.sum()
    here = p[tuple(np.rint(4 * truth).astype(int) % fine)]
    above = float(p[p > here].sum())
    return [above < level for level in LEVELS]


def near_best(posterior: cr.Posterior, truth: np.ndarray) -> tuple[bool, float]:
    """Is the truth within `NEAR` of the likeliest offset, and how probable was that said to be?"""
    density = posterior.density
    top = np.unravel_index(int(np.argmax(density)), density.shape)
    best = [points[i] for points, i in zip(posterior.positions, top, strict=True)]

    def distance(places) -> np.ndarray:
        away = [place - b for place, b in zip(places, best, strict=True)]
        if posterior.period is not None:
            away = [a - n * np.rint(a / n) for a, n in zip(away, posterior.period, strict=True)]
        return np.hypot(*away)

    rows, columns = posterior.positions
    near = distance((rows[:, None], columns[None, :])) < NEAR
    return bool(distance(truth) < NEAR), float(posterior.probability[near].sum())


@pytest.fixture(scope="module", params=PAIRS)
def drawn(request: pytest.FixtureRequest) -> Drawn:
    boundary = request.param
    found = Drawn()
    for i in range(PAIRS[boundary]):
        rng = np.random.default_rng([23, i])
        wraps = boundary == "periodic"
        noise = rng.uniform(*NOISE[boundary])
        reach = SIDE / 2 if wraps else SIDE / 4
        truth = rng.uniform(-reach, reach, 2)
        shape = (SIDE, SIDE) if wraps else (2 * SIDE, 2 * SIDE)
        scene = cr.random_scene(KINDS[i % len(KINDS)], shape, rng=rng)
        pair = cr.simulate_pair(scene, truth, noise=noise, rng=rng, boundary=boundary)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cr.RegistrationWarning)
            result = cr.register(*pair, boundary=boundary, max_offset=None if wraps else reach)
        posterior = result.posterior()
        found.trusted += result.trusted
        found.inside.append([posterior.contains(truth, level) for level in LEVELS])
        right, claimed = near_best(posterior, truth)
        found.right.append(right)
        found.claimed.append(claimed)
        found.naive_inside.append(plain_correlation(*pair, truth, noise))
    return found


def coverage_is_true(inside: list[list[bool]]) -> bool:
    """Inside of Wilson's interval at both levels."""
    z = stats.norm.ppf(1 - CHANCE / 4)
    shares, total = np.mean(inside, axis=0), len(inside)
    middle = (shares + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(shares * (1 - shares) / total + (z / total / 2) ** 2)
    return bool(np.all(np.abs(middle - LEVELS) < half))


def claims_are_true(claimed: np.ndarray, right: np.ndarray) -> bool:
    """As many are right as the sum of what was claimed says, within chance."""
    scatter = math.sqrt(float(np.sum(claimed * (1 - claimed))))
    return abs(float(np.sum(right - claimed))) < stats.norm.ppf(1 - CHANCE / 2) * scatter


def test_most_of_these_pairs_are_beyond_the_bars(drawn: Drawn):
    assert drawn.trusted < 0.3 * len(drawn.right)
    assert 0.2 < np.mean(drawn.right) < 0.85


def test_the_regions_hold_the_truth_as_often_as_they_claim(drawn: Drawn):
    assert coverage_is_true(drawn.inside), np.mean(drawn.inside, axis=0)


def test_the_likeliest_offset_is_right_as_often_as_it_claims(drawn: Drawn):
    claimed, right = np.array(drawn.claimed), np.array(drawn.right, float)
    assert claims_are_true(claimed, right), (claimed.mean(), right.mean())
    # and it knows which ones: those that claim more are right more often
    sure = claimed > np.median(claimed)
    assert right[sure].mean() > right[~sure].mean() + 0.15


def test_claims_that_are_too_bold_are_found_out(drawn: Drawn):
    right = np.array(drawn.right, float)
    assert not claims_are_true(np.full(right.size, 0.98), right)


def test_plain_correlation_is_found_out(drawn: Drawn):
    assert not coverage_is_true(drawn.naive_inside)
