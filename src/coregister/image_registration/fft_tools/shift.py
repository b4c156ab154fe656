"""Move the content of a periodic array by any fraction of a pixel."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.fourier import fourier_shift
from coregister.image_registration.fft_tools.fast_ffts import samples, threads
from coregister.image_registration.misuse import MisuseWarning

__all__ = ["shift2d", "shiftnd"]


def shift2d(
    data: Any,
    deltax: float,
    deltay: float,
    phase: float = 0,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    return_abs: bool = False,
    return_real: bool = True,
) -> NDArray[Any]:
    """Move the content of an image: x first.

    Parameters
    ----------
    data : array_like
        2-D, one period. Pixels without a value count as 0.
    deltax, deltay : float
        Pixels along axis 1 and axis 0, towards larger indices.
    phase, nthreads, use_numpy_fft, return_abs, return_real
        As in `shiftnd`.

    Returns
    -------
    array
        The moved image.

    Raises
    ------
    InputError
        If `data` is not 2-D, or an option cannot be used.

    Examples
    --------
    To undo an offset that was measured:

    >>> import numpy as np
    >>> from coregister.image_registration import chi2_shift
    >>> image = np.random.default_rng(1).normal(size=(31, 33))
    >>> dx, dy = chi2_shift(image, shift2d(image, 3.3, -2.7), return_error=False)
    >>> back = shift2d(shift2d(image, 3.3, -2.7), -dx, -dy)
    >>> bool(np.allclose(back, image))
    True
    """
    values = samples(data, "data", gaps=0.0)
    if values.ndim != 2:
        raise InputError(
            f"data has {values.ndim} axes, shape {values.shape}; shift2d needs 2: use shiftnd"
        )
    offset = (deltay, deltax)
    return shiftnd(values, offset, phase, nthreads, use_numpy_fft, return_abs, return_real)


def shiftnd(
    data: Any,
    offset: Any,
    phase: float = 0,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    return_abs: bool = False,
    return_real: bool = True,
) -> NDArray[Any]:
    """Move the content of an array: offsets in the order of the axes.

    Parameters
    ----------
    data : array_like
        Any number of dimensions, one period. Pixels without a value count as 0.
    offset : sequence of float
        Pixels along each axis, ``(dy, dx)`` for an image, towards larger indices.
    phase : float
        The result is multiplied by ``exp(-1j * phase)``.
    nthreads : int
        Threads of the FFT.
    use_numpy_fft : bool
        No effect on the result.
    return_abs : bool
        The modulus.
    return_real : bool
        The real part; otherwise, without `return_abs`, complex values.

    Returns
    -------
    array
        The moved array, of the same shape.

    Raises
    ------
    InputError
        If `offset` does not hold one finite number an axis.

    Warns
    -----
    MisuseWarning
        If the offsets were given one by one and not as one sequence.

    Examples
    --------
    >>> import numpy as np
    >>> shiftnd(np.eye(3), (1, 0)).round(12) + 0.0
    array([[0., 0., 1.],
           [1., 0., 0.],
           [0., 1., 0.]])
    """
    values = samples(data, "data", gaps=0.0)
    if values.ndim == 2 and np.ndim(offset) == 0 and np.ndim(phase) == 0 and phase != 0:
        warnings.warn(
            f"shiftnd(data, {offset}, {phase}): the offsets are one argument, in the order of the "
            f"axes; taken as shiftnd(data, ({offset}, {phase})), {offset} px along axis 0 (y). "
            "If x came first, use shift2d(data, dx, dy)",
            MisuseWarning,
            stacklevel=2,
        )
        offset, phase = (offset, phase), 0
    shift = np.atleast_1d(np.asarray(offset, dtype=np.float64))
    if shift.shape != (values.ndim,) or not np.isfinite(shift).all():
        raise InputError(
            f"offset={offset!r} is not usable; {values.ndim} finite numbers in one tuple are "
            "needed, one an axis in the order of the axes: shiftnd(data, (dy, dx))"
        )
    workers = threads(nthreads, use_numpy_fft)
    result: NDArray[Any]
    if np.iscomplexobj(values):
        parts = (fourier_shift(part, shift, workers=workers) for part in (values.real, values.imag))
        result = next(parts) + 1j * next(parts)
    else:
        result = fourier_shift(values, shift, workers=workers)
    if phase != 0:
        result = result * np.exp(-1j * phase)
    if return_abs:
        return np.abs(result)
    return np.real(result) if return_real else result.astype(np.complex128)
