"""The probability on a grid that covers what is likely, and is fine enough for every peak."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from coregister.posterior.cells import volumes
from coregister.posterior.evidence import Evidence
from coregister.posterior.modes import MIN_MODE, find_modes
from coregister.posterior.peaks import Peak, nearest
from coregister.posterior.result import Posterior

Float = NDArray[np.float64]
#: probability that may be left outside of the grid
OUTSIDE = 1e-5
#: px between the points of the grid where nothing is finer
STEP = 0.5
MAX_POINTS = 300_000
#: points to the sigma of a peak, and sigmas on either side to which it is followed
PER_SIGMA, REACH = 3.0, 8.0


def on_grid(
    evidence: Evidence,
    log_density: Callable[[list[Float]], Float],
    peaks: list[Peak],
    mass: Float | None,
) -> Posterior:
    """The density on a grid that covers what is likely, and is fine enough for every peak.

    Parameters
    ----------
    evidence : Evidence
    log_density : callable
        On the outer grid of some positions, up to a constant.
    peaks : list of Peak
    mass : array or None
        Logarithm of the probability of every whole-pixel cell; None: all is in the peaks.
    """
    logs = np.array([peak.log_mass for peak in peaks])
    if mass is None:
        low, high = _around([p for p, log in zip(peaks, logs, strict=True) if log > logs.max() - 9])
        outside = -np.inf
    else:
        low, high, outside = _likely(evidence, peaks, mass)
    low, high = np.maximum(low, evidence.low), np.minimum(high, evidence.high)
    share = logs - (logsumexp(mass) if mass is not None else logsumexp(logs))
    sharp = [peak for peak, log in zip(peaks, share, strict=True) if log > np.log(MIN_MODE)]
    step = max(STEP, float(np.prod(high - low) / MAX_POINTS) ** (1 / low.size))
    positions = [_axis(low[axis], high[axis], step, axis, sharp) for axis in range(low.size)]
    logs = log_density(positions)
    top = float(logs.max())
    weight = np.exp(logs - top) * volumes(positions)
    total = float(weight.sum()) + float(np.exp(outside - top))
    probability = weight / total
    return Posterior(
        positions=tuple(positions),
        probability=probability,
        elsewhere=max(0.0, 1.0 - float(probability.sum())),
        modes=find_modes(positions, probability, peaks, evidence.period),
        period=evidence.period,
    )


def _around(peaks: list[Peak]) -> tuple[Float, Float]:
    """Box around some peaks."""
    reach = [REACH * np.sqrt(np.diag(peak.covariance)) for peak in peaks]
    low = np.min([p.offset - r for p, r in zip(peaks, reach, strict=True)], axis=0)
    high = np.max([p.offset + r for p, r in zip(peaks, reach, strict=True)], axis=0)
    return low, high


def _likely(
    evidence: Evidence, peaks: list[Peak], mass: Float
) -> tuple[Float, Float, float]:  # fmt: skip
    """Box that holds nearly all of the probability, and the logarithm of what it leaves out."""
    probability = np.exp(mass - logsumexp(mass))
    order = np.argsort(-probability, axis=None, kind="stable")
    total = np.cumsum(probability.ravel()[order])
    kept = order[: int(np.searchsorted(total, total[-1] - OUTSIDE)) + 1]
    cells = np.unravel_index(kept, mass.shape)
    places = nearest(
        evidence,
        np.stack(
            [lag.reshape(-1)[cell] for lag, cell in zip(evidence.lags, cells, strict=True)], axis=-1
        ),
    )
    near = [p for p in peaks if np.any(np.max(np.abs(places - p.offset), axis=1) < 1.0)]
    if near:
        low, high = _around(near)
        inside = np.all((places > low - 1.0) & (places < high + 1.0), axis=1)
        if inside.all() and np.all(high - low < 0.9 * (evidence.high - evidence.low)):
            return low, high, -np.inf
    low, high = places.min(axis=0) - 1.0, places.max(axis=0) + 1.0
    left_out = np.ones(mass.shape, dtype=bool)
    every = [
        nearest(evidence, np.repeat(lag.reshape(-1, 1), low.size, axis=1))[:, axis]
        for axis, lag in enumerate(evidence.lags)
    ]
    lines = [(p >= a) & (p <= b) for p, a, b in zip(every, low, high, strict=True)]
    left_out[np.ix_(*lines)] = False
    return low, high, float(logsumexp(mass[left_out])) if left_out.any() else -np.inf


def _axis(low: float, high: float, step: float, axis: int, peaks: list[Peak]) -> Float:
    """Points between two limits, closer together where a peak is sharp."""
    step = min(step, (high - low) / 4)
    spans = []
    for peak in peaks:
        fine = 1 / np.sqrt(peak.curvature[axis, axis]) / PER_SIGMA
        if fine < step:
            reach = REACH * np.sqrt(peak.covariance[axis, axis])
            fine = max(fine, reach / 100)
            spans.append((peak.offset[axis] - reach, peak.offset[axis] + reach, fine))
    points = [low]
    while points[-1] < high - 1e-9 * (high - low):
        here = points[-1]
        size = step
        for first, last, fine in spans:
            if first <= here < last:
                size = min(size, fine)
            elif here < first:
                size = min(size, max(first - here, fine))
        points.append(here + size)
    points[-1] = high
    edges = np.array(points)  # the cells end where the search ends
    return np.asarray((edges[1:] + edges[:-1]) / 2)
