"""What the two images share and what they do not, ring by ring in frequency.

Model of a pair at the right offset, mode by mode, in units of the moving image:
``x = s + n1`` (reference times gain) and ``y = s + n2``. The two auto-spectra and the
cross-spectrum, averaged over rings of one frequency, give the power of the scene ``S``, of the
residual ``E = n2 - n1`` and the share of the reference in it. No noise level is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

#: stiffness of the smooth scene spectrum: penalty on second differences of its logarithm
SCENE_STIFFNESS = 30.0
#: the same for the noise spectrum
NOISE_STIFFNESS = 300.0
#: pull of the scene spectrum towards a hundredth of what noise alone scatters about: power that
#: the data do not ask for is not there
DOUBT = 0.2
DOUBT_LEVEL = 0.01
#: the residual is nowhere taken as smaller than this share of its largest ring: below, modes
#: hold only what leaks from stronger ones, and are not independent of them
LEAKAGE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Spectra:
    """Smooth spectra of a pair, per ring, in units of the moving image.

    Attributes
    ----------
    scene : array
        Power of what the images share.
    residual : array
        Power of ``moving - gain * reference``: the two noises added.
    share : float
        Part of `residual` that the reference brings, 0 to 1; of many pairs, whose arrays have a
        row each, a column of them.
    coherence : array
        Raw ring correlation.
    """

    scene: Float
    residual: Float
    share: float | Float
    coherence: Float

    @property
    def noise_product(self) -> Float:
        """Product of the two noise powers."""
        return np.asarray(self.share * (1 - self.share) * self.residual**2)

    def evidence(self, count: Float) -> float:
        """Log-likelihood ratio of the pair against two unrelated images of these spectra."""
        first = self.scene + self.share * self.residual
        second = self.scene + (1 - self.share) * self.residual
        return float(
            -0.5 * count @ np.log1p(-np.minimum(self.scene**2 / (first * second), 1 - 1e-12))
        )

    @property
    def weight(self) -> Float:
        """Maximum-likelihood weight of a mode, ``S / (S (N1 + N2) + N1 N2)``.

        Hannan & Thomson; Knapp & Carter 1976, doi:10.1109/TASSP.1976.1162830.
        """
        return np.asarray(self.scene / (self.scene * self.residual + self.noise_product))


def fit_spectra(
    *,
    xx: Float,
    yy: Float,
    xy: Float,
    residual: Float,
    count: Float,
    start: Float | None = None,
) -> Spectra:
    """Smooth spectra from ring averages.

    Parameters
    ----------
    xx, yy, xy : array
        Ring averages of the auto-spectra (the reference times the gain) and the cross-spectrum.
    residual : array
        Ring averages of the residual power.
    count : array
        Modes in each ring.
    start : array, optional
        A first guess of the scene's.
    """
    scene, noise, share = fit_rings(xx, yy, xy, residual, count, start)
    coherence = xy / np.sqrt(np.maximum(xx * yy, 1e-300))
    return Spectra(scene=scene, residual=noise, share=float(share[0]), coherence=coherence)


def weights_beside(spectra: Spectra, *, xx: Float, yy: Float, xy: Float, count: Float) -> Float:
    """Weights that spectra read a little aside would give.

    Parameters
    ----------
    spectra : Spectra
        Read at the optimum.
    xx, yy : (size,) array
        Ring averages of the auto-spectra, the reference times the gain.
    xy : (n, size) array
        Those of the cross-spectrum, at each of the offsets aside.
    count : (size,) array
        Modes in each ring.

    Returns
    -------
    (n, size) array
    """
    residual = np.maximum(yy - 2 * xy + xx, 0.0)
    start = np.broadcast_to(spectra.scene, xy.shape)
    scene, noise, share = fit_rings(xx, yy, xy, residual, count, start)
    return np.asarray(scene / (scene * noise + share * (1 - share) * noise**2))


def fit_rings(
    xx: Float, yy: Float, xy: Float, residual: Float, count: Float, start: Float | None
) -> tuple[Float, Float, Float]:
    """Power of the scene and of the residual, and the share of the reference in it.

    Of one pair or, where `xy` and `residual` have a row for each, of many.
    """
    scale = (xx + yy).max(axis=-1, keepdims=True)
    floor = np.maximum(LEAKAGE * residual.max(axis=-1, keepdims=True), 1e-15 * scale)
    noise = _smooth_log(np.maximum(residual, floor), count)
    strength = np.maximum(xy, 0.0) / noise
    # yy - xx = N2 - N1; where the scene dominates, its own noise-scene terms blur the difference
    precision = count / (1.0 + 4.0 * strength)
    difference = (precision * (yy - xx) / noise).sum(axis=-1, keepdims=True)
    difference /= precision.sum(axis=-1, keepdims=True)
    share = np.minimum(np.maximum((1.0 - difference) / 2.0, 0.0), 1.0)
    return _fit_scene(xy, noise, share, count, scale, start), noise, share


def photometry(
    *,
    xx: Float,
    yy: Float,
    xy: Float,
    count: Float,
    gain: float | None,
    scene: Float | None = None,
) -> tuple[float, Spectra]:
    """Gain of moving over reference, and the spectra in units of moving.

    Parameters
    ----------
    xx, yy, xy : array
        Ring averages of the raw auto-spectra and the cross-spectrum.
    count : array
        Modes in each ring.
    gain : float or None
        First guess.
    scene : array, optional
        First guess of its spectrum.
    """
    if gain is None:
        gain = float(np.copysign(np.sqrt((count @ yy) / (count @ xx)), count @ xy))
    for _ in range(5):
        first, cross = gain**2 * xx, gain * xy
        spectra = fit_spectra(
            xx=first,
            yy=yy,
            xy=cross,
            residual=np.maximum(yy - 2 * cross + first, 0.0),
            count=count,
            start=scene,
        )
        scene, share = spectra.scene, spectra.share
        weight = count * spectra.weight
        # the gain is right where the residual holds none of the scene
        left_over = weight @ ((1 - share) * (cross - first) + share * (yy - cross))
        change = float(left_over / (weight @ ((1 - share) * first + share * cross)))
        gain *= 1 + min(max(change, -0.5), 0.5)
        if abs(change) < 1e-3:
            break
    return gain, spectra


@cache
def penalty_bands(size: int, stiffness: float) -> Float:
    """Penalty on second differences, the upper bands of its matrix: (3, size)."""
    rows = np.zeros((max(size - 2, 0), size))
    for row in range(size - 2):
        rows[row, row : row + 3] = (1.0, -2.0, 1.0)
    square = rows.T @ rows
    bands = np.zeros((3, size))
    for offset in range(min(3, size)):
        bands[2 - offset, offset:] = stiffness * np.diag(square, offset)
    bands.flags.writeable = False
    return bands


def _penalise(bands: Float, values: Float) -> Float:
    """Product of a symmetric banded matrix with a vector."""
    product: Float = bands[2] * values
    for offset in (1, 2):
        upper = bands[2 - offset, offset:]
        product[:-offset] += upper * values[offset:]
        product[offset:] += upper * values[:-offset]
    return product


def _solve(bands: Float, diagonal: Float, right: Float) -> Float:
    """Solution of ``(matrix + diagonal) x = right``, positive definite.

    Of one system or, where `right` has a row for each, of many: these are solved as one, whose
    matrix has theirs along its diagonal, and so upper bands that join none to the next.
    """
    from scipy.linalg.lapack import dpbsv

    system = np.tile(bands, right.size // bands.shape[1]) if right.ndim > 1 else bands.copy()
    system[2].reshape(right.shape)[...] += diagonal
    _, solution, failed = dpbsv(system, right.ravel())
    if failed:
        raise np.linalg.LinAlgError("the bands are not those of a positive definite matrix")
    return np.asarray(solution.reshape(right.shape))


def _smooth_log(power: Float, count: Float) -> Float:
    """Penalised fit of a logarithm; the logarithm of a mean of n squares is low by 1/n."""
    precision = count / 2.0
    right = precision * (np.log(power) + 1.0 / count)
    return np.asarray(
        np.exp(_solve(penalty_bands(power.shape[-1], NOISE_STIFFNESS), precision, right))
    )


def fit_noise(power: Float, count: Float) -> tuple[Float, float]:
    """Smooth spectrum of noise of any colour, and the logarithm of how likely one so rough is.

    Parameters
    ----------
    power : array
        Ring averages.
    count : array
        Modes in each ring.
    """
    smooth = _smooth_log(power, count)
    log = np.log(smooth)
    roughness = _penalise(penalty_bands(log.size, NOISE_STIFFNESS), log)
    return smooth, float(-0.5 * log @ roughness)


def _fit_scene(
    xy: Float, noise: Float, share: Float, count: Float, scale: Float, start: Float | None
) -> Float:
    """Positive smooth spectrum from a cross-spectrum that noise may drive below zero."""
    product = share * (1.0 - share) * noise**2 / count
    scatter = np.sqrt(product)
    tiny = 1e-16 * scale
    if start is None:
        start = np.maximum(np.maximum(xy, tiny), scatter + tiny)
    log = np.log(start)
    doubt = DOUBT * np.log(DOUBT_LEVEL * scatter + tiny)
    lowest, highest = np.log(tiny) - 5.0, np.log(scale) + 5.0
    penalty = penalty_bands(xy.shape[-1], SCENE_STIFFNESS)
    quadratic, linear, constant = 2.0 / count, noise / count, product + tiny**2
    for _ in range(12):
        model = np.exp(log)
        # force and stiffness of the data, over the variance that noise and scene make
        square = quadratic * model
        both = square + linear
        pull = model / (both * model + constant)
        force = (xy - model) * pull
        # stiffer than expected above the model, where steps would overshoot without an end
        bent = force * ((square + both) * pull - 1)
        slope = model * pull + np.maximum(bent, 0.0, out=bent)
        force += doubt
        force += slope * log
        slope += DOUBT
        step = _solve(penalty, slope, force)
        step -= log
        largest = float(np.abs(step).max())
        if largest > 2.0:
            step = np.minimum(np.maximum(step, -2.0), 2.0)
        log = np.minimum(np.maximum(log + step, lowest), highest)
        if largest < 0.02:
            break
    return np.asarray(np.exp(log))
