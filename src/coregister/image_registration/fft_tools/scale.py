"""Values between the samples: the trigonometric polynomial through a periodic array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.fourier import TrigPolynomial, along
from coregister.image_registration.fft_tools.fast_ffts import samples, threads

__all__ = ["fourier_interp1d", "fourier_interp2d", "fourier_interpnd"]

Float = NDArray[np.float64]


def interpolate(
    values: NDArray[Any], positions: Sequence[Float], *, workers: int = 1
) -> NDArray[Any]:
    """Values on the outer grid of one vector of positions an axis, in pixels of the array.

    Real for a real array; a wave at the Nyquist frequency is a cosine.
    """
    if np.iscomplexobj(values):
        real, imaginary = (
            interpolate(part, positions, workers=workers) for part in (values.real, values.imag)
        )
        return np.asarray(real + 1j * imaginary)
    spectrum = scipy.fft.rfftn(values, norm="forward", workers=workers)
    return TrigPolynomial(spectrum, values.shape).grid(positions)


def fourier_interpnd(
    data: Any,
    outinds: Any,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    return_real: bool = True,
) -> NDArray[Any]:
    """Values of a periodic array of any number of dimensions on an outer grid of positions.

    Parameters
    ----------
    data : array_like
        One period.
    outinds : sequence of array_like
        Positions in pixels: one vector an axis, or an array ``(ndim, n, m, ...)`` as
        `numpy.indices` makes it. Beyond the edges the array repeats.
    nthreads : int
        Threads of the FFT.
    use_numpy_fft : bool
        No effect on the result.
    return_real : bool
        The real part, or complex values.

    Returns
    -------
    array

    Raises
    ------
    InputError
        If `data` has pixels without a value, or `outinds` is not an outer grid of its axes.

    Examples
    --------
    >>> import numpy as np
    >>> wave = np.cos(2 * np.pi * np.arange(8) / 8)
    >>> cube = wave[:, None, None] * wave[:, None] * wave
    >>> fourier_interpnd(cube, ([1.5], [0, 4], [0, 0.5, 1])).round(3)[0]
    array([[ 0.383,  0.354,  0.271],
           [-0.383, -0.354, -0.271]])
    """
    values = samples(data, "data")
    positions = _axes(outinds, values.ndim)
    result = interpolate(values, positions, workers=threads(nthreads, use_numpy_fft))
    return np.real(result) if return_real else result.astype(np.complex128)


def fourier_interp2d(
    data: Any,
    outinds: Any,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    return_real: bool = True,
) -> NDArray[Any]:
    """Values of a periodic image on an outer grid of positions.

    Parameters
    ----------
    data : array_like
        One period, 2-D.
    outinds, nthreads, use_numpy_fft, return_real
        As in `fourier_interpnd`.

    Returns
    -------
    array

    Raises
    ------
    InputError
        As `fourier_interpnd`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.outer(np.ones(6), np.cos(2 * np.pi * np.arange(8) / 8))
    >>> fourier_interp2d(image, ([0, 0.5], [0, 1, 1.5])).round(3)
    array([[1.   , 0.707, 0.383],
           [1.   , 0.707, 0.383]])
    """
    return fourier_interpnd(data, outinds, nthreads, use_numpy_fft, return_real)


def fourier_interp1d(
    data: Any,
    out_x: ArrayLike,
    data_x: ArrayLike | None = None,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    return_real: bool = True,
) -> NDArray[Any]:
    """Values of a periodic 1-D array at any positions.

    Parameters
    ----------
    data : array_like
        One period.
    out_x : array_like
        1-D: where values are wanted.
    data_x : array_like, optional
        Where the samples stand, rising or falling; their indices if not given. Between two of
        them the index is taken as linear, and beyond the ends it goes on as next to them.
    nthreads, use_numpy_fft, return_real
        As in `fourier_interpnd`.

    Returns
    -------
    array
        The shape of `out_x`.

    Raises
    ------
    InputError
        If `data` has pixels without a value, or a shape or the order of `data_x` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(7, 0, 8)  # falling
    >>> fourier_interp1d(np.cos(2 * np.pi * x / 8), np.array([0.0, 1.0, 2.0]), x).round(3) + 0.0
    array([1.   , 0.707, 0.   ])
    """
    positions = np.asarray(out_x, dtype=np.float64)
    values = samples(data, "data")
    if values.ndim != 1 or positions.ndim != 1:
        raise InputError(
            f"data has {values.ndim} axes and out_x {positions.ndim}; 1 is needed: use "
            "fourier_interpnd for more"
        )
    if data_x is not None:
        positions = _index(positions, np.asarray(data_x, dtype=np.float64), values.shape)
    return fourier_interpnd(values, (positions,), nthreads, use_numpy_fft, return_real)


def _index(x: Float, known: Float, shape: tuple[int, ...]) -> Float:
    """Where `x` stands among the indices of `known`."""
    step = np.diff(known)
    if known.shape != shape or known.size < 2 or not (np.all(step > 0) or np.all(step < 0)):
        raise InputError(
            f"data_x has shape {known.shape}; {shape[0]} numbers (2 or more), rising or falling "
            "all along, are needed: one for each value of data"
        )
    last = known.size - 1
    if step[0] < 0:
        return last - _index(x, known[::-1], shape)
    index = np.interp(x, known, np.arange(known.size))
    index = np.where(x < known[0], (x - known[0]) / step[0], index)
    return np.where(x > known[-1], last + (x - known[-1]) / step[-1], index)


def _axes(outinds: Any, ndim: int) -> list[Float]:
    """One vector of positions for each axis."""
    if len(outinds) != ndim:
        raise InputError(
            f"outinds has {len(outinds)} entries and data {ndim} axes; one entry an axis is needed"
        )
    vectors = [np.asarray(entry, dtype=np.float64) for entry in outinds]
    if all(vector.ndim <= 1 for vector in vectors):
        return [np.atleast_1d(vector) for vector in vectors]
    lines = []
    for axis, grid in enumerate(vectors):
        if grid.ndim != ndim:
            break
        lines.append(np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)[:, 0])
        if not np.array_equal(grid, np.broadcast_to(along(lines[-1], axis, ndim), grid.shape)):
            break
    else:
        return lines
    raise InputError(
        "outinds is not an outer grid (one vector an axis, or what numpy.indices makes of "
        "them); for scattered or rotated positions use scipy.ndimage.map_coordinates"
    )
