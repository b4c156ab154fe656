"""Cross-correlation of two images."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.image_registration.fft_tools.fast_ffts import samples, threads

__all__ = ["correlate2d"]


def correlate2d(
    im1: Any,
    im2: Any,
    boundary: str = "wrap",
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    *,
    fftshift: bool = True,
    return_fft: bool = False,
) -> NDArray[Any]:
    """Cross-correlation at whole-pixel lags, not normalised: ``sum_p im1(p + lag) im2(p)``.

    Parameters
    ----------
    im1, im2 : array_like
        Real, of the same number of axes and any sizes; they lie corner on corner. Pixels without
        a value count as 0.
    boundary : {'wrap', 'fill'}
        'wrap': the larger size of each axis is one period; 'fill': zero outside the images.
    nthreads : int
        Threads of the FFT.
    use_numpy_fft : bool
        No effect on the result.
    fftshift : bool
        Lag zero stands in the middle, at index ``(n - 1) // 2``; otherwise first, and negative
        lags last.
    return_fft : bool
        Return ``fftn(im1) * conj(fftn(im2))``, the cross-spectrum, with the zero frequency at
        ``n // 2`` if `fftshift`.

    Returns
    -------
    array
        Of the larger size of each axis.

    Raises
    ------
    InputError
        If the images or an option cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(1).normal(size=(9, 10))
    >>> correlation = correlate2d(np.roll(image, (2, -3), (0, 1)), image)
    >>> row, column = np.unravel_index(correlation.argmax(), correlation.shape)
    >>> int(row - 4), int(column - 4)
    (2, -3)
    """
    first, second = samples(im1, "im1", gaps=0.0), samples(im2, "im2", gaps=0.0)
    if first.ndim != second.ndim or np.iscomplexobj(first) or np.iscomplexobj(second):
        raise InputError(
            f"im1 has shape {first.shape} and dtype {first.dtype}, im2 {second.shape} and "
            f"{second.dtype}; real images of the same number of axes are needed"
        )
    shape = tuple(np.maximum(first.shape, second.shape).tolist())
    if boundary == "wrap":
        period = shape
    elif boundary == "fill":
        period = tuple(a + b for a, b in zip(first.shape, second.shape, strict=True))
    else:
        raise InputError(f"boundary={boundary!r} is not known; use 'wrap' or 'fill'")
    workers = threads(nthreads, use_numpy_fft)
    forward = scipy.fft.fftn if return_fft else scipy.fft.rfftn
    cross = forward(first, period, workers=workers)
    cross *= np.conj(forward(second, period, workers=workers))
    if return_fft:
        return np.asarray(scipy.fft.fftshift(cross) if fftshift else cross)
    correlation = scipy.fft.irfftn(cross, period, workers=workers)
    lags = [np.arange(n) - (n - 1) // 2 for n in shape]
    if not fftshift:
        lags = [np.roll(lag, -((lag.size - 1) // 2)) for lag in lags]
    return np.asarray(correlation[np.ix_(*lags)])
