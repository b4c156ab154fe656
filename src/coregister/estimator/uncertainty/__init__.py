"""Everything that is known at the optimum: bars, and the tests of what is left over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.equations import Equations
from coregister.estimator.matrices import pseudo_inverse
from coregister.estimator.spectrum import photometry
from coregister.estimator.stages import Candidate, Dispersion, Echo, Fit
from coregister.estimator.uncertainty.covariance import (
    loosened_by,
    spread_of,
    together,
)
from coregister.estimator.uncertainty.disagreement import (
    InRings,
    competing,
    contradiction,
    dispersion,
)
from coregister.estimator.uncertainty.misfit import distortion, echo, lines_alone
from coregister.fourier import TrigPolynomial, along, frequencies
from coregister.images import Pair

Float = NDArray[np.float64]
Complex = NDArray[np.complexfloating[Any, Any]]

#: share of the scene's power below which what is left over is no noise: a ten-thousandth of its
#: contrast moves an offset by about as many pixels
NOISELESS = 1e-8
#: degrees of freedom of the bars are taken as no fewer
FEWEST_DOF = 3.0


def conclude_fit(
    pair: Pair,
    candidate: Candidate,
    comparison: Comparison,
    equations: Equations,
    offset: Float,
    *,
    whitened: tuple[Float, Float],
    amplitude: Callable[[Float], Float] | None,
    systematic: Float,
    outlying: bool,
    n_iter: int,
    converged: bool,
) -> Fit:
    """Everything that is known at the optimum.

    Parameters
    ----------
    whitened : two arrays
        See `Comparison.whitened`.
    amplitude : callable, optional
        Factor against frequency by which both images were made whiter before they were cut.
    systematic : (ndim,) array
        See `aliasing.aliasing`; of images in which nothing was cut out, as edges have power
        everywhere.
    """
    rings = comparison.rings
    values, vectors = equations.directions
    determined = bool(np.all(values > 0))
    count, spectra = rings.count, equations.spectra
    # without noise the residual is that of the arithmetic, and tells nothing of the scene
    noisy = bool(count @ spectra.residual > NOISELESS * (count @ spectra.scene))
    tested = determined and noisy
    bread = pseudo_inverse(values, vectors)
    in_rings = InRings.of(rings, equations)
    loosened = loosened_by(
        bread, lambda away: in_rings.score @ weight_beside(comparison, equations, in_rings, away)
    )
    left, pulls = whitened
    # the bar itself is estimated from the modes, less the parameters (offset, gain, background), so
    # the errors follow Student's distribution; the covariance is that distribution's
    dof = max(equations.telling_modes - (pair.ndim + 2), FEWEST_DOF)
    spread = spread_of(left, pulls, loosened)
    dof = max(min(dof, spread.dof), FEWEST_DOF)
    student = dof / (dof - 2.0)
    if comparison.bridged:
        student *= together(equations, pulls, left, loosened)
    # what stands in a hole agrees with the other image, in coarse frequencies most of all
    measured = comparison.where_measured(left)
    smaller = min(image.values.size for image in pair.images)
    used = comparison.pixel_weight
    pixels = float(np.prod(comparison.window.shape) if used is None else np.count_nonzero(used))
    return Fit(
        candidate=candidate,
        offset=offset,
        covariance=student * spread.seen,
        model_covariance=student * spread.even,
        unevenness=spread.chance,
        information=(vectors * values) @ vectors.T,
        evidence=equations.spectra.evidence(rings.count) / rings.count.sum(),
        modes=pixels,
        dof=dof,
        outlying=outlying,
        distortion=distortion(measured, comparison.where_measured(pulls)) if tested else 1.0,
        echo=lambda faintest: (
            echo(measured, rings.frequency * comparison.step, count, spectra, faintest=faintest)
            if noisy
            else Echo(1.0, 0.0)
        ),
        lines_alone=lambda: noisy and lines_alone(comparison, equations),
        dispersion=dispersion(comparison, equations, measured, in_rings, offset - pair.rest)
        if tested
        else Dispersion(),
        contradiction=contradiction(spectra.coherence, count) if noisy else 1.0,
        competing=competing(
            rings,
            spectra,
            1.0 if amplitude is None else amplitude(rings.frequency),
            lambda: _tapered(comparison, offset),
            comparison.window.shape,
            np.full(pair.ndim, 1 / comparison.step),
        )
        if noisy
        else 1.0,
        systematic=systematic,
        gain=equations.gain,
        background=equations.background,
        overlap=float(np.prod(_full_window(pair, offset))) / smaller,
        frequency=rings.frequency,
        coherence=equations.spectra.coherence,
        surface=partial(likelihood, comparison, equations, offset),
        n_iter=n_iter,
        converged=converged,
    )


def weight_beside(
    comparison: Comparison, equations: Equations, in_rings: InRings, away: Float
) -> Float:
    """Weight of each ring, had the spectra been read `away` from where `equations` hold.

    What is left over there is told by score and information of each ring.
    """
    turned = away @ in_rings.score + np.einsum("i,ijn,j->n", away, in_rings.information, away) / 2
    count, (xx, yy, xy) = comparison.rings.count, equations.powers
    xy = xy - turned / count
    _, spectra = photometry(xx=xx, yy=yy, xy=xy, count=count, gain=1.0, scene=equations.found)
    return comparison.weight_of(spectra)


def _tapered(comparison: Comparison, offset: Float) -> tuple[Complex, Complex]:
    """Half spectra of the two windows, faded out at their edges."""
    x, y = (fields[0] for fields in comparison.fields(offset))
    taper: Float = np.ones(x.shape)
    for axis, n in enumerate(x.shape):
        taper *= along(np.sin(np.pi * (np.arange(n) + 0.5) / n), axis, x.ndim)
    if comparison.pixel_weight is not None:
        taper *= comparison.pixel_weight
    first, second = (scipy.fft.rfftn((v - v.mean()) * taper) for v in (x, y))
    return first, second


def likelihood(comparison: Comparison, equations: Equations, offset: Float) -> TrigPolynomial:
    """Log-likelihood against offset, up to a constant, with the curvature of the information."""
    x, y = (fields[0] for fields in comparison.fields(offset))
    if comparison.pixel_weight is not None:
        x, y = x * comparison.pixel_weight, y * comparison.pixel_weight
    shape = x.shape
    product = np.conj(scipy.fft.rfftn(x - x.mean())) * scipy.fft.rfftn(y - y.mean())
    density = 1 / comparison.step
    k = [density * f for f in frequencies(shape)]
    radius = np.sqrt(sum(f**2 for f in k)) / (2 * np.pi)
    rings = comparison.rings
    weight = np.interp(radius, rings.frequency, equations.spectra.weight)
    product *= weight * equations.gain / np.prod(shape)
    for frequency, d in zip(k, offset, strict=True):
        product *= np.exp(-1j * frequency * d)
    surface = TrigPolynomial(product, shape, density=density)
    curvature = -surface.derivatives(offset)[2]
    scale = np.trace(equations.information) / max(float(np.trace(curvature)), 1e-300)
    return TrigPolynomial(product * scale, shape, density=density)


def _full_window(pair: Pair, offset: Float) -> list[float]:
    shapes = [image.values.shape for image in pair.images]
    if pair.boundary == "periodic":
        return [float(n) for n in shapes[0]]
    return [max(0.0, min(n, m - d) - max(0.0, -d)) for d, n, m in zip(offset, *shapes, strict=True)]
