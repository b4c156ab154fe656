"""Bayes factors of every offset, for spectra of many shapes and strengths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import logsumexp

from coregister.estimator.fill import fill, without_spikes
from coregister.estimator.overlap.search import MIN_OVERLAP
from coregister.estimator.rings import Rings, cosine_rings, interpolator
from coregister.estimator.search.correlation import overlap_sums, signed_lags
from coregister.estimator.search.filters import ring_power
from coregister.estimator.spectrum import fit_noise
from coregister.fourier import TrigPolynomial, frequencies
from coregister.images import MIN_SIDE, Pair

Float = NDArray[np.float64]
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


@dataclass(frozen=True, kw_only=True)
class Spectra:
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


class Evidence:
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

    def log_bayes_factor(self, spectra: Spectra) -> Float:
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
            known = np.nonzero(self.allowed)
            places = [lag.reshape(-1)[i] for lag, i in zip(self.lags, known, strict=True)]
            self.low, self.high = (
                np.array([pick(place) for place in places]) + sign * 0.5
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

    def guesses(self) -> Iterator[Spectra]:
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
                yield Spectra(
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


class Periodic(Evidence):
    """Images that wrap: only the cross term depends on the offset."""

    def __init__(self, pair: Pair) -> None:
        shape = pair.reference.values.shape
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
        self.lags = signed_lags(shape)
        self.allowed = np.ones(shape, dtype=bool)
        self.period = shape
        self._limit(pair)

    def log_bayes_factor(self, spectra: Spectra) -> Float:
        """See `Evidence`."""
        weight = self._rings.spread(spectra.weight).reshape(self._cross.shape)
        own = self.powers[0] / spectra.first + self.powers[1] / spectra.second
        constant = self.count @ (np.log1p(-(spectra.coherence**2)) + spectra.excess * own)
        cross = scipy.fft.irfftn(self._cross * weight, s=self.allowed.shape, overwrite_x=True)
        return np.asarray(cross - 0.5 * float(constant))


class Overlap(Evidence):
    """Real edges, and holes: everything is summed over what both images show."""

    def __init__(self, pair: Pair) -> None:
        self._wraps = pair.boundary == "periodic"
        images = [without_spikes(image) for image in pair.images]
        self._shapes = [image.values.shape for image in images]
        self._transforms, self._rings, powers = [], [], []
        for image in images:
            data = fill(image)
            transform = scipy.fft.dctn(data - data.mean(), norm="ortho")
            rings = cosine_rings(data.shape)
            powers.append(ring_power(transform**2, rings))
            self._transforms.append(transform)
            self._rings.append(rings)
        # of the larger image: it has frequencies that the other does not tell of
        larger = max(self._rings, key=lambda rings: float(rings.count.sum()))
        self.frequency, self.count = larger.frequency, larger.count
        self.powers = [
            np.exp(np.interp(self.frequency, rings.frequency, np.log(power)))
            for rings, power in zip(self._rings, powers, strict=True)
        ]
        self._valid = [image.valid for image in images]
        self._full = [
            n if self._wraps else scipy.fft.next_fast_len(n + m - 1, real=True)
            for n, m in zip(*self._shapes, strict=True)
        ]
        ones = [
            np.ones(image.values.shape) if image.valid is None else image.valid.astype(np.float64)
            for image in images
        ]
        self._whole = not self._wraps and all(valid is None for valid in self._valid)
        self._seen = [scipy.fft.rfftn(one, s=self._full) for one in ones]
        self._pixels = np.rint(self._sums(ones[0], 0))
        smaller = min(image.values.size for image in images)
        fewest = min(max(MIN_OVERLAP * smaller, MIN_SIDE), float(self._pixels.max()))
        self.allowed = self._pixels >= fewest
        self.lags = signed_lags(self._full, None if self._wraps else self._shapes[1])
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

    def log_bayes_factor(self, spectra: Spectra) -> Float:
        """See `Evidence`."""
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


def averaged(evidence: Evidence) -> list[tuple[float, TrigPolynomial]]:
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


def _log_total(evidence: Evidence, surface: TrigPolynomial) -> float:
    """Logarithm of the integral over all offsets; the highest peak may be a fraction of a pixel."""
    values = np.where(evidence.allowed, surface.samples(), -np.inf)
    top = np.unravel_index(int(np.argmax(values)), values.shape)
    near = np.ix_(*((np.arange(-1, 2) + i) % n for i, n in zip(top, values.shape, strict=True)))
    values[near] = -np.inf
    step = 1 / 8
    steps = np.arange(-1.5 + step / 2, 1.5, step)
    fine = surface.grid([i + steps for i in top]) + np.log(step) * values.ndim
    return float(np.logaddexp(logsumexp(values), logsumexp(fine)))
