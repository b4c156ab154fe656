"""The offset by the peak of the cross-correlation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from coregister.errors import InputError
from coregister.image_registration import peak
from coregister.image_registration.fft_tools.fast_ffts import threads

__all__ = ["cross_correlation_shifts"]


def cross_correlation_shifts(
    image1: Any,
    image2: Any,
    errim1: ArrayLike | None = None,
    errim2: ArrayLike | None = None,
    maxoff: int | None = None,
    verbose: bool = False,
    gaussfit: bool = False,
    return_error: bool = False,
    zeromean: bool = True,
    *,
    boundary: str = "wrap",
    nthreads: int = 1,
    use_numpy_fft: bool = False,
) -> tuple[np.float64, ...]:
    """Offset of `image2` from `image1` by the highest peak of their cross-correlation.

    Parameters
    ----------
    image1, image2 : array_like
        2-D, of one shape, one period each. Pixels without a value count as the mean.
    errim1, errim2 : float or array_like, optional
        1-sigma noise of the pixels, white, for the errors only; if one is given, the other image
        is taken as noiseless. If neither is, the noise is learnt from the pair, whatever its
        spectrum.
    maxoff : int, optional
        Largest offset along each axis, in pixels.
    verbose : bool
        Print what was found.
    gaussfit : bool
        Refused: the peak of the continuous function is found as it is.
    return_error : bool
        Return errors too.
    zeromean : bool
        No effect on the result: a constant does not move the peak.
    boundary : {'wrap', 'fill'}
        'wrap': the images are one period; 'fill': beyond their edges they have their mean, which
        pulls the peak towards no offset: `coregister.register` is not pulled.
    nthreads : int
        Threads of the FFTs.
    use_numpy_fft : bool
        No effect on the result.

    Returns
    -------
    tuple of numpy.float64
        ``(dx, dy)``, then ``(errx, erry)`` if asked for: x is axis 1, and the content of
        `image2` lies at larger x than in `image1` if ``dx > 0``. The errors are 1 sigma, infinite
        where nothing tells the offset. That the peak may be a wrong one is not in them:
        `coregister.register` tells.

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
    >>> image = np.random.default_rng(1).normal(size=(31, 32))
    >>> xoff, yoff = cross_correlation_shifts(image, np.roll(image, (5, -3), (0, 1)))
    >>> round(float(xoff), 6), round(float(yoff), 6)
    (-3.0, 5.0)
    """
    if gaussfit:
        raise InputError(
            "gaussfit=True is not available: the peak is found on the continuous function, which "
            "needs no shape; leave gaussfit out"
        )
    if boundary not in ("wrap", "fill"):
        raise InputError(
            f"boundary={boundary!r} is not known; use 'wrap' or 'fill', or coregister.register "
            "for images whose edges differ"
        )
    workers = threads(nthreads, use_numpy_fft)
    first, second = peak.pair(image1, image2)
    if first.ndim != 2:
        raise InputError(f"image1 has {first.ndim} axes, shape {first.shape}; 2 are needed")
    errors = [_errors(errim1, first.shape, "errim1"), _errors(errim2, first.shape, "errim2")]
    if boundary == "fill":
        first, second, *errors = (_beyond_edges(a) for a in (first, second, *errors))
    if peak.featureless(first, second):
        offset, stderr = np.zeros(2), np.full(2, np.inf)
    else:
        spectrum = peak.cross_spectrum(first, second, workers)
        found = peak.highest(spectrum, first.shape, maxoff, workers)
        offset = stderr = found.offset
        if return_error:
            stderr = peak.stderr(first, second, spectrum, found, *errors)
    (dy, dx), (erry, errx) = offset, stderr
    if verbose:
        print(f"cross_correlation_shifts: dx = {dx:.6g} px, dy = {dy:.6g} px")
    return (dx, dy, errx, erry) if return_error else (dx, dy)


def _errors(err: ArrayLike | None, shape: tuple[int, ...], name: str) -> Any:
    if err is None:
        return None
    values = np.asarray(err, dtype=np.float64)
    if values.shape not in ((), shape) or not np.all(np.isfinite(values) & (values >= 0)):
        raise InputError(
            f"{name} has shape {values.shape}, from {np.min(values):.3g} to {np.max(values):.3g}; "
            f"finite numbers of 0 or above are needed, one or an array of the shape {shape}"
        )
    return values


def _beyond_edges(image: Any) -> Any:
    """As much again of zeros along each axis, so that nothing wraps."""
    return (
        image if image is None or image.ndim == 0 else np.pad(image, [(0, n) for n in image.shape])
    )
