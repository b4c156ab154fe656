"""Local maxima of the probability, found by Newton steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from coregister.fourier import TrigPolynomial
from coregister.posterior.evidence import Evidence

Float = NDArray[np.float64]
#: peaks that are looked at, and the probability from which one is a mode
MAX_PEAKS = 12
#: a peak this far below the highest, in e-folds, is none of them
NEGLIGIBLE = 12.0


@dataclass(frozen=True, kw_only=True)
class Peak:
    """A local maximum: place, logarithm of the density there, curvature of minus that."""

    offset: Float
    log_density: float
    curvature: Float

    @property
    def covariance(self) -> Float:
        """Of the Gaussian that has this curvature."""
        return np.asarray(np.linalg.inv(self.curvature))

    @property
    def log_mass(self) -> float:
        """Of that Gaussian."""
        ndim = self.offset.size
        _, log_det = np.linalg.slogdet(self.curvature)
        return float(self.log_density + 0.5 * (ndim * np.log(2 * np.pi) - log_det))


def find_peaks(
    evidence: Evidence, coarse: Float, terms: list[tuple[float, TrigPolynomial]]
) -> list[Peak]:
    """Local maxima, the highest first."""
    from scipy import ndimage

    highest = ndimage.maximum_filter(coarse, size=3, mode="wrap")  # in the order of an FFT
    found = np.flatnonzero((coarse >= highest) & (coarse > coarse.max() - NEGLIGIBLE))
    values = coarse.ravel()[found]
    found = found[np.argsort(-values, kind="stable")][:MAX_PEAKS]
    peaks: list[Peak] = []
    for index in found:
        cell = np.unravel_index(index, coarse.shape)
        start = np.array(
            [float(lag.reshape(-1)[i]) for lag, i in zip(evidence.lags, cell, strict=True)]
        )
        peak = _climb(terms, start)
        if peak is None:
            continue
        offset = nearest(evidence, peak.offset)
        if np.any(offset < evidence.low) or np.any(offset > evidence.high):
            continue
        if all(np.max(np.abs(offset - other.offset)) > 0.01 for other in peaks):
            peaks.append(replace(peak, offset=offset))
    return sorted(peaks, key=lambda peak: -peak.log_density)


def _climb(terms: list[tuple[float, TrigPolynomial]], start: Float) -> Peak | None:
    """Newton steps to the maximum near `start`; None if there is none within a pixel."""
    place = start
    for _ in range(10):
        parts = [surface.derivatives(place) for _, surface in terms]
        logs = np.array([log + part[0] for (log, _), part in zip(terms, parts, strict=True)])
        top = float(logsumexp(logs))
        share = np.exp(logs - top)
        slopes = np.stack([part[1] for part in parts])
        gradient = share @ slopes
        curvature = np.outer(gradient, gradient) - sum(
            w * (part[2] + np.outer(part[1], part[1])) for w, part in zip(share, parts, strict=True)
        )
        values, vectors = np.linalg.eigh(curvature)
        size = np.maximum(np.abs(values), 1e-9 * np.abs(values).max() + 1e-300)
        step = np.clip(vectors @ ((vectors.T @ gradient) / size), -0.4, 0.4)
        if abs(step @ curvature @ step) < 1e-4:
            break
        place = place + step
        if np.max(np.abs(place - start)) > 1.0:
            return None
    if values.min() <= 1e-9 * values.max() or values.max() <= 0:
        return None  # a ridge or a plain: no bar of its own
    return Peak(offset=place, log_density=top, curvature=curvature)


def nearest(evidence: Evidence, offset: Float) -> Float:
    """Of all equivalent offsets the one within the limits; axes last."""
    if evidence.period is None:
        return offset
    middle = (evidence.low + evidence.high) / 2
    period = np.array(evidence.period, dtype=float)
    return np.asarray(offset - period * np.rint((offset - middle) / period))
