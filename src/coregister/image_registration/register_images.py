"""The offset by the peak of the cross-correlation, to a given fraction of a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.chi2 import inputs
from coregister.errors import InputError
from coregister.fourier import fourier_shift
from coregister.image_registration import peak
from coregister.image_registration.fft_tools.fast_ffts import samples, threads

__all__ = ["dftregistration", "register_images"]

#: what two halves of the spectrum of a real image may differ by, of its largest value
ROUNDING = 1e-9


def register_images(
    im1: Any,
    im2: Any,
    usfac: float = 1,
    return_registered: bool = False,
    return_error: bool = False,
    zeromean: bool = True,
    DEBUG: bool = False,
    maxoff: int | None = None,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
) -> list[Any]:
    """Offset of `im2` from `im1`, to ``1 / usfac`` px.

    The highest peak of the modulus of the circular cross-correlation: one image may be the
    negative of the other.

    Parameters
    ----------
    im1, im2 : array_like
        Real, of one shape with any number of axes, one period each. Pixels without a value count
        as the mean.
    usfac : float
        The offset is a multiple of ``1 / usfac`` px, the one closest to the peak; 1 or more.
    return_registered : bool
        Return `im2` moved onto `im1` as the last item.
    return_error : bool
        Return errors too.
    zeromean : bool
        No effect on the result: a constant does not move the peak.
    DEBUG : bool
        Refused: there is nothing to plot.
    maxoff : int, optional
        Largest offset along each axis, in whole pixels.
    nthreads : int
        Threads of the FFTs.
    use_numpy_fft : bool
        No effect on the result.

    Returns
    -------
    list
        ``[dx, dy, errx, erry, registered]``, the errors and the image as asked for. x (the last
        axis) first, whole numbers if `usfac` is 1; the content of `im2` lies at larger x than in
        `im1` if ``dx > 0``. The errors are 1 sigma, with the rounding to ``1 / usfac`` in them.
        That the peak may be a wrong one is not: `coregister.register` tells.

    Raises
    ------
    InputError
        If the images or an option cannot be used.

    Warns
    -----
    RegistrationWarning
        If an image is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from coregister.image_registration.fft_tools import shift2d
    >>> image = np.random.default_rng(1).normal(size=(33, 31))
    >>> dx, dy, back = register_images(image, shift2d(image, 3.3, -2.7), 10, return_registered=True)
    >>> float(dx), float(dy), bool(np.allclose(back, image))
    (3.3, -2.7, True)
    """
    workers = threads(nthreads, use_numpy_fft)
    _check(usfac, DEBUG)
    first, second = peak.pair(im1, im2)
    offset: NDArray[Any]
    if peak.featureless(first, second):
        offset, stderr = np.zeros(first.ndim), np.full(first.ndim, np.inf)
    else:
        spectrum = peak.cross_spectrum(first, second, workers)
        found = peak.highest(spectrum, first.shape, maxoff, workers, absolute=True)
        offset, stderr = _rounded(found.offset, usfac), found.offset
        if return_error:
            stderr = _with_rounding(peak.stderr(first, second, spectrum, found), usfac)
    answer: list[Any] = list(_typed(offset, usfac)[::-1])
    if return_error:
        answer += list(stderr[::-1])
    if return_registered:
        image = samples(im2, "im2", gaps=np.nan)
        image = np.where(np.isfinite(image), image, np.nanmean(image))
        answer.append(fourier_shift(image, -offset, workers=workers))
    return answer


def dftregistration(
    buf1ft: Any,
    buf2ft: Any,
    usfac: float = 1,
    return_registered: bool = False,
    return_error: bool = False,
    zeromean: bool = True,
    DEBUG: bool = False,
    maxoff: int | None = None,
    nthreads: int = 1,
    use_numpy_fft: bool = False,
) -> list[Any]:
    """What moves the second of two images onto the first, from their Fourier transforms.

    Parameters
    ----------
    buf1ft, buf2ft : array_like
        ``fftn`` of two real images of one shape, zero frequency first.
    usfac, return_error, zeromean, DEBUG, maxoff, nthreads, use_numpy_fft
        As in `register_images`.
    return_registered : bool
        Return the Fourier transform of the second image moved onto the first as the last item;
        negated if the images are negatives of each other.

    Returns
    -------
    list
        ``[row_shift, column_shift, row_error, column_error, registered]``, the errors and the
        transform as asked for: to be *added* to the place of the second image, in the order of
        the axes; the negative of what `register_images` returns, in the other order.

    Raises
    ------
    InputError
        If the arrays are not the transforms of real images of one shape, or an option cannot be
        used.

    Warns
    -----
    RegistrationWarning
        If an image is constant.

    References
    ----------
    .. [1] Guizar-Sicairos, Thurman & Fienup (2008), doi:10.1364/OL.33.000156

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(1).normal(size=(33, 31))
    >>> moved = np.roll(image, (2, -5), (0, 1))
    >>> [int(shift) for shift in dftregistration(np.fft.fft2(image), np.fft.fft2(moved))]
    [-2, 5]
    """
    workers = threads(nthreads, use_numpy_fft)
    _check(usfac, DEBUG)
    first, second = (
        _image(buffer, name, workers) for buffer, name in ((buf1ft, "buf1ft"), (buf2ft, "buf2ft"))
    )
    found = register_images(
        first,
        second,
        usfac,
        return_registered,
        return_error,
        maxoff=maxoff,
        nthreads=nthreads,
        use_numpy_fft=use_numpy_fft,
    )
    ndim = first.ndim
    answer = [0 - shift for shift in found[:ndim][::-1]]
    if return_error:
        answer += found[ndim : 2 * ndim][::-1]
    if return_registered:
        registered = found[-1]
        flipped = np.sum(registered * (first - first.mean())) < 0
        answer.append(scipy.fft.fftn(-registered if flipped else registered, workers=workers))
    return answer


def _check(usfac: Any, debug: bool) -> None:
    if debug:
        raise InputError("DEBUG=True is not available: there is nothing to plot; leave it out")
    if inputs.positive(usfac, "usfac") < 1:
        raise InputError(f"usfac={usfac!r} is not usable; a number of 1 or more is needed")


def _rounded(offset: NDArray[np.float64], usfac: float) -> NDArray[np.float64]:
    return np.rint(offset * usfac) / usfac + 0.0


def _typed(offset: NDArray[np.float64], usfac: float) -> NDArray[Any]:
    return offset.astype(np.int64) if usfac == 1 else offset


def _with_rounding(stderr: NDArray[np.float64], usfac: float) -> NDArray[np.float64]:
    return np.sqrt(stderr**2 + 1 / (12 * usfac**2))


def _image(buffer: Any, name: str, workers: int) -> NDArray[np.float64]:
    """The real image of a Fourier transform."""
    spectrum = samples(buffer, name)
    image = scipy.fft.ifftn(spectrum, workers=workers)
    if np.abs(image.imag).max(initial=0.0) > ROUNDING * np.abs(image).max(initial=0.0):
        raise InputError(
            f"{name} is not the Fourier transform of a real image; give numpy.fft.fftn of one, "
            "not shifted"
        )
    return np.ascontiguousarray(image.real)
