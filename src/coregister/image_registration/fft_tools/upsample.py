"""A whole image, or a piece of it, on a finer grid that starts at its first pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.chi2 import inputs
from coregister.errors import InputError
from coregister.image_registration.fft_tools.fast_ffts import samples, threads
from coregister.image_registration.fft_tools.scale import interpolate

__all__ = ["dftups", "upsample_image"]


def upsample_image(
    image: Any,
    upsample_factor: float = 1,
    output_size: Any = None,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    xshift: float = 0,
    yshift: float = 0,
) -> NDArray[Any]:
    """A periodic image on a finer grid.

    Parameters
    ----------
    image : array_like
        2-D, one period.
    upsample_factor : float
        Pixels of the result in one of `image`.
    output_size : int or (int, int), optional
        Shape of the result; all of the image if not given.
    nthreads : int
        Threads of the FFT.
    use_numpy_fft : bool
        No effect on the result.
    xshift, yshift : float
        How far the content moves to larger columns and rows, in pixels of the result.

    Returns
    -------
    array
        Real for a real image. Without shifts ``result[::f, ::f]`` is the image.

    Raises
    ------
    InputError
        If the image has pixels without a value, or a number does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.outer(np.ones(2), [1.0, 0.0, -1.0, 0.0])
    >>> upsample_image(image, 2)[0].round(3) + 0.0
    array([ 1.   ,  0.707,  0.   , -0.707, -1.   , -0.707,  0.   ,  0.707])
    """
    values = _image(image, "image")
    factor = inputs.positive(upsample_factor, "upsample_factor")
    if output_size is None:
        output_size = [round(n * factor) for n in values.shape]
    shape = np.broadcast_to(output_size, (2,))
    axes = _positions(shape, factor, (yshift, xshift))
    return interpolate(values, axes, workers=threads(nthreads, use_numpy_fft))


def dftups(
    inp: Any,
    nor: int | None = None,
    noc: int | None = None,
    usfac: float = 1,
    roff: float = 0,
    coff: float = 0,
) -> NDArray[np.complex128]:
    """The discrete Fourier transform of an array between its frequencies.

    Parameters
    ----------
    inp : array_like
        2-D, zero frequency first: ``ifft2(image)`` to have the image on a finer grid.
    nor, noc : int, optional
        Rows and columns of the result; those of `inp` if not given.
    usfac : float
        Pixels of the result in one of ``fft2(inp)``.
    roff, coff : float
        How far the content moves to larger rows and columns, in pixels of the result.

    Returns
    -------
    complex array
        Without offsets, ``dftups(inp, n * usfac, m * usfac, usfac)[::usfac, ::usfac]`` is
        ``fft2(inp)``. At even sizes a wave at the Nyquist frequency counts as a cosine.

    Raises
    ------
    InputError
        If `inp` has pixels without a value, or a number does not fit.

    References
    ----------
    .. [1] Guizar-Sicairos, Thurman & Fienup (2008), doi:10.1364/OL.33.000156

    Examples
    --------
    >>> import numpy as np
    >>> image = np.outer(np.ones(2), [1.0, 0.0, -1.0, 0.0])
    >>> dftups(np.fft.ifft2(image), 1, 3, usfac=2).real.round(3) + 0.0
    array([[1.   , 0.707, 0.   ]])
    """
    values = scipy.fft.fft2(_image(inp, "inp"))
    factor = inputs.positive(usfac, "usfac")
    shape = [
        n if given is None else given for given, n in zip((nor, noc), values.shape, strict=True)
    ]
    result = interpolate(values, _positions(shape, factor, (roff, coff)))
    return np.asarray(result, dtype=np.complex128)


def _image(data: Any, name: str) -> NDArray[Any]:
    values = samples(data, name)
    if values.ndim != 2:
        raise InputError(
            f"{name} has {values.ndim} axes, shape {values.shape}; 2 are needed: use zoomnd or "
            "fourier_interpnd, which take any number"
        )
    return values


def _positions(shape: Any, factor: float, shift: tuple[float, float]) -> list[NDArray[np.float64]]:
    """Where the rows and the columns stand, in pixels of the image."""
    counts = [inputs.count(n, "the size of the result", least=1) for n in shape]
    return [
        (np.arange(n, dtype=np.float64) - offset) / factor
        for n, offset in zip(counts, shift, strict=True)
    ]
