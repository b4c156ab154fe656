"""A real image as a scene: its own noise is taken out, and its edges meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.estimator.fill import fill
from coregister.estimator.rings import Rings, cosine_rings
from coregister.images import as_image

Float = NDArray[np.float64]


def scene_from_image(image: Any, *, noise: float | None = None) -> Float:
    """A scene for simulations from a real image: its own noise is taken out.

    Noise that stays in is moved with the scene and looks like fine structure, from which an
    offset could be read that real pairs do not give. A Wiener filter on the ring-averaged
    spectrum removes it; invalid pixels are filled.

    Parameters
    ----------
    image : array_like
        Anything that `coregister.register` takes.
    noise : float, optional
        Its 1-sigma pixel noise, in its own units; None = estimated from the highest frequencies;
        0 = there is none.

    Returns
    -------
    array
        Float64, same shape.
    """
    prepared = as_image(image, name="image")
    data = fill(prepared)
    variance = own_variance(data, noise)
    if variance == 0:
        return data.copy()
    rings, modes = cosine_modes(data)
    power = significant(rings, rings.mean(modes**2), variance)
    gain = rings.spread(power / (power + variance))
    gain[0] = 1.0  # the mean
    return np.asarray(scipy.fft.idctn((gain * modes).reshape(data.shape), norm="ortho"))


def mirrored(image: Float) -> Float:
    """The image with its mirror images: one period, twice the side, without a jump anywhere."""
    return np.pad(image, [(0, n) for n in image.shape], mode="symmetric")


def cosine_modes(values: Float) -> tuple[Rings, Float]:
    """Cosine modes of an image, and the rings that they belong to."""
    return cosine_rings(values.shape), scipy.fft.dctn(values, norm="ortho").ravel()


def own_variance(data: Float, noise: float | None) -> float:
    """Variance of the noise of an image: as given, or that of its highest frequencies."""
    if noise is not None:
        if not np.isfinite(noise) or noise < 0:
            raise InputError(f"noise of the image: {noise!r}; a sigma of 0 or above, or None")
        return float(noise) ** 2
    rings, modes = cosine_modes(data)
    highest = rings.mode_frequency > 0.9 * min(0.5, rings.mode_frequency.max())
    return float(np.median(modes[highest] ** 2) / 0.4549)  # median of chi^2 with one degree


def significant(rings: Rings, power: Float, noise: float) -> Float:
    """Power above the noise, 0 where chance alone makes as much."""
    above = power - noise
    return np.where(above > 2 * noise * np.sqrt(2 / rings.count), above, 0.0)
