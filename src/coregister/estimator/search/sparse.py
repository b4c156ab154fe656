"""Scenes of few bright features: how likely these coincide, and what agrees between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.search.chance import chance_of_peak
from coregister.products import dot

Float = NDArray[np.float64]

#: fourth moment (a Gaussian field has 3) above which a scene is sparse, and by how many sigma
SPARSE = 4.0
SPARSE_SIGMA = 4.0
#: two features may be one if their brightness agrees to this factor
FEATURE_RATIO = 1.5
#: what coincides in so many places tells how bright it should be
ENOUGH_PARTNERS = 4
#: and is no fainter than this share of what the brightest pixels exceed, so many of all
FAINT_FEATURE = 0.05
BRIGHT_SHARE = 0.995
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


def kurtosis(field: Float) -> float:
    """Fourth moment over the square of the second: 3 of a Gaussian field."""
    squares = (field * field).ravel()
    # not with BLAS, which would wake its threads
    fourth = float(np.einsum("i,i", squares, squares))
    return fourth * squares.size / max(float(squares.sum()) ** 2, 1e-300)


def sparse(kurtoses: Sequence[float], samples: float) -> bool:
    """True if bright features rule both filtered images: chance peaks are no longer Gaussian.

    Parameters
    ----------
    kurtoses : two of float
        Of their valid pixels.
    samples : float
        Independent samples in the smaller one.
    """
    scatter = SPARSE_SIGMA * np.sqrt(24.0 / max(samples, 1.0))
    return bool(np.sqrt(np.prod(kurtoses)) > max(SPARSE, 3.0 + scatter))


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
    energy = float(np.sqrt(dot(x, x) * dot(y, y)))
    if energy == 0:
        return 0.0
    z = dot(x, y) / energy * np.sqrt(x.size * band)
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
