"""Pairs whose offset is known, from a scene that is known everywhere; trials that are made up."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from coregister.calibration import Calibration, Trials

Array = NDArray[np.float64]
PairMaker = Callable[..., tuple[Array, Array]]
#: bars of the trials that are made up, px
SIGMA = np.array([0.02, 0.05])


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


@pytest.fixture(scope="session")
def made_up() -> Callable[..., Calibration]:
    """A function that gives trials whose figures are known."""

    def make(
        n: int = 4000,
        *,
        true_over_claimed: float = 1.0,
        bias: float = 0.0,
        untrusted: int = 0,
        dof: float = math.inf,
        seed: int = 0,
    ) -> Calibration:
        """Trials whose errors are drawn from the distribution that they claim, or beside it."""
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((n, 2))
        if math.isfinite(dof):
            z /= np.sqrt(rng.chisquare(dof, (n, 1)) / (dof - 2))  # Student's, of unit variance
        error = (true_over_claimed * z + bias) * SIGMA
        covariance = np.broadcast_to(np.diag(SIGMA**2), (n, 2, 2)).copy()
        q = np.sum((error / SIGMA) ** 2, axis=1)
        shrink = 1.0 if math.isinf(dof) else (dof - 2) / dof
        quantile = stats.f(2, min(dof, 1e9)).ppf
        trusted = np.arange(n) >= untrusted
        return Calibration(
            setup={"scene": "made up", "shape": [128, 128]},
            related=True,
            truth=rng.uniform(-5, 5, (n, 2)),
            bound=covariance / 1.1**2,
            trials={
                "coregister": Trials(
                    error=error,
                    covariance=covariance,
                    systematic=np.zeros((n, 2)),
                    dof=np.full(n, dof),
                    inside=np.stack(
                        [q <= 2 * shrink * quantile(level) for level in (0.6827, 0.95)], axis=1
                    ),
                    trusted=trusted,
                    flags=tuple("" if t else "MISFIT NO_MATCH" for t in trusted),
                    false_alarm=rng.uniform(size=n),
                    seconds=np.full(n, 0.25),
                )
            },
        )

    return make


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser of this machine, without a window; playwright's own are never fetched."""
    playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser: group dev")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"this machine has none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()
