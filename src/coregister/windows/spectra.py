"""Gain and spectra of many pairs of windows together: the first axis of every array is the window.

The same fits as in `estimator.spectrum`, whose banded equations stand one behind the other in
one long system.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpbsv

from coregister.estimator.spectrum import (
    DOUBT,
    DOUBT_LEVEL,
    LEAKAGE,
    NOISE_STIFFNESS,
    SCENE_STIFFNESS,
    penalty_bands,
)

Float = NDArray[np.float64]

#: rounds of gain and spectra, and steps of the scene's: at first, and from a guess
ROUNDS, STEPS, MORE_STEPS = 5, 12, 4
#: change of the logarithm of the scene's power that ends them; from a first guess, of what exceeds
#: its scatter
SETTLED = 0.02


@dataclass(frozen=True, kw_only=True)
class WindowSpectra:
    """As `coregister.estimator.spectrum.Spectra`, a window a row; `share` is (n, 1)."""

    scene: Float
    residual: Float
    share: Float
    coherence: Float

    @property
    def noise_product(self) -> Float:
        """Product of the two noise powers."""
        return np.asarray(self.share * (1 - self.share) * self.residual**2)

    @property
    def weight(self) -> Float:
        """Maximum-likelihood weight of a mode."""
        return np.asarray(self.scene / (self.scene * self.residual + self.noise_product))

    def of(self, index: NDArray[np.intp]) -> WindowSpectra:
        """Those of some windows."""
        return WindowSpectra(
            scene=self.scene[index],
            residual=self.residual[index],
            share=self.share[index],
            coherence=self.coherence[index],
        )

    def put(self, index: NDArray[np.intp], other: WindowSpectra) -> None:
        """Replace those of some windows."""
        for name in ("scene", "residual", "share", "coherence"):
            getattr(self, name)[index] = getattr(other, name)


def photometry(
    *,
    xx: Float,
    yy: Float,
    xy: Float,
    count: Float,
    gain: Float | None,
    scene: Float | None = None,
) -> tuple[Float, WindowSpectra]:
    """Gain of moving over reference, and the spectra in units of moving.

    Parameters
    ----------
    xx, yy, xy : (n, rings) array
        Ring averages of the raw auto-spectra and the cross-spectrum.
    count : (rings,) array
        Modes in each ring.
    gain : (n,) array or None
        First guess.
    scene : (n, rings) array, optional
        A first guess of its spectrum.
    """
    if gain is None:
        gain = np.copysign(np.sqrt((yy @ count) / (xx @ count)), xy @ count)
    gain = gain.copy()
    active = np.arange(len(xx))
    spectra: WindowSpectra | None = None
    for _ in range(ROUNDS):
        g = gain[active, None]
        first, cross, other = g**2 * xx[active], g * xy[active], yy[active]
        fitted = fit_spectra(
            xx=first,
            yy=other,
            xy=cross,
            residual=np.maximum(other - 2 * cross + first, 0.0),
            count=count,
            start=scene,
        )
        if spectra is None:
            spectra = fitted
        else:
            spectra.put(active, fitted)
        share = fitted.share
        weight = count * fitted.weight
        left_over = weight * ((1 - share) * (cross - first) + share * (other - cross))
        signal = weight * ((1 - share) * first + share * cross)
        change = left_over.sum(axis=1) / signal.sum(axis=1)
        gain[active] *= 1 + np.clip(change, -0.5, 0.5)
        going = np.abs(change) >= 1e-3
        if not going.any():
            break
        active, scene = active[going], fitted.scene[going]
    assert spectra is not None
    return gain, spectra


def fit_spectra(
    *, xx: Float, yy: Float, xy: Float, residual: Float, count: Float, start: Float | None
) -> WindowSpectra:
    """Smooth spectra from ring averages; see `coregister.estimator.spectrum.fit_spectra`."""
    scale = np.max(xx + yy, axis=1, keepdims=True)
    floor = np.maximum(LEAKAGE * residual.max(axis=1, keepdims=True), 1e-15 * scale)
    noise = smooth_log(np.maximum(residual, floor), count)
    strength = np.clip(xy, 0.0, None) / noise
    precision = count / (1.0 + 4.0 * strength)
    difference = np.sum(precision * (yy - xx) / noise, axis=1) / np.sum(precision, axis=1)
    share = np.clip((1.0 - difference) / 2.0, 0.0, 1.0)[:, None]
    scene = _fit_scene(xy, noise, share, count, scale, start)
    with np.errstate(divide="ignore", invalid="ignore"):
        coherence = np.nan_to_num(xy / np.sqrt(xx * yy))
    return WindowSpectra(scene=scene, residual=noise, share=share, coherence=coherence)


def smooth_log(power: Float, count: Float) -> Float:
    """Penalised fit of a logarithm."""
    precision = count / 2.0
    log = np.log(power) + 1.0 / count
    bands = np.tile(penalty_bands(count.size, NOISE_STIFFNESS), (1, len(power)))
    bands[2] += np.tile(precision, len(power))
    return np.asarray(np.exp(_solve(bands, precision * log)))


def _solve(bands: Float, right: Float) -> Float:
    """Solution of all systems, which do not touch each other."""
    _, solution, failed = dpbsv(bands, right.ravel(), overwrite_ab=True)
    if failed:
        raise np.linalg.LinAlgError("the bands are not those of positive definite matrices")
    return np.asarray(solution.reshape(right.shape))


def _penalise(bands: Float, values: Float) -> Float:
    """Product of a symmetric banded matrix with each row."""
    product: Float = bands[2] * values
    for offset in (1, 2):
        upper = bands[2 - offset, offset:]
        product[:, :-offset] += upper * values[:, offset:]
        product[:, offset:] += upper * values[:, :-offset]
    return product


def _fit_scene(
    xy: Float, noise: Float, share: Float, count: Float, scale: Float, start: Float | None
) -> Float:
    """Positive smooth spectrum from a cross-spectrum that noise may drive below zero."""
    product = share * (1.0 - share) * noise**2
    tiny = 1e-16 * scale
    penalty = penalty_bands(count.size, SCENE_STIFFNESS)
    known = np.sqrt(product / count)
    guessed = start is not None
    if start is None:
        start = np.maximum(np.maximum(xy, tiny), known + tiny)
    result = np.log(start)
    doubt = np.log(DOUBT_LEVEL * known + tiny)
    low, high = np.log(tiny) - 5.0, np.log(scale) + 5.0
    active = np.arange(len(xy))
    parts = (result, xy, noise, product, tiny, doubt, low, high, known)
    for _ in range(MORE_STEPS if guessed else STEPS):
        log, cross, other, both, small, pulled, least, most, scatter = parts
        model = np.exp(log)
        deviation = np.sqrt((2.0 * model**2 + model * other + both) / count + small**2)
        slope = model / deviation
        bands = np.tile(penalty, (1, len(active)))
        # what a model above the data bends besides: without it the steps go too far
        bent = np.clip(slope * (model - cross) / deviation, 0.0, None)
        bands[2] += (slope**2 + bent + DOUBT).ravel()
        force = slope * (cross - model) / deviation - _penalise(penalty, log)
        force -= DOUBT * (log - pulled)
        step = _solve(bands, force)
        log = np.clip(log + np.clip(step, -2.0, 2.0), least, most)
        result[active] = log
        if guessed:
            step *= model / (model + scatter)
        going = np.max(np.abs(step), axis=1) >= SETTLED
        if not going.any():
            break
        active = active[going]
        parts = (log[going], *(part[going] for part in parts[1:]))
    return np.asarray(np.exp(result))
