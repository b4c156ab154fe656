"""Images rounded to few levels, with too little noise for the rounding to average out.

Rounding is harmless where noise carries values across the levels: it then adds noise, which the
bars see. Without noise it moves every contour by an amount that the scene decides, alike in
neighbouring pixels and partly alike in both images, and no residual tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coregister.images import Image

Float = NDArray[np.float64]

#: share of neighbours on one level above which contours are lines, with pixels between them
MOST_EQUAL = 0.5
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
    changes = turns = equal = 0
    energy, step = 0.0, np.inf
    for axis in range(image.data.ndim):
        slopes = np.diff(image.data, axis=axis)
        if image.valid is not None:
            slopes = np.where(_both(image.valid, axis), slopes, np.nan)
        count = int(np.count_nonzero(slopes == 0))
        some = slopes[np.abs(slopes) > 0]
        if count <= MOST_EQUAL * (count + some.size):
            return False
        equal += count
        changes += some.size
        if some.size:
            sizes = np.abs(some)
            step = min(step, float(sizes.min()))
            energy += float(sizes @ sizes)
        turns += int(np.count_nonzero(_forth(slopes, axis) < 0))
    if changes == 0 or step**2 * changes < COARSE * energy:
        return False
    likely = FLICKER * changes + 2 * np.sqrt(FLICKER * (1 - FLICKER) * changes)
    return bool(turns < likely)


def _both(valid: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    lines = np.moveaxis(valid, axis, 0)
    return np.moveaxis(lines[1:] & lines[:-1], 0, axis)


def _forth(slopes: Float, axis: int) -> Float:
    """Products of successive changes: negative where the second takes the first one back."""
    lines = np.moveaxis(slopes, axis, 0)
    return np.asarray(lines[1:] * lines[:-1])
