"""Frequencies that ask for different offsets: more than one scene, each with its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.equations import Equations
from coregister.estimator.matrices import inverse, principal
from coregister.estimator.movable import FADE
from coregister.estimator.rings import Rings
from coregister.estimator.spectrum import Spectra
from coregister.estimator.stages import Dispersion
from coregister.fourier import TrigPolynomial, frequencies
from coregister.products import products

Float = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Complex = NDArray[np.complexfloating[Any, Any]]

#: residual of the coarse frequencies over that of the fine ones beyond which they disagree
COARSE_EXCESS = 10.0
#: probability, with even noise, below which frequencies that disagree are looked at in pixels
ASK_PIXELS = 1e-3
#: frequencies (cycles/px) between the bands that are asked for the offset one by one
BANDS = (0.03, 0.06, 0.12, 0.25)
#: and between those in which the coarse ones may agree elsewhere; what is outside is left out
COARSE_BANDS = (1e-9, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12)
#: and between those that are asked along the offset alone: one number a band, they may be finer
FINER_BANDS = (0.02, 0.03, 0.045, 0.06, 0.09, 0.12, 0.17, 0.25, 0.35)
#: px from where a pattern stays, within which that is asked: farther away, it and the scene are
#: opposite at frequencies that both have
NEAR = 3.0


class InRings(NamedTuple):
    """Sums over the modes of each ring, not weighted.

    Attributes
    ----------
    score : (ndim, size) array
        Of the gradient times the residual.
    information : (ndim, ndim, size) array
        Of the products of the gradient.
    """

    score: Float
    information: Float

    @classmethod
    def of(cls, rings: Rings, equations: Equations) -> InRings:
        """Those of a pair at one offset."""
        gradient, spare = equations.gradient, np.empty_like(equations.residual)

        def sums(one: Float, other: Float) -> Float:
            return rings.mean(np.multiply(one, other, out=spare)) * rings.count

        ndim = len(gradient)
        information = np.empty((ndim, ndim, rings.size))
        for i in range(ndim):
            for j in range(i, ndim):
                information[i, j] = information[j, i] = sums(gradient[i], gradient[j])
        return cls(np.stack([sums(row, equations.residual) for row in gradient]), information)


def dispersion(
    comparison: Comparison, equations: Equations, left: Float, in_rings: InRings, offset: Float
) -> Dispersion:
    """Whether frequencies disagree on the offset.

    A pattern that stays with the detector rules some frequencies and the scene the others. The
    score, zero over all modes, is looked at band by band: at first with the variance that even
    noise has, and where that finds something, with the one that its pixels show.

    The same is asked of the rows and of the columns of the detector, one axis at a time: what is
    the same all along one of them is in the modes of a single line.

    Parameters
    ----------
    left : array
        Whitened residual, in the pixels that were measured.
    in_rings : InRings
    offset : (ndim,) array
        px, from where a pattern stays.
    """
    rings, spectra = comparison.rings, equations.spectra
    gradient, weight = equations.gradient, equations.weight
    ndim, shape = len(gradient), comparison.window.shape

    def in_pixels(member: NDArray[np.bool_]) -> Float:
        white = np.sqrt(rings.spread(spectra.residual, weight.dtype))
        white *= weight
        fields = (comparison.untransform(np.where(member, g, 0.0) * white) for g in gradient)
        return np.stack([left.ravel() * field.ravel() for field in fields])

    kept = rings.mean(equations.kept**2)
    score = in_rings.score * spectra.weight
    parts = in_rings.information * spectra.weight
    even = parts * (spectra.weight * spectra.residual / kept)
    sums = score, even, parts
    of_bands = dispersion_of_bands(rings, sums, in_pixels, offset)
    if ndim == 1:
        return of_bands
    probability = of_bands.anyhow
    whole = [values.sum(axis=-1) for values in sums]
    for axis, k in enumerate(comparison.k):
        line = np.arange(1, shape[axis]) * int(np.prod(shape[axis + 1 :]))
        slope = gradient[:, line]
        weighted = slope * weight[line]
        noise = np.interp(k.ravel()[1:] / (2 * np.pi), rings.frequency, spectra.residual)
        noise /= equations.kept[line] ** 2
        there = (
            products(weighted, equations.residual[line][np.newaxis])[:, 0],
            products(weighted * noise, weighted),
            products(weighted, slope),
        )
        rest = [np.stack([t, w - t]) for t, w in zip(there, whole, strict=True)]

        def split(line: NDArray[np.intp] = line) -> list[Float]:
            member = np.zeros(weight.size, dtype=bool)
            member[line] = True
            there = in_pixels(member)
            member = ~member
            member[0] = False
            return [there, in_pixels(member)]

        probability = min(probability, _disagreement(rest, split))
    return Dispersion(min((1 + ndim) * probability, 1.0), of_bands.along)


def dispersion_of_bands(
    rings: Rings,
    sums: tuple[Float, Float, Float],
    in_pixels: Callable[[NDArray[np.bool_]], Float],
    offset: Float,
) -> Dispersion:
    """The same, of bands of frequencies alone.

    Parameters
    ----------
    sums : (ndim, size), (ndim, ndim, size) and (ndim, ndim, size) arrays
        Of each ring: score, its variance with even noise, and information.
    in_pixels : callable
        Pieces of the score of some modes, pixel by pixel: (ndim, pixels).
    offset : (ndim,) array
        px, from where a pattern stays.
    """

    def between(edges: Sequence[float], direction: Float | None = None) -> float:
        band = np.searchsorted(edges, rings.frequency)
        start = np.flatnonzero(np.diff(band, prepend=-1))
        groups = [np.moveaxis(np.add.reduceat(v, start, axis=-1), -1, 0) for v in sums]

        def members() -> list[Float]:
            of_mode = np.append(band, len(edges) + 1)[rings.of_mode]  # the last: in no ring
            return [in_pixels(of_mode == number) for number in np.unique(band)]

        return _disagreement(groups, members, direction)

    length = float(np.linalg.norm(offset))
    along = between(FINER_BANDS, offset / length) if 0 < length < NEAR else 1.0
    return Dispersion(between(BANDS), along)


def _disagreement(
    groups: Sequence[Float],
    in_pixels: Callable[[], Sequence[Float]],
    direction: Float | None = None,
) -> float:
    """Probability that groups of modes ask for offsets as different as these.

    Parameters
    ----------
    groups : (g, ndim), (g, ndim, ndim) and (g, ndim, ndim) arrays
        Score, its variance with even noise, and information.
    in_pixels : callable
        Pieces of the score, pixel by pixel, for each group; asked for where it matters.
    direction : (ndim,) array, optional
        Of unit length: differences along it alone count.
    """
    from scipy.special import fdtrc, gammaincc

    scores, even, parts = groups
    score, ndim = scores.ravel(), scores.shape[1]
    # the offset is fitted to the sum: what each group takes of it
    share = parts.reshape(-1, ndim) @ inverse(parts.sum(axis=0))
    project = np.eye(score.size) - np.tile(share, len(scores))
    if direction is not None:
        project = np.kron(np.eye(len(scores)), direction) @ project

    def disagreement(score: Float, variance: Float) -> tuple[float, int]:
        values, vectors = principal(project @ variance @ project.T)
        known = np.abs(values) > 1e-8 * np.abs(values).max()
        left_over = vectors.T @ project @ score  # the fit may have stopped short of its zero
        chi2 = float(np.sum(left_over[known] ** 2 / values[known]))
        return chi2, max(int(np.count_nonzero(known)), 1)

    number = np.arange(len(even))
    apart = np.zeros((len(even), ndim, len(even), ndim))
    apart[number, :, number] = even
    chi2, parameters = disagreement(score, apart.reshape(score.size, -1))
    probability = float(gammaincc(parameters / 2, chi2 / 2))
    if probability > ASK_PIXELS:
        return probability
    pieces = np.concatenate(in_pixels())
    chi2, parameters = disagreement(pieces.sum(axis=1, dtype=np.float64), products(pieces, pieces))
    size = np.sum(pieces**2 / np.maximum(np.sum(pieces**2, axis=1, keepdims=True), 1e-300), axis=0)
    dof = max(float(2 * size.sum() ** 2 / np.sum(size**2)) - parameters + 1, 1.0)
    # the variance too is an estimate: Hotelling's distribution
    return float(fdtrc(parameters, dof, chi2 / parameters * dof / (dof + parameters - 1)))


def contradiction(coherence: Float, count: Float) -> float:
    """Probability of a ring correlation this far below zero, if no ring is anticorrelated."""
    return float(contradictions(coherence, count))


def contradictions(coherence: Float, count: Float) -> Float:
    """The same for many pairs, a row of rings each."""
    from scipy.special import ndtr

    lowest = np.min(coherence * np.sqrt(count), axis=-1)
    return np.asarray(-np.expm1(coherence.shape[-1] * np.log1p(-ndtr(lowest))))


def competing(
    rings: Rings,
    spectra: Spectra,
    amplitude: Float | float,
    transforms: Callable[[], tuple[Complex, Complex]],
    shape: Sequence[int],
    density: Float,
) -> float:
    """Probability that coarse frequencies fit this much better elsewhere, if they see one scene.

    Asked only where they leave more behind, and agree less, than fine ones. Two scenes, of which
    the finer one is aligned, do that, but noise of a steep spectrum does too.

    Parameters
    ----------
    amplitude : (size,) array or float
        By which the images were made whiter.
    transforms : callable
        Makes the half spectra of both images, the displacement taken out.
    shape : sequence of int
        Of the arrays that they are of.
    density : (ndim,) array
        Samples a pixel of these.
    """
    frequency = rings.frequency
    coarse = (frequency > BANDS[0]) & (frequency < BANDS[2])
    finest = float(np.min(density))
    fine = (frequency > BANDS[3] * finest) & (frequency < FADE[0] * finest)
    if not coarse.any() or not fine.any():
        return 1.0
    agreement = np.max(spectra.coherence[fine]) - np.min(spectra.coherence[coarse])
    noise = spectra.residual / np.square(amplitude)
    if agreement < 0.05 or np.max(noise[coarse]) < COARSE_EXCESS * np.min(noise[fine]):
        return 1.0
    first, second = transforms()
    k = [samples * f for samples, f in zip(density, frequencies(shape), strict=True)]
    radius = np.sqrt(sum(f**2 for f in k)) / (2 * np.pi)
    band = np.searchsorted(COARSE_BANDS, radius)
    size = len(COARSE_BANDS) + 1
    used = slice(1, size - 1)

    def sums(values: Real) -> Float:
        total = 2 * np.bincount(band.ravel(), values.ravel(), size)
        total -= np.bincount(band[..., 0].ravel(), values[..., 0].ravel(), size)
        return np.asarray(total[used])

    def agreed(product: Complex) -> Float:
        """Log-likelihood ratio against unrelated images, band by band."""
        correlation = np.clip(sums(product.real) / power, 0.0, 1 - 1e-9)
        return np.asarray(-0.5 * count * np.log1p(-(correlation**2)))

    count = sums(np.ones(radius.shape))
    power = np.sqrt(sums(np.abs(first) ** 2) * sums(np.abs(second) ** 2)) + 1e-300
    product = np.conj(first) * second
    here = agreed(product)
    probability = 1.0
    for last in range(3, count.size + 1):  # how far up the other scene rules is not known
        weight = np.zeros(size)
        weight[1 : last + 1] = count[:last] / power[:last]
        polynomial = TrigPolynomial(product * weight[band], shape, density=density)
        place = np.array(np.unravel_index(np.argmax(polynomial.samples()), shape), np.float64)
        place = np.where(place > np.array(shape) / 2, place - shape, place) / density
        for _ in range(3):
            _, slope, curvature = polynomial.derivatives(place)
            values, vectors = principal(-curvature)
            step = vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), 1e-300))
            place = place + np.clip(step, -0.5 / density, 0.5 / density)
        moved = product
        for f, d in zip(k, place, strict=True):
            moved = moved * np.exp(1j * f * d)
        gained = float(np.sum(agreed(moved)[:last] - here[:last]))
        # as many places and cut-offs as were tried
        chance = (count.size - 2) * count[:last].sum() * np.exp(-max(gained, 0.0))
        probability = min(probability, float(chance))
    return probability
