"""A trigonometric polynomial of twice the bandwidth, kept as what it is at whole and half pixels.

Four transforms of the size of the images take the place of one of four times the size, and one of
them, at whole pixels, is needed anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from coregister.chi2.inputs import Array
from coregister.fourier import Complex
from coregister.products import contract


class HalfPixelPolynomial:
    """A real periodic function known at whole and half pixels, at any real position.

    It is the one of `fourier.TrigPolynomial` through these samples.

    Parameters
    ----------
    spectra : two times two (rows, columns // 2 + 1) complex arrays
        ``spectra[a][b]`` is the conjugate half spectrum of the Fourier coefficients of the
        samples at ``(i + a / 2, j + b / 2)``; kept, not copied.
    shape : (int, int)
        Samples at whole pixels.
    """

    def __init__(self, spectra: Sequence[Sequence[Complex]], shape: Sequence[int]) -> None:
        self._shape = tuple(shape)
        self._spectra = spectra

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
        total = np.zeros((len(y), len(x)))
        for a, pair in enumerate(self._spectra):
            rows = sum(contract(each, 1, half[:, b]) for b, each in enumerate(pair))
            total += contract(np.asarray(rows), 0, y[:, a]).real
        return total


@lru_cache(maxsize=64)
def _factors(n: int, order: int) -> tuple[Complex, Complex]:
    """Frequencies that each mode of the samples stands for, times -i, and their Taylor factors.

    Two of them, one sample length apart.
    """
    k = np.arange(n)
    slopes = -2j * np.pi / n * np.stack([k, k - n])
    factors = np.full((order + 1, 2, n), 0.5, dtype=np.complex128)
    for m in range(1, order + 1):
        factors[m] = factors[m - 1] * slopes / m
    return slopes, factors


def _rows(n: int, positions: Array, order: int) -> Complex:
    """What each conjugate mode of each kind of samples adds: (order + 1, len(positions), 2, n).

    The highest frequency, on half pixels, has no sign and is shared out evenly.
    """
    slopes, factors = _factors(n, order)
    places = positions[:, None, None] - np.array([[0.0], [0.5]])
    low, high = (factors[:, f, None, None] * np.exp(slopes[f] * places) for f in range(2))
    high[..., 0] = high[..., 0].real
    return np.asarray(low + high)
