"""An image of which a window at any sub-pixel position can be taken: its spectrum, kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.fourier import along, frequencies

Float = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

#: samples by which an image is extended on every side before it is moved
EXTENSION = 16
#: how much coarser the first look at a pair may be
COARSER = 4
#: frequencies (cycles/px) between which the shift fades out: its kernel stays compact, and the
#: noise that it passes does not depend on the shift
FADE = (0.42, 0.5)


def faded(k: Float) -> Float:
    """What a shift leaves of an amplitude at angular frequency `k` along one axis."""
    low, high = FADE
    return np.asarray(
        np.cos(np.pi / 2 * np.clip((np.abs(k) / (2 * np.pi) - low) / (high - low), 0, 1)) ** 2
    )


@lru_cache(maxsize=16)
def _waves(shape: tuple[int, ...], step: int) -> tuple[tuple[Float, ...], tuple[Float, ...]]:
    """Angular frequencies (rad/px) that samples `step` px apart hold, one array an axis.

    And what a shift leaves of each. They serve all images of one shape: nothing may change them.
    """
    waves = tuple(k / step for k in frequencies(shape))
    return waves, tuple(faded(k * step) for k in waves)


class MovableImage:
    """An image of which a window at any sub-pixel position can be taken.

    Parameters
    ----------
    data : array
        No holes: see `coregister.estimator.fill`.
    periodic : bool
        The image continues at its other side, and windows wrap around.
    amplitude : callable, optional
        Amplitude factor against frequency (cycles/px), applied before anything is cut.
    step : int
        Pixels between the samples that are taken: frequencies too high for them are left out.
    single : bool
        Single precision: half the time and half the memory.
    level : float, optional
        Mean of the data, if it is known.
    """

    def __init__(
        self,
        data: Float,
        *,
        periodic: bool,
        amplitude: Callable[[Float], Float] | None = None,
        step: int = 1,
        single: bool = False,
        level: float | None = None,
    ) -> None:
        self.level = float(np.mean(data)) if level is None else level
        self.size = data.shape
        self._periodic = periodic
        self._pad = [0 if periodic else min(EXTENSION * step, n - 1) for n in data.shape]
        unit = step * COARSER
        self._shape = [
            n if periodic else unit * scipy.fft.next_fast_len(-(-(n + 2 * p) // unit), real=True)
            for n, p in zip(data.shape, self._pad, strict=True)
        ]
        self._real = np.dtype(np.float32 if single else np.float64)
        extended: Float = np.empty(self._shape, self._real)
        self._inside = tuple(slice(p, p + n) for p, n in zip(self._pad, data.shape, strict=True))
        # what was subtracted in double precision loses nothing in single precision
        np.subtract(data, self.level, out=extended[self._inside])
        if not periodic:
            self._extend(extended)
        spectrum: Complex = scipy.fft.rfft(extended, axis=-1, overwrite_x=True)
        if step > 1:  # what is too high for the samples is not transformed any further
            spectrum = spectrum[..., : self._shape[-1] // step // 2 + 1]
        for axis in range(data.ndim - 1):
            # a part is not overwritten: it comes out in one piece
            spectrum = scipy.fft.fft(spectrum, axis=axis, overwrite_x=step == 1 or axis > 0)
        self._spectrum = spectrum
        self.step = 1
        if amplitude is not None:
            *rest, last = frequencies(self._shape)
            waves = [*rest, last[..., : spectrum.shape[-1]]]
            radius = np.sqrt(sum(k**2 for k in waves)) / (2 * np.pi)
            self._spectrum *= amplitude(np.asarray(radius)).astype(self._real, copy=False)
        if step > 1:
            self._coarsen(step)
        self._k, self._fade = _waves(tuple(self._shape), self.step)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values in its windows."""
        return self._real

    @property
    def spectrum(self) -> Complex:
        """Half spectrum of the image, its level taken out, extended beyond its edges."""
        return self._spectrum

    @property
    def extended(self) -> tuple[int, ...]:
        """Shape of the extended image."""
        return tuple(self._shape)

    @property
    def margins(self) -> tuple[int, ...]:
        """Where in it the image begins."""
        return tuple(self._pad)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self._spectrum.nbytes)

    def coarser(self, factor: int) -> MovableImage:
        """The same image, its samples further apart by `factor`; not of a periodic one."""
        other = copy.copy(self)
        other._coarsen(factor)
        return other

    def moved(self, by: Float, factor: float) -> MovableImage:
        """Its content moved back `by` so many pixels, times a factor: ready to be added up."""
        dtype = self._spectrum.dtype
        ramps = [np.exp(1j * k * f) for k, f in zip(self._k, by, strict=True)]
        other = copy.copy(self)
        other._spectrum = self._spectrum * (factor * ramps[0]).astype(dtype, copy=False)
        for ramp in ramps[1:]:
            other._spectrum *= ramp.astype(dtype, copy=False)
        return other

    def plus(self, image: MovableImage) -> MovableImage:
        """The sum of two of one shape, in double precision."""
        other = copy.copy(self)
        other._spectrum = np.add(self._spectrum, image._spectrum, dtype=np.complex128)
        other._real = np.dtype(np.float64)
        return other

    def _coarsen(self, factor: int) -> None:
        """Keep the frequencies that samples further apart by `factor` can hold."""
        self.step *= factor
        self._shape = [n // factor for n in self._shape]
        *rest, last = self._shape
        kept: Complex = np.empty((*rest, last // 2 + 1), self._spectrum.dtype)
        scale = self._real.type(1.0 / factor ** len(self._shape))
        # along each axis but the last the low frequencies of either sign
        for signs in product(*([slice(0, n - n // 2), slice(-(n // 2), None)] for n in rest)):
            corner = (*signs, slice(0, last // 2 + 1))
            np.multiply(self._spectrum[corner], scale, out=kept[corner])
        self._spectrum = kept
        self._k, self._fade = _waves(tuple(self._shape), self.step)

    def _extend(self, extended: Float) -> None:
        """A point reflection continues value and slope; it then fades to the mean."""
        known = list(self._inside)
        for axis, (n, before) in enumerate(zip(self.size, self._pad, strict=True)):
            known[axis] = slice(None)
            lines = np.moveaxis(extended[tuple(known)], axis, 0)
            first, last, full = before, before + n, len(lines)
            while first > 0 or last < full:  # more than once where the image is shorter
                most = (last - first - 1) // (n - 1) * (n - 1)
                left, right = min(first, most), min(full - last, most)
                start, stop = first - left, last + right
                lines[start:first] = 2 * lines[first] - lines[first + 1 : first + 1 + left][::-1]
                lines[last:stop] = 2 * lines[last - 1] - lines[last - 1 - right : last - 1][::-1]
                first, last = start, stop
            for rim in (lines[:before], lines[: before + n - 1 : -1]):
                rising = np.sin(np.pi / 2 * (np.arange(len(rim)) + 0.5) / len(rim)) ** 2
                rim *= along(rising, 0, rim.ndim).astype(self._real, copy=False)

    def window(
        self,
        start: Sequence[int],
        shape: Sequence[int],
        fraction: Float,
        *,
        gradient: bool = False,
        each: Callable[[Float], Float] | None = None,
    ) -> list[Float]:
        """Values at ``start + fraction + step * index``, and the derivatives if asked.

        With `each` that is done to every field, one after the other, to save memory. The fields
        are parts of larger arrays.
        """
        corners = [divmod(s + p, self.step) for s, p in zip(start, self._pad, strict=True)]
        first = [corner for corner, _ in corners]
        complex_type = self._spectrum.dtype
        last = len(shape) - 1
        moved: Complex | None = None
        for k, f, fade, (_, rest) in zip(self._k, fraction, self._fade, corners, strict=True):
            ramp = (fade * np.exp(1j * k * (f + rest))).astype(complex_type, copy=False)
            moved = self._spectrum * ramp if moved is None else np.multiply(moved, ramp, out=moved)
        turns = [(1j * k).astype(complex_type, copy=False) for k in self._k]

        def fields(values: Complex, axis: int, derive: bool) -> Iterator[Float]:
            """The derivatives if asked, and the field last; each axis is cut before the next."""
            if axis < last:
                if derive:
                    turned = self._rows(values * turns[axis], axis, first, shape)
                    yield from fields(turned, axis + 1, False)
                yield from fields(self._rows(values, axis, first, shape), axis + 1, derive)
                return
            field = self._columns(values, first[-1], shape[-1])
            field = field if each is None else each(field)
            if derive:
                values *= turns[last]
                slope = self._columns(values, first[-1], shape[-1])
                yield slope if each is None else each(slope)
            yield field

        assert moved is not None
        *slopes, field = fields(moved, 0, gradient)
        return [field, *slopes]

    def _rows(
        self, spectrum: Complex, axis: int, start: Sequence[int], shape: Sequence[int]
    ) -> Complex:
        """Inverse transform along an axis but the last, cut to the window; the spectrum is lost."""
        rows = scipy.fft.ifft(spectrum, axis=axis, overwrite_x=True)
        if self._periodic:
            return np.roll(rows, -start[axis], axis)
        window = slice(start[axis], start[axis] + shape[axis])
        return np.asarray(rows[(slice(None),) * axis + (window,)])

    def _columns(self, rows: Complex, start: int, length: int) -> Float:
        """Inverse transform along the last axis, cut to the window."""
        field = scipy.fft.irfft(rows, n=self._shape[-1], axis=-1)
        if self._periodic:
            return np.roll(field, -start, axis=-1)
        return np.asarray(field[..., start : start + length])
