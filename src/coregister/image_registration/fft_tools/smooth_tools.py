"""Images made smoother by a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.chi2 import inputs
from coregister.containers import check_kind
from coregister.errors import InputError
from coregister.fourier import along
from coregister.image_registration.fft_tools.downsample import downsample as downsample_2d

__all__ = ["make_kernel", "smooth"]

Float = NDArray[np.float64]
KERNELS = ("gaussian", "boxcar", "tophat", "airy", "brickwall", "trapezoid")


def smooth(
    image: Any,
    kernelwidth: float = 3,
    kerneltype: str = "gaussian",
    trapslope: float | None = None,
    silent: bool = True,
    psf_pad: bool = True,
    interp_nan: bool = False,
    nwidths: float | str = "max",
    min_nwidths: float = 6,
    return_kernel: bool = False,
    normalize_kernel: Callable[..., Any] | bool = np.sum,
    downsample: bool = False,
    downsample_factor: int | None = None,
) -> Any:
    """Convolve an image with a kernel that does not displace it.

    Parameters
    ----------
    image : array_like
        2-D. Pixels without a value are left out, and the others weighted up.
    kernelwidth : float
        Pixels: sigma of a gaussian, side of a boxcar, radius of a tophat; see `make_kernel`.
    kerneltype : {'gaussian', 'boxcar', 'tophat', 'airy', 'brickwall', 'trapezoid'}
    trapslope : float, optional
        Of the trapezoid.
    silent : bool
        If False, print the shape and the peak of the kernel.
    psf_pad : bool
        The image is zero outside; otherwise it is one period.
    interp_nan : bool
        Give pixels without a value the average of their neighbours; otherwise they stay NaN.
    nwidths : 'max' or float
        Size of the kernel in widths; 'max': as large as the image.
    min_nwidths : float
        Size of the kernel, in widths, where the image is smaller than that.
    return_kernel : bool
        Return the kernel too.
    normalize_kernel : callable or bool
        What the kernel is divided by: `numpy.sum` (or True) keeps the sum of the image, `numpy.max`
        gives it a peak of 1, False leaves it.
    downsample : bool
        Average over blocks afterwards.
    downsample_factor : int, optional
        Side of the blocks; `kernelwidth` if not given.

    Returns
    -------
    array, or (array, array)
        The smooth image, and the kernel if asked for.

    Raises
    ------
    InputError
        If the image or an option cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> spot = np.zeros((9, 9))
    >>> spot[4, 4] = 1
    >>> smooth(spot, 3, "boxcar")[4].round(3) + 0.0
    array([0.   , 0.   , 0.   , 0.111, 0.111, 0.111, 0.   , 0.   , 0.   ])
    """
    array = np.asarray(image)
    check_kind(array, "image")
    if array.ndim != 2:
        raise InputError(f"image has {array.ndim} axes, shape {array.shape}; smooth needs 2")
    width = inputs.positive(kernelwidth, "kernelwidth")
    if width * inputs.positive(min_nwidths, "min_nwidths") > min(array.shape):
        nwidths = min_nwidths
    if nwidths == "max":
        shape = tuple(n + n % 2 for n in array.shape)
    else:
        side = int(np.ceil(width * inputs.positive(nwidths, "nwidths")))
        shape = (side + side % 2,) * 2
    kernel = make_kernel(shape, width, kerneltype, trapslope, normalize_kernel)
    if not silent:
        print(f"smooth: {kerneltype} kernel of shape {shape}, peak {kernel.max():.6g}")
    known = np.isfinite(array)
    result = _convolve(np.where(known, array, 0.0), kernel, periodic=not psf_pad)
    if not known.all():
        weight = _convolve(known.astype(np.float64), kernel, periodic=not psf_pad)
        every = _convolve(np.ones(array.shape), kernel, periodic=not psf_pad)
        near = np.abs(weight) > 1e-9 * np.abs(kernel).sum()
        result = np.where(near, result * every / np.where(near, weight, 1.0), np.nan)
        if not interp_nan:
            result[~known] = np.nan
    if downsample:
        factor = int(np.ceil(width)) if downsample_factor is None else downsample_factor
        result, kernel = downsample_2d(result, factor), downsample_2d(kernel, factor)
    return (result, kernel) if return_kernel else result


def make_kernel(
    kernelshape: Sequence[int],
    kernelwidth: float = 3,
    kerneltype: str = "gaussian",
    trapslope: float | None = None,
    normalize_kernel: Callable[..., Any] | bool = np.sum,
    force_odd: bool = False,
) -> Float:
    """A kernel for convolution, symmetric about the pixel ``n // 2`` of each axis.

    Parameters
    ----------
    kernelshape : sequence of int
        Shape, of any number of dimensions.
    kernelwidth : float
        In pixels, with ``r`` the distance from the centre: 'gaussian' is
        ``exp(-r^2 / (2 kernelwidth^2))``; 'boxcar' a square of this side, its edges sharing
        pixels; 'tophat' is 1 where ``r < kernelwidth``; 'airy' (or 'brickwall') is
        ``J1(u) / u`` of ``u = r / kernelwidth``; 'trapezoid' is 1 up to `kernelwidth` and falls
        by `trapslope` a pixel beyond it, to 0.
    kerneltype : {'gaussian', 'boxcar', 'tophat', 'airy', 'brickwall', 'trapezoid'}
    trapslope : float, optional
        Needed for the trapezoid.
    normalize_kernel : callable or bool
        What the kernel is divided by, a function of it; True = `numpy.sum`, False = nothing.
    force_odd : bool
        Make even sizes one smaller.

    Returns
    -------
    array

    Raises
    ------
    InputError
        If an option cannot be used.

    Examples
    --------
    >>> make_kernel((5,), 2, "boxcar")
    array([0.  , 0.25, 0.5 , 0.25, 0.  ])
    """
    width = inputs.positive(kernelwidth, "kernelwidth")
    shape = [inputs.count(n, "kernelshape", least=1) for n in kernelshape]
    if force_odd:
        shape = [max(n - 1, 1) if n % 2 == 0 else n for n in shape]
    axes = [
        along(np.arange(-(n // 2), n - n // 2, dtype=np.float64), axis, len(shape))
        for axis, n in enumerate(shape)
    ]
    r = np.sqrt(np.asarray(sum(x**2 for x in axes)))
    if kerneltype == "gaussian":
        kernel = np.exp(-(r**2) / (2 * width**2))
    elif kerneltype == "boxcar":
        kernel = np.ones(shape)
        for x in axes:
            kernel = kernel * np.clip((width + 1) / 2 - np.abs(x), 0, min(1.0, width))
    elif kerneltype == "tophat":
        kernel = np.where(r < width, 1.0, 0.0)
    elif kerneltype in ("airy", "brickwall"):
        from scipy.special import j1

        u = np.where(r > 0, r / width, 1.0)
        kernel = np.where(r > 0, j1(u) / u, 0.5)
    elif kerneltype == "trapezoid":
        if trapslope is None:
            raise InputError("kerneltype='trapezoid' needs a trapslope, its fall a pixel above 0")
        slope = inputs.positive(trapslope, "trapslope")
        kernel = np.clip(1 - slope * (r - width), 0, 1)
    else:
        raise InputError(
            f"kerneltype={kerneltype!r} is not known; use one of {', '.join(map(repr, KERNELS))}"
        )
    if normalize_kernel is False:
        return np.asarray(kernel)
    divide = np.sum if normalize_kernel is True else normalize_kernel
    return np.asarray(kernel / divide(kernel))


def _convolve(image: Float, kernel: Float, *, periodic: bool) -> Float:
    """Convolve with a kernel whose centre is ``n // 2``."""
    shape = image.shape
    if not periodic:
        sizes = zip(image.shape, kernel.shape, strict=True)
        shape = tuple(scipy.fft.next_fast_len(n + m, real=True) for n, m in sizes)
    index = np.ix_(*((np.arange(m) - m // 2) % n for m, n in zip(kernel.shape, shape, strict=True)))
    folded = np.zeros(shape)
    np.add.at(folded, index, kernel)
    spectrum = scipy.fft.rfftn(image, shape) * scipy.fft.rfftn(folded)
    result = scipy.fft.irfftn(spectrum, shape)
    return np.asarray(result[tuple(slice(n) for n in image.shape)], dtype=np.float64)
