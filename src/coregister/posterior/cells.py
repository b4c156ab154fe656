"""The cells around the points of a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.fourier import along

Float = NDArray[np.float64]


def edges_of(points: Float) -> Float:
    """Limits of the cells around some points."""
    inner = (points[1:] + points[:-1]) / 2
    return np.concatenate(
        [[2 * points[0] - inner[0]], inner, [2 * points[-1] - inner[-1]]]
    )  # fmt: skip


def volumes(positions: Any) -> Float:
    """Volume of the cell around every point of a grid."""
    ndim = len(positions)
    total = np.ones([1] * ndim)
    for axis, points in enumerate(positions):
        total = total * along(np.diff(edges_of(points)), axis, ndim)
    return total
