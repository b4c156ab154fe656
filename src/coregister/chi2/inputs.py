"""What the seed's options mean: validation, and model and data on one periodic grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.estimator.fill import fill
from coregister.fourier import Complex
from coregister.images import Image, as_image
from coregister.products import dot

Array = NDArray[np.float64]

BOUNDARIES = ("wrap", "constant", "reflect", "nearest")


def count(value: Any, name: str, *, least: int) -> int:
    """A whole number of at least `least`, or InputError."""
    try:
        whole = int(value)
        good = whole == value and whole >= least
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(
            f"{name}={value!r} is not usable; a whole number of {least} or more is needed"
        )
    return whole


def positive(value: Any, name: str) -> float:
    """A finite number above 0, or InputError."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise InputError(f"{name}={value!r} is not usable; a finite number above 0 is needed")
    return number


@dataclass(frozen=True)
class Transform:
    """Real FFTs of 2-D arrays, by scipy with `workers` threads or by numpy."""

    workers: int
    numpy: bool

    def forward(self, array: Array) -> Complex:
        """Half spectrum, not scaled."""
        return self.columns_forward(self.rows_forward(array))

    def rows_forward(self, array: Array, out: Complex | None = None) -> Complex:
        """Half spectrum of each row: the first half of it."""
        return np.asarray(self._apply("rfft", array, axis=1, out=out))

    def columns_forward(self, rows: Complex) -> Complex:
        """The second half; `rows` is used up."""
        return np.asarray(self._apply("fft", rows, axis=0, spare=True))

    def coefficients(self, array: Array) -> Complex:
        """Half spectrum of the Fourier coefficients: `forward` over the number of samples."""
        return self.columns(self.rows(array), spare=True)

    def rows(self, array: Array, out: Complex | None = None) -> Complex:
        """Fourier coefficients of each row: the first half of `coefficients`."""
        return np.asarray(self._apply("rfft", array, axis=1, norm="forward", out=out))

    def columns(self, rows: Complex, *, spare: bool = False) -> Complex:
        """The second half of it; `rows` may be used up if they are `spare`."""
        return np.asarray(self._apply("fft", rows, axis=0, norm="forward", spare=spare))

    def values(self, coefficients: Complex, columns: int) -> Array:
        """Samples from the half spectrum of coefficients; frequencies beyond it are 0.

        `coefficients` is used up.
        """
        return self.values_of_rows(self.rows_of(coefficients), columns)

    def rows_of(self, coefficients: Complex) -> Complex:
        """Coefficients of each row; `coefficients` is used up."""
        return np.asarray(self._apply("ifft", coefficients, axis=0, norm="forward", spare=True))

    def values_of_rows(self, rows: Complex, columns: int, out: Array | None = None) -> Array:
        """Samples from these."""
        return np.asarray(
            self._apply("irfft", rows, axis=1, n=columns, norm="forward", out=out), np.float64
        )

    def _apply(
        self, name: str, array: Any, *, spare: bool = False, out: Any = None, **options: Any
    ) -> Any:
        # both have one and the same FFT; only that of numpy writes into an array that is there
        if self.numpy or (out is not None and self.workers == 1):
            return getattr(np.fft, name)(array, out=out, **options)
        function = getattr(scipy.fft, name)
        found = function(array, workers=self.workers, overwrite_x=spare, **options)
        if out is None:
            return found
        out[...] = found
        return out


def transform(nthreads: int, use_numpy_fft: bool) -> Transform:
    """The FFTs that the options ask for."""
    workers = count(nthreads, "nthreads", least=1)
    if use_numpy_fft and workers > 1:
        raise InputError(
            f"nthreads={workers} with use_numpy_fft=True: numpy.fft has one thread; "
            "use nthreads=1, or use_numpy_fft=False"
        )
    return Transform(workers, bool(use_numpy_fft))


def images(im1: Any, im2: Any, err: ArrayLike | None, zeromean: bool) -> tuple[Image, Image]:
    """Model and data, validated, the holes of the model filled.

    `sigma` of the data is above 0, or None if it is to be learnt.
    """
    model = as_image(im1, name="im1", err_name="err", kept=False, padded=False)
    data = as_image(im2, err=err, name="im2", err_name="err", kept=False, padded=False)
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
    model = replace(model, values=fill(model))
    if zeromean:
        model, data = (
            replace(image, values=image.data - image.data.mean(where=_used(image)))
            for image in (model, data)
        )
    return model, data


def _used(image: Image) -> Any:
    return True if image.valid is None else image.valid


def rounding_noise(image: Image) -> float:
    """The noise that the rounding of floating-point numbers is, at the largest usable pixel."""
    largest = float(np.abs(image.data).max(where=_used(image), initial=0.0))
    return float(np.finfo(float).eps) * (largest or 1.0)


@dataclass(frozen=True)
class Arranged:
    """Model and data on one periodic grid on which every allowed shift is a rotation.

    Attributes
    ----------
    model, data : array
    model_valid : bool array or None
        Moves with the model. None = all pixels.
    weights : float or array
        ``1 / err^2`` of the data, 0 where no pixel is; a float if one for the whole period.
    pedestal : float
        Close to the mean of the data.
    lower, upper : (2,) int array
        The first and the last whole-pixel shift of each axis.
    periodic : bool
        Whether shifts go round.
    """

    model: Array
    data: Array
    model_valid: NDArray[np.bool_] | None
    weights: float | Array
    pedestal: float
    lower: NDArray[np.int_]
    upper: NDArray[np.int_]
    periodic: bool

    def levelled(self) -> tuple[Array, Array]:
        """Model and data without the pedestal: chi^2 does not see it, rounding does."""
        return self.model - self.pedestal, self.data - self.pedestal


def arrange(model: Image, data: Image, boundary: str) -> Arranged:
    """Lay the images out for `boundary`."""
    if boundary not in BOUNDARIES:
        raise InputError(
            f"boundary={boundary!r} is not known; use one of {', '.join(map(repr, BOUNDARIES))}"
        )
    shape = np.array(data.data.shape)
    weights = np.square(1.0 if data.sigma is None else np.asarray(data.sigma))
    weights = np.asarray(np.divide(1, weights, out=weights if weights.ndim else None))
    if data.valid is not None:
        weights = np.where(data.valid, weights, 0.0)
    pedestal = dot(data.data, weights) / float(weights.sum()) if weights.ndim else data.mean
    image, valid, x = model.data, model.valid, data.data
    lower, upper = -(shape // 2), (shape - 1) // 2
    if boundary != "wrap":
        lower, upper = 1 - shape, shape - 1
        if valid is not None:
            valid = _extend(valid.astype(np.float64), boundary, beyond=1.0) > 0.5
        image = _extend(image, boundary, beyond=0.0)
        margin = [(0, length - n) for length, n in zip(image.shape, shape, strict=True)]
        weights = np.pad(np.broadcast_to(weights, x.shape), margin)
        x = np.pad(x, margin)
    varying = weights.ndim > 0 and bool(np.ptp(weights[0]) or np.ptp(weights))  # a row tells most
    return Arranged(
        model=image,
        data=x,
        model_valid=valid,
        weights=weights if varying else float(weights.flat[0]),
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
