"""What stands in the holes of a pair, and what it costs beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.compare import Comparison, MovableImage, Window
from coregister.fill import TAILS, rims
from coregister.images import Pair
from coregister.overlap.descent import MAX_STEP, Rims, State, overlaps
from coregister.spectrum import cosine_rings, interpolator

Float = NDArray[np.float64]

#: passes over offset and holes, steps towards the conditional mean in each, and the step (in
#: bars) that ends them
MAX_BRIDGES, CONJUGATE_STEPS, BRIDGE_TOLERANCE = 8, 4, 0.05
#: distance from the conditional mean, in units of what is not known of a pixel, that is no matter
NEAR_ENOUGH = 0.01


def scene_of(state: State) -> Callable[[Float], Float]:
    """Power of the scene against frequency."""
    return interpolator(state.comparison.rings.frequency, state.equations.spectra.scene)


def variance_beside(pair: Pair, state: State, step: int) -> Rims:
    """Variance beside the holes of both images, in units of that of the noise."""
    rings, spectra = state.comparison.rings, state.equations.spectra
    # guesses are part of what is left over; least so where it is least
    noise = float(spectra.residual[rings.frequency < state.comparison.clear].min())
    above = np.cumsum((rings.count * spectra.scene)[::-1])[::-1] / rings.count.sum() / noise
    finer = interpolator(rings.frequency, above)
    reference, moving = (
        None if image.valid is None else rims(image.valid, finer, step) for image in pair.images
    )
    return reference, moving


def bridged(pair: Pair, filled: tuple[Float, Float], state: State, around: Rims) -> State | None:
    """Refinement with every hole filled by what both images make most likely.

    The exact score of the pixels that were measured, by the principle of missing information
    (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x). Only where holes are so small that
    guesses err by less than the noise; None where it does not settle.
    """
    if any(isinstance(image.sigma, np.ndarray) for image in pair.images):
        return None
    if max(float(np.max(r)) for r in around if r is not None) > TAILS[0] ** 2:
        return None
    offset = state.offset
    for n_iter in range(MAX_BRIDGES):
        filled = filled_from_both(pair, filled, state)
        first, second = (
            MovableImage(data, periodic=pair.boundary == "periodic", single=state.comparison.single)
            for data in filled
        )
        comparison = Comparison(
            pair,
            first,
            second,
            Window.at(pair, offset),
            gain=state.equations.gain,
            bridged=True,
        )
        equations = comparison.equations(offset)
        step = -equations.solve(equations.score)
        size = np.sqrt(abs(step @ equations.information @ step))
        state = State(
            comparison=comparison,
            equations=equations,
            offset=offset,
            n_iter=state.n_iter + 1,
            converged=True,
        )
        # the spectra by which holes are filled are those of the pass before
        if n_iter > 1 and size < BRIDGE_TOLERANCE:
            return state
        offset = offset + np.clip(step, -MAX_STEP, MAX_STEP)
        if not overlaps(pair, offset):
            return None
        state = replace(state, offset=offset)
    return None


def filled_from_both(pair: Pair, filled: tuple[Float, Float], state: State) -> tuple[Float, Float]:
    """Invalid pixels at their conditional mean, given the valid ones of both images.

    Conjugate gradients on the precision of two Gaussian fields that share a scene, each
    image on its own grid.
    """
    equations, spectra = state.equations, state.equations.spectra
    window = Window.at(pair, state.offset, 0)
    fraction = state.offset - window.offset
    starts = (window.start, window.moving_start)
    wrap = pair.boundary == "periodic"
    real = state.comparison.dtype
    missing = np.stack(
        [
            np.zeros(window.shape, bool)
            if image.valid is None
            else ~window.of(image.valid, start, wrap=wrap)
            for image, start in zip(pair.images, starts, strict=True)
        ]
    )
    fields = np.stack(
        [window.of(data, start, wrap=wrap) for data, start in zip(filled, starts, strict=True)]
    )
    scale = np.reshape([equations.gain, 1.0], (2, *(1,) * missing[0].ndim))
    shift = np.reshape([0.0, equations.background], scale.shape)
    fields = fields * scale - shift
    level = float(np.mean(fields))
    fields = (fields - level).astype(real, copy=False)
    scene, residual = (
        interpolator(state.comparison.rings.frequency, v) for v in (spectra.scene, spectra.residual)
    )
    share = float(np.clip(spectra.share, 0.01, 0.99))

    def over_determinant(shares: float, frequency: Float) -> Float:
        """Power of the scene, and so much of that of the residual, over that of the pair."""
        s, r = scene(frequency), residual(frequency)
        return np.asarray((s + shares * r) / (s * r + share * (1 - share) * r**2))

    # 0 at zero frequency: the mean is that of the valid pixels
    rings = cosine_rings(window.shape)
    *own, other = (
        rings.spread_function(partial(over_determinant, s), real).reshape(window.shape)
        for s in (1 - share, share, 0.0)
    )
    origin = (0,) * fields[0].ndim

    def precision(values: Float) -> Float:
        result = np.empty_like(values)
        for i, way in enumerate((fraction, -fraction)):
            movable = MovableImage(values[1 - i], periodic=wrap, single=real == np.float32)
            moved = movable.window(origin, window.shape, way)[0]
            modes = scipy.fft.dctn(moved, norm="ortho", overwrite_x=True)
            modes *= other
            own_modes = scipy.fft.dctn(values[i], norm="ortho")
            own_modes *= own[i]
            own_modes -= modes
            result[i] = scipy.fft.idctn(own_modes, norm="ortho", overwrite_x=True)
        result *= missing
        return result

    diagonal = np.reshape([np.mean(o) for o in own], scale.shape).astype(real)
    enough = NEAR_ENOUGH**2 * np.count_nonzero(missing)
    left = -precision(fields)
    direction = left / diagonal
    norm = float(np.vdot(left, direction))
    for _ in range(CONJUGATE_STEPS):
        image = precision(direction)
        curvature = float(np.vdot(direction, image))
        if not curvature > 0 or norm <= enough:
            break
        fields += (norm / curvature) * direction
        left -= (norm / curvature) * image
        scaled = left / diagonal
        before, norm = norm, float(np.vdot(left, scaled))
        direction = scaled + (norm / before) * direction
    fields = (fields + level + shift) / scale
    result = []
    for data, start, values, holes in zip(filled, starts, fields, missing, strict=True):
        places = window.places(start, data.shape)
        data = data.copy()
        data[places] = np.where(holes, values, data[places])
        result.append(data)
    return result[0], result[1]
