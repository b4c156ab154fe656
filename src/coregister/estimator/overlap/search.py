"""Candidates for the offset of images with real edges, or with holes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.fill import clipped, eroded
from coregister.estimator.rings import Rings, cosine_rings, interpolator
from coregister.estimator.search import pick
from coregister.estimator.search.correlation import (
    normalised_correlation,
    overlap_counts,
    overlap_sums,
    signed_lags,
)
from coregister.estimator.search.filters import auto_coherence, auto_filters, independence
from coregister.estimator.search.sparse import kurtosis, sparse
from coregister.estimator.search.steps import steps_between_samples
from coregister.estimator.single import Single
from coregister.estimator.stages import Candidate
from coregister.images import MIN_SIDE, Pair

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: overlaps below this share of the smaller image are not searched
MIN_OVERLAP = 0.04
#: share of an image that may be lost where samples beside holes count for nothing, and that may be
#: filled in a first look
MAX_EROSION, MAX_FILLED = 0.02, 0.25


class _Auto(NamedTuple):
    """What the two images tell by themselves.

    Attributes
    ----------
    frequency : array
        Rings, cycles/px.
    powers, filters : list of array
        Spectrum of either image, and the factor that makes it ready for the search.
    coherence : array
        Square of it, as both spectra promise it; noise makes it negative as often as positive.
    """

    frequency: Float
    powers: list[Float]
    filters: list[Float]
    coherence: Float


class OverlapSearch:
    """The search in one pair.

    Parameters
    ----------
    pair : Pair
    singles : two of Single
    every_pixel : bool
        Samples are pixels, whatever the images hold.
    """

    def __init__(self, pair: Pair, singles: Sequence[Single], *, every_pixel: bool) -> None:
        self._pair = pair
        self._singles = singles
        self._periodic = pair.boundary == "periodic"
        self._every_pixel = every_pixel

    @cached_property
    def steps(self) -> tuple[int, int | None]:
        """Pixels between samples: in the last comparison, and in a first look, if one pays."""
        singles = self._singles
        if self._periodic or self._every_pixel:
            return 1, None
        if max(single.missing for single in singles) > MAX_FILLED:
            return 1, None
        auto = self._auto
        sides = singles[0].modes.shape
        fewest = min(min(single.modes.shape) for single in singles)

        def modes(step: int) -> Rings:
            return cosine_rings([n // step for n in sides], step)

        step, quick = steps_between_samples(
            modes, auto.frequency, auto.coherence, fewest, self._pair.ndim
        )
        for single in singles:
            valid = single.image.valid
            if step > 1 and valid is not None:
                kept = np.count_nonzero(eroded(valid, step)) / valid.size
                lost = 1 - kept - single.missing
                step = step if lost < MAX_EROSION else 1
        return step, quick

    @cached_property
    def _auto(self) -> _Auto:
        first, second = self._singles
        frequency, count = first.rings.frequency, first.rings.count
        other = np.exp(np.interp(frequency, second.rings.frequency, np.log(second.power)))
        powers = [first.power, other]
        return _Auto(
            frequency,
            powers,
            auto_filters(frequency, powers, count),
            auto_coherence(frequency, powers, count),
        )

    def candidates(self, step: int) -> list[Candidate]:
        """The best first; between samples `step` px apart by interpolation.

        None in a first look at a sparse scene: a few stars on coarse samples are too few to tell.
        None, either, where there is no offset at which both show something.
        """
        pair = self._pair
        fields, band, roughness = self._filtered(step)
        valids = self._valid_samples(step)
        filtered = [
            clipped(field) if valid is None else clipped(field) * valid
            for field, valid in zip(fields, valids, strict=True)
        ]
        samples = [
            field.ravel() if valid is None else field[valid]
            for field, valid in zip(filtered, valids, strict=True)
        ]
        few = sparse([kurtosis(some) for some in samples], band * min(s.size for s in samples))
        if few and step > 1:
            return []
        shapes = [field.shape for field in fields]
        if self._periodic:
            full = list(shapes[0])
        else:
            full = [
                scipy.fft.next_fast_len(n + m - 1, real=True) for n, m in zip(*shapes, strict=True)
            ]
        energy, null_energy, count = self._energies(filtered, valids, full)
        counted = count >= max(MIN_OVERLAP * min(field.size for field in fields), MIN_SIDE)
        allowed = counted
        ahead = None if self._periodic else shapes[1]
        lags = [step * lag for lag in signed_lags(full, ahead)]
        if pair.max_offset is not None:
            for lag, centre, reach in zip(lags, pair.initial, pair.max_offset, strict=True):
                allowed = allowed & (np.abs(lag - np.rint(centre)) <= np.ceil(reach))
        if not allowed.any():
            counted = allowed = count >= max(float(count.max()), MIN_SIDE)
            if not allowed.any():
                return []

        correlation, null = normalised_correlation(
            filtered[0], filtered[1], full, energy, null_energy
        )
        return pick(
            correlation,
            count * band,
            null=null,
            counted=counted,
            allowed=allowed,
            lags=lags,
            roughness=roughness,
            edge=self._at_edge,
            band=band,
            periodic=self._periodic,
            sparse_fields=fields if few else None,
        )

    def _valid_samples(self, step: int) -> list[Mask | None]:
        """Where either image counts; None where all of it does.

        In a first look the holes are few, and what fills them is smooth.
        """
        return [
            None
            if step > 1 or single.image.valid is None
            else single.image.valid[tuple(map(slice, single.modes.shape))]
            for single in self._singles
        ]

    def _filtered(self, step: int) -> tuple[tuple[Float, Float], float, float]:
        """Both images weighted in frequency, 0 where invalid; `independence` of their samples."""
        auto = self._auto
        fields = []
        for valid, single, values in zip(
            self._valid_samples(step), self._singles, auto.filters, strict=True
        ):
            modes = single.modes[tuple(slice(0, n // step) for n in single.modes.shape)]
            factor = cosine_rings(modes.shape, step).spread_function(
                interpolator(auto.frequency, values)
            )
            field = scipy.fft.idctn(
                modes * factor.reshape(modes.shape), norm="ortho", overwrite_x=True
            )
            fields.append(field if valid is None else field * valid)
        rings = cosine_rings([n // step for n in self._singles[0].modes.shape], step)
        left, right = (
            np.interp(rings.frequency, auto.frequency, power * values**2)
            for power, values in zip(auto.powers, auto.filters, strict=True)
        )
        frequency = rings.frequency * step  # cycles a sample
        band, roughness = independence(frequency, rings.count, left, right, self._pair.ndim)
        return (fields[0], fields[1]), band, roughness

    def _energies(
        self,
        filtered: Sequence[Float],
        valids: Sequence[Mask | None],
        full: list[int],
    ) -> tuple[Float, Float, Float]:
        """Root of the product of both energies in the overlap at every lag, and its pixels.

        Between the two the same energy for the reference flipped along its last axis.
        """
        squares = [field**2 for field in filtered]
        if not self._periodic and all(valid is None for valid in valids):
            sides = squares[1].shape
            mirror = squares[0][..., ::-1]
            first, null_first = (
                overlap_sums(values, sides, full, forward=True) for values in (squares[0], mirror)
            )
            second = overlap_sums(squares[1], squares[0].shape, full, forward=False)
            count = overlap_counts(squares[0].shape, sides, full)
            return _root(first * second), _root(null_first * second), count
        counted = [
            np.ones(field.shape) if valid is None else valid.astype(np.float64)
            for field, valid in zip(filtered, valids, strict=True)
        ]
        turned = [values[..., ::-1] for values in (squares[0], counted[0])]
        spectra = [scipy.fft.rfftn(field, s=full) for field in (*squares, *counted, *turned)]
        first, second, count, null_first, null_second = (
            np.clip(
                scipy.fft.irfftn(np.conj(spectra[a]) * spectra[b], s=full, overwrite_x=True),
                0.0,
                None,
            )
            for a, b in ((0, 3), (2, 1), (2, 3), (4, 3), (5, 1))
        )
        return _root(first * second), _root(null_first * null_second), np.rint(count)

    def _at_edge(self, offset: Float) -> bool:
        reach = self._pair.max_offset
        if reach is None:
            return False
        return bool(np.any(np.abs(offset - self._pair.initial) > reach - 0.5))


def _root(energies: Float) -> Float:
    """Root of the product of two energies, nowhere zero."""
    energy = np.sqrt(energies)
    return np.asarray(np.maximum(energy, 1e-9 * float(energy.max()) + 1e-300))
