"""The FFTs that the options `nthreads` and `use_numpy_fft` ask for, and what goes into them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.chi2 import inputs
from coregister.containers import check_kind, unpack
from coregister.errors import InputError

__all__ = ["get_ffts"]


def get_ffts(
    nthreads: int = 1, use_numpy_fft: bool = False
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Complex FFTs in any number of dimensions.

    Parameters
    ----------
    nthreads : int
        Threads.
    use_numpy_fft : bool
        `numpy.fft`, which has one thread, in place of `scipy.fft`.

    Returns
    -------
    fftn, ifftn : callable

    Examples
    --------
    >>> fftn, ifftn = get_ffts(nthreads=2)
    >>> ifftn(fftn([1.0, 2.0, 4.0])).real.round(12)
    array([1., 2., 4.])
    """
    workers = threads(nthreads, use_numpy_fft)
    if use_numpy_fft:
        return np.fft.fftn, np.fft.ifftn
    return partial(scipy.fft.fftn, workers=workers), partial(scipy.fft.ifftn, workers=workers)


def threads(nthreads: int, use_numpy_fft: bool) -> int:
    """Threads of the FFT; which library does it changes nothing but rounding."""
    return inputs.transform(nthreads, use_numpy_fft).workers


def samples(data: Any, name: str, *, gaps: float | None = None) -> NDArray[Any]:
    """The values of an image, float64 or complex128; `gaps` in pixels without one.

    Raises
    ------
    InputError
        If it is not an array of numbers, or has pixels without a value and `gaps` is None.
    """
    array, valid, *_ = unpack(data, name)
    if np.iscomplexobj(array):
        values: NDArray[Any] = array.astype(np.complex128)
    else:
        check_kind(array, name)
        values = array.astype(np.float64)
    known = np.isfinite(values) if valid is None else np.isfinite(values) & valid
    if known.all():
        return values
    if gaps is None:
        raise InputError(
            f"{name} has {np.count_nonzero(~known)} pixels without a value, and no Fourier series "
            f"goes through those; fill them first, for instance by numpy.nan_to_num({name})"
        )
    values[~known] = gaps
    return values
