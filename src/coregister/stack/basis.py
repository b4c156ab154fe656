"""The modes in which the frames of a window are compared: real numbers, orthonormal, by frequency.

Those of a window with real edges are cosines; those of frames that wrap around are waves, in which
a frame can be moved without going back to its pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.movable import MovableImage, faded
from coregister.estimator.rings import Rings, cosine_rings
from coregister.fourier import along, frequencies

Float = NDArray[np.float64]


class Basis:
    """Modes of a window.

    Parameters
    ----------
    rings : Rings
        Of the modes.
    squares : list of array
        Square of the frequency along each axis, rad/px: together they broadcast to the modes.
    """

    def __init__(self, rings: Rings, squares: list[Float]) -> None:
        self.rings = rings
        self.squares = squares
        # ring by ring, and those of no ring, the zero frequency at least, last
        self._sorted = np.argsort(rings.of_mode, kind="stable")
        self._starts = np.searchsorted(rings.of_mode[self._sorted], np.arange(rings.size + 1))

    def power(self, modes: Float) -> Float:
        """Mean square, ring by ring."""
        squares = np.square(modes.take(self._sorted))
        sums = np.add.reduceat(squares, self._starts, dtype=np.float64)
        return np.asarray(sums[:-1] / self.rings.count)

    def modes(self, field: Float) -> Float:
        """Of a field, which is lost, without its mean."""
        raise NotImplementedError

    def field(self, modes: Float) -> Float:
        """The field of some modes."""
        raise NotImplementedError


class Cosines(Basis):
    """Modes of a window with real edges, its samples `step` px apart."""

    def __init__(self, shape: tuple[int, ...], step: int) -> None:
        self._shape = shape
        squares = [
            along((np.pi * np.arange(n) / (n * step)) ** 2, axis, len(shape))
            for axis, n in enumerate(shape)
        ]
        super().__init__(cosine_rings(shape, step), squares)

    def modes(self, field: Float) -> Float:
        """Of a field, which is lost, without its mean."""
        found = np.asarray(scipy.fft.dctn(field, norm="ortho", overwrite_x=True)).ravel()
        found[0] = 0.0
        return found

    def field(self, modes: Float) -> Float:
        """The field of some modes."""
        return np.asarray(scipy.fft.idctn(modes.reshape(self._shape), norm="ortho"))


class Waves(Basis):
    """Modes of frames that wrap around: real and imaginary parts of half of the spectrum.

    The half holds some waves twice, with either sign: one of the two counts for nothing.
    """

    def __init__(self, shape: tuple[int, ...], step: int) -> None:
        self._shape, size = shape, float(np.prod(shape))
        self._half = half = (*shape[:-1], shape[-1] // 2 + 1)
        k = [np.broadcast_to(k / step, half) for k in frequencies(shape)]
        there = np.indices(half)
        opposite = np.stack([-i % n for i, n in zip(there, shape, strict=True)])
        held = opposite[-1] == there[-1]  # the half holds both
        number, other = (np.ravel_multi_index(tuple(i), shape) for i in (there, opposite))
        alone, dropped = number == other, held & (number > other)
        self._to = np.sqrt(np.where(alone, 1.0, 2.0) / size)
        # of what is held once in two places, the inverse transform takes the real part
        self._back = np.where(held & ~alone, 2.0, 1.0) / self._to
        self._to[dropped] = self._back[dropped] = self._to.flat[0] = 0.0
        parts = np.stack([~dropped, ~(dropped | alone)], axis=-1).astype(np.float64)
        squares = [np.repeat(axis.ravel() ** 2, 2) for axis in k]
        frequency = np.sqrt(np.sum(squares, axis=0)) / (2 * np.pi)
        super().__init__(Rings(frequency, parts.ravel()), squares)
        self._faded = self._to * np.prod([faded(axis * step) for axis in k], axis=0)
        self._narrow = self._faded.astype(np.float32)

    def modes(self, field: Float) -> Float:
        """Of a field, without its mean."""
        spectrum = np.asarray(scipy.fft.rfftn(field))
        return _real(spectrum * self._to.astype(field.dtype, copy=False))

    def moved(self, image: MovableImage, by: Float, factor: float) -> Float:
        """Of an image moved back by so many pixels, times a factor."""
        spectrum = image.moved(by, factor).spectrum
        spectrum *= self._narrow if spectrum.dtype == np.complex64 else self._faded
        return _real(spectrum)

    def field(self, modes: Float) -> Float:
        """The field of some modes."""
        spectrum = modes.view(np.result_type(modes.dtype, np.complex64)).reshape(self._half)
        spectrum = spectrum * self._back.astype(modes.dtype, copy=False)
        return np.asarray(scipy.fft.irfftn(spectrum, s=self._shape, overwrite_x=True))


def _real(spectrum: NDArray[np.complexfloating]) -> Float:
    """Real and imaginary parts, one after the other."""
    return np.ascontiguousarray(spectrum).view(spectrum.real.dtype).ravel()


@lru_cache(maxsize=2)
def basis_of(shape: tuple[int, ...], step: int, *, periodic: bool) -> Basis:
    """The modes of a window; those of the last windows are kept."""
    return Waves(shape, step) if periodic else Cosines(shape, step)
