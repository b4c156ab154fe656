"""The probability of every offset, for pairs so faint that a Gaussian bar is not true any more.

Scene and noise are taken as Gaussian fields. Against unrelated images of the same spectra, common
content at the offset ``d`` has the log Bayes factor

    sum [W x y]  -  1/2 sum [x^2 c^2/(1 - c^2)/V1]  -  1/2 sum [y^2 c^2/(1 - c^2)/V2]
        -  n/2 mean ln(1 - c^2),        W = c/(1 - c^2)/sqrt(V1 V2),

sums over the overlap, every factor applied to its image in frequency; ``V1``, ``V2`` are the
spectra of the two images and ``c`` their coherence at the right offset. What ``c`` is cannot be
read at the best offset: the highest peak of noise looks like signal. So it is averaged over scenes
of many shapes and strengths, each with the weight that the pair itself gives it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from coregister.errors import InputError
from coregister.fill import fill, without_spikes
from coregister.fourier import TrigPolynomial, along, frequencies
from coregister.images import MIN_SIDE, Pair
from coregister.overlap.search import MIN_OVERLAP
from coregister.search import overlap_sums, ring_power, signed_lags
from coregister.spectrum import Rings, cosine_rings, fit_noise, interpolator
from coregister.stages import Mode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

#: false alarm below which one offset is beyond doubt: the spectra are known, and the bars true
DECISIVE = 1e-12
#: what is averaged over. Power of the scene over that of the noise, against frequency: a power law
SLOPES = (0.0, 1.5, 3.0)
#: that ends at some frequency, cycles/px
CUTS = (0.07, 0.2, np.inf)
#: as strong as this; the log Bayes factor of the right offset is about half of it. Below, no
#: scene would be seen even where the offset is known; above, the pair is beyond doubt
STRENGTHS = tuple(4.0 * 2.0**i for i in range(7))
#: and in the two images apart by the square of this factor
IMBALANCES = (1.0, 8.0, 1 / 8)
#: a spectrum is dropped where the images alone make it less likely by this, in e-folds
UNLIKELY = 25.0
#: power of a ring beyond this many sigma of what the guess says is taken as it is
LINE_SIGMA = 4.0
#: a spectrum of less weight than this is left out at the end
MIN_WEIGHT = 0.01
#: probability that may be left outside of the grid
OUTSIDE = 1e-5
#: px between the points of the grid where nothing is finer
STEP = 0.5
MAX_POINTS = 300_000
#: points to the sigma of a peak, and sigmas on either side to which it is followed
PER_SIGMA, REACH = 3.0, 8.0
#: peaks that are looked at, and the probability from which one is a mode
MAX_PEAKS = 12
MIN_MODE = 1e-3
#: a mode ends at this many sigma of its curvature, or where the density is this share of its
#: highest
MODE_SIGMA, FOOT = 5.0, 0.01
#: a peak this far below the highest, in e-folds, is none of them
NEGLIGIBLE = 12.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """The probability of every offset, given that the images show one scene.

    Before the images were seen, all offsets within ``initial +- max_offset``, or with enough
    overlap, were equally likely.

    Attributes
    ----------
    positions : tuple of array
        Offsets along each axis of the grid, px: finer around sharp peaks.
    probability : array
        Of the cell around each point of the grid; with `elsewhere` it sums to 1.
    elsewhere : float
        Probability that lies outside of the grid.
    modes : tuple of Mode
        The peaks that matter, the most likely first. Their probabilities add up to less than 1
        where some of it is spread over no peak in particular.
    period : tuple of int or None
        Shape of the images, if they wrap.
    """

    positions: tuple[Float, ...]
    probability: Float
    elsewhere: float
    modes: tuple[Mode, ...]
    period: tuple[int, ...] | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.probability.ndim

    @property
    def density(self) -> Float:
        """Probability per px (px^2, px^3) at each point of the grid."""
        return self.probability / _volumes(self.positions)

    @property
    def mean(self) -> Float:
        """Mean offset over the grid, px: with several modes a place where none need be."""
        p = self.probability / self.probability.sum()
        return np.array([float(np.sum(p * place)) for place in self._places()])

    @property
    def covariance(self) -> Float:
        """Covariance over the grid, px^2."""
        p = self.probability / self.probability.sum()
        away = [place - middle for place, middle in zip(self._places(), self.mean, strict=True)]
        return np.array([[float(np.sum(p * a * b)) for b in away] for a in away])

    def region(self, level: float = 0.6827) -> NDArray[np.bool_]:
        """The smallest part of the grid that holds probability `level`; all, if it holds less.

        Parameters
        ----------
        level : float
            Probability, between 0 and 1.
        """
        _check_level(level)
        order = np.argsort(-self.density, axis=None, kind="stable")
        total = np.cumsum(self.probability.ravel()[order])
        count = int(np.searchsorted(total, level)) + 1
        region = np.zeros(self.probability.size, dtype=bool)
        region[order[:count]] = True
        return region.reshape(self.probability.shape) & (self.probability > 0)

    def contains(self, truth: ArrayLike, level: float = 0.6827) -> bool:
        """True if `truth` lies in the region of probability `level`.

        Parameters
        ----------
        truth : (ndim,) array_like
            True offset, px.
        level : float
            Probability, between 0 and 1.
        """
        place = np.asarray(truth, dtype=np.float64)
        if place.shape != (self.ndim,):
            raise InputError(
                f"truth has shape {place.shape}; ({self.ndim},) is needed, in array-axis order"
            )
        index = []
        for axis, points in enumerate(self.positions):
            edges = _edges(points)
            value = place[axis]
            if self.period is not None:
                value = edges[0] + (value - edges[0]) % self.period[axis]
            index.append(int(np.searchsorted(edges, value, side="right")) - 1)
            if not 0 <= index[-1] < points.size:
                return False
        return bool(self.region(level)[tuple(index)])

    def interval(self, level: float = 0.6827) -> Float:
        """Marginal intervals of probability `level`, as much on either side: (ndim, 2), px.

        Parameters
        ----------
        level : float
            Probability, between 0 and 1.
        """
        _check_level(level)
        tails = np.array([0.5 - level / 2, 0.5 + level / 2])
        ends = []
        for axis, points in enumerate(self.positions):
            total = np.append(0.0, np.cumsum(self.marginal(axis)))
            ends.append(np.interp(tails * total[-1], total, _edges(points)))
        return np.array(ends)

    def marginal(self, axis: int) -> Float:
        """Probability of each of ``positions[axis]``, whatever the other axes."""
        others = tuple(other for other in range(self.ndim) if other != axis % self.ndim)
        return np.asarray(self.probability.sum(axis=others))

    def plot(self, *, origin: Literal["upper", "lower"] | None = None) -> Figure:
        """Figure: the density with its regions of 68 and 95 %, all of it and the first mode.

        Parameters
        ----------
        origin : {"upper", "lower"}, optional
            Where small offsets are drawn. Default: matplotlib's ``rcParams["image.origin"]``.
        """
        from coregister.plotting import plot_posterior

        return plot_posterior(self, origin=origin)

    def __str__(self) -> str:
        lines = [f"{len(self.modes)} mode" + ("s" if len(self.modes) != 1 else "")]
        for mode in self.modes[:5]:
            place = ", ".join(f"{d:.2f}" for d in mode.offset)
            bars = ", ".join(f"{s:.2g}" for s in np.sqrt(np.diag(mode.covariance)))
            lines.append(f"  {100 * mode.probability:5.1f} %  ({place}) +- ({bars}) px")
        if len(self.modes) > 5:
            rest = sum(mode.probability for mode in self.modes[5:])
            lines.append(f"  {100 * rest:5.1f} %  in {len(self.modes) - 5} more")
        spread = max(0.0, 1.0 - sum(mode.probability for mode in self.modes))
        if spread > 0.0005:
            lines.append(f"  {100 * spread:5.1f} %  anywhere else")
        return "\n".join(lines)

    __repr__ = __str__

    def _places(self) -> list[Float]:
        return [along(points, axis, self.ndim) for axis, points in enumerate(self.positions)]


def posterior(
    pair: Pair,
    *,
    modes: Sequence[Mode],
    information: Float,
    dof: float,
    false_alarm: float,
    surface: Callable[[], TrigPolynomial] | None,
) -> Posterior:
    """The probability of every offset of a pair that was registered.

    Parameters
    ----------
    pair : Pair
    modes, information, dof, false_alarm
        As in `coregister.Registration`.
    surface : callable or None
        Makes the log-likelihood that was fitted.
    """
    evidence = _Periodic(pair) if pair.boundary == "periodic" and pair.uniform else _Overlap(pair)
    offset, closed = modes[0].offset, bool(np.all(np.isfinite(modes[0].covariance)))
    decisive = false_alarm < DECISIVE
    # a faint pair may leave a direction open too, but what it has across is no more certain
    if decisive and not closed and np.any(information):
        return _of_stripes(evidence, offset, information)
    inside = bool(np.all((offset > evidence.low) & (offset < evidence.high)))
    if decisive and closed and inside:
        if len(modes) == 1 and isinstance(evidence, _Periodic) and surface is not None:
            return _of_mixture(evidence, [(0.0, surface())])
        return _of_bars(evidence, modes, dof)
    return _of_mixture(evidence, _averaged(evidence))


# ------------------------------------------------------------------------ Bayes factors


@dataclass(frozen=True, kw_only=True)
class _Spectra:
    """One guess at the spectra of a pair, ring by ring.

    Attributes
    ----------
    first, second : array
        Of the two images.
    coherence : array
        At the right offset.
    log_likelihood : float
        Of the two images, each by itself.
    """

    first: Float
    second: Float
    coherence: Float
    log_likelihood: float

    @property
    def excess(self) -> Float:
        """``c^2 / (1 - c^2)``."""
        return np.asarray(self.coherence**2 / (1.0 - self.coherence**2))

    @property
    def weight(self) -> Float:
        """What the cross-spectrum is weighted by."""
        return np.asarray(
            self.coherence / (1.0 - self.coherence**2) / np.sqrt(self.first * self.second)
        )


class _Evidence:
    """A pair as the Bayes factors see it.

    Attributes
    ----------
    frequency, count : array
        Of the rings.
    powers : two arrays
        Ring averages of the two images' spectra.
    lags : list of array
        Whole-pixel offsets along each axis, in the order of an FFT.
    allowed : bool array
        Which of them are searched.
    low, high : (ndim,) array
        Limits of the search, px.
    period : tuple of int or None
    """

    frequency: Float
    count: Float
    powers: list[Float]
    lags: list[Float]
    allowed: NDArray[np.bool_]
    low: Float
    high: Float
    period: tuple[int, ...] | None

    def log_bayes_factor(self, spectra: _Spectra) -> Float:
        """Of every whole-pixel offset."""
        raise NotImplementedError

    def searched(self, positions: list[Float]) -> NDArray[np.bool_]:
        """Which points of a grid belong to lags that are searched."""
        shape = self.allowed.shape
        places = [np.rint(p).astype(int) % n for p, n in zip(positions, shape, strict=True)]
        return np.asarray(self.allowed[np.ix_(*places)])

    def _limit(self, pair: Pair) -> None:
        """What the caller allows."""
        if self.period is not None:
            half = np.array(self.period) / 2
            self.low, self.high = pair.initial - half, pair.initial + half
        else:
            self.low, self.high = (
                np.array([pick(lag) for lag in self.lags]) + sign * 0.5
                for pick, sign in ((np.min, -1), (np.max, 1))
            )
        if pair.max_offset is None:
            return
        self.low = np.maximum(self.low, pair.initial - pair.max_offset)
        self.high = np.minimum(self.high, pair.initial + pair.max_offset)
        for axis, (lag, low, high) in enumerate(zip(self.lags, self.low, self.high, strict=True)):
            n = lag.size
            place = lag if self.period is None else np.floor(low) + (lag - np.floor(low)) % n
            inside = (place >= np.floor(low)) & (place <= np.ceil(high))
            line = [-1 if a == axis else 1 for a in range(pair.ndim)]
            self.allowed = self.allowed & inside.reshape(line)

    def guesses(self) -> Iterator[_Spectra]:
        """Spectra of every shape and strength that is averaged over."""
        relative = self.frequency / self.frequency[0]
        modes = float(self.count.sum())
        for slope, cut, imbalance in itertools.product(SLOPES, CUTS, IMBALANCES):
            shape = relative**-slope * np.exp(-((self.frequency / cut) ** 2))
            strengths = np.array([q for q in STRENGTHS if q <= modes / 2] or [modes / 4])
            for ratios in self._of_strength(shape, strengths, imbalance):
                spectra, likelihood = [], 0.0
                for power, ratio in zip(self.powers, ratios, strict=True):
                    noise, log_prior = fit_noise(power / (1 + ratio), self.count)
                    # a line that no smooth spectrum holds is there all the same
                    chance = 1 + LINE_SIGMA * np.sqrt(2 / self.count)
                    model = np.maximum(noise * (1 + ratio), power / chance)
                    spectra.append(model)
                    likelihood += log_prior
                    likelihood -= 0.5 * float(self.count @ (np.log(model) + power / model))
                first, second = (ratio / (1 + ratio) for ratio in ratios)
                yield _Spectra(
                    first=spectra[0],
                    second=spectra[1],
                    coherence=np.minimum(np.sqrt(first * second), 1 - 1e-9),
                    log_likelihood=likelihood,
                )

    def _of_strength(self, shape: Float, strengths: Float, imbalance: float) -> Iterator[Float]:
        """Scene over noise in both images, so that the squared coherence sums to a strength."""
        factors = np.array([[imbalance], [1 / imbalance]])
        low, high = np.full(strengths.size, -60.0), np.full(strengths.size, 60.0)
        for _ in range(40):
            middle = (low + high) / 2
            first, second = np.exp(middle[:, None]) * shape * factors[:, None]
            above = (first * second / ((1 + first) * (1 + second))) @ self.count > strengths
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        for log in middle:
            yield np.exp(log) * shape * factors


class _Periodic(_Evidence):
    """Images that wrap: only the cross term depends on the offset."""

    def __init__(self, pair: Pair) -> None:
        shape = pair.reference.data.shape
        size = float(np.prod(shape))
        first, second = (
            scipy.fft.rfftn(image.data - image.data.mean(), overwrite_x=True)
            for image in pair.images
        )
        multiplicity = np.full(first.shape, 2.0)
        multiplicity[..., 0] = 1.0
        for axis, n in enumerate(shape):
            if n % 2 == 0:  # Nyquist has no sign of frequency, so it tells no displacement
                multiplicity[(slice(None),) * axis + (slice(n // 2, n // 2 + 1),)] = 0.0
        radius = np.asarray(np.sqrt(sum(k**2 for k in frequencies(shape))) / (2 * np.pi))
        self._rings = Rings(radius, multiplicity)
        self._cross = np.where(multiplicity > 0, second * np.conj(first), 0.0)
        self.frequency, self.count = self._rings.frequency, self._rings.count
        self.powers = [
            ring_power((s.real**2 + s.imag**2) / size, self._rings) for s in (first, second)
        ]
        self.lags = signed_lags(list(shape))
        self.allowed = np.ones(shape, dtype=bool)
        self.period = shape
        self._limit(pair)

    def log_bayes_factor(self, spectra: _Spectra) -> Float:
        """See `_Evidence`."""
        weight = self._rings.spread(spectra.weight).reshape(self._cross.shape)
        own = self.powers[0] / spectra.first + self.powers[1] / spectra.second
        constant = self.count @ (np.log1p(-(spectra.coherence**2)) + spectra.excess * own)
        cross = scipy.fft.irfftn(self._cross * weight, s=self.allowed.shape, overwrite_x=True)
        return np.asarray(cross - 0.5 * float(constant))


class _Overlap(_Evidence):
    """Real edges, and holes: everything is summed over what both images show."""

    def __init__(self, pair: Pair) -> None:
        self._wraps = pair.boundary == "periodic"
        images = [without_spikes(image) for image in pair.images]
        self._shapes = [image.data.shape for image in images]
        self._transforms, self._rings, powers = [], [], []
        for image in images:
            data = fill(image)
            transform = scipy.fft.dctn(data - data.mean(), norm="ortho")
            rings = cosine_rings(data.shape)
            powers.append(ring_power(transform**2, rings))
            self._transforms.append(transform)
            self._rings.append(rings)
        self.frequency, self.count = self._rings[0].frequency, self._rings[0].count
        elsewhere = self._rings[1].frequency
        self.powers = [powers[0], np.exp(np.interp(self.frequency, elsewhere, np.log(powers[1])))]
        self._valid = [image.valid for image in images]
        self._full = [
            n if self._wraps else scipy.fft.next_fast_len(n + m - 1, real=True)
            for n, m in zip(*self._shapes, strict=True)
        ]
        ones = [
            np.ones(image.data.shape) if image.valid is None else image.valid.astype(np.float64)
            for image in images
        ]
        self._whole = not self._wraps and all(valid is None for valid in self._valid)
        self._seen = [scipy.fft.rfftn(one, s=self._full) for one in ones]
        self._pixels = np.rint(self._sums(ones[0], 0))
        smaller = min(image.data.size for image in images)
        self.allowed = self._pixels >= max(MIN_OVERLAP * smaller, MIN_SIDE)
        self.lags = signed_lags(self._full)
        self.period = self._shapes[0] if self._wraps else None
        anywhere = self.allowed
        self._limit(pair)
        if not self.allowed.any():
            self.allowed = anywhere

    def _sums(self, values: Float, which: int) -> Float:
        """Sums of a field of one of the images over what the other shows, at every lag."""
        if self._whole:
            other = self._shapes[1 - which]
            return overlap_sums(values, other, self._full, forward=which == 0)
        spectrum = scipy.fft.rfftn(values, s=self._full)
        product = (
            np.conj(spectrum) * self._seen[1] if which == 0 else np.conj(self._seen[0]) * spectrum
        )
        sums = scipy.fft.irfftn(product, s=self._full, overwrite_x=True)
        return np.asarray(np.clip(sums, 0.0, None))

    def _filtered(self, which: int, factor: Float) -> Float:
        """One of the images, its amplitude multiplied ring by ring; 0 where invalid."""
        transform, rings = self._transforms[which], self._rings[which]
        factors = rings.spread_function(interpolator(self.frequency, factor))
        field = scipy.fft.idctn(transform * factors.reshape(transform.shape), norm="ortho")
        valid = self._valid[which]
        return np.asarray(field if valid is None else field * valid)

    def log_bayes_factor(self, spectra: _Spectra) -> Float:
        """See `_Evidence`."""
        root = np.sqrt(spectra.weight)
        first, second = (
            scipy.fft.rfftn(self._filtered(which, root), s=self._full) for which in (0, 1)
        )
        total = scipy.fft.irfftn(np.conj(first) * second, s=self._full, overwrite_x=True)
        for which, own in enumerate((spectra.first, spectra.second)):
            field = self._filtered(which, np.sqrt(spectra.excess / own))
            total -= 0.5 * self._sums(field**2, which)
        mean = self.count @ np.log1p(-(spectra.coherence**2)) / self.count.sum()
        return np.asarray(total - 0.5 * float(mean) * self._pixels)


def _averaged(evidence: _Evidence) -> list[tuple[float, TrigPolynomial]]:
    """Log Bayes factors against offset, each with the logarithm of its weight."""
    if any(power.max() <= 1e-290 for power in evidence.powers):  # no structure, so no preference
        shape = evidence.allowed.shape
        return [(0.0, TrigPolynomial.from_samples(np.zeros(shape)))]
    guesses = list(evidence.guesses())
    likely = max(guess.log_likelihood for guess in guesses) - UNLIKELY
    terms, totals = [], []
    for guess in guesses:
        if guess.log_likelihood < likely:
            continue
        surface = TrigPolynomial.from_samples(evidence.log_bayes_factor(guess))
        terms.append((guess.log_likelihood, surface))
        totals.append(guess.log_likelihood + _log_total(evidence, surface))
    weights = np.exp(np.array(totals) - logsumexp(totals))
    kept = weights >= min(MIN_WEIGHT, weights.max())
    return [term for term, keep in zip(terms, kept, strict=True) if keep]


def _log_total(evidence: _Evidence, surface: TrigPolynomial) -> float:
    """Logarithm of the integral over all offsets; the highest peak may be a fraction of a pixel."""
    values = np.where(evidence.allowed, surface.samples(), -np.inf)
    top = np.unravel_index(int(np.argmax(values)), values.shape)
    near = np.ix_(*((np.arange(-1, 2) + i) % n for i, n in zip(top, values.shape, strict=True)))
    values[near] = -np.inf
    step = 1 / 8
    steps = np.arange(-1.5 + step / 2, 1.5, step)
    fine = surface.grid([i + steps for i in top]) + np.log(step) * values.ndim
    return float(np.logaddexp(logsumexp(values), logsumexp(fine)))


# ------------------------------------------------------------------------ from surface to grid


@dataclass(frozen=True, kw_only=True)
class _Peak:
    """A local maximum: place, logarithm of the density there, curvature of minus that."""

    offset: Float
    log_density: float
    curvature: Float

    @property
    def covariance(self) -> Float:
        """Of the Gaussian that has this curvature."""
        return np.asarray(np.linalg.inv(self.curvature))

    @property
    def log_mass(self) -> float:
        """Of that Gaussian."""
        ndim = self.offset.size
        _, log_det = np.linalg.slogdet(self.curvature)
        return float(self.log_density + 0.5 * (ndim * np.log(2 * np.pi) - log_det))


def _of_mixture(evidence: _Evidence, terms: list[tuple[float, TrigPolynomial]]) -> Posterior:
    """The posterior that some surfaces, weighted, add up to."""
    coarse = logsumexp(
        [np.where(evidence.allowed, s.samples() + log, -np.inf) for log, s in terms], axis=0
    )
    peaks = _peaks(evidence, coarse, terms)
    # probability of every whole-pixel cell: that of sharp peaks is between the samples
    mass = coarse.copy()
    shape = mass.shape
    for peak in peaks:
        if np.sqrt(np.min(np.linalg.eigvalsh(peak.covariance))) < STEP:
            cell = np.rint(peak.offset).astype(int)
            near = np.ix_(*((c + np.arange(-1, 2)) % n for c, n in zip(cell, shape, strict=True)))
            mass[near] = -np.inf
    for peak in peaks:
        centre = tuple(np.rint(peak.offset).astype(int) % shape)
        if not np.isfinite(mass[centre]):
            mass[centre] = peak.log_mass

    def log_density(positions: list[Float]) -> Float:
        total = np.full([p.size for p in positions], -np.inf)
        for log, surface in terms:
            total = np.logaddexp(total, log + surface.grid(positions))
        return np.where(evidence.searched(positions), total, -np.inf)

    return _on_grid(evidence, log_density, peaks, mass)


def _of_bars(evidence: _Evidence, modes: Sequence[Mode], dof: float) -> Posterior:
    """The posterior that the bars stand for: Student's distribution about each mode."""
    shrink = 1.0 if np.isinf(dof) else (dof - 2) / dof
    ndim = evidence.low.size
    peaks = []
    for mode in modes:
        if np.all(np.isfinite(mode.covariance)):
            curvature: Float = np.asarray(np.linalg.inv(shrink * mode.covariance))
            log = np.log(max(mode.probability, 1e-300)) + np.linalg.slogdet(curvature)[1] / 2
            peaks.append(_Peak(offset=mode.offset, log_density=float(log), curvature=curvature))

    def log_density(positions: list[Float]) -> Float:
        total = np.full([p.size for p in positions], -np.inf)
        for peak in peaks:
            away = np.stack(
                np.meshgrid(*(p - d for p, d in zip(positions, peak.offset, strict=True)),
                            indexing="ij"),
                axis=-1,
            )  # fmt: skip
            square = np.einsum("...i,ij,...j->...", away, peak.curvature, away)
            # Student's distribution; Gaussian in the limit
            log = -square / 2 if np.isinf(dof) else -(dof + ndim) / 2 * np.log1p(square / dof)
            total = np.logaddexp(total, peak.log_density + log)
        return total

    return _on_grid(evidence, log_density, peaks, None)


def _of_stripes(evidence: _Evidence, offset: Float, information: Float) -> Posterior:
    """The bars across an open direction; all that is searched is equally likely along it."""
    values, vectors = np.linalg.eigh(information)
    oblique = np.min(np.max(np.abs(vectors), axis=0)) < 1 - 1e-6
    # across a ridge that is no line of the grid a point stands for its whole cell
    width = STEP**2 / 4 if oblique else 0.0
    curvature = (vectors * (values / (1 + width * values))) @ vectors.T
    spread = np.diag((evidence.high - evidence.low) ** 2)  # no bar, but a length to look at
    across = _Peak(offset=offset, log_density=0.0, curvature=curvature + np.linalg.inv(spread))

    def log_density(positions: list[Float]) -> Float:
        away = [p - d for p, d in zip(positions, offset, strict=True)]
        mesh = np.stack(np.meshgrid(*away, indexing="ij"), axis=-1)
        log = -0.5 * np.einsum("...i,ij,...j->...", mesh, curvature, mesh)
        return np.where(evidence.searched(positions), log, -np.inf)

    return _on_grid(evidence, log_density, [across], None)


def _peaks(
    evidence: _Evidence, coarse: Float, terms: list[tuple[float, TrigPolynomial]]
) -> list[_Peak]:
    """Local maxima, the highest first."""
    from scipy import ndimage

    highest = ndimage.maximum_filter(coarse, size=3, mode="wrap")  # in the order of an FFT
    found = np.flatnonzero((coarse >= highest) & (coarse > coarse.max() - NEGLIGIBLE))
    values = coarse.ravel()[found]
    found = found[np.argsort(-values, kind="stable")][:MAX_PEAKS]
    peaks: list[_Peak] = []
    for index in found:
        cell = np.unravel_index(index, coarse.shape)
        start = np.array(
            [float(lag.reshape(-1)[i]) for lag, i in zip(evidence.lags, cell, strict=True)]
        )
        peak = _climb(terms, start)
        if peak is None:
            continue
        offset = _nearest(evidence, peak.offset)
        if np.any(offset < evidence.low) or np.any(offset > evidence.high):
            continue
        if all(np.max(np.abs(offset - other.offset)) > 0.01 for other in peaks):
            peaks.append(replace(peak, offset=offset))
    return sorted(peaks, key=lambda peak: -peak.log_density)


def _climb(terms: list[tuple[float, TrigPolynomial]], start: Float) -> _Peak | None:
    """Newton steps to the maximum near `start`; None if there is none within a pixel."""
    place = start
    for _ in range(10):
        parts = [surface.derivatives(place) for _, surface in terms]
        logs = np.array([log + part[0] for (log, _), part in zip(terms, parts, strict=True)])
        top = float(logsumexp(logs))
        share = np.exp(logs - top)
        slopes = np.stack([part[1] for part in parts])
        gradient = share @ slopes
        curvature = np.outer(gradient, gradient) - sum(
            w * (part[2] + np.outer(part[1], part[1])) for w, part in zip(share, parts, strict=True)
        )
        values, vectors = np.linalg.eigh(curvature)
        size = np.maximum(np.abs(values), 1e-9 * np.abs(values).max() + 1e-300)
        step = np.clip(vectors @ ((vectors.T @ gradient) / size), -0.4, 0.4)
        if abs(step @ curvature @ step) < 1e-4:
            break
        place = place + step
        if np.max(np.abs(place - start)) > 1.0:
            return None
    if values.min() <= 1e-9 * values.max() or values.max() <= 0:
        return None  # a ridge or a plain: no bar of its own
    return _Peak(offset=place, log_density=top, curvature=curvature)


def _nearest(evidence: _Evidence, offset: Float) -> Float:
    """Of all equivalent offsets the one within the limits; axes last."""
    if evidence.period is None:
        return offset
    middle = (evidence.low + evidence.high) / 2
    period = np.array(evidence.period, dtype=float)
    return np.asarray(offset - period * np.rint((offset - middle) / period))


def _on_grid(
    evidence: _Evidence,
    log_density: Callable[[list[Float]], Float],
    peaks: list[_Peak],
    mass: Float | None,
) -> Posterior:
    """The density on a grid that covers what is likely, and is fine enough for every peak.

    Parameters
    ----------
    evidence : _Evidence
    log_density : callable
        On the outer grid of some positions, up to a constant.
    peaks : list of _Peak
    mass : array or None
        Logarithm of the probability of every whole-pixel cell; None: all is in the peaks.
    """
    logs = np.array([peak.log_mass for peak in peaks])
    if mass is None:
        low, high = _around([p for p, log in zip(peaks, logs, strict=True) if log > logs.max() - 9])
        outside = -np.inf
    else:
        low, high, outside = _likely(evidence, peaks, mass)
    low, high = np.maximum(low, evidence.low), np.minimum(high, evidence.high)
    share = logs - (logsumexp(mass) if mass is not None else logsumexp(logs))
    sharp = [peak for peak, log in zip(peaks, share, strict=True) if log > np.log(MIN_MODE)]
    step = max(STEP, float(np.prod(high - low) / MAX_POINTS) ** (1 / low.size))
    positions = [_axis(low[axis], high[axis], step, axis, sharp) for axis in range(low.size)]
    logs = log_density(positions)
    top = float(logs.max())
    weight = np.exp(logs - top) * _volumes(positions)
    total = float(weight.sum()) + float(np.exp(outside - top))
    probability = weight / total
    return Posterior(
        positions=tuple(positions),
        probability=probability,
        elsewhere=max(0.0, 1.0 - float(probability.sum())),
        modes=_modes(positions, probability, peaks, evidence.period),
        period=evidence.period,
    )


def _around(peaks: list[_Peak]) -> tuple[Float, Float]:
    """Box around some peaks."""
    reach = [REACH * np.sqrt(np.diag(peak.covariance)) for peak in peaks]
    low = np.min([p.offset - r for p, r in zip(peaks, reach, strict=True)], axis=0)
    high = np.max([p.offset + r for p, r in zip(peaks, reach, strict=True)], axis=0)
    return low, high


def _likely(
    evidence: _Evidence, peaks: list[_Peak], mass: Float
) -> tuple[Float, Float, float]:  # fmt: skip
    """Box that holds nearly all of the probability, and the logarithm of what it leaves out."""
    probability = np.exp(mass - logsumexp(mass))
    order = np.argsort(-probability, axis=None, kind="stable")
    total = np.cumsum(probability.ravel()[order])
    kept = order[: int(np.searchsorted(total, total[-1] - OUTSIDE)) + 1]
    cells = np.unravel_index(kept, mass.shape)
    places = _nearest(
        evidence,
        np.stack(
            [lag.reshape(-1)[cell] for lag, cell in zip(evidence.lags, cells, strict=True)], axis=-1
        ),
    )
    near = [p for p in peaks if np.any(np.max(np.abs(places - p.offset), axis=1) < 1.0)]
    if near:
        low, high = _around(near)
        inside = np.all((places > low - 1.0) & (places < high + 1.0), axis=1)
        if inside.all() and np.all(high - low < 0.9 * (evidence.high - evidence.low)):
            return low, high, -np.inf
    low, high = places.min(axis=0) - 1.0, places.max(axis=0) + 1.0
    left_out = np.ones(mass.shape, dtype=bool)
    every = [
        _nearest(evidence, np.repeat(lag.reshape(-1, 1), low.size, axis=1))[:, axis]
        for axis, lag in enumerate(evidence.lags)
    ]
    lines = [(p >= a) & (p <= b) for p, a, b in zip(every, low, high, strict=True)]
    left_out[np.ix_(*lines)] = False
    return low, high, float(logsumexp(mass[left_out])) if left_out.any() else -np.inf


def _axis(low: float, high: float, step: float, axis: int, peaks: list[_Peak]) -> Float:
    """Points between two limits, closer together where a peak is sharp."""
    step = min(step, (high - low) / 4)
    spans = []
    for peak in peaks:
        fine = 1 / np.sqrt(peak.curvature[axis, axis]) / PER_SIGMA
        if fine < step:
            reach = REACH * np.sqrt(peak.covariance[axis, axis])
            fine = max(fine, reach / 100)
            spans.append((peak.offset[axis] - reach, peak.offset[axis] + reach, fine))
    points = [low]
    while points[-1] < high - 1e-9 * (high - low):
        here = points[-1]
        size = step
        for first, last, fine in spans:
            if first <= here < last:
                size = min(size, fine)
            elif here < first:
                size = min(size, max(first - here, fine))
        points.append(here + size)
    points[-1] = high
    edges = np.array(points)  # the cells end where the search ends
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def _edges(points: Float) -> Float:
    """Limits of the cells around some points."""
    inner = (points[1:] + points[:-1]) / 2
    return np.concatenate(
        [[2 * points[0] - inner[0]], inner, [2 * points[-1] - inner[-1]]]
    )  # fmt: skip


def _volumes(positions: Any) -> Float:
    """Volume of the cell around every point of a grid."""
    ndim = len(positions)
    total = np.ones([1] * ndim)
    for axis, points in enumerate(positions):
        total = total * along(np.diff(_edges(points)), axis, ndim)
    return total


def _modes(
    positions: list[Float], probability: Float, peaks: list[_Peak], period: tuple[int, ...] | None
) -> tuple[Mode, ...]:
    """Peaks with the probability and the covariance of the cells from which they are reached."""
    density = probability / _volumes(positions)
    ends = [_edges(points) for points in positions]
    wraps = [
        period is not None and edges[-1] - edges[0] > period[axis] - 1e-6
        for axis, edges in enumerate(ends)
    ]
    basin = _basins(density, wraps)
    modes: list[Mode] = []
    seen = set()
    for peak in peaks:
        cell = [
            int(np.clip(np.searchsorted(edges, d) - 1, 0, edges.size - 2))
            for edges, d in zip(ends, peak.offset, strict=True)
        ]
        root = int(basin[tuple(cell)])
        top = float(density.ravel()[root])
        if root in seen:
            continue
        cells = np.nonzero(basin == root)
        away = np.stack([axis[index] for axis, index in zip(positions, cells, strict=True)])
        away = away - peak.offset[:, None]
        for axis, wrap in enumerate(wraps):
            if wrap and period is not None:
                away[axis] -= period[axis] * np.rint(away[axis] / period[axis])
        # the Gaussian of its curvature, and all that is about as high: not the plain around it
        own = np.einsum("in,ij,jn->n", away, peak.curvature, away) < MODE_SIGMA**2
        own |= density[cells] > FOOT * top
        away, p = away[:, own], probability[cells][own]
        total = float(p.sum())
        if total < MIN_MODE:
            continue
        seen.add(root)
        mean = away @ p / total
        spread = (away * p) @ away.T / total - np.outer(mean, mean)
        if np.linalg.eigvalsh(spread).min() <= 0:
            spread = peak.covariance
        modes.append(Mode(offset=peak.offset, covariance=spread, probability=total))
    return tuple(sorted(modes, key=lambda mode: -mode.probability))


def _basins(density: Float, wraps: list[bool]) -> NDArray[np.intp]:
    """For every cell, the number of the one where steepest ascent ends."""
    number = np.arange(density.size).reshape(density.shape)
    padded, names = density, number
    for axis, wrap in enumerate(wraps):
        width = [(1, 1) if a == axis else (0, 0) for a in range(density.ndim)]
        if wrap:
            padded, names = np.pad(padded, width, mode="wrap"), np.pad(names, width, mode="wrap")
        else:
            padded = np.pad(padded, width, constant_values=-1.0)
            names = np.pad(names, width)
    highest, target = density.copy(), number.copy()
    for shift in itertools.product((0, 1, 2), repeat=density.ndim):
        part = tuple(slice(s, s + n) for s, n in zip(shift, density.shape, strict=True))
        higher = padded[part] > highest
        highest[higher] = padded[part][higher]
        target[higher] = names[part][higher]
    while True:
        further = target.ravel()[target]
        if np.array_equal(further, target):
            return target
        target = further


def _check_level(level: float) -> None:
    if not isinstance(level, (int, float, np.number)) or not 0 < level < 1:
        raise InputError(
            f"level={level!r} is not a probability between 0 and 1; give 0.95 for 95 %"
        )
