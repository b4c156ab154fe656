"""Images rounded to few levels, with too little noise for the rounding to average out.

Rounding is harmless where noise carries values across the levels: it then adds noise, which the
bars see. Without noise it moves every contour by an amount that the scene decides, alike in
neighbouring pixels and partly alike in both images, and no residual tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coregister.images import Image
from coregister.products import dot

Float = NDArray[np.float64]

#: pixels that are looked at together
BLOCK = 2**15
#: share of neighbours on one level above which contours are lines, with pixels between them
MOST_EQUAL = 0.5
#: and share in one of so many rows that tells that there are far fewer
FEW_EQUAL, STRIDE = 0.25, 13
#: share of the changes that go straight back, above which noise crosses the levels: a half where
#: single pixels stand out, a third in plain noise, none along a contour
FLICKER = 0.2
#: share of the energy of all changes in units of one level that single levels would have, below
#: which the scene's own steps are so high that rounding does not count
COARSE = 0.05


def coarsely_rounded(image: Image) -> bool:
    """True if the values stand on few levels and noise does not carry them across.

    Parameters
    ----------
    image : Image
    """
    if not all(_level(image, axis) for axis in range(image.values.ndim)):
        return False
    changes = turns = equal = 0
    energy, step = 0.0, np.inf
    for axis in range(image.values.ndim):
        slopes = np.diff(image.data, axis=axis)
        if image.valid is not None:
            slopes = np.where(_both(image.valid, axis), slopes, np.nan)
        count = int(np.count_nonzero(slopes == 0))
        some = slopes[np.abs(slopes) > 0]
        equal += count
        changes += some.size
        if some.size:
            sizes = np.abs(some)
            step = min(step, float(sizes.min()))
            energy += dot(sizes, sizes)
        turns += int(np.count_nonzero(_forth(slopes, axis) < 0))
    if changes == 0 or step**2 * changes < COARSE * energy:
        return False
    likely = FLICKER * changes + 2 * np.sqrt(FLICKER * (1 - FLICKER) * changes)
    return bool(turns < likely)


def _level(image: Image, axis: int) -> bool:
    """True if most neighbours along an axis stand on one level."""
    lines = image.values.swapaxes(axis, 0)
    valid = None if image.valid is None else image.valid.swapaxes(axis, 0)
    whole = (len(lines) - 1) * (lines.size // len(lines))
    if valid is not None:
        whole = int(np.count_nonzero(valid[1:] & valid[:-1]))
    few = lines[:-1:STRIDE], lines[1::STRIDE]
    if valid is None and np.count_nonzero(few[0] == few[1]) < FEW_EQUAL * few[0].size:
        return False
    equal = unlike = 0
    rows = max(1, BLOCK * len(lines) // lines.size)
    for start in range(0, len(lines) - 1, rows):  # most images are told by half of their rows
        stop = min(start + rows, len(lines) - 1)
        same = lines[start:stop] == lines[start + 1 : stop + 1]
        seen = same.size
        if valid is not None:
            both = valid[start:stop] & valid[start + 1 : stop + 1]
            same &= both
            seen = int(np.count_nonzero(both))
        count = int(np.count_nonzero(same))
        equal += count
        unlike += seen - count
        if unlike >= (1 - MOST_EQUAL) * whole:
            return False
    return equal > MOST_EQUAL * whole


def _both(valid: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    lines = np.moveaxis(valid, axis, 0)
    return np.moveaxis(lines[1:] & lines[:-1], 0, axis)


def _forth(slopes: Float, axis: int) -> Float:
    """Products of successive changes: negative where the second takes the first one back."""
    lines = np.moveaxis(slopes, axis, 0)
    return np.asarray(lines[1:] * lines[:-1])
