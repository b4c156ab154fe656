"""What stands in the holes of a pair, and what it costs beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.fill import TAILS, eroded, rims
from coregister.estimator.movable import MovableImage, faded
from coregister.estimator.overlap.descent import LINEAR, MAX_STEP, TOLERANCE, Rims, State, overlaps
from coregister.estimator.rings import interpolator
from coregister.estimator.window import Window
from coregister.fourier import frequencies
from coregister.images import Pair
from coregister.products import dot

Float = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

#: passes over offset and holes, steps towards the conditional mean in each, and the step (in
#: bars) that ends them
MAX_BRIDGES, CONJUGATE_STEPS, BRIDGE_TOLERANCE = 8, 4, 0.05
#: distance from the conditional mean, in units of what is not known of a pixel, that is no matter:
#: in the first pass, whose spectra are those of guesses from one image, and after
NEAR_AT_FIRST, NEAR_ENOUGH = 0.1, 0.01
#: pixels from its middle to its rim that a hole has, beyond which it is deep
DEEP = 2
#: share of the pixels from which guesses that do not settle leave the bars in doubt
MANY_MISSING = 0.15
#: frequencies at which the power of scene and noise is worked out
TABLE = 4096


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


def deep(pair: Pair) -> bool:
    """True if a hole is more than a few pixels across: most pixels are not beside one, then."""
    masks = [~image.valid for image in pair.images if image.valid is not None]
    return any(bool(eroded(mask, 2 * DEEP).any()) for mask in masks)


def worth_bridging(pair: Pair, around: Rims) -> bool:
    """True if `bridged` gains more than it costs.

    Not where a hole is so deep that guesses err by more than the noise: pixels beside it count for
    less, and are few, where of many small holes all pixels would be beside one.
    """
    if any(isinstance(image.sigma, np.ndarray) for image in pair.images):
        return False
    largest = max(float(np.max(r)) for r in around if r is not None)
    return largest <= TAILS[0] ** 2 or not deep(pair)


def bridged(pair: Pair, filled: tuple[Float, Float], state: State) -> State | None:
    """Refinement with every hole filled by what both images make most likely.

    The exact score of the pixels that were measured, by the principle of missing information
    (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x). None where it does not settle.
    """
    offset = state.offset
    # guesses from one image are part of what is left over; what was measured tells of the noise
    comparison = state.comparison.bridging(pair)
    equations = comparison.equations()
    frequency, noise = comparison.rings.frequency, equations.spectra.residual
    size = np.inf
    for n_iter in range(MAX_BRIDGES):
        spectra = replace(equations.spectra, residual=noise)
        before = replace(state, offset=offset, equations=replace(equations, spectra=spectra))
        reach = NEAR_AT_FIRST if n_iter == 0 else NEAR_ENOUGH
        filled = filled_from_both(pair, filled, before, near=reach)
        first, second = (
            MovableImage(data, periodic=pair.boundary == "periodic", single=comparison.single)
            for data in filled
        )
        window, gain = Window.at(pair, offset), equations.gain
        comparison = Comparison(pair, first, second, window, gain=gain, bridged=True)
        equations = comparison.equations(offset)
        # guesses that are too smooth make the noise seem small, and the next ones too rough
        noise = np.interp(comparison.rings.frequency, frequency, noise)
        noise = np.sqrt(noise * equations.spectra.residual)
        frequency = comparison.rings.frequency
        step = -equations.solve(equations.score)
        last, size = size, float(np.sqrt(abs(step @ equations.information @ step)))
        moved = offset + np.clip(step, -MAX_STEP, MAX_STEP)
        # a pass leaves of the next step what it left of this one
        near = size < BRIDGE_TOLERANCE or size * size < TOLERANCE * last
        # the spectra by which holes are filled are those of the pass before
        settled = n_iter > 0 and near and comparison.near(moved, LINEAR)
        if settled:
            offset, equations = moved, comparison.moved(equations, moved)
        state = State(
            comparison=comparison,
            equations=equations,
            offset=offset,
            n_iter=state.n_iter + 1,
            converged=True,
        )
        if settled:
            if not comparison.bridged:  # all holes are outside of what is compared
                return state
            information = comparison.observed(*state.whitened)
            known = replace(state, equations=replace(equations, information=information))
            known.__dict__["whitened"] = state.whitened
            return known
        offset = moved
        if not overlaps(pair, offset):
            return None
    return None


def filled_from_both(
    pair: Pair, filled: tuple[Float, Float], state: State, *, near: float = NEAR_ENOUGH
) -> tuple[Float, Float]:
    """Invalid pixels at their conditional mean, given the valid ones of both images.

    Conjugate gradients on the precision of two Gaussian fields that share a scene, each
    image on its own grid; so `near` is enough.
    """
    equations, spectra = state.equations, state.equations.spectra
    window = Window.at(pair, state.offset, 0)
    if min(window.shape) < 2:  # nothing is known there
        return filled
    fraction = state.offset - window.offset
    starts = (window.start, window.moving_start)
    wrap = pair.boundary == "periodic"
    missing = [
        np.zeros(window.shape, bool)
        if image.valid is None
        else ~window.of(image.valid, start, wrap=wrap)
        for image, start in zip(pair.images, starts, strict=True)
    ]
    holes = [np.flatnonzero(m) for m in missing]
    gains, shifts = (equations.gain, 1.0), (0.0, equations.background)
    images = [
        MovableImage(
            window.of(data, start, wrap=wrap) * gain - shift,
            periodic=wrap,
            single=state.comparison.single,
        )
        for data, start, gain, shift in zip(filled, starts, gains, shifts, strict=True)
    ]
    scene, residual = (
        interpolator(state.comparison.rings.frequency, v) for v in (spectra.scene, spectra.residual)
    )
    share = float(np.clip(spectra.share, 0.01, 0.99))
    precision = _Precision(images, fraction, scene, residual, share, holes)
    enough = near**2 * sum(place.size for place in holes)
    change: Float = np.zeros(sum(place.size for place in holes), images[0].dtype)
    left = -precision.of_images()
    direction = left / precision.diagonal
    norm = dot(left, direction)
    for _ in range(CONJUGATE_STEPS):
        if norm <= enough:
            break
        image = precision.of_holes(direction)
        curvature = dot(direction, image)
        if not curvature > 0:
            break
        change += (norm / curvature) * direction
        left -= (norm / curvature) * image
        scaled = left / precision.diagonal
        before, norm = norm, dot(left, scaled)
        direction = scaled + (norm / before) * direction
    result = []
    parts = np.split(change, [holes[0].size])
    for data, start, gain, hole, part in zip(filled, starts, gains, holes, parts, strict=True):
        data = data.copy()
        places = np.unravel_index(hole, window.shape)
        inside = tuple((p + s) % n for p, s, n in zip(places, start, data.shape, strict=True))
        data[inside] += part / np.float64(gain)
        result.append(data)
    return result[0], result[1]


class _Precision:
    """Inverse covariance of two Gaussian fields that share a scene, each image on its own grid.

    What it makes of values is given in the holes only, those of the reference first.

    Parameters
    ----------
    images : two of MovableImage
        Of one shape.
    fraction : (ndim,) array
        By which moving is displaced.
    scene, residual : callable
        Power against frequency, cycles/px.
    share : float
        Of the reference in the residual.
    holes : two int arrays
        Where values are missing, in the flattened images.
    """

    def __init__(
        self,
        images: Sequence[MovableImage],
        fraction: Float,
        scene: Callable[[Float], Float],
        residual: Callable[[Float], Float],
        share: float,
        holes: Sequence[NDArray[np.intp]],
    ) -> None:
        self._images = images
        self._shape = images[0].extended
        places = [np.unravel_index(hole, images[0].size) for hole in holes]
        self._holes = [np.ravel_multi_index(place, self._shape) for place in places]
        real = images[0].dtype
        k = frequencies(self._shape)
        radius = np.sqrt(sum(f**2 for f in k)) / (2 * np.pi)
        table, step = np.linspace(0.0, float(radius.max()), TABLE, retstep=True)
        place = (radius / step + 0.5).astype(np.intp)
        s, r = scene(table), residual(table)

        def over_determinant(shares: float) -> Float:
            """Power of the scene, and so much of that of the residual, over that of the pair."""
            values = (s + shares * r) / (s * r + share * (1 - share) * r**2)
            values[0] = 0.0  # the mean is that of the valid pixels
            return np.asarray(values.astype(real).take(place))

        self._own = [over_determinant(1 - share), over_determinant(share)]
        self._other = over_determinant(0.0).astype(np.result_type(real, np.complex64))
        for f, d in zip(k, fraction, strict=True):
            self._other *= (faded(f) * np.exp(1j * f * d)).astype(self._other.dtype)
        self._back = np.conj(self._other)
        self.diagonal = np.repeat(
            [np.asarray(np.mean(own), real) for own in self._own], [h.size for h in holes]
        )

    def of_images(self) -> Float:
        """Of the images as they are."""
        first, second = (image.spectrum for image in self._images)
        return self._of(first, second, np.ravel_multi_index(self._images[0].margins, self._shape))

    def of_holes(self, values: Float) -> Float:
        """Of images that are 0 outside of the holes."""
        spectra = []
        for part, holes in zip(np.split(values, [self._holes[0].size]), self._holes, strict=True):
            field = np.zeros(self._shape, values.dtype)
            field.reshape(-1)[holes] = part
            spectra.append(scipy.fft.rfftn(field))
        return self._of(spectra[0], spectra[1], 0)

    def _of(self, first: Complex, second: Complex, start: int | np.intp) -> Float:
        """Of fields with these spectra, where the first pixel is number `start` of them."""
        pulls = [self._own[0] * first, self._own[1] * second]
        pulls[0] -= self._other * second
        pulls[1] -= self._back * first
        fields = (scipy.fft.irfftn(pull, s=self._shape, overwrite_x=True) for pull in pulls)
        return np.concatenate(
            [f.reshape(-1)[holes + start] for f, holes in zip(fields, self._holes, strict=True)]
        )
