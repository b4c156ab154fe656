"""From a candidate to the optimum, by Fisher scoring on the continuous offset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.equations import Equations
from coregister.estimator.matrices import pseudo_inverse
from coregister.estimator.movable import MovableImage
from coregister.estimator.uncertainty.aliasing import aliasing
from coregister.estimator.uncertainty.covariance import spread_of
from coregister.estimator.window import Window
from coregister.images import Pair

Float = NDArray[np.float64]
Movables = tuple[MovableImage, MovableImage]
#: variance beside the holes of each image, in units of that of the noise
Rims = tuple[Float | None, Float | None]

MAX_STEPS = 30
#: longest step, px
MAX_STEP = 0.7
#: an error below this share of the bar ends the refinement; in a first look, a step below so much
#: of it, or this many px
TOLERANCE = 0.025
ROUGH, ROUGH_PX = 0.1, 0.01
#: a step leaves about this share of itself, over the root of the number of modes that tell; no
#: less than the other, since the surface is no parabola
CONTRACTION, LEAST_CONTRACTION = 1.0, 0.005
#: the last step, in px and in bars, is small enough for the modes to be moved by their derivatives
LINEAR, LINEAR_BARS = 0.02, 4.0


@dataclass(frozen=True, kw_only=True)
class State:
    """Where the refinement stands."""

    comparison: Comparison
    equations: Equations
    offset: Float
    n_iter: int
    converged: bool

    @cached_property
    def whitened(self) -> tuple[Float, Float]:
        """See `Comparison.whitened`."""
        return self.comparison.whitened(self.equations)

    @cached_property
    def systematic(self) -> Float:
        """See `uncertainty.aliasing.aliasing`, px."""
        return aliasing(self.comparison, self.equations, self.offset, self._bread)

    @cached_property
    def aliased(self) -> float:
        """The same in units of the bar; from about one, what is left over may be aliasing."""
        seen = np.sqrt(np.diag(spread_of(*self.whitened, self._bread).seen))
        return float(np.max(self.systematic / np.maximum(seen, 1e-300)))

    @property
    def _bread(self) -> Float:
        return pseudo_inverse(*self.equations.directions)


def descend(
    pair: Pair,
    movable: Movables,
    start: Float,
    margin: int,
    *,
    weighted: bool = True,
    around: Rims = (None, None),
    scene: Callable[[Float], Float] | None = None,
    rough: bool = False,
) -> State:
    """The optimum near `start`.

    Parameters
    ----------
    pair : Pair
    movable : two of MovableImage
    start : (ndim,) array
        Pixels.
    margin : int
        Samples left out along the edges of the overlap.
    weighted, around, scene
        See `Comparison`; `around` is its `rims`.
    rough : bool
        A tenth of the bar is near enough, and no equations are wanted there.
    """

    def compare(offset: Float, gain: float | None = None) -> Comparison:
        window = Window.at(pair, offset, margin, movable[0].step)
        return Comparison(
            pair, *movable, window, gain=gain, weighted=weighted, rims=around, scene=scene
        )

    offset = start.copy()
    comparison = compare(offset)
    equations = comparison.equations(offset)
    converged = False
    n_iter = 0
    step = np.zeros_like(offset)
    damping, size = 1.0, 0.0
    px = movable[0].step
    while not converged and n_iter < MAX_STEPS:
        n_iter += 1
        before, step = step, -equations.solve(equations.score)
        # far from the optimum the images decohere and the information is too small a scale
        if n_iter > 1 and step @ before < -0.3 * (before @ before):
            damping /= 2
        step = damping * step
        last, size = size, float(np.sqrt(abs(step @ equations.information @ step)))
        left = size * (min(size / last, 1.0) if n_iter > 1 and last > 0 else 1.0)
        if n_iter == 1:
            left *= max(CONTRACTION / np.sqrt(equations.telling_modes), LEAST_CONTRACTION)
        if rough:
            converged = left < ROUGH or bool(np.max(np.abs(step)) < ROUGH_PX)
        else:
            converged = left < TOLERANCE and size < LINEAR_BARS
            converged = converged or bool(np.max(np.abs(step)) < 1e-10)
        offset = offset + np.clip(step, -MAX_STEP * px, MAX_STEP * px)
        if np.any(np.abs(offset - comparison.window.offset) > 0.5 * px + 0.25):
            if not overlaps(pair, offset):
                offset = start.copy()
                break
            comparison = compare(offset, equations.gain)
        if converged and rough:
            break
        if converged and comparison.near(offset, LINEAR):
            equations = comparison.moved(equations, offset)
        else:
            equations = comparison.equations(offset)
    return State(
        comparison=comparison,
        equations=equations,
        offset=offset,
        n_iter=n_iter,
        converged=converged,
    )


def overlaps(pair: Pair, offset: Float) -> bool:
    """True if there is something to compare."""
    return min(Window.at(pair, offset).shape) >= 4
