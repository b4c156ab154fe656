"""What is left over, if the pair is more than shifted: uneven, or two scenes in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.equations import Equations, moments
from coregister.estimator.fill import halved
from coregister.estimator.matrices import inverse
from coregister.estimator.search.chance import chance_of_peaks
from coregister.estimator.spectrum import Spectra
from coregister.estimator.stages import Echo
from coregister.fourier import along, pairs_of_axes
from coregister.products import dot, energy

Float = NDArray[np.float64]
Real = NDArray[np.floating[Any]]

#: share of the information that makes rows or columns of one value suspect
IN_LINES = 0.9
#: frequency (cycles/px) within which it is looked for
ECHO_BAND = 0.2
#: px beyond which noise is not opposite to itself, whatever its colour
ECHO_LAG = 4
#: px along the shortest axis from which a first look at every second sample is worth while, and
#: its probability below which all are looked at
ECHO_SIDE = 32
ASK_CLOSER = 0.1


def distortion(left: Float, pulls: Float) -> float:
    """Probability of a displacement this uneven over the field, if the pair is only shifted.

    The score is resolved along rotation, scale and shear: ``ndim^2`` numbers that are 0 within
    their scatter when the displacement is the same everywhere.
    """
    from scipy.special import gammaincc

    ndim = len(pulls)
    lines = [np.linspace(-1.0, 1.0, n) for n in left.shape]
    sums = moments(energy(pulls), _powers(lines))
    total = max(float(sums[(0,) * ndim]), 1e-300)
    first, second = tuple(np.eye(ndim, dtype=np.intp)), pairs_of_axes(ndim)
    arms = [line - mean / total for line, mean in zip(lines, sums[first], strict=True)]
    scores, powers = pulls * left, _powers(arms)
    amplitude, scatter = np.empty((ndim, ndim)), np.empty((ndim, ndim, ndim, ndim))
    for i in range(ndim):
        amplitude[i] = moments(scores[i], powers)[first]
        for j in range(i, ndim):
            scatter[i, :, j] = scatter[j, :, i] = moments(scores[i] * scores[j], powers)[second]
    matrix = scatter.reshape(ndim * ndim, -1)
    chi2 = float(amplitude.ravel() @ inverse(matrix, 1e-10) @ amplitude.ravel())
    return float(gammaincc(ndim * ndim / 2, chi2 / 2))


def _powers(arms: list[Float]) -> list[Float]:
    """Powers 0 to 2 along each axis."""
    return [np.stack([np.ones_like(arm), arm, arm**2]) for arm in arms]


def echo(
    left: Real, frequency: Float, count: Float, spectra: Spectra, *, faintest: float = 0.0
) -> Echo:
    """Whether another scene is in what is left over.

    Where two scenes are on top of each other, displaced by different offsets, the fit takes one of
    them; the other stands in what is left over twice, once with each sign: dust on the detector
    behind a scene that moved, a scene behind dust that did not, or a source that moves by itself.

    Parameters
    ----------
    left : array
        Whitened residual, in pixels.
    frequency, count : (size,) array
        Of the rings: cycles a sample, and modes.
    spectra : Spectra
    faintest : float
        Energy of the faintest second scene that is asked for, in units of that of the first. If
        any is, 0, a first look at every second sample is not enough.
    """
    signal = spectra.scene / np.maximum(spectra.residual, 1e-300)
    if _loudest(frequency, count, signal) < faintest:
        return Echo(1.0, 0.0)
    found = echoes(left[np.newaxis], frequency, count, signal[np.newaxis], closely=faintest == 0)
    return Echo(float(found.probability[0]), float(found.second[0]))


def echoes(
    left: Real,
    frequency: Float,
    count: Float,
    signal: Float,
    *,
    closely: NDArray[np.bool_] | bool = False,
) -> Echo:
    """The same for many pairs.

    Parameters
    ----------
    left : (n, ...) array
    frequency, count
        As for `echo`.
    signal : (n, size) array
        Power of the scene in units of that of the residual.
    closely : bool, or (n,) bool array
        A first look at every second sample is not enough.
    """
    if min(left.shape[1:]) < ECHO_SIDE:
        return _heard(left, 1, frequency, count, signal)
    probability, second = _heard(left, 2, frequency, count, signal)
    asked = closely | (probability < ASK_CLOSER)
    if asked.any():
        probability[asked], second[asked] = _heard(left[asked], 1, frequency, count, signal[asked])
    return Echo(probability, second)


def _heard(left: Real, step: int, frequency: Float, count: Float, signal: Float) -> Echo:
    """The same with every sample, or every second one.

    The band needs no more, and the rest is white; but a lag between them has half the height.
    """
    if step == 2:
        for axis, n in enumerate(left.shape[1:], start=1):
            even = (slice(None),) * axis + (slice(n // 2 * 2),)
            left = halved(left[even], axis)
    shape = left.shape[1:]
    ndim, axes = len(shape), tuple(range(1, left.ndim))
    transformed = scipy.fft.rfftn(left, axes=axes)
    spectrum = transformed.real**2
    spectrum += transformed.imag**2
    # what white noise has by itself: where the band is cut off, its peak would ring
    level = np.array([dot(row, row) for row in left.reshape(len(left), -1)])
    spectrum -= level.reshape(-1, *(1,) * ndim).astype(left.dtype)
    of_noise = 1.0
    for axis, n in enumerate(shape):  # what the shift has faded would ring
        fade = np.exp(-((scipy.fft.fftfreq(n) / (step * ECHO_BAND)) ** 2))
        of_noise *= float(fade.mean())
        spectrum *= along(fade[: spectrum.shape[1 + axis]].astype(left.dtype), axis, ndim)
    correlation = scipy.fft.irfftn(spectrum, s=shape, axes=axes, overwrite_x=True)
    reach = -(-ECHO_LAG // step)
    near = np.ix_(*(np.unique(np.arange(1 - reach, reach) % n) for n in shape))
    size = int(np.prod(shape)) - int(np.prod([i.size for i in near]))
    if size == 0:
        return Echo(np.ones(len(left)), np.zeros(len(left)))
    whole = correlation[(slice(None), *(0,) * ndim)] + level * of_noise
    correlation[(slice(None), *near)] = 0.0
    flat = correlation.reshape(len(left), -1)
    mean = flat.sum(axis=1, dtype=np.float64) / size
    variance = np.array([dot(row, row) for row in flat]) / size - mean**2
    lowest = -flat.min(axis=1).astype(np.float64)
    height = lowest / np.sqrt(np.maximum(variance, 1e-300))
    # each lag and its opposite are one
    chance = chance_of_peaks(height, size / 2, np.pi * step * ECHO_BAND, ndim)
    second = lowest / np.maximum(whole, 1e-300) * _loudest(frequency, count, signal)
    return Echo(np.where(variance > 0, chance, 1.0), np.where(variance > 0, second, 0.0))


def _loudest(frequency: Float, count: Float, signal: Float) -> Any:
    """Energy of all that is left over in the band, in units of that of the scene."""
    heard = count * np.exp(-((frequency / ECHO_BAND) ** 2))
    return heard.sum() / np.maximum(signal @ heard, 1e-300)


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
