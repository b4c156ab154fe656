"""What is left over, if the pair is more than shifted: uneven, or two scenes in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.equations import Equations, moments
from coregister.estimator.matrices import inverse
from coregister.estimator.search.chance import chance_of_peak
from coregister.fourier import frequencies, pairs_of_axes
from coregister.products import dot, energy

Float = NDArray[np.float64]
Real = NDArray[np.floating[Any]]

#: share of the information that makes rows or columns of one value suspect
IN_LINES = 0.9
#: frequency (cycles/px) within which it is looked for
ECHO_BAND = 0.2
#: px beyond which noise is not opposite to itself, whatever its colour
ECHO_LAG = 4


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
    square = dot(correlation, correlation) / size
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
