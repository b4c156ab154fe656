"""How likely chance is to make a peak as high: by theory, and by the mirror image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

#: highest peaks of the null, one in a block of so many lags a side, that tell how high chance goes
NULL_PEAKS = 30
NULL_BLOCK = 8
#: places at which is asked what the mean excess of a few peaks may be in truth
QUANTILES = 64
#: power of the height of which the tail is an exponential
SPARSE_POWER, GAUSSIAN_POWER = 1.25, 2.0
#: mean excess of a Gaussian over a height z far out, times z
BEYOND = 0.9
#: of Gauss and Legendre, between 0 and 1
NODES, NODE_WEIGHTS = np.array(np.polynomial.legendre.leggauss(12)) / 2
NODES += 0.5


def chance_of_peak(z: float, lags: float, roughness: float, ndim: int) -> float:
    """Probability that the highest of many lags of a Gaussian correlation exceeds `z`.

    Counted are the lags above `z` that are higher than both their neighbours along every axis,
    after Taylor, Worsley & Gosselin 2007, doi:10.1093/biomet/asm004. Independent lags count one by
    one; a correlation that is smooth from lag to lag, by its extremes.

    Parameters
    ----------
    z : float
        Height in units of the scatter.
    lags : float
        Number of lags.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px.
    ndim : int
    """
    return float(chance_of_peaks(z, lags, roughness, ndim))


def chance_of_peaks(z: Any, lags: Any, roughness: Any, ndim: int) -> Any:
    """The same for many."""
    from scipy.special import ndtr

    z, roughness = np.asarray(z, dtype=np.float64), np.asarray(roughness, dtype=np.float64)
    # the mean height of what exceeds z; all of it is alike in what is asked now
    height = z + BEYOND / np.maximum(z, BEYOND)
    alike = np.exp(-(np.minimum(roughness, np.pi) ** 2) / 2)
    apart = np.sqrt((1 - alike) / (1 + alike)) * height
    widest = np.arcsin(np.sqrt((1 - alike**2) / 2))
    angles = np.multiply.outer(widest, NODES)
    both = np.exp(-((apart[..., None] / np.sin(angles)) ** 2) / 2) @ NODE_WEIGHTS
    highest = 1 - 2 * ndtr(-apart) + widest / np.pi * both
    return -np.expm1(-lags * ndtr(-z) * highest**ndim)


def _of_blocks(values: Float | NDArray[np.bool_]) -> Any:
    """The highest value in each block of lags."""
    for axis, n in enumerate(values.shape):
        values = np.maximum.reduceat(values, np.arange(0, n, NULL_BLOCK), axis=axis)
    return values


def _peaks_of_blocks(null: Float, counted: NDArray[np.bool_]) -> Float:
    """The highest peak in each block of lags that count, in falling order, not below 0."""
    # lags that do not count may hold anything, and are no peaks of height 0 either
    kept = np.where(counted, null, -np.inf)
    summits = counted.copy()
    for axis in range(null.ndim):  # the flank of a peak in the block beside it is none
        for step in (1, -1):
            summits &= kept >= np.roll(kept, step, axis)
    highest = _of_blocks(np.where(summits, null, 0.0))[_of_blocks(counted)]
    return np.sort(np.clip(highest, 0.0, None))[::-1]


@cache
def _gamma_quantiles(count: int) -> Float:
    """Sums of so many excesses of mean 1, at probabilities an equal step apart."""
    from scipy.special import gammaincinv

    return np.asarray(gammaincinv(count, (np.arange(QUANTILES) + 0.5) / QUANTILES))


def chance_of_excess(excess: float, count: int, share: float = 1.0) -> float:
    """Probability that the highest peak of one field exceeds those of another, alike, by so much.

    Peaks above a level are Poisson in number, with an exponential tail. The level is the height of
    number ``count + 1`` of the other field, and its first `count` tell the mean excess: neither is
    known any better, and the mean is over both. In units of that mean excess, peaks above `x` are
    expected ``y = exp(-x g / count)`` times as often as above the level, ``g`` distributed as
    Gamma(count), and those above the level as Gamma(count + 1): ``p = 1 - <(1 + y)^-(count+1)>``.

    Parameters
    ----------
    excess : float
        Above the level, in units of the mean excess.
    count : int
    share : float
        Size of the one field in units of the other.
    """
    # y taken out of the mean, which leaves one over Gamma(count) again, however small y is
    lift = 1 + excess / count
    y = np.exp(-excess / (count * lift) * _gamma_quantiles(count))
    return float(lift**-count * np.mean(-np.expm1(-(count + 1) * np.log1p(share * y)) / y))


def chance_by_null(
    null: Float, counted: NDArray[np.bool_], allowed: NDArray[np.bool_], power: float
) -> Callable[[float], float] | None:
    """Probability of a peak as the flipped image tells it, for scenes that are no Gaussian field.

    The highest peaks of the null, one a block of lags, are continued by a tail; that they are few
    is taken into account. None where there are too few.

    Parameters
    ----------
    null : array
        Correlation with the flipped image, in units of the scatter of unrelated samples.
    counted : bool array
        Lags with overlap enough.
    allowed : bool array
        Those of them that may be answered: chance has as many blocks of lags as hold one.
    power : float
        Of the height, of which the tail is an exponential: 1 for a few sources, 2 for a Gaussian.
    """
    peaks = _peaks_of_blocks(null, counted) ** power
    count = min(NULL_PEAKS, peaks.size // 8)
    if count < 2 or peaks[count] == 0.0:
        return None
    start = float(peaks[count])
    mean_excess = max(float(np.mean(peaks[:count])) - start, 1e-9)
    share = np.count_nonzero(_of_blocks(allowed)) / peaks.size

    def chance(z: float) -> float:
        height = z**power
        if height < start:  # so many peaks are higher, and their excess needs no tail
            return chance_of_excess(0.0, int(np.count_nonzero(peaks > height)), share)
        return chance_of_excess((height - start) / mean_excess, count, share)

    return chance
