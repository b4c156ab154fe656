"""An image on another grid, with its variance.

A translation has the same sub-pixel part everywhere, so the spline that interpolates is one short
row of weights an axis: the row serves values, and its square the variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.containers import check_kind, unpack
from coregister.errors import InputError

Float = NDArray[np.float64]

#: degree of the spline behind each name
DEGREES = {"nearest": 0, "linear": 1, "cubic": 3, "quintic": 5}
#: weights of an interpolating spline below this are dropped
NEGLIGIBLE = 1e-12
#: an offset this close to a whole pixel is taken as whole: pixels are copied, none is lost
WHOLE = 1e-9
#: share of the weights that may fall on unknown pixels; with more, the value is not known
UNKNOWN_SHARE = 0.05


def translate(
    image: Any,
    offset: ArrayLike,
    *,
    output_shape: Sequence[int],
    interpolation: str = "cubic",
    variance: ArrayLike | None = None,
    periodic: bool = False,
) -> Float | tuple[Float, Float]:
    """Read an image at ``index + offset``: ``output[p] = image(p + offset)``.

    Agrees with ``scipy.ndimage.affine_transform(image, eye, offset)`` of the same order wherever
    the image is known, and is NaN elsewhere: outside, and where unknown pixels (NaN, infinite or
    masked) would carry more than 5 % of the weights. Below that they are left out and the
    others weighted up.

    Parameters
    ----------
    image : array_like
        Real, any number of dimensions; masked arrays and containers as `register` takes them.
    offset : (ndim,) array_like
        Pixels, array-axis order.
    output_shape : sequence of int
        Shape of the result.
    interpolation : {"cubic", "quintic", "linear", "nearest"}
        Interpolating spline of degree 3, 5 or 1, or the nearest pixel.
    variance : array_like, optional
        Variance of the pixels, which are taken as independent: one number or one a pixel. Pixels
        without a finite one are unknown.
    periodic : bool
        The image is one period, so nothing lies outside.

    Returns
    -------
    array, or (array, array) if `variance` is given
        Float64 values, and their variances. Neighbours share pixels, so their errors are
        correlated.

    Raises
    ------
    InputError
        For an unknown interpolation, a negative variance, or shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> translate(np.array([0.0, 1.0, 4.0, 9.0]), [1.0], output_shape=(4,))
    array([ 1.,  4.,  9., nan])
    >>> translate([0.0, 2.0, 4.0], [0.5], output_shape=(2,), interpolation="linear", variance=0.1)
    (array([1., 3.]), array([0.05, 0.05]))
    """
    degree = DEGREES.get(interpolation)
    if degree is None:
        raise InputError(
            f"interpolation={interpolation!r} is not known; use one of "
            + ", ".join(repr(name) for name in DEGREES)
        )
    values, known = _values(image)
    shift, shape = _geometry(values.shape, offset, output_shape)
    spread = None if variance is None else _variance(variance, values.shape)
    if spread is not None:
        known &= np.isfinite(spread)

    rows = [
        _weights(d, n, m, degree, periodic=periodic)
        for d, n, m in zip(shift, values.shape, shape, strict=True)
    ]
    inside = _outer([np.diff(row.indptr) > 0 for row in rows])
    if known.all():
        result = np.where(inside, _apply(rows, values), np.nan)
        if spread is None:
            return result
        return result, np.where(inside, _apply([row.power(2) for row in rows], spread), np.nan)

    sizes = [abs(row) for row in rows]
    share = _apply(sizes, known.astype(np.float64))
    total = _outer([np.asarray(size.sum(axis=1)).ravel() for size in sizes])
    usable = inside & (share >= (1.0 - UNKNOWN_SHARE) * total)
    weight = np.where(usable, _apply(rows, known.astype(np.float64)), np.nan)
    result = _apply(rows, np.where(known, values, 0.0)) / weight
    if spread is None:
        return result
    squares = [row.power(2) for row in rows]
    return result, _apply(squares, np.where(known, spread, 0.0)) / weight**2


def _values(image: Any) -> tuple[Float, NDArray[np.bool_]]:
    array, valid, *_ = unpack(image, "image")
    check_kind(array, "image")
    values = np.asarray(array, dtype=np.float64)
    known = np.isfinite(values)
    return values, known if valid is None else known & valid


def _variance(variance: ArrayLike, shape: tuple[int, ...]) -> Float:
    array: Any = np.ma.asanyarray(variance)
    check_kind(array.data, "variance")
    if array.shape not in ((), shape):
        raise InputError(
            f"variance has shape {array.shape} and image {shape}; give one number or an array of "
            "the image's shape"
        )
    values = np.where(np.ma.getmaskarray(array), np.nan, array.data.astype(np.float64))
    if np.any(values < 0):
        raise InputError(
            f"variance has negative values, down to {np.nanmin(values):.3g}; variances are 0 or "
            "above: mark bad pixels with NaN"
        )
    return np.broadcast_to(values, shape)


def _geometry(
    shape: tuple[int, ...], offset: ArrayLike, output_shape: Sequence[int]
) -> tuple[Float, tuple[int, ...]]:
    shift = np.asarray(offset, dtype=np.float64)
    if len(shape) != shift.size:
        raise InputError(
            f"image has {len(shape)} axes, shape {shape}, and the offset {shift.size}; "
            "they must agree: apply it plane by plane or channel by channel"
        )
    try:
        wanted = tuple(int(n) for n in output_shape)
    except TypeError:
        wanted = ()
    if len(wanted) != len(shape) or min(wanted, default=0) < 1:
        raise InputError(
            f"output_shape={output_shape!r} is not usable; {len(shape)} numbers above 0 are "
            "needed, one an axis"
        )
    return shift.reshape(len(shape)), wanted


def _weights(offset: float, size: int, length: int, degree: int, *, periodic: bool) -> Any:
    """Sparse matrix (length, size) that reads one axis at ``index + offset``.

    Rows outside the image are empty. The spline is continued beyond the edges by reflection at
    the outermost pixels, as scipy does, or by the period.
    """
    from scipy import sparse

    nearest = round(offset)
    if degree == 0 or abs(offset - nearest) < WHOLE:
        first, kernel, reach, beyond = nearest, np.ones(1), 0, 0
    else:
        first, beyond = math.floor(offset), 1
        kernel, reach = _kernel(offset - first, degree)
    places = np.arange(length) + first
    if not periodic:
        places = places[(places >= 0) & (places + beyond < size)]
    taps = places[:, None] + np.arange(-reach, kernel.size - reach)
    columns = taps % size if periodic else _reflect(taps, size)
    rows = np.repeat(places - first, kernel.size)
    entries = (np.tile(kernel, places.size), (rows, columns.ravel()))
    return sparse.coo_array(entries, shape=(length, size)).tocsr()  # taps on one pixel add up


def _kernel(fraction: float, degree: int) -> tuple[Float, int]:
    """Weights of the pixels around a position, and how many of them lie before its pixel.

    The B-spline at the position, divided by the B-spline at the pixels: a discrete
    deconvolution, which is the prefilter (Unser 1999, doi:10.1109/79.799930).
    """
    from scipy.interpolate import BSpline

    half = 64  # the slowest pole, 0.43 of the quintic, has died out long before
    taps = np.arange(-half, half)
    spline = BSpline.basis_element(np.arange(degree + 2) - (degree + 1) / 2, extrapolate=False)
    at_position = np.nan_to_num(spline(fraction - taps))
    at_pixels = np.nan_to_num(spline(-taps.astype(np.float64)))
    ratio = np.fft.rfft(np.fft.ifftshift(at_position)) / np.fft.rfft(np.fft.ifftshift(at_pixels))
    weights = np.fft.fftshift(np.fft.irfft(ratio, taps.size))
    kept = np.flatnonzero(np.abs(weights) > NEGLIGIBLE)
    weights, taps = weights[kept[0] : kept[-1] + 1], taps[kept[0] : kept[-1] + 1]
    return weights / weights.sum(), -int(taps[0])


def _reflect(index: NDArray[np.int_], size: int) -> NDArray[np.int_]:
    """Indices folded into the axis by reflection at its first and last pixel."""
    period = max(1, 2 * (size - 1))
    folded = index % period
    return np.minimum(folded, period - folded)


def _apply(rows: Sequence[Any], values: Float) -> Float:
    """One matrix an axis, applied to an array."""
    for axis, row in enumerate(rows):
        front = np.moveaxis(values, axis, 0)
        read = row @ front.reshape(front.shape[0], -1)
        values = np.moveaxis(read.reshape(row.shape[0], *front.shape[1:]), 0, axis)
    return values


def _outer(factors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Product of one vector an axis."""
    ndim = len(factors)
    product: NDArray[Any] = np.ones((1,) * ndim, dtype=factors[0].dtype)
    for axis, factor in enumerate(factors):
        product = product * factor.reshape([-1 if a == axis else 1 for a in range(ndim)])
    return product


def labelled(moved: Float | tuple[Float, Float], like: Any) -> Any:
    """An aligned image as a ``DataArray`` with the dims of `like`; a variance stays as it is.

    Its coordinates too, where the shape is its own: they are those of the reference's grid if both
    images were taken on one grid.
    """
    if isinstance(moved, tuple):
        return labelled(moved[0], like), moved[1]
    same = moved.shape == like.shape
    return type(like)(
        moved,
        dims=like.dims,
        coords=like.coords if same else None,
        attrs=like.attrs,
        name=like.name,
    )
