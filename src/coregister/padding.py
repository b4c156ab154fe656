"""What earlier shifts and crops left at the rim of an image: lines of one value, no data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: share of the first line of data that may have the value of the padding by chance
SAME = 0.05
#: pixels of a line that are looked at before all of them are
FEW = 8


def holding(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest part of an array that holds all that is True, or all of it if nothing is."""
    part = []
    for axis, n in enumerate(mask.shape):
        lines = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        part.append(slice(int(lines[0]), int(lines[-1]) + 1) if lines.size else slice(0, n))
    return tuple(part)


def unpadded(data: NDArray[np.floating[Any]], least: int) -> tuple[slice, ...]:
    """The part of an image that padding leaves.

    A shifted, rotated or embedded image is filled up with zeros or with another constant. Left in,
    they are the strongest edges of the image, and stay with the detector. Lines of one value count
    as padding where the next ones are something else: neither constant themselves, nor holding
    that value in more than a few pixels (a dark sky, a saturated one), nor the continuation of
    the lines (a scene that fades out).

    Parameters
    ----------
    data : array
        Of two or more axes: along a single one a line would be a pixel.
    least : int
        Pixels that have to be left along every axis.

    Returns
    -------
    tuple of slice
        One for each axis.
    """
    whole = tuple(slice(0, n) for n in data.shape)
    if data.ndim == 1:
        return whole
    depths = [_depths(np.moveaxis(data, axis, 0)) for axis in range(data.ndim)]
    if not any(map(any, depths)):
        return whole
    while True:  # what is no padding along one axis is data, and asked along the others
        core = tuple(slice(a, n - b) for (a, b), n in zip(depths, data.shape, strict=True))
        before = list(depths)
        for axis, (first, last) in enumerate(before):
            inner = (*core[:axis], slice(None), *core[axis + 1 :])
            lines = np.moveaxis(data[inner], axis, 0)
            depths[axis] = (
                first if _ends(lines, first) else 0,
                last if _ends(lines[::-1], last) else 0,
            )
        if depths == before:
            break
    left = [part.stop - part.start for part in core]
    return core if min(left) >= least else whole


def _depths(lines: NDArray[np.floating[Any]]) -> tuple[int, int]:
    """How many lines at either end are all of one value, the same as the outermost one."""
    return _depth(lines), _depth(lines[::-1])


def _depth(lines: NDArray[np.floating[Any]]) -> int:
    value = lines[(0,) * lines.ndim]
    for number, line in enumerate(lines):
        flat = line.reshape(-1)
        few = flat[:: max(1, flat.size // FEW)]  # most lines are told by them
        if np.any(few != value) or np.any(flat != value):
            return number
    return 0  # nothing else


def _ends(lines: NDArray[np.floating[Any]], depth: int) -> bool:
    """True if the first `depth` lines are padding, and data begin behind them."""
    if depth == 0 or len(lines) < depth + 2:
        return False
    value = float(lines[(0,) * lines.ndim])
    first, second = (lines[depth + i].astype(np.float64) for i in (0, 1))
    if first.size == 0 or first.min() == first.max():
        return False
    if np.count_nonzero(first == value) > SAME * first.size:
        return False
    jump, change = 2 * first - second - value, first - second
    return bool(np.median(np.abs(jump)) > np.median(np.abs(change)))
