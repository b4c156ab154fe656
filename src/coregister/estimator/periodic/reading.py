"""Two images that wrap, read at one offset: spectra, score and information."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np

from coregister.estimator.matrices import principal
from coregister.estimator.periodic.modes import (
    Complex,
    Float,
    Modes,
    Real,
    Sampled,
    pairwise_matrix,
)
from coregister.estimator.spectrum import Spectra, photometry
from coregister.fourier import TrigPolynomial

#: bars times px: length of a step of Newton's after which none is left that counts
NEAR = 3e-3


class Reading:
    """What both images say at one offset.

    Parameters
    ----------
    images : Sampled
        Its workspace holds the cross-spectrum with the offset taken out, until the next reading.
    offset : (ndim,) array
    last : Reading, optional
        One nearby, whose gain and spectra are a first guess.

    Attributes
    ----------
    gain : float
    spectra : Spectra
    in_bins : array
        Cross-spectrum, summed over the narrow bins of the rings, in units of moving.
    """

    gain: float
    spectra: Spectra

    def __init__(self, images: Sampled, offset: Float, last: Reading | None = None) -> None:
        self.images, self.offset = images, offset
        images.align(offset)
        rings = images.rings
        sums = rings.sums(images.aligned[0]) / images.size
        xx, yy = images.powers
        self.gain, self.spectra = photometry(
            xx=xx,
            yy=yy,
            xy=rings.average(sums),
            count=rings.count,
            gain=None if last is None else last.gain,
            scene=None if last is None else last.spectra.scene,
        )
        self.in_bins = self.gain * sums
        self._unit = self.gain / images.size

    @cached_property
    def heavy(self) -> Float:
        """Weight on the narrow bins."""
        return self.images.rings.at_bins(self.spectra.weight)

    @cached_property
    def slopes(self) -> list[Float]:
        """Derivatives of `in_bins` with the offset along each axis."""
        images = self.images
        _, imaginary = images.aligned
        return [-self._unit * images.rings.sums(f * imaginary) for f in images.modes.k]

    @cached_property
    def signal(self) -> Real:
        """Weight times cross-spectrum, mode by mode."""
        images = self.images
        real, _ = images.aligned
        weight = images.rings.at_modes(self.heavy, images.precision).reshape(real.shape)
        return np.asarray(np.multiply(weight, real, out=weight, casting="same_kind"))

    @cached_property
    def information(self) -> Float:
        """Minus the second derivatives of the log-likelihood, for weights that stay."""
        moments = self.images.modes.moments(self.signal, (0, 1, 2))
        return self._unit * pairwise_matrix(moments)

    def step(self) -> tuple[Float, bool]:
        """To the optimum, of Newton's, and whether that is near."""
        gradient = np.array([self.heavy @ slope for slope in self.slopes])
        return newton(gradient, self.information)

    def climb(self, offset: Float, most: int) -> tuple[Float, int, bool]:
        """The optimum for weights that stay: where, after how many steps, and whether it is one."""
        surface, near, taken = self.surface()(), False, 0
        while not near and taken < most:
            taken += 1
            _, gradient, hessian = surface.derivatives(offset)
            step, near = newton(gradient, -hessian)
            offset = offset + step
        return offset, taken, near

    def surface(self) -> Callable[[], TrigPolynomial]:
        """Makes the log-likelihood against offset, for weights that stay."""
        return partial(_surface, self.images.modes, self.images.cross, self._unit * self.heavy)


def _surface(modes: Modes, cross: Complex, weight: Float) -> TrigPolynomial:
    in_modes = modes.rings.at_modes(weight).reshape(cross.shape)
    return TrigPolynomial(cross * in_modes, modes.shape, density=modes.density)


def newton(gradient: Float, information: Float) -> tuple[Float, bool]:
    """Step of Newton's to a maximum, and whether none follows that counts.

    Uphill even where the surface is not concave, and not where it is flat.

    Parameters
    ----------
    information : (ndim, ndim) array
        Minus the second derivatives.
    """
    values, vectors = principal(information)
    size = np.abs(values)
    size[size <= 1e-9 * size.max()] = np.inf
    step = vectors @ ((vectors.T @ gradient) / size)
    step = np.minimum(np.maximum(step, -0.5), 0.5)
    bars = np.sqrt(abs(float(step @ information @ step)))
    return step, bool(bars * np.abs(step).max() < NEAR)
