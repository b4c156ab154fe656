"""Modes: peaks with the probability of the cells from which they are reached."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.stages import Mode
from coregister.posterior.cells import edges_of, volumes
from coregister.posterior.peaks import Peak

Float = NDArray[np.float64]
MIN_MODE = 1e-3
#: a mode ends at this many sigma of its curvature, or where the density is this share of its
#: highest
MODE_SIGMA, FOOT = 5.0, 0.01


def find_modes(
    positions: list[Float], probability: Float, peaks: list[Peak], period: tuple[int, ...] | None
) -> tuple[Mode, ...]:
    """Peaks with the probability and the covariance of the cells from which they are reached."""
    density = probability / volumes(positions)
    ends = [edges_of(points) for points in positions]
    wraps = [
        period is not None and edges[-1] - edges[0] > period[axis] - 1e-6
        for axis, edges in enumerate(ends)
    ]
    basin = _basins(density, wraps)
    modes: list[Mode] = []
    seen = set()
    for peak in peaks:
        cell = [
            int(np.clip(np.searchsorted(edges, d) - 1, 0, edges.size - 2))
            for edges, d in zip(ends, peak.offset, strict=True)
        ]
        root = int(basin[tuple(cell)])
        top = float(density.ravel()[root])
        if root in seen:
            continue
        cells = np.nonzero(basin == root)
        away = np.stack([axis[index] for axis, index in zip(positions, cells, strict=True)])
        away = away - peak.offset[:, None]
        for axis, wrap in enumerate(wraps):
            if wrap and period is not None:
                away[axis] -= period[axis] * np.rint(away[axis] / period[axis])
        # the Gaussian of its curvature, and all that is about as high: not the plain around it
        own = np.einsum("in,ij,jn->n", away, peak.curvature, away) < MODE_SIGMA**2
        own |= density[cells] > FOOT * top
        away, p = away[:, own], probability[cells][own]
        total = float(p.sum())
        if total < MIN_MODE:
            continue
        seen.add(root)
        mean = away @ p / total
        spread = (away * p) @ away.T / total - np.outer(mean, mean)
        if np.linalg.eigvalsh(spread).min() <= 0:
            spread = peak.covariance
        modes.append(Mode(offset=peak.offset, covariance=spread, probability=total))
    return tuple(sorted(modes, key=lambda mode: -mode.probability))


def _basins(density: Float, wraps: list[bool]) -> NDArray[np.intp]:
    """For every cell, the number of the one where steepest ascent ends."""
    number = np.arange(density.size).reshape(density.shape)
    padded, names = density, number
    for axis, wrap in enumerate(wraps):
        width = [(1, 1) if a == axis else (0, 0) for a in range(density.ndim)]
        if wrap:
            padded, names = np.pad(padded, width, mode="wrap"), np.pad(names, width, mode="wrap")
        else:
            padded = np.pad(padded, width, constant_values=-1.0)
            names = np.pad(names, width)
    highest, target = density.copy(), number.copy()
    for shift in itertools.product((0, 1, 2), repeat=density.ndim):
        part = tuple(slice(s, s + n) for s, n in zip(shift, density.shape, strict=True))
        higher = padded[part] > highest
        highest[higher] = padded[part][higher]
        target[higher] = names[part][higher]
    while True:
        further = target.ravel()[target]
        if np.array_equal(further, target):
            return target
        target = further
