"""How well the offset is known, read from what is left over.

The covariance is a sandwich ``H^-1 V H^-1``. ``H`` comes from products of the two images'
derivatives, whose noises are independent. ``V``, the variance of the score, is taken pixel by
pixel from residual and gradient, both whitened with the residual's own smooth spectrum: noise of
any colour and noise that varies over the field count as they are, and nothing needs to be known.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.compare import FADE, Comparison, Equations, known_directions
from coregister.fourier import TrigPolynomial, along, frequencies
from coregister.images import Pair
from coregister.spectrum import Rings, Spectra
from coregister.stages import Candidate, Fit

Float = NDArray[np.float64]

#: residual of the coarse frequencies over that of the fine ones beyond which they disagree
COARSE_EXCESS = 10.0
#: frequencies (cycles/px) between the bands that are asked for the offset one by one
BANDS = (0.03, 0.06, 0.12, 0.25)


def conclude_fit(
    pair: Pair,
    candidate: Candidate,
    comparison: Comparison,
    equations: Equations,
    offset: Float,
    *,
    competing: bool,
    before_whitening: float,
    n_iter: int,
    converged: bool,
) -> Fit:
    """Everything that is known at the optimum."""
    rings = comparison.rings
    values, vectors = equations.directions
    determined = bool(np.all(values > 0))
    bread = _pseudo_inverse(values, vectors)
    left, pulls = equations.whitened(comparison)
    scores = (pulls * left).reshape(pair.ndim, -1)
    meat = scores @ scores.T
    per_mode = equations.weight * np.sum(equations.gradient**2, axis=0)
    dof = _degrees_of_freedom(per_mode, pair.ndim)
    student = dof / (dof - 2.0)
    smaller = min(image.data.size for image in pair.images)
    used = comparison.pixel_weight
    pixels = float(np.prod(comparison.window.shape) if used is None else np.count_nonzero(used))
    return Fit(
        candidate=candidate,
        offset=offset,
        covariance=student * bread @ meat @ bread,
        information=(vectors * values) @ vectors.T,
        evidence=equations.spectra.evidence(rings.count) / rings.count.sum(),
        modes=pixels,
        dof=dof,
        distortion=distortion(left, pulls) if determined else 1.0,
        dispersion=min(before_whitening, dispersion(comparison, equations)) if determined else 1.0,
        contradiction=contradiction(equations.spectra.coherence, rings.count),
        competing=competing,
        systematic=aliasing(comparison, equations, offset, bread),
        gain=equations.gain,
        background=equations.background,
        overlap=float(np.prod(_full_window(pair, offset))) / smaller,
        frequency=rings.frequency,
        coherence=equations.spectra.coherence,
        surface=partial(likelihood, comparison, equations, offset),
        n_iter=n_iter,
        converged=converged,
    )


def conclude_modes(
    candidate: Candidate,
    offset: Float,
    *,
    k: list[Float],
    rings: Rings,
    multiplicity: Float,
    aligned: NDArray[np.complex128],
    spectra: Spectra,
    weight: Float,
    gain: float,
    background: float,
    shape: tuple[int, ...],
    n_iter: int,
    converged: bool,
) -> Fit:
    """The same for periodic images, whose modes are independent and need no whitening.

    Parameters
    ----------
    aligned : complex array
        Half of the cross-spectrum, times the gain, with the displacement taken out.
    k, multiplicity, weight : array
        Frequency, number of full-plane modes and weight of each of its modes.
    """
    signal = multiplicity * weight * aligned.real
    noise = multiplicity * weight**2 * rings.spread(spectra.noise_product).reshape(weight.shape)
    ndim = len(k)
    information, meat, moments = np.empty((3, ndim, ndim))
    for i in range(ndim):
        for j in range(i, ndim):
            information[i, j] = information[j, i] = np.sum(signal * k[i] * k[j])
            moments[i, j] = moments[j, i] = np.sum(noise * k[i] ** 2 * k[j] ** 2)
    values, vectors = known_directions(information, moments)
    bread = _pseudo_inverse(values, vectors)
    # variance of the score of a mode: scene against residual, and noise against noise
    residual, product = (
        rings.spread(values).reshape(weight.shape)
        for values in (spectra.residual, spectra.noise_product)
    )
    # a mode and its mirror image are one: together their score has twice the variance of two
    square = multiplicity * weight**2 * (np.maximum(aligned.real, 0) * residual + product)
    for i in range(ndim):
        for j in range(ndim):
            meat[i, j] = np.sum(square * k[i] * k[j])
    per_mode = np.abs(signal) * sum(f**2 for f in k)
    dof = _degrees_of_freedom(per_mode, ndim)
    student = dof / (dof - 2.0)
    folded = folded_power(rings, rings.mean(aligned.real), spectra.scene, spectra.noise_product)
    power = multiplicity * weight * rings.spread(folded).reshape(weight.shape)
    coherent = np.array([float(np.sum(np.abs(f) * power)) for f in k])
    power *= weight * np.maximum(aligned.real, 0)
    chance = np.empty((ndim, ndim))
    for i in range(ndim):
        for j in range(ndim):
            chance[i, j] = np.sum(power * k[i] * k[j])

    def surface() -> TrigPolynomial:
        product = aligned * weight
        for frequency, d in zip(k, offset, strict=True):
            product = product * np.exp(-1j * frequency * d)
        return TrigPolynomial(product, shape)

    return Fit(
        candidate=candidate,
        offset=offset,
        covariance=student * bread @ meat @ bread,
        information=(vectors * values) @ vectors.T,
        evidence=spectra.evidence(rings.count) / rings.count.sum(),
        modes=float(rings.count.sum()),
        dof=dof,
        distortion=1.0,
        dispersion=1.0,
        contradiction=contradiction(spectra.coherence, rings.count),
        competing=rising(rings.frequency, spectra),
        systematic=_bound(coherent, chance, bread),
        gain=gain,
        background=background,
        overlap=1.0,
        frequency=rings.frequency,
        coherence=spectra.coherence,
        surface=surface,
        n_iter=n_iter,
        converged=converged,
    )


def _degrees_of_freedom(information: Float, ndim: int) -> float:
    """Effective number of modes, less the parameters (offset, gain, background).

    The bar itself is estimated from them, so the errors follow Student's distribution; the
    covariance is that distribution's.
    """
    effective = float(information.sum() ** 2 / max(float(np.sum(information**2)), 1e-300))
    return max(effective - (ndim + 2), 3.0)


def distortion(left: Float, pulls: Float) -> float:
    """Probability of a displacement this uneven over the field, if the pair is only shifted.

    The score is resolved along rotation, scale and shear: ``ndim^2`` numbers that are 0 within
    their scatter when the displacement is the same everywhere.
    """
    from scipy.special import gammaincc

    ndim = len(pulls)
    scores = pulls * left
    terms = []
    for axis, n in enumerate(left.shape):
        arm = along(np.linspace(-1.0, 1.0, n), axis, ndim)
        energy = np.sum(pulls**2, axis=0)
        total = float(energy.sum())
        if total > 0:
            arm = arm - float(np.sum(energy * arm)) / total
        terms += [score * arm for score in scores]
    columns = np.stack([term.ravel() for term in terms])
    amplitude = columns.sum(axis=1)
    scatter = columns @ columns.T
    chi2 = float(amplitude @ np.linalg.pinv(scatter, rcond=1e-10, hermitian=True) @ amplitude)
    return float(gammaincc(ndim * ndim / 2, chi2 / 2))


def dispersion(comparison: Comparison, equations: Equations) -> float:
    """Probability of frequencies that disagree this much on the offset, if all see one scene.

    A pattern that stays with the detector rules the fine frequencies and the scene the coarse
    ones. The score, zero over all modes, is looked at band by band.
    """
    from scipy.special import gammaincc

    residual = comparison.rings.spread(equations.spectra.residual)
    variance = equations.weight**2 * residual / (1.0 - equations.leverage)
    scores = equations.gradient * equations.weight * equations.residual
    band = comparison.rings.band(BANDS)
    chi2, parameters = 0.0, -len(scores)  # the sum over the bands is 0
    for index in range(len(BANDS) + 1):
        inside = band == index
        part = equations.gradient[:, inside]
        scatter = (part * variance[inside]) @ part.T
        score = scores[:, inside].sum(axis=1)
        chi2 += float(score @ np.linalg.pinv(scatter, rcond=1e-8, hermitian=True) @ score)
        parameters += int(np.linalg.matrix_rank(scatter, hermitian=True))
    return float(gammaincc(max(parameters, 1) / 2, chi2 / 2))


def contradiction(coherence: Float, count: Float) -> float:
    """Probability of a ring correlation this far below zero, if no ring is anticorrelated."""
    from scipy.special import ndtr

    lowest = float(np.min(coherence * np.sqrt(count)))
    return float(-np.expm1(coherence.size * np.log1p(-ndtr(lowest))))


def rising(frequency: Float, spectra: Spectra) -> bool:
    """True if coarse frequencies leave more behind, and agree less, than fine ones.

    A scene and its noise do not do that; two scenes, of which the finer one is aligned, do.
    """
    coarse = (frequency > BANDS[0]) & (frequency < BANDS[2])
    fine = (frequency > BANDS[3]) & (frequency < FADE[0])
    if not coarse.any() or not fine.any():
        return False
    agreement = np.max(spectra.coherence[fine]) - np.min(spectra.coherence[coarse])
    left_over = np.max(spectra.residual[coarse]) / np.min(spectra.residual[fine])
    return bool(agreement > 0.05 and left_over > COARSE_EXCESS)


def aliasing(comparison: Comparison, equations: Equations, offset: Float, bread: Float) -> Float:
    """Bound on the error by power above the Nyquist frequency, which no residual shows, px."""
    rings, spectra = comparison.rings, equations.spectra
    near = (rings.frequency > 0.36) & (rings.frequency < 0.42)
    if not near.any() or np.all(spectra.scene[near] < 0.01 * spectra.residual[near]):
        return np.zeros(len(bread))
    x, y = (comparison.transform(fields[0]) for fields in comparison.fields(offset, faded=False))
    folded = folded_power(
        rings, equations.gain * rings.mean(x * y), spectra.scene, spectra.noise_product
    )
    power = rings.spread(folded) * equations.weight
    chance = np.einsum(
        "in,jn,n->ij", equations.gradient, equations.gradient, power * equations.weight
    )
    field = power.reshape(comparison.window.shape)
    coherent = np.array([float(np.sum(np.abs(k) * field)) for k in comparison.k])
    return _bound(coherent, chance, bread)


def folded_power(rings: Rings, cross: Float, scene: Float, noise_product: Float) -> Float:
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
    """
    f, count = rings.frequency, rings.count
    inner, outer = (f > 0.36) & (f <= 0.43), (f > 0.45) & (f <= 0.5)
    if not inner.any() or not outer.any():
        return np.zeros(rings.size)
    weight = count[outer] / count[outer].sum()
    hidden = 2 * np.sqrt(float(weight**2 @ (noise_product[outer] / count[outer])))
    end = float(weight @ cross[outer])
    if end < hidden:  # not seen: no more than the smooth spectrum has before it fades
        end = min(hidden, float(np.interp(FADE[0], f, scene)))
    end = max(end, 1e-300)
    start = max(float(np.average(cross[inner], weights=count[inner])), end)
    slope = np.log(end / start) / (f[outer].mean() - f[inner].mean())
    mirrored = 1.0 - np.minimum(f, 0.5)
    return np.asarray(end * np.exp(slope * (mirrored - f[outer].mean())))


def _bound(coherent: Float, chance: Float, bread: Float) -> Float:
    """Largest error that folded power makes.

    Folded power that meets folded power in the other image pulls all modes the same way, by up to
    `coherent`; where it meets the scene, signs are random and three sigma of `chance` are taken.
    """
    random = np.sqrt(np.clip(np.diag(bread @ chance @ bread), 0.0, None))
    return np.asarray(np.abs(bread) @ coherent + 3.0 * random)


def likelihood(comparison: Comparison, equations: Equations, offset: Float) -> TrigPolynomial:
    """Log-likelihood against offset, up to a constant, with the curvature of the information."""
    x, y = (fields[0] for fields in comparison.fields(offset))
    if comparison.pixel_weight is not None:
        x, y = x * comparison.pixel_weight, y * comparison.pixel_weight
    shape = x.shape
    product = np.conj(scipy.fft.rfftn(x - x.mean())) * scipy.fft.rfftn(y - y.mean())
    k = frequencies(shape)
    radius = np.sqrt(sum(f**2 for f in k)) / (2 * np.pi)
    rings = comparison.rings
    weight = np.interp(radius, rings.frequency, equations.spectra.weight)
    product *= weight * equations.gain / np.prod(shape)
    for frequency, d in zip(k, offset, strict=True):
        product *= np.exp(-1j * frequency * d)
    surface = TrigPolynomial(product, shape)
    curvature = -surface.derivatives(offset)[2]
    scale = np.trace(equations.information) / max(float(np.trace(curvature)), 1e-300)
    return TrigPolynomial(product * scale, shape)


def _pseudo_inverse(values: Float, vectors: Float) -> Float:
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
    return np.asarray((vectors * inverse) @ vectors.T)


def _full_window(pair: Pair, offset: Float) -> list[float]:
    shapes = [image.data.shape for image in pair.images]
    if pair.boundary == "periodic":
        return [float(n) for n in shapes[0]]
    return [max(0.0, min(n, m - d) - max(0.0, -d)) for d, n, m in zip(offset, *shapes, strict=True)]
