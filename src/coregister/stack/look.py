"""A first look at a frame: it is found in another one on few samples, where that leaves no doubt.

What the look needs of the one frame, filtered and transformed, is worked out once and serves all
others; the filter is the one that its own spectrum suggests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.fill import clipped
from coregister.estimator.matrices import principal
from coregister.estimator.movable import MovableImage
from coregister.estimator.overlap.search import MIN_OVERLAP
from coregister.estimator.rings import cosine_rings
from coregister.estimator.search import SEPARATION, evidence_of, pick
from coregister.estimator.search.chance import chance_of_peaks
from coregister.estimator.search.correlation import (
    around,
    flipped,
    overlap_counts,
    overlap_sums,
    signed_lags,
    vertex,
)
from coregister.estimator.search.filters import auto_filters, independence
from coregister.estimator.search.sparse import kurtosis, sparse
from coregister.estimator.search.steps import QUICK_CHANCE, QUICK_RIVAL, beyond_doubt
from coregister.estimator.single import Single
from coregister.fourier import TrigPolynomial, frequencies
from coregister.products import dot

Float = NDArray[np.float64]
Complex = NDArray[Any]


class _Filtered(NamedTuple):
    """A frame made ready for the look.

    Attributes
    ----------
    kurtosis : float
        Filtered, its few largest values limited.
    spectrum : complex array
        The transform of that, with zeros beyond edges that are real.
    energy, mirrored : array
        Its sums of squares in the overlap at every lag, and those of its mirror image.
    """

    kurtosis: float
    spectrum: Complex
    energy: Float
    mirrored: Float


class Look:
    """One frame on few samples, in which others are looked for.

    Parameters
    ----------
    single : Single
        The frame, and its spectrum.
    movable : MovableImage
        The same on few samples.
    periodic : bool
    max_offset : array or None
        Farthest offset that is looked for, px.
    """

    def __init__(
        self, single: Single, movable: MovableImage, *, periodic: bool, max_offset: Float | None
    ) -> None:
        self._periodic, self._reach = periodic, max_offset
        self.step = step = movable.step
        self._shape = tuple(n // step for n in movable.size)
        ndim = len(self._shape)
        frequency, power = single.rings.frequency, single.power
        values, _ = auto_filters(frequency, [power, power], single.rings.count)
        radius = np.sqrt(sum(k**2 for k in frequencies(movable.extended))) / (2 * np.pi * step)
        self._factor = np.interp(radius, frequency, values).astype(movable.dtype, copy=False)
        self._factor[(0,) * ndim] = 0.0
        rings = cosine_rings(self._shape, step)
        white = np.interp(rings.frequency, frequency, power * values**2)
        self._band, self._roughness = independence(
            rings.frequency * step, rings.count, white, white, ndim
        )
        if periodic:
            self._full = list(self._shape)
            self._count = np.ones(self._shape)
        else:
            self._full = [scipy.fft.next_fast_len(2 * n - 1, real=True) for n in self._shape]
            self._count = overlap_counts(self._shape, self._shape, self._full)
        self._lags = [step * lag for lag in signed_lags(self._full)]
        self._counted = self._count >= MIN_OVERLAP * self._count.max()
        self._allowed = self._counted
        for lag, reach in zip(self._lags, [] if max_offset is None else max_offset, strict=False):
            self._allowed = self._allowed & (np.abs(lag) <= np.ceil(reach))
        self._samples = float(np.prod(self._shape)) * self._band
        self._own = self._filtered(movable, hub=True)
        self._conjugate = np.conj(self._own.spectrum)
        self._mirrored = flipped(self._own.spectrum)
        if periodic:  # what a lone peak is told by
            heights = np.arange(1.0, 50.0, 0.05)
            lags = float(np.count_nonzero(self._allowed))
            unlikely = chance_of_peaks(heights, lags, self._roughness, ndim) < QUICK_CHANCE
            self._clear = heights[int(np.argmax(unlikely))] if unlikely.any() else np.inf
            # the variance that unrelated frames make of another's power
            size, last = int(np.prod(self._shape)), self._shape[-1]
            self._unlike = 2 * self._samples / size**2 * np.abs(self._mirrored) ** 2
            self._unlike[..., [0] if last % 2 else [0, last // 2]] /= 2

    def of(self, movable: MovableImage) -> Float | None:
        """Offset of another frame, px, to a fraction of a sample; None where it is in doubt."""
        own, other = self._own, self._filtered(movable, hub=False)
        if not self._allowed.any() or sparse([own.kurtosis, other.kurtosis], self._samples):
            return None
        product = self._conjugate * other.spectrum
        correlation = scipy.fft.irfftn(product, s=self._full) / _root(own.energy * other.energy)
        if self._periodic:
            lone = self._lone_peak(correlation, other)
            if lone is not None:
                return self._summit(product, lone)
        null = scipy.fft.irfftn(self._mirrored * other.spectrum, s=self._full, overwrite_x=True)
        if not self._periodic:  # lags of the mirror image are counted from its last sample
            null = np.roll(null, 1 - self._shape[-1], axis=-1)
        null /= _root(own.mirrored * other.energy)
        candidates = pick(
            correlation,
            self._samples if self._periodic else self._count * self._band,
            null=null,
            counted=self._counted,
            allowed=self._allowed,
            lags=self._lags,
            roughness=self._roughness,
            edge=self._at_edge,
            band=self._band,
            periodic=self._periodic,
            sparse_fields=None,
        )
        if not candidates or not beyond_doubt(candidates):
            return None
        best = candidates[0]
        if best.at_edge or best.false_alarm > QUICK_CHANCE:
            return None
        return self._summit(product, best.offset)

    def _lone_peak(self, correlation: Float, other: _Filtered) -> Float | None:
        """Offset of the highest peak where nothing comes near it; None where `pick` is to tell.

        How much unrelated frames scatter follows from the spectra: the null itself is not needed.
        """
        rank = np.where(self._allowed, correlation, -np.inf)
        best = tuple(int(i) for i in np.unravel_index(int(np.argmax(rank)), rank.shape))
        rank[around(best, rank.shape, SEPARATION)] = -np.inf
        peak, rival = evidence_of(np.array([correlation[best], max(float(rank.max()), 0.0)]))
        both = max(float(self._own.energy * other.energy), 1e-300)
        variance = dot(self._unlike, np.abs(other.spectrum) ** 2) / both
        clear = self._clear**2 * max(variance, 1.0)
        if rival >= QUICK_RIVAL * peak or 2 * peak * self._samples <= clear:
            return None
        lag = np.array([float(lag.flat[i]) for lag, i in zip(self._lags, best, strict=True)])
        return None if self._at_edge(lag) else lag + self.step * vertex(correlation, best)

    def _filtered(self, movable: MovableImage, *, hub: bool) -> _Filtered:
        field = scipy.fft.irfftn(movable.spectrum * self._factor, s=movable.extended)
        starts = (margin // self.step for margin in movable.margins)
        inside = (slice(s, s + n) for s, n in zip(starts, self._shape, strict=True))
        field = clipped(field[tuple(inside)])
        spectrum = scipy.fft.rfftn(field, s=self._full)
        squares = field * field
        if self._periodic:
            energy = np.asarray(squares.sum(dtype=np.float64))
            return _Filtered(kurtosis(field), spectrum, energy, energy)
        energy = overlap_sums(squares, self._shape, self._full, forward=hub)
        mirrored = energy
        if hub:
            mirrored = overlap_sums(squares[..., ::-1], self._shape, self._full, forward=True)
        return _Filtered(kurtosis(field), spectrum, energy, mirrored)

    def _summit(self, product: Complex, offset: Float) -> Float:
        """Where the correlation, known between samples too, is highest: a step of Newton's.

        A second one would come nearer to the summit, not to the offset: between samples so far
        apart the correlation is not known as well.
        """
        correlation = TrigPolynomial(product, self._full, density=1 / self.step)
        _, gradient, hessian = correlation.derivatives(offset)
        values, vectors = principal(-hessian)
        if values[0] <= 0:
            return offset
        step = vectors @ ((vectors.T @ gradient) / values)
        return offset + step if np.max(np.abs(step)) < self.step else offset

    def _at_edge(self, offset: Float) -> bool:
        if self._reach is None:
            return False
        return bool(np.any(np.abs(offset) > self._reach - 0.5))


def _root(energies: Float) -> Float:
    """Root of the product of two energies, nowhere zero."""
    energy = np.sqrt(np.maximum(energies, 0.0))
    return np.asarray(np.maximum(energy, 1e-9 * float(energy.max()) + 1e-300))
