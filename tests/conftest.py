"""Pairs whose offset is known, from a scene that is known everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]
PairMaker = Callable[..., tuple[Array, Array]]


def wave_scene(
    shape: Sequence[int], origin: Sequence[float], seed: int, highest: float, periodic: bool
) -> Array:
    """Sixty plane waves of unit total variance, none above `highest` cycles/px on any axis."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(-highest, highest, (60, len(shape)))
    if periodic:  # whole waves in the frame
        frequency = np.trunc(frequency * shape) / shape
    phase = rng.uniform(0, 2 * np.pi, 60)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    angle = 2 * np.pi * ((grid + np.asarray(origin)) @ frequency.T) + phase
    return np.cos(angle).sum(axis=-1) * np.sqrt(2 / 60)


@pytest.fixture(scope="session")
def make_pair() -> PairMaker:
    """A function that gives two noisy images of one scene: with real edges, or of one period."""

    def make(
        shape: Sequence[int] = (64, 60),
        offset: Sequence[float] = (2.3, -1.4),
        *,
        moving_shape: Sequence[int] | None = None,
        noise: float = 0.05,
        gain: float = 1.0,
        background: float = 0.0,
        seed: int = 1,
        highest: float = 0.15,
        periodic: bool = False,
    ) -> tuple[Array, Array]:
        rng = np.random.default_rng([seed, 1])
        reference = wave_scene(shape, np.zeros(len(shape)), seed, highest, periodic)
        moving = wave_scene(moving_shape or shape, -np.asarray(offset), seed, highest, periodic)
        moving = gain * moving + background
        return (
            reference + noise * rng.standard_normal(reference.shape),
            moving + abs(gain) * noise * rng.standard_normal(moving.shape),
        )

    return make
