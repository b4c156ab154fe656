"""The probability of every offset, for pairs so faint that a Gaussian bar is not true any more.

Scene and noise are taken as Gaussian fields. Against unrelated images of the same spectra, common
content at the offset ``d`` has the log Bayes factor

    sum [W x y]  -  1/2 sum [x^2 c^2/(1 - c^2)/V1]  -  1/2 sum [y^2 c^2/(1 - c^2)/V2]
        -  n/2 mean ln(1 - c^2),        W = c/(1 - c^2)/sqrt(V1 V2),

sums over the overlap, every factor applied to its image in frequency; ``V1``, ``V2`` are the
spectra of the two images and ``c`` their coherence at the right offset. What ``c`` is cannot be
read at the best offset: the highest peak of noise looks like signal. So it is averaged over scenes
of many shapes and strengths, each with the weight that the pair itself gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from coregister.estimator.stages import Mode
from coregister.fourier import TrigPolynomial
from coregister.images import Pair
from coregister.posterior.evidence import Evidence, Overlap, Periodic, averaged
from coregister.posterior.grid import STEP, on_grid
from coregister.posterior.peaks import Peak, find_peaks
from coregister.posterior.result import Posterior as Posterior

__all__ = ["posterior"]

Float = NDArray[np.float64]
#: false alarm below which one offset is beyond doubt: the spectra are known, and the bars true
DECISIVE = 1e-12


def posterior(
    pair: Pair,
    *,
    modes: Sequence[Mode],
    information: Float,
    dof: float,
    false_alarm: float,
    surface: Callable[[], TrigPolynomial] | None,
) -> Posterior:
    """The probability of every offset of a pair that was registered.

    Parameters
    ----------
    pair : Pair
    modes, information, dof, false_alarm
        As in `coregister.Registration`.
    surface : callable or None
        Makes the log-likelihood that was fitted.
    """
    evidence = Periodic(pair) if pair.boundary == "periodic" and pair.uniform else Overlap(pair)
    offset, closed = modes[0].offset, bool(np.all(np.isfinite(modes[0].covariance)))
    decisive = false_alarm < DECISIVE
    # a faint pair may leave a direction open too, but what it has across is no more certain
    if decisive and not closed and np.any(information):
        return _of_stripes(evidence, offset, information)
    inside = bool(np.all((offset > evidence.low) & (offset < evidence.high)))
    if decisive and closed and inside:
        if len(modes) == 1 and isinstance(evidence, Periodic) and surface is not None:
            return _of_mixture(evidence, [(0.0, surface())])
        return _of_bars(evidence, modes, dof)
    return _of_mixture(evidence, averaged(evidence))


def _of_mixture(evidence: Evidence, terms: list[tuple[float, TrigPolynomial]]) -> Posterior:
    """The posterior that some surfaces, weighted, add up to."""
    coarse = logsumexp(
        [np.where(evidence.allowed, s.samples() + log, -np.inf) for log, s in terms], axis=0
    )
    peaks = find_peaks(evidence, coarse, terms)
    # probability of every whole-pixel cell: that of sharp peaks is between the samples
    mass = coarse.copy()
    shape = mass.shape
    for peak in peaks:
        if np.sqrt(np.min(np.linalg.eigvalsh(peak.covariance))) < STEP:
            cell = np.rint(peak.offset).astype(int)
            near = np.ix_(*((c + np.arange(-1, 2)) % n for c, n in zip(cell, shape, strict=True)))
            mass[near] = -np.inf
    for peak in peaks:
        centre = tuple(np.rint(peak.offset).astype(int) % shape)
        if not np.isfinite(mass[centre]):
            mass[centre] = peak.log_mass

    def log_density(positions: list[Float]) -> Float:
        total = np.full([p.size for p in positions], -np.inf)
        for log, surface in terms:
            total = np.logaddexp(total, log + surface.grid(positions))
        return np.where(evidence.searched(positions), total, -np.inf)

    return on_grid(evidence, log_density, peaks, mass)


def _of_bars(evidence: Evidence, modes: Sequence[Mode], dof: float) -> Posterior:
    """The posterior that the bars stand for: Student's distribution about each mode."""
    shrink = 1.0 if np.isinf(dof) else (dof - 2) / dof
    ndim = evidence.low.size
    peaks = []
    for mode in modes:
        if np.all(np.isfinite(mode.covariance)):
            curvature: Float = np.asarray(np.linalg.inv(shrink * mode.covariance))
            log = np.log(max(mode.probability, 1e-300)) + np.linalg.slogdet(curvature)[1] / 2
            peaks.append(Peak(offset=mode.offset, log_density=float(log), curvature=curvature))

    def log_density(positions: list[Float]) -> Float:
        total = np.full([p.size for p in positions], -np.inf)
        for peak in peaks:
            away = np.stack(
                np.meshgrid(*(p - d for p, d in zip(positions, peak.offset, strict=True)),
                            indexing="ij"),
                axis=-1,
            )  # fmt: skip
            square = np.einsum("...i,ij,...j->...", away, peak.curvature, away)
            # Student's distribution; Gaussian in the limit
            log = -square / 2 if np.isinf(dof) else -(dof + ndim) / 2 * np.log1p(square / dof)
            total = np.logaddexp(total, peak.log_density + log)
        return total

    return on_grid(evidence, log_density, peaks, None)


def _of_stripes(evidence: Evidence, offset: Float, information: Float) -> Posterior:
    """The bars across an open direction; all that is searched is equally likely along it."""
    values, vectors = np.linalg.eigh(information)
    oblique = np.min(np.max(np.abs(vectors), axis=0)) < 1 - 1e-6
    # across a ridge that is no line of the grid a point stands for its whole cell
    width = STEP**2 / 4 if oblique else 0.0
    curvature = (vectors * (values / (1 + width * values))) @ vectors.T
    spread = np.diag((evidence.high - evidence.low) ** 2)  # no bar, but a length to look at
    across = Peak(offset=offset, log_density=0.0, curvature=curvature + np.linalg.inv(spread))

    def log_density(positions: list[Float]) -> Float:
        away = [p - d for p, d in zip(positions, offset, strict=True)]
        mesh = np.stack(np.meshgrid(*away, indexing="ij"), axis=-1)
        log = -0.5 * np.einsum("...i,ij,...j->...", mesh, curvature, mesh)
        return np.where(evidence.searched(positions), log, -np.inf)

    return on_grid(evidence, log_density, [across], None)
