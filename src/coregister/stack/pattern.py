"""A pattern of the detector: what is left over of many frames, added up at its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import DTypeLike, NDArray

from coregister.stack.bench import Common

Float = NDArray[np.float64]


class Canvas:
    """What is left over of many frames, added up at the pixels of the detector.

    A pattern on the detector adds up there: it stays where the scene moves. So does a scene that
    changes while it hardly moves, and frames that stand twice in a stack. These add up as much
    where every frame is moved the other way, the mirror: only what the detector has beyond that
    is a pattern. Where nothing moves both are the same, and nothing tells it from the scene.

    Parameters
    ----------
    common : Common
    dtype : numpy dtype
        Of the sums: single precision will do for a few frames.
    """

    def __init__(self, common: Common, dtype: DTypeLike = np.float64) -> None:
        starts = common.starts // common.step
        self._starts = [starts - starts.min(axis=0), starts.max(axis=0) - starts]
        self._shape = common.shape
        size = (2, *(np.array(common.shape) + self._starts[0].max(axis=0)))
        self.total: NDArray[Any] = np.zeros(size, dtype)
        self.added = np.zeros(len(starts))

    def _place(self, which: int, row: int) -> tuple[slice, ...]:
        corner = zip(self._starts[which][row], self._shape, strict=True)
        return tuple(slice(s, s + n) for s, n in corner)

    def add(self, row: int, left: Float) -> None:
        """One more frame."""
        for which, total in enumerate(self.total):
            total[self._place(which, row)] += left
        self.added[row] += 1

    def plus(self, other: Canvas) -> None:
        """More of them."""
        self.total += other.total
        self.added += other.added

    def chance(self) -> float:
        """Probability that so much more adds up at the detector than in the mirror.

        The squares that a frame, or frames that start at one place, have with themselves are the
        same in both and cancel. The scatter of a sum of squares is that of the mirror, whatever
        its spectrum: twice the sum of the squared powers of its modes.
        """
        from scipy.special import ndtr

        size = self.total[0].size
        excess = float(np.sum(self.total[0] ** 2) - np.sum(self.total[1] ** 2))
        if excess <= 0:
            return 1.0
        spectrum = scipy.fft.rfftn(self.total[1], norm="ortho")
        squares = (spectrum.real**2 + spectrum.imag**2) ** 2
        last = self.total.shape[-1]
        twice = slice(1, (last + 1) // 2)  # waves along the last axis of which half is held
        power = float(np.sum(squares) + np.sum(squares[..., twice]))
        count = self._count()
        uneven = size * np.sum(count**2) / np.sum(count) ** 2
        scatter = np.sqrt(2 * uneven * power)
        return float(ndtr(-excess / max(scatter, 1e-300)))

    def _count(self) -> Float:
        """How often something was added to each pixel of the mirror: the sums of its corners."""
        count: Float = np.zeros([n + 1 for n in self.total[1].shape])
        for corner in np.ndindex(*(2,) * len(self._shape)):
            at = self._starts[1] + np.multiply(corner, self._shape)
            np.add.at(count, tuple(at.T), (-1) ** sum(corner) * self.added)
        for axis in range(count.ndim):
            count = count.cumsum(axis)
        return count[(slice(-1),) * count.ndim]
