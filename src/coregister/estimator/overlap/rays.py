"""Pixels that only one of the images shows: cosmic rays and hot pixels that fill did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.fill import MAX_SPIKES, OUTLIER_SIGMA, Places, departure, outliers
from coregister.estimator.overlap.descent import State
from coregister.estimator.single import Single
from coregister.estimator.window import Window, pixel_weight
from coregister.images import Pair

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: share of an outlier of the residual that stands in the images themselves
OUTLIER_SHARE = 0.7
#: what stands in both images is as bright in either to this share
BOTH = 0.5
#: the same of a star between four pixels in one image, and on one pixel in the other
SHARED = 0.2
#: pixels that tell what is typical
SAMPLE = 4096
#: error by aliasing, in bars, from which a star may look like a ray
ALIASED = 0.3


def seen_once(
    pair: Pair, singles: Sequence[Single], state: State, learnt: Pair | None = None
) -> list[Mask] | None:
    """Where either image shows what the other does not.

    None if something stands in one of them only, and samples are too far apart to tell where.

    Parameters
    ----------
    pair : Pair
    singles : two of Single
    state : State
    learnt : Pair, optional
        With noise that rises with brightness: what both images show is judged by that.

    Notes
    -----
    Where the scene is undersampled a star looks like a ray, and how its light is shared among
    pixels differs between the images: what both show to within a pixel stands in both, unless most
    of what is found are rays, two of which may have hit one place.
    """
    window, equations = state.comparison.window, state.equations
    weight = pixel_weight(pair, window)
    used = np.ones(window.shape, bool) if weight is None else weight > 0
    bad = [_unseen(single, start, window, used) for single, start in _both(singles, window)]

    def found(field: Float) -> Places:
        if weight is None:
            return outliers(field)
        size = np.abs(field * weight)
        # what counts for nothing is neither quiet nor loud
        size[~used] = np.median(size[used][:: max(1, np.count_nonzero(used) // SAMPLE)])
        return outliers(size)

    # noise of any colour hides a single pixel least once it is made white
    if found(state.whitened[0])[0].size == 0:
        return bad
    residual = state.comparison.untransform(equations.residual)
    places = found(residual)
    if window.step > 1:
        return None if places[0].size else bad
    inside = [
        tuple((p + s) % n for p, s, n in zip(places, start, single.filled.shape, strict=True))
        for single, start in _both(singles, window)
    ]
    own = [departure(s.filled, there) for s, there in zip(singles, inside, strict=True)]
    own[0] = equations.gain * own[0]
    # an outlier that is moved sends waves around it; in the image it is one pixel
    least = OUTLIER_SHARE * np.abs(residual[places])
    real = np.abs(own[1] - own[0]) > least
    both = np.zeros_like(real)
    if learnt is not None:
        expected = pixel_weight(learnt, window)
        assert expected is not None
        limit = OUTLIER_SIGMA * np.sqrt(np.mean((residual * expected)[used] ** 2))
        both |= np.min(own, axis=0) > BOTH * np.max(own, axis=0)
        both &= np.abs(residual[places]) * expected[places] <= limit
    if real.any() and state.aliased > ALIASED:
        near = [departure(s.filled, there, 1) for s, there in zip(singles, inside, strict=True)]
        near[0] = equations.gain * near[0]
        faint = np.maximum(SHARED * np.max(near, axis=0), _outstanding(residual[used]))
        both |= np.min(near, axis=0) >= faint
    both &= real
    # two rays may hit one place
    if 2 * np.count_nonzero(both) > np.count_nonzero(real):
        real &= ~both
    if np.count_nonzero(real) <= MAX_SPIKES * residual.size:
        for mask, there, size in zip(bad, inside, np.abs(own), strict=True):
            # the image that has it; both, if both have one
            mask[tuple(p[real & (size > least / 2)] for p in there)] = True
    return bad


def _outstanding(residual: Float) -> float:
    """What no noise reaches."""
    return OUTLIER_SIGMA / 0.6745 * float(np.median(np.abs(residual)))


def _both(singles: Sequence[Single], window: Window) -> list[tuple[Single, tuple[int, ...]]]:
    return list(zip(singles, (window.start, window.moving_start), strict=True))


def _unseen(single: Single, start: tuple[int, ...], window: Window, used: Mask) -> Mask:
    """Rays in an image that no residual shows, but which are felt beside.

    Tracks outside of what is compared, and what is left of a track between filled pixels.
    """
    data, valid = single.filled, single.image.valid
    found = single.spikes(alike=2)
    shown = np.zeros(data.shape, bool)
    spans = list(zip(start, window.shape, data.shape, strict=True))
    if all(0 <= s <= m - n * window.step for s, n, m in spans):
        inside = tuple(slice(s, s + n * window.step) for s, n, _ in spans)
        shown[inside] = used if window.step == 1 else True
    else:  # it wraps
        shown[window.places(start, data.shape)] = used
    found &= ~shown
    if valid is not None:
        found = (found | single.spikes(alike=0)) & valid
    return found
