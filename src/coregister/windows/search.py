"""Candidates for the offset of many windows together, by the formulas of `estimator.search`.

A window of the reference is looked for in a larger one of moving: at every offset that is
searched, all of it has a counterpart, unless the image ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.fill import CLIP_SIGMA
from coregister.estimator.overlap.search import MIN_OVERLAP
from coregister.estimator.rings import Rings, cosine_rings
from coregister.estimator.search import (
    IDENTICAL,
    MAX_CHANCE,
    SEPARATION,
    SYMMETRIC,
    SYMMETRIC_OVERLAP,
)
from coregister.estimator.search.chance import SPARSE_POWER, chance_by_null, chance_of_peaks
from coregister.estimator.search.correlation import overlap_counts, overlap_sums
from coregister.estimator.search.filters import auto_filters, independence
from coregister.estimator.search.sparse import SPARSE, SPARSE_SIGMA, chance_of_features, features
from coregister.images import MIN_SIDE
from coregister.products import matmul
from coregister.trust import MAX_FALSE_ALARM, REPEATS, RIVAL
from coregister.windows.kernels import SINGLE, in_units, kernels, spread_matrix

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.intp]

#: pixels between those from which the scatter of a filtered window is read
SPARSE_STEP = 2
#: two peaks are one where the score between falls to no less than this share of the lower, asked
#: at so many places
VALLEY, ON_THE_WAY = 0.7, 24


class Found(NamedTuple):
    """The best offset of every window.

    Attributes
    ----------
    offset : (n, 2) array
        Against the middle of the search; between pixels by interpolation.
    false_alarm, plain : (n,) array
        See `coregister.estimator.stages.Candidate`.
    rival : (n,) bool array
        Another offset is about as good.
    """

    offset: Float
    false_alarm: Float
    plain: Float
    rival: Mask


@dataclass(frozen=True)
class WindowSearch:
    """The search in windows of one shape.

    Parameters
    ----------
    shape : tuple of int
        Of a window.
    reach : tuple of int
        The offset is looked for within so many pixels.
    """

    shape: tuple[int, int]
    reach: tuple[int, int]

    @cached_property
    def wide(self) -> tuple[int, int]:
        """Shape of what it is looked for in."""
        return self.shape[0] + 2 * self.reach[0], self.shape[1] + 2 * self.reach[1]

    @cached_property
    def rings(self) -> Rings:
        """Rings of a window."""
        return cosine_rings(self.shape)

    @cached_property
    def _spreads(self) -> tuple[Float, Float]:
        frequency = self.rings.frequency
        return (
            spread_matrix(self.rings, frequency).astype(SINGLE),
            spread_matrix(cosine_rings(self.wide), frequency).astype(SINGLE),
        )

    @cached_property
    def _boxes(self) -> tuple[Float, Float]:
        """Matrices that sum over a window, at every offset along either axis."""
        rows, columns = (
            np.abs(np.arange(n + 2 * r) - np.arange(2 * r + 1)[:, None] - (n - 1) / 2) < n / 2
            for n, r in zip(self.shape, self.reach, strict=True)
        )
        return rows.astype(SINGLE), columns.T.astype(SINGLE)

    def __call__(self, reference: Float, moving: Float, near: Float, inside: Ints) -> Found:
        """The best offset of every window.

        Parameters
        ----------
        reference : (n, *shape) array
        moving : (n, *wide) array
            What lies around the same places in moving.
        near : (n, *shape) array
            A part of that which lies in the image.
        inside : (n, 2, 2) array
            Along each axis the first pixel of `moving` that lies in the image, and one behind
            the last.
        """
        count, frequency = self.rings.count, self.rings.frequency
        modes = [_modes(reference), _modes(near)]
        ordered, powers = kernels(self.shape), []
        for flat in (m.reshape(len(m), -1) for m in modes):
            power = ordered.mean(ordered.ordered(flat * flat))
            powers.append(np.maximum(power, 1e-14 * power.max(axis=1, keepdims=True) + 1e-300))
        filters = auto_filters(frequency, powers, count)
        left, right = (p * f**2 for p, f in zip(powers, filters, strict=True))
        band, roughness = independence(frequency, count, left, right, 2)
        first = _filtered(modes[0], matmul(filters[0].astype(SINGLE), self._spreads[0]))
        second = _filtered(_modes(moving), matmul(filters[1].astype(SINGLE), self._spreads[1]))
        used = _covered(inside, self.wide)
        partly = np.flatnonzero(np.any(inside != [[0, n] for n in self.wide], axis=(1, 2)))
        second[partly] *= used[partly]
        clipped = _clipped(first, None), _clipped(second, used)
        return self._pick(clipped, (first, second), inside, partly, band, roughness)

    def _pick(
        self,
        clipped: tuple[Float, Float],
        fields: tuple[Float, Float],
        inside: Ints,
        partly: Ints,
        band: Float,
        roughness: Float,
    ) -> Found:
        first, second = clipped
        n = len(first)
        correlation, null = self._correlations(first, second)
        energy, null_energy, pixels = self._energies(first, second, inside, partly)
        correlation /= energy
        null /= null_energy
        samples = pixels * band[:, None, None]
        least = max(MIN_OVERLAP * first[0].size, MIN_SIDE)
        allowed = pixels >= least
        allowed |= (~allowed.any(axis=(1, 2)))[:, None, None]
        evidence = -0.5 * np.log1p(-(np.clip(correlation, 0.0, 1 - 1e-12) ** 2))
        score = np.where(allowed, evidence * samples, -1.0)
        lags = allowed.sum(axis=(1, 2)).astype(np.float64)
        chance = np.where(allowed, null**2 * samples, 0.0).sum(axis=(1, 2)) / lags
        scatter = np.maximum(0.8, np.sqrt(chance))
        widest = samples.max(axis=(1, 2))
        wide = allowed & (samples > SYMMETRIC_OVERLAP * widest[:, None, None])
        scatter[np.where(wide, null, -1.0).max(axis=(1, 2)) > SYMMETRIC] = 1.0

        everyone = np.arange(n)
        best, place = _highest(score)
        at = (everyone, *place.T)
        evidence_best, samples_best = evidence[at], samples[at]
        z = np.sqrt(2 * np.maximum(best, 0.0)) / scatter
        false_alarm = chance_of_peaks(z, lags, roughness, 2)
        plain = chance_of_peaks(z * scatter, lags, roughness, 2)
        same = (correlation[at] > IDENTICAL) & (samples_best > widest / 2)
        few = _sparse(clipped, inside, band)
        # what is less likely is no match in any case; of other scenes theory tells the far tail
        for i in np.flatnonzero(few & (false_alarm <= MAX_FALSE_ALARM) & ~same):
            (top, bottom), (start, end) = inside[i]
            around = second[i, top:bottom, start:end]
            tail = _tail(first[i], around, band[i], allowed[i], (top, start))
            by_null = 1.0 if tail is None else tail(z[i] * scatter[i])
            few_fields = (fields[0][i], fields[1][i, top:bottom, start:end])
            by_features = chance_of_features(
                few_fields,
                [features(field) for field in few_fields],
                place[i] - np.array([top, start], dtype=np.float64),
                by_null,
                lags=lags[i],
                band=band[i],
                roughness=roughness[i],
                periodic=False,
            )
            false_alarm[i] = max(false_alarm[i], by_features)
        offset = place - np.array(self.reach) + _vertices(correlation, place)
        rows, columns = (
            np.abs(np.arange(m) - p[:, None]) <= SEPARATION
            for m, p in zip(score.shape[1:], place.T, strict=True)
        )
        others = np.where(rows[:, :, None] & columns[:, None, :], -1.0, score)
        other, second_place = _highest(others)
        at = (everyone, *second_place.T)
        z = np.sqrt(2 * np.maximum(other, 0.0))
        possible = chance_of_peaks(z, lags, roughness, 2) <= MAX_CHANCE
        best = evidence_best * samples_best
        good = (other > REPEATS * best) | (
            (evidence[at] > RIVAL * evidence_best) & (other > RIVAL / 2 * best)
        )
        rival = possible & good
        rival[rival] = ~_same_hill(score[rival], place[rival], second_place[rival], other[rival])
        return Found(offset, false_alarm, plain, rival)

    def _correlations(self, first: Float, second: Float) -> tuple[Float, Float]:
        """Products at every offset, and the same with the reference flipped along its last axis."""
        full = [scipy.fft.next_fast_len(n, real=True) for n in self.wide]
        rows, columns = (2 * r + 1 for r in self.reach)

        def transformed(values: Float) -> NDArray[np.complexfloating]:
            # row by row at first: those of the padding are 0
            return np.asarray(scipy.fft.fft(scipy.fft.rfft(values, full[1]), full[0], axis=1))

        target = transformed(second)
        fields = []
        for source in (first, first[:, :, ::-1]):
            product = np.conj(transformed(source))
            product *= target
            # and those that are not asked for need not be transformed back
            lines = scipy.fft.ifft(product, axis=1, overwrite_x=True)[:, :rows]
            field = scipy.fft.irfft(lines, full[1])[:, :, :columns]
            fields.append(field.astype(np.float64))
        return fields[0], fields[1]

    def _energies(
        self, first: Float, second: Float, inside: Ints, partly: Ints
    ) -> tuple[Float, Float, Float]:
        """Root of the product of both energies at every offset, the same flipped, and pixels."""
        rows, columns = self._boxes
        moving = matmul(matmul(rows, second * second), columns).astype(np.float64)
        squares = first * first
        reference = np.broadcast_to(squares.sum(axis=(1, 2))[:, None, None], moving.shape).copy()
        flipped = reference.copy()
        pixels = np.full(moving.shape, float(squares[0].size))
        if partly.size:
            down, across = (self._seen(inside[partly, axis], axis) for axis in range(2))
            pixels[partly] = down.sum(axis=2)[:, :, None] * across.sum(axis=2)[:, None]
            half, across = matmul(down, squares[partly]), across.transpose(0, 2, 1)
            reference[partly] = matmul(half, across)
            flipped[partly] = matmul(half, across[:, ::-1])
        return _root(reference * moving), _root(flipped * moving), pixels

    def _seen(self, inside: Ints, axis: int) -> Float:
        """Pixels of a window, 0 or 1, that have a counterpart: (n, lags, pixels)."""
        counterpart = np.arange(self.shape[axis]) + np.arange(2 * self.reach[axis] + 1)[:, None]
        low, high = inside[:, None, :1], inside[:, None, 1:]
        return np.asarray((counterpart >= low) & (counterpart < high), dtype=SINGLE)


def _modes(fields: Float) -> Float:
    fields = in_units(fields)
    return np.asarray(scipy.fft.dctn(fields, norm="ortho", axes=(1, 2), overwrite_x=True))


def _filtered(modes: Float, factor: Float) -> Float:
    modes *= factor.reshape(modes.shape)
    return np.asarray(scipy.fft.idctn(modes, norm="ortho", axes=(1, 2), overwrite_x=True))


def _covered(inside: Ints, shape: tuple[int, int]) -> Mask:
    """Pixels that lie in the image."""
    rows, columns = (
        (np.arange(n) >= inside[:, a, :1]) & (np.arange(n) < inside[:, a, 1:])
        for a, n in enumerate(shape)
    )
    return np.asarray(rows[:, :, None] & columns[:, None, :])


def _clipped(fields: Float, used: Mask | None) -> Float:
    """See `fill.clipped`."""
    some = np.abs(fields[:, ::SPARSE_STEP, ::SPARSE_STEP]).reshape(len(fields), -1)
    energy = np.einsum("nij,nij->n", fields, fields)
    if used is None:
        middle, size = np.median(some, axis=1), fields[0].size
        deviation = np.sqrt(energy / size)
    else:
        counted = used[:, ::SPARSE_STEP, ::SPARSE_STEP].reshape(len(fields), -1)
        missing = counted.shape[1] - counted.sum(axis=1)
        # what lies outside is 0, at the low end
        middle = np.quantile(some, 0.5, axis=1)
        for i in np.flatnonzero(missing):
            middle[i] = np.median(some[i][counted[i]])
        deviation = np.sqrt(energy / used.sum(axis=(1, 2)))
    limit = CLIP_SIGMA * np.maximum(middle / 0.6745, 0.2 * deviation)[:, None, None]
    return np.clip(fields, -limit, limit)


def _sparse(fields: tuple[Float, Float], inside: Ints, band: Float) -> Mask:
    """See `coregister.estimator.search.sparse.sparse`."""
    sizes = [np.full(len(band), fields[0][0].size), np.prod(inside[:, :, 1] - inside[:, :, 0], 1)]
    moments = []
    for field, size in zip(fields, sizes, strict=True):
        squares = field * field
        second = squares.sum(axis=(1, 2))
        fourth = np.einsum("nij,nij->n", squares, squares)
        moments.append(fourth * size / np.maximum(second**2, 1e-300))
    scatter = SPARSE_SIGMA * np.sqrt(24.0 / np.maximum(band * np.minimum(*sizes), 1.0))
    return np.asarray(np.sqrt(moments[0] * moments[1]) > np.maximum(SPARSE, 3.0 + scatter))


def _tail(
    first: Float, second: Float, band: float, asked: Mask, corner: tuple[int, int]
) -> Callable[[float], float] | None:
    """How high chance goes in one window, learnt at every offset with overlap enough.

    Parameters
    ----------
    first, second : array
        A window of reference, and what is known around its place in moving.
    band : float
        Independent samples a pixel.
    asked : bool array
        Offsets that are searched.
    corner : (int, int)
        First pixel of `second` in all that is searched.
    """
    full = [
        scipy.fft.next_fast_len(n + m - 1, real=True)
        for n, m in zip(first.shape, second.shape, strict=True)
    ]
    mirror = first[:, ::-1]
    null = scipy.fft.irfft2(
        np.conj(scipy.fft.rfft2(mirror, full)) * scipy.fft.rfft2(second, full), full
    )
    energy = overlap_sums(mirror**2, second.shape, full, forward=True)
    energy *= overlap_sums(second**2, first.shape, full, forward=False)
    pixels = overlap_counts(first.shape, second.shape, full)
    counted = pixels >= max(MIN_OVERLAP * first.size, MIN_SIDE)
    null /= _root(energy[None])[0]
    allowed = np.zeros(counted.shape, dtype=bool)
    places = (np.arange(n) - c for n, c in zip(asked.shape, corner, strict=True))
    allowed[np.ix_(*places)] = asked
    return chance_by_null(null * np.sqrt(pixels * band), counted, allowed, SPARSE_POWER)


def _root(energies: Float) -> Float:
    """Root of products of two energies, nowhere zero."""
    energy = np.sqrt(energies)
    return np.asarray(np.maximum(energy, 1e-9 * energy.max(axis=(1, 2), keepdims=True) + 1e-300))


def _highest(score: Float) -> tuple[Float, Ints]:
    """The highest value of every window, and where it is."""
    flat = score.reshape(len(score), -1)
    place = flat.argmax(axis=1)
    where = np.stack(np.unravel_index(place, score.shape[1:]), axis=1)
    return flat[np.arange(len(flat)), place], where


def _same_hill(score: Float, first: Ints, second: Ints, height: Float) -> Mask:
    """Where the way from one peak to the other leads through no valley."""
    lowest = height.copy()
    for share in np.linspace(0.0, 1.0, ON_THE_WAY):
        places = np.rint(first + share * (second - first)).astype(np.intp)
        np.minimum(lowest, score[np.arange(len(score)), *places.T], out=lowest)
    return np.asarray(lowest > VALLEY * height)


def _vertices(values: Float, place: Ints) -> Float:
    """Where the parabolas through the peaks and their neighbours are highest, from the peaks."""
    shift = np.zeros(place.shape)
    everyone = np.arange(len(values))
    for axis, n in enumerate(values.shape[1:]):
        index = place.copy()
        line = []
        for step in (-1, 0, 1):
            index[:, axis] = np.clip(place[:, axis] + step, 0, n - 1)
            line.append(values[everyone, index[:, 0], index[:, 1]])
        before, here, after = line
        curvature = 2 * here - before - after
        peak = (curvature > 0) & (place[:, axis] > 0) & (place[:, axis] < n - 1)
        ratio = np.divide(after - before, 2 * curvature, out=np.zeros_like(here), where=peak)
        shift[:, axis] = np.clip(ratio, -0.5, 0.5)
    return shift
