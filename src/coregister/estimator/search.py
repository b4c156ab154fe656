"""Candidates for the offset, and how likely chance is to make one as good.

Both images are filtered by the weight that their own spectra suggest, which leaves their samples
nearly independent; the correlation over the overlap, normalised by the energies found there, then
has a known distribution for unrelated images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.spectrum import Counted, Rings
from coregister.estimator.stages import Candidate
from coregister.fourier import along

Float = NDArray[np.float64]

#: candidates kept
MAX_CANDIDATES = 5
#: correlation with the reversed image, at this share of the overlap, that only symmetry makes
SYMMETRIC = 0.5
SYMMETRIC_OVERLAP = 0.3
#: a further candidate must be less likely by chance than this
MAX_CHANCE = 0.01
#: fourth moment (a Gaussian field has 3) above which a scene is sparse, and by how many sigma
SPARSE = 4.0
SPARSE_SIGMA = 4.0
#: highest peaks of the null, one in a block of so many lags a side, that tell how high chance goes
NULL_PEAKS = 30
NULL_BLOCK = 8
#: power of the height of which the tail is an exponential
SPARSE_POWER, GAUSSIAN_POWER = 1.25, 2.0
#: chance of a Gaussian peak below which thirty peaks of the null say less than theory
FAR_TAIL = 1e-4
#: and below this one, since of two estimates the larger is no longer uniform
NEAR_TAIL = 0.03
#: mean excess of a Gaussian over a height z far out, times z
BEYOND = 0.9
#: of Gauss and Legendre, between 0 and 1
NODES, NODE_WEIGHTS = np.array(np.polynomial.legendre.leggauss(12)) / 2
NODES += 0.5
#: two features may be one if their brightness agrees to this factor
FEATURE_RATIO = 1.5
#: what coincides in so many places tells how bright it should be
ENOUGH_PARTNERS = 4
#: and is no fainter than this share of what the brightest pixels exceed, so many of all
FAINT_FEATURE = 0.05
BRIGHT_SHARE = 0.995
#: images whose correlation differs from 1 by less are the same, as far as the arithmetic can tell
SAME = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}
#: correlation over more than half of the largest overlap above which nothing is left to chance
IDENTICAL = 0.9
#: features below which neither their number nor the peaks of the null prove anything
FEW_FEATURES = 8
#: so many of the brightest are asked by themselves, too
BRIGHTEST = (4, 8, 16)
#: features up to which it is enough that each clear one, higher by this, has its partner
LONE_FEATURES = 3
CLEAR_FEATURE = 1.25
#: what is below this many sigma lies between the features
BETWEEN_SIGMA = 2.0
#: pixels around a feature that its light may reach
WINGS = 4
#: sigma from which the ripples that the filter leaves around a feature count, and how far, px;
#: those of two features on one another
GLARING, GLARE, RIPPLES = 30.0, 6, 48
#: parts of the field that are to agree, and the least side of one, px
PARTS, PART = 144, 6
#: the brightest that are looked at
MAX_FEATURES = 300
#: a feature exceeds the rest by this many sigma
FEATURE_SIGMA = 3.5
#: pixels around a candidate in which no other is looked for
SEPARATION = 3
#: steps (px) between samples that a first look may take, and those of the last, where the images
#: hold nothing finer
QUICK_STEPS = (8, 4, 2)
STEPS = (4, 2)
#: fewest samples along an axis for a first look, and for the last
QUICK_SIDE, FEWEST_SAMPLES = 24, 96
#: information that may be lost to a larger step, and about how far noise alone moves what the
#: spectra promise of it, 1/px^2
LOSS, PROMISE_SCATTER = 0.03, 50.0
#: what a first look must promise, and keep: squares of coherence summed over its modes, bar in px,
#: and false alarm
QUICK_EVIDENCE = 2500.0
QUICK_STDERR = 0.02
QUICK_CHANCE = 1e-12
#: and the share of its evidence that no other candidate may have
QUICK_RIVAL = 0.25
#: share of the highest frequency above which the floor of an auto-spectrum is looked for, and by
#: how many sigma its rings may scatter about one level
HIGH = 0.6
FLAT_SIGMA = 4.0
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
        Auto-spectra of reference and moving; of many pairs, one a row.
    samples : array
        Number of modes behind each value.
    """
    signals = []
    for power in powers:
        high = frequency > HIGH * frequency.max()
        floor = np.min(power[..., high] if high.any() else power, axis=-1, keepdims=True)
        doubt = floor * np.sqrt(2.0 / samples)
        signals.append(np.clip(power - floor - doubt, 0.0, None) / power)
    coherence = np.clip(np.sqrt(signals[0] * signals[1]), 1e-3, MAX_COHERENCE)
    shape = np.sqrt(coherence / (1 - coherence**2))
    return [shape / np.sqrt(np.maximum(p, FAINT * p.max(axis=-1, keepdims=True))) for p in powers]


def auto_coherence(frequency: Float, powers: Sequence[Float], samples: Float) -> Float:
    """Square of the coherence, if what stands above the floor at high frequencies is scene.

    Parameters
    ----------
    frequency, powers, samples
        As for `auto_filters`.

    Returns
    -------
    array
        Below 1. Without bias where the floor is flat: noise makes it negative as often as
        positive, so that sums over many rings can be taken.
    """
    high = frequency > HIGH * frequency.max()
    shares = []
    for power in powers:
        floor = float(np.min(power))
        if high.any():
            above, modes = power[high], samples[high]
            mean = float(modes @ above / modes.sum())
            chi2 = float(modes @ (above / mean - 1) ** 2) / 2
            rings = len(above)
            flat = chi2 < rings + FLAT_SIGMA * np.sqrt(2 * rings)
            floor = mean if flat else float(np.min(above))
        shares.append(1 - floor / power)
    return np.minimum(shares[0] * shares[1], 1 - 1e-9)


def promise(frequency: Float, coherence: Float, rings: Counted, ndim: int) -> tuple[float, float]:
    """What a pair of these spectra lets expect of some of its modes.

    Parameters
    ----------
    frequency, coherence : array
        See `auto_coherence`.
    rings : Rings, or the like
        Of the modes that are kept.
    ndim : int

    Returns
    -------
    evidence : float
        Squares of coherence, summed over the modes.
    information : float
        About the offset along an axis, 1/px^2.
    """
    squares = np.interp(rings.frequency, frequency, coherence)
    counted = rings.count * squares
    slope = (2 * np.pi * rings.frequency) ** 2 / ndim
    return float(counted.sum()), float(counted @ (slope / (1 - squares)))


def steps_between_samples(
    modes: Callable[[int], Counted],
    frequency: Float,
    coherence: Float,
    fewest: int,
    ndim: int,
    *,
    divisor: int = 0,
) -> tuple[int, int | None]:
    """Pixels between samples: in the last comparison, and in a first look if one is worth while.

    Parameters
    ----------
    modes : callable
        Rings of the modes that samples so many pixels apart can hold.
    frequency, coherence : array
        See `auto_coherence`.
    fewest : int
        Pixels along the shortest axis.
    ndim : int
    divisor : int
        What a step has to divide.
    """
    quick = None
    for step in QUICK_STEPS:
        if fewest // step >= QUICK_SIDE and divisor % step == 0:
            evidence, information = promise(frequency, coherence, modes(step), ndim)
            if evidence > QUICK_EVIDENCE and information * QUICK_STDERR**2 > 1:
                quick = step
                break
    whole = promise(frequency, coherence, modes(1), ndim)[1]
    if LOSS * whole < PROMISE_SCATTER:
        return 1, quick
    for step in STEPS:
        if fewest // step < FEWEST_SAMPLES or divisor % step:
            continue
        if promise(frequency, coherence, modes(step), ndim)[1] > (1 - LOSS) * whole:
            return step, quick
    return 1, quick


def beyond_doubt(candidates: Sequence[Candidate]) -> bool:
    """True if the first of the candidates of a first look needs no second one."""
    best, *others = candidates
    clear = all(other.total < QUICK_RIVAL * best.total for other in others)
    return clear and best.false_alarm < QUICK_CHANCE


def normalised_correlation(
    reference: Float,
    moving: Float,
    shape: list[int],
    energy: Float,
    null_energy: Float,
) -> tuple[Float, Float]:
    """Correlation at every lag, and the same with the reference flipped along its last axis.

    Flipping keeps the spectra and destroys the common content, unless the scene is symmetric.
    """
    first = scipy.fft.rfftn(reference, s=shape)
    second = scipy.fft.rfftn(moving, s=shape)
    correlation = scipy.fft.irfftn(np.conj(first) * second, s=shape, overwrite_x=True)
    null = scipy.fft.irfftn(flipped(first) * second, s=shape, overwrite_x=True)
    # lags of the flipped reference are counted from its last pixel
    null = np.roll(null, 1 - reference.shape[-1], axis=-1)
    return correlation / energy, null / null_energy


def flipped(spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Conjugate half spectrum of the array with its last axis reversed about index 0."""
    for axis in range(spectrum.ndim - 1):
        spectrum = np.roll(np.flip(spectrum, axis), 1, axis)
    return spectrum


def independence(
    frequency: Float, count: Float, left: Float, right: Float, ndim: int
) -> tuple[Any, Any]:
    """How many of the samples are independent, and how fast their correlation varies.

    Parameters
    ----------
    frequency, count : array
        Rings.
    left, right : array
        Spectra of the two filtered images; of many pairs, one a row.
    ndim : int

    Returns
    -------
    band : float
        Independent samples per pixel of overlap.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px.
    """
    product = count * left * right
    total = product.sum(axis=-1)
    band = (left @ count) * (right @ count) / (count.sum() * total)
    square = (product @ (2 * np.pi * frequency) ** 2) / total / ndim
    return band, np.sqrt(square)


def ring_power(spectrum_power: Float, rings: Rings) -> Float:
    """Ring averages, never zero."""
    return floored(rings.mean(spectrum_power))


def floored(power: Float) -> Float:
    """A spectrum that is nowhere zero."""
    return np.asarray(np.maximum(power, 1e-14 * power.max() + 1e-300))


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
        first, last = _overlapped(n, m, full, forward=forward)
        sums = _cumulative(total, axis)
        total = sums.take(last, axis=axis)
        total -= sums.take(first, axis=axis)
    return total


def overlap_counts(sizes: tuple[int, ...], other: tuple[int, ...], shape: list[int]) -> Float:
    """Pixels in the overlap of two rectangles, for every lag in the order of an FFT."""
    count: Float = np.ones((1,) * len(shape))
    for axis, (n, m, full) in enumerate(zip(sizes, other, shape, strict=True)):
        first, last = _overlapped(n, m, full, forward=True)
        count = count * along((last - first).astype(np.float64), axis, len(shape))
    return count


def _overlapped(
    n: int, m: int, full: int, *, forward: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First index, and one beyond the last, of `n` pixels that `m` others cover at each lag."""
    lag = scipy.fft.fftfreq(full, 1.0 / full).round().astype(np.intp)
    if not forward:
        lag = -lag
    first = np.clip(-lag, 0, n)
    return first, np.maximum(np.clip(m - lag, 0, n), first)


def _cumulative(values: Float, axis: int) -> Float:
    """Sums of the first 0, 1, 2, ... values along an axis."""
    sizes = list(values.shape)
    sizes[axis] += 1
    sums = np.zeros(sizes)
    lines, rows = np.moveaxis(sums, axis, 0), np.moveaxis(values, axis, 0)
    if axis == values.ndim - 1:
        np.cumsum(values, axis=axis, out=np.moveaxis(lines[1:], 0, axis))
    else:  # row after row: numpy would jump from row to row for every column
        for index, row in enumerate(rows):
            np.add(lines[index], row, out=lines[index + 1])
    return sums


def signed_lags(shape: list[int]) -> list[Float]:
    """Lag of every sample along each axis of a circular correlation."""
    ndim = len(shape)
    return [
        along(scipy.fft.fftfreq(n, 1.0 / n).round(), axis, ndim) for axis, n in enumerate(shape)
    ]


def chance_of_peak(z: float, lags: float, roughness: float, ndim: int) -> float:
    """Probability that the highest of many lags of a Gaussian correlation exceeds `z`.

    Counted are the lags above `z` that are higher than both their neighbours along every axis,
    after Taylor, Worsley & Gosselin 2007, doi:10.1093/biomet/asm004. Independent lags count one by
    one; a correlation that is smooth from lag to lag, by its extremes.

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
    return float(chance_of_peaks(z, lags, roughness, ndim))


def chance_of_peaks(z: Any, lags: Any, roughness: Any, ndim: int) -> Any:
    """The same for many."""
    from scipy.special import ndtr

    z, roughness = np.asarray(z, dtype=np.float64), np.asarray(roughness, dtype=np.float64)
    # the mean height of what exceeds z; all of it is alike in what is asked now
    height = z + BEYOND / np.maximum(z, BEYOND)
    alike = np.exp(-(np.minimum(roughness, np.pi) ** 2) / 2)
    apart = np.sqrt((1 - alike) / (1 + alike)) * height
    widest = np.arcsin(np.sqrt((1 - alike**2) / 2))
    angles = np.multiply.outer(widest, NODES)
    both = np.exp(-((apart[..., None] / np.sin(angles)) ** 2) / 2) @ NODE_WEIGHTS
    highest = 1 - 2 * ndtr(-apart) + widest / np.pi * both
    return -np.expm1(-lags * ndtr(-z) * highest**ndim)


def sparse(fields: Sequence[Float], band: float) -> bool:
    """True if bright features rule both filtered images: chance peaks are no longer Gaussian.

    Parameters
    ----------
    fields : two arrays
        Valid pixels.
    band : float
        Independent samples a pixel.
    """
    squares = [(f * f).ravel() for f in fields]
    # not with BLAS, which would wake its threads
    moments = [
        float(np.einsum("i,i", s, s)) * s.size / max(float(s.sum()) ** 2, 1e-300) for s in squares
    ]
    scatter = SPARSE_SIGMA * np.sqrt(24.0 / max(band * min(f.size for f in fields), 1.0))
    return bool(np.sqrt(np.prod(moments)) > max(SPARSE, 3.0 + scatter))


def _peaks_of_blocks(null: Float, allowed: NDArray[np.bool_]) -> Float:
    """The highest peak in each block of lags that count, in falling order, not below 0."""
    # lags that do not count may hold anything, and are no peaks of height 0 either
    counted = np.where(allowed, null, -np.inf)
    summits = allowed.copy()
    for axis in range(null.ndim):  # the flank of a peak in the block beside it is none
        for step in (1, -1):
            summits &= counted >= np.roll(counted, step, axis)
    blocks, some = np.where(summits, null, 0.0), allowed
    for axis, n in enumerate(null.shape):
        edges = np.arange(0, n, NULL_BLOCK)
        blocks = np.maximum.reduceat(blocks, edges, axis=axis)
        some = np.maximum.reduceat(some, edges, axis=axis)
    return np.sort(np.clip(blocks[some], 0.0, None))[::-1]


def chance_by_null(
    null: Float, allowed: NDArray[np.bool_], power: float
) -> Callable[[float], float] | None:
    """Probability of a peak as the flipped image tells it, for scenes that are no Gaussian field.

    The highest peaks of the null, one a block of lags, are continued by a tail; that its mean
    excess is known from so few of them is taken into account. None where there are too few.

    Parameters
    ----------
    null : array
        Correlation with the flipped image, in units of the scatter of unrelated samples.
    allowed : bool array
        Lags that count.
    power : float
        Of the height, of which the tail is an exponential: 1 for a few sources, 2 for a Gaussian.
    """
    peaks = _peaks_of_blocks(null, allowed) ** power
    count = min(NULL_PEAKS, peaks.size // 8)
    if count < 2 or peaks[count] == 0.0:
        return None
    start = float(peaks[count])
    mean_excess = max(float(np.mean(peaks[:count])) - start, 1e-9)

    def chance(z: float) -> float:
        excess = max(z**power - start, 0.0) / mean_excess
        return float(-np.expm1(-count * (1 + excess / count) ** -count))

    return chance


def features(field: Float) -> tuple[Float, Float]:
    """Places (n, ndim) of the extremes that stand far above the rest, and how far: 1 at least."""
    from scipy import ndimage

    size = np.abs(field)
    floor = FEATURE_SIGMA / 0.6745 * float(np.median(size[size > 0]))
    level = max(floor, FAINT_FEATURE * float(np.quantile(size, BRIGHT_SHARE)))
    found = (size > level) & (size == ndimage.maximum_filter(size, 5, mode="constant"))
    places, heights = np.argwhere(found).astype(np.float64), field[found] / level
    brightest = np.argsort(-np.abs(heights), kind="stable")[:MAX_FEATURES]
    return places[brightest], heights[brightest]


def chance_of_features(
    fields: tuple[Float, Float],
    seen: Sequence[tuple[Float, Float]],
    offset: Float,
    by_null: float,
    *,
    lags: float,
    band: float,
    roughness: float,
    periodic: bool,
) -> float:
    """Probability that so many features of two unrelated images coincide at some lag.

    Features coincide where place and brightness agree; counted are the ways in which so many of
    them could, each as unlikely as its neighbourhood is small. Bright and faint ones count alike,
    so that this holds for a few sources of any brightness, whose correlation is ruled by the
    brightest two. Where there are so few that nothing could be proven, it is 0 if each bright one
    has its partner: where both images show one star, it is taken for the same star. What agrees
    between the features counts as it does in a scene without them: cosmic rays make no scene
    sparse.

    Parameters
    ----------
    fields : two arrays
        The filtered images.
    seen : two of (places, heights)
        Their `features`.
    offset : (ndim,) array
        Whole pixels.
    by_null : float
        The same as `chance_by_null` tells it: the lower counts, where there are many features.
    lags : float
        Number of lags searched.
    band : float
        Independent samples a pixel.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px: noise moves a peak
        by up to its inverse.
    periodic : bool
        The images wrap around.
    """
    from scipy.special import gammaln

    (first, heights), (second, others) = seen
    shapes = [np.array(field.shape, dtype=np.float64) for field in fields]
    reach = max(1, int(np.ceil(1 / roughness)))
    apart = np.abs(second[None, :] - first[:, None] - offset)
    if periodic:
        apart = np.minimum(apart % shapes[0], (-apart) % shapes[0])
        area = float(np.prod(shapes[0]))
        inside = [np.ones(len(heights), bool), np.ones(len(others), bool)]
    else:
        sides = np.minimum(shapes[0], shapes[1] - offset) - np.maximum(0, -offset)
        area = float(np.prod(np.maximum(sides, 1)))
        inside = [
            np.all((place >= -reach) & (place <= shape - 1 + reach), axis=1)
            for place, shape in ((first + offset, shapes[1]), (second - offset, shapes[0]))
        ]
    scales = [float(np.sqrt(np.mean(field**2))) for field in fields]
    ratio = (others * scales[0])[None, :] / (heights * scales[1])[:, None]
    near = np.all(apart <= reach, axis=2)
    free = np.count_nonzero(near) >= ENOUGH_PARTNERS
    if free:  # noise is in the scales, too: what coincides tells better how bright it should be
        ratio /= np.median(ratio[near])
    alike = (ratio > 1 / FEATURE_RATIO) & (ratio < FEATURE_RATIO)
    partners = near & alike
    few = np.sqrt(len(heights) * len(others)) < FEW_FEATURES
    if partners.any() and max(len(heights), len(others)) <= LONE_FEATURES:
        clear = [np.abs(side) > CLEAR_FEATURE for side in (heights, others)]
        if all(
            side.any() and np.all(partners.any(axis=axis)[side])
            for side, axis in zip(clear, (1, 0), strict=True)
        ):
            return 0.0
    here = [np.flatnonzero(side) for side in inside]
    most = max(side.size for side in here)
    chances = []
    for brightest, within in product([n for n in BRIGHTEST if n < most] + [most], {1, reach}):
        among = np.ix_(*(side[:brightest] for side in here))
        partners = alike[among] & np.all(apart[among] <= within, axis=2)
        matched = min(np.count_nonzero(partners.any(axis=axis)) for axis in (0, 1))
        if matched > 0:
            share, cell = float(np.mean(alike[among])), float((2 * within + 1) ** len(offset))
            sizes = [side[:brightest].size for side in here]
            ways = sum(gammaln(n + 1) - gammaln(n - matched + 1) for n in sizes)
            ways += matched * np.log(share * cell / area) - gammaln(matched + 1)
            expected = lags / cell * np.exp(ways) / (share if free else 1.0)
            chances.append(float(-np.expm1(-expected)))
    chance = len(chances) * min(chances) if chances else 1.0
    z = _agreement_between(fields, offset, band=band, periodic=periodic)
    between = chance_of_peak(z, lags, roughness, len(offset)) if z > 0 else 1.0
    return min(chance, between, 1.0 if few else by_null)


def _agreement_between(
    fields: tuple[Float, Float], offset: Float, *, band: float, periodic: bool
) -> float:
    """Correlation where neither image has a feature, in units of the scatter of chance."""
    from scipy import ndimage

    first, second = fields
    whole = np.rint(offset).astype(int)
    if periodic:
        second = np.roll(second, -whole, axis=tuple(range(second.ndim)))
    else:
        spans = [
            (max(0, -d), min(n, m - d))
            for d, n, m in zip(whole, first.shape, second.shape, strict=True)
        ]
        first = first[tuple(slice(a, b) for a, b in spans)]
        second = second[tuple(slice(a + d, b + d) for (a, b), d in zip(spans, whole, strict=True))]
    plain = np.ones(first.shape, dtype=bool)
    together = plain.copy()
    for field in (first, second):
        size = np.abs(field)
        sigma = np.median(size[size > 0]) / 0.6745
        # the wings of two stars that are laid on one another agree, too
        near = ndimage.maximum_filter(size > FEATURE_SIGMA * sigma, 2 * WINGS + 1)
        near |= ndimage.maximum_filter(size > GLARING * sigma, 2 * GLARE + 1)
        plain &= (size > 0) & (size < BETWEEN_SIGMA * sigma) & ~near
        together &= ndimage.maximum_filter(size > GLARING * sigma, 2 * WINGS + 1)
    # and so do their ripples, for as long as they are seen
    plain &= ~ndimage.maximum_filter(together, 2 * RIPPLES + 1)
    x, y = first[plain], second[plain]
    energy = float(np.sqrt((x @ x) * (y @ y)))
    if energy == 0:
        return 0.0
    z = float(x @ y) / energy * np.sqrt(x.size * band)
    return float(min(z, _agreement_of_parts(np.where(plain, first * second, 0.0), plain)))


def _agreement_of_parts(products: Float, used: NDArray[np.bool_]) -> float:
    """How significant the mean of a field is, in sigma, by how much its parts differ.

    A scene agrees all over the field; the ripples of two stars on one another, around them.
    """
    from scipy.special import ndtri, stdtr

    each = max(2, round(PARTS ** (1 / products.ndim)))
    count = used.astype(np.float64)
    for axis, n in enumerate(products.shape):
        number = max(1, min(each, n // PART))
        edges = np.linspace(0, n, number + 1).astype(int)[:-1]
        products, count = (np.add.reduceat(v, edges, axis=axis) for v in (products, count))
    # as many as hold most of the field: those of a few pixels tell nothing of the rest
    parts = float(count.sum() ** 2 / np.sum(count**2))
    if parts < 3:
        return 0.0
    total = float(products.sum())
    apart = products - total / float(count.sum()) * count
    scatter = float(np.sqrt(np.sum(apart**2) * parts / (parts - 1)))
    chance = float(stdtr(parts - 1, -total / scatter)) if scatter > 0 else 1.0
    return -float(ndtri(np.clip(chance, 1e-300, 1.0)))


def vertex(values: Float, peak: Sequence[int | np.intp]) -> Float:
    """Where the parabolas through a peak and its neighbours are highest, in samples from it."""
    shift = np.zeros(values.ndim)
    for axis, n in enumerate(values.shape):
        line = values[tuple(slice(None) if a == axis else i for a, i in enumerate(peak))]
        before, here, after = (float(line[(peak[axis] + d) % n]) for d in (-1, 0, 1))
        curvature = 2 * here - before - after
        if curvature > 0:
            shift[axis] = min(max((after - before) / (2 * curvature), -0.5), 0.5)
    return shift


def _evidence(correlation: Any) -> Any:
    """Log-likelihood ratio against "no common content", per independent sample."""
    same = 1 - SAME[np.dtype(correlation.dtype)]
    return -0.5 * np.log1p(-(np.clip(correlation, 0.0, same, dtype=np.float64) ** 2))


def pick(
    correlation: Float,
    samples: Float | float,
    *,
    null: Float,
    allowed: NDArray[np.bool_],
    lags: list[Float],
    roughness: float,
    edge: Callable[[Float], bool],
    band: float,
    periodic: bool,
    sparse_fields: tuple[Float, Float] | None,
) -> list[Candidate]:
    """The highest peaks, with the probability that chance makes them.

    Parameters
    ----------
    correlation : array
        Normalised correlation at every lag, -1 to 1.
    samples : array
        Independent samples in the overlap at every lag; a single number if all lags have as many.
    null : array
        The same correlation with one image flipped: same spectra, no common content.
    allowed : bool array
        Lags that may be answered.
    lags : list of array
        Lag of every sample along each axis.
    roughness : float
        Root mean square frequency of the correlation along an axis, rad/px.
    edge : callable
        Tells if an offset lies at the limit of the search.
    band : float
        Independent samples, for each sample of the overlap.
    periodic : bool
        The images wrap around.
    sparse_fields : two arrays or None
        Of a sparse scene, both filtered images.
    """
    every = bool(allowed.all())

    def answers(values: Float) -> Float:
        return values.ravel() if every else values[allowed]

    if isinstance(samples, float):  # the highest correlation has the highest score
        counts, most = np.broadcast_to(samples, correlation.shape), samples
        rank, root, wide = correlation, np.sqrt(samples), answers(null)
    else:
        counts, most = samples, float(samples.max())
        rank, root = _evidence(correlation) * samples, np.sqrt(answers(samples))
        wide = null[allowed & (samples > SYMMETRIC_OVERLAP * most)]
    rank = np.array(rank) if every else np.where(allowed, rank, -np.inf)
    # unrelated images scatter by 1 in these units; more, where samples are fewer than thought
    chance = answers(null) * root
    scatter = (
        max(0.8, float(np.sqrt(np.einsum("i,i", chance, chance) / chance.size)))
        if chance.size
        else 1.0
    )
    if wide.size and wide.max() > SYMMETRIC:
        scatter = 1.0  # stripes, a lattice: flipping it does not make the scene another one
    lags_allowed = float(np.count_nonzero(allowed))
    spacing = np.array([lag.reshape(-1)[1] - lag.reshape(-1)[0] for lag in lags])

    @cache
    def tail() -> Callable[[float], float] | None:
        power = GAUSSIAN_POWER if sparse_fields is None else SPARSE_POWER
        return chance_by_null(null * np.sqrt(samples), allowed, power)

    seen = [features(field) for field in sparse_fields or ()]

    candidates: list[Candidate] = []
    for _ in range(MAX_CANDIDATES):
        best = np.unravel_index(int(np.argmax(rank)), rank.shape)
        if rank[best] == -np.inf:
            break
        offset = np.array(
            [float(lag.reshape(-1)[index]) for lag, index in zip(lags, best, strict=True)]
        )
        evidence, count = float(_evidence(correlation[best])), float(counts[best])
        z = np.sqrt(2 * evidence * count) / scatter
        rival = plain = chance_of_peak(z * scatter, lags_allowed, roughness, rank.ndim)
        if candidates and sparse_fields is None and rival > MAX_CHANCE:
            break  # as below, where there is more to be asked
        false_alarm = chance_of_peak(z, lags_allowed, roughness, rank.ndim)
        same = correlation[best] > IDENTICAL and count > most / 2
        if sparse_fields is not None and not same:
            told = tail()
            by_null = chance_of_features(
                sparse_fields,
                seen,
                offset / spacing,
                1.0 if told is None else told(z * scatter),
                lags=lags_allowed,
                band=band,
                roughness=roughness,
                periodic=periodic,
            )
            rival = false_alarm = max(false_alarm, by_null)
        elif false_alarm > FAR_TAIL and not same:
            told = tail()
            by_null = false_alarm if told is None else told(z * scatter)
            # what is doubtful is judged by both; what is not, by the scenes themselves
            false_alarm = max(false_alarm, by_null) if false_alarm < NEAR_TAIL else by_null
        if candidates and rival > MAX_CHANCE:
            break  # no match in its own right, so no rival of the first
        candidates.append(
            Candidate(
                offset=offset + spacing * vertex(correlation, best),
                evidence=evidence,
                samples=count,
                false_alarm=false_alarm,
                plain=plain,
                at_edge=edge(offset),
            )
        )
        near = np.ix_(
            *(
                (np.arange(-SEPARATION, SEPARATION + 1) + index) % n
                for index, n in zip(best, rank.shape, strict=True)
            )
        )
        rank[near] = -np.inf
    return candidates
