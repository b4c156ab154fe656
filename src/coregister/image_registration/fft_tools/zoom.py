"""A piece of an array on a finer grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.chi2 import inputs
from coregister.errors import InputError
from coregister.image_registration.fft_tools.fast_ffts import samples, threads
from coregister.image_registration.fft_tools.scale import interpolate
from coregister.image_registration.misuse import MisuseWarning

__all__ = ["zoom1d", "zoom_on_pixel", "zoomnd"]


def zoom_on_pixel(
    inp: Any,
    coordinates: Sequence[float],
    usfac: float = 1,
    outshape: Any = None,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    return_real: bool = True,
    return_xouts: bool = False,
) -> Any:
    """The surroundings of one position, on a finer grid centred there.

    Parameters
    ----------
    inp : array_like
        Any number of dimensions, one period.
    coordinates : sequence of float
        The position, in pixels and in the order of the axes: ``(y, x)`` for an image.
    usfac : float
        Pixels of the result in one of `inp`.
    outshape : tuple of int, optional
        Shape of the result; that of `inp` if not given.
    nthreads : int
        Threads of the FFT.
    use_numpy_fft : bool
        No effect on the result.
    return_real : bool
        The real part, or complex values.
    return_xouts : bool
        Return the positions too.

    Returns
    -------
    array, or (array, array)
        The values; with `return_xouts` first the positions in pixels of `inp`, of the shape
        ``(ndim, *outshape)``.

    Raises
    ------
    InputError
        If `inp` has pixels without a value, or a number does not fit.

    Warns
    -----
    MisuseWarning
        If `outshape` is one number and `inp` has several axes: it is taken for each of them.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:32, :32]
    >>> peak = np.exp(-((y - 12.25) ** 2 + (x - 20.5) ** 2) / 8)
    >>> (yy, xx), fine = zoom_on_pixel(peak, (12, 20), 4, (9, 9), return_xouts=True)
    >>> place = np.unravel_index(fine.argmax(), fine.shape)
    >>> float(yy[place]), float(xx[place]), round(float(fine[place]), 6)
    (12.25, 20.5, 1.0)
    """
    values = samples(inp, "inp")
    usfac = inputs.positive(usfac, "usfac")
    target = np.atleast_1d(np.asarray(coordinates, dtype=np.float64))
    if target.shape != (values.ndim,) or not np.isfinite(target).all():
        raise InputError(
            f"coordinates={coordinates!r} is not usable; {values.ndim} finite numbers are needed, "
            "one an axis in the order of the axes, (y, x)"
        )
    shape = _shape(outshape, values)
    axes = [
        centre + (np.arange(n) - (n - 1) / 2) / usfac
        for centre, n in zip(target, shape, strict=True)
    ]
    result = interpolate(values, axes, workers=threads(nthreads, use_numpy_fft))
    result = np.real(result) if return_real else result.astype(np.complex128)
    return (np.stack(np.meshgrid(*axes, indexing="ij")), result) if return_xouts else result


def zoomnd(
    inp: Any,
    offsets: Sequence[float] = (),
    middle_convention: Callable[[float], float] = float,
    **kwargs: Any,
) -> Any:
    """The surroundings of the middle of an array, on a finer grid.

    Parameters
    ----------
    inp : array_like
        Any number of dimensions, one period.
    offsets : sequence of float, optional
        From the middle, in pixels of `inp` and in the order of the axes.
    middle_convention : callable
        Applied to ``(n - 1) / 2``, the middle of each axis: `float`, `math.floor` or `math.ceil`.
    **kwargs
        `usfac`, `outshape` and the others of `zoom_on_pixel`.

    Returns
    -------
    array, or (array, array)
        As `zoom_on_pixel`.

    Raises
    ------
    InputError
        As `zoom_on_pixel`.

    Examples
    --------
    >>> import numpy as np
    >>> wave = np.cos(2 * np.pi * np.arange(9) / 9)
    >>> (x,), fine = zoomnd(wave, (-4,), usfac=2, outshape=(3,), return_xouts=True)
    >>> x, fine.round(3)
    (array([-0.5,  0. ,  0.5]), array([0.94, 1.  , 0.94]))
    """
    values = samples(inp, "inp")
    shift = np.atleast_1d(np.asarray(offsets, dtype=np.float64)) if np.size(offsets) else 0.0
    if np.ndim(shift) and np.shape(shift) != (values.ndim,):
        raise InputError(
            f"offsets={offsets!r} is not usable; {values.ndim} numbers are needed, one an axis in "
            "the order of the axes, (dy, dx)"
        )
    middle = np.array([middle_convention((n - 1) / 2) for n in values.shape], dtype=np.float64)
    return zoom_on_pixel(values, (middle + shift).tolist(), **kwargs)


def zoom1d(
    inp: Any,
    usfac: float = 1,
    outsize: int | None = None,
    offset: float = 0,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    return_xouts: bool = False,
    return_real: bool = True,
) -> Any:
    """The surroundings of the middle of a 1-D array, on a finer grid.

    Parameters
    ----------
    inp : array_like
        1-D, one period.
    usfac : float
        Values of the result in one pixel of `inp`.
    outsize : int, optional
        How many; as many as in `inp` if not given.
    offset : float
        From the middle, in pixels of `inp`.
    nthreads, use_numpy_fft, return_xouts, return_real
        As in `zoom_on_pixel`.

    Returns
    -------
    array, or (array, array)
        The values; with `return_xouts` first their positions.

    Raises
    ------
    InputError
        As `zoom_on_pixel`.

    Examples
    --------
    >>> import numpy as np
    >>> zoom1d(np.cos(2 * np.pi * np.arange(9) / 9), 2, 3, offset=-4).round(3)
    array([0.94, 1.  , 0.94])
    """
    outshape = None if outsize is None else (outsize,)
    xouts, result = zoomnd(
        inp,
        (offset,),
        usfac=usfac,
        outshape=outshape,
        nthreads=nthreads,
        use_numpy_fft=use_numpy_fft,
        return_real=return_real,
        return_xouts=True,
    )
    return (xouts[0], result) if return_xouts else result


def _shape(outshape: Any, values: NDArray[Any]) -> tuple[int, ...]:
    if outshape is None:
        return values.shape
    if np.ndim(outshape) == 0 and values.ndim > 1:
        outshape = (outshape,) * values.ndim
        warnings.warn(
            f"outshape is one number for {values.ndim} axes, taken as {outshape}; give one an axis",
            MisuseWarning,
            stacklevel=3,
        )
    shape = tuple(inputs.count(n, "outshape", least=1) for n in np.atleast_1d(outshape))
    if len(shape) != values.ndim:
        raise InputError(
            f"outshape={outshape!r} is not usable; {values.ndim} numbers are needed, one an axis"
        )
    return shape
