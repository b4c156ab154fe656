"""Pairs of neighbours, one after the other: offsets and bars add up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coregister.stack.frames import Frames
from coregister.stack.links import Link, Options, pair_link
from coregister.stack.result import StackRegistration, told_of_aliasing, unknown
from coregister.stack.run import Run
from coregister.status import Status

Float = NDArray[np.float64]


def chain(frames: Frames, options: Options, run: Run) -> StackRegistration:
    """Each frame with the one before alone, offsets added up."""
    count, ndim = len(frames), len(frames.shape)
    flags: list[frozenset[Status]] = [frozenset()] * count
    every, part = np.arange(count), np.zeros(count, dtype=int)
    return linked(frames, np.zeros((count, ndim)), flags, part, every, options, run)


def linked(
    frames: Frames,
    rough: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    numbers: NDArray[np.intp],
    options: Options,
    run: Run,
) -> StackRegistration:
    """Pairs of neighbours among some frames; one that does not match is left out of the chain.

    It stays where it lies roughly from the last that did.
    """
    ndim = rough.shape[1]
    offsets = rough.copy()
    steps, bounds = np.zeros((len(frames), ndim, ndim)), np.zeros((len(frames), ndim))
    pairs = list(itertools.pairwise(numbers.tolist()))
    found = run.pairs(_pairs, frames, options, pairs)
    last = int(numbers[0])
    for before, now in pairs:
        link = found[before, now] if last == before else pair_link(frames, options, last, now)
        flags[now] = link.flags
        offsets[now] = offsets[last] + rough[now] - rough[last]
        if link.good and link.covariance is not None and link.systematic is not None:
            offsets[now] = offsets[last] + link.offset
            steps[now], bounds[now] = link.covariance, link.systematic
            last = now
        else:
            part[now] = -1
    covariances = np.cumsum(steps, axis=0)
    covariances[part != 0] = unknown(1, offsets.shape[1])
    systematic = np.cumsum(bounds, axis=0)
    return StackRegistration(
        offsets=offsets,
        covariances=covariances,
        flags=told_of_aliasing(flags, systematic, covariances),
        systematic=systematic,
        reference="previous",
        own=covariances.copy(),
        closure=float("nan"),
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
        steps=steps,
    )


def _pairs(
    shared: tuple[Frames, Options], block: Sequence[tuple[int, int]]
) -> list[tuple[tuple[int, int], Link]]:
    return [((i, j), pair_link(*shared, i, j)) for i, j in block]
