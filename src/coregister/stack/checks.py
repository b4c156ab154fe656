"""Loops of three frames, each pair measured by itself: do they close, and agree with the whole?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.stack.frames import Frames
from coregister.stack.joint import UNLIKE
from coregister.stack.links import Options, pair_link

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration

Float = NDArray[np.float64]


class Loop(NamedTuple):
    """Three frames.

    Attributes
    ----------
    frames : tuple of int
    pulls : (3, ndim) array
        Each pair by itself minus the joint answer, over what both may differ by, which read the
        same noise; see `coregister.stack.joint`.
    closure : (ndim,) array
        What is left over around the loop, over the bars of its three pairs.
    """

    frames: tuple[int, int, int]
    pulls: Float
    closure: Float


def loops(result: StackRegistration, frames: Any, most: int) -> list[Loop]:
    """Measure some loops, of neighbours and of frames far apart in turn.

    Pulls are of order 1 where nothing is wrong. Around a loop pairs have their noise in common, so
    that closures stay well inside 1.

    Parameters
    ----------
    result : StackRegistration
    frames : as for `coregister.register_stack`
        The stack that was registered.
    most : int
        Loops; those with a pair that cannot be built upon are left out.
    """
    source = Frames.behind(result, frames)
    good = np.flatnonzero(result.trusted).tolist()
    options = Options(boundary="periodic" if result.periodic else "overlap", max_offset=None)
    found = []
    for i, j, k in _triples(good, most):
        loop = _measured(result, source, (i, j, k), options)
        if loop is not None:
            found.append(loop)
    return found


def _triples(good: list[int], most: int) -> list[tuple[int, int, int]]:
    """Neighbours, and frames a third of the series apart, spread over all of it."""
    third = len(good) // 3
    chosen = []
    for step, count in ((1, (most + 1) // 2), (third, most // 2)):
        last = len(good) - 1 - 2 * step
        if step < 1 or last < 0 or (step == 1 and third == 0):
            continue
        for first in np.unique(np.linspace(0, last, count).round().astype(int)).tolist():
            chosen.append((good[first], good[first + step], good[first + 2 * step]))
    return sorted(set(chosen))


def _measured(
    result: StackRegistration, frames: Frames, numbers: tuple[int, int, int], options: Options
) -> Loop | None:
    pulls, around, bars = [], np.zeros(result.ndim), np.zeros(result.ndim)
    for i, j in zip(numbers, numbers[1:] + numbers[:1], strict=True):
        link = pair_link(frames, options, i, j)
        if not link.good or link.covariance is None:
            return None
        own = np.diag(link.covariance)
        expected = result.offsets[j] - result.offsets[i]
        error = _wrapped(link.offset - expected, result)
        joint = np.diag(result.covariance_between(i, j))
        may = np.maximum(own - joint, 0.0) + UNLIKE * (own + joint)
        pulls.append(error / np.sqrt(may))
        around, bars = around + link.offset, bars + own
    figures = np.array(pulls)
    closure = _wrapped(around, result) / np.sqrt(bars)
    finite = np.all(np.isfinite(figures)) and np.all(np.isfinite(closure))
    return Loop(numbers, figures, closure) if finite else None


def _wrapped(offset: Float, result: StackRegistration) -> Float:
    """Whole turns taken out of frames that wrap around."""
    turn = np.array(result.shape, dtype=np.float64)
    return offset - np.rint(offset / turn) * turn if result.periodic else offset
