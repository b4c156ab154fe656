"""Many pairs of windows, each at its offset: the equations of `estimator.compare`, together.

The first axis of every array is the window. No pixel weights: windows with holes are none of
these. All that the equations are made of is linear in eight fields a window: both images, their
derivatives, and the modes of two slopes. The products of these, weighted, are summed over the
modes once; the rest is algebra of matrices of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.compare import SLOPE_HINT, SLOPE_SIGMA
from coregister.estimator.equations import known_directions
from coregister.windows.kernels import SINGLE, Kernels
from coregister.windows.spectra import WindowSpectra, photometry

Float = NDArray[np.float64]
Index = NDArray[np.intp]

#: rows of the fields: both images, the derivatives of the reference, those of moving
X, Y, DX, DY = 0, 1, slice(2, 4), slice(4, 6)
#: and behind them the slopes of the background
SLOPES = slice(6, 8)


@dataclass(frozen=True, kw_only=True)
class WindowEquations:
    """As `coregister.estimator.equations.Equations`, a window a row.

    Attributes
    ----------
    spectra : WindowSpectra
    weight : (n, modes) array
    residual : (n, 8) array
        Amplitudes of the eight fields in what is left over, background taken out.
    gradient : (n, 2, 8) array
        The same of the gradient.
    score, information
        As there.
    values, vectors : (n, 2), (n, 2, 2) array
        Information along its principal directions, 0 where noise makes as much.
    scene : (n, 8) array
        Amplitudes of the best estimate of the scene.
    nuisance_inverse : (n, 3, 3) array
        Covariance of the amplitudes of the scene and both slopes; 0 where they are not fitted.
    tilted : (n,) bool array
        The background slopes.
    gain : (n,) array
    """

    spectra: WindowSpectra
    weight: Float
    residual: Float
    gradient: Float
    score: Float
    information: Float
    values: Float
    vectors: Float
    scene: Float
    nuisance_inverse: Float
    tilted: NDArray[np.bool_]
    gain: Float

    @property
    def step(self) -> Float:
        """``-information^-1 score``, (n, 2), none where nothing is known."""
        return np.asarray(-np.einsum("nij,nj->ni", self.bread, self.score))

    @property
    def bread(self) -> Float:
        """Inverse of the information, (n, 2, 2)."""
        inverse = np.divide(1.0, self.values, out=np.zeros_like(self.values), where=self.values > 0)
        return np.asarray((self.vectors * inverse[:, None]) @ self.vectors.transpose(0, 2, 1))

    def of(self, index: Index) -> WindowEquations:
        """Those of some windows."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        return WindowEquations(
            **{
                name: value.of(index) if name == "spectra" else value[index]
                for name, value in picked.items()
            }
        )

    def put(self, index: Index, other: WindowEquations) -> None:
        """Replace those of some windows."""
        for f in fields(self):
            new = getattr(other, f.name)
            if f.name == "spectra":
                self.spectra.put(index, new)
            else:
                getattr(self, f.name)[index] = new


def near(modes: Float, moved: Float) -> Float:
    """The fields, (n, 6, modes), moved by their derivatives; see `Comparison.equations`."""
    turn = np.broadcast_to(np.eye(6, dtype=SINGLE), (len(modes), 6, 6))[:, :2].copy()
    turn[:, X, DX] = -moved / 2
    turn[:, Y, DY] = moved / 2
    changed = modes.copy()
    changed[:, :2] = turn @ modes
    return changed


def weigh(
    kernels: Kernels, x: Float, y: Float, gain: Float | None, scene: Float | None = None
) -> tuple[Float, WindowSpectra]:
    """Gain and spectra from the modes of both."""
    about = np.einsum("nk,nk->n", x, y) / np.einsum("nk,nk->n", x, x) if gain is None else gain
    about = about.astype(SINGLE)[:, None]
    # of what they differ by, not of both: single precision would not do for that
    rest = y - about * x
    xx, xr, rr = ring_means(kernels, ((x, x), (x, rest), (rest, rest)))
    about = about.astype(np.float64)
    xy, yy = about * xx + xr, about**2 * xx + 2 * about * xr + rr
    return photometry(xx=xx, yy=yy, xy=xy, count=kernels.count, gain=gain, scene=scene)


def ring_means(kernels: Kernels, pairs: Sequence[tuple[Float, Float]]) -> Float:
    """Ring averages of some products: (pairs, n, rings)."""
    products = np.empty((len(pairs), *pairs[0][0].shape), dtype=SINGLE)
    for product, (first, second) in zip(products, pairs, strict=True):
        np.multiply(first, second, out=product)
    return np.asarray(kernels.mean(products))


def equations(
    kernels: Kernels,
    modes: Float,
    gain: Float | None = None,
    scene: Float | None = None,
    *,
    level: bool = False,
) -> WindowEquations:
    """Score, information and all behind them, where the fields are.

    Parameters
    ----------
    kernels : Kernels
    modes : (n, 6, modes) array
        Fields, each without its mean.
    gain, scene : array, optional
        First guesses of the gain, and of the power of the scene.
    level : bool
        Do not look for a background that slopes.
    """
    gain, spectra = weigh(kernels, modes[:, X], modes[:, Y], gain, scene)
    weight = kernels.spread_out(spectra.weight)
    products = _products(kernels, modes, weight)
    tilted = np.zeros(len(modes), dtype=bool)
    if not level:
        hinted = np.flatnonzero(_tilt(kernels, products, gain, SLOPE_HINT)[1])
    if not level and hinted.size:
        index, gains, without = _tilted(kernels, modes, products, gain, spectra, hinted)
        if index.size:
            tilted[index] = True
            gain[index] = gains
            spectra.put(index, without)
            weight[index] = kernels.spread_out(without.weight)
            products[index] = _products(kernels, modes[index], weight[index])
    n, share = len(modes), np.asarray(spectra.share)[:, 0]
    rows = np.zeros((9, n, 8))
    # the residual, the scene, both slopes of the background; gradient, and those of either image
    residual, nuisance = rows[0], rows[1:4].transpose(1, 0, 2)
    slopes, dx, dy = rows[4:6].transpose(1, 0, 2), np.zeros((n, 2, 8)), np.zeros((n, 2, 8))
    residual[:, X], residual[:, Y] = -gain, 1.0
    nuisance[:, 0, X], nuisance[:, 0, Y] = (1 - share) * gain, share
    nuisance[:, 1, 6] = nuisance[:, 2, 7] = tilted
    for axis in range(2):
        dx[:, axis, 2 + axis], dy[:, axis, 4 + axis] = gain, 1.0
    slopes = (1 - share)[:, None, None] * dx + share[:, None, None] * dy
    known = products @ nuisance.transpose(0, 2, 1)
    inverse = _inverse(nuisance @ known, tilted)
    residual = residual - ((residual[:, None] @ known) @ inverse @ nuisance)[:, 0]
    coupling = slopes @ known @ inverse
    gradient = slopes - coupling @ nuisance
    cross = dx @ products @ dy.transpose(0, 2, 1)
    cross = cross - coupling @ (slopes @ known).transpose(0, 2, 1)
    information = (cross + cross.transpose(0, 2, 1)) / 2
    values, vectors = known_directions(information, _information_noise(kernels, spectra, weight))
    return WindowEquations(
        spectra=spectra,
        weight=weight,
        residual=residual,
        gradient=gradient,
        score=(gradient @ products @ residual[:, :, None])[:, :, 0],
        information=information,
        values=values,
        vectors=vectors,
        scene=np.ascontiguousarray(nuisance[:, 0]),
        nuisance_inverse=inverse,
        tilted=tilted,
        gain=gain,
    )


def _products(kernels: Kernels, modes: Float, weight: Float) -> Float:
    """Weighted products of the eight fields: (n, 8, 8)."""
    weighted = modes * weight[:, None]
    products = np.empty((len(modes), 8, 8))
    products[:, :6, :6] = weighted @ modes.transpose(0, 2, 1)
    products[:, :6, SLOPES] = weighted @ kernels.slopes.T
    products[:, SLOPES, :6] = products[:, :6, SLOPES].transpose(0, 2, 1)
    products[:, SLOPES, SLOPES] = (weight @ kernels.slope_products).reshape(-1, 2, 2)
    return products


def _inverse(matrix: Float, tilted: NDArray[np.bool_]) -> Float:
    """Pseudo-inverse of what belongs to the scene and, where the background slopes, to that."""
    inverse = np.zeros_like(matrix)
    scene = matrix[:, 0, 0]
    inverse[:, 0, 0] = np.divide(1.0, scene, out=np.zeros_like(scene), where=scene > 0)
    if tilted.any():
        inverse[tilted] = np.linalg.pinv(matrix[tilted], rcond=1e-12, hermitian=True)
    return inverse


def _tilt(
    kernels: Kernels, products: Float, gain: Float, sigma: float
) -> tuple[Float, NDArray[np.bool_]]:
    """Amplitudes of the background's slopes, and where they are more significant than this."""
    amplitude = products[:, Y, SLOPES] - gain[:, None] * products[:, X, SLOPES]
    inverse = np.linalg.pinv(products[:, SLOPES, SLOPES], hermitian=True)
    solved = (inverse @ amplitude[:, :, None])[:, :, 0]
    found = np.einsum("ni,ni->n", amplitude, solved) > len(kernels.slopes) - 1 + sigma**2
    return solved, found


def _tilted(
    kernels: Kernels,
    modes: Float,
    products: Float,
    gain: Float,
    spectra: WindowSpectra,
    hinted: Index,
) -> tuple[Index, Float, WindowSpectra]:
    """Windows whose background slopes, and their gain and spectra without that."""
    x, y = modes[hinted, X], modes[hinted, Y]
    slope = _tilt(kernels, products[hinted], gain[hinted], SLOPE_HINT)[0]
    first, inside = weigh(
        kernels, x, y - slope.astype(SINGLE) @ kernels.slopes, gain[hinted], spectra.scene[hinted]
    )
    weight = kernels.spread_out(inside.weight)
    again = np.empty((hinted.size, 8, 8))
    again[:, :2, SLOPES] = (modes[hinted, :2] * weight[:, None]) @ kernels.slopes.T
    again[:, SLOPES, SLOPES] = (weight @ kernels.slope_products).reshape(-1, 2, 2)
    slope, found = _tilt(kernels, again, first, SLOPE_SIGMA)
    if not found.any():
        return hinted[found], gain[:0], spectra
    gains, without = weigh(
        kernels,
        x[found],
        y[found] - slope[found].astype(SINGLE) @ kernels.slopes,
        first[found],
        inside.scene[found],
    )
    return hinted[found], gains, without


def _information_noise(kernels: Kernels, spectra: WindowSpectra, weight: Float) -> Float:
    """Fourth moments of frequency, weighted by the noise of both images: (n, 2, 2)."""
    noise = kernels.spread_out(spectra.noise_product) * weight**2
    return np.asarray((noise @ kernels.fourth).reshape(-1, 2, 2), dtype=np.float64)
