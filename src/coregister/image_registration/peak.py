"""The highest peak of a circular cross-correlation, on its continuous function, and its errors.

``c(d) = sum_p im2(p) im1(p - d)``, so it is highest where the content of `im2` lies ``d`` away
from where it is in `im1`. Between whole pixels it is a trigonometric polynomial like the images.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.chi2 import inputs
from coregister.containers import check_kind
from coregister.errors import InputError, RegistrationWarning
from coregister.fourier import Complex, TrigPolynomial, frequencies, phase_ramp
from coregister.image_registration.fft_tools.fast_ffts import samples

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Peak:
    """A maximum of the cross-correlation, or of its modulus.

    Attributes
    ----------
    offset : (ndim,) array
        Axis order, pixels.
    sign : int
        -1 where the correlation is negative: one image is the other's negative.
    """

    offset: Float
    sign: int


def pair(im1: Any, im2: Any) -> tuple[Float, Float]:
    """Two images without their means; pixels without a value are 0.

    A constant does not move the peak of a circular correlation.
    """
    first, second = (
        samples(image, name, gaps=np.nan) for image, name in ((im1, "im1"), (im2, "im2"))
    )
    check_kind(first, "im1")
    check_kind(second, "im2")
    if first.shape != second.shape:
        raise InputError(
            f"im1 has shape {first.shape} and im2 {second.shape}; one shape is needed: crop the "
            "larger, or use coregister.register, which takes both as they are"
        )
    for image, name in ((first, "im1"), (second, "im2")):
        known = np.isfinite(image)
        if not known.any():
            raise InputError(f"{name} has no pixel with a value; check the file and its mask")
        image -= image.mean(where=known)
        image[~known] = 0.0
    return first, second


def cross_spectrum(im1: Float, im2: Float, workers: int) -> Complex:
    """Half spectrum of the cross-correlation, as a `TrigPolynomial` takes it.

    Without the Nyquist frequencies of even axes: a moved wave comes back there as one of another
    height and not of another phase, which would pull the peak.
    """
    spectrum = scipy.fft.rfftn(im2, norm="forward", workers=workers)
    spectrum *= np.conj(scipy.fft.rfftn(im1, workers=workers))
    for axis, n in enumerate(im1.shape):
        if n % 2 == 0:
            np.moveaxis(spectrum, axis, 0)[n // 2] = 0
    return np.asarray(spectrum)


def highest(
    spectrum: Complex,
    shape: tuple[int, ...],
    maxoff: float | None,
    workers: int = 1,
    *,
    absolute: bool = False,
) -> Peak:
    """The highest peak within `maxoff` pixels of no offset.

    Samples at whole and half pixels leave no other peak of this bandwidth that is higher by more
    than noise is; from the highest of them Newton steps climb to the top.
    """
    reach = np.array(shape) / 2
    if maxoff is not None:
        reach = np.minimum(reach, inputs.count(maxoff, "maxoff", least=0))
    polynomial = TrigPolynomial(spectrum, shape)
    best, top, sign = np.zeros(len(shape)), -np.inf, 1
    steps = [(0.0, 0.5) if n > 1 else (0.0,) for n in shape]
    for half in itertools.product(*steps):
        moved = spectrum.copy()
        for ramp in phase_ramp(shape, -np.array(half)):
            moved *= ramp
        values = TrigPolynomial(moved, shape).samples(workers=workers)
        offsets = [scipy.fft.fftfreq(n, 1 / n) + h for n, h in zip(shape, half, strict=True)]
        inside = [np.flatnonzero(np.abs(d) <= r) for d, r in zip(offsets, reach, strict=True)]
        if any(index.size == 0 for index in inside):
            continue
        window = values[np.ix_(*inside)]
        size = np.abs(window) if absolute else window
        place = np.unravel_index(size.argmax(), size.shape)
        if size[place] > top:
            top, sign = float(size[place]), 1 if window[place] >= 0 else -1
            best = np.array([d[i[p]] for d, i, p in zip(offsets, inside, place, strict=True)])
    if not absolute:
        sign = 1
    period = np.array(shape)
    climbed = (_climb(polynomial, best, sign) + period / 2) % period - period / 2
    return Peak(np.clip(climbed, -reach, reach) + 0.0, sign)


def _climb(polynomial: TrigPolynomial, start: Float, sign: int) -> Float:
    """Newton steps uphill from within half a pixel of a maximum."""
    position = start.copy()
    value, gradient, hessian = polynomial.derivatives(position)
    for _ in range(30):
        curvature, directions = np.linalg.eigh(-sign * hessian)
        known = np.abs(curvature) > 1e-12 * np.abs(curvature).max(initial=0.0)
        slope = np.where(known, directions.T @ gradient, 0.0)
        step = sign * directions @ (slope / np.where(known, np.abs(curvature), 1.0))
        size = np.abs(step).max()
        if size < 1e-13:
            break
        step *= min(1.0, 0.3 / size)
        while True:
            new, gradient, hessian = polynomial.derivatives(position + step)
            if sign * (new - value) >= 0 or size < 1e-5:
                break
            step, size = step / 2, size / 2
            if size < 1e-6:
                return position
        position, value = position + step, new
    return position


def stderr(
    im1: Float, im2: Float, spectrum: Complex, peak: Peak, sigma1: Any = None, sigma2: Any = None
) -> Float:
    """1-sigma errors of the offset of the peak, one an axis, infinite where nothing tells it.

    ``H^-1 M H^-1`` with the Hessian ``H`` of the correlation and the covariance ``M`` of its
    gradient ``-sum_k k Im(C_k exp(i k d))``. At the true offset these imaginary parts are noise
    alone, whatever its spectrum. Where the noise of the pixels is told, ``M`` is that of
    ``sum n2 dY - n1 dX - n1 dn2``.
    """
    shape = im1.shape
    hessian = TrigPolynomial(spectrum, shape).derivatives(peak.offset)[2]
    k = np.stack(np.broadcast_arrays(*frequencies(shape))).reshape(len(shape), -1)
    # the other half of the plane is the same noise again, and beside the last axis it is here
    weight = np.where(k[-1] == 0, 2.0, 4.0)
    if sigma1 is None and sigma2 is None:
        aligned = spectrum.copy()
        for ramp in phase_ramp(shape, -peak.offset):
            aligned *= ramp
        modes = aligned.ravel()
        power = modes.imag**2 + (np.finfo(float).eps * np.abs(modes)) ** 2
        spread = (k * (weight * power)) @ k.T
    else:
        variances = [0.0 if sigma is None else np.square(sigma) for sigma in (sigma1, sigma2)]
        spread = _outer(im1, variances[1], peak.offset) + _outer(im2, variances[0], -peak.offset)
        both = float(np.mean(variances[0] * variances[1]))
        spread = spread - both * (k * weight / 2) @ k.T
    curvature, directions = np.linalg.eigh(-peak.sign * hessian)
    known = np.abs(curvature) > 1e-12 * max(np.abs(curvature).max(), np.finfo(float).tiny)
    inverse = (directions / np.where(known, curvature, 1.0) * known) @ directions.T
    covariance = inverse @ spread @ inverse
    unknown = np.any(np.abs(directions[:, ~known]) > 1e-6, axis=1)
    return np.where(unknown, np.inf, np.sqrt(np.maximum(np.diag(covariance), 0.0)))


def _outer(image: Float, variance: Any, offset: Float) -> Float:
    """Sum over pixels of `variance` times the outer product of the slopes of the moved image."""
    shape = image.shape
    spectrum = scipy.fft.rfftn(image)
    for ramp in phase_ramp(shape, offset):
        spectrum *= ramp
    slopes = np.stack([scipy.fft.irfftn(1j * k * spectrum, shape) for k in frequencies(shape)])
    slopes = slopes.reshape(len(shape), -1)
    return np.asarray((slopes * np.broadcast_to(variance, shape).ravel()) @ slopes.T)


def featureless(im1: Float, im2: Float, stacklevel: int = 3) -> bool:
    """Whether an image is constant; a warning if so."""
    constant = not (np.any(im1) and np.any(im2))
    if constant:
        warnings.warn(
            "an image is constant, so nothing tells the offset: it is given as 0",
            RegistrationWarning,
            stacklevel=stacklevel,
        )
    return constant
