"""The function astronomers know: the shift between two images from chi^2, with its errors.

``chi2(d) = sum_p w_p (X_p - Y(p - d))^2``, with ``X = im2`` the data, ``Y = im1`` the model,
``w = 1 / err^2``. The model between its pixels is the trigonometric polynomial through them, so
every term of chi^2 is one too: ``sum w X Y(p - d)`` has the bandwidth of the images, and
``sum w Y(p - d)^2`` has twice that bandwidth, which two samples a pixel describe exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from coregister.chi2 import inputs, maps
from coregister.chi2.fit import Fit, best_fit
from coregister.chi2.inputs import Transform
from coregister.chi2.region import delta_chi2
from coregister.chi2.surface import Surface, terms_at_integers
from coregister.errors import InputError
from coregister.images import Image

#: rounds of filling the holes of the model from the data, each from the offset of the one before
REFILLS = 4

__all__ = ["chi2_shift", "chi2map_to_errors", "chi2n_map"]


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
) -> list[Any]:
    """Offset of `im2` from `im1` by the minimum of chi^2, with the errors chi^2 gives.

    Parameters
    ----------
    im1 : array_like
        The model, 2-D and real. NaN pixels are left out and move with the image; chi^2 is then
        scaled by the number of usable pixels of `im2` over the number of pixel pairs. Between
        the pixels they count as what `im2` shows in their place.
    im2 : array_like
        The data, of the same shape. NaN pixels are left out.
    err : float or array_like, optional
        1-sigma noise of `im2`: one number, or one for each pixel; entries 0, NaN or infinite
        leave the pixel out. None: learnt from what is left at the minimum, so that chi^2 there
        is the number of pixel pairs minus `nfitted`; images that agree to rounding have the
        rounding error of `im2` (2e-16 of its largest value) as noise.
    upsample_factor : 'auto' or float
        Of the returned map only; the minimum is found on the continuous function. A number:
        pixels of the map are ``1 / upsample_factor`` px wide, and the map has the shape of the
        images, or more where that would be narrower than 2 px. 'auto': `max_auto_size` pixels
        square, just covering the `max_nsig` region.
    boundary : {'wrap', 'constant', 'reflect', 'nearest'}
        What `im1` is beyond its edges: itself again, zero, its mirror image (``d c b a | a b``),
        or the pixel at the edge. With 'wrap' offsets are told in ``[-n/2, n/2)``, otherwise
        between ``-(n - 1)`` and ``n - 1``.
    nthreads : int
        Threads of the FFTs.
    use_numpy_fft : bool
        Transform with `numpy.fft` (one thread) in place of `scipy.fft`.
    zeromean : bool
        Subtract from each image the mean of its usable pixels first.
    nfitted : int
        Number of parameters that the errors are joint for: they bound the region where chi^2
        is within the 68.27 % quantile of ``nfitted`` degrees of freedom of its minimum (1.00
        for 1, 2.30 for 2). With 1 they are the marginal standard errors.
    verbose : bool
        Print what was found on the way.
    return_error, return_chi2array : bool
        Whether to return errors, and the map.
    max_auto_size : int
        Side of the 'auto' map, in its pixels; 3 or more.
    max_nsig : float
        Size of the region that the 'auto' map covers, in sigma.

    Returns
    -------
    list
        ``[dx, dy, errx, erry, (x, y, chi2)]``, the errors and the tuple as asked for. x is
        axis 1 and y axis 0; the content of `im2` lies at larger x than in `im1` if ``dx > 0``.
        The errors are half the extent of the region along x and y; infinite along a direction
        in which the region does not end. ``x``, ``y`` and ``chi2`` are 2-D and of one shape;
        ``x``, ``y`` are offsets with the sign of ``dx, dy``. One pixel of the map stands at
        the minimum.

    Raises
    ------
    InputError
        If the images or an option cannot be used.

    See Also
    --------
    coregister.register : for real pairs, whose edges differ and which are both noisy.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:64, :64]
    >>> def star(x0, y0):
    ...     return 50 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 18)
    >>> data = star(33.3, 29.1) + rng.normal(size=(64, 64))
    >>> dx, dy, errx, erry = chi2_shift(star(30, 30), data, err=1.0)
    >>> bool(abs(dx - 3.3) < 2 * errx), bool(abs(dy + 0.9) < 2 * erry)
    (True, True)
    """
    transform = inputs.transform(nthreads, use_numpy_fft)
    nfitted = inputs.count(nfitted, "nfitted", least=1)
    max_auto_size = inputs.count(max_auto_size, "max_auto_size", least=3)
    max_nsig = inputs.positive(max_nsig, "max_nsig")
    if not isinstance(upsample_factor, str):
        upsample_factor = inputs.positive(upsample_factor, "upsample_factor")
    elif upsample_factor != "auto":
        raise InputError(
            f"upsample_factor={upsample_factor!r} is not known; give 'auto' or a number above 0"
        )
    model, data = inputs.images(im1, im2, err, zeromean)
    found = _fit(model, data, boundary, transform, nfitted)
    dy, dx = found.offset
    answer: list[Any] = [dx, dy]
    if return_error:
        low, high = found.extents(delta_chi2(1, nfitted))
        erry, errx = (high - low) / 2
        answer += [errx, erry]
    if return_chi2array:
        y, x = maps.steps(found, upsample_factor, max_auto_size, delta_chi2(max_nsig, nfitted))
        answer.append((*np.meshgrid(dx + x, dy + y), found.chi2_map([y, x])))
    if verbose:
        _tell(found, answer, return_error, return_chi2array)
    return answer


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
) -> Any:
    """chi^2 at whole-pixel shifts.

    Parameters
    ----------
    im1, im2, boundary, nthreads, zeromean, use_numpy_fft
        As in `chi2_shift`.
    err : float or array_like, optional
        1-sigma noise of `im2`; None counts as 1, so that the map is the sum of squares.
    return_all : bool
        Return the three terms too.
    reduced : bool
        Divide by the number of usable pixels of `im2` minus 2.

    Returns
    -------
    chi2 : array
        Shape of the images. The shift zero stands at index ``(n - 1) // 2`` of each axis and
        indices *fall* as ``dx, dy`` grow: ``dx = (nx - 1) // 2 - column``. Infinite where no
        pixel pair is left.
    term1, term2, term3 : float or array
        Only with `return_all`: ``sum X^2/err^2``, ``-2 sum X Y/err^2`` and ``sum Y^2/err^2``,
        whose sum is chi^2 (before `reduced`). Term 1 is a number unless `im1` has NaN; term 3
        is a number if it does not depend on the shift.

    Raises
    ------
    InputError
        If the images or an option cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(1).normal(size=(9, 9))
    >>> chi2 = chi2n_map(image, np.roll(image, 2, axis=1))
    >>> row, column = np.unravel_index(chi2.argmin(), chi2.shape)
    >>> int(4 - column), int(4 - row)
    (2, 0)
    """
    transform = inputs.transform(nthreads, use_numpy_fft)
    model, data = inputs.images(im1, im2, 1.0 if err is None else err, zeromean)
    arranged = inputs.arrange(model, data, boundary)
    surface = Surface(arranged, transform)
    dof = surface.n_data - 2 if reduced else 1
    if dof < 1:
        raise InputError(
            f"im2 has {surface.n_data} usable pixels; 3 or more are needed for a reduced chi^2: "
            "check the file and its mask, or use reduced=False"
        )
    window = [(n - 1) // 2 - np.arange(n) for n in model.data.shape]
    chi2 = surface.at_integers(window) / dof
    return (chi2, *terms_at_integers(arranged, transform, window)) if return_all else chi2


def chi2map_to_errors(
    chi2map: ArrayLike, zoomfactor: float = 1.0, nsigma: float = 1, nfitted: int = 2
) -> tuple[float, float, float, float]:
    """Extent of the region around the minimum of a chi^2 map.

    Parameters
    ----------
    chi2map : array_like
        2-D chi^2 (not reduced), with its minimum and the region inside.
    zoomfactor : float
        Pixels of the map in a pixel of the images.
    nsigma : float
        Size of the region: delta chi^2 has the probability of a normal within `nsigma`.
    nfitted : int
        Number of parameters that the region is joint for.

    Returns
    -------
    tuple of float
        ``(ex_low, ex_high, ey_low, ey_high)``, all above 0: how far the region reaches from
        the minimum towards lower and higher columns and rows, in pixels of the images. Minimum
        and ends are interpolated between the pixels of the map, exactly for a parabola.
        Infinite towards a side on which the region meets the edge of the map.

    Raises
    ------
    InputError
        If the map or an option cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[-20:21, -20:21] / 10
    >>> errors = chi2map_to_errors((x / 0.5) ** 2 + (y / 0.3) ** 2, zoomfactor=10, nfitted=1)
    >>> [round(error, 6) for error in errors]
    [0.5, 0.5, 0.3, 0.3]
    """
    zoomfactor = inputs.positive(zoomfactor, "zoomfactor")
    nfitted = inputs.count(nfitted, "nfitted", least=1)
    level = delta_chi2(inputs.positive(nsigma, "nsigma"), nfitted)
    values = np.asarray(chi2map)
    if values.ndim != 2 or min(values.shape) < 3 or values.dtype.kind not in "buif":
        raise InputError(
            f"chi2map has shape {values.shape} and dtype {values.dtype}; a real 2-D map of 3 x 3 "
            "pixels or more is needed, as chi2_shift(..., return_chi2array=True)[-1][2]"
        )
    values = np.where(np.isnan(values), np.inf, values.astype(np.float64))
    if not np.isfinite(values).any():
        raise InputError("chi2map has no finite value; a chi^2 map with a minimum is needed")
    ends = (*maps.ends(maps.profile(values), level), *maps.ends(maps.profile(values.T), level))
    ex_low, ex_high, ey_low, ey_high = (float(end) / zoomfactor for end in ends)
    return ex_low, ex_high, ey_low, ey_high


def _fit(model: Image, data: Image, boundary: str, transform: Transform, nfitted: int) -> Fit:
    """The best offset, over the offset and what the holes of the model may hold."""
    noise_floor = inputs.rounding_noise(data) if data.sigma is None else None
    found = best_fit(
        Surface(inputs.arrange(model, data, boundary), transform), nfitted, noise_floor
    )
    if model.valid is None:
        return found
    for _ in range(REFILLS):
        seen = found.best.surface.refilled(found.offset)
        model = replace(model, values=np.where(model.valid, model.data, seen))
        surface = Surface(inputs.arrange(model, data, boundary), transform)
        found = best_fit(surface, nfitted, noise_floor)
    return found


def _tell(found: Fit, answer: list[Any], with_errors: bool, with_map: bool) -> None:
    """Print what `verbose` asks for."""
    print(f"chi2_shift: dx = {answer[0]:.6g} px, dy = {answer[1]:.6g} px")
    if with_errors:
        print(f"chi2_shift: errx = {answer[2]:.3g} px, erry = {answer[3]:.3g} px")
    noise = "" if found.variance == 1 else f", noise learnt {found.variance**0.5:.4g}"
    print(f"chi2_shift: chi^2 = {found.chi2:.6g} from {found.pairs} pixel pairs{noise}")
    if with_map:
        x, y, chi2 = answer[-1]
        print(
            f"chi2_shift: map of {chi2.shape[0]} x {chi2.shape[1]} pixels, "
            f"x {x.min():.6g} to {x.max():.6g} px, y {y.min():.6g} to {y.max():.6g} px"
        )
