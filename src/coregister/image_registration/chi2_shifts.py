"""The offset by chi^2: `coregister.chi2`, and what scripts for the original pass besides."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister import chi2
from coregister.chi2 import chi2map_to_errors, inputs
from coregister.errors import InputError
from coregister.image_registration.misuse import MisuseWarning

__all__ = ["chi2_shift", "chi2_shift_iterzoom", "chi2map_to_errors", "chi2n_map"]


def chi2_shift(
    im1: Any,
    im2: Any,
    err: ArrayLike | None = None,
    upsample_factor: float | str = "auto",
    boundary: str = "wrap",
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    zeromean: bool = False,
    nfitted: int = 2,
    verbose: bool = False,
    return_error: bool = True,
    return_chi2array: bool = False,
    max_auto_size: int = 512,
    max_nsig: float = 1.1,
    allow_huge: bool = False,
) -> list[Any]:
    """Offset of `im2` from `im1` by the minimum of chi^2: `coregister.chi2_shift`.

    Parameters
    ----------
    im1, im2, upsample_factor, boundary, nthreads, use_numpy_fft, zeromean, nfitted, verbose
        As in `coregister.chi2_shift`.
    err : float or array_like, optional
        1-sigma noise of `im2`; None = learnt. As in `coregister.chi2_shift`.
    return_error, return_chi2array, max_auto_size, max_nsig
        As in `coregister.chi2_shift`.
    allow_huge : bool
        No effect: no size is refused.

    Returns
    -------
    list
        ``[dx, dy, errx, erry, (x, y, chi2)]``, the errors and the tuple as asked for; x first,
        positive where the content of `im2` lies at larger x than in `im1`.

    Raises
    ------
    InputError
        As `coregister.chi2_shift`.

    Warns
    -----
    MisuseWarning
        If `err` is 0 everywhere (None is used), or the mean of an image (it is used as it is).

    Examples
    --------
    >>> from coregister.image_registration.tests import make_extended, make_offset_extended
    >>> image = make_extended(100, rng=1)
    >>> offset_image = make_offset_extended(image, 4.767, -12.333, noise=0.1, rng=2)
    >>> xoff, yoff, exoff, eyoff = chi2_shift(image, offset_image, err=0.1)
    >>> bool(abs(xoff - 4.767) < 3 * exoff), bool(abs(yoff + 12.333) < 3 * eyoff)
    (True, True)
    """
    return chi2.chi2_shift(
        im1,
        im2,
        _noise(err, im1, im2),
        upsample_factor,
        boundary,
        nthreads,
        use_numpy_fft,
        zeromean,
        nfitted,
        verbose,
        return_error,
        return_chi2array,
        max_auto_size,
        max_nsig,
    )


def chi2_shift_iterzoom(
    im1: Any,
    im2: Any,
    err: ArrayLike | None = None,
    upsample_factor: float | str = "auto",
    boundary: str = "wrap",
    nthreads: int = 1,
    use_numpy_fft: bool = False,
    zeromean: bool = False,
    verbose: bool = False,
    return_error: bool = True,
    return_chi2array: bool = False,
    zoom_shape: Sequence[int] = (10, 10),
    rezoom_shape: Sequence[int] = (100, 100),
    rezoom_factor: float = 5,
    mindiff: float = 1,
    **kwargs: Any,
) -> list[Any]:
    """The same offset and errors as `chi2_shift`, with another map.

    Nothing is zoomed into step by step: the minimum is found on the continuous function.

    Parameters
    ----------
    im1, im2, err, boundary, nthreads, use_numpy_fft, zeromean, verbose
        As in `chi2_shift`.
    upsample_factor : 'auto' or float
        Of the returned map only: a number as in `chi2_shift`; 'auto': see `rezoom_shape`.
    return_error, return_chi2array : bool
        Whether to return errors, and the map.
    rezoom_shape : (int, int)
        Shape of the returned map, square, just covering the region of 1.1 sigma.
    zoom_shape, rezoom_factor, mindiff
        No effect on the result: steps towards the minimum.
    **kwargs
        `nfitted`, `max_nsig`, `allow_huge` of `chi2_shift`.

    Returns
    -------
    list
        As `chi2_shift`.

    Raises
    ------
    InputError
        As `chi2_shift`, and for a map that is not square.

    Examples
    --------
    >>> import numpy as np
    >>> from coregister.image_registration.fft_tools import shift2d
    >>> image = np.random.default_rng(42).normal(size=(50, 55))
    >>> dx, dy = chi2_shift_iterzoom(image, shift2d(image, 3.665, -4.25), return_error=False)
    >>> bool(abs(dx - 3.665) < 0.01), bool(abs(dy + 4.25) < 0.01)
    (True, True)
    """
    sides = {inputs.count(n, "rezoom_shape", least=3) for n in rezoom_shape}
    if len(rezoom_shape) != 2 or len(sides) > 1:
        raise InputError(
            f"rezoom_shape={rezoom_shape!r} is not usable; two equal numbers are needed, the rows "
            "and columns of the map"
        )
    kwargs.pop("allow_huge", None)
    return chi2.chi2_shift(
        im1,
        im2,
        _noise(err, im1, im2),
        upsample_factor,
        boundary,
        nthreads,
        use_numpy_fft,
        zeromean,
        verbose=verbose,
        return_error=return_error,
        return_chi2array=return_chi2array,
        max_auto_size=sides.pop(),
        **kwargs,
    )


def chi2n_map(
    im1: Any,
    im2: Any,
    err: ArrayLike | None = None,
    boundary: str = "wrap",
    nthreads: int = 1,
    zeromean: bool = False,
    use_numpy_fft: bool = False,
    return_all: bool = False,
    reduced: bool = False,
    allow_huge: bool = False,
) -> Any:
    """chi^2 at whole-pixel shifts: `coregister.chi2n_map`.

    Parameters
    ----------
    im1, im2, boundary, nthreads, zeromean, use_numpy_fft, return_all, reduced
        As in `coregister.chi2n_map`.
    err : float or array_like, optional
        1-sigma noise of `im2`; None counts as 1.
    allow_huge : bool
        No effect: no size is refused.

    Returns
    -------
    array, or (array, float or array, array, float or array)
        chi^2, and its terms with `return_all`; the shift zero stands at ``(n - 1) // 2`` and
        indices fall as the shift grows.

    Raises
    ------
    InputError
        As `coregister.chi2n_map`.

    Warns
    -----
    MisuseWarning
        As `chi2_shift`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(1).normal(size=(9, 9))
    >>> chi2 = chi2n_map(image, np.roll(image, 2, axis=1))
    >>> [int(i) for i in np.unravel_index(chi2.argmin(), chi2.shape)]
    [4, 2]
    """
    noise = _noise(err, im1, im2)
    return chi2.chi2n_map(
        im1, im2, noise, boundary, nthreads, zeromean, use_numpy_fft, return_all, reduced
    )


def _noise(err: ArrayLike | None, im1: Any, im2: Any) -> ArrayLike | None:
    """`err`, or None if it says nothing; a warning if it cannot be meant."""
    if err is None:
        return None
    values = np.asarray(err)
    if values.dtype.kind not in "buif" or values.size == 0:
        return err
    if not np.any(values):
        warnings.warn(
            "err is 0 everywhere, which would leave every pixel out; taken as err=None: the noise "
            "is learnt from the images, or give the 1-sigma noise of a pixel of im2",
            MisuseWarning,
            stacklevel=3,
        )
        return None
    if values.ndim == 0:
        for image, name in ((im1, "im1"), (im2, "im2")):
            if _is_mean(float(values), image):
                warnings.warn(
                    f"err={float(values):.6g} is the mean of {name}, used as it is; err is the "
                    "1-sigma noise of a pixel of im2: leave it out to learn it from the images",
                    MisuseWarning,
                    stacklevel=3,
                )
                break
    return err


def _is_mean(err: float, image: Any) -> bool:
    """Whether a number can only be the mean of an image: equal to all digits, and not round."""
    values: NDArray[Any] = np.ma.filled(np.ma.asanyarray(image), 0)
    if values.dtype.kind not in "buif" or values.size == 0 or err.is_integer():
        return False
    known = values[np.isfinite(values)]
    return bool(known.size and np.isclose(err, known.mean(dtype=np.float64), rtol=1e-7, atol=0))
