"""Pairs of neighbours, one after the other: offsets and bars add up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coregister.stack.frames import Frames
from coregister.stack.links import Link, Options, pair_link
from coregister.stack.result import StackRegistration, unknown
from coregister.stack.run import Run
from coregister.status import Status

Float = NDArray[np.float64]


def linked(
    frames: Frames,
    offsets: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    good: NDArray[np.intp],
    options: Options,
    run: Run,
) -> StackRegistration:
    """No window is common to all: pairs of neighbours, each with its bars, one after the other."""
    ndim = offsets.shape[1]
    steps = np.zeros((len(frames), ndim, ndim))
    place = offsets[good[0]].copy() if good.size else np.zeros(ndim)
    found = run.pairs(_pairs, frames, options, list(itertools.pairwise(good.tolist())))
    for (before, now), link in found.items():
        moved = link.offset if link.good else offsets[now] - offsets[before]
        place = place + moved
        offsets[now] = place
        flags[now] = link.flags
        steps[now] = np.zeros((ndim, ndim)) if link.covariance is None else link.covariance
    return _summed(frames, offsets, steps, flags, part, options)


def chain(frames: Frames, options: Options, run: Run) -> StackRegistration:
    """Each frame with the one before alone, offsets added up."""
    count, ndim = len(frames), len(frames.shape)
    offsets, steps = np.zeros((count, ndim)), np.zeros((count, ndim, ndim))
    flags: list[frozenset[Status]] = [frozenset()] * count
    part = np.zeros(count, dtype=int)
    last = 0
    found = run.pairs(_pairs, frames, options, [(t - 1, t) for t in range(1, count)])
    for t in range(1, count):
        link = found[(t - 1, t)] if last == t - 1 else pair_link(frames, options, last, t)
        flags[t] = link.flags
        offsets[t] = offsets[last]
        if link.good and link.covariance is not None:
            offsets[t] = offsets[last] + link.offset
            steps[t] = link.covariance
            last = t
        else:
            part[t] = -1
    return _summed(frames, offsets, steps, flags, part, options)


def _pairs(
    shared: tuple[Frames, Options], block: Sequence[tuple[int, int]]
) -> list[tuple[tuple[int, int], Link]]:
    return [((i, j), pair_link(*shared, i, j)) for i, j in block]


def _summed(
    frames: Frames,
    offsets: Float,
    steps: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    options: Options,
) -> StackRegistration:
    covariances = np.cumsum(steps, axis=0)
    covariances[part != 0] = unknown(1, offsets.shape[1])
    return StackRegistration(
        offsets=offsets,
        covariances=covariances,
        flags=tuple(flags),
        reference="previous",
        own=covariances.copy(),
        closure=float("nan"),
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
        steps=steps,
    )
