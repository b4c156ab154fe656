"""A smooth motion behind the offsets of a stack, and whether the data want it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError

Float = NDArray[np.float64]

#: frames that a smooth motion needs
FEWEST_FOR_DRIFT = 4
#: frames beyond which the dense algebra is too much
MOST_FRAMES = 3000
#: scales of the roughness that are tried, in units of the noise over the length of the stack
SCALES = np.logspace(-6, 6, 49)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drift:
    """Smooth motion: a straight line and a twice integrated random walk of the size that fits best.

    Attributes
    ----------
    offsets : (T, ndim) array
        px, for every frame, also those that are flagged.
    stderr : (T, ndim) array
        1-sigma bars of the smooth motion, px.
    chance : float
        Probability of offsets this far from standing still, or on such a slope, if nothing moves.
    roughness : (ndim,) array
        Scatter that the frames have about the smooth motion, over their bars: about 1 if the motion
        is as smooth as assumed.
    """

    offsets: Float
    stderr: Float
    chance: float
    roughness: Float

    def counted_from(self, origin: Float) -> Drift:
        """The same, with offsets counted from elsewhere."""
        return replace(self, offsets=self.offsets - origin)


def smooth(
    offsets: Float,
    noise: Callable[[int], Float],
    good: NDArray[np.bool_],
    times: Float | None = None,
) -> Drift:
    """The smooth motion behind offsets whose errors are known, also in what they have in common.

    The size of the random walk is that of the largest marginal likelihood, axis by axis (Wahba
    1985, doi:10.1214/aos/1176349743).

    Parameters
    ----------
    offsets : (T, ndim) array
        px.
    noise : callable
        Covariance of their errors along an axis, (T, T) px^2; frames that do not count aside.
    good : (T,) bool array
        Frames that count.
    times : (T,) array, optional
        When they were taken; at even distances if not given.

    Raises
    ------
    InputError
        If there are too few, or too many, frames.
    """
    from scipy.linalg import solve_triangular
    from scipy.stats import chi2

    count = len(offsets)
    if good.sum() < FEWEST_FOR_DRIFT:
        raise InputError(f"{good.sum()} frames are trusted and a drift needs 4; leave drift out")
    if count > MOST_FRAMES:
        raise InputError(
            f"a drift of {count} frames was asked; up to {MOST_FRAMES} can be had: smooth the table"
        )
    time = np.linspace(0.0, 1.0, count)
    if times is not None and np.ptp(times[good]) > 0:
        time = (times - times.min()) / np.ptp(times)
    low = np.minimum(time[:, None], time[None, :])
    high = np.maximum(time[:, None], time[None, :])
    walk = low**2 * (3 * high - low) / 6  # of a twice integrated random walk
    line = np.stack([np.ones(count), time], axis=1)
    fitted, bars, rough = np.empty(offsets.shape), np.empty(offsets.shape), []
    distance = slope = 0.0
    for axis in range(offsets.shape[1]):
        y, errors = offsets[good, axis], noise(axis)[np.ix_(good, good)]
        scale = float(np.mean(np.diag(errors)))
        # where all of them lie is free: what is added changes nothing but that it can be inverted,
        # also where one of them is certain
        root = np.linalg.cholesky(errors + scale)
        white = partial(solve_triangular, root, lower=True)
        white_y, white_line = white(y), white(line[good])
        white_one, white_time = white_line.T
        mean = float(white_one @ white_y) / float(white_one @ white_one)
        left = white_y - mean * white_one
        ahead = white_time - white_one * (white_one @ white_time) / (white_one @ white_one)
        distance += float(left @ left)
        slope += float(ahead @ left) ** 2 / float(ahead @ ahead)
        walked = white(white(scale * walk[np.ix_(good, good)]).T)
        choice = _likeliest(white_y, white_line, walked)
        prior = choice * scale * walk + 1e6 * scale * line @ line.T
        gain = np.linalg.solve(prior[np.ix_(good, good)] + errors, prior[good]).T
        fitted[:, axis] = mean + gain @ (y - mean)
        variances = np.diag(prior - gain @ prior[good])
        bars[:, axis] = np.sqrt(np.clip(variances, 0.0, None))
        beyond = white(y - fitted[good, axis])
        rough.append(np.sqrt(float(beyond @ beyond) / y.size))
    freedom = (good.sum() - 1) * offsets.shape[1]
    return Drift(
        offsets=fitted,
        stderr=bars,
        chance=min(
            2 * float(min(chi2.sf(distance, freedom), chi2.sf(slope, offsets.shape[1]))), 1.0
        ),
        roughness=np.array(rough),
    )


def _likeliest(y: Float, line: Float, walk: Float) -> float:
    """Size of the random walk with the largest likelihood, whatever the straight line is.

    Its covariance is diagonal, whatever the size, in one basis of what a straight line leaves
    (Kang et al. 2008, doi:10.1534/genetics.107.080101).

    Parameters
    ----------
    y : (n,) array
        Whitened, so that errors have the unit matrix for covariance.
    line : (n, 2) array
        A level and a slope, whitened.
    walk : (n, n) array
        Covariance of a walk of size 1, whitened.
    """
    beside = np.linalg.qr(line, mode="complete").Q[:, line.shape[1] :]
    powers, axes = np.linalg.eigh(beside.T @ walk @ beside)
    squares = (axes.T @ (beside.T @ y)) ** 2
    sizes = np.append(0.0, SCALES)
    variances = 1.0 + np.multiply.outer(sizes, np.maximum(powers, 0.0))
    return float(sizes[np.argmin((np.log(variances) + squares / variances).sum(axis=1))])
