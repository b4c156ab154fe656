"""Where the two windows of a pair lie in the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the two windows lie in the scene."""

    start: tuple[int, ...]  # first pixel of both windows in the scene's own pixels
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    coarse: tuple[int, ...]  # of the scene, in pixels of the images
    binning: int
    offset: Float
    periodic: bool

    @property
    def whole(self) -> NDArray[np.int_]:
        """The offset to the nearest pixel."""
        return np.rint(self.offset).astype(int)

    def binned(self, scene: Float) -> Float:
        """The whole scene in pixels of the images, beginning where the windows begin."""
        axes = tuple(range(scene.ndim))
        rolled = np.roll(scene, [-s for s in self.start], axis=axes)
        if self.binning == 1:
            return rolled
        blocks = [side for n in self.coarse for side in (n, self.binning)]
        return np.asarray(rolled.reshape(blocks).mean(axis=tuple(2 * a + 1 for a in axes)))

    def cut(self, scene: Float, which: int) -> Float:
        """Window of reference (0) or moving (1)."""
        return self.binned(scene)[tuple(slice(n) for n in self.shapes[which])]

    def overlap(self) -> tuple[slice, ...]:
        """What moving shows too, in pixels of the reference."""
        if self.periodic:
            return tuple(slice(0, n) for n in self.coarse)
        return tuple(
            slice(max(0, int(np.ceil(-d))), min(n, int(np.floor(m - d))))
            for n, m, d in zip(*self.shapes, self.offset, strict=True)
        )

    def moved(self, values: NDArray[Any], overlap: tuple[slice, ...]) -> NDArray[Any]:
        """Values of moving at the pixels of the overlap, to the nearest pixel."""
        rows = [
            (np.arange(s.start, s.stop) + d) % m
            if self.periodic
            else np.clip(np.arange(s.start, s.stop) + d, 0, m - 1)
            for s, d, m in zip(overlap, self.whole, self.shapes[1], strict=True)
        ]
        return np.asarray(values[np.ix_(*rows)])

    def both(self, valid: tuple[Any, Any], overlap: tuple[slice, ...]) -> NDArray[np.bool_]:
        """Pixels of the overlap that are usable in both."""
        return np.asarray(valid[0][overlap] & self.moved(valid[1], overlap))
