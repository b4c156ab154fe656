"""Noise that follows the brightness: learnt from the pair where nothing was told of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.overlap.descent import State
from coregister.estimator.window import pixel_weight
from coregister.images import Pair
from coregister.products import dot

Float = NDArray[np.float64]

#: kurtosis of the residual above that of even noise, in sigma, from which it is looked at
PEAKED_SIGMA = 2.0
#: significance of variance that rises with brightness, in sigma
RISING_SIGMA = 5.0
#: share of the attainable precision, with all pixels weighed alike, above which nothing is changed
WELL_ENOUGH = 0.9
#: pixels of the brightest class; each further one is larger by this factor
BRIGHTEST, GROWTH = 12, 1.5
#: so many of the brightest are looked at one by one, and a sample of as many times more of the rest
ONE_BY_ONE, SAMPLE = 2048, 4
#: median of the square of a Gaussian of unit variance
MEDIAN_SQUARE = 0.4549
#: variance of the brightest pixels over that in the dark, less one: what is tried
RISES = np.append(0.0, np.geomspace(0.1, 1e5, 121))


def with_learnt_noise(pair: Pair, state: State) -> Pair | None:
    """The pair, its images with errors that rise with brightness as the residual does.

    Variance is taken to be linear in the light that both images show (counted photons and a
    constant part), and fitted to medians of classes of brightness, on which rays that one image
    shows have no say. None where the residual asks for nothing of the kind, or errors are given.
    """
    if any(isinstance(image.sigma, np.ndarray) for image in pair.images):
        return None
    comparison, equations = state.comparison, state.equations
    window, spectra = comparison.window, equations.spectra
    left, pulls = state.whitened
    weight = pixel_weight(pair, window)
    used = slice(None) if weight is None else weight.ravel() > 0
    inside = np.square(left.ravel()[used])
    even = float(np.mean(inside))
    peaked = dot(inside, inside) / inside.size / max(even**2, 1e-300) - 3.0
    if peaked < PEAKED_SIGMA * np.sqrt(24.0 / inside.size):
        return None
    noise = np.maximum(spectra.noise_product / np.maximum(spectra.residual, 1e-300), 1e-300)
    likely = comparison.rings.spread(spectra.scene / (spectra.scene + noise), comparison.dtype)
    # the best estimate of the scene does not know which way the residual goes: weights made of
    # it pull nowhere
    light = comparison.untransform(equations.scene * likely).ravel()
    light = np.clip(light - np.median(light[used]), 0.0, None)
    fitted = _rising(light[used], inside)
    if fitted is None:
        return None
    # a ray is bright where the images differ, and not in what both of them show
    moved = comparison.untransform(equations.residual * likely).ravel()
    both = light + np.minimum(-spectra.share * moved, (1 - spectra.share) * moved)
    if _rising(np.clip(both[used], 0.0, None), inside) is None:
        return None
    level, slope = fitted
    variance = level + slope * light
    energy = np.sum(pulls**2, axis=0).ravel()[used]
    seen = variance[used]
    alike = float(energy.sum() ** 2 / np.sum(energy * seen))
    if alike > WELL_ENOUGH * float(np.sum(energy / seen)):
        return None
    deviation = np.sqrt(variance / 2).reshape(window.shape)
    images = []
    for image, start in zip(pair.images, (window.start, window.moving_start), strict=True):
        sigma = np.full(image.values.shape, np.sqrt(level / 2))
        for within in np.ndindex((window.step,) * sigma.ndim):
            first = tuple(s + i for s, i in zip(start, within, strict=True))
            sigma[window.places(first, sigma.shape)] = deviation
        images.append(replace(image, sigma=sigma))
    return replace(pair, reference=images[0], moving=images[1])


def _rising(light: Float, squares: Float) -> tuple[float, float] | None:
    """Variance in the dark, and how much it rises with light; None if it does not for certain.

    Parameters
    ----------
    light : (n,) array
        Brightness of the pixels above the dark, 0 or more.
    squares : (n,) array
        Of the residual.
    """
    top = min(ONE_BY_ONE, light.size)
    order = np.argpartition(light, light.size - top)
    brightest, rest = order[light.size - top :], order[: light.size - top]
    rest = rest[:: max(1, rest.size // (SAMPLE * ONE_BY_ONE))]
    each = (light.size - top) / max(rest.size, 1)  # pixels that one of the sample stands for
    order = np.concatenate([p[np.argsort(light[p])[::-1]] for p in (brightest, rest)])
    edges, size = [0], float(BRIGHTEST)
    while edges[-1] + 2 * size < order.size:
        edges.append(edges[-1] + int(size))
        size *= GROWTH
    parts = np.split(order, edges[1:])
    count = np.array([part.size for part in parts]) * np.where(np.array(edges) < top, 1.0, each)
    brightness = np.array([np.mean(light[part]) for part in parts])
    variance = np.array([np.median(squares[part]) for part in parts]) / MEDIAN_SQUARE
    scale = float(brightness.max())
    if len(parts) < 3 or scale <= 0 or not variance.any():
        return None
    rise = 1.0 + np.outer(RISES, brightness / scale)
    levels = (variance / rise) @ count / count.sum()
    # log-likelihood; the median of n squares tells as much as the mean of 0.64 n
    gained = -0.32 * (np.log(rise) @ count + count.sum() * np.log(levels / levels[0]))
    best = int(np.argmax(gained))
    if gained[best] < RISING_SIGMA**2 / 2:
        return None
    return float(levels[best]), float(levels[best] * RISES[best]) / scale
