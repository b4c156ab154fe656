"""Hot pixels and cosmic rays of a frame, told by itself: as for a pair, but in one pass.

A pixel that exceeds all around it exceeds both its neighbours along the first axis: where it does
not, nothing else is asked.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.fill import NOISE_SAMPLE, SPIKE_SIGMA, Suspects, spikes

#: pixels that are looked at in one go: they stay in the processor's cache
BLOCK = 2**16


def struck(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels far above or below all around them; see `coregister.estimator.fill.spikes`."""
    noise = noise_beside(values)
    return spikes(values, Suspects(noise, _out_of_line(values, SPIKE_SIGMA / 2 * noise)))


@lru_cache(maxsize=4)
def _sample(shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number of some pixels in the flat frame, and of those around each, mirrored at the edges."""
    size = int(np.prod(shape))
    some = np.linspace(0, size - 1, min(size, NOISE_SAMPLE)).astype(np.intp)
    cube = np.indices((3,) * len(shape)).reshape(len(shape), -1) - 1
    beside = cube[:, cube.any(axis=0)]
    around = []
    for place, step, n in zip(np.unravel_index(some, shape), beside, shape, strict=True):
        mirrored = np.abs(place + step[:, None])
        around.append(np.minimum(mirrored, 2 * (n - 1) - mirrored))
    return some, np.ravel_multi_index(tuple(around), shape)


def noise_beside(values: NDArray[Any]) -> float:
    """Scatter of pixels about the median of those around them."""
    middle, around = _sample(values.shape)
    flat = values.reshape(-1)
    # taken neighbour by neighbour, in which order pixels follow each other in memory
    ring = np.sort(flat.take(around).T, axis=1)
    half = len(around) // 2
    apart = np.abs(flat.take(middle) - (ring[:, half - 1] + ring[:, half]) / 2)
    ends = (apart.size - 1) // 2, apart.size // 2
    # the median, for a third of the time: nothing here is no number
    return float(np.partition(apart, ends)[list(ends)].mean()) / 0.6745


def _out_of_line(values: NDArray[Any], limit: float) -> tuple[NDArray[np.intp], ...]:
    """Pixels above or below both their neighbours along the first axis by more than `limit`.

    At the edges both neighbours are one.
    """
    if limit == 0.0:
        return tuple(np.empty((values.ndim, 0), dtype=np.intp))
    flat, line = values.reshape(-1), values.size // len(values)
    edges = [
        np.flatnonzero(np.abs(values[end] - values[beside]) > limit) + place
        for end, beside, place in ((0, 1, 0), (-1, -2, values.size - line))
    ]
    found = edges[:1]
    rows = max(1, BLOCK // line)
    changes, products = (np.empty(size, values.dtype) for size in ((rows + 1) * line, rows * line))
    for start in range(1, len(values) - 1, rows):
        stop = min(start + rows, len(values) - 1)
        block = flat[(start - 1) * line : (stop + 1) * line]
        size = block.size - line
        change = np.subtract(block[line:], block[:-line], out=changes[:size])
        # large and negative at a peak; in its own place, or numpy would copy what overlaps
        both = np.multiply(change[:-line], change[line:], out=products[: size - line])
        if both.min() >= -(limit**2):
            continue
        some = np.flatnonzero(both < -(limit**2)) + start * line
        # few, most of which exceed one of both by little
        least = [np.abs(flat[some] - flat[some + step]) > limit for step in (-line, line)]
        found.append(some[least[0] & least[1]])
    return np.unravel_index(np.concatenate([*found, *edges[1:]]), values.shape)
