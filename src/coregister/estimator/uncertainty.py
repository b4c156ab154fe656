"""How well the offset is known, read from what is left over.

The covariance is a sandwich ``H^-1 V H^-1``. ``H`` comes from products of the two images'
derivatives, whose noises are independent. ``V``, the variance of the score, is taken pixel by
pixel from residual and gradient, both whitened with the residual's own smooth spectrum: noise of
any colour and noise that varies over the field count as they are, and nothing needs to be known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.compare import (
    FADE,
    Comparison,
    Equations,
    faded,
    pieces,
    products,
)
from coregister.estimator.search import chance_of_peak
from coregister.estimator.spectrum import Rings, Spectra
from coregister.estimator.stages import Candidate, Fit
from coregister.fourier import TrigPolynomial, along, frequencies
from coregister.images import Pair

Float = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Complex = NDArray[np.complexfloating[Any, Any]]

#: of the random part of aliasing, in sigma, what is called the largest error
ALIASED_SIGMA = 4.0
#: error by the aliasing of a single star, in bars, from which it is asked how many there are
SPARSE_ALIASING = 0.03
#: share of the information that makes rows or columns of one value suspect
IN_LINES = 0.9
#: residual of the coarse frequencies over that of the fine ones beyond which they disagree
COARSE_EXCESS = 10.0
#: share of the scene's power below which what is left over is no noise: a ten-thousandth of its
#: contrast moves an offset by about as many pixels
NOISELESS = 1e-8
#: probability, with even noise, below which frequencies that disagree are looked at in pixels
ASK_PIXELS = 1e-4
#: offset, in bars, at which it is asked how the weights follow
STEP_ASIDE = 0.3
#: share of the information that these take away at most
MOST_LOST = 0.5
#: degrees of freedom of the bars are taken as no fewer
FEWEST_DOF = 3.0
#: frequency (cycles/px) within which it is looked for
ECHO_BAND = 0.2
#: px beyond which noise is not opposite to itself, whatever its colour
ECHO_LAG = 4
#: frequencies (cycles/px) between the bands that are asked for the offset one by one
BANDS = (0.03, 0.06, 0.12, 0.25)
#: and between those in which the coarse ones may agree elsewhere; what is outside is left out
COARSE_BANDS = (1e-9, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12)


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
    n_iter: int,
    converged: bool,
) -> Fit:
    """Everything that is known at the optimum.

    Parameters
    ----------
    whitened : two arrays
        See `Equations.whitened`.
    amplitude : callable, optional
        Factor against frequency by which both images were made whiter before they were cut.
    systematic : (ndim,) array
        See `aliasing`, of images in which nothing was cut out: edges have power everywhere.
    """
    rings = comparison.rings
    values, vectors = equations.directions
    determined = bool(np.all(values > 0))
    count, spectra = rings.count, equations.spectra
    # without noise the residual is that of the arithmetic, and tells nothing of the scene
    noisy = bool(count @ spectra.residual > NOISELESS * (count @ spectra.scene))
    tested = determined and noisy
    bread = pseudo_inverse(values, vectors)
    in_rings = _InRings.of(rings, equations)
    loosened = _loosened(
        bread, lambda away: in_rings.score @ comparison.weight_beside(equations, away)
    )
    left, pulls = whitened
    per_mode = equations.weight * np.einsum("in,in->n", equations.gradient, equations.gradient)
    dof = _degrees_of_freedom(per_mode, pair.ndim)
    spread = spread_of(left, pulls, loosened)
    dof = max(min(dof, spread.dof), FEWEST_DOF)
    student = dof / (dof - 2.0)
    if comparison.bridged:
        student *= together(equations, pulls, left, loosened)
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
        distortion=distortion(left, pulls) if tested else 1.0,
        echo=lambda: echo(left) if noisy else 1.0,
        lines_alone=lambda: noisy and lines_alone(comparison, equations),
        dispersion=dispersion(comparison, equations, left, in_rings) if tested else 1.0,
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


class _InRings(NamedTuple):
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
    def of(cls, rings: Rings, equations: Equations) -> _InRings:
        gradient, spare = equations.gradient, np.empty_like(equations.residual)

        def sums(one: Float, other: Float) -> Float:
            return rings.mean(np.multiply(one, other, out=spare)) * rings.count

        ndim = len(gradient)
        information = np.empty((ndim, ndim, rings.size))
        for i in range(ndim):
            for j in range(i, ndim):
                information[i, j] = information[j, i] = sums(gradient[i], gradient[j])
        return cls(np.stack([sums(row, equations.residual) for row in gradient]), information)


def _degrees_of_freedom(information: Float, ndim: int) -> float:
    """Effective number of modes, less the parameters (offset, gain, background).

    The bar itself is estimated from them, so the errors follow Student's distribution; the
    covariance is that distribution's.
    """
    effective = float(information.sum() ** 2 / max(float(np.sum(information**2)), 1e-300))
    return max(effective - (ndim + 2), FEWEST_DOF)


def _loosened(bread: Float, score: Callable[[Float], Float]) -> Float:
    """Inverse slope of the score whose weights move with the offset.

    Spectra read at the optimum find less left over there than at the true offset, most so in
    rings that by chance ask for another one: weights follow, and give way to what pulls.

    Parameters
    ----------
    bread : (ndim, ndim) array
        Inverse of the information, the slope for weights that stay.
    score : callable
        What is left over at the optimum, times its gradient, weighted as at an offset beside it.
    """
    change = np.zeros_like(bread)
    for axis, bar in enumerate(np.sqrt(np.clip(np.diag(bread), 0.0, None))):
        if bar > 0:
            away = np.zeros(len(bread))
            away[axis] = STEP_ASIDE * bar
            change[axis] = (score(-away) - score(away)) / (2 * away[axis])
    return loosened(bread, change)


def loosened(bread: Float, change: Float) -> Float:
    """The same, from the change of the score with the offset that weights which follow make.

    Parameters
    ----------
    bread : (ndim, ndim) array
        Inverse of the information, the slope for weights that stay.
    change : (ndim, ndim) array
        Part of the slope that is lost; a row for each axis of the offset.
    """
    # part of the information that is lost
    values, vectors = principal(bread)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    lost, axes = principal(root @ (change + change.T) @ root / 2)
    kept = 1.0 - np.minimum(np.maximum(lost, 0.0), MOST_LOST)
    return np.asarray(root @ (axes / kept) @ axes.T @ root)


class Spread(NamedTuple):
    """Covariance of the offset, Student's widening aside.

    Attributes
    ----------
    seen : (ndim, ndim) array
        From what is left over, pixel by pixel.
    even : (ndim, ndim) array
        What stationary noise of the same spectrum would give.
    dof : float
        Effective number of pixels behind `seen`.
    chance : float
        Probability of a ratio of the two this far from 1, along any axis, if the noise is even.
    """

    seen: Float
    even: Float
    dof: float
    chance: float


def spread_of(left: Real, pulls: Real, bread: Float, gram: Float | None = None) -> Spread:
    """The sandwich, and the model form beside it.

    Parameters
    ----------
    left : array
        Whitened residual, in pixels.
    pulls : (ndim, ...) array
        Gradients whose product with it is the score.
    bread : (ndim, ndim) array
        Inverse of the information.
    gram : (ndim, ndim) array, optional
        Scalar products of `pulls`, if they are known.
    """
    from scipy.special import gammainc, gammaincc

    flat, values = pulls.reshape(len(pulls), -1), left.reshape(-1)
    ndim = len(flat)
    power = 0.0
    seen = np.zeros((ndim, ndim))
    fourth, squares = np.zeros((2, ndim))
    # fourth powers of bars would be beyond the range of single precision
    unit = float(np.abs(bread).max()) or 1.0
    rows = (bread / unit).astype(flat.dtype, copy=False)
    for part in pieces(values.size):
        pulled, some = rows @ flat[:, part], values[part]
        power += float(some @ some)
        squared = pulled * pulled
        squares += np.einsum("in,in->i", squared, squared)
        pulled *= some
        seen += products(pulled, pulled)
        np.multiply(pulled, pulled, out=squared)
        fourth += np.einsum("in,in->i", squared, squared)
    seen, fourth, squares = unit**2 * seen, unit**4 * fourth, unit**4 * squares
    # near 1; less where the residual is below the floor of its spectrum: no noise at all
    level = power / values.size
    gram = products(flat, flat) if gram is None else gram
    even = level * (bread @ gram @ bread.T)
    pixels = float(np.max(2 * seen.diagonal() ** 2 / np.maximum(fourth, 1e-300)))
    # chi^2 of independent pixels that weigh unequally
    total = even.diagonal()
    known = total > 0
    dof = (total[known] / level) ** 2 / np.maximum(squares[known], 1e-300)
    chi2 = seen.diagonal()[known] / total[known] * dof
    tails = np.minimum(gammainc(dof / 2, chi2 / 2), gammaincc(dof / 2, chi2 / 2))
    chance = float(np.min(2 * len(pulls) * tails, initial=1.0))
    return Spread(seen, even, pixels, chance)


def together(equations: Equations, pulls: Float, left: Float, bread: Float) -> float:
    """Factor by which the variance exceeds that of independent pixels.

    What stands in a hole is made of the noise around it: their sum scatters more than each. Modes
    see that; how the noise varies over the field they do not, so they give a factor only.
    """
    modes = bread @ (equations.gradient * (equations.weight * equations.residual))
    pixels = bread @ pulls.reshape(len(pulls), -1)
    independent = float(np.mean(left**2) * np.sum(pixels**2))
    # 0 where nothing is known: images that have nothing in common
    return float(np.sum(modes**2)) / independent if independent > 0 else 1.0


def distortion(left: Float, pulls: Float) -> float:
    """Probability of a displacement this uneven over the field, if the pair is only shifted.

    The score is resolved along rotation, scale and shear: ``ndim^2`` numbers that are 0 within
    their scatter when the displacement is the same everywhere.
    """
    from scipy.special import gammaincc

    ndim = len(pulls)
    energy = np.einsum("i...,i...->...", pulls, pulls)
    arms = []
    for axis, n in enumerate(left.shape):
        arm = np.linspace(-1.0, 1.0, n)
        along_axis = energy.sum(axis=tuple(a for a in range(ndim) if a != axis))
        total = float(along_axis.sum())
        arms.append(arm - float(along_axis @ arm) / total if total > 0 else arm)
    scores = pulls * left
    amplitude, scatter = np.empty((ndim, ndim)), np.empty((ndim, ndim, ndim, ndim))
    for i in range(ndim):
        for a in range(ndim):
            amplitude[i, a] = _moment(scores[i], arms, a, None)
        for j in range(i, ndim):
            product = scores[i] * scores[j]
            for a in range(ndim):
                for b in range(a, ndim):
                    value = _moment(product, arms, a, b)
                    scatter[i, a, j, b] = scatter[j, b, i, a] = value
                    scatter[i, b, j, a] = scatter[j, a, i, b] = value
    matrix = scatter.reshape(ndim * ndim, -1)
    inverse = np.linalg.pinv(matrix, rcond=1e-10, hermitian=True)
    chi2 = float(amplitude.ravel() @ inverse @ amplitude.ravel())
    return float(gammaincc(ndim * ndim / 2, chi2 / 2))


def _moment(field: Float, arms: list[Float], a: int, b: int | None) -> float:
    """Sum of a field times the arms along one axis, or two."""
    others = tuple(axis for axis in range(field.ndim) if axis not in (a, b))
    plane = field.sum(axis=others) if others else field
    arms = [arm.astype(field.dtype, copy=False) for arm in arms]
    if b is None:
        return float(plane @ arms[a])
    if a == b:
        return float(plane @ arms[a] ** 2)
    return float(arms[a] @ plane @ arms[b])


def echo(left: Real) -> float:
    """Probability of a residual this opposite to itself somewhere else, if it is noise.

    Where two scenes are on top of each other, displaced by different offsets, the fit takes one of
    them; the other stands in what is left over twice, once with each sign: dust on the detector
    behind a scene that moved, or a scene behind dust that did not.

    Parameters
    ----------
    left : array
        Whitened residual, in pixels.
    """
    transformed = scipy.fft.rfftn(left)
    spectrum = transformed.real**2
    spectrum += transformed.imag**2
    for k in frequencies(left.shape):  # what the shift has faded would ring
        spectrum *= np.exp(-((k / (2 * np.pi * ECHO_BAND)) ** 2)).astype(left.dtype, copy=False)
    correlation = scipy.fft.irfftn(spectrum, s=left.shape, overwrite_x=True)
    near = np.ix_(*(np.unique(np.arange(1 - ECHO_LAG, ECHO_LAG) % n) for n in left.shape))
    size = correlation.size - correlation[near].size
    correlation[near] = 0.0
    if size == 0:
        return 1.0
    mean = float(correlation.mean(dtype=np.float64)) * correlation.size / size
    square = float(np.vdot(correlation, correlation)) / size
    scatter = float(np.sqrt(max(square - mean**2, 0.0)))
    if scatter == 0.0:
        return 1.0
    lowest = -float(correlation.min())
    # each lag and its opposite are one
    return chance_of_peak(lowest / scatter, size / 2, np.pi * ECHO_BAND, left.ndim)


def lines_alone(comparison: Comparison, equations: Equations) -> bool:
    """True if rows or columns of one value make the answer, and all else is found elsewhere.

    A scene has its information all over the plane of modes, rows and columns of a detector in
    a single line of it. Without that line, what is left may correlate best at another offset,
    too far away for the score of `dispersion` to tell.
    """
    shape = comparison.window.shape
    if len(shape) == 1:
        return False
    lines = [
        tuple(slice(None) if a == axis else 0 for a in range(len(shape)))
        for axis in range(len(shape))
    ]
    known = [(equations.weight * row**2).reshape(shape) for row in equations.gradient]
    shares = [
        float(values[line].sum()) / max(float(values.sum()), 1e-300)
        for values, line in zip(known, lines, strict=True)
    ]
    if max(shares) < IN_LINES:
        return False
    spectra = []
    for modes in comparison.apart(equations):
        rest = (np.sqrt(equations.weight) * modes).reshape(shape)
        for line in lines:
            rest[line] = 0.0
        spectra.append(scipy.fft.rfftn(comparison.untransform(rest)))
    correlation = scipy.fft.irfftn(np.conj(spectra[0]) * spectra[1], s=shape)
    return int(np.argmax(correlation)) != 0


def dispersion(
    comparison: Comparison, equations: Equations, left: Float, in_rings: _InRings
) -> float:
    """Probability of frequencies that disagree this much on the offset, if all see one scene.

    A pattern that stays with the detector rules the fine frequencies and the scene the coarse
    ones. The score, zero over all modes, is looked at band by band: at first with the variance
    that even noise has, and where that finds something, with the one that its pixels show.

    The same is asked of the rows and of the columns of the detector, one axis at a time: what is
    the same all along one of them is in the modes of a single line.

    Parameters
    ----------
    left : array
        Whitened residual, in pixels.
    in_rings : _InRings
    """
    rings, spectra = comparison.rings, equations.spectra
    gradient, weight = equations.gradient, equations.weight
    ndim, shape = len(gradient), comparison.window.shape
    band = np.searchsorted(BANDS, rings.frequency)

    def in_pixels(member: NDArray[np.bool_]) -> Float:
        white = np.sqrt(rings.spread(spectra.residual, weight.dtype))
        white *= weight
        fields = (comparison.untransform(np.where(member, g, 0.0) * white) for g in gradient)
        return np.stack([left.ravel() * field.ravel() for field in fields])

    def members() -> list[Float]:
        of_mode = np.append(band, len(BANDS) + 1)[rings.of_mode]  # the last: in no ring
        return [in_pixels(of_mode == number) for number in np.unique(band)]

    # score, its variance with even noise, and information
    kept = rings.mean(equations.kept**2)
    score = in_rings.score * spectra.weight
    parts = in_rings.information * spectra.weight
    even = parts * (spectra.weight * spectra.residual / kept)
    start = np.flatnonzero(np.diff(band, prepend=-1))
    groups = tuple(
        np.moveaxis(np.add.reduceat(v, start, axis=-1), -1, 0) for v in (score, even, parts)
    )
    probability = _disagreement((groups[0], groups[1], groups[2]), members)
    if ndim == 1:
        return probability
    whole = tuple(values.sum(axis=0) for values in groups)
    place = np.arange(weight.size).reshape(shape)
    for axis, k in enumerate(comparison.k):
        line = place[tuple(slice(1, None) if a == axis else 0 for a in range(ndim))]
        slope = gradient[:, line]
        weighted = slope * weight[line]
        noise = np.interp(k.ravel()[1:] / (2 * np.pi), rings.frequency, spectra.residual)
        noise /= equations.kept[line] ** 2
        there = (
            weighted @ equations.residual[line],
            (weighted * noise) @ weighted.T,
            weighted @ slope.T,
        )
        rest = [np.stack([t, w - t]) for t, w in zip(there, whole, strict=True)]

        def split(line: NDArray[np.intp] = line) -> list[Float]:
            member = np.zeros(weight.size, dtype=bool)
            member[line] = True
            there = in_pixels(member)
            member = ~member
            member[0] = False
            return [there, in_pixels(member)]

        probability = min(probability, _disagreement((rest[0], rest[1], rest[2]), split))
    return min((1 + ndim) * probability, 1.0)


def _disagreement(
    groups: tuple[Float, Float, Float], in_pixels: Callable[[], Sequence[Float]]
) -> float:
    """Probability that groups of modes ask for offsets as different as these.

    Parameters
    ----------
    groups : (g, ndim), (g, ndim, ndim) and (g, ndim, ndim) arrays
        Score, its variance with even noise, and information.
    in_pixels : callable
        Pieces of the score, pixel by pixel, for each group; asked for where it matters.
    """
    from scipy.linalg import block_diag
    from scipy.special import fdtrc, gammaincc

    scores, even, parts = groups
    score, ndim = scores.ravel(), scores.shape[1]
    # the offset is fitted to the sum: what each group takes of it
    share = parts.reshape(-1, ndim) @ np.linalg.pinv(parts.sum(axis=0))
    project = np.eye(score.size) - np.tile(share, len(scores))

    def disagreement(variance: Float) -> tuple[float, int]:
        inverse = np.linalg.pinv(project @ variance @ project.T, rcond=1e-8, hermitian=True)
        left_over = project @ score  # the fit may have stopped short of its zero
        return float(left_over @ inverse @ left_over), max(int(np.linalg.matrix_rank(inverse)), 1)

    chi2, parameters = disagreement(block_diag(*even))
    probability = float(gammaincc(parameters / 2, chi2 / 2))
    if probability > ASK_PIXELS:
        return probability
    pieces = np.concatenate(in_pixels())
    chi2, parameters = disagreement(pieces @ pieces.T)
    size = np.sum(pieces**2 / np.maximum(np.sum(pieces**2, axis=1, keepdims=True), 1e-300), axis=0)
    dof = max(float(2 * size.sum() ** 2 / np.sum(size**2)) - parameters + 1, 1.0)
    # the variance too is an estimate: Hotelling's distribution
    return float(fdtrc(parameters, dof, chi2 / parameters * dof / (dof + parameters - 1)))


def contradiction(coherence: Float, count: Float) -> float:
    """Probability of a ring correlation this far below zero, if no ring is anticorrelated."""
    from scipy.special import ndtr

    lowest = float(np.min(coherence * np.sqrt(count)))
    return float(-np.expm1(coherence.size * np.log1p(-ndtr(lowest))))


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
            values, vectors = np.linalg.eigh(-curvature)
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


def aliasing(comparison: Comparison, equations: Equations, offset: Float, bread: Float) -> Float:
    """Bound on the error by power above the Nyquist frequency, which no residual shows, px."""
    rings, spectra = comparison.rings, equations.spectra
    near = (rings.frequency > 0.36) & (rings.frequency < 0.42)
    if not near.any() or np.all(spectra.scene[near] < 0.01 * spectra.residual[near]):
        return np.zeros(len(bread))
    fades = [faded(k).astype(comparison.dtype, copy=False) ** 2 for k in comparison.k]
    passed = rings.mean(_product(fades))
    folded = folded_power(rings, equations.cross, spectra.scene, spectra.noise_product, passed)
    transmitted = rings.spread(folded, comparison.dtype).reshape(comparison.window.shape)
    for fade in fades:
        transmitted *= fade
    power = transmitted.ravel() * equations.weight
    scene = np.maximum(
        rings.spread(spectra.scene, comparison.dtype), np.finfo(comparison.dtype).tiny
    )
    meeting = np.sqrt(transmitted.ravel() * scene) * equations.weight
    coherent, alike = (_along_axes(comparison, field) for field in (power, meeting))
    power *= equations.weight
    chance = np.empty_like(bread)
    for i, row in enumerate(equations.gradient):
        pulled = row * power
        chance[i] = [float(pulled @ other) for other in equations.gradient]

    def density() -> tuple[Float, Float]:
        radius = np.sqrt(sum(k**2 for k in comparison.k)).ravel().astype(comparison.dtype)
        filtered = np.sqrt(radius * meeting / scene)
        first, second = (
            comparison.untransform(filtered * modes) for modes in comparison.apart(equations)
        )
        return first * second, filtered**2 * scene

    return aliased(coherent, chance, alike, density, bread, offset)


def _along_axes(comparison: Comparison, values: Float) -> Float:
    """Sums over the modes of values times the frequency along each axis."""
    field = values.reshape(comparison.window.shape)
    axes = range(field.ndim)
    planes = [field.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes]
    return np.array(
        [float(k.ravel() @ plane) for k, plane in zip(comparison.k, planes, strict=True)]
    )


def features(density: Float, power: Float) -> float:
    """How many independent parts a field has.

    That is its number of modes, if it is Gaussian, and less if few pixels hold most of it.

    Parameters
    ----------
    density : array
        Square of the field, or product of two noisy images of it.
    power : array
        Power of all its modes.
    """
    peaked = density.size * float(np.sum(density**2)) / max(float(density.sum()) ** 2, 1e-300)
    modes = float(power.sum()) ** 2 / max(float(np.sum(power**2)), 1e-300)
    return max(3.0 * modes / peaked, 1.0)


def _product(factors: Sequence[Float]) -> Float:
    """Outer product of arrays that vary along one axis each."""
    total = factors[0]
    for factor in factors[1:]:
        total = total * factor
    return total


def folded_power(
    rings: Rings,
    cross: Float,
    scene: Float,
    noise_product: Float,
    passed: Float | float = 1.0,
) -> Float:
    """Power that folds back from above the Nyquist frequency onto each ring.

    The cross-spectrum, which holds no noise, is continued beyond Nyquist along the slope that it
    has below.

    Parameters
    ----------
    rings : Rings
    cross : array
        Ring averages of the cross-spectrum, up to Nyquist.
    scene, noise_product : array
        Smooth power of the scene; product of the two noise powers.
    passed : array or float
        Share of the power that has not faded, where both images were moved.
    """
    f, count = rings.frequency, rings.count
    # where little passed, little is known
    passed = np.broadcast_to(np.maximum(passed, 1e-9), f.shape)
    count, cross = count * passed, cross / passed
    inner, outer = (f > 0.36) & (f <= 0.43), (f > 0.45) & (f <= 0.5)
    if not inner.any() or not outer.any():
        return np.zeros(rings.size)
    weight = count[outer] / count[outer].sum()
    hidden = 2 * np.sqrt(float(weight**2 @ (noise_product[outer] / count[outer])))
    end = float(weight @ cross[outer])
    if end < hidden:  # not seen: no more than the smooth spectrum has before it fades
        end = min(hidden, float(np.interp(FADE[0], f, scene)))
    end = max(end, 1e-300)
    start = max(float(cross[inner] @ count[inner] / count[inner].sum()), end)
    near, far = (float(np.average(f[part], weights=passed[part])) for part in (inner, outer))
    slope = np.log(end / start) / (far - near)
    mirrored = 1.0 - np.minimum(f, 0.5)
    return np.asarray(end * np.exp(slope * (mirrored - far)))


def aliased(
    coherent: Float,
    chance: Float,
    alike: Float,
    density: Callable[[], tuple[Float, Float]],
    bread: Float,
    offset: Float,
) -> Float:
    """Largest error that folded power makes.

    Folded power that meets folded power in the other image has turned by one period a pixel more
    than its frequency says, which pulls all modes of an axis the same way, by `coherent` times
    the sine of that; none for whole pixels. Where it meets the scene, signs are random and four
    sigma are taken: of `chance`, if each mode has its own sign, or of `alike` over the root of
    the number of features, since the modes of a star all have the sign of its place between the
    pixels, and few stars do not average it out. How many there are the `density` of what is
    pulled tells, see `features`; it is asked for where it matters.
    """
    random = np.sqrt(np.maximum((bread @ chance @ bread).diagonal(), 0.0))
    sparse = np.abs(bread) @ alike
    if np.any(sparse > SPARSE_ALIASING * np.sqrt(np.maximum(bread.diagonal(), 0.0))):
        sparse = sparse / np.sqrt(features(*density()))
    pull = coherent * np.abs(np.sin(2 * np.pi * offset))
    return np.asarray(np.abs(bread) @ pull + ALIASED_SIGMA * np.maximum(random, sparse))


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


def principal(matrix: Float) -> tuple[Float, Float]:
    """Eigenvalues, in rising order, and eigenvectors of a small symmetric matrix.

    In a tenth of the time that `numpy.linalg.eigh` takes for checks.
    """
    from scipy.linalg.lapack import dsyev

    values, vectors, failed = dsyev(matrix)
    if failed:
        raise np.linalg.LinAlgError("the eigenvalues of a matrix did not converge")
    return values, vectors


def pseudo_inverse(values: Float, vectors: Float) -> Float:
    """Inverse of a matrix along the directions in which it is positive."""
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
    return np.asarray((vectors * inverse) @ vectors.T)


def _full_window(pair: Pair, offset: Float) -> list[float]:
    shapes = [image.values.shape for image in pair.images]
    if pair.boundary == "periodic":
        return [float(n) for n in shapes[0]]
    return [max(0.0, min(n, m - d) - max(0.0, -d)) for d, n, m in zip(offset, *shapes, strict=True)]
