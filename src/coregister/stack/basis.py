"""The modes in which the frames of a window are compared: real numbers, orthonormal, by frequency.

Those of a window with real edges are cosines; those of frames that wrap around are waves, in which
a frame can be moved without going back to its pixels.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.movable import MovableImage, faded
from coregister.estimator.rings import Rings, cosine_rings, cosine_waves
from coregister.fourier import along, frequencies

Float = NDArray[np.float64]

#: modes above which they are not sorted by ring
MANY = 2**20


class Basis:
    """Modes of a window.

    Parameters
    ----------
    shape : tuple of int
        Of the modes, which are held flat.
    rings : Rings
        Of them.
    squares : list of array
        Square of the frequency along each axis, rad/px: they broadcast to the shape.
    """

    #: modes of which a wave is made, side by side
    parts = 1

    def __init__(self, shape: tuple[int, ...], rings: Rings, squares: list[Float]) -> None:
        self.shape = shape
        self.rings = rings
        self.squares = squares

    @cached_property
    def _by_ring(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Waves sorted by ring, those of none last, and where each ring begins."""
        # a part that counts for nothing is of no ring
        ring = self.rings.of_mode.reshape(-1, self.parts).min(axis=1)
        order = np.argsort(ring, kind="stable")
        return order, np.searchsorted(ring[order], np.arange(self.rings.size + 1))

    def power(self, modes: Float) -> Float:
        """Mean square, ring by ring."""
        if modes.size > MANY:  # to sort them takes more memory than it saves time
            return self.rings.mean(modes * modes)
        order, starts = self._by_ring
        squares = np.square(modes)
        if self.parts == 2:
            squares = squares[::2] + squares[1::2]
        sums = np.add.reduceat(squares.take(order), starts, dtype=np.float64)
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
        waves = cosine_waves(shape, step)
        squares = [along(k**2, axis, len(shape)) for axis, k in enumerate(waves)]
        super().__init__(shape, cosine_rings(shape, step), squares)

    def modes(self, field: Float) -> Float:
        """Of a field, which is lost, without its mean."""
        found = np.asarray(scipy.fft.dctn(field, norm="ortho", overwrite_x=True)).ravel()
        found[0] = 0.0
        return found

    def field(self, modes: Float) -> Float:
        """The field of some modes."""
        return np.asarray(scipy.fft.idctn(modes.reshape(self.shape), norm="ortho"))


class Waves(Basis):
    """Modes of frames that wrap around: real and imaginary parts of half of the spectrum.

    The half holds some waves twice, with either sign: one of the two counts for nothing.
    """

    parts = 2

    def __init__(self, shape: tuple[int, ...], step: int) -> None:
        self._field, size = shape, int(np.prod(shape))
        *rest, last = shape
        self._half = half = (*rest, last // 2 + 1)
        self._scale = np.sqrt(2 / size)
        # the planes of the half that hold both signs, what counts there, and what has no phase
        self._planes = [0] if last % 2 else [0, last // 2]
        number = np.arange(size // last).reshape(rest)
        opposite = number
        for axis, n in enumerate(rest):
            opposite = opposite.take(-np.arange(n) % n, axis)
        self._factor = np.where(number == opposite, np.sqrt(0.5), 1.0) * (number <= opposite)
        # of what is held once, the inverse transform takes the real part
        self._back = np.where(number == opposite, np.sqrt(2.0), 2.0) * (number <= opposite)
        counts = np.ones((*half, 2))
        for plane in self._planes:
            counts[..., plane, 0] = number <= opposite
            counts[..., plane, 1] = number < opposite
        self._k = k = [k / step for k in frequencies(shape)]
        frequency = np.sqrt(sum(axis**2 for axis in k)) / (2 * np.pi)
        rings = Rings(np.repeat(frequency, 2, axis=-1), counts.reshape(*rest, -1))
        super().__init__((*half, 2), rings, [axis[..., None] ** 2 for axis in k])
        self._fade = [faded(axis * step) for axis in k]

    def modes(self, field: Float) -> Float:
        """Of a field, without its mean."""
        spectrum: Any = scipy.fft.rfftn(field)
        spectrum *= spectrum.real.dtype.type(self._scale)
        return self._of_spectrum(spectrum)

    def with_slopes(self, image: MovableImage) -> Float:
        """Of an image, and of its derivatives: (1 + ndim, n)."""
        spectrum: Any = image.spectrum * (self._scale * self._fade[0])
        for fade in self._fade[1:]:
            spectrum *= fade
        slopes = [spectrum * (1j * k) for k in self._k]
        return np.stack([self._of_spectrum(s) for s in (spectrum, *slopes)])

    def moved(self, image: MovableImage, by: Float, factor: float) -> Float:
        """Of an image moved back by so many pixels, times a factor."""
        ramps = [
            fade * np.exp(1j * k * shift)
            for k, fade, shift in zip(self._k, self._fade, by, strict=True)
        ]
        ramps[0] *= factor * self._scale
        kind = image.spectrum.dtype
        spectrum: Any = image.spectrum * ramps[0].astype(kind, copy=False)
        for ramp in ramps[1:]:
            spectrum *= ramp.astype(kind, copy=False)
        return self._of_spectrum(spectrum)

    def _of_spectrum(self, spectrum: NDArray[Any]) -> Float:
        """The same of a half spectrum to scale, which is lost."""
        for plane in self._planes:
            spectrum[..., plane] *= self._factor
        spectrum[(0,) * spectrum.ndim] = 0.0
        return np.asarray(spectrum.view(spectrum.real.dtype)).ravel()

    def field(self, modes: Float) -> Float:
        """The field of some modes."""
        parts = modes * modes.dtype.type(1 / self._scale)
        spectrum = parts.view(np.result_type(modes.dtype, np.complex64)).reshape(self._half)
        for plane in self._planes:
            spectrum[..., plane] *= self._back
        return np.asarray(scipy.fft.irfftn(spectrum, s=self._field, overwrite_x=True))


@lru_cache(maxsize=2)
def basis_of(shape: tuple[int, ...], step: int, *, periodic: bool) -> Basis:
    """The modes of a window; those of the last windows are kept."""
    return Waves(shape, step) if periodic else Cosines(shape, step)
