"""What is known at the optimum of a periodic pair, whose modes are independent.

The bars, and what the flags are read from, are sums over the images: single precision is enough
for what is summed once the residual has been formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.equations import MOST_ABSORBED, absorbed, known_directions
from coregister.estimator.matrices import principal, pseudo_inverse
from coregister.estimator.periodic.modes import (
    Complex,
    Float,
    Modes,
    Sampled,
    pairwise_matrix,
)
from coregister.estimator.spectrum import Spectra, weights_beside
from coregister.estimator.stages import Candidate, Dispersion, Fit
from coregister.estimator.uncertainty import FEWEST_DOF
from coregister.estimator.uncertainty.aliasing import aliased, folded_power
from coregister.estimator.uncertainty.covariance import (
    STEP_ASIDE,
    loosened,
    spread_of,
)
from coregister.estimator.uncertainty.disagreement import competing, contradiction
from coregister.estimator.uncertainty.misfit import echo
from coregister.fourier import TrigPolynomial
from coregister.products import dot, matmul, pieces

Single = NDArray[np.float32]

#: a whitened residual beyond this may be a pixel that one image alone shows
OUTLYING = 6.5
#: a pull beyond this multiple of their rms, and above this share of their energy, may be one that
#: both show and that does not move
RULING, RULING_SHARE = 12.0, 0.01


def conclude(
    candidate: Candidate,
    offset: Float,
    told: Float,
    *,
    images: Sampled,
    spectra: Spectra,
    gain: float,
    background: float,
    surface: Callable[[], TrigPolynomial],
    n_iter: int,
    converged: bool,
) -> Fit:
    """The fit, with everything that is known there.

    Parameters
    ----------
    offset : (ndim,) array
        The optimum, px.
    told : (ndim,) array
        The equivalent one that is told.
    surface : callable
        Makes the log-likelihood against offset.
    """
    modes, rings = images.modes, images.rings
    real, imaginary = images.workspace, np.empty_like(images.workspace)
    images.aligned(offset, real, imaginary)
    in_bins = gain / images.size * rings.sums(real)
    heavy = rings.at_bins(spectra.weight)
    weight = rings.at_modes(heavy, images.spectra[0].real.dtype).reshape(real.shape)

    signal = np.multiply(weight, real, out=weight, casting="same_kind")
    information = pairwise_matrix(modes.moments(signal, (0, 1, 2))) * (gain / images.size)
    noise = heavy**2 * rings.at_bins(spectra.noise_product)
    scatter = np.array([[noise @ sums for sums in row] for row in modes.fourths])
    values, vectors = known_directions(information, scatter)
    bread = pseudo_inverse(values, vectors)
    of_modes = _degrees_of_freedom(modes, signal)

    aside = STEP_ASIDE * np.sqrt(np.maximum(bread.diagonal(), 0.0))
    slopes = [gain / images.size * rings.sums(f * imaginary) for f in modes.k]
    change = _change_of_score(images, spectra, gain, in_bins, slopes, aside)
    looser = loosened(bread, change)

    left, pulls, gram, unit = _score(images, spectra, gain, heavy, in_bins, offset)
    spread = spread_of(left, pulls, looser * unit, gram)
    dof = max(min(of_modes, spread.dof), FEWEST_DOF)
    student = dof / (dof - 2.0)
    return Fit(
        candidate=candidate,
        offset=told,
        covariance=student * spread.seen,
        model_covariance=student * spread.even,
        unevenness=spread.chance,
        information=(vectors * values) @ vectors.T,
        evidence=spectra.evidence(rings.count) / rings.count.sum(),
        modes=float(rings.count.sum()),
        dof=dof,
        outlying=_peak(left) > OUTLYING or any(map(_ruled, pulls)),
        distortion=1.0,
        echo=lambda closely: echo(
            left, rings.frequency * modes.step, rings.count, spectra, closely=closely
        ),
        lines_alone=lambda: False,
        dispersion=Dispersion(),
        contradiction=contradiction(spectra.coherence, rings.count),
        competing=competing(
            rings, spectra, 1.0, lambda: _halfway(images, offset), images.shape, modes.density
        ),
        systematic=_aliasing(images, spectra, in_bins, gain, heavy, real, bread, told),
        gain=gain,
        background=background,
        overlap=1.0,
        frequency=rings.frequency,
        coherence=spectra.coherence,
        surface=surface,
        n_iter=n_iter,
        converged=converged,
    )


def _peak(field: Single) -> float:
    """The largest value, of either sign, in units of the rms."""
    rms = np.sqrt(dot(field, field) / field.size)
    return float(max(field.max(), -field.min()) / max(rms, 1e-300))


def _ruled(pulls: Single) -> bool:
    """True if few pixels make the answer."""
    peak = _peak(pulls)
    return peak > RULING and peak**2 > RULING_SHARE * pulls.size


def _halfway(images: Sampled, offset: Float) -> tuple[Complex, Complex]:
    """Both half spectra, moved by half of an offset towards each other."""
    _, first, second = zip(*images.halfway(offset), strict=True)
    return np.concatenate(first), np.concatenate(second)


def _degrees_of_freedom(modes: Modes, signal: NDArray[np.floating[Any]]) -> float:
    """Effective number of modes, less offset, gain and background; see `uncertainty`.

    Parameters
    ----------
    signal : array
        Weight times cross-spectrum; overwritten.
    """
    ndim = signal.ndim
    unit = 2 * np.eye(ndim, dtype=np.intp)
    total = modes.moments(np.abs(signal, out=signal), (0, 2))[tuple(unit // 2)].sum()
    signal *= signal
    squares = pairwise_matrix(modes.moments(signal, (0, 2, 4), times=2)).sum()
    return max(float(total**2 / max(float(squares), 1e-300)) - (ndim + 2), FEWEST_DOF)


def _change_of_score(
    images: Sampled,
    spectra: Spectra,
    gain: float,
    in_bins: Float,
    slopes: list[Float],
    aside: Float,
) -> Float:
    """How weights that follow the offset change the score; see `uncertainty.loosened`."""
    rings = images.rings
    ndim = len(aside)
    moved = np.array([a * rings.average(s) for a, s in zip(aside, slopes, strict=True)])
    here = rings.average(in_bins)
    weights = weights_beside(
        spectra,
        xx=gain**2 * images.powers[0],
        yy=images.powers[1],
        xy=np.concatenate([here + moved, here - moved]),
        count=rings.count,
    )
    change = np.zeros((ndim, ndim))
    for axis in range(ndim):
        if aside[axis] > 0:
            # the change of the score along all axes with the offset along this one
            lighter = rings.at_bins(weights[axis] - weights[ndim + axis])
            change[axis] = [float(lighter @ s) / (2 * aside[axis]) for s in slopes]
    return change


def _score(
    images: Sampled,
    spectra: Spectra,
    gain: float,
    heavy: Float,
    in_bins: Float,
    offset: Float,
) -> tuple[Single, Single, Float, float]:
    """The same as `Comparison.whitened`: the residual, and `pulls` times a number are the pulls.

    With the scalar products of these with each other.
    """
    rings, shape = images.rings, images.shape
    share = spectra.share
    level = rings.at_bins(spectra.residual)
    white = np.sqrt(level)
    xx, yy = gain**2 * images.sums[0], images.sums[1]
    # to the optimal gain: what is missing to it is a piece of the scene
    overlap = (1 - share) * (in_bins - xx) + share * (yy - in_bins)
    square = (1 - share) ** 2 * xx + share**2 * yy + 2 * share * (1 - share) * in_bins
    along_scene = float(heavy @ overlap / (heavy @ square))
    pull = heavy * white
    rms = np.sqrt(float(pull**2 @ (square * rings.bin_frequency**2)) / images.size)
    unit = 2 * np.pi * rms if rms > 0 else 1.0

    missing = along_scene * (1 - share)
    inverse = np.divide(1.0, white, out=np.zeros_like(white), where=white > 0)
    dtype = images.spectra[0].real.dtype
    whiten, colour = (rings.at_modes(f, dtype) for f in (inverse, pull / unit))
    residual, scene = np.empty((2, *images.workspace.shape), dtype=np.complex64)
    whiten, colour = whiten.reshape(scene.shape), colour.reshape(scene.shape)
    for rows, x, y in images.halfway(offset):
        x *= gain
        left_over = x * -(1 + missing)
        left_over += y * (1 - along_scene * share)
        np.multiply(left_over, whiten[rows], out=residual[rows], casting="same_kind")
        x *= 1 - share
        y *= share
        x += y
        np.multiply(x, colour[rows], out=scene[rows], casting="same_kind")
    power = np.square(scene.real)
    power += np.square(scene.imag)
    moments = images.modes.moments(power, (0, 1, 2)) / images.size
    gram = pairwise_matrix(moments)
    left = np.empty(shape, dtype=np.float32)
    _inverse(residual, left)
    pulls = np.empty((len(shape), *shape), dtype=np.float32)
    for axis, k in enumerate(images.modes.k[:-1]):
        np.multiply(scene, (1j * k).astype(np.complex64), out=residual)
        _inverse(residual, pulls[axis])
    # frequencies along the last axis do not mix with the transforms along the others
    rest = scipy.fft.ifftn(scene, axes=range(len(shape) - 1), overwrite_x=True)
    np.multiply(rest, (1j * images.modes.k[-1]).astype(np.complex64), out=residual)
    np.fft.irfft(residual, n=shape[-1], out=pulls[-1])
    if absorbed(pulls) > MOST_ABSORBED:
        in_pixels = np.fft.irfft(rest, n=shape[-1])
        energy = float(moments[(0,) * left.ndim])
        _unabsorb(left, np.concatenate([pulls, in_pixels[np.newaxis]]), gram, energy)
    return left, pulls, gram, unit


def _inverse(spectrum: NDArray[np.complex64], out: Single) -> None:
    """Inverse transform into an array that is there; overwrites the spectrum."""
    rest = scipy.fft.ifftn(spectrum, axes=range(out.ndim - 1), overwrite_x=True)
    np.fft.irfft(rest, n=out.shape[-1], out=out)  # type: ignore[arg-type]


def _unabsorb(left: Single, columns: Single, gram: Float, energy: float) -> None:
    """Do in place what `equations.unabsorbed` does.

    Parameters
    ----------
    columns : (ndim + 1, ...) array
        Pulls, and the scene.
    gram : (ndim, ndim) array
        Scalar products of the pulls.
    energy : float
        That of the scene with itself; with its derivatives, it has none.
    """
    flat, rest = columns.reshape(len(columns), -1), left.reshape(-1)
    whole = np.zeros((len(columns), len(columns)))
    whole[:-1, :-1], whole[-1, -1] = gram, energy
    values, vectors = principal(whole)
    known = values > 1e-15 * values[-1]
    root = (vectors[:, known] / np.sqrt(values[known])).T.astype(np.float32)
    for some in pieces(rest.size):
        parts = matmul(root, flat[:, some])
        parts *= parts
        kept = parts.sum(axis=0)
        np.minimum(kept, 0.9, out=kept)
        np.subtract(1.0, kept, out=kept)
        rest[some] /= np.sqrt(kept, out=kept)


def _aliasing(
    images: Sampled,
    spectra: Spectra,
    in_bins: Float,
    gain: float,
    heavy: Float,
    real: NDArray[np.floating[Any]],
    bread: Float,
    offset: Float,
) -> Float:
    """Bound on the error by power above the Nyquist frequency, px."""
    rings, modes = images.rings, images.modes
    folded = folded_power(rings, rings.average(in_bins), spectra.scene, spectra.noise_product)
    if not folded.any():
        return np.zeros(len(offset))
    power = heavy * rings.at_bins(folded)
    coherent = np.array([power @ sums for sums in modes.moduli])
    in_modes = rings.at_modes(power * heavy * (gain / images.size), real.dtype).reshape(real.shape)
    in_modes *= np.maximum(real, 0)
    chance = pairwise_matrix(modes.moments(in_modes, (0, 1, 2)))
    scene = np.maximum(rings.at_bins(spectra.scene), 1e-300)
    meeting = heavy * np.sqrt(rings.at_bins(folded) * scene)

    def density() -> tuple[Float, Float]:
        pulled = 2 * np.pi * rings.at_bins(rings.frequency) * meeting
        filtered, of_scene = (
            rings.at_modes(values, real.dtype).reshape(real.shape)
            for values in (np.sqrt(pulled / scene), pulled)
        )
        first, second = (
            scipy.fft.irfftn(filtered * half, s=images.shape) for half in _halfway(images, offset)
        )
        return first * second, np.stack([of_scene, of_scene])

    alike = np.array([meeting @ sums for sums in modes.moduli])
    return aliased(coherent, chance, alike, density, bread, offset)
