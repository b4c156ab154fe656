"""Where the scenes, windows and offsets of a calibration come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.simulate import Observation, mirrored, random_scene, scene_from_image

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where scenes, windows and offsets come from."""

    name: str
    kind: str | None
    image: Float | None  # given by the user, its noise taken out
    shape: tuple[int, ...]
    reach: Float
    centre: Float
    psf: float | Literal["cut"]
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        scene: str | ArrayLike,
        shape: Sequence[int] | None,
        offsets: ArrayLike | None,
        psf: float | Literal["cut"],
        image_noise: float | None,
        options: Mapping[str, Any],
    ) -> Source:
        """From the arguments of `calibrate`."""
        image = None
        periodic = options.get("boundary") == "periodic"
        size = int(options.get("binning", 1))
        if isinstance(scene, str):
            name, kind = scene, scene
            sides = (128, 128) if shape is None else tuple(int(n) for n in shape)
        else:
            image = scene_from_image(scene, noise=image_noise)
            name, kind = f"image of shape {image.shape}", None
            whole = tuple(n // size for n in image.shape)
            sides = tuple(n // 2 for n in whole) if shape is None else tuple(int(n) for n in shape)
            if periodic:
                if shape is not None and sides != whole:
                    raise InputError("a periodic pair is the whole image; leave shape out")
                sides = whole
        reach = np.asarray(0.1 * np.array(sides) if offsets is None else offsets, dtype=np.float64)
        if reach.size not in (1, len(sides)) or not np.all(reach >= 0):
            raise InputError(f"offsets={offsets!r}: one number, or one an axis, of 0 or above")
        other = options.get("moving_shape") or sides
        return cls(
            name=name,
            kind=kind,
            image=image,
            shape=sides,
            reach=np.broadcast_to(reach, (len(sides),)),
            centre=(np.array(other) - np.array(sides)) / 2.0,
            psf=psf,
            options=options,
        )

    def draw(
        self, noise: float | tuple[float, float], rng: np.random.Generator
    ) -> tuple[Observation, Float, Float]:
        """How a pair is taken, of what scene, at what offset."""
        offset = self.centre + rng.uniform(-self.reach, self.reach)
        periodic = self.options.get("boundary") == "periodic"
        size = int(self.options.get("binning", 1))
        other = self.options.get("moving_shape") or self.shape
        before = np.maximum(0, np.ceil(offset)).astype(int)
        extent = [
            int(b + max(n, math.ceil(m - d)))
            for b, n, m, d in zip(before, self.shape, other, offset, strict=True)
        ]
        origin: tuple[int, ...] | None = None
        if self.image is not None:
            scene = self.image if periodic else mirrored(self.image)
            if not periodic:
                room = [n // size - e for n, e in zip(self.image.shape, extent, strict=True)]
                if min(room) < 0:
                    raise InputError(
                        f"{self.name} is too small for windows of {self.shape} px with offsets up "
                        f"to {self.reach.tolist()} px; give a smaller shape or smaller offsets"
                    )
                origin = tuple(
                    int(b + rng.integers(0, r + 1)) for b, r in zip(before, room, strict=True)
                )
        else:
            assert self.kind is not None
            sides = (
                self.shape
                if periodic
                else [
                    scipy.fft.next_fast_len(max(2 * max(n, m), e + 2), real=True)
                    for n, m, e in zip(self.shape, other, extent, strict=True)
                ]
            )
            scene = random_scene(self.kind, [n * size for n in sides], rng=rng, psf=self.psf)
        observation = Observation(
            noise=noise,
            shape=None if periodic else self.shape,
            origin=origin,
            **self.options,
        )
        return observation, scene, offset
