"""The minimum of chi^2, by Newton steps on its Taylor expansion.

Close to an offset the expansion holds all that is known about the surface, to rounding: steps cost
nothing, and delta chi^2 around the minimum is not a difference of large numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from coregister.chi2.inputs import Array
from coregister.chi2.surface import Surface
from coregister.estimator.search.correlation import vertex

#: order of the expansions: exact to rounding within 0.15 px for the doubled bandwidth
ORDER = 12
#: the same within 0.6 px
WIDE_ORDER = 24


@dataclass(frozen=True)
class Minimum:
    """A minimum of chi^2.

    Attributes
    ----------
    surface : Surface
    offset : (2,) array
        Axis order.
    chi2 : float
        There, in the units of the surface.
    lowest : float
        The same without the constant of the surface.
    coefficients : array
        Taylor coefficients of delta chi^2 around it.
    """

    surface: Surface
    offset: Array
    chi2: float
    lowest: float
    coefficients: Array

    @property
    def hessian(self) -> Array:
        """Second derivatives of chi^2."""
        c = self.coefficients
        return np.array([[2 * c[2, 0], c[1, 1]], [c[1, 1], 2 * c[0, 2]]])

    def near(self, position: Array) -> Array:
        """Taylor coefficients of delta chi^2 around another position."""
        coefficients = self.surface.taylor(position, WIDE_ORDER)
        coefficients[0, 0] -= self.lowest
        return coefficients

    def wide(self) -> Array:
        """Taylor coefficients of delta chi^2 around the minimum, good to 0.6 px."""
        return _centred(self.surface.taylor(self.offset, WIDE_ORDER))


def first_guess(surface: Surface) -> Array:
    """The whole-pixel offset of least chi^2; of equals, the one closest to zero."""
    index = surface.within(float(surface.least.min()) + surface.rounding)
    shape = np.array(surface.shape)
    offsets = np.where(index >= (shape + 1) // 2, index - shape, index)
    return np.asarray(offsets[np.argmin((offsets**2).sum(axis=1))], dtype=np.float64)


def descend(surface: Surface, start: Array) -> Minimum:
    """Descend from an offset to the minimum of its basin."""
    exact = surface.rounding * 1e6  # below this the terms of chi^2 have cancelled
    offset = start + _between(surface, start, exact)
    for _ in range(20):
        coefficients = surface.taylor(offset, ORDER)
        if surface.constant + coefficients[0, 0] < exact and surface.residual(offset) == 0:
            return Minimum(surface, offset, 0.0, coefficients[0, 0], _centred(coefficients))
        step = _step(coefficients, surface.rounding)
        offset = offset + step
        if np.abs(step).max() < 0.05:
            break
    coefficients = _recentre(coefficients, step)
    minimum = surface.constant + coefficients[0, 0]
    if minimum < exact:
        minimum = surface.residual(offset)
    return Minimum(surface, offset, float(minimum), coefficients[0, 0], _centred(coefficients))


def _between(surface: Surface, start: Array, exact: float) -> Array:
    """About where, between whole pixels, the minimum lies: from chi^2 at the next ones."""
    whole = start.astype(int)
    beside = [n + np.arange(-1, 2) for n in whole]
    values = surface.searched[surface.index(beside)]
    if surface.constant + values[1, 1] < exact or not np.isfinite(values).all():
        return np.zeros(2)
    slopes = np.array([np.ptp(values[:, 1]), np.ptp(values[1])])
    return np.where(slopes > 100 * surface.rounding, vertex(-values, (1, 1)), 0.0)


def _step(coefficients: Array, rounding: float, reach: float = 0.6) -> Array:
    """Safeguarded Newton steps from the centre of an expansion, up to about `reach` away."""
    c = coefficients.copy()
    c[0, 0] = 0
    x = np.zeros(2)
    value, gradient, hessian = evaluate(c, x)
    for _ in range(60):
        curvature, directions = np.linalg.eigh(hessian)
        known = np.abs(curvature) > 1e-12 * np.abs(curvature).max() + 100 * rounding
        slope = np.where(known, directions.T @ gradient, 0.0)
        step = -directions @ (slope / np.where(known, np.abs(curvature), 1.0))
        size = float(np.abs(step).max())
        if size < 1e-15:
            break
        step, size = step * min(1.0, reach / 2 / size), min(size, reach / 2)
        if np.abs(x + step).max() > reach:
            break
        trust = size < 1e-4 and bool(np.all(curvature[known] > 0))
        while True:
            lower, new_gradient, new_hessian = evaluate(c, x + step)
            if trust or lower <= value or size < 1e-9:
                break
            step, size = step / 2, size / 2
        if not trust and lower > value:
            break
        x, value, gradient, hessian = x + step, lower, new_gradient, new_hessian
        if size < 1e-12:
            break
    return x


def evaluate(c: Array, x: Array) -> tuple[float, Array, Array]:
    """Value, gradient and Hessian of a polynomial of two variables."""
    order = np.arange(len(c))
    powers = np.zeros((2, 3, len(c)))
    powers[:, 0] = x[:, None] ** order
    powers[:, 1, 1:] = order[1:] * powers[:, 0, :-1]
    powers[:, 2, 1:] = order[1:] * powers[:, 1, :-1]
    d = powers[0] @ c @ powers[1].T
    return float(d[0, 0]), d[[1, 0], [0, 1]], np.array([[d[2, 0], d[1, 1]], [d[1, 1], d[0, 2]]])


def _recentre(c: Array, step: Array) -> Array:
    """Expand a polynomial around another point."""
    order = np.arange(len(c))
    lag = order - order[:, None]
    binomial = special.binom(order, order[:, None])
    left, right = (np.where(lag >= 0, binomial * s ** np.maximum(lag, 0), 0.0) for s in step)
    return np.asarray(left @ c @ right.T)


def _centred(coefficients: Array) -> Array:
    """Delta chi^2 around a minimum: value and gradient exactly 0 there."""
    c = coefficients.copy()
    c[0, 0] = c[1, 0] = c[0, 1] = 0
    return c
