"""Blocks of pixels turned into one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.chi2 import inputs
from coregister.errors import InputError

__all__ = ["downsample", "downsample_1d", "downsample_axis", "downsample_cube"]

Estimator = Callable[..., Any]


def downsample(myarr: Any, factor: int, estimator: Estimator = np.nanmean) -> NDArray[Any]:
    """Average over `factor` pixels along each axis of an image.

    Parameters
    ----------
    myarr : array_like
        2-D; what does not fill a block at the upper ends is left out.
    factor : int
        Pixels of a block along each axis.
    estimator : callable
        Takes the stack of the pixels of the blocks and ``axis=0``. A mean does not see NaN.

    Returns
    -------
    array

    Raises
    ------
    InputError
        If the array has another number of axes, or less than one block.

    Examples
    --------
    >>> import numpy as np
    >>> downsample(np.arange(20.0).reshape(4, 5), 2)
    array([[ 3.,  5.],
           [13., 15.]])
    """
    return _estimate(_check(myarr, 2), factor, (0, 1), estimator)


def downsample_cube(myarr: Any, factor: int, ignoredim: int = 0) -> NDArray[Any]:
    """Average over `factor` pixels along all axes of a cube but one.

    Parameters
    ----------
    myarr : array_like
        3-D.
    factor : int
        Pixels of a block along an axis.
    ignoredim : int
        The axis that stays.

    Returns
    -------
    array

    Raises
    ------
    InputError
        As `downsample`.

    Examples
    --------
    >>> import numpy as np
    >>> downsample_cube(np.arange(24.0).reshape(4, 2, 3), 2, ignoredim=1).shape
    (2, 2, 1)
    """
    axes = [axis for axis in range(3) if axis != ignoredim % 3]
    return _estimate(_check(myarr, 3), factor, axes, np.nanmean)


def downsample_1d(myarr: Any, factor: int, estimator: Estimator = np.nanmean) -> NDArray[Any]:
    """Average over `factor` pixels of a 1-D array.

    Parameters
    ----------
    myarr : array_like
        1-D; what does not fill a block at the end is left out.
    factor, estimator
        As in `downsample`.

    Returns
    -------
    array

    Raises
    ------
    InputError
        As `downsample`.

    Examples
    --------
    >>> downsample_1d([1.0, 3.0, 5.0, 7.0, 9.0], 2)
    array([2., 6.])
    """
    return _estimate(_check(myarr, 1), factor, (0,), estimator)


def downsample_axis(
    myarr: Any,
    factor: int,
    axis: int,
    estimator: Estimator = np.nanmean,
    truncate: bool = False,
) -> NDArray[Any]:
    """Average over `factor` pixels along one axis of any array.

    Parameters
    ----------
    myarr : array_like
        Any number of dimensions.
    factor, estimator
        As in `downsample`.
    axis : int
    truncate : bool
        Leave out what does not fill a block at the end; otherwise it is filled with NaN.

    Returns
    -------
    array

    Raises
    ------
    InputError
        As `downsample`.

    Examples
    --------
    >>> downsample_axis([1.0, 3.0, 5.0, 7.0, 9.0], 2, axis=0)
    array([2., 6., 9.])
    """
    array = np.asarray(myarr)
    _check(array, array.ndim)
    missing = -array.shape[axis] % inputs.count(factor, "factor", least=1)
    if missing and not truncate:
        margin = [(0, 0)] * array.ndim
        margin[axis] = (0, missing)
        array = np.pad(array.astype(np.float64), margin, constant_values=np.nan)
    return _estimate(array, factor, (axis,), estimator)


def _check(myarr: Any, ndim: int) -> NDArray[Any]:
    array = np.asarray(myarr)
    if array.ndim != ndim or ndim == 0:
        raise InputError(
            f"myarr has {array.ndim} axes, shape {array.shape}; {max(ndim, 1)} are needed: "
            "downsample_axis takes any number"
        )
    return array


def _estimate(
    array: NDArray[Any], factor: int, axes: Sequence[int], estimator: Estimator
) -> NDArray[Any]:
    """One value from the pixels of each block."""
    factor = inputs.count(factor, "factor", least=1)
    for axis in axes:
        count = array.shape[axis] // factor
        if count == 0:
            raise InputError(
                f"factor={factor} is more than the {array.shape[axis]} pixels of axis {axis}; "
                "a smaller one is needed"
            )
        array = array[(slice(None),) * (axis % array.ndim) + (slice(count * factor),)]
    blocks = array[None]
    for axis in sorted(a % array.ndim for a in axes):
        shape = blocks.shape
        split = (*shape[: axis + 1], shape[axis + 1] // factor, factor, *shape[axis + 2 :])
        stacked = np.moveaxis(blocks.reshape(split), axis + 2, 1)
        blocks = stacked.reshape(-1, *stacked.shape[2:])
    with warnings.catch_warnings():  # of a block without any value
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.asarray(estimator(blocks, axis=0))
