"""Fourier tools: exact shifts, and trigonometric polynomials known between the samples.

Conventions: arrays are real, transforms are `scipy.fft.rfftn`, offsets are in pixels and
array-axis order, and a shift by ``d`` moves content towards larger indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import factorial

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.products import contract

Real = NDArray[np.floating]
Complex = NDArray[np.complexfloating]


def along(vector: NDArray[np.float64], axis: int, ndim: int) -> NDArray[np.float64]:
    """`vector` as an array of `ndim` axes that varies along `axis` only."""
    return vector.reshape([-1 if a == axis else 1 for a in range(ndim)])


def frequencies(shape: Sequence[int]) -> list[NDArray[np.float64]]:
    """Angular frequencies (rad/px) of `scipy.fft.rfftn`, one broadcastable array an axis."""
    ndim = len(shape)
    grids = []
    for axis, n in enumerate(shape):
        f = scipy.fft.rfftfreq(n) if axis == ndim - 1 else scipy.fft.fftfreq(n)
        grids.append(along(2 * np.pi * f, axis, ndim))
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
    workers : int, optional
        Threads of the FFT.

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
    if np.size(offset) != np.ndim(image):
        raise InputError(
            f"the image has {np.ndim(image)} axes and the offset {np.size(offset)}; one number an "
            "axis is needed"
        )
    if np.iscomplexobj(image):
        raise InputError("the image is complex; move its real and its imaginary part, one by one")
    spectrum = scipy.fft.rfftn(image, workers=workers)
    for ramp in phase_ramp(image.shape, np.atleast_1d(offset)):
        spectrum *= ramp
    return np.asarray(scipy.fft.irfftn(spectrum, s=image.shape, workers=workers))


@lru_cache
def _single_axes(ndim: int) -> tuple[NDArray[np.intp], ...]:
    """Where a tensor of powers along each axis has those of one axis alone."""
    return tuple(np.eye(ndim, dtype=np.intp))


@lru_cache
def pairs_of_axes(ndim: int) -> tuple[NDArray[np.intp], ...]:
    """Where a tensor of powers along each axis has those of every two axes multiplied."""
    unit = np.eye(ndim, dtype=np.intp)
    return tuple((unit[:, None] + unit).transpose(2, 0, 1))


@lru_cache(maxsize=64)
def _taylor_factors(
    n: int, density: float, last: bool, order: int
) -> tuple[Complex, Complex, NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies along an axis times i, and ``(ik)^m / m!`` there, times the modes they stand for.

    With ``k^m / m!`` at the highest of them, and the phases of the derivatives of a cosine.
    """
    k = density * 2 * np.pi * (scipy.fft.rfftfreq(n) if last else scipy.fft.fftfreq(n))
    factors = np.empty((order + 1, k.size), dtype=np.complex128)
    factors[0] = 1.0
    if last:
        factors[0, 1 : (n + 1) // 2] = 2.0
    for m in range(1, order + 1):
        factors[m] = factors[m - 1] * (1j * k / m)
    powers = np.arange(order + 1.0)
    highest = abs(k[n // 2]) ** powers / [factorial(m) for m in range(order + 1)]
    return 1j * k, factors, highest[:, None], np.pi / 2 * powers[:, None]


class TrigPolynomial:
    """A real periodic function known through its half spectrum, at any real position.

    ``c(d) = sum_k w_k Re(C_k exp(i k.d))``, with ``w_k`` counting the half of the plane that
    `rfftn` leaves out, and cosines at the Nyquist frequencies of even axes. At the samples,
    integer ``d`` when `density` is 1, it equals ``irfftn(C) * N``. Evaluation contracts axis
    after axis with vectors ``(ik)^m exp(i k d)``: a few passes over the spectrum, far below
    one FFT.

    Parameters
    ----------
    spectrum : complex array
        Half spectrum as `scipy.fft.rfftn` orders it; kept, not copied.
    shape : sequence of int
        Shape of the real array.
    density : float or sequence of float, default 1
        Samples a pixel, on every axis or on each: the period is ``shape / density`` pixels.
    """

    def __init__(
        self,
        spectrum: Complex,
        shape: Sequence[int],
        *,
        density: float | Sequence[float] | NDArray[np.float64] = 1,
    ) -> None:
        self.shape = tuple(shape)
        self.density = np.full(len(self.shape), density, dtype=np.float64)
        self._spectrum = spectrum

    @classmethod
    def from_samples(
        cls, samples: Real, *, density: float | Sequence[float] | NDArray[np.float64] = 1
    ) -> TrigPolynomial:
        """The polynomial through `samples`, which stand ``1 / density`` pixels apart."""
        spectrum = scipy.fft.rfftn(samples, norm="forward")
        return cls(spectrum, samples.shape, density=density)

    def moved(self, by: Sequence[float] | NDArray[np.generic]) -> TrigPolynomial:
        """The same function, displaced by so many pixels along every axis."""
        spectrum = self._spectrum
        for n, k, density, d in zip(
            self.shape, frequencies(self.shape), self.density, by, strict=True
        ):
            turn = np.exp(-1j * density * k * float(d))
            if n % 2 == 0:  # a cosine
                turn = np.where(np.abs(k) == np.pi, turn.real, turn)
            spectrum = spectrum * turn
        return TrigPolynomial(spectrum, self.shape, density=self.density)

    def _basis(self, axis: int, positions: NDArray[np.float64], order: int) -> Complex:
        """Taylor coefficients of exp(i k d) at `positions`: (order + 1, len(positions), n_k).

        Those of the last axis count the half of the plane that the spectrum leaves out.
        """
        n = self.shape[axis]
        last = axis == len(self.shape) - 1
        density = float(self.density[axis])
        ik, factors, highest, phases = _taylor_factors(n, density, last, order)
        rows: Complex = factors[:, None, :] * np.exp(positions[:, None] * ik)
        if n % 2 == 0:
            rows[:, :, n // 2] = highest * np.cos(density * np.pi * positions + phases)
        return rows

    def taylor(
        self, position: Sequence[float] | NDArray[np.float64], order: int
    ) -> NDArray[np.float64]:
        """Taylor coefficients around one position, up to `order` along every axis.

        Entry ``[a, b, ...]`` multiplies ``x**a * y**b * ...`` with ``(x, y, ...)`` counted from
        `position`; shape ``(order + 1,) * ndim``. What is left out at a distance ``r`` along an
        axis is at most ``(K r)**(order + 1) / (order + 1)!`` of the function's amplitude,
        ``K = density * pi``.
        """
        tensor: Complex = self._spectrum
        for axis in range(len(self.shape) - 1, -1, -1):  # the last is the contiguous one
            point = np.array([position[axis]], dtype=np.float64)
            basis = self._basis(axis, point, order)[:, 0].astype(tensor.dtype, copy=False)
            tensor = contract(tensor, axis, basis)
        return np.asarray(tensor.real, dtype=np.float64)

    def derivatives(
        self, position: Sequence[float] | NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Value, gradient (ndim,) and Hessian (ndim, ndim) at one position."""
        coefficients = self.taylor(position, 2)
        ndim = coefficients.ndim
        squares = coefficients[pairs_of_axes(ndim)]
        gradient = coefficients[_single_axes(ndim)]
        hessian = squares + np.diag(squares.diagonal())
        return float(coefficients[(0,) * ndim]), gradient, hessian

    def grid(self, positions: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Values on the outer grid of one vector of positions an axis."""
        tensor: Complex = self._spectrum
        for axis in range(len(self.shape) - 1, -1, -1):
            basis = self._basis(axis, np.asarray(positions[axis], float), 0)[0]
            tensor = contract(tensor, axis, basis)
        return np.asarray(tensor.real, dtype=np.float64)

    def samples(self, *, workers: int | None = None) -> Real:
        """Values at the positions of the samples: one inverse FFT."""
        values = scipy.fft.irfftn(self._spectrum, s=self.shape, norm="forward", workers=workers)
        return np.asarray(values)
