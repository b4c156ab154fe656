"""Images that wrap, mode by mode: a half plane of frequencies, and sums over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from coregister.estimator.rings import Rings
from coregister.estimator.search.filters import floored
from coregister.fourier import frequencies, pairs_of_axes
from coregister.products import contract

Float = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Complex = NDArray[np.complexfloating[Any, Any]]

#: modes that are worked on together: few enough to stay in the cache from one step to the next
BLOCK = 2**13
#: pixels up to which a half plane is kept for the next pair of that shape
LARGEST_KEPT = 2**20
#: modes from which an auto-spectrum is read at first, and every how many rows at most
THINNED, MOST_THINNED = 2**17, 16


def _radius(k: Sequence[Float]) -> Float:
    """Frequency (cycles/sample) of every mode."""
    return np.asarray(np.sqrt(np.asarray(sum(f**2 for f in k))) / (2 * np.pi))


def nyquist(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Where a half spectrum has Nyquist frequencies: without a sign, they tell no displacement."""
    return [
        tuple(slice(n // 2, n // 2 + 1) if a == axis else slice(None) for a in range(len(shape)))
        for axis, n in enumerate(shape)
        if n % 2 == 0
    ]


class Modes:
    """The half plane of frequencies that samples `step` px apart can hold.

    Attributes
    ----------
    shape : tuple of int
        Of the samples.
    density : (ndim,) array
        Samples a pixel, along each axis.
    k : list of array
        Frequency along each axis, rad/px.
    rings : Rings
        They know of the mirror images that the half plane leaves out.
    """

    def __init__(self, shape: tuple[int, ...], step: int) -> None:
        self.shape, self.step = shape, step
        self.density = np.full(len(shape), 1 / step)
        self.k = [f / step for f in frequencies(shape)]
        self._ik = [1j * f for f in self.k]
        self._twice = _mirrored(shape)
        self.rings = Rings(_radius(self.k), half=True, without=nyquist(shape))
        self._rows: dict[tuple[int, tuple[int, ...], int, Any], Real] = {}

    def moments(self, field: Real, powers: tuple[int, ...], times: int = 1) -> Float:
        """Sums of a field on the half plane times powers of the frequencies along each axis.

        Parameters
        ----------
        field : array
        powers : tuple of int
            One entry of the result along each axis for each of them; -1 stands for the modulus.
        times : int
            Power of the number of modes that an entry stands for.
        """
        tensor = field
        for axis in range(field.ndim - 1, -1, -1):
            key = (axis, powers, times, field.dtype)
            if key not in self._rows:
                k = self.k[axis].reshape(-1)
                rows = np.stack([np.abs(k) if p < 0 else k**p for p in powers])
                if axis == field.ndim - 1:
                    rows *= self._twice**times
                self._rows[key] = rows.astype(field.dtype)
            tensor = contract(tensor, axis, self._rows[key])
        return np.asarray(tensor, dtype=np.float64)

    def ramp(self, offset: Float, dtype: Any) -> tuple[Complex, Complex]:
        """Factors of a half spectrum that move its content by `offset` px.

        Their product does: the first varies along the first axis, the second along the others.
        """
        first, *others = (np.exp(ik * -d) for ik, d in zip(self._ik, offset, strict=True))
        rest = others[0] if others else np.ones(1)
        for vector in others[1:]:
            rest = rest * vector
        return first.astype(dtype, copy=False), rest.astype(dtype, copy=False)

    @cached_property
    def fourths(self) -> list[list[Float]]:
        """Sums over the narrow bins of the rings, of the squares of two frequencies multiplied."""
        ones = np.ones((*self.shape[:-1], self._twice.size))
        squares = [f**2 for f in self.k]
        table: list[list[Float]] = [[] for _ in squares]
        for i, first in enumerate(squares):
            for j, second in enumerate(squares):
                known = table[j][i] if j < i else self.rings.sums(ones * first * second)
                table[i].append(known)
        return table

    @cached_property
    def moduli(self) -> list[Float]:
        """Sums over the narrow bins of the rings, of the frequency along each axis without sign."""
        ones = np.ones((*self.shape[:-1], self._twice.size))
        return [self.rings.sums(ones * np.abs(f)) for f in self.k]


def blocks(shape: Sequence[int]) -> Iterator[slice]:
    """Some rows of an array after the other."""
    rows = max(1, BLOCK * shape[0] // prod(shape))
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


def _mirrored(shape: Sequence[int]) -> Float:
    """Modes of the whole plane for one of the half, against its last index."""
    twice = np.full(shape[-1] // 2 + 1, 2.0)
    twice[0] = 1.0
    return twice


_kept = lru_cache(maxsize=24)(Modes)


def modes_of(shape: tuple[int, ...], step: int) -> Modes:
    """Modes of samples `step` px apart; small ones are kept for the next pair."""
    return Modes(shape, step) if prod(shape) > LARGEST_KEPT else _kept(shape, step)


def pairwise_matrix(moments: Float) -> Float:
    """Entries of `Modes.moments`, of three powers, as the matrix of all pairs of axes."""
    return np.asarray(moments[pairs_of_axes(moments.ndim)])


def thinning(shape: Sequence[int]) -> int:
    """Every how many rows of a half spectrum are enough to read the auto-spectrum from."""
    modes = prod(shape) // 2
    step = 1
    while step < MOST_THINNED and modes > THINNED * step:
        step *= 2
    return step


@lru_cache(maxsize=24)
def thinned_rings(shape: tuple[int, ...], step: int) -> Rings:
    """Rings of every `step`-th row of a half spectrum."""
    radius = _radius(frequencies(shape))
    counted = np.broadcast_to(_mirrored(shape), radius.shape).copy()
    for place in nyquist(shape):
        counted[place] = 0.0
    return Rings(radius[::step], counted[::step])


class Sampled:
    """Both images, of some modes: frequencies too high for these are left out.

    Parameters
    ----------
    spectra : two complex arrays
        Half spectra. Frequencies that tell no displacement are set to 0 in place.
    modes : Modes
    """

    def __init__(self, spectra: Sequence[Complex], modes: Modes) -> None:
        self.spectra = spectra
        self.modes = modes
        self.rings = modes.rings
        self.shape = modes.shape
        self.size = float(prod(modes.shape))
        for spectrum in spectra:
            spectrum[(0,) * spectrum.ndim] = 0.0
            for place in nyquist(modes.shape):
                spectrum[place] = 0.0

    @cached_property
    def sums(self) -> list[Float]:
        """Auto-spectra, summed over the narrow bins of the rings."""
        return [self.rings.sums(_squares(s, np.float64)) / self.size for s in self.spectra]

    @cached_property
    def powers(self) -> list[Float]:
        """Auto-spectra, ring by ring."""
        return [floored(self.rings.average(values)) for values in self.sums]

    @cached_property
    def cross(self) -> Complex:
        """Cross-spectrum, in double precision whatever the images are in.

        The residual is a small difference of it.
        """
        first, second = self.spectra
        product = np.conj(first, dtype=np.complex128)
        product *= second
        return np.asarray(product)

    @property
    def precision(self) -> np.dtype[Any]:
        """Of a real number of the spectra."""
        return self.spectra[0].real.dtype

    @cached_property
    def aligned(self) -> tuple[Float, Float]:
        """Real and imaginary part of the cross-spectrum where `align` turned it last.

        In arrays that stay: fresh ones cost more than what is done with them.
        """
        return np.empty(self.cross.shape), np.empty(self.cross.shape)

    def align(self, offset: Float) -> None:
        """Take an offset out of the cross-spectrum."""
        cross, (real, imaginary) = self.cross, self.aligned
        first, rest = self.modes.ramp(-offset, np.complex128)
        for rows in blocks(cross.shape):
            block = first[rows] * rest
            block *= cross[rows]
            real[rows] = block.real
            imaginary[rows] = block.imag

    def halfway(self, offset: Float) -> Iterator[tuple[slice, Complex, Complex]]:
        """The half spectra, some rows of them at a time, each moved by half of an offset."""
        first, rest = self.modes.ramp(offset / 2, self.spectra[0].dtype)
        for rows in blocks(self.spectra[0].shape):
            ramp = first[rows] * rest
            x = self.spectra[0][rows] * ramp
            y = np.conj(ramp, out=ramp)
            y *= self.spectra[1][rows]
            yield rows, x, y


def coarser(spectra: Sequence[Complex], shape: Sequence[int], step: int) -> Sampled:
    """Images of that shape, of samples `step` px apart, which divides its sides."""
    fewer = tuple(n // step for n in shape)
    return Sampled([_lowest(s, fewer, step) for s in spectra], modes_of(fewer, step))


def _squares(spectrum: Complex, dtype: DTypeLike | None = None) -> Real:
    """Of the moduli; in the precision of the spectrum, if none is given."""
    squares = np.square(spectrum.real, dtype=dtype)
    squares += np.square(spectrum.imag, dtype=dtype)
    return np.asarray(squares)


@dataclass(frozen=True)
class AutoSpectra:
    """Auto-spectra of both images on rings.

    Attributes
    ----------
    frequency : array
        Of the rings, cycles/px.
    powers : list of array
    read : array
        Modes that were read.
    count : array
        Modes that there are.
    """

    frequency: Float
    powers: list[Float]
    read: Float
    count: Float


def auto_spectra(
    spectra: Sequence[Complex], shape: tuple[int, ...], low: Sampled, thin: int
) -> AutoSpectra:
    """Auto-spectra to be judged by: from all coarse modes, and from those of some rows.

    Parameters
    ----------
    spectra : two complex arrays
        Half spectra of images of that shape.
    low : Sampled
        The same images, of samples farther apart.
    thin : int
        See `thinning`.
    """
    size = float(prod(shape))
    if thin == 1:
        rings = modes_of(shape, 1).rings
        powers = [floored(rings.mean(_squares(s)) / size) for s in spectra]
        return AutoSpectra(rings.frequency, powers, rings.count, rings.count)
    rings = thinned_rings(shape, thin)
    # what a circle holds is complete
    known = low.rings.frequency < 0.5 / low.modes.step
    fine = rings.frequency >= 0.5 / low.modes.step
    powers = [
        floored(
            np.append(
                p[known],
                rings.mean(_squares(s[::thin]))[fine] / (size * low.modes.step ** len(shape)),
            )
        )
        for p, s in zip(low.powers, spectra, strict=True)
    ]
    read = np.append(low.rings.count[known], rings.count[fine])
    count = np.append(low.rings.count[known], thin * rings.count[fine])
    return AutoSpectra(
        np.append(low.rings.frequency[known], rings.frequency[fine]), powers, read, count
    )


def _lowest(spectrum: Complex, shape: tuple[int, ...], factor: int) -> Complex:
    """Half spectrum of samples farther apart by `factor`."""
    kept = np.empty((*shape[:-1], shape[-1] // 2 + 1), dtype=spectrum.dtype)
    blocks: list[tuple[list[slice], list[slice]]] = [([], [])]
    for n in shape[:-1]:
        halves = (slice(0, n - n // 2), slice(-(n // 2), None))
        blocks = [([*to, h], [*of, h]) for to, of in blocks for h in halves]
    last = slice(0, shape[-1] // 2 + 1)
    scale = spectrum.real.dtype.type(1 / factor ** len(shape))
    for to, of in blocks:
        np.multiply(spectrum[(*of, last)], scale, out=kept[tuple(to)])
    return kept
