"""The route for periodic images whose pixels all count alike: exact, and as cheap as its FFTs.

The correlation is a trigonometric polynomial, so it is known at any real offset; its maximum is
found by Newton steps on the polynomial itself, with no grid.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.fill import clipped
from coregister.fourier import TrigPolynomial, frequencies, phase_ramp
from coregister.images import Pair
from coregister.search import (
    auto_filters,
    chance_of_features,
    flipped,
    independence,
    pick,
    ring_power,
    signed_lags,
    sparse,
)
from coregister.spectrum import Rings, Spectra, photometry
from coregister.stages import Candidate, Fit
from coregister.uncertainty import conclude_modes

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

MAX_STEPS = 30
TOLERANCE = 1e-3


class PeriodicRoute:
    """Search and refinement on the correlation polynomial.

    Parameters
    ----------
    pair : Pair
        Of one shape, with no masks and no error arrays.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._shape = pair.reference.data.shape
        self._spectra = [
            scipy.fft.rfftn(image.data - image.data.mean(), overwrite_x=True)
            for image in pair.images
        ]
        for axis, n in enumerate(self._shape):
            if n % 2 == 0:  # Nyquist has no sign of frequency, so it tells no displacement
                nyquist = [slice(None)] * pair.ndim
                nyquist[axis] = slice(n // 2, n // 2 + 1)
                for spectrum in self._spectra:
                    spectrum[tuple(nyquist)] = 0.0
        self._cross = self._spectra[1] * np.conj(self._spectra[0])
        self._k = frequencies(self._shape)

    @cached_property
    def _multiplicity(self) -> Float:
        """2 for modes whose mirror image the half plane leaves out; 0 where nothing is kept."""
        count = np.full(self._cross.shape, 2.0)
        count[..., 0] = 1.0
        for axis, n in enumerate(self._shape):
            if n % 2 == 0:
                nyquist: list[slice] = [slice(None)] * count.ndim
                nyquist[axis] = slice(n // 2, n // 2 + 1)
                count[tuple(nyquist)] = 0.0
        return count

    @cached_property
    def _rings(self) -> Rings:
        radius = np.sqrt(sum(k**2 for k in self._k)) / (2 * np.pi)
        return Rings(np.asarray(radius), self._multiplicity)

    @cached_property
    def _powers(self) -> list[Float]:
        size = float(np.prod(self._shape))
        return [ring_power((s.real**2 + s.imag**2) / size, self._rings) for s in self._spectra]

    def search(self) -> list[Candidate]:
        """Whole-pixel candidates, the best first."""
        rings, powers = self._rings, self._powers
        filters = auto_filters(rings.frequency, powers, rings.count)
        left, right = powers[0] * filters[0] ** 2, powers[1] * filters[1] ** 2
        band, roughness = independence(rings.frequency, rings.count, left, right, self._pair.ndim)
        factors = [rings.spread(f).reshape(self._cross.shape) for f in filters]
        energies = [  # mode by mode: rings would not do for a scene of a few waves
            float(np.sum(self._multiplicity * np.abs(spectrum * factor) ** 2))
            for spectrum, factor in zip(self._spectra, factors, strict=True)
        ]
        weight = factors[0] * factors[1] * (np.prod(self._shape) / np.sqrt(np.prod(energies)))
        correlation = scipy.fft.irfftn(self._cross * weight, s=self._shape, overwrite_x=True)
        null = scipy.fft.irfftn(
            flipped(self._spectra[0]) * self._spectra[1] * weight, s=self._shape, overwrite_x=True
        )
        lags = signed_lags(list(self._shape))
        allowed = np.ones(self._shape, dtype=bool)
        pair = self._pair
        if pair.max_offset is not None:
            for lag, centre, reach, n in zip(
                lags, pair.initial, pair.max_offset, self._shape, strict=True
            ):
                away = np.abs(lag - np.rint(centre))
                allowed &= np.minimum(away % n, (-away) % n) <= np.ceil(reach)
        size = float(np.prod(self._shape))

        def coincidence(offset: Float, by_null: float) -> float:
            first, second = (
                scipy.fft.irfftn(spectrum * factor, s=self._shape)
                for spectrum, factor in zip(self._spectra, factors, strict=True)
            )
            lags_allowed = float(np.count_nonzero(allowed))
            return chance_of_features(
                (first, second),
                offset,
                by_null,
                lags=lags_allowed,
                band=band,
                roughness=roughness,
                periodic=True,
            )

        rows = [
            self._rows(spectrum * factor)
            for spectrum, factor in zip(self._spectra, factors, strict=True)
        ]
        return pick(
            correlation,
            np.full(self._shape, size * band),
            null=null,
            allowed=allowed,
            lags=lags,
            roughness=roughness,
            edge=self._at_edge,
            coincidence=coincidence if sparse(rows, band) else None,
        )

    def _rows(self, spectrum: Complex) -> Float:
        """Every eighth row of an image, or all where there are few: cheap, and like the rest."""
        rows, *rest = shape = self._shape
        step = 8
        if len(shape) == 1 or rows % step or rows < 8 * step:
            return clipped(scipy.fft.irfftn(spectrum, s=shape))
        folded = spectrum.reshape(step, rows // step, *spectrum.shape[1:]).sum(axis=0)
        return clipped(scipy.fft.irfftn(folded, s=(rows // step, *rest)))

    def _at_edge(self, offset: Float) -> bool:
        reach = self._pair.max_offset
        if reach is None:
            return False
        away = np.abs(self._nearest(offset) - self._pair.initial)
        return bool(np.any((away > reach - 0.5) & (2 * reach < self._shape)))

    def _nearest(self, offset: Float) -> Float:
        """Of all equivalent offsets the one nearest to the initial guess."""
        period = np.array(self._shape, dtype=float)
        turns = np.rint((offset - self._pair.initial) / period)
        return np.asarray(offset - period * turns)

    def refine(self, candidate: Candidate) -> Fit:
        """Newton steps on the weighted correlation polynomial."""
        rings = self._rings
        offset = candidate.offset.copy()
        gain: float | None = None
        converged = False
        n_iter = 0
        for _ in range(3):  # the weight depends on the coherence, which is read at the offset
            gain, spectra = self._photometry(offset, gain)
            weight = rings.spread(spectra.weight).reshape(self._cross.shape)
            scale = gain / float(np.prod(self._shape))
            polynomial = TrigPolynomial(self._cross * (weight * scale), self._shape)
            start = offset
            converged = False
            while not converged and n_iter < MAX_STEPS:
                n_iter += 1
                _, gradient, hessian = polynomial.derivatives(offset)
                values, vectors = np.linalg.eigh(-hessian)
                top = np.abs(values).max()
                # uphill even where the surface is not concave, and not where it is flat
                size = np.where(np.abs(values) > 1e-9 * top, np.abs(values), np.inf)
                step = vectors @ ((vectors.T @ gradient) / size)
                offset = offset + np.clip(step, -0.5, 0.5)
                converged = bool(np.max(np.abs(step)) < 1e-11 or top == 0.0)
                if not converged and n_iter > 4:
                    converged = bool(np.max(np.abs(step)) < 1e-9)
            if np.sqrt(abs((offset - start) @ hessian @ (offset - start))) < TOLERANCE:
                break
        return self._conclude(
            candidate, offset, float(gain or 1.0), spectra, weight, n_iter, converged
        )

    def _aligned(self, offset: Float) -> Complex:
        """Cross-spectrum with the displacement taken out."""
        return self._moved(self._cross, -offset)

    def _moved(self, spectrum: Complex, offset: Float) -> Complex:
        for ramp in phase_ramp(self._shape, offset):
            spectrum = spectrum * ramp
        return spectrum

    def _photometry(self, offset: Float, gain: float | None) -> tuple[float, Spectra]:
        rings = self._rings
        size = float(np.prod(self._shape))
        return photometry(
            xx=self._powers[0],
            yy=self._powers[1],
            xy=rings.mean(self._aligned(offset).real / size),
            count=rings.count,
            gain=gain,
        )

    def _conclude(
        self,
        candidate: Candidate,
        offset: Float,
        gain: float,
        spectra: Spectra,
        weight: Float,
        n_iter: int,
        converged: bool,
    ) -> Fit:
        aligned = self._aligned(offset) * (gain / float(np.prod(self._shape)))
        return conclude_modes(
            candidate,
            self._nearest(offset),
            k=self._k,
            rings=self._rings,
            multiplicity=self._multiplicity,
            aligned=aligned,
            spectra=spectra,
            weight=weight,
            gain=gain,
            background=float(
                self._pair.moving.data.mean() - gain * self._pair.reference.data.mean()
            ),
            shape=self._shape,
            transforms=lambda: (
                self._moved(self._spectra[0], offset / 2),
                self._moved(self._spectra[1], -offset / 2),
            ),
            n_iter=n_iter,
            converged=converged,
        )
