"""What the auto-spectra tell before the images are compared: filters, coherence, samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.rings import Rings

Float = NDArray[np.float64]

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
        floor = (power[..., high] if high.any() else power).min(axis=-1, keepdims=True)
        doubt = floor * np.sqrt(2.0 / samples)
        signals.append(np.maximum(power - floor - doubt, 0.0) / power)
    coherence = np.minimum(np.maximum(np.sqrt(signals[0] * signals[1]), 1e-3), MAX_COHERENCE)
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
