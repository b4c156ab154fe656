"""A pair at one offset, mode by mode: what score, information and bars are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.matrices import inverse, principal, pseudo_inverse, root
from coregister.estimator.spectrum import Spectra
from coregister.products import contract, dot, energy, pieces, products

Float = NDArray[np.float64]

#: share of the score's variance that its fit absorbs, up to which it is let be
MOST_ABSORBED = 1e-3
#: the information along a direction counts where it exceeds what noise makes of it by this
INFORMATION_SIGMA = 8.0


#: information along a direction counts where it exceeds this share of the largest: the ends of
#: the overlap make that much of stripes without noise
ANISOTROPY = 1e-5


def known_directions(information: Float, noise: Float) -> tuple[Float, Float]:
    """Information along its principal directions, 0 where noise alone makes as much.

    Parameters
    ----------
    information : (..., ndim, ndim) array
    noise : (..., ndim, ndim) array
        See `Equations.information_noise`.
    """
    values, vectors = principal(information)
    squares = vectors.swapaxes(-1, -2) ** 2
    scatter = np.sqrt((squares @ noise * squares).sum(axis=-1))
    largest = np.abs(values).max(axis=-1, keepdims=True)
    floor = np.maximum(INFORMATION_SIGMA * scatter, ANISOTROPY * largest)
    return np.where(values > floor, values, 0.0), vectors


def absorbed(pulls: NDArray[np.floating[Any]]) -> float:
    """Share of the score's variance that is missing since its fit absorbed a part of the residual.

    Much, where few pixels make the score: then each of them is fitted.
    """
    most = 0.0
    for pull in pulls.reshape(len(pulls), -1):
        fourth = energy = 0.0
        for part in pieces(pull.size):
            square = np.square(pull[part])
            fourth += dot(square, square)
            energy += float(square.sum())
        most = max(most, fourth / max(energy**2, 1e-300))
    return most


def unabsorbed(left: Float, columns: Float) -> Float:
    """Residual as it would be, had the fit not absorbed a part: much of it in a few bright pixels.

    Parameters
    ----------
    left : array
        Whitened residual.
    columns : (n, ...) array
        What was fitted to it.
    """
    flat = columns.reshape(len(columns), -1)
    result = np.empty_like(left)
    source, target, rows = left.reshape(-1), result.reshape(-1), root(inverse(products(flat, flat)))
    for part in pieces(source.size):
        np.divide(source[part], _kept(_absorbed(flat, rows, part)), out=target[part])
    return result


def _absorbed(columns: Float, rows: Float, part: slice) -> Float:
    """Share of each value that a fit of the columns absorbs, of a part of them."""
    total = np.zeros_like(columns[0, part])
    for row in rows:
        mixed = float(row[0]) * columns[0, part]
        for factor, column in zip(row[1:], columns[1:], strict=True):
            mixed += float(factor) * column[part]
        mixed *= mixed
        total += mixed
    return total


def _kept(share: Float) -> Float:
    """Root of what is left of the variance of values of which a share was absorbed, in place."""
    np.clip(share, 0.0, 0.9, out=share)
    np.subtract(1.0, share, out=share)
    return np.sqrt(share, out=share)


def moments(field: NDArray[np.floating[Any]], rows: Sequence[Float]) -> Float:
    """Sums of a field against each of some rows along every axis: (rows, ...) for each axis."""
    for axis in reversed(range(field.ndim)):
        field = contract(field, axis, rows[axis].astype(field.dtype, copy=False))
    return field.astype(np.float64, copy=False)


def subtract(
    values: Float, amplitudes: Sequence[float] | Float, columns: Sequence[Float] | Float
) -> None:
    """Take so much of each column out of `values`, in place."""
    for amplitude, column in zip(amplitudes, columns, strict=True):
        for part in pieces(values.size):
            values[part] -= float(amplitude) * column[part]


@dataclass(frozen=True, kw_only=True)
class Equations:
    """A pair at one offset, mode by mode: what the score and its variance are made of.

    Attributes
    ----------
    spectra : Spectra
        Of the scene and of what is left over.
    weight : (n,) array
        Maximum-likelihood weight of each mode.
    residual : (n,) array
        Moving minus gain times reference, background taken out.
    gradient : (ndim, n) array
        Best estimate of the scene's derivative, made insensitive to gain and background.
    score : (ndim,) array
        Derivative of the misfit with respect to the offset.
    information : (ndim, ndim) array
        From products of the two images' derivatives: noise does not count as signal.
    information_noise : (ndim, ndim) array
        Fourth moments of frequency weighted by the noise of both images: along a unit vector
        ``u``, noise alone scatters the information by ``sqrt(u^2 @ this @ u^2)``.
    nuisance : (m, n) array
        What the fit takes out besides: the scene, and the background where it slopes.
    nuisance_inverse : (m, m) array
        Covariance of the amplitudes of these.
    powers : (3, size) array
        The two auto-spectra and the cross-spectrum as they were found, ring by ring, in units of
        moving.
    found : (size,) array
        Spectrum of the scene as it was found, whatever else is known of it.
    gain, background : float
        ``moving = gain * reference + background``.
    """

    spectra: Spectra
    weight: Float
    residual: Float
    gradient: Float
    score: Float
    information: Float
    information_noise: Float
    nuisance: Float
    nuisance_inverse: Float
    powers: Float
    found: Float
    gain: float
    background: float

    @property
    def scene(self) -> Float:
        """Best estimate of the scene, (n,)."""
        return np.asarray(self.nuisance[0])

    @cached_property
    def telling_modes(self) -> float:
        """Effective number of modes from which the offset is known."""
        share = energy(self.gradient)
        share *= self.weight
        return float(share.sum() ** 2 / max(dot(share, share), 1e-300))

    @cached_property
    def kept(self) -> Float:
        """What the fit left of the deviation of each mode's residual, up to 1, (n,)."""
        spread = root(inverse(self.information))
        other = root(self.nuisance_inverse)
        kept = np.empty_like(self.weight)
        for part in pieces(kept.size):
            absorbed = _absorbed(self.gradient, spread, part)
            absorbed += _absorbed(self.nuisance, other, part)
            absorbed *= self.weight[part]
            kept[part] = _kept(absorbed)
        return kept

    @cached_property
    def directions(self) -> tuple[Float, Float]:
        """Information along its principal directions, 0 where noise makes as much.

        Returns
        -------
        values : (ndim,) array
        vectors : (ndim, ndim) array
            Unit directions, in columns.
        """
        return known_directions(self.information, self.information_noise)

    def solve(self, vector: Float) -> Float:
        """``information^-1 vector``, with no step where nothing is known."""
        return np.asarray(pseudo_inverse(*self.directions) @ vector)
