"""Movies whose motion is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.fourier import fourier_shift
from coregister.simulate.checks import as_numbers, as_sides, check_rng

Float = NDArray[np.float64]


def simulate_stack(
    scene: ArrayLike,
    offsets: ArrayLike,
    *,
    noise: float | Sequence[float],
    rng: np.random.Generator,
    shape: tuple[int, ...] | None = None,
    gains: ArrayLike | None = None,
) -> Float:
    """A movie of one scene.

    Parameters
    ----------
    scene : array_like
        One period of a larger field, see `simulate_pair`.
    offsets : (T, ndim) array_like
        px: where its content lies in each frame.
    noise : float or sequence of float
        Standard deviation of white noise, in units of the scene's; one a frame if several.
    rng : numpy.random.Generator
    shape : tuple of int, optional
        Of a frame, cut from the middle of the scene. Default: the scene itself, which wraps.
    gains : (T,) array_like, optional
        Brightness of the scene in each frame; 1 if not given.

    Returns
    -------
    (T, ...) array

    Raises
    ------
    InputError
        If offsets and scene do not go together.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> rng = np.random.default_rng(0)
    >>> scene = cr.random_scene("blobs", (64, 64), rng=rng)
    >>> cr.simulate_stack(scene, [(0, 0), (1, 2)], noise=0.1, rng=rng, shape=(32, 32)).shape
    (2, 32, 32)
    """
    check_rng(rng)
    field, places = as_numbers(scene, "scene"), as_numbers(offsets, "offsets")
    if places.ndim != 2 or places.shape[1] != field.ndim:
        raise InputError(
            f"offsets has shape {places.shape}; (frames, {field.ndim}) is needed for a scene of "
            f"{field.ndim} axes"
        )
    sides = field.shape if shape is None else as_sides(shape, "shape")
    if len(sides) != field.ndim or any(m > n for n, m in zip(field.shape, sides, strict=True)):
        raise InputError(f"shape={sides} does not fit into a scene of shape {field.shape}")
    cut = tuple(
        slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(field.shape, sides, strict=True)
    )
    sigmas = field.std() * _each(noise, "noise", len(places))
    bright = _each(1.0 if gains is None else gains, "gains", len(places))
    frames = np.empty((len(places), *sides))
    for t, (place, sigma, gain) in enumerate(zip(places, sigmas, bright, strict=True)):
        frames[t] = gain * fourier_shift(field, place)[cut] + sigma * rng.standard_normal(sides)
    return frames


def _each(values: ArrayLike, name: str, count: int) -> Float:
    """One number for each frame."""
    numbers = as_numbers(values, name)
    if numbers.shape not in ((), (1,), (count,)):
        raise InputError(f"{name} has shape {numbers.shape}; one number, or {count}, are needed")
    return np.broadcast_to(numbers, count)
