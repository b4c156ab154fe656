"""What is calibrated: `register`, and other packages; each is asked for one pair at a time."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.calibration.trials import LEVELS, Trials
from coregister.errors import InputError, optional
from coregister.register import register
from coregister.simulate import Observation

Float = NDArray[np.float64]
#: smallest variance that is taken at its word, px^2: other packages report bars of 0
SMALLEST_VARIANCE = 1e-20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a method said of one pair, and how that compares with the truth."""

    error: Float
    covariance: Float
    systematic: Float
    dof: float
    inside: tuple[bool, ...]
    trusted: bool
    flags: str
    false_alarm: float
    seconds: float


def _ours(reference: Float, moving: Float, observation: Observation, truth: Float) -> Answer:
    errors: dict[str, Any] = {}
    if observation.noise_map is not None:
        first, second = observation.sigmas
        errors["moving_err"] = second * abs(observation.gain) * observation.noise_map
        errors["reference_err"] = first * observation.noise_map if first > 0 else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        result = register(
            reference,
            moving,
            boundary=observation.boundary,
            **{name: err for name, err in errors.items() if np.any(err)},
        )
        seconds = time.perf_counter() - start
    return Answer(
        error=result.offset - truth,
        covariance=result.covariance,
        systematic=result.systematic,
        dof=result.dof,
        inside=tuple(result.contains(truth, level) for level in LEVELS),
        trusted=result.trusted,
        flags=" ".join(sorted(status.name for status in result.flags)),
        false_alarm=result.false_alarm,
        seconds=seconds,
    )


def _peer(
    measure: Callable[[Float, Float, float], tuple[ArrayLike, ArrayLike | None]],
    reference: Float,
    moving: Float,
    observation: Observation,
    truth: Float,
) -> Answer:
    """Another package: no masks and no flags; it is told the noise of the difference."""
    from scipy import stats

    images = [np.where(np.isfinite(v), v, np.nanmedian(v)) for v in (reference, moving)]
    first, second = observation.sigmas
    noise = math.hypot(first, second * observation.gain)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        offset, bars = measure(images[0], images[1], noise or 1.0)
        seconds = time.perf_counter() - start
    error = np.asarray(offset, dtype=np.float64) - truth
    covariance = np.full((truth.size, truth.size), np.nan)
    inside = tuple(False for _ in LEVELS)
    if bars is not None:
        variance = np.maximum(np.asarray(bars, dtype=np.float64) ** 2, SMALLEST_VARIANCE)
        covariance = np.diag(variance)
        q = float(np.sum(error**2 / variance))
        inside = tuple(q <= stats.chi2.ppf(level, truth.size) for level in LEVELS)
    return Answer(
        error=error,
        covariance=covariance,
        systematic=np.full(truth.size, np.nan),
        dof=math.inf,
        inside=inside,
        trusted=True,
        flags="",
        false_alarm=math.nan,
        seconds=seconds,
    )


def _plane(package: str, reference: Float, moving: Float) -> None:
    if reference.ndim != 2 or reference.shape != moving.shape:
        raise InputError(f"{package} needs two 2-D images of one shape; leave that method out")


def _chi2_shift(reference: Float, moving: Float, noise: float) -> tuple[ArrayLike, ArrayLike]:
    _plane("chi2_shift", reference, moving)
    package = optional("image_registration", "bench")
    dx, dy, ex, ey = package.chi2_shift(reference, moving, err=noise, return_error=True)
    return (dy, dx), (ey, ex)


def _skimage(
    normalization: str | None, reference: Float, moving: Float, noise: float
) -> tuple[ArrayLike, None]:
    if reference.shape != moving.shape:
        raise InputError("scikit-image needs two images of one shape; leave that method out")
    package = optional("skimage.registration", "bench")
    shift, _, _ = package.phase_cross_correlation(
        reference, moving, upsample_factor=100, normalization=normalization
    )
    return -shift, None


def _opencv(reference: Float, moving: Float, noise: float) -> tuple[ArrayLike, None]:
    _plane("OpenCV's phaseCorrelate", reference, moving)
    package = optional("cv2", "bench")
    window = package.createHanningWindow(reference.shape[::-1], package.CV_64F)
    (dx, dy), _ = package.phaseCorrelate(reference, moving, window)
    return (dy, dx), None


def _stackreg(reference: Float, moving: Float, noise: float) -> tuple[ArrayLike, None]:
    _plane("pystackreg", reference, moving)
    package = optional("pystackreg", "bench")
    matrix = package.StackReg(package.StackReg.TRANSLATION).register(reference, moving)
    return (matrix[1, 2], matrix[0, 2]), None


METHODS: dict[str, Callable[[Float, Float, Observation, Float], Answer]] = {
    "coregister": _ours,
    "chi2_shift": partial(_peer, _chi2_shift),
    "phase_correlation": partial(_peer, partial(_skimage, "phase")),
    "cross_correlation": partial(_peer, partial(_skimage, None)),
    "opencv": partial(_peer, _opencv),
    "pystackreg": partial(_peer, _stackreg),
}
#: the module that each method needs
MODULES = {
    "coregister": "coregister",
    "chi2_shift": "image_registration",
    "phase_correlation": "skimage",
    "cross_correlation": "skimage",
    "opencv": "cv2",
    "pystackreg": "pystackreg",
}


def trials_of(rows: list[Answer]) -> Trials:
    """The answers of one method, put together."""
    return Trials(
        error=np.array([row.error for row in rows]),
        covariance=np.array([row.covariance for row in rows]),
        systematic=np.array([row.systematic for row in rows]),
        dof=np.array([row.dof for row in rows]),
        inside=np.array([row.inside for row in rows]),
        trusted=np.array([row.trusted for row in rows]),
        flags=tuple(row.flags for row in rows),
        false_alarm=np.array([row.false_alarm for row in rows]),
        seconds=np.array([row.seconds for row in rows]),
    )
