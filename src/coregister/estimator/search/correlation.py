"""Correlation of two images at every lag, and what they have in their overlap there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.fourier import along

Float = NDArray[np.float64]
#: index of a lag, one number an axis
Lag = tuple[int, ...]


def normalised_correlation(
    reference: Float,
    moving: Float,
    shape: list[int],
    energy: Float,
    null_energy: Float,
) -> tuple[Float, Float]:
    """Correlation at every lag, and the same with the reference flipped along its last axis.

    Flipping keeps the spectra and destroys the common content, unless the scene is symmetric.
    """
    first = scipy.fft.rfftn(reference, s=shape)
    second = scipy.fft.rfftn(moving, s=shape)
    correlation = scipy.fft.irfftn(np.conj(first) * second, s=shape, overwrite_x=True)
    null = scipy.fft.irfftn(flipped(first) * second, s=shape, overwrite_x=True)
    # lags of the flipped reference are counted from its last pixel
    null = np.roll(null, 1 - reference.shape[-1], axis=-1)
    return correlation / energy, null / null_energy


def flipped(spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Conjugate half spectrum of the array with its last axis reversed about index 0."""
    for axis in range(spectrum.ndim - 1):
        spectrum = np.roll(np.flip(spectrum, axis), 1, axis)
    return spectrum


def overlap_sums(
    values: Float, other: tuple[int, ...], shape: list[int], *, forward: bool
) -> Float:
    """Sums of `values` over its overlap with a rectangle of shape `other`, for every lag.

    Parameters
    ----------
    values : array
        Sampled at ``r`` (`forward`) or at ``r + d``.
    other : tuple of int
        Shape of the other image.
    shape : list of int
        Lags ``0..shape-1`` an axis, in the order of an FFT (negative ones wrapped).
    forward : bool
        True if ``d`` is counted from `values` to the other image.
    """
    total = values
    for axis, (n, m, full) in enumerate(zip(values.shape, other, shape, strict=True)):
        first, last = _overlapped(n, m, full, forward=forward)
        sums = _cumulative(total, axis)
        total = sums.take(last, axis=axis)
        total -= sums.take(first, axis=axis)
    return total


def overlap_counts(sizes: tuple[int, ...], other: tuple[int, ...], shape: list[int]) -> Float:
    """Pixels in the overlap of two rectangles, for every lag in the order of an FFT."""
    count: Float = np.ones((1,) * len(shape))
    for axis, (n, m, full) in enumerate(zip(sizes, other, shape, strict=True)):
        first, last = _overlapped(n, m, full, forward=True)
        count = count * along((last - first).astype(np.float64), axis, len(shape))
    return count


def _overlapped(
    n: int, m: int, full: int, *, forward: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First index, and one beyond the last, of `n` pixels that `m` others cover at each lag."""
    lag = _lags(full, m) if forward else -_lags(full, n)
    first = np.clip(-lag, 0, n)
    return first, np.maximum(np.clip(m - lag, 0, n), first)


def _cumulative(values: Float, axis: int) -> Float:
    """Sums of the first 0, 1, 2, ... values along an axis."""
    sizes = list(values.shape)
    sizes[axis] += 1
    sums = np.zeros(sizes)
    lines, rows = np.moveaxis(sums, axis, 0), np.moveaxis(values, axis, 0)
    if axis == values.ndim - 1:
        np.cumsum(values, axis=axis, out=np.moveaxis(lines[1:], 0, axis))
    else:  # row after row: numpy would jump from row to row for every column
        for index, row in enumerate(rows):
            np.add(lines[index], row, out=lines[index + 1])
    return sums


def signed_lags(shape: Sequence[int], ahead: Sequence[int] | None = None) -> list[Float]:
    """Lag of every sample along each axis of a circular correlation.

    Parameters
    ----------
    shape : sequence of int
    ahead : sequence of int, optional
        How many of them are 0 or more; half if not given. As many as the moving image has samples,
        if none but those with overlap count: a small image in a large one has more on one side.
    """
    ahead = [(n + 1) // 2 for n in shape] if ahead is None else ahead
    return [
        along(_lags(n, m).astype(np.float64), axis, len(shape))
        for axis, (n, m) in enumerate(zip(shape, ahead, strict=True))
    ]


def _lags(full: int, ahead: int) -> NDArray[np.intp]:
    """Lags along an axis, 0 or more at first, then those below."""
    lag = np.arange(full)
    lag[ahead:] -= full
    return lag


def vertex(values: Float, peak: Sequence[int | np.intp]) -> Float:
    """Where the parabolas through a peak and its neighbours are highest, in samples from it."""
    shift = np.zeros(values.ndim)
    for axis, n in enumerate(values.shape):
        line = values[tuple(slice(None) if a == axis else i for a, i in enumerate(peak))]
        before, here, after = (float(line[(peak[axis] + d) % n]) for d in (-1, 0, 1))
        curvature = 2 * here - before - after
        if curvature > 0:
            shift[axis] = min(max((after - before) / (2 * curvature), -0.5), 0.5)
    return shift


def around(lag: Lag, shape: tuple[int, ...], reach: int) -> tuple[NDArray[np.intp], ...]:
    """Indices of the lags at most `reach` samples away along each axis."""
    return np.ix_(
        *(np.arange(i - reach, i + reach + 1) % n for i, n in zip(lag, shape, strict=True))
    )


def summit(
    height: Callable[[tuple[NDArray[np.intp], ...]], Float], lag: Lag, shape: tuple[int, ...]
) -> Lag:
    """Where the steepest way uphill ends, from lag to lag."""
    while True:
        heights = height(around(lag, shape, 1))
        highest = np.unravel_index(int(np.argmax(heights)), heights.shape)
        if heights[highest] <= heights[(1,) * len(shape)]:
            return lag
        lag = tuple((i + int(step) - 1) % n for i, step, n in zip(lag, highest, shape, strict=True))
