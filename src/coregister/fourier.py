"""Fourier tools: exact shifts, and trigonometric polynomials known between the samples.

Conventions: arrays are real, transforms are `scipy.fft.rfftn`, offsets are in pixels and
array-axis order, and a shift by ``d`` moves content towards larger indices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Real = NDArray[np.floating]
Complex = NDArray[np.complexfloating]


def frequencies(shape: Sequence[int]) -> list[NDArray[np.float64]]:
    """Angular frequencies (rad/px) of `scipy.fft.rfftn`, one broadcastable array an axis."""
    ndim = len(shape)
    grids = []
    for axis, n in enumerate(shape):
        f = scipy.fft.rfftfreq(n) if axis == ndim - 1 else scipy.fft.fftfreq(n)
        grids.append((2 * np.pi * f).reshape([-1 if a == axis else 1 for a in range(ndim)]))
    return grids


def phase_ramp(
    shape: Sequence[int], offset: Sequence[float] | NDArray[np.float64]
) -> list[Complex]:
    """Factors, one an axis, whose product with a half spectrum moves the content by `offset`.

    On an even axis the Nyquist sample has no sign of frequency, so its factor is the cosine:
    the real, band-limited function through the samples is what moves.
    """
    ramps: list[Complex] = []
    for k, n, d in zip(frequencies(shape), shape, offset, strict=True):
        ramp = np.exp(-1j * k * d)
        if n % 2 == 0:
            ramp.reshape(-1)[n // 2] = np.cos(np.pi * d)
        ramps.append(ramp)
    return ramps


def fourier_shift(
    image: Real, offset: Sequence[float] | NDArray[np.float64], *, workers: int | None = None
) -> Real:
    """Move the content of a periodic real image by `offset` pixels.

    Parameters
    ----------
    image : array
        Real, any number of dimensions; taken as one period.
    offset : sequence of float
        Pixels in array-axis order; content moves towards larger indices.

    Returns
    -------
    array
        The moved image, same shape.

    Examples
    --------
    >>> import numpy as np
    >>> fourier_shift(np.array([0.0, 1.0, 0.0, 0.0]), [1.0]).round(12) + 0.0
    array([0., 0., 1., 0.])
    """
    spectrum = scipy.fft.rfftn(image, workers=workers)
    for ramp in phase_ramp(image.shape, offset):
        spectrum *= ramp
    return np.asarray(scipy.fft.irfftn(spectrum, s=image.shape, workers=workers))


class TrigPolynomial:
    """A real periodic function known through its half spectrum, at any real position.

    ``c(d) = sum_k w_k Re(C_k exp(i k.d))``, with ``w_k`` counting the half of the plane that
    `rfftn` leaves out, and cosines at the Nyquist frequencies of even axes. At integer ``d`` it
    equals ``irfftn(C) * N``. One evaluation with gradient and Hessian costs a few passes over
    the spectrum, far below one FFT: axis after axis is contracted with the vectors
    ``exp(i k d), ik exp(i k d), -k^2 exp(i k d)``.

    Parameters
    ----------
    spectrum : complex array
        Half spectrum as `scipy.fft.rfftn` orders it.
    shape : sequence of int
        Shape of the real array.
    """

    def __init__(self, spectrum: Complex, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        weight = np.full(spectrum.shape[-1], 2.0)
        weight[0] = 1.0
        if shape[-1] % 2 == 0:
            weight[-1] = 1.0
        self._spectrum = spectrum * weight

    def _basis(self, axis: int, positions: NDArray[np.float64], order: int) -> Complex:
        """exp(i k d) and its derivatives: (len(positions) * (order + 1), n_k)."""
        k = frequencies(self.shape)[axis].reshape(-1)
        wave = np.exp(1j * np.outer(positions, k))
        rows = [wave, 1j * k * wave, -(k**2) * wave][: order + 1]
        if self.shape[axis] % 2 == 0:
            half = self.shape[axis] // 2
            argument = np.pi * positions
            nyquist = (np.cos(argument), -np.pi * np.sin(argument), -(np.pi**2) * np.cos(argument))
            for row, value in zip(rows, nyquist, strict=False):
                row[:, half] = value
        return np.stack(rows).reshape(-1, k.size)

    def derivatives(
        self, position: Sequence[float] | NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Value, gradient (ndim,) and Hessian (ndim, ndim) at one position."""
        ndim = len(self.shape)
        tensor: Complex = self._spectrum
        for axis in range(ndim - 1, -1, -1):  # the last axis first: it is the contiguous one
            basis = self._basis(axis, np.atleast_1d(float(position[axis])), 2)
            tensor = np.moveaxis(tensor, axis, -1) @ basis.astype(tensor.dtype).T
            tensor = np.moveaxis(tensor, -1, axis)
        values = tensor.real
        gradient = np.empty(ndim)
        hessian = np.empty((ndim, ndim))
        for i in range(ndim):
            index = [0] * ndim
            index[i] = 1
            gradient[i] = values[tuple(index)]
            for j in range(ndim):
                index = [0] * ndim
                index[i] += 1
                index[j] += 1
                hessian[i, j] = values[tuple(index)]
        return float(values[(0,) * ndim]), gradient, hessian

    def grid(self, positions: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Values on the outer grid of one vector of positions an axis."""
        tensor: Complex = self._spectrum
        for axis in range(len(self.shape) - 1, -1, -1):
            basis = self._basis(axis, np.asarray(positions[axis], float), 0)
            tensor = np.moveaxis(np.moveaxis(tensor, axis, -1) @ basis.T, -1, axis)
        return np.asarray(tensor.real, dtype=np.float64)

    def samples(self, *, workers: int | None = None) -> Real:
        """Values at all integer positions: one inverse FFT."""
        spectrum = self._spectrum.copy()
        weight_two = slice(1, -1 if self.shape[-1] % 2 == 0 else None)
        spectrum[..., weight_two] /= 2
        values = scipy.fft.irfftn(spectrum, s=self.shape, workers=workers, overwrite_x=True)
        return np.asarray(values) * np.prod(self.shape)
