"""What the two images share and what they do not, ring by ring in frequency.

Model of a pair at the right offset, mode by mode, in units of the moving image:
``x = s + n1`` (reference times gain) and ``y = s + n2``. The two auto-spectra and the
cross-spectrum, averaged over rings of one frequency, give the power of the scene ``S``, of the
residual ``E = n2 - n1`` and the share of the reference in it. No noise level is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpbsv

from coregister.fourier import along

Float = NDArray[np.float64]

#: fewest modes in a ring
MIN_MODES = 8
#: modes up to which rings are kept for the next pair of that shape
LARGEST_KEPT = 2**19
#: bins of frequency from which the rings are put together
FINE_BINS = 8192
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


def cosine_frequency(shape: Sequence[int], step: int = 1) -> Float:
    """Frequency (cycles/px) of every mode of a cosine transform of samples `step` px apart."""
    ndim = len(shape)
    squares = (along(np.arange(n) / (2.0 * n * step), a, ndim) ** 2 for a, n in enumerate(shape))
    return np.asarray(np.sqrt(sum(squares)))


class Rings:
    """Rings of one frequency in an array of modes.

    Every mode belongs to one of many narrow bins of frequency, and the bins to rings: sums and
    interpolation are done on the bins, so that a pass over the modes is one look-up each.

    Parameters
    ----------
    frequency : array
        Frequency of every mode, cycles/px; zero frequency belongs to no ring.
    multiplicity : array, optional
        How many modes of the full plane an entry stands for; default 1.

    Attributes
    ----------
    size : int
        Number of rings.
    frequency : (size,) array
        Mean frequency of each, cycles/px.
    count : (size,) array
        Modes in each.
    """

    def __init__(self, frequency: Float, multiplicity: Float | None = None) -> None:
        flat = frequency.ravel()
        weight = None if multiplicity is None else multiplicity.ravel()
        top = float(flat.max())
        self._fine = np.minimum((flat * (FINE_BINS / top)).astype(np.intp), FINE_BINS - 1)
        # zero frequency and modes that count for nothing: a bin of their own, in no sum
        dropped = flat < 1e-12 if weight is None else (flat < 1e-12) | (weight == 0)
        self._fine[dropped] = FINE_BINS
        self._weight = weight
        modes = self._bins(weight)
        # mirrored modes are one sample
        ring_of = self._group(modes if weight is None else modes / 2, top)
        self._starts = np.flatnonzero(np.diff(ring_of, prepend=-1))
        self._centre = np.linspace(0.5, FINE_BINS - 0.5, FINE_BINS) * (top / FINE_BINS)
        self.size = self._starts.size
        self.count = np.add.reduceat(modes, self._starts)
        self.frequency = np.add.reduceat(modes * self._centre, self._starts) / self.count

    def _bins(self, values: Float | None) -> Float:
        """Sums over the narrow bins; the number of modes for None."""
        total = np.bincount(self._fine, weights=values, minlength=FINE_BINS + 1)
        return total[:FINE_BINS].astype(np.float64, copy=False)

    @staticmethod
    def _group(population: Float, top: float) -> NDArray[np.intp]:
        """Ring of every fine bin: logarithmic steps where a red scene changes fast, then linear."""
        ring_of = np.empty(FINE_BINS, dtype=np.intp)
        cumulative = np.append(0, np.cumsum(population))
        start, ring = 0, 0
        while start < FINE_BINS:
            first = int(np.searchsorted(cumulative, cumulative[start], side="right")) - 1
            low = top * first / FINE_BINS
            width = int(np.ceil(min(0.12 * low, 0.008) / top * FINE_BINS))
            enough = int(np.searchsorted(cumulative, cumulative[start] + MIN_MODES))
            stop = min(max(first + max(width, 1), enough), FINE_BINS)
            if cumulative[-1] - cumulative[stop] < MIN_MODES:
                stop = FINE_BINS
            ring_of[start:stop] = ring
            start, ring = stop, ring + 1
        return ring_of

    def mean(self, values: Float) -> Float:
        """Average of `values` over each ring."""
        flat = values.ravel() if self._weight is None else values.ravel() * self._weight
        return np.asarray(np.add.reduceat(self._bins(flat), self._starts) / self.count)

    def spread(self, ring_values: Float) -> Float:
        """Ring values interpolated to every mode; 0 at zero frequency."""
        return self.spread_function(
            lambda f: np.asarray(np.interp(f, self.frequency, ring_values), dtype=np.float64)
        )

    def spread_function(self, values: Callable[[Float], Float]) -> Float:
        """Values of a function of frequency at every mode; 0 at zero frequency."""
        return np.append(values(self._centre), 0.0).take(self._fine)

    @cached_property
    def of_mode(self) -> NDArray[np.intp]:
        """Number of the ring of every mode; `size` for those of no ring."""
        found = np.searchsorted(self._starts, self._fine, side="right") - 1
        return np.where(self._fine == FINE_BINS, self.size, found)

    @property
    def mode_frequency(self) -> Float:
        """Frequency of every mode, cycles/px, to the width of a bin."""
        return self.spread_function(lambda f: f)

    def band(self, edges: Sequence[float]) -> NDArray[np.intp]:
        """For every mode, the number of `edges` (cycles/px) below it; -1 at zero frequency."""
        return np.append(np.searchsorted(edges, self._centre), -1).take(self._fine)


def interpolator(frequency: Float, values: Float) -> Callable[[Float], Float]:
    """Values on rings as a function of frequency."""

    def at(where: Float) -> Float:
        return np.asarray(np.interp(where, frequency, values))

    return at


@lru_cache(maxsize=24)
def _small_cosine_rings(shape: tuple[int, ...], step: int) -> Rings:
    return Rings(cosine_frequency(shape, step))


def cosine_rings(shape: Sequence[int], step: int = 1) -> Rings:
    """Rings of a cosine transform of samples `step` px apart; small ones are kept for the next."""
    if np.prod(shape) > LARGEST_KEPT:
        return Rings(cosine_frequency(shape, step))
    return _small_cosine_rings(tuple(shape), step)


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
        Part of `residual` that the reference brings, 0 to 1.
    coherence : array
        Raw ring correlation.
    """

    scene: Float
    residual: Float
    share: float
    coherence: Float

    @property
    def noise_product(self) -> Float:
        """Product of the two noise powers."""
        return self.share * (1 - self.share) * self.residual**2

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
    floor = max(LEAKAGE * float(residual.max()), 1e-15 * float((xx + yy).max()))
    noise = _smooth_log(np.maximum(residual, floor), count)
    scale = float((xx + yy).max())
    strength = np.clip(xy, 0.0, None) / noise
    # yy - xx = N2 - N1; where the scene dominates, its own noise-scene terms blur the difference
    precision = count / (1.0 + 4.0 * strength)
    difference = float(np.sum(precision * (yy - xx) / noise) / np.sum(precision))
    share = float(np.clip((1.0 - difference) / 2.0, 0.0, 1.0))
    scene = _fit_scene(xy, noise, share, count, scale, start)
    with np.errstate(divide="ignore", invalid="ignore"):
        coherence = np.nan_to_num(xy / np.sqrt(xx * yy))
    return Spectra(scene=scene, residual=noise, share=share, coherence=coherence)


def photometry(
    *, xx: Float, yy: Float, xy: Float, count: Float, gain: float | None
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
    """
    if gain is None:
        gain = float(np.copysign(np.sqrt((count @ yy) / (count @ xx)), count @ xy))
    scene: Float | None = None
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
        gain *= 1 + float(np.clip(change, -0.5, 0.5))
        if abs(change) < 1e-3:
            break
    return gain, spectra


@cache
def second_difference(size: int) -> Float:
    """Penalty on second differences, the upper bands of its matrix: (3, size)."""
    rows = np.zeros((max(size - 2, 0), size))
    for row in range(size - 2):
        rows[row, row : row + 3] = (1.0, -2.0, 1.0)
    square = rows.T @ rows
    bands = np.zeros((3, size))
    for offset in range(min(3, size)):
        bands[2 - offset, offset:] = np.diag(square, offset)
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


def _solve(bands: Float, right: Float) -> Float:
    """Solution for a positive definite matrix, given by its upper bands."""
    _, solution, failed = dpbsv(bands, right)
    if failed:
        raise np.linalg.LinAlgError("the bands are not those of a positive definite matrix")
    return np.asarray(solution)


def _smooth_log(power: Float, count: Float) -> Float:
    """Penalised fit of a logarithm; the logarithm of a mean of n squares is low by 1/n."""
    precision = count / 2.0
    log = np.log(power) + 1.0 / count
    bands = NOISE_STIFFNESS * second_difference(power.size)
    bands[2] += precision
    return np.asarray(np.exp(_solve(bands, precision * log)))


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
    roughness = _penalise(NOISE_STIFFNESS * second_difference(log.size), log)
    return smooth, float(-0.5 * log @ roughness)


def _fit_scene(
    xy: Float, noise: Float, share: float, count: Float, scale: float, start: Float | None
) -> Float:
    """Positive smooth spectrum from a cross-spectrum that noise may drive below zero."""
    product = share * (1.0 - share) * noise**2
    tiny = 1e-16 * scale
    power = np.maximum(xy, tiny)
    penalty = SCENE_STIFFNESS * second_difference(xy.size)
    if start is None:
        start = np.maximum(power, np.sqrt(product / count) + tiny)
    log = np.log(start)
    doubt = np.log(DOUBT_LEVEL * np.sqrt(product / count) + tiny)
    for _ in range(12):
        model = np.exp(log)
        variance = (2.0 * model**2 + model * noise + product) / count + tiny**2
        slope = model / np.sqrt(variance)
        pull = (xy - model) / np.sqrt(variance)
        bands = penalty.copy()
        bands[2] += slope**2 + DOUBT
        force = slope * pull - _penalise(penalty, log) - DOUBT * (log - doubt)
        step = _solve(bands, force)
        log = np.clip(log + np.clip(step, -2.0, 2.0), np.log(tiny) - 5.0, np.log(scale) + 5.0)
        if np.max(np.abs(step)) < 0.02:
            break
    return np.asarray(np.exp(log))
