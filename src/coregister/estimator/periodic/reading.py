"""Two images that wrap, read at one offset: spectra, score and information."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import NamedTuple

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


class Climb(NamedTuple):
    """A way towards the optimum.

    Attributes
    ----------
    offset : (ndim,) array
        Where it ended.
    bars : float
        How long it was.
    steps : int
    near : bool
        No step follows that counts.
    """

    offset: Float
    bars: float
    steps: int
    near: bool


class Reading:
    """What both images say at one offset.

    Parameters
    ----------
    images : Sampled
        `aligned` holds the cross-spectrum with the offset taken out, until the next reading.
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
    def scene(self) -> Float:
        """Power of the best estimate of the scene, summed over the narrow bins."""
        share, (xx, yy) = self.spectra.share, self.images.sums
        ours = (1 - share) ** 2 * self.gain**2 * xx + share**2 * yy
        return np.asarray(ours + 2 * share * (1 - share) * self.in_bins)

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

    def step(self) -> Climb:
        """One step of Newton's towards the optimum for weights that stay."""
        gradient = np.array([self.heavy @ slope for slope in self.slopes])
        step, near = newton(gradient, self.information)
        return Climb(self.offset + step, _bars(step, self.information), 1, near)

    def climb(self, most: int) -> Climb:
        """Steps all the way to that optimum: one, or so many at most."""
        surface, offset, taken = self.surface()(), self.offset, 0
        while True:
            taken += 1
            _, gradient, hessian = surface.derivatives(offset)
            step, near = newton(gradient, -hessian)
            offset = offset + step
            if near or taken >= most:
                return Climb(offset, _bars(offset - self.offset, hessian), taken, near)

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
    return step, bool(_bars(step, information) * np.abs(step).max() < NEAR)


def _bars(way: Float, information: Float) -> float:
    return float(np.sqrt(abs(way @ information @ way)))
