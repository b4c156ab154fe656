"""Candidates for the offset, and how likely chance is to make one as good.

Both images are filtered by the weight that their own spectra suggest, which leaves their samples
nearly independent; the correlation over the overlap, normalised by the energies found there, then
has a known distribution for unrelated images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.fourier import along
from coregister.spectrum import Rings
from coregister.stages import Candidate

Float = NDArray[np.float64]

#: candidates kept
MAX_CANDIDATES = 5
#: correlation with the reversed image, at this share of the overlap, that only symmetry makes
SYMMETRIC = 0.5
SYMMETRIC_OVERLAP = 0.3
#: a further candidate must be less likely by chance than this
MAX_CHANCE = 0.01
#: pixels around a candidate in which no other is looked for
SEPARATION = 3
#: coherence above which auto-spectra cannot tell signal from noise any more
MAX_COHERENCE = 0.95
#: share of the strongest ring below which a spectrum is not made white any further: there, the
#: ends of the image rule, which are no random field
FAINT = 1e-4


def auto_filters(frequency: Float, powers: Sequence[Float], samples: Float) -> list[Float]:
    """Factors for the amplitude of each image, from the two auto-spectra alone.

    Their product is the maximum-likelihood weight of the cross-spectrum if what stands above the
    floor at high frequencies is scene. It does not know the cross-spectrum, so it favours no
    offset and leaves the distribution for unrelated images alone.

    Parameters
    ----------
    frequency : array
        Where the spectra are given, cycles/px.
    powers : two arrays
        Auto-spectra of reference and moving.
    samples : array
        Number of modes behind each value.
    """
    signals = []
    for power in powers:
        high = frequency > 0.6 * frequency.max()
        floor = np.min(power[high]) if high.any() else np.min(power)
        doubt = floor * np.sqrt(2.0 / samples)
        signals.append(np.clip(power - floor - doubt, 0.0, None) / power)
    coherence = np.clip(np.sqrt(signals[0] * signals[1]), 1e-3, MAX_COHERENCE)
    shape = np.sqrt(coherence / (1 - coherence**2))
    return [shape / np.sqrt(np.maximum(p, FAINT * p.max())) for p in powers]


def normalised_correlation(
    reference: Float, moving: Float, shape: list[int], energy: Float
) -> tuple[Float, Float]:
    """Correlation at every lag, and the same with the reference reversed.

    Reversing keeps the spectra and destroys the common content, unless the scene is symmetric.
    """
    first = scipy.fft.rfftn(reference, s=shape)
    second = scipy.fft.rfftn(moving, s=shape)
    correlation = scipy.fft.irfftn(np.conj(first) * second, s=shape, overwrite_x=True)
    null = scipy.fft.irfftn(first * second, s=shape, overwrite_x=True)
    # lags of the reversed reference are counted from its last pixel
    back = tuple(1 - n for n in reference.shape)
    null = np.roll(null, back, axis=tuple(range(reference.ndim)))
    return correlation / energy, null / energy


def independence(
    frequency: Float, count: Float, left: Float, right: Float, ndim: int
) -> tuple[float, float]:
    """How many of the samples are independent, and how fast their correlation varies.

    Parameters
    ----------
    frequency, count : array
        Rings.
    left, right : array
        Spectra of the two filtered images.
    ndim : int

    Returns
    -------
    band : float
        Independent samples per pixel of overlap.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px.
    """
    product = count * left * right
    band = (count @ left) * (count @ right) / (count.sum() * product.sum())
    square = (product @ (2 * np.pi * frequency) ** 2) / product.sum() / ndim
    return float(band), float(np.sqrt(square))


def ring_power(spectrum_power: Float, rings: Rings) -> Float:
    """Ring averages, never zero."""
    mean = rings.mean(spectrum_power)
    return np.asarray(np.maximum(mean, 1e-14 * mean.max() + 1e-300))


def overlap_sums(
    values: Float, other: tuple[int, ...], shape: list[int], *, forward: bool
) -> Float:
    """Sums of `values` over its overlap with a rectangle of shape `other`, for every lag.

    Parameters
    ----------
    values : array
        Sampled at ``r`` (`forward`) or at ``r + d``.
    other : tuple of int
        Shape of the other image.
    shape : list of int
        Lags ``0..shape-1`` an axis, in the order of an FFT (negative ones wrapped).
    forward : bool
        True if ``d`` is counted from `values` to the other image.
    """
    total = values
    for axis, (n, m, full) in enumerate(zip(values.shape, other, shape, strict=True)):
        cumulative = np.concatenate(
            [np.zeros_like(total.take([0], axis=axis)), np.cumsum(total, axis=axis)], axis=axis
        )
        lag = scipy.fft.fftfreq(full, 1.0 / full).round().astype(int)
        if not forward:
            lag = -lag
        first = np.clip(-lag, 0, n)
        last = np.clip(m - lag, 0, n)
        total = cumulative.take(np.maximum(last, first), axis=axis) - cumulative.take(
            first, axis=axis
        )
    return total


def signed_lags(shape: list[int]) -> list[Float]:
    """Lag of every sample along each axis of a circular correlation."""
    ndim = len(shape)
    return [
        along(scipy.fft.fftfreq(n, 1.0 / n).round(), axis, ndim) for axis, n in enumerate(shape)
    ]


def chance_of_peak(z: float, lags: float, roughness: float, ndim: int) -> float:
    """Probability that the highest of many lags of a Gaussian correlation exceeds `z`.

    Lags that are independent count one by one. Neighbours that are not count by the expected
    Euler characteristic of the excursion set, its leading term (Adler 1981,
    doi:10.1137/1.9780898719222).

    Parameters
    ----------
    z : float
        Height in units of the scatter.
    lags : float
        Number of lags.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px.
    ndim : int
    """
    from scipy.special import ndtr

    one_by_one = lags * float(ndtr(-z))
    euler = float(ndtr(-z)) + lags * (roughness / np.sqrt(2 * np.pi)) ** ndim * z ** (
        ndim - 1
    ) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return float(-np.expm1(-min(one_by_one, euler)))


def pick(
    correlation: Float,
    samples: Float,
    *,
    null: Float,
    allowed: NDArray[np.bool_],
    lags: list[Float],
    roughness: float,
    edge: Callable[[Float], bool],
) -> list[Candidate]:
    """The highest peaks, with the probability that chance makes them.

    Parameters
    ----------
    correlation : array
        Normalised correlation at every lag, -1 to 1.
    samples : array
        Independent samples in the overlap at every lag.
    null : array
        The same correlation with one image reversed: same spectra, no common content.
    allowed : bool array
        Lags that may be answered.
    lags : list of array
        Lag of every sample along each axis.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px.
    edge : callable
        Tells if an offset lies at the limit of the search.
    """
    evidence = -0.5 * np.log1p(-(np.clip(correlation, 0.0, 1 - 1e-12) ** 2))
    score = np.where(allowed, evidence * samples, -1.0)
    # unrelated images scatter by 1 in these units; more, where samples are fewer than thought
    chance = null[allowed] * np.sqrt(samples[allowed])
    scatter = max(0.8, float(np.sqrt(np.mean(chance**2)))) if chance.size else 1.0
    wide = allowed & (samples > SYMMETRIC_OVERLAP * samples.max())
    if wide.any() and null[wide].max() > SYMMETRIC:
        scatter = 1.0  # stripes, a lattice: reversing it does not make the scene another one
    lags_allowed = float(np.count_nonzero(allowed))
    candidates: list[Candidate] = []
    for _ in range(MAX_CANDIDATES):
        best = np.unravel_index(int(np.argmax(score)), score.shape)
        if score[best] < 0:
            break
        z = np.sqrt(2 * score[best]) / scatter
        false_alarm = chance_of_peak(z, lags_allowed, roughness, score.ndim)
        plain = chance_of_peak(z * scatter, lags_allowed, roughness, score.ndim)
        if candidates and plain > MAX_CHANCE:
            break  # no match in its own right, so no rival of the first
        offset = np.array(
            [float(lag.reshape(-1)[index]) for lag, index in zip(lags, best, strict=True)]
        )
        candidates.append(
            Candidate(
                offset=offset,
                evidence=float(evidence[best]),
                samples=float(samples[best]),
                false_alarm=false_alarm,
                plain=plain,
                at_edge=edge(offset),
            )
        )
        near = np.ix_(
            *(
                (np.arange(-SEPARATION, SEPARATION + 1) + index) % n
                for index, n in zip(best, score.shape, strict=True)
            )
        )
        score[near] = -1.0
    return candidates
