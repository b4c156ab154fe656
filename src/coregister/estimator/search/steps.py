"""How far apart samples may be: in a first look, and in the last comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.rings import Counted
from coregister.estimator.stages import Candidate

Float = NDArray[np.float64]

#: steps (px) between samples that a first look may take, and those of the last, where the images
#: hold nothing finer
QUICK_STEPS = (8, 4, 2)
STEPS = (4, 2)
#: fewest samples along an axis for a first look, and for the last
QUICK_SIDE, FEWEST_SAMPLES = 24, 96
#: information that may be lost to a larger step, and about how far noise alone moves what the
#: spectra promise of it, 1/px^2
LOSS, PROMISE_SCATTER = 0.03, 50.0
#: what a first look must promise, and keep: squares of coherence summed over its modes, bar in px,
#: and false alarm
QUICK_EVIDENCE = 2500.0
QUICK_STDERR = 0.02
QUICK_CHANCE = 1e-12
#: and the share of its evidence that no other candidate may have
QUICK_RIVAL = 0.25


def promise(frequency: Float, coherence: Float, rings: Counted, ndim: int) -> tuple[float, float]:
    """What a pair of these spectra lets expect of some of its modes.

    Parameters
    ----------
    frequency, coherence : array
        See `auto_coherence`.
    rings : Rings, or the like
        Of the modes that are kept.
    ndim : int

    Returns
    -------
    evidence : float
        Squares of coherence, summed over the modes.
    information : float
        About the offset along an axis, 1/px^2.
    """
    squares = np.interp(rings.frequency, frequency, coherence)
    counted = rings.count * squares
    slope = (2 * np.pi * rings.frequency) ** 2 / ndim
    return float(counted.sum()), float(counted @ (slope / (1 - squares)))


def steps_between_samples(
    modes: Callable[[int], Counted],
    frequency: Float,
    coherence: Float,
    fewest: int,
    ndim: int,
    *,
    divisor: int = 0,
) -> tuple[int, int | None]:
    """Pixels between samples: in the last comparison, and in a first look if one is worth while.

    Parameters
    ----------
    modes : callable
        Rings of the modes that samples so many pixels apart can hold.
    frequency, coherence : array
        See `auto_coherence`.
    fewest : int
        Pixels along the shortest axis.
    ndim : int
    divisor : int
        What a step has to divide.
    """
    quick = None
    for step in QUICK_STEPS:
        if fewest // step >= QUICK_SIDE and divisor % step == 0:
            evidence, information = promise(frequency, coherence, modes(step), ndim)
            if evidence > QUICK_EVIDENCE and information * QUICK_STDERR**2 > 1:
                quick = step
                break
    whole = promise(frequency, coherence, modes(1), ndim)[1]
    if LOSS * whole < PROMISE_SCATTER:
        return 1, quick
    for step in STEPS:
        if fewest // step < FEWEST_SAMPLES or divisor % step:
            continue
        if promise(frequency, coherence, modes(step), ndim)[1] > (1 - LOSS) * whole:
            return step, quick
    return 1, quick


def beyond_doubt(candidates: Sequence[Candidate]) -> bool:
    """True if the first of the candidates of a first look needs no second one."""
    best, *others = candidates
    clear = all(other.total < QUICK_RIVAL * best.total for other in others)
    return clear and best.false_alarm < QUICK_CHANCE
