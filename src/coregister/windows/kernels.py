"""What all windows of one shape have in common: matrices that move and transform them, rings.

A window at a sub-pixel position, and its cosine modes, are linear in the pixels around: one
matrix an axis. Its entries are smooth in the position, so that the matrices of all windows follow
from a few by one product.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.movable import faded
from coregister.estimator.rings import Rings, cosine_rings, interpolator
from coregister.estimator.uncertainty.disagreement import BANDS, FINER_BANDS
from coregister.fourier import along
from coregister.products import matmul

Float = NDArray[np.float64]

#: pixels around a window that are used when it is moved
REACH = 16
#: the kernel ends smoothly over the last of these
ENDS = 6
#: farthest that either window may be moved, px, and degree of the polynomials in that
FARTHEST, DEGREE = 0.42, 11
#: coarse modes are looked at first where there are so many along an axis
FEWEST_COARSE = 12
#: digits of pixels and modes: many more than noise leaves; sums over rings have all
SINGLE = np.float32
#: frequencies from which a kernel is put together
NODES = 1024


def _kernel(place: Float) -> tuple[Float, Float]:
    """Interpolation kernel and its derivative at a distance (px)."""
    k = np.pi * (np.arange(NODES) + 0.5) / NODES
    amplitude = faded(k) / NODES
    phase = place[..., None] * k
    value, slope = np.cos(phase) @ amplitude, -np.sin(phase) @ (amplitude * k)
    end = np.clip((REACH - np.abs(place)) / ENDS, 0.0, 1.0)
    taper = np.sin(np.pi / 2 * end) ** 2
    return value * taper, slope * taper


@lru_cache(maxsize=64)
def _movers(size: int, kept: int) -> Float:
    """Chebyshev coefficients of the matrices of one axis: (degree + 1, 2 * kept * wide).

    Rows of the first half are the modes, of the second half those of the derivative.
    """
    nodes = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
    wide = size + 2 * REACH
    # the same at every pixel; a kernel reaches no farther than this
    apart = np.arange(REACH + 1, -REACH - 2, -1.0)
    kernel = np.stack(_kernel(apart + FARTHEST * nodes[:, None]), axis=1)
    lines = np.zeros((DEGREE + 1, 2, size, size + apart.size - 1))
    for row in range(size):
        lines[:, :, row, row : row + apart.size] = kernel
    cosine = scipy.fft.dct(np.eye(size), norm="ortho", axis=0)[:kept]
    at_nodes = cosine @ lines[..., 1 : 1 + wide]
    coefficients = scipy.fft.dct(at_nodes, axis=0) / (DEGREE + 1)
    coefficients[0] /= 2
    return np.asarray(coefficients.reshape(DEGREE + 1, -1), dtype=SINGLE)


class Kernels:
    """Matrices and rings for windows of one shape.

    Parameters
    ----------
    shape : tuple of int
        Pixels.
    step : int
        Only the lowest modes are taken, one in `step` along each axis.

    Attributes
    ----------
    count, frequency : (rings,) array
    order : (modes,) array
        Places of the modes in the transform, ring by ring; zero frequency is in none of them.
    spread : (rings, modes) array
        Its product with values, ring by ring, are these at every mode.
    slopes : (2, modes) array
        Modes of a slope along each axis.
    k : (2, modes) array
        Angular frequency along each axis, rad/px.
    """

    def __init__(self, shape: tuple[int, int], step: int = 1) -> None:
        self._pixels = shape
        self.shape = shape[0] // step, shape[1] // step
        self.rings: Rings = cosine_rings(self.shape, step)
        self.count, self.frequency = self.rings.count, self.rings.frequency
        of_mode = self.rings.of_mode
        inside = np.count_nonzero(of_mode < self.rings.size)
        self.order = np.argsort(of_mode, kind="stable")[:inside]
        self._starts = np.searchsorted(of_mode[self.order], np.arange(self.rings.size))
        self.spread = self.ordered(spread_matrix(self.rings, self.frequency)).astype(SINGLE)
        modes = [np.arange(n) for n in self.shape]
        k = [along(np.pi * m / n, a, 2) for a, (m, n) in enumerate(zip(modes, shape, strict=True))]
        self.k = self.ordered(np.stack([np.broadcast_to(f, self.shape).ravel() for f in k]))
        fourth = [self.k[i] ** 2 * self.k[j] ** 2 for i in (0, 1) for j in (0, 1)]
        self.fourth = np.stack(fourth, axis=1).astype(SINGLE)
        slopes = np.zeros((2, *self.shape))
        for a, (n, m) in enumerate(zip(shape, self.shape, strict=True)):
            line = scipy.fft.dct(np.linspace(-1, 1, n), norm="ortho") * np.sqrt(shape[1 - a])
            slopes[(a, slice(None), 0) if a == 0 else (a, 0, slice(None))] = line[:m]
        self.slopes = self.ordered(slopes.reshape(2, -1)).astype(SINGLE)
        pairs = [self.slopes[i] * self.slopes[j] for i in (0, 1) for j in (0, 1)]
        self.slope_products = np.stack(pairs).T

    @cached_property
    def bands(self) -> tuple[Float, NDArray[np.intp]]:
        """The product of values with the first, mode by mode, are their sums over finer bands.

        The second: with which of these the other bands start.
        """
        band = self.rings.band(FINER_BANDS)[self.order]
        inside = np.unique(band[band >= 0])
        of_finer = np.searchsorted(BANDS, np.append(0.0, FINER_BANDS)[inside], side="right")
        start = np.flatnonzero(np.diff(of_finer, prepend=-1))
        return (band[:, None] == inside).astype(SINGLE), start

    @cached_property
    def lines(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
        """Modes of rows and columns of one value each; the finer bands; True for those with more.

        The bands are numbered by the edges below them, as far as they have modes.
        """
        band = self.rings.band(FINER_BANDS)[self.order]
        line = np.any(self.k == 0, axis=0)
        inside = np.unique(band[band >= 0])
        return np.flatnonzero(line), inside, np.isin(inside, band[~line])

    @cached_property
    def coarse(self) -> Kernels | None:
        """Those of the lower half of the modes; None where these are few."""
        if min(self._pixels) < 2 * FEWEST_COARSE or any(n % 2 for n in self._pixels):
            return None
        return Kernels(self._pixels, 2)

    def modes_at(self, patches: tuple[Float, Float], offset: Float) -> Float:
        """Modes of both windows, moved towards each other by half of `offset`, and derivatives.

        Parameters
        ----------
        patches : two (n, ...) arrays
            The windows with `REACH` pixels around, the second at the whole-pixel offset.
        offset : (n, 2) array
            Beyond that.

        Returns
        -------
        (n, 6, modes) array
            Reference, moving, both derivatives of the first, both of the second.
        """
        m, n = self.shape
        modes = np.empty((len(offset), 6, m, n), dtype=SINGLE)
        for image, patch in enumerate(patches):
            fraction = (offset if image else -offset) / 2
            first, second = (self._matrices(a, fraction[:, a]) for a in range(2))
            rows = matmul(first, patch)
            both = matmul(rows[:, :m], second.transpose(0, 2, 1))
            modes[:, image] = both[:, :, :n]
            modes[:, 3 + 2 * image] = both[:, :, n:]
            modes[:, 2 + 2 * image] = matmul(rows[:, m:], second[:, :n].transpose(0, 2, 1))
        return self.ordered(modes.reshape(len(offset), 6, -1))

    def _matrices(self, axis: int, fraction: Float) -> Float:
        powers = np.polynomial.chebyshev.chebvander(fraction / FARTHEST, DEGREE)
        product = matmul(powers.astype(SINGLE), _movers(self._pixels[axis], self.shape[axis]))
        return np.asarray(product.reshape(len(fraction), 2 * self.shape[axis], -1))

    def untransform(self, modes: Float) -> Float:
        """Fields of which the modes are given: (..., *shape)."""
        fields = np.zeros((*modes.shape[:-1], self.shape[0] * self.shape[1]), dtype=modes.dtype)
        fields[..., self.order] = modes
        fields = fields.reshape(*modes.shape[:-1], *self.shape)
        return np.asarray(scipy.fft.idctn(fields, norm="ortho", axes=(-2, -1), overwrite_x=True))

    def spread_out(self, values: Float) -> Float:
        """Values, ring by ring, at every mode."""
        return matmul(values.astype(SINGLE), self.spread)

    def mean(self, values: Float) -> Float:
        """Averages over the rings of values, mode by mode."""
        return np.asarray(np.add.reduceat(values, self._starts, axis=-1) / self.count)

    def ordered(self, values: NDArray[np.floating]) -> Float:
        """Values at all modes, ring after ring."""
        return np.asarray(values.take(self.order, axis=-1))


def in_units(fields: Float) -> Float:
    """Windows without their mean, each in a unit of its own: single precision has little range."""
    centred = (fields - fields.mean(axis=(1, 2), keepdims=True)).astype(SINGLE)
    centred /= np.maximum(np.abs(centred).max(axis=(1, 2), keepdims=True), 1e-30)
    return np.asarray(centred)


def spread_matrix(rings: Rings, frequency: Float) -> Float:
    """Matrix that takes values at some frequencies to every mode."""
    columns = np.eye(frequency.size)
    return np.stack([rings.spread_function(interpolator(frequency, c)) for c in columns])


@lru_cache(maxsize=12)
def kernels(shape: tuple[int, int]) -> Kernels:
    """Those of a shape; kept."""
    return Kernels(shape)
