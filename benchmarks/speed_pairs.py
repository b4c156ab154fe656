"""The pairs that `speed.py` registers and the systems that register them.

Every system is a function of a `Sample`; other packages are imported in the function that uses
them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import scipy.fft
from speed_page import (
    FLOOR,
    OPENCV,
    ORIGINAL,
    OURS,
    SKIMAGE,
    STACKREG,
)

import coregister as cr

MODULE = {SKIMAGE: "skimage", OPENCV: "cv2", STACKREG: "pystackreg", ORIGINAL: "image_registration"}
INSTALLED = {s for s, name in MODULE.items() if importlib.util.find_spec(name) is not None}


@dataclass(frozen=True)
class Sample:
    """Images whose offset is known, and what the calls need besides them.

    `bound` is the variance along each axis that no method can go below.
    """

    reference: np.ndarray
    moving: np.ndarray
    truth: np.ndarray | None = None
    bound: np.ndarray | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def copy(self) -> Sample:
        extra = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in self.extra.items()}
        return Sample(self.reference.copy(), self.moving.copy(), self.truth, self.bound, extra)


#: takes the images, returns the offset, or None where there is none to judge
System = Callable[[Sample], Any]


# ------------------------------------------------------------------------------------ systems


def floor(s: Sample) -> None:
    """Two forward transforms and one inverse."""
    scipy.fft.rfftn(s.reference)
    scipy.fft.irfftn(scipy.fft.rfftn(s.moving), s=s.moving.shape)


def ours(s: Sample, **options: Any) -> np.ndarray:
    valid = {k: v for k, v in s.extra.items() if k.endswith("_valid")}
    return cr.register(s.reference, s.moving, **valid, **options).offset


def scikit_image(s: Sample) -> np.ndarray:
    from skimage.registration import phase_cross_correlation

    shift, _, _ = phase_cross_correlation(s.reference, s.moving, upsample_factor=100)
    return -np.asarray(shift)


def scikit_image_masked(s: Sample) -> np.ndarray:
    from skimage.registration import phase_cross_correlation

    masks = {k.replace("_valid", "_mask"): v for k, v in s.extra.items() if k.endswith("_valid")}
    images = [np.nan_to_num(s.reference), np.nan_to_num(s.moving)]
    shift, _, _ = phase_cross_correlation(*images, **masks)
    return -np.asarray(shift)


def opencv(s: Sample, *, window: bool) -> tuple[float, float]:
    import cv2

    cv2.setNumThreads(1)
    kind = cv2.CV_32F if s.reference.dtype == np.float32 else cv2.CV_64F
    hann = [cv2.createHanningWindow(s.reference.shape[::-1], kind)] if window else []
    (dx, dy), _ = cv2.phaseCorrelate(s.reference, s.moving, *hann)
    return dy, dx


def pystackreg(s: Sample) -> tuple[float, float]:
    from pystackreg import StackReg

    matrix = StackReg(StackReg.TRANSLATION).register(s.reference, s.moving)
    return matrix[1, 2], matrix[0, 2]


def chi2(s: Sample) -> tuple[float, float]:
    dx, dy, *_ = cr.chi2_shift(s.reference, s.moving, err=s.extra["err"])
    return dy, dx


def chi2_original(s: Sample) -> tuple[float, float]:
    from image_registration import chi2_shift

    dx, dy, *_ = chi2_shift(s.reference, s.moving, err=s.extra["err"])
    return dy, dx


def loop(s: Sample) -> None:
    """Stacks of windows, one call each."""
    for reference, moving in zip(s.reference, s.moving, strict=True):
        cr.register(reference, moving)


def batched(s: Sample) -> None:
    """All windows in one call."""
    cr.register_windows(s.reference, s.moving)


def one_for_many(s: Sample) -> None:
    for moving in s.moving:
        cr.register(s.reference, moving)


def kept_reference(s: Sample) -> None:
    reference = cr.Reference(s.reference)
    for moving in s.moving:
        reference.register(moving)


def installed(systems: dict[str, System]) -> dict[str, System]:
    return {name: call for name, call in systems.items() if name not in MODULE or name in INSTALLED}


EDGE_SYSTEMS: dict[str, System] = {
    FLOOR: floor,
    OURS: ours,
    SKIMAGE: scikit_image,
    OPENCV: partial(opencv, window=True),
    STACKREG: pystackreg,
}
PERIODIC_SYSTEMS: dict[str, System] = {
    FLOOR: floor,
    OURS: partial(ours, boundary="periodic"),
    SKIMAGE: scikit_image,
    OPENCV: partial(opencv, window=False),
}
CHI2_SYSTEMS: dict[str, System] = {FLOOR: floor, OURS: chi2, ORIGINAL: chi2_original}
MASK_SYSTEMS: dict[str, System] = {FLOOR: floor, OURS: ours, SKIMAGE: scikit_image_masked}
VOLUME_SYSTEMS: dict[str, System] = {FLOOR: floor, OURS: ours, SKIMAGE: scikit_image}


# ------------------------------------------------------------------------------------ samples


@lru_cache(maxsize=2)
def edge_samples(scene: str, shape: tuple[int, ...], pairs: int, reach: float) -> list[Sample]:
    """Windows of a scene a little larger than they are."""
    samples = []
    for number in range(pairs):
        rng = np.random.default_rng([*scene.encode(), *shape, number])
        field_shape = [scipy.fft.next_fast_len(n + n // 4 + 2 * int(reach)) for n in shape]
        whole = cr.random_scene(scene, field_shape, rng=rng)
        offset = rng.uniform(-reach, reach, size=len(shape))
        options: dict[str, Any] = {"noise": (0.1, 0.1), "shape": shape}
        images = cr.simulate_pair(whole, offset, rng=rng, **options)
        bound = np.diag(cr.pair_bound(whole, offset, **options))
        samples.append(Sample(*images, offset, bound))
    return samples


@lru_cache(maxsize=2)
def periodic_samples(
    size: int, pairs: int, noise: tuple[float, float], varying: bool = False
) -> list[Sample]:
    samples = []
    row, column = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    level = 1 + 0.5 * (row**2 + column**2)
    for number in range(pairs):
        rng = np.random.default_rng([size, number, int(varying)])
        scene = cr.random_scene("power-law-3", (size, size), rng=rng)
        offset = rng.uniform(-size / 4, size / 4, size=2)
        options: dict[str, Any] = {"noise": noise, "boundary": "periodic"}
        if varying:
            options["noise_map"] = level
        images = cr.simulate_pair(scene, offset, rng=rng, **options)
        bound = np.diag(cr.pair_bound(scene, offset, **options))
        err = noise[1] * level if varying else noise[1]
        samples.append(Sample(*images, offset, bound, {"err": err}))
    return samples


def as_float32(sample: Sample) -> Sample:
    images = [image.astype(np.float32) for image in (sample.reference, sample.moving)]
    return Sample(*images, sample.truth, sample.bound)


def with_holes(sample: Sample, kind: str) -> Sample:
    """The same pair, with pixels that are not to be used: NaN, and marked."""
    rng = np.random.default_rng(sample.reference.shape[0])
    images, marks = [], []
    for which, image in enumerate((sample.reference, sample.moving)):
        valid = np.ones(image.shape, dtype=bool)
        if kind == "block":
            n = image.shape[0] // 4
            start = n + which * n // 2
            valid[start : start + n, start : start + n] = False
        else:
            valid = rng.random(image.shape) >= 0.05
        images.append(np.where(valid, image, np.nan))
        marks.append(valid)
    extra = dict(zip(("reference_valid", "moving_valid"), marks, strict=True))
    return Sample(*images, sample.truth, sample.bound, extra)


def windows(count: int) -> Sample:
    """Windows of 64 x 64, cut at the same places of two images of a larger field."""
    rng = np.random.default_rng(count)
    across = int(np.ceil(np.sqrt(count)))
    side = 64 * across
    whole = cr.random_scene("power-law-2", (scipy.fft.next_fast_len(side + 32),) * 2, rng=rng)
    images = cr.simulate_pair(whole, (1.3, -2.4), noise=0.1, rng=rng, shape=(side, side))
    cut = [
        image.reshape(across, 64, across, 64).swapaxes(1, 2).reshape(-1, 64, 64)[:count]
        for image in images
    ]
    return Sample(*cut)
