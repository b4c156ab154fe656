"""The route for periodic images whose pixels all count alike: exact, and as cheap as its FFTs.

The correlation is a trigonometric polynomial, so it is known at any real offset; its maximum is
found by Newton steps on the polynomial itself, with no grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.fill import clipped
from coregister.fourier import TrigPolynomial, frequencies, phase_ramp
from coregister.images import Pair
from coregister.search import (
    auto_coherence,
    auto_filters,
    beyond_doubt,
    chance_of_features,
    flipped,
    independence,
    pick,
    ring_power,
    signed_lags,
    sparse,
    steps_between_samples,
)
from coregister.single import Single
from coregister.spectrum import LARGEST_KEPT, Rings, Spectra, photometry
from coregister.stages import Candidate, Fit
from coregister.uncertainty import conclude_modes

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

MAX_STEPS = 30
TOLERANCE = 1e-3


class _Modes(NamedTuple):
    """The half plane of frequencies that samples some pixels apart can hold.

    Attributes
    ----------
    k : list of array
        Frequency along each axis, rad/px.
    multiplicity : array
        2 for modes whose mirror image the half plane leaves out; 0 at Nyquist frequencies, which
        have no sign and so tell no displacement.
    rings : Rings
    """

    k: list[Float]
    multiplicity: Float
    rings: Rings


def _nyquist(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Where a half spectrum has Nyquist frequencies."""
    return [
        tuple(slice(n // 2, n // 2 + 1) if a == axis else slice(None) for a in range(len(shape)))
        for axis, n in enumerate(shape)
        if n % 2 == 0
    ]


def _make_modes(shape: tuple[int, ...], step: int) -> _Modes:
    k = [f / step for f in frequencies(shape)]
    multiplicity = np.full((*shape[:-1], shape[-1] // 2 + 1), 2.0)
    multiplicity[..., 0] = 1.0
    for place in _nyquist(shape):
        multiplicity[place] = 0.0
    radius = np.sqrt(sum(f**2 for f in k)) / (2 * np.pi)
    return _Modes(k, multiplicity, Rings(np.asarray(radius), multiplicity))


_kept_modes = lru_cache(maxsize=24)(_make_modes)


class _Sampled:
    """Both images, of samples `step` px apart: frequencies too high for them are left out."""

    def __init__(self, spectra: Sequence[Complex], shape: tuple[int, ...], step: int) -> None:
        self.step = step
        self.shape = shape
        make = _make_modes if np.prod(shape) > LARGEST_KEPT else _kept_modes
        self.k, self.multiplicity, self.rings = make(shape, step)
        self.spectra = spectra
        for place in _nyquist(shape):
            for spectrum in spectra:
                spectrum[place] = 0.0
        self.size = float(np.prod(shape))

    def coarser(self, factor: int) -> _Sampled:
        """The same images, of samples farther apart by `factor`, which divides the sides."""
        shape = tuple(n // factor for n in self.shape)
        kept = np.ix_(
            *(np.r_[0 : n - n // 2, -(n // 2) : 0] for n in shape[:-1]),
            np.arange(shape[-1] // 2 + 1),
        )
        scale = factor ** len(shape)
        return _Sampled([s[kept] / scale for s in self.spectra], shape, self.step * factor)

    @cached_property
    def powers(self) -> list[Float]:
        """Auto-spectra, ring by ring."""
        return [ring_power((s.real**2 + s.imag**2) / self.size, self.rings) for s in self.spectra]

    @cached_property
    def cross(self) -> Complex:
        """Cross-spectrum."""
        return np.asarray(self.spectra[1] * np.conj(self.spectra[0]))

    @property
    def density(self) -> Float:
        """Samples a pixel, along each axis."""
        return np.full(len(self.shape), 1 / self.step)

    def moved(self, spectrum: Complex, offset: Float) -> Complex:
        """A half spectrum whose content is moved by `offset` px."""
        for ramp in phase_ramp(self.shape, offset / self.step):
            spectrum = spectrum * ramp
        return spectrum


class PeriodicRoute:
    """Search and refinement on the correlation polynomial.

    Parameters
    ----------
    pair : Pair
        Of one shape, with no masks and no error arrays.
    singles : two of Single
        Its images.
    """

    def __init__(self, pair: Pair, singles: tuple[Single, Single]) -> None:
        self._pair = pair
        self._shape = pair.reference.data.shape
        self._pixels = _Sampled([single.spectrum for single in singles], self._shape, 1)

    @cached_property
    def _steps(self) -> tuple[int, int | None]:
        pixels = self._pixels
        count, frequency = pixels.rings.count, pixels.rings.frequency
        divisor = int(np.gcd.reduce((8, *self._shape)))

        def modes(step: int) -> Rings:
            return _kept_modes(tuple(n // step for n in self._shape), step).rings

        return steps_between_samples(
            lambda step: pixels.rings if step == 1 else modes(step),
            frequency,
            auto_coherence(frequency, pixels.powers, count),
            min(self._shape),
            self._pair.ndim,
            divisor=divisor,
        )

    @cached_property
    def _sampled(self) -> _Sampled:
        """What is compared in the end."""
        step = self._steps[0]
        return self._pixels if step == 1 else self._pixels.coarser(step)

    def search(self) -> list[Candidate]:
        """Candidates, the best first."""
        final, quick = self._steps
        if quick is not None:
            coarse = self._sampled.coarser(quick // final) if quick > final else self._sampled
            candidates = self._search(coarse)
            if beyond_doubt(candidates):
                return candidates[:1]
        return self._search(self._pixels)

    def _search(self, images: _Sampled) -> list[Candidate]:
        """Candidates on whole samples."""
        rings, powers, shape, step = images.rings, images.powers, images.shape, images.step
        ndim = self._pair.ndim
        filters = auto_filters(rings.frequency, powers, rings.count)
        left, right = powers[0] * filters[0] ** 2, powers[1] * filters[1] ** 2
        band, roughness = independence(rings.frequency * step, rings.count, left, right, ndim)
        first, second = (
            spectrum * rings.spread(values).reshape(spectrum.shape)
            for spectrum, values in zip(images.spectra, filters, strict=True)
        )
        energies = [  # mode by mode: rings would not do for a scene of a few waves
            float(np.sum(images.multiplicity * (s.real**2 + s.imag**2))) for s in (first, second)
        ]
        scale = images.size / np.sqrt(np.prod(energies))
        correlation, null = (
            scipy.fft.irfftn(other * (second * scale), s=shape, overwrite_x=True)
            for other in (np.conj(first), flipped(first))
        )
        lags = [step * lag for lag in signed_lags(list(shape))]
        allowed = np.ones(shape, dtype=bool)
        pair = self._pair
        if pair.max_offset is not None:
            for lag, centre, reach, n in zip(
                lags, pair.initial, pair.max_offset, self._shape, strict=True
            ):
                away = np.abs(lag - np.rint(centre))
                allowed &= np.minimum(away % n, (-away) % n) <= np.ceil(reach)
            if not allowed.any():  # samples too far apart for so small a reach
                allowed[:] = True

        def coincidence(offset: Float, by_null: float) -> float:
            return chance_of_features(
                (scipy.fft.irfftn(first, s=shape), scipy.fft.irfftn(second, s=shape)),
                offset / step,
                by_null,
                lags=float(np.count_nonzero(allowed)),
                band=band,
                roughness=roughness,
                periodic=True,
            )

        rows = [_rows(spectrum, shape) for spectrum in (first, second)]
        return pick(
            correlation,
            np.full(shape, images.size * band),
            null=null,
            allowed=allowed,
            lags=lags,
            roughness=roughness,
            edge=self._at_edge,
            coincidence=coincidence if sparse(rows, band) else None,
        )

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
        images = self._sampled
        rings = images.rings
        offset = candidate.offset.copy()
        gain: float | None = None
        converged = False
        n_iter = 0
        for _ in range(3):  # the weight depends on the coherence, which is read at the offset
            gain, spectra = self._photometry(offset, gain)
            weight = rings.spread(spectra.weight).reshape(images.cross.shape)
            polynomial = TrigPolynomial(
                images.cross * (weight * (gain / images.size)), images.shape, density=images.density
            )
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

    def _photometry(self, offset: Float, gain: float | None) -> tuple[float, Spectra]:
        images = self._sampled
        aligned = images.moved(images.cross, -offset)
        return photometry(
            xx=images.powers[0],
            yy=images.powers[1],
            xy=images.rings.mean(aligned.real / images.size),
            count=images.rings.count,
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
        images = self._sampled
        return conclude_modes(
            candidate,
            self._nearest(offset),
            k=images.k,
            rings=images.rings,
            multiplicity=images.multiplicity,
            aligned=images.moved(images.cross, -offset) * (gain / images.size),
            spectra=spectra,
            weight=weight,
            gain=gain,
            background=float(
                self._pair.moving.data.mean() - gain * self._pair.reference.data.mean()
            ),
            shape=images.shape,
            density=images.density,
            transforms=lambda: (
                images.moved(images.spectra[0], offset / 2),
                images.moved(images.spectra[1], -offset / 2),
            ),
            n_iter=n_iter,
            converged=converged,
        )


def _rows(spectrum: Complex, shape: tuple[int, ...]) -> Float:
    """Every eighth row of an image, or all where there are few: cheap, and like the rest."""
    rows, *rest = shape
    step = 8
    if len(shape) == 1 or rows % step or rows < 8 * step:
        return clipped(scipy.fft.irfftn(spectrum, s=shape))
    folded = spectrum.reshape(step, rows // step, *spectrum.shape[1:]).sum(axis=0)
    return clipped(scipy.fft.irfftn(folded, s=(rows // step, *rest)))
