"""What the trials of one method amount to, each figure with its own uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number with its own uncertainty (1 sigma)."""

    value: float
    stderr: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        if self.stderr == 0:
            return f"{self.value:g}"
        digits = 2 if not self.stderr or self.stderr > 0.01 else 3
        return f"{self.value:.{digits}f} +- {self.stderr:.{digits}f}"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the trials of one method amount to; errors and pulls are those of trusted results.

    Attributes
    ----------
    pairs, trusted : int
    bound, error, claimed : float
        Rms over pairs and axes of the Cramer-Rao bound, of the error, of the claimed bar, px.
    efficiency : Measured
        ``error / bound``; 1 is the best there can be.
    pull_width : Measured
        Rms of the whitened errors; 1 if the bars are true.
    pull_mean : tuple of Measured
        Mean of the whitened errors, one an axis; 0 without bias.
    coverage : tuple of Measured
        Share of claimed regions of 68.27 % and 95 % that hold the truth.
    flags : dict
        How many pairs have each flag.
    silent : int
        Trusted, less likely than 6e-7 under what they claim, and beyond 3 times the bound.
    false_alarm_uniform : float
        Probability of the scatter of `false_alarm`, were it uniform (Kolmogorov-Smirnov).
    seconds : float
        Median time of a pair.
    """

    pairs: int
    trusted: int
    bound: float
    error: float
    claimed: float
    efficiency: Measured
    pull_width: Measured
    pull_mean: tuple[Measured, ...]
    coverage: tuple[Measured, ...]
    flags: Mapping[str, int]
    silent: int
    false_alarm_uniform: float
    seconds: float

    @property
    def flagged(self) -> Measured:
        """Share of pairs that are not trusted."""
        return share_of(self.pairs - self.trusted, self.pairs)

    @property
    def bias(self) -> Measured:
        """The largest mean pull of the axes."""
        return max(
            (Measured(value=abs(m.value), stderr=m.stderr) for m in self.pull_mean),
            key=lambda m: m.value,
        )


@dataclass(frozen=True, kw_only=True)
class Aliasing:
    """How well `systematic` and the advisory flag cover the errors of undersampled pairs.

    Attributes
    ----------
    systematic : float
        Rms over trusted pairs and axes, px.
    ratio : float
        `systematic` over the rms error: below 1 the bound is too small, far above it useless.
    within : Measured
        Share of trusted pairs with the error of every axis within systematic + 3 stderr.
    advised : Measured
        Share of all pairs with the flag UNDERSAMPLED.
    silent : int
        Trusted pairs that have not the flag and are less likely than 6e-7 under what they claim,
        or that lie beyond systematic + 5 stderr.
    """

    systematic: float
    ratio: float
    within: Measured
    advised: Measured
    silent: int


def rms(squares: Float) -> float:
    """Root of the mean; NaN of nothing."""
    return float(np.sqrt(np.mean(squares))) if squares.size else math.nan


def root_ratio(squares: Float, expected: Float, axes: int) -> Measured:
    """``sqrt(sum squares / sum expected)`` with its uncertainty from the scatter of the pairs."""
    n = len(squares)
    if n < 2 or not np.all(np.isfinite(expected)):
        return Measured(value=math.nan, stderr=math.nan)
    ratio = squares.sum() / expected.sum()
    scatter = np.std(squares - ratio * expected, ddof=1) * math.sqrt(n) / expected.sum()
    scatter = max(float(scatter), ratio * math.sqrt(2 / (n * axes)))  # a few pairs may agree
    root = math.sqrt(ratio)
    return Measured(value=root, stderr=float(scatter / (2 * root)) if root > 0 else 0.0)


def share_of(count: int, total: int) -> Measured:
    """A share, its uncertainty that of Wilson's interval: above 0 even for none of many."""
    if total == 0:
        return Measured(value=math.nan, stderr=math.nan)
    p = count / total
    half = math.sqrt(p * (1 - p) / total + 1 / (4 * total**2)) / (1 + 1 / total)
    return Measured(value=p, stderr=half)


def uniformity(values: Float) -> float:
    """Probability of the scatter of these values, were they uniform; NaN of nothing."""
    from scipy import stats

    known = values[np.isfinite(values)]
    return float(stats.kstest(known, "uniform").pvalue) if known.size else math.nan


def shown(value: float, form: str) -> str:
    """The number in this form; a dash if there is none."""
    return "-" if math.isnan(value) else format(value, form)
