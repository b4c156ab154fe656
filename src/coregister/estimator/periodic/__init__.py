"""The route for periodic images whose pixels all count alike: exact, and as cheap as its FFTs.

The correlation is a trigonometric polynomial, so it is known at any real offset; its maximum is
found by Newton steps on the polynomial itself, with no grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.fill import clipped
from coregister.estimator.periodic.bars import conclude
from coregister.estimator.periodic.modes import (
    AutoSpectra,
    Complex,
    Float,
    Sampled,
    auto_spectra,
    coarser,
    modes_of,
    thinning,
)
from coregister.estimator.periodic.reading import Reading
from coregister.estimator.rings import Rings
from coregister.estimator.search import pick
from coregister.estimator.search.correlation import signed_lags
from coregister.estimator.search.filters import auto_coherence, auto_filters, independence
from coregister.estimator.search.sparse import kurtosis, sparse
from coregister.estimator.search.steps import (
    QUICK_SIDE,
    QUICK_STEPS,
    beyond_doubt,
    steps_between_samples,
)
from coregister.estimator.single import Single
from coregister.estimator.spectrum import Spectra
from coregister.estimator.stages import Candidate, Fit
from coregister.images import Pair

#: times that spectra are read, and steps of Newton's in all
TURNS, MAX_STEPS = 3, 30
#: bars: a change of the weights that moves the offset by less does not count
TOLERANCE = 1e-3
#: noise below this share of the mean power of the modes, or of that of its ring, to which single
#: precision would add
NARROW_NOISE, NARROW_NOISE_OF_RING = 1e-7, 1e-11


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
        self._shape = pair.reference.values.shape
        self._singles = singles
        narrow = [single.narrow_spectrum for single in singles]
        self._narrow = all(spectrum is not None for spectrum in narrow)
        self._spectra: list[Complex] = [
            n if self._narrow and n is not None else single.spectrum
            for n, single in zip(narrow, singles, strict=True)
        ]
        self._coarser: dict[int, Sampled] = {}

    @property
    def precision(self) -> np.dtype[Any]:
        """Of the transforms."""
        return self._spectra[0].real.dtype

    @cached_property
    def _pixels(self) -> Sampled:
        """The images as they are."""
        return Sampled(self._spectra, modes_of(self._shape, 1))

    def _samples(self, step: int) -> Sampled:
        """The images, of samples `step` px apart."""
        if step == 1:
            return self._pixels
        if step not in self._coarser:
            self._coarser[step] = coarser(self._spectra, self._shape, step)
        return self._coarser[step]

    @cached_property
    def _steps(self) -> tuple[int, int | None]:
        """Pixels between samples, at last and at first; all modes are not needed to tell."""
        shape = self._shape
        divisor = int(np.gcd.reduce((8, *shape)))
        fits = [s for s in QUICK_STEPS if divisor % s == 0 and min(shape) // s >= QUICK_SIDE]
        coarsest = max(fits, default=1)
        thin = 1 if coarsest == 1 else thinning(shape)
        if thin == 1 and (coarsest == 1 or not self._narrow):
            pixels = self._pixels
            count = pixels.rings.count
            auto = AutoSpectra(pixels.rings.frequency, pixels.powers, count, count)
        else:
            auto = auto_spectra(self._spectra, shape, self._samples(coarsest), thin)
        return steps_between_samples(
            lambda step: (
                auto if step == 1 else modes_of(tuple(n // step for n in shape), step).rings
            ),
            auto.frequency,
            auto_coherence(auto.frequency, auto.powers, auto.read),
            min(shape),
            self._pair.ndim,
            divisor=divisor,
        )

    @cached_property
    def _sampled(self) -> Sampled:
        """What is compared in the end."""
        return self._samples(self._steps[0])

    def search(self) -> list[Candidate]:
        """Candidates, the best first."""
        quick = self._steps[1]
        if quick is not None:
            candidates = self._search(self._samples(quick))
            if candidates and beyond_doubt(candidates):
                return candidates[:1]
        return self._search(self._pixels)

    def _search(self, images: Sampled) -> list[Candidate]:
        """Candidates on whole samples; none in a first look at a sparse scene."""
        rings, powers, shape, step = images.rings, images.powers, images.shape, images.modes.step
        ndim = self._pair.ndim
        filters = auto_filters(rings.frequency, powers, rings.count)
        left, right = powers[0] * filters[0] ** 2, powers[1] * filters[1] ** 2
        band, roughness = independence(rings.frequency * step, rings.count, left, right, ndim)
        first, second = (
            _filtered(spectrum, rings.at_bins(values), sums, rings, images.size)
            for spectrum, values, sums in zip(images.spectra, filters, images.sums, strict=True)
        )
        rows = _rows((first, second), shape)
        few = sparse([kurtosis(some) for some in rows], band * rows[0].size)
        if few and images is not self._pixels:
            return []
        correlation = scipy.fft.irfftn(np.conj(first) * second, s=shape, overwrite_x=True)
        correlation *= images.size
        null = scipy.fft.irfftn(_reversed_product(first, second), s=shape, overwrite_x=True)
        null *= np.float32(images.size)
        lags = [step * lag for lag in signed_lags(shape)]
        counted = allowed = np.ones(shape, dtype=bool)
        pair = self._pair
        if pair.max_offset is not None:
            for lag, centre, reach, n in zip(
                lags, pair.initial, pair.max_offset, self._shape, strict=True
            ):
                away = np.abs(lag - np.rint(centre))
                allowed = allowed & (np.minimum(away % n, (-away) % n) <= np.ceil(reach))
            if not allowed.any():  # samples too far apart for so small a reach
                allowed = counted

        fields = None
        if few:
            fields = scipy.fft.irfftn(first, s=shape), scipy.fft.irfftn(second, s=shape)
        return pick(
            correlation,
            float(images.size * band),
            null=null,
            counted=counted,
            allowed=allowed,
            lags=lags,
            roughness=roughness,
            edge=self._at_edge,
            band=band,
            periodic=True,
            sparse_fields=fields,
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
        """The optimum of the weighted correlation polynomial near a candidate."""
        n_iter, shift = 0, 0.0
        reading = Reading(self._sampled, candidate.offset)
        for turn in range(TURNS):  # the weight depends on the coherence, read at the offset
            if self._narrow and self._rounded_away(reading.spectra):
                self._widen()
                return self.refine(replace(candidate, offset=reading.offset))
            step = reading.step() if turn else None
            way = step if step and step.near else reading.climb(MAX_STEPS - n_iter)
            n_iter += way.steps
            last, shift = shift, way.bars
            # the next one would move it by as much less
            if way is step and (shift < TOLERANCE or shift**2 < TOLERANCE * last):
                break
            reading = Reading(self._sampled, way.offset, reading)
        first, second = (image.mean for image in self._pair.images)
        return conclude(
            candidate,
            reading,
            way.offset,
            self._nearest(way.offset),
            background=second - reading.gain * first,
            n_iter=n_iter,
            converged=way.near,
        )

    def _rounded_away(self, spectra: Spectra) -> bool:
        """True if single precision adds to the noise."""
        images = self._sampled
        count, noise = images.rings.count, spectra.residual
        mean = float(count @ images.powers[1] / count.sum())
        return bool(
            noise.min() < NARROW_NOISE * mean
            or np.any(noise < NARROW_NOISE_OF_RING * spectra.scene)
        )

    def _widen(self) -> None:
        """From here on in double precision."""
        self._narrow = False
        self._spectra = [single.spectrum for single in self._singles]
        self._coarser.clear()
        for name in ("_pixels", "_steps", "_sampled"):
            self.__dict__.pop(name, None)


def _filtered(spectrum: Complex, factors: Float, sums: Float, rings: Rings, size: float) -> Complex:
    """A half spectrum whose modes are weighted, and its energy made 1."""
    # mode by mode: rings would not do for a scene of a few waves
    energy = size * float(factors**2 @ sums)
    in_modes = rings.at_modes(factors / np.sqrt(energy), spectrum.real.dtype)
    return np.asarray(spectrum * in_modes.reshape(spectrum.shape))


def _reversed_product(first: Complex, second: Complex) -> NDArray[np.complex64]:
    """Half spectrum of the correlation with the first image reversed along its last axis."""
    product = np.empty(first.shape, dtype=np.complex64)
    blocks: list[tuple[tuple[slice, ...], tuple[slice, ...]]] = [((), ())]
    for _ in first.shape[:-1]:  # index 0 stays where it is, the others change places
        halves = ((slice(0, 1), slice(0, 1)), (slice(1, None), slice(None, 0, -1)))
        blocks = [((*to, a), (*of, b)) for to, of in blocks for a, b in halves]
    for to, of in blocks:
        np.multiply(first[of], second[to], out=product[to], casting="same_kind")
    return product


def _rows(spectra: Sequence[Complex], shape: tuple[int, ...]) -> list[Float]:
    """Every eighth row of some images, or all where there are few: cheap, and like the rest."""
    rows, *rest = shape
    step = 8 if len(shape) > 1 and rows % 8 == 0 and rows >= 64 else 1
    folded = np.stack([s.reshape(step, -1, *s.shape[1:]).sum(axis=0) for s in spectra])
    axes = range(1, folded.ndim)
    return [clipped(few) for few in scipy.fft.irfftn(folded, s=(rows // step, *rest), axes=axes)]
