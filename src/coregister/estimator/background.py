"""A level and a slope along each axis, in the cosine modes of a window."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import DTypeLike, NDArray

from coregister.fourier import along
from coregister.products import contract, dot, products

Float = NDArray[np.float64]


class Background:
    """Modes of a level and of slopes.

    Where all pixels count alike, a level is the mode of zero frequency, which has no weight, and
    a slope along an axis has no other modes than those of that axis.

    Parameters
    ----------
    shape : tuple of int
    weight : array, optional
        By which pixels are multiplied before they are transformed.
    dtype : dtype
        Of the modes.
    """

    def __init__(self, shape: tuple[int, ...], weight: Float | None, dtype: DTypeLike) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        lines = [np.linspace(-1, 1, n) for n in shape]
        self._dense: Float | None = None
        if weight is not None:
            arms = [along(v, a, len(shape)).astype(dtype) for a, v in enumerate(lines)]
            fields = [weight, *(weight * arm for arm in arms)]
            modes = [scipy.fft.dctn(f, norm="ortho").ravel() for f in fields]
            self._dense = np.stack(modes).astype(dtype, copy=False)
            self._norm = dot(self._dense[0], self._dense[0])
            return
        size = int(np.prod(shape))
        self._root = float(np.sqrt(size))
        self._places = []
        self._lines = []
        stride = size
        for n, line in zip(shape, lines, strict=True):
            stride //= n
            self._places.append(slice(0, n * stride, stride))
            self._lines.append(scipy.fft.dct(line, norm="ortho") * (self._root / np.sqrt(n)))

    def take_level(self, modes: Float) -> float:
        """Subtract the level from `modes`, in place, and return it."""
        if self._dense is None:
            level = float(modes[0]) / self._root
            modes[0] = 0.0
            return level
        level = self.level(modes)
        modes -= level * self._dense[0]
        return level

    def level(self, modes: Float) -> float:
        """Level of what has these modes."""
        if self._dense is None:
            return float(modes[0]) / self._root
        return dot(self._dense[0], modes) / self._norm

    def slopes(self, x: Float, y: Float, gain: float, weight: Float) -> tuple[Float, float]:
        """Amplitude of the slopes in ``y - gain * x``, and the square of its significance.

        Parameters
        ----------
        x, y : (n,) array
            Modes.
        gain : float
        weight : (n,) array
            Of the modes.
        """
        if self._dense is None:
            amplitude, strength = np.empty((2, len(self._shape)))
            for axis, (place, line) in enumerate(zip(self._places, self._lines, strict=True)):
                weighted = line * weight[place]
                amplitude[axis] = dot(weighted, y[place] - gain * x[place])
                strength[axis] = dot(weighted, line)
            known = strength > 0
            solved = np.divide(amplitude, strength, out=np.zeros_like(amplitude), where=known)
        else:
            slopes = self._dense[1:]
            weighted = slopes * weight
            amplitude = products(weighted, (y - gain * x)[np.newaxis])[:, 0]
            solved = np.linalg.pinv(products(weighted, slopes), hermitian=True) @ amplitude
        return solved, float(amplitude @ solved)

    def without(self, modes: Float, slopes: Float) -> Float:
        """`modes` without slopes of these amplitudes, whose level is left."""
        if self._dense is None:
            modes = modes.copy()
            for place, line, slope in zip(self._places, self._lines, slopes, strict=True):
                modes[place] -= slope * line
            modes[0] += sum(s * line[0] for s, line in zip(slopes, self._lines, strict=True))
            return modes
        tilt = contract(self._dense[1:], 0, slopes.astype(self._dtype)[np.newaxis])[0]
        tilt -= self.level(tilt) * self._dense[0]
        return np.asarray(modes - tilt)

    def columns(self, *, tilted: bool) -> Float:
        """Modes that the fit takes out: of the level if it has any weight, and of slopes."""
        if self._dense is not None:
            return self._dense if tilted else self._dense[:1]
        columns = np.zeros((len(self._shape) if tilted else 0, int(np.prod(self._shape))))
        columns = columns.astype(self._dtype, copy=False)
        for column, place, line in zip(columns, self._places, self._lines, strict=False):
            column[place] = line
        return columns
