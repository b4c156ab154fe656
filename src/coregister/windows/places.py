"""Where the windows lie, and what is cut from the images there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.estimator.movable import EXTENSION
from coregister.images import MIN_SIDE, in_pixels

Float = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Windows of the reference.

    Attributes
    ----------
    image : (n,) array of int
        Number of the image that each is in.
    start : (n, 2) array of int
        Its first pixel.
    size : (2,) tuple of int
        Shape of all.
    shape : tuple of int
        Of the grid that they form.
    """

    image: Ints
    start: Ints
    size: tuple[int, int]
    shape: tuple[int, ...]

    @property
    def centers(self) -> Float:
        """Middle of each, (n, 2)."""
        return np.asarray(self.start + (np.array(self.size) - 1) / 2)


def pixels(value: ArrayLike, name: str) -> tuple[int, int]:
    """One or two whole numbers of pixels above 0, an axis each."""
    array = np.asarray(in_pixels(value, name))
    whole = array.dtype.kind in "iuf" and array.size in (1, 2) and np.all(array == np.rint(array))
    if not whole or array.ndim > 1 or not np.all(array > 0):
        raise InputError(
            f"{name}={value!r} is not understood; give a whole number of pixels above 0, or two"
        )
    first, second = np.broadcast_to(array.ravel(), 2)
    return int(first), int(second)


def on_grid(shape: tuple[int, ...], size: tuple[int, int], step: tuple[int, int]) -> Places:
    """As many windows as fit, `step` pixels apart, what is left over shared by both ends."""
    _check_size(shape, size)
    lines = []
    for n, s, d in zip(shape, size, step, strict=True):
        count = (n - s) // d + 1
        lines.append((n - s - (count - 1) * d) // 2 + d * np.arange(count))
    start = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    return Places(
        image=np.zeros(len(start), dtype=np.intp),
        start=start.astype(np.intp),
        size=size,
        shape=(len(lines[0]), len(lines[1])),
    )


def around(centers: ArrayLike, shape: tuple[int, ...], size: tuple[int, int]) -> Places:
    """Windows around given points, at the nearest whole pixels."""
    _check_size(shape, size)
    points = np.asarray(centers, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not (points.size and np.isfinite(points).all()):
        raise InputError(
            f"centers have shape {points.shape}; finite values of shape (n, 2), one row at least, "
            "are needed: row and column of the middle of each window"
        )
    start = np.rint(points - (np.array(size) - 1) / 2).astype(np.intp)
    outside = np.any((start < 0) | (start + size > shape), axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"the window around centers[{first}] = {points[first].tolist()} leaves the reference "
            f"of shape {shape[0]} x {shape[1]}; keep centers half a window from its edges, or "
            "make size smaller"
        )
    image = np.zeros(len(start), dtype=np.intp)
    return Places(image=image, start=start, size=size, shape=(len(start),))


def _check_size(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    if min(size) < MIN_SIDE or any(s > n for s, n in zip(size, shape, strict=True)):
        raise InputError(
            f"windows of {size[0]} x {size[1]} do not suit an image of shape "
            f"{shape[0]} x {shape[1]}: give a size from {MIN_SIDE} up to that of the image"
        )


def overlaps(places: Places, some: NDArray[np.bool_]) -> float:
    """How many of some windows show what one of them does, itself included; 1 if none overlap."""
    start, size = places.start[some], np.array(places.size)
    if places.image.any():  # cut already: nobody knows where from
        return 1.0
    shown = np.zeros(start.max(axis=0) + size + 1, dtype=np.intp)
    for corner, sign in (((0, 0), 1), ((0, 1), -1), ((1, 0), -1), ((1, 1), 1)):
        np.add.at(shown, tuple((start + size * corner).T), sign)
    np.cumsum(shown, axis=0, out=shown)
    np.cumsum(shown, axis=1, out=shown)
    return float(np.sum(shown**2) / np.sum(shown))


class Cutter:
    """Images continued beyond their edges, from which windows are cut.

    Parameters
    ----------
    images : (k, rows, columns) array
    margin : int
        Pixels by which windows may leave them.

    Attributes
    ----------
    unit : float
        By which their values are divided.
    """

    def __init__(self, images: Float, margin: int) -> None:
        self.shape = images.shape[1:]
        level = images.mean(axis=(1, 2), keepdims=True)
        reach = [min(EXTENSION, n - 1) for n in self.shape]
        centred = images - level
        # a unit of its own: powers of very large and very small values are no numbers
        self.unit = max(float(np.abs(centred).max()), 1e-300)
        centred /= self.unit
        self._margin = max(margin, *reach)
        wide = [n + 2 * self._margin for n in self.shape]
        self._data = np.zeros((len(images), *wide))
        where = [slice(self._margin, self._margin + n) for n in self.shape]
        self._data[:, where[0], where[1]] = centred
        self._continue(self._data[:, :, where[1]], reach[0])
        whole = slice(where[0].start - reach[0], where[0].stop + reach[0])
        self._continue(self._data[:, whole].swapaxes(1, 2), reach[1])

    def _continue(self, data: Float, reach: int) -> None:
        """Turn the ends along the first of two axes by half a turn, and fade them out."""
        first, stop = self._margin, data.shape[1] - self._margin
        fade = np.sin(np.pi / 2 * (np.arange(reach) + 0.5) / reach) ** 2
        before, after = data[:, first - reach : first], data[:, stop : stop + reach]
        mirrored = data[:, first + reach : first : -1]
        before[...] = (2 * data[:, first : first + 1] - mirrored) * fade[:, None]
        mirrored = data[:, stop - 2 : stop - 2 - reach : -1]
        after[...] = (2 * data[:, stop - 1 : stop] - mirrored) * fade[::-1, None]

    def cut(self, image: Ints, start: Ints, shape: tuple[int, ...]) -> Float:
        """Windows that begin at `start`: (n, *shape)."""
        views = sliding_window_view(self._data, shape, axis=(1, 2))
        rows, columns = (start + self._margin).T
        return np.asarray(views[image, rows, columns])


def counts(marked: NDArray[np.bool_], image: Ints, start: Ints, shape: tuple[int, int]) -> Ints:
    """Pixels of windows that are marked; those beyond the edges are not."""
    sums = np.zeros((len(marked), marked.shape[1] + 1, marked.shape[2] + 1), dtype=np.intp)
    np.cumsum(np.cumsum(marked, axis=1), axis=2, out=sums[:, 1:, 1:])
    first = np.clip(start, 0, marked.shape[1:])
    last = np.clip(start + shape, 0, marked.shape[1:])
    return np.asarray(
        sums[image, last[:, 0], last[:, 1]]
        - sums[image, first[:, 0], last[:, 1]]
        - sums[image, last[:, 0], first[:, 1]]
        + sums[image, first[:, 0], first[:, 1]]
    )
