"""The piece of scene that both images show, and how much each of its pixels counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.stages import NothingSharedError
from coregister.images import MIN_SIDE, Pair

Float = NDArray[np.float64]

#: samples dropped along the edges of the overlap, where the extension would be felt
MARGIN = 2
#: share of its length that a window may lose to one that transforms fast
TRIM = 0.02
#: pixels above which half of one does not matter
LONG = 128


@dataclass(frozen=True, kw_only=True)
class Window:
    """The piece of scene that both images show at a whole-pixel offset.

    Attributes
    ----------
    offset : (ndim,) int array
    start, moving_start : tuple of int
        Its first pixel in each image.
    shape : tuple of int
        Number of samples along each axis.
    step : int
        Pixels between them.
    phase : tuple of float
        What the first sample lies beyond `start`, 0 or 0.5 px: so that as much is dropped at one
        end as at the other.
    """

    offset: NDArray[np.int_]
    start: tuple[int, ...]
    moving_start: tuple[int, ...]
    shape: tuple[int, ...]
    step: int = 1
    phase: tuple[float, ...] = ()

    @classmethod
    def at(cls, pair: Pair, offset: Float, margin: int = MARGIN, step: int = 1) -> Window:
        """The overlap at the nearest whole-pixel offset, without `margin` samples at its edges.

        No transform is fast for every length: a little more is dropped where that helps.
        """
        whole = np.rint(offset).astype(int)
        shapes = [image.values.shape for image in pair.images]
        if pair.boundary == "periodic":
            start = (0,) * pair.ndim
            return cls(
                offset=whole,
                start=start,
                moving_start=tuple(int(d) for d in whole),
                shape=shapes[0],
            )
        starts, sizes, phases = [], [], []
        for d, n, m in zip(whole, *shapes, strict=True):
            first, last = max(0, -int(d)), min(n, m - int(d))
            drop = max(0, min(margin * step, (last - first - margin * step) // 4))
            left = last - first - 2 * drop
            size = fast_length(left) if step == 1 else fast_length(-(-left // step), parity=False)
            dropped, odd = divmod(left - (size - 1) * step - 1, 2)
            starts.append(first + drop + dropped)
            sizes.append(size)
            phases.append(odd / 2)
        return cls(
            offset=whole,
            start=tuple(starts),
            moving_start=tuple(s + int(d) for s, d in zip(starts, whole, strict=True)),
            shape=tuple(sizes),
            step=step,
            phase=tuple(phases),
        )

    def places(self, start: tuple[int, ...], shape: Sequence[int]) -> tuple[NDArray[np.int_], ...]:
        """Index of the window in an image of `shape` in which it begins at `start`."""
        return np.ix_(
            *((np.arange(n) + s) % m for n, s, m in zip(self.shape, start, shape, strict=True))
        )

    def of(self, values: NDArray[Any], start: tuple[int, ...], *, wrap: bool) -> NDArray[Any]:
        """The part of `values` in the window."""
        if wrap:
            return np.roll(values, [-s for s in start], axis=tuple(range(values.ndim)))
        step = self.step
        return values[
            tuple(slice(s, s + n * step, step) for s, n in zip(start, self.shape, strict=True))
        ]


def fast_length(length: int, *, parity: bool = True) -> int:
    """The longest length that transforms fast, if it is no shorter by more than `TRIM`.

    Parameters
    ----------
    length : int
    parity : bool
        Of a short one, take away even numbers only, so that no half pixel is left over.
    """
    shortest = int(np.ceil(length * (1 - TRIM)))
    # factors up to 5; of a long one up to 11, as others are several times slower
    for real in (True, False) if length >= LONG else (True,):
        for away in (2,) if parity and length < LONG else (2, 1):
            for shorter in range(length, shortest - 1, -away):
                if shorter == scipy.fft.next_fast_len(shorter, real=real):
                    return shorter
    return length


def pixel_weight(
    pair: Pair, window: Window, rims: tuple[Float | None, Float | None] = (None, None)
) -> Float | None:
    """1/sigma, 0 where either image has no valid pixel; None if all pixels count alike.

    Raises
    ------
    NothingSharedError
        If hardly a pixel is valid in both.
    """
    weight: Float | None = None
    wrap = pair.boundary == "periodic"
    starts = (window.start, window.moving_start)
    variances = [
        window.of(image.sigma, start, wrap=wrap) ** 2
        for image, start in zip(pair.images, starts, strict=True)
        if isinstance(image.sigma, np.ndarray)
    ]
    if variances:
        variance = np.sum(variances, axis=0)
        weight = np.sqrt(np.median(variance) / variance)
    more = [window.of(r, s, wrap=wrap) for r, s in zip(rims, starts, strict=True) if r is not None]
    if more:
        weight = (1.0 if weight is None else weight) / np.sqrt(1.0 + np.sum(more, axis=0))
    for image, start in zip(pair.images, starts, strict=True):
        if image.valid is not None:
            valid = window.of(image.valid, start, wrap=wrap)
            if not valid.all():
                weight = valid * (1.0 if weight is None else weight)
    if weight is not None and np.count_nonzero(weight) < MIN_SIDE:
        raise NothingSharedError
    return weight
