"""A trigonometric polynomial of twice the bandwidth, kept as what it is at whole and half pixels.

Four transforms of the size of the images take the place of one of four times the size, and one of
them, at whole pixels, is needed anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coregister.chi2.inputs import Array
from coregister.fourier import Complex, contract


class HalfPixelPolynomial:
    """A real periodic function known at whole and half pixels, at any real position.

    It is the one of `fourier.TrigPolynomial` through these samples.

    Parameters
    ----------
    spectra : (2, rows, 2, columns // 2 + 1) complex array
        Entry ``[a, :, b]`` is the conjugate half spectrum of the Fourier coefficients of the
        samples at ``(i + a / 2, j + b / 2)``; kept, not copied.
    shape : (int, int)
        Samples at whole pixels.
    """

    def __init__(self, spectra: Complex, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)
        self._matrix = spectra.reshape(2 * spectra.shape[1], 2 * spectra.shape[3])

    def taylor(self, position: Array, order: int) -> Array:
        """Taylor coefficients around a position; see `fourier.TrigPolynomial.taylor`."""
        y, x = (_rows(n, np.array([d]), order) for n, d in zip(self._shape, position, strict=True))
        return self._contracted(y[:, 0], x[:, 0])

    def grid(self, positions: Sequence[Array]) -> Array:
        """Values on the outer grid of two vectors of positions."""
        y, x = (_rows(n, p, 0)[0] for n, p in zip(self._shape, positions, strict=True))
        return self._contracted(y, x)

    def _contracted(self, y: Complex, x: Complex) -> Array:
        columns = self._shape[1]
        half = x[..., : columns // 2 + 1].copy()
        half[..., 1 : (columns + 1) // 2] *= 2  # the half of the plane that is left out
        rows = contract(self._matrix, 1, half.reshape(len(half), -1))
        return np.asarray(contract(rows, 0, y.reshape(len(y), -1)).real, dtype=np.float64)


def _rows(n: int, positions: Array, order: int) -> Complex:
    """What each conjugate mode of each kind of samples adds: (order + 1, len(positions), 2, n).

    A mode of the samples stands for two frequencies of the function, one sample length apart; the
    highest one, on half pixels, has no sign and is shared out evenly.
    """
    k = np.arange(n)
    places = positions[:, None, None] - np.array([[0.0], [0.5]])
    rows = np.zeros((order + 1, positions.size, 2, n), dtype=np.complex128)
    for frequency in (k, k - n):
        angular = -2 * np.pi / n * frequency
        term = 0.5 * np.exp(1j * angular * places)
        highest = frequency == -n
        for m in range(order + 1):
            rows[m] += np.where(highest, term.real, term)
            term *= 1j * angular / (m + 1)
    return rows
