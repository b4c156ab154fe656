"""Fisher scoring of many windows together; each stops when it has settled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.overlap.descent import (
    CONTRACTION,
    LEAST_CONTRACTION,
    LINEAR,
    LINEAR_BARS,
    MAX_STEP,
    MAX_STEPS,
)
from coregister.windows.equations import WindowEquations, equations, near
from coregister.windows.kernels import FARTHEST, Kernels

Float = NDArray[np.float64]
#: windows of both images with `REACH` pixels around, the moving one at a whole-pixel offset
Patches = tuple[Float, Float]

#: an error below this share of the bar ends the refinement, and a first look
TOLERANCE, ROUGH = 0.04, 0.5


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Where the refinement of every window ended.

    Attributes
    ----------
    modes : (n, 6, modes) array
    equations : WindowEquations
    offset : (n, 2) array
        Beyond the whole-pixel one.
    settled, far : (n,) bool array
        Where it did; where it went farther than a window can be moved.
    """

    modes: Float
    equations: WindowEquations
    offset: Float
    settled: NDArray[np.bool_]
    far: NDArray[np.bool_]


def descend(kernels: Kernels, patches: Patches, start: Float) -> Settled:
    """The optimum of every window near `start`, (n, 2), beyond the whole-pixel offset."""
    coarse = kernels.coarse
    if coarse is not None:
        start = _descend(coarse, patches, start, rough=True).offset
    return _descend(kernels, patches, start, rough=False)


def _descend(kernels: Kernels, patches: Patches, start: Float, *, rough: bool) -> Settled:
    farthest = 2 * FARTHEST
    n, offset = len(start), start.copy()
    modes = kernels.modes_at(patches, offset)
    evaluated = offset.copy()
    state = equations(kernels, modes, level=rough)
    settled, far = np.zeros((2, n), dtype=bool)
    damping, size, last_step = np.ones(n), np.zeros(n), np.zeros((n, 2))
    active = np.arange(n)
    for iteration in range(MAX_STEPS):
        before, step = last_step[active], state.step[active]
        if iteration:
            back = np.einsum("ni,ni->n", step, before)
            damping[active[back < -0.3 * np.einsum("ni,ni->n", before, before)]] /= 2
        step *= damping[active, None]
        last_step[active] = step
        information = state.information[active]
        last = size[active]
        now = np.sqrt(np.abs(np.einsum("ni,nij,nj->n", step, information, step)))
        size[active] = now
        ratio = np.divide(now, last, out=np.ones_like(now), where=last > 0)
        left = now * np.minimum(ratio, 1.0)
        if iteration == 0:
            telling = _telling(kernels, state)
            left *= np.maximum(CONTRACTION / np.sqrt(telling), LEAST_CONTRACTION)
        moved = offset[active] + np.clip(step, -MAX_STEP, MAX_STEP)
        out = np.any(np.abs(moved) > farthest, axis=1)
        offset[active] = np.clip(moved, -farthest, farthest)
        if rough:
            done = out | (left < ROUGH) | (iteration > 0)
        else:
            done = (left < TOLERANCE) & (now < LINEAR_BARS)
            done |= np.max(np.abs(step), axis=1) < 1e-10
            done &= ~out
        settled[active[done]] = True
        far[active[out]] = True
        if not rough or not done.all():
            going = active[~(done & rough) & ~out]
            short = np.max(np.abs(offset[going] - evaluated[going]), axis=1) <= LINEAR
            full = going[~(settled[going] & short)]
            if full.size == n:
                modes, evaluated = kernels.modes_at(patches, offset), offset.copy()
            elif full.size:
                some = patches[0][full], patches[1][full]
                modes[full], evaluated[full] = kernels.modes_at(some, offset[full]), offset[full]
            if going.size:
                here = near(modes[going], offset[going] - evaluated[going])
                guess = state.gain[going], state.spectra.scene[going]
                new = equations(kernels, here, *guess, level=rough)
                state.put(going, new)
        active = active[~done & ~out]
        if active.size == 0:
            break
    if not rough:
        modes = near(modes, offset - evaluated)
    return Settled(modes=modes, equations=state, offset=offset, settled=settled, far=far)


def _telling(kernels: Kernels, state: WindowEquations) -> Float:
    """About how many modes tell the offset; squares of Gaussian modes count by a third."""
    share = state.spectra.weight * state.spectra.scene * kernels.frequency**2
    return np.asarray((share @ kernels.count) ** 2 / (3 * (share**2 @ kernels.count)))
