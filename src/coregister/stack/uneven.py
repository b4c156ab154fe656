"""What is left over of a frame, pixel by pixel: what it says of the bars, and if all fits alike.

As for a pair: a sandwich covariance, and the score resolved along rotation, scale and shear; see
`coregister.estimator.uncertainty`. Both are moments of the score and of its products over the
field, which are taken together; what the frame's own residual has no part in is worked out once.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.matrices import inverse
from coregister.fourier import pairs_of_axes
from coregister.products import contract, products

Float = NDArray[np.float64]


class Unevenness:
    """The gradients that a residual is multiplied with, and their moments.

    Parameters
    ----------
    pulls : (ndim, ...) array
        Their product with a whitened residual is the score, in pixels.
    """

    def __init__(self, pulls: Float) -> None:
        self._pulls = pulls
        self._ndim = len(pulls)
        self._pairs = [(i, j) for i in range(self._ndim) for j in range(i, self._ndim)]

    @cached_property
    def _powers(self) -> list[Float]:
        """Along each axis, 1, the distance from where the information is, and its square."""
        energy = np.einsum("i...,i...->...", self._pulls, self._pulls)
        rows = []
        for axis, n in enumerate(energy.shape):
            arm = np.linspace(-1.0, 1.0, n)
            along = energy.sum(axis=tuple(a for a in range(self._ndim) if a != axis))
            total = float(along.sum())
            arm = arm - float(along @ arm) / total if total > 0 else arm
            rows.append(np.stack([arm**0, arm, arm**2]).astype(energy.dtype))
        return rows

    def of(self, residual: Float, bread: Float) -> tuple[Float, float, float]:
        """Covariance from what is left over, effective pixels behind it, chance of an even one.

        Parameters
        ----------
        residual : array
            Whitened.
        bread : (ndim, ndim) array
            Inverse of the information.
        """
        from scipy.special import gammaincc

        ndim, pairs = self._ndim, self._pairs
        fields = np.empty((ndim + len(pairs), *residual.shape), self._pulls.dtype)
        scores, crossed = fields[:ndim], fields[ndim:]
        np.multiply(self._pulls, residual, out=scores)
        for product, (i, j) in zip(crossed, pairs, strict=True):
            np.multiply(scores[i], scores[j], out=product)
        first, second = tuple(np.eye(ndim, dtype=np.intp)), pairs_of_axes(ndim)
        moments = self._moments(fields).astype(np.float64)
        amplitude = np.array([moment[first] for moment in moments[:ndim]]).ravel()
        squares = np.empty((ndim, ndim))
        scatter = np.empty((ndim, ndim, ndim, ndim))
        for moment, (i, j) in zip(moments[ndim:], pairs, strict=True):
            squares[i, j] = squares[j, i] = moment[(0,) * ndim]
            scatter[i, :, j] = scatter[j, :, i] = moment[second]
        weighed = inverse(scatter.reshape(ndim * ndim, -1), 1e-10)
        chi2 = float(amplitude @ weighed @ amplitude)
        chance = float(gammaincc(ndim * ndim / 2, chi2 / 2))

        seen = bread @ squares @ bread.T
        fourths = products(crossed, crossed)
        size = float(np.abs(bread).max()) or 1.0
        rows = bread / size
        shares = np.array([[(1 + (i != j)) * row[i] * row[j] for i, j in pairs] for row in rows])
        fourth = size**4 * np.einsum("ip,pq,iq->i", shares, fourths, shares)
        pixels = float(np.max(2 * seen.diagonal() ** 2 / np.maximum(fourth, 1e-300)))
        return seen, pixels, chance

    def _moments(self, fields: Float) -> Float:
        """Sums of fields times powers of the distance along each axis.

        As `coregister.estimator.equations.moments`, of many at once, which takes a tenth less time
        of a whole stack than one by one.
        """
        moments = fields
        for axis in range(self._ndim, 0, -1):  # the last one is contiguous
            moments = contract(moments, axis, self._powers[axis - 1])
        return moments
