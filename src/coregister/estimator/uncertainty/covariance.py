"""How well the offset is known, read from what is left over.

The covariance is a sandwich ``H^-1 V H^-1``. ``H`` comes from products of the two images'
derivatives, whose noises are independent. ``V``, the variance of the score, is taken pixel by
pixel from residual and gradient, both whitened with the residual's own smooth spectrum: noise of
any colour and noise that varies over the field count as they are, and nothing needs to be known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.equations import Equations
from coregister.estimator.matrices import principal
from coregister.products import dot, matmul, pieces, products

Float = NDArray[np.float64]
Real = NDArray[np.floating[Any]]

#: offset, in bars, at which it is asked how the weights follow
STEP_ASIDE = 0.3
#: share of the information that these take away at most
MOST_LOST = 0.5


def loosened_by(bread: Float, score: Callable[[Float], Float]) -> Float:
    """Inverse slope of the score whose weights move with the offset.

    Spectra read at the optimum find less left over there than at the true offset, most so in
    rings that by chance ask for another one: weights follow, and give way to what pulls.

    Parameters
    ----------
    bread : (ndim, ndim) array
        Inverse of the information, the slope for weights that stay.
    score : callable
        What is left over at the optimum, times its gradient, weighted as at an offset beside it.
    """
    change = np.zeros_like(bread)
    for axis, bar in enumerate(np.sqrt(np.clip(np.diag(bread), 0.0, None))):
        if bar > 0:
            away = np.zeros(len(bread))
            away[axis] = STEP_ASIDE * bar
            change[axis] = (score(-away) - score(away)) / (2 * away[axis])
    return loosened(bread, change)


def loosened(bread: Float, change: Float) -> Float:
    """The same, from the change of the score with the offset that weights which follow make.

    Parameters
    ----------
    bread : (ndim, ndim) array
        Inverse of the information, the slope for weights that stay.
    change : (ndim, ndim) array
        Part of the slope that is lost; a row for each axis of the offset.
    """
    # part of the information that is lost
    values, vectors = principal(bread)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    lost, axes = principal(root @ (change + change.T) @ root / 2)
    kept = 1.0 - np.minimum(np.maximum(lost, 0.0), MOST_LOST)
    return np.asarray(root @ (axes / kept) @ axes.T @ root)


class Spread(NamedTuple):
    """Covariance of the offset, Student's widening aside.

    Attributes
    ----------
    seen : (ndim, ndim) array
        From what is left over, pixel by pixel.
    even : (ndim, ndim) array
        What stationary noise of the same spectrum would give.
    dof : float
        Effective number of pixels behind `seen`.
    chance : float
        Probability of a ratio of the two this far from 1, along any axis, if the noise is even.
    """

    seen: Float
    even: Float
    dof: float
    chance: float


def spread_of(left: Real, pulls: Real, bread: Float, gram: Float | None = None) -> Spread:
    """The sandwich, and the model form beside it.

    Parameters
    ----------
    left : array
        Whitened residual, in pixels.
    pulls : (ndim, ...) array
        Gradients whose product with it is the score.
    bread : (ndim, ndim) array
        Inverse of the information.
    gram : (ndim, ndim) array, optional
        Scalar products of `pulls`, if they are known.
    """
    from scipy.special import gammainc, gammaincc

    flat, values = pulls.reshape(len(pulls), -1), left.reshape(-1)
    ndim = len(flat)
    power = 0.0
    seen, of_pulls = np.zeros((2, ndim, ndim))
    fourth, squares = np.zeros((2, ndim))
    # fourth powers of bars would be beyond the range of single precision
    unit = float(np.abs(bread).max()) or 1.0
    rows = (bread / unit).astype(flat.dtype, copy=False)
    for part in pieces(values.size):
        some = values[part]
        if gram is None:
            few = flat[:, part]
            of_pulls += products(few, few)
        pulled = matmul(rows, flat[:, part])
        power += dot(some, some)
        squared = pulled * pulled
        squares += np.einsum("in,in->i", squared, squared)
        pulled *= some
        seen += products(pulled, pulled)
        np.multiply(pulled, pulled, out=squared)
        fourth += np.einsum("in,in->i", squared, squared)
    seen, fourth, squares = unit**2 * seen, unit**4 * fourth, unit**4 * squares
    # near 1; less where the residual is below the floor of its spectrum: no noise at all
    level = power / values.size
    even = level * (bread @ (of_pulls if gram is None else gram) @ bread.T)
    pixels = float(np.max(2 * seen.diagonal() ** 2 / np.maximum(fourth, 1e-300)))
    # chi^2 of independent pixels that weigh unequally
    total = even.diagonal()
    known = total > 0
    dof = (total[known] / level) ** 2 / np.maximum(squares[known], 1e-300)
    chi2 = seen.diagonal()[known] / total[known] * dof
    tails = np.minimum(gammainc(dof / 2, chi2 / 2), gammaincc(dof / 2, chi2 / 2))
    chance = float(np.min(2 * len(pulls) * tails, initial=1.0))
    return Spread(seen, even, pixels, chance)


def together(equations: Equations, pulls: Float, left: Float, bread: Float) -> float:
    """Factor by which the variance exceeds that of independent pixels.

    What stands in a hole is made of the noise around it: their sum scatters more than each. Modes
    see that; how the noise varies over the field they do not, so they give a factor only.
    """
    modes = matmul(bread, equations.gradient * (equations.weight * equations.residual))
    pixels = matmul(bread, pulls.reshape(len(pulls), -1))
    independent = dot(left, left) / left.size * dot(pixels, pixels)
    # 0 where nothing is known: images that have nothing in common
    return dot(modes, modes) / independent if independent > 0 else 1.0
