"""The seed's function: the shift between two images from chi^2, on the continuous function.

``chi2(d) = sum_p w_p (X_p - Y(p - d))^2``, with ``X = im2`` the data, ``Y = im1`` the model,
``w = 1 / err^2``. The model between its pixels is the trigonometric polynomial through them, so
every term of chi^2 is one too: ``sum w X Y(p - d)`` has the bandwidth of the images, and
``sum w Y(p - d)^2`` has twice that bandwidth, which two samples a pixel describe exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
from numpy.polynomial.polynomial import polygrid2d
from numpy.typing import ArrayLike, NDArray
from scipy import special

from coregister.errors import InputError
from coregister.fill import fill
from coregister.fourier import Complex, TrigPolynomial, phase_ramp
from coregister.images import Image, as_image

Array = NDArray[np.float64]

BOUNDARIES = ("wrap", "constant", "reflect", "nearest")

#: order of the expansions: exact to rounding within 0.15 px for the doubled bandwidth
ORDER = 12
#: the same within 0.6 px
WIDE_ORDER = 24
#: offsets with fewer pixel pairs than this share of the most are not looked at
LEAST_PAIRS = 0.1
#: most pixels of a map
MAX_MAP = 2**27
#: a part of a region wider than this many pixels both ways is told by whole pixels
WIDEST_GRID = 64
#: the ends, (axis, side), of nothing
NOWHERE = np.array([[np.inf, -np.inf], [np.inf, -np.inf]])


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
        scaled by the number of usable pixels of `im2` over the number of pixel pairs.
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
    transform = _transform(nthreads, use_numpy_fft)
    nfitted = _count(nfitted, "nfitted", least=1)
    max_auto_size = _count(max_auto_size, "max_auto_size", least=3)
    max_nsig = _positive(max_nsig, "max_nsig")
    if not isinstance(upsample_factor, str):
        upsample_factor = _positive(upsample_factor, "upsample_factor")
    elif upsample_factor != "auto":
        raise InputError(
            f"upsample_factor={upsample_factor!r} is not known; give 'auto' or a number above 0"
        )
    model, data = _images(im1, im2, err, zeromean)
    surface = _Surface(_arrange(model, data, boundary), transform)
    fit = _fit(surface, nfitted, data)
    dy, dx = fit.offset
    answer: list[Any] = [dx, dy]
    if return_error:
        low, high = fit.extents(chi2_level(1, nfitted))
        erry, errx = (high - low) / 2
        answer += [errx, erry]
    if return_chi2array:
        y, x = _map_steps(fit, upsample_factor, nfitted, max_auto_size, max_nsig)
        answer.append((*np.meshgrid(dx + x, dy + y), fit.chi2_map([y, x])))
    if verbose:
        _tell(fit, answer, return_error, return_chi2array)
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
    transform = _transform(nthreads, use_numpy_fft)
    model, data = _images(im1, im2, 1.0 if err is None else err, zeromean)
    arranged = _arrange(model, data, boundary)
    window = [(n - 1) // 2 - np.arange(n) for n in model.data.shape]
    surface = _Surface(arranged, transform)
    dof = surface.n_data - 2 if reduced else 1
    if dof < 1:
        raise InputError(
            f"im2 has {surface.n_data} usable pixels; 3 or more are needed for a reduced chi^2: "
            "check the file and its mask, or use reduced=False"
        )
    chi2 = surface.at_integers(window) / dof
    if not return_all:
        return chi2
    return (chi2, *_terms(arranged, transform, window))


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
    zoomfactor = _positive(zoomfactor, "zoomfactor")
    level = chi2_level(_positive(nsigma, "nsigma"), _count(nfitted, "nfitted", least=1))
    values = np.asarray(chi2map)
    if values.ndim != 2 or min(values.shape) < 3 or values.dtype.kind not in "buif":
        raise InputError(
            f"chi2map has shape {values.shape} and dtype {values.dtype}; a real 2-D map of 3 x 3 "
            "pixels or more is needed, as chi2_shift(..., return_chi2array=True)[-1][2]"
        )
    values = np.where(np.isnan(values), np.inf, values.astype(np.float64))
    if not np.isfinite(values).any():
        raise InputError("chi2map has no finite value; a chi^2 map with a minimum is needed")
    columns, rows = _profile(values), _profile(values.T)
    ends = (*_profile_ends(columns, level), *_profile_ends(rows, level))
    ex_low, ex_high, ey_low, ey_high = (float(end) / zoomfactor for end in ends)
    return ex_low, ex_high, ey_low, ey_high


def chi2_level(nsigma: float, nfitted: int) -> float:
    """Delta chi^2 that `nfitted` parameters stay within as a normal stays within `nsigma`.

    Examples
    --------
    >>> round(chi2_level(1, 1), 6), round(chi2_level(1, 2), 4)
    (1.0, 2.2957)
    """
    outside = special.erfc(nsigma / np.sqrt(2))
    return float(2 * special.gammainccinv(nfitted / 2, outside))


# ---- the door


@dataclass(frozen=True)
class _Transform:
    """Real FFTs of 2-D arrays through scipy or numpy."""

    workers: int
    numpy: bool

    def forward(self, array: Array) -> Complex:
        if self.numpy:
            return np.asarray(np.fft.rfft2(array))
        return np.asarray(scipy.fft.rfft2(array, workers=self.workers))

    def inverse(self, spectrum: Complex, shape: tuple[int, ...]) -> Array:
        """Inverse; `spectrum` is used up."""
        if self.numpy:
            return np.asarray(np.fft.irfft2(spectrum, s=shape))
        return np.asarray(
            scipy.fft.irfft2(spectrum, s=shape, workers=self.workers, overwrite_x=True)
        )


def _transform(nthreads: int, use_numpy_fft: bool) -> _Transform:
    workers = _count(nthreads, "nthreads", least=1)
    if use_numpy_fft and workers > 1:
        raise InputError(
            f"nthreads={workers} with use_numpy_fft=True: numpy.fft has one thread; "
            "use nthreads=1, or use_numpy_fft=False"
        )
    return _Transform(workers, bool(use_numpy_fft))


def _count(value: Any, name: str, *, least: int) -> int:
    try:
        whole = int(value)
        good = whole == value and whole >= least
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(f"{name}={value!r} is not usable; a whole number of {least} or more is")
    return whole


def _positive(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise InputError(f"{name}={value!r} is not usable; a finite number above 0 is needed")
    return number


def _images(im1: Any, im2: Any, err: ArrayLike | None, zeromean: bool) -> tuple[Image, Image]:
    """Model and data, validated; `sigma` of the data is never a scalar 0."""
    model = as_image(im1, name="im1", err_name="err")
    data = as_image(im2, err=err, name="im2", err_name="err")
    for image, name in ((model, "im1"), (data, "im2")):
        if image.data.ndim != 2:
            raise InputError(
                f"{name} has {image.data.ndim} axes, shape {image.data.shape}; chi2_shift needs "
                "2: pick one plane, or use coregister.register, which takes any number"
            )
    if model.data.shape != data.data.shape:
        raise InputError(
            f"im1 has shape {model.data.shape} and im2 {data.data.shape}; chi2_shift needs one "
            "shape: crop the larger, or use coregister.register, which takes both as they are"
        )
    if isinstance(data.sigma, float) and data.sigma == 0:
        raise InputError(
            "err is 0, which leaves every pixel out; give the 1-sigma noise of im2, or err=None "
            "to learn it from the images"
        )
    if zeromean:
        model, data = (
            replace(image, data=image.data - image.data.mean(where=_where(image.valid)))
            for image in (model, data)
        )
    return model, data


def _where(valid: NDArray[np.bool_] | None) -> Any:
    return True if valid is None else valid


# ---- the arrays that chi^2 is a sum over


@dataclass(frozen=True)
class _Arranged:
    """Model and data on one periodic grid on which every allowed shift is a rotation.

    Attributes
    ----------
    model, data : array
        With one common constant taken off, for precision; chi^2 does not see it.
    model_valid : bool array or None
        Moves with the model. None = all pixels.
    weights : float or array
        ``1 / err^2`` of the data, 0 where no pixel is; a float if one for the whole period.
    lower, upper : tuple of int
        The shifts of this axis that are told apart.
    periodic : bool
        Whether shifts go round.
    """

    model: Array
    data: Array
    model_valid: NDArray[np.bool_] | None
    weights: float | Array
    pedestal: float
    lower: tuple[int, ...]
    upper: tuple[int, ...]
    periodic: bool


def _arrange(model: Image, data: Image, boundary: str) -> _Arranged:
    if boundary not in BOUNDARIES:
        raise InputError(
            f"boundary={boundary!r} is not known; use one of {', '.join(map(repr, BOUNDARIES))}"
        )
    shape = data.data.shape
    sigma = 1.0 if data.sigma is None else data.sigma
    weights: float | Array = 1 / np.square(sigma)
    if data.valid is not None:
        weights = np.where(data.valid, weights, 0.0)
    pedestal = float(np.average(data.data, weights=weights if np.ndim(weights) else None))
    image, valid, x = fill(model), model.valid, data.data - pedestal
    if boundary == "wrap":
        lower, upper = tuple(-(n // 2) for n in shape), tuple((n - 1) // 2 for n in shape)
    else:
        lower, upper = tuple(1 - n for n in shape), tuple(n - 1 for n in shape)
        if valid is not None:
            valid = _extend(valid.astype(float), boundary, beyond=1.0) > 0.5
        image = _extend(image, boundary, beyond=0.0)
        margin = [(0, length - n) for length, n in zip(image.shape, shape, strict=True)]
        weights = np.pad(np.broadcast_to(weights, shape), margin)
        x = np.pad(x, margin)
    return _Arranged(
        model=image - pedestal,
        data=x,
        model_valid=valid,
        weights=weights if isinstance(weights, np.ndarray) and weights.ndim else float(weights),
        pedestal=pedestal,
        lower=lower,
        upper=upper,
        periodic=boundary == "wrap",
    )


def _extend(image: Array, boundary: str, *, beyond: float) -> Array:
    """Continue the image past its edges, far enough for every shift by less than its size.

    Index -1 and so on, counted from the end, are the pixels before the first. Zeros and mirror
    images repeat after twice the size; for 'nearest' the values of the two edges are joined by
    a smooth step where no shift reaches.
    """
    for axis, n in enumerate(image.shape):
        if boundary == "constant":
            margin = [(0, n if a == axis else 0) for a in range(image.ndim)]
            image = np.pad(image, margin, constant_values=beyond)
        elif boundary == "reflect":
            image = np.concatenate([image, np.flip(image, axis)], axis)
        else:
            length = scipy.fft.next_fast_len(3 * n + max(n // 2, 16), real=True)
            index = np.arange(length)
            share = np.clip((index - (2 * n - 2)) / (length - 3 * n + 3), 0, 1)
            share = (1 - np.cos(np.pi * share)) / 2
            share = share.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
            inside = np.take(image, np.minimum(index, n - 1), axis)
            image = inside * (1 - share) + np.take(image, [0], axis) * share
    return image


# ---- chi^2 as a function of the offset


class _Surface:
    """chi^2 at any offset: `constant` plus trigonometric polynomials, over the share of pairs.

    Everything but `at_integers` and `residual` leaves `constant` out, so that differences of
    chi^2 keep their digits when chi^2 itself is large.

    Attributes
    ----------
    constant : float
    terms : list of TrigPolynomial
        Their sum is the rest of chi^2.
    pairs : TrigPolynomial or None
        Number of pixel pairs over the number of usable data pixels; None = 1.
    n_data : int
        Usable pixels of the data.
    rounding : float
        Differences of chi^2 below this are rounding errors.
    """

    def __init__(self, arranged: _Arranged, transform: _Transform) -> None:
        self.arranged = arranged
        self.transform = transform
        self.shape = arranged.model.shape
        self.lower, self.upper = np.array(arranged.lower), np.array(arranged.upper)
        self.pairs: TrigPolynomial | None = None
        self.usable: NDArray[np.bool_] | None = None
        self.terms: list[TrigPolynomial] = []
        if arranged.model_valid is not None:
            self._build_masked(arranged.model_valid)
        elif isinstance(arranged.weights, np.ndarray):
            self._build_weighted(arranged.weights)
        else:
            self._build_uniform(arranged.weights)

    def _build_uniform(self, weight: float) -> None:
        """One weight for the whole period: term 3 changes through the Nyquist samples alone."""
        y, x = self.arranged.model, self.arranged.data
        self.n_data = y.size
        spectrum = self.transform.forward(y)
        lost = _nyquist_power(spectrum, self.shape)
        cross = self.transform.forward(x) * spectrum.conj()
        cross *= -2 * weight
        self.constant = weight * (np.vdot(x, x) + np.vdot(y, y)) + cross[0, 0].real / y.size
        self.rounding = _rounding(weight * (np.vdot(x, x) + np.vdot(y, y)))
        cross[0, 0] = 0
        self.terms = [
            TrigPolynomial(cross / y.size, self.shape),
            TrigPolynomial.from_samples(-weight * lost, density=2),
        ]
        self.relative = self.transform.inverse(cross, self.shape)

    def _build_weighted(self, weights: Array) -> None:
        """Weights for each pixel: term 3 lives on two samples a pixel."""
        y, x = self.arranged.model, self.arranged.data
        self.n_data = int(np.count_nonzero(weights))
        forward = self.transform.forward
        weighted = weights * x
        spectrum, weight_spectrum = forward(y), forward(weights)
        cross = forward(weighted) * spectrum.conj()
        cross *= -2
        total = cross + weight_spectrum * forward(y * y).conj()
        term1 = float(np.vdot(weighted, x))
        fine = forward(self._finer(spectrum, 2) ** 2).conj()
        fine *= _repeat(weight_spectrum, self.shape, 2)
        fine /= 4 * y.size
        _add_spread(fine, cross / y.size, self.shape, 2)
        self.constant = term1 + fine[0, 0].real
        total[0, 0] -= fine[0, 0] * y.size
        fine[0, 0] = 0
        self.terms = [TrigPolynomial(fine, [2 * n for n in self.shape], density=2)]
        self.relative = self.transform.inverse(total, self.shape)
        self.rounding = _rounding(term1 + float(weights.sum()) * np.vdot(y, y) / y.size)

    def _build_masked(self, model_valid: NDArray[np.bool_]) -> None:
        """Model pixels missing: their mask v moves along, so term 3, with v Y^2, needs three."""
        y, x, size = self.arranged.model, self.arranged.data, self.arranged.model.size
        v, w = model_valid.astype(np.float64), np.broadcast_to(self.arranged.weights, self.shape)
        forward, inverse = self.transform.forward, self.transform.inverse
        y_spectrum, v_spectrum = forward(y), forward(v)
        used = (w > 0).astype(np.float64)
        self.n_data = int(np.count_nonzero(used))
        factors = [forward(w * x * x), -2 * forward(w * x), forward(w)]
        total = np.zeros_like(v_spectrum)
        for power, factor in enumerate(factors):
            density = power + 1
            fine = self._finer(v_spectrum, density) * self._finer(y_spectrum, density) ** power
            term = _repeat(factor, self.shape, density) * forward(fine).conj()
            term /= size * density**2
            shape = [density * n for n in self.shape]
            self.terms.append(TrigPolynomial(term, shape, density=density))
            total += factor * forward(v * y**power).conj()
        pairs = forward(used) * v_spectrum.conj() / self.n_data
        self.pairs = TrigPolynomial(pairs / size, self.shape)
        count = np.rint(inverse(pairs, self.shape) * self.n_data)
        self.constant = 0.0
        self.usable = count >= max(1.0, LEAST_PAIRS * count.max())
        with np.errstate(divide="ignore"):
            share = np.where(count > 0, self.n_data / np.maximum(count, 1), np.inf)
        self.relative = np.where(count > 0, inverse(total, self.shape) * share, np.inf)
        self.rounding = _rounding(float((w * x * x).sum()) + float(w.sum()) * np.vdot(y, y) / size)

    def _finer(self, spectrum: Complex, density: int) -> Array:
        """Samples, `density` a pixel, of the function with this half spectrum."""
        fine_shape = tuple(density * n for n in self.shape)
        fine = np.zeros((fine_shape[0], fine_shape[1] // 2 + 1), dtype=np.complex128)
        _add_spread(fine, spectrum, self.shape, density)
        fine *= density**2
        return self.transform.inverse(fine, fine_shape)

    @property
    def image_shape(self) -> Array:
        """Shape of the images."""
        return self.upper + 1 if not self.arranged.periodic else np.array(self.shape)

    @property
    def edge_mode(self) -> str:
        """How filters of `scipy.ndimage` treat the edges of the map of all offsets."""
        return "wrap" if self.arranged.periodic else "nearest"

    @property
    def most_parts(self) -> int:
        """A region in more parts than this is told by whole pixels, to bound the work."""
        return int(np.clip(2**20 // np.prod(self.shape), 8, 64))

    @cached_property
    def searched(self) -> Array:
        """`relative`, infinite where no minimum is looked for."""
        if self.arranged.periodic and self.usable is None:
            return self.relative
        index = np.ix_(
            *(
                np.arange(a, b + 1) % n
                for a, b, n in zip(self.lower, self.upper, self.shape, strict=True)
            )
        )
        usable = (
            self.relative if self.usable is None else np.where(self.usable, self.relative, np.inf)
        )
        searched = np.full(self.shape, np.inf)
        searched[index] = usable[index]
        return searched

    def spans(self, centre: Array) -> list[NDArray[np.int_]]:
        """All whole-pixel offsets of each axis, in one run; around `centre` if they go round."""
        if not self.arranged.periodic:
            return [np.arange(a, b + 1) for a, b in zip(self.lower, self.upper, strict=True)]
        middle = np.rint(centre).astype(int)
        return [
            m + np.arange(-(n // 2), n - n // 2) for m, n in zip(middle, self.shape, strict=True)
        ]

    def limits(self, centre: Array) -> Array:
        """Ends of all offsets, (axis, side): a region that meets them does not end."""
        beyond = 0.5 if self.arranged.periodic else 0.0
        return np.array([(s[0] - beyond, s[-1] + beyond) for s in self.spans(centre)])

    def at_integers(self, window: Sequence[NDArray[np.int_]]) -> Array:
        """chi^2 itself at whole-pixel offsets; never negative."""
        index = [positions % n for positions, n in zip(window, self.shape, strict=True)]
        return np.asarray(np.maximum(self.constant + self.relative[np.ix_(*index)], 0.0))

    def grid(self, positions: Sequence[Array]) -> Array:
        """chi^2 minus `constant` on the outer grid of two vectors of positions."""
        total = sum(term.grid(positions) for term in self.terms)
        if self.pairs is None:
            return np.asarray(total)
        share = self.pairs.grid(positions)
        enough = share > 0.5 / self.n_data
        return np.where(enough, total / np.where(enough, share, 1.0), np.inf)

    def taylor(self, position: Array, order: int) -> Array:
        """Taylor coefficients, (order + 1, order + 1), of chi^2 minus `constant`."""
        total: Array = sum(
            (term.taylor(position, order) for term in self.terms),
            np.zeros((order + 1, order + 1)),
        )
        return total if self.pairs is None else _divide(total, self.pairs.taylor(position, order))

    def share(self, position: Array) -> float:
        """Pixel pairs over usable data pixels."""
        return 1.0 if self.pairs is None else self.pairs.derivatives(position)[0]

    def residual(self, position: Array) -> float:
        """chi^2 itself, as the sum of squares it is: no cancellation, exact 0 included."""
        difference = self.arranged.data - self._moved(self.arranged.model, position)
        weights: Any = self.arranged.weights
        if self.arranged.model_valid is not None:
            weights = weights * self._moved(self.arranged.model_valid.astype(float), position)
        total = np.sum(weights * difference**2)
        return max(float(total), 0.0) / self.share(position)

    def _moved(self, image: Array, position: Array) -> Array:
        if np.all(position == np.rint(position)):
            return np.roll(image, np.rint(position).astype(int), (0, 1))
        spectrum = self.transform.forward(image)
        for ramp in phase_ramp(self.shape, position):
            spectrum *= ramp
        return self.transform.inverse(spectrum, self.shape)


def _terms(
    arranged: _Arranged, transform: _Transform, window: Sequence[NDArray[np.int_]]
) -> Iterator[float | Array]:
    """Terms 1, 2 and 3 of chi^2 at whole-pixel offsets, of the images as they are."""
    x, y, w = arranged.data, arranged.model, arranged.weights
    x = np.where(np.asarray(w) > 0, x + arranged.pedestal, 0.0)
    y = y + arranged.pedestal
    index = np.ix_(*(positions % n for positions, n in zip(window, y.shape, strict=True)))

    def correlate(a: Array, b: Array) -> Array:
        product = transform.forward(a) * transform.forward(b).conj()
        return transform.inverse(product, y.shape)[index]

    if arranged.model_valid is None:
        yield float(np.sum(w * x**2))
        yield -2 * correlate(w * x, y)
        yield correlate(w, y**2) if isinstance(w, np.ndarray) else w * float(np.sum(y**2))
        return
    v = arranged.model_valid.astype(float)
    w = np.broadcast_to(w, y.shape)
    used = (w > 0).astype(float)
    count = np.rint(correlate(used, v))
    scale = np.where(count > 0, used.sum() / np.maximum(count, 1), np.inf)
    yield scale * correlate(w * x**2, v)
    yield -2 * scale * correlate(w * x, v * y)
    yield scale * correlate(w, v * y**2)


def _rounding(amplitude: float | np.floating) -> float:
    return float(64 * np.finfo(float).eps * amplitude)


def _nyquist_power(spectrum: Complex, shape: Sequence[int]) -> Array:
    """Power that a shift by half a pixel along either axis, or both, takes from the samples."""
    rows, columns = shape
    weight = np.full(spectrum.shape[1], 2.0)
    weight[0] = 1
    if columns % 2 == 0:
        weight[-1] = 1
    size = rows * columns
    along_y = (
        np.vdot(spectrum[rows // 2], weight * spectrum[rows // 2]).real if rows % 2 == 0 else 0
    )
    along_x = np.vdot(spectrum[:, -1], spectrum[:, -1]).real if columns % 2 == 0 else 0
    both = abs(spectrum[rows // 2, -1]) ** 2 if rows % 2 == 0 and columns % 2 == 0 else 0
    return np.array([[0, along_x], [along_y, along_x + along_y - both]]) / size


def _repeat(half: Complex, shape: Sequence[int], density: int) -> Complex:
    """Half spectrum of the samples with zeros put between them: the spectrum repeats."""
    if density == 1:
        return half
    rows, columns = shape
    mirrored = half[-np.arange(rows) % rows][:, columns - np.arange(columns // 2 + 1, columns)]
    full = np.concatenate([half, mirrored.conj()], axis=1)
    wanted = np.arange(density * columns // 2 + 1) % columns
    return np.tile(full[:, wanted], (density, 1))


def _add_spread(fine: Complex, half: Complex, shape: Sequence[int], density: int) -> None:
    """Add a half spectrum to a finer one; the Nyquist samples split into their two signs."""
    if density == 1:
        fine += half
        return
    rows, columns = shape
    if columns % 2 == 0:
        half = half.copy()
        half[:, -1] /= 2
    width = half.shape[1]
    above, below = (rows + 1) // 2, (rows - 1) // 2
    fine[:above, :width] += half[:above]
    fine[fine.shape[0] - below :, :width] += half[rows - below :]
    if rows % 2 == 0:
        fine[rows // 2, :width] += half[rows // 2] / 2
        fine[-(rows // 2), :width] += half[rows // 2] / 2


def _divide(numerator: Array, denominator: Array) -> Array:
    """Taylor coefficients of a quotient."""
    quotient = np.zeros_like(numerator)
    for a, b in np.ndindex(numerator.shape):
        known = denominator[: a + 1, : b + 1][::-1, ::-1] * quotient[: a + 1, : b + 1]
        quotient[a, b] = (numerator[a, b] - known.sum()) / denominator[0, 0]
    return quotient


# ---- the minimum


@dataclass(frozen=True)
class _Fit:
    """The minimum of a surface, and what is within a given delta chi^2 of it.

    Attributes
    ----------
    offset : (2,) array
        Axis order.
    minimum : float
        chi^2 there, with errors as given; unit errors if none were.
    lowest : float
        The same in the terms of the surface, without its constant.
    coefficients : array
        Taylor coefficients of delta chi^2 around the minimum.
    variance : float
        What chi^2 of unit errors is divided by; 1 if errors were given.
    """

    surface: _Surface
    offset: Array
    minimum: float
    lowest: float
    coefficients: Array
    variance: float = 1.0

    @property
    def chi2(self) -> float:
        """chi^2 at the minimum, with errors given or learnt."""
        return self.minimum / self.variance

    @property
    def pairs(self) -> float:
        """Number of pixel pairs."""
        return self.surface.share(self.offset) * self.surface.n_data

    def extents(self, level: float) -> tuple[Array, Array]:
        """How far the region of delta chi^2 up to `level` reaches down and up each axis."""
        # N/n counts pixels that no pair has; they tell nothing, so the region is that of n
        level = level * self.variance / self.surface.share(self.offset)
        return _region(self, level)

    def chi2_map(self, steps: Sequence[Array]) -> Array:
        """chi^2 on the outer grid of two vectors of distances from the minimum."""
        reach = max(float(np.abs(step).max()) for step in steps)
        coefficients = self.coefficients if reach < 0.15 else None
        if 0.15 <= reach < 0.6:
            coefficients = _centred(self.surface.taylor(self.offset, WIDE_ORDER))
        if coefficients is None:
            positions = [d + step for d, step in zip(self.offset, steps, strict=True)]
            delta: Array = self.surface.grid(positions) - self.lowest
        else:
            delta = np.asarray(polygrid2d(steps[0], steps[1], coefficients), dtype=np.float64)
        return np.maximum(self.minimum + delta, 0.0) / self.variance


def _fit(surface: _Surface, nfitted: int, data: Image) -> _Fit:
    """Find the minimum of chi^2, and the noise if no errors were given."""
    pairs_at = surface.share
    fit = _minimum(surface, _start(surface))
    for _ in range(4):
        dof = round(pairs_at(fit.offset) * surface.n_data) - nfitted
        if data.sigma is None:
            if dof < 1:
                raise InputError(
                    f"{dof + nfitted} pixel pairs cannot tell their noise with {nfitted} "
                    "parameters fitted; give err, or images with more usable pixels"
                )
            largest = np.abs(data.data).max(where=_where(data.valid), initial=0.0)
            floor = (np.finfo(float).eps * largest) ** 2 or 1.0
            in_pairs = fit.minimum * pairs_at(fit.offset)
            fit = replace(fit, variance=max(in_pairs / dof, floor))
        lower = _lower_rival(fit, chi2_level(1, nfitted) * fit.variance / pairs_at(fit.offset))
        if lower is None:
            break
        fit = lower
    if surface.arranged.periodic:
        shape = np.array(surface.shape)
        fit = replace(fit, offset=(fit.offset + shape / 2) % shape - shape / 2)
    return fit


def _start(surface: _Surface) -> Array:
    """The whole-pixel offset of least chi^2; of equals, the one closest to zero."""
    relative = surface.searched
    ties = np.flatnonzero(relative <= relative.min() + surface.rounding)
    index = np.stack(np.unravel_index(ties, relative.shape), axis=-1)
    shape = np.array(surface.shape)
    offsets = np.where(index >= (shape + 1) // 2, index - shape, index)
    return np.asarray(offsets[np.argmin((offsets**2).sum(axis=1))], dtype=np.float64)


def _minimum(surface: _Surface, start: Array) -> _Fit:
    """Descend from an offset to the minimum of its basin."""
    exact = surface.rounding * 1e6  # below this the terms of chi^2 have cancelled
    offset = start + 0.0
    for _ in range(20):
        coefficients = surface.taylor(offset, ORDER)
        if surface.constant + coefficients[0, 0] < exact and surface.residual(offset) == 0:
            return _Fit(surface, offset, 0.0, coefficients[0, 0], _centred(coefficients))
        step = _descend(coefficients, surface.rounding)
        offset = offset + step
        if np.abs(step).max() < 0.05:
            break
    coefficients = _recentre(coefficients, step)
    minimum = surface.constant + coefficients[0, 0]
    if minimum < exact:
        minimum = surface.residual(offset)
    return _Fit(surface, offset, float(minimum), coefficients[0, 0], _centred(coefficients))


def _descend(coefficients: Array, rounding: float, reach: float = 0.6) -> Array:
    """Safeguarded Newton steps from the centre of an expansion, up to about `reach` away."""
    c = coefficients.copy()
    c[0, 0] = 0
    x = np.zeros(2)
    value, gradient, hessian = _evaluate(c, x)
    for _ in range(60):
        curvature, directions = np.linalg.eigh(hessian)
        known = np.abs(curvature) > 1e-12 * np.abs(curvature).max() + 100 * rounding
        slope = np.where(known, directions.T @ gradient, 0.0)
        step = -directions @ (slope / np.where(known, np.abs(curvature), 1.0))
        size = float(np.abs(step).max())
        if size < 1e-15:
            break
        step, size = step * min(1.0, reach / 2 / size), min(size, reach / 2)
        if np.abs(x + step).max() > reach:
            break
        trust = size < 1e-4 and bool(np.all(curvature[known] > 0))
        while True:
            lower, new_gradient, new_hessian = _evaluate(c, x + step)
            if trust or lower <= value or size < 1e-9:
                break
            step, size = step / 2, size / 2
        if not trust and lower > value:
            break
        x, value, gradient, hessian = x + step, lower, new_gradient, new_hessian
        if size < 1e-12:
            break
    return x


def _evaluate(c: Array, x: Array) -> tuple[float, Array, Array]:
    """Value, gradient and Hessian of a polynomial of two variables."""
    order = np.arange(len(c))
    powers = np.zeros((2, 3, len(c)))
    for axis in range(2):
        powers[axis, 0] = x[axis] ** order
        powers[axis, 1, 1:] = order[1:] * powers[axis, 0, :-1]
        powers[axis, 2, 1:] = order[1:] * powers[axis, 1, :-1]
    d = powers[0] @ c @ powers[1].T
    return float(d[0, 0]), d[[1, 0], [0, 1]], np.array([[d[2, 0], d[1, 1]], [d[1, 1], d[0, 2]]])


def _recentre(c: Array, step: Array) -> Array:
    """Expand a polynomial around another point."""
    order = np.arange(len(c))
    lag = order - order[:, None]
    binomial = special.binom(order, order[:, None])
    left, right = (np.where(lag >= 0, binomial * s ** np.maximum(lag, 0), 0.0) for s in step)
    return np.asarray(left @ c @ right.T)


def _centred(coefficients: Array) -> Array:
    """Delta chi^2 around a minimum: value and gradient exactly 0 there."""
    c = coefficients.copy()
    c[0, 0] = c[1, 0] = c[0, 1] = 0
    return c


# ---- the region of small delta chi^2


@dataclass(frozen=True)
class _Near:
    """Whole-pixel offsets about which chi^2 may be as low as the limit of the region."""

    spans: list[NDArray[np.int_]]
    values: Array
    mask: NDArray[np.bool_]


def _compact(fit: _Fit, level: float) -> bool:
    """Whether chi^2 can be within `level` of its minimum only right there (a quick test).

    `level` is in the units of the surface, here and below. Between its samples chi^2 falls by
    no more than its curvature allows.
    """
    surface = fit.surface
    dip = 1.5 * np.abs(_evaluate(fit.coefficients, np.zeros(2))[2]).sum() / 8
    low = surface.searched <= fit.lowest + level + dip + surface.rounding
    index = np.stack(np.unravel_index(np.flatnonzero(low), low.shape), axis=-1)
    shape = np.array(low.shape)
    distance = (index - fit.offset + shape / 2) % shape - shape / 2
    return bool(np.all(np.abs(distance) <= 1.5))


def _near(fit: _Fit, level: float) -> _Near:
    """Where chi^2 can be within `level` of its minimum: by how much its samples vary there."""
    from scipy import ndimage

    surface = fit.surface
    spans = surface.spans(fit.offset)
    values = surface.searched[np.ix_(*(s % n for s, n in zip(spans, surface.shape, strict=True)))]
    finite = np.isfinite(values)
    values = np.where(finite, values, values.max(where=finite, initial=fit.lowest))
    highest = ndimage.maximum_filter(values, 3, mode=surface.edge_mode)
    lower_bound = values - 1.5 * (highest - values)
    mask = finite & (lower_bound <= fit.lowest + level + surface.rounding)
    return _Near(spans, values, mask)


def _lower_rival(fit: _Fit, level: float) -> _Fit | None:
    """A minimum below that of `fit`, if the whole-pixel samples hid one."""
    from scipy import ndimage

    if _compact(fit, level):
        return None
    surface = fit.surface
    curvature = np.abs(_evaluate(fit.coefficients, np.zeros(2))[2]).sum()
    best = fit
    for box in _boxes(fit, level):
        density = 4 if np.diff(box).min() <= WIDEST_GRID else 1
        nodes = [np.linspace(a, b, int(density * (b - a)) + 1) for a, b in box]
        spacing = max(node[1] - node[0] for node in nodes)
        delta = surface.grid(nodes) - fit.lowest
        dips = delta <= np.minimum(ndimage.minimum_filter(delta, 3), spacing**2 * curvature / 8)
        index = np.argwhere(dips)
        for row, column in index[np.argsort(delta[dips])][: surface.most_parts]:
            rival = _minimum(surface, np.array([nodes[0][row], nodes[1][column]]))
            if rival.minimum < best.minimum:
                best = rival
    return best if best.minimum < fit.minimum - surface.rounding else None


def _boxes(fit: _Fit, level: float) -> list[Array]:
    """Boxes, (axis, side), outside of which nothing is within `level` of the minimum."""
    from scipy import ndimage

    near = _near(fit, level)
    limits = fit.surface.limits(fit.offset)
    parts, _ = ndimage.label(near.mask, np.ones((3, 3)))
    boxes = (
        [
            (span[part.start] - 1, span[part.stop - 1] + 1)
            for span, part in zip(near.spans, piece, strict=True)
        ]
        for piece in ndimage.find_objects(parts)
    )
    return [np.clip(np.array(box, float), limits[:, :1], limits[:, 1:]) for box in boxes]


def _region(fit: _Fit, level: float) -> tuple[Array, Array]:
    """How far delta chi^2 up to `level` reaches from the minimum, down and up each axis."""
    if _compact(fit, level):
        ends = _ellipse_ends(fit, level)
        if ends is not None:
            return ends
    return _traced_ends(fit, level)


def _traced_ends(fit: _Fit, level: float) -> tuple[Array, Array]:
    """The same for a region of any form and any number of parts."""
    boxes = _boxes(fit, level)
    ends = np.stack([fit.offset, fit.offset], axis=1)
    for box in boxes:
        whole = len(boxes) > fit.surface.most_parts or np.diff(box).min() > WIDEST_GRID
        ends = _union(ends, box if whole else _part_ends(fit, level, box))
    limits = fit.surface.limits(fit.offset)
    low = np.where(ends[:, 0] <= limits[:, 0], -np.inf, ends[:, 0] - fit.offset)
    high = np.where(ends[:, 1] >= limits[:, 1], np.inf, ends[:, 1] - fit.offset)
    return low, high


def _union(a: Array, b: Array) -> Array:
    """Ends, (axis, side), of two parts together."""
    return np.stack([np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 1], b[:, 1])], axis=1)


def _part_ends(fit: _Fit, level: float, box: Array) -> Array:
    """Ends, (axis, side), of what lies in `box`: from ever finer grids, then exactly."""
    from scipy import ndimage

    surface = fit.surface
    sizes = np.diff(box).ravel()
    hessian = np.abs(_evaluate(fit.coefficients, np.zeros(2))[2])
    wanted = sizes * np.sqrt(hessian.sum() / (8 * 0.05 * level))
    counts = np.clip(np.ceil(np.fmin(wanted, 256)), np.maximum(2 * sizes, 16), None).astype(int)
    nodes = [np.linspace(a, b, count + 1) for (a, b), count in zip(box, counts, strict=True)]
    spacing = sizes / counts
    dip = spacing @ hessian @ spacing / 8  # a node is at most half a spacing away
    delta = surface.grid(nodes) - fit.lowest
    parts, count = ndimage.label(delta <= level + dip + surface.rounding, np.ones((3, 3)))
    ends = NOWHERE
    for number, piece in enumerate(ndimage.find_objects(parts), start=1):
        here = np.where(parts[piece] == number, delta[piece], np.inf)
        axes = [node[part] for node, part in zip(nodes, piece, strict=True)]
        outline = np.array([(axis[0], axis[-1]) for axis in axes]) + np.outer(spacing, (-1, 1))
        if count > surface.most_parts:
            ends = _union(ends, outline)
            continue
        found = _island_ends(fit, level, axes, here, outline)
        if found is None and dip > 0.1 * level and np.diff(outline).prod() < sizes.prod() / 2:
            found = _part_ends(fit, level, outline)
        if found is None:
            found = _polished_ends(fit, level, axes, here, spacing)
        ends = _union(ends, found)
    return np.stack([np.maximum(ends[:, 0], box[:, 0]), np.minimum(ends[:, 1], box[:, 1])], axis=1)


def _island_ends(
    fit: _Fit, level: float, axes: Sequence[Array], delta: Array, outline: Array
) -> Array | None:
    """Ends of a part, from the minimum in it; None if it is not small and like an ellipse."""
    if np.all((outline[:, 0] <= fit.offset) & (fit.offset <= outline[:, 1])):
        local, remaining = fit, level
    else:
        row, column = np.unravel_index(delta.argmin(), delta.shape)
        local = _minimum(fit.surface, np.array([axes[0][row], axes[1][column]]))
        if not np.all((outline[:, 0] <= local.offset) & (local.offset <= outline[:, 1])):
            return None
        remaining = level + fit.lowest - local.lowest
        if remaining <= 0 and delta.min() > level:
            return NOWHERE
    ellipse = _ellipse_ends(local, remaining) if np.diff(outline).max() < 2 else None
    if ellipse is None:
        return None
    ends = local.offset[:, None] + np.stack(ellipse, axis=1)
    inside = np.argwhere(delta <= level - fit.surface.rounding)
    for axis in range(2):
        certain = axes[axis][inside[:, axis]]
        if np.any((certain < ends[axis, 0]) | (certain > ends[axis, 1])):
            return None
    return ends


def _polished_ends(
    fit: _Fit, level: float, axes: Sequence[Array], delta: Array, spacing: Array
) -> Array:
    """Ends of a part of any form: from the outermost nodes to the contour, or one node more."""
    found = np.argwhere(np.isfinite(delta))
    ends = np.empty((2, 2))
    for axis in range(2):
        for side, (sign, pick) in enumerate(((-1, np.argmin), (1, np.argmax))):
            edge = found[found[:, axis] == found[pick(found[:, axis]), axis]]
            index = edge[np.argmin(delta[tuple(edge.T)])]
            node = np.array([axes[0][index[0]], axes[1][index[1]]])
            c = fit.surface.taylor(node, WIDE_ORDER)
            c[0, 0] -= fit.lowest
            contact = _contact(c, level, axis, sign, np.zeros(2), float(2 * spacing.max()))
            shift = sign * spacing[axis] if contact is None else contact[axis]
            ends[axis, side] = node[axis] + shift
    return ends


def _ellipse_ends(fit: _Fit, level: float) -> tuple[Array, Array] | None:
    """Ends of a region like an ellipse, smaller than a pixel; None if it is not like that."""
    hessian = _evaluate(fit.coefficients, np.zeros(2))[2]
    curvature = np.linalg.eigvalsh(hessian)
    if curvature[0] <= 1e-10 * curvature[1] + 100 * fit.surface.rounding:
        return None
    matrix = np.linalg.inv(hessian / 2)
    reach = float(np.sqrt(level * matrix.diagonal().max()))
    if reach > 0.45:
        return None
    coefficients = fit.coefficients
    if reach > 0.1:
        coefficients = _centred(fit.surface.taylor(fit.offset, WIDE_ORDER))
    ends = np.empty((2, 2))
    for axis in range(2):
        for side, sign in enumerate((-1, 1)):
            start = sign * matrix[axis] * np.sqrt(level / matrix[axis, axis])
            contact = _contact(coefficients, level, axis, sign, start, float(np.abs(start).max()))
            if contact is None or not 0.5 < contact[axis] / start[axis] < 2:
                return None
            ends[side, axis] = contact[axis]
    return ends[0], ends[1]


def _contact(
    c: Array, level: float, axis: int, sign: int, start: Array, size: float
) -> Array | None:
    """Where the inside of the contour `level` ends towards `sign` along `axis`.

    Newton for ``c = level`` together with a slope of zero along the other axis, within 2 `size`
    of `start`. None if there is no such point.
    """
    other = 1 - axis
    x = start
    for _ in range(60):
        value, gradient, hessian = _evaluate(c, x)
        equations = np.array([gradient, size * hessian[other]])
        misfit = np.array([value - level, size * gradient[other]])
        step = -np.linalg.lstsq(equations, misfit, rcond=1e-9)[0]
        largest = float(np.abs(step).max())
        if largest <= 1e-10 * size:
            flat = -1e-9 * np.abs(hessian).max()
            outwards = sign * gradient[axis] > 0 and hessian[other, other] >= flat
            return x + step if outwards else None
        x = x + step * min(1.0, size / largest)
        if np.abs(x - start).max() > 2 * size:
            break
    return None


# ---- maps


def _map_steps(
    fit: _Fit, upsample_factor: float | str, nfitted: int, max_auto_size: int, max_nsig: float
) -> list[Array]:
    """Distances of the rows and columns of the map from the minimum, which one of them meets."""
    surface = fit.surface
    sides = surface.upper - surface.lower + 1
    if isinstance(upsample_factor, str):
        low, high = fit.extents(chi2_level(max_nsig, nfitted))
        reach = float(np.max([-low, high]))
        reach = min(reach, float(sides.max()) / 2) if surface.arranged.periodic else reach
        counts = np.array([max_auto_size, max_auto_size])
        width = 1.02 * min(reach, float(sides.max())) / ((max_auto_size - 1) // 2)
    else:
        width = 1 / upsample_factor
        least = float(np.ceil(2 * upsample_factor))
        if least**2 > MAX_MAP:
            raise InputError(
                f"upsample_factor={upsample_factor:g} asks for a map of {least:.0f} pixels a side; "
                "at most 11585 are made: use a smaller factor, or 'auto'"
            )
        counts = np.maximum(surface.image_shape, int(least))
    steps = []
    for axis, count in enumerate(counts):
        step = width * (np.arange(count) - count // 2)
        if not surface.arranged.periodic:  # all of the map where the shifts are
            room = surface.upper[axis] - surface.lower[axis]
            if step[-1] - step[0] > room:
                if not isinstance(upsample_factor, str):
                    step = step[: int(room / width) + 1]
                else:
                    step = step * (room / (step[-1] - step[0]))
            pixel = step[1] - step[0]
            over = max(step[-1] + fit.offset[axis] - surface.upper[axis], 0.0)
            under = max(surface.lower[axis] - step[0] - fit.offset[axis], 0.0)
            step = step + pixel * (np.ceil(under / pixel) - np.ceil(over / pixel))
        steps.append(step)
    return steps


def _profile(values: Array) -> Array:
    """Lowest value of each column, between its samples by a parabola."""
    row = values.argmin(axis=0)
    column = np.arange(values.shape[1])
    before = values[np.maximum(row - 1, 0), column]
    after = values[np.minimum(row + 1, len(values) - 1), column]
    lowest = values[row, column]
    good = (row > 0) & (row < len(values) - 1) & np.isfinite(before) & np.isfinite(after)
    before, after = np.where(good, before, 1.0), np.where(good, after, 1.0)
    bend = before + after - 2 * np.where(good, lowest, 0.0)
    good &= bend > 0
    gain = (before - after) ** 2 / (8 * np.where(good, bend, 1.0))
    return np.asarray(lowest - np.where(good, gain, 0.0))


def _profile_ends(profile: Array, level: float) -> tuple[float, float]:
    """Distance from the minimum of a profile to where it passes `level` last on either side.

    Between two pixels the root of delta chi^2 is taken as linear, as it is for a parabola.
    """
    lowest = int(profile.argmin())
    peak, value = float(lowest), float(profile[lowest])
    if 0 < lowest < profile.size - 1 and np.isfinite(profile[lowest - 1 : lowest + 2]).all():
        before, after = profile[lowest - 1], profile[lowest + 1]
        bend = before + after - 2 * value
        if bend > 0:
            peak += (before - after) / (2 * bend)
            value -= (before - after) ** 2 / (8 * bend)
    root = np.sqrt(np.maximum(profile - value, 0) / level)
    ends = []
    for sign in (-1, 1):
        inside = [k for k in np.flatnonzero(root <= 1) if sign * (k - peak) >= 0]
        at, here = (sign * max(sign * k for k in inside), root) if inside else (peak, None)
        following = at + sign if inside else (np.floor(peak) if sign < 0 else np.floor(peak) + 1)
        if following == at:
            following += sign
        if not 0 <= following < profile.size:
            ends.append(np.inf)
            continue
        start = float(here[int(at)]) if here is not None else 0.0
        stop = float(root[int(following)])
        share = (1 - start) / (stop - start) if np.isfinite(stop) else 1.0
        ends.append(abs(at + (following - at) * share - peak))
    return ends[0], ends[1]


def _tell(fit: _Fit, answer: Sequence[Any], with_errors: bool, with_map: bool) -> None:
    """Print what `verbose` asks for."""
    dx, dy = answer[:2]
    print(f"chi2_shift: dx = {dx:.6g} px, dy = {dy:.6g} px")
    if with_errors:
        print(f"chi2_shift: errx = {answer[2]:.3g} px, erry = {answer[3]:.3g} px")
    noise = "" if fit.variance == 1 else f", noise learnt {np.sqrt(fit.variance):.4g}"
    print(f"chi2_shift: chi^2 = {fit.chi2:.6g} from {fit.pairs:.0f} pixel pairs{noise}")
    if with_map:
        x, y, chi2 = answer[-1]
        print(
            f"chi2_shift: map of {chi2.shape[0]} x {chi2.shape[1]} pixels, "
            f"x {x.min():.6g} to {x.max():.6g} px, y {y.min():.6g} to {y.max():.6g} px"
        )
