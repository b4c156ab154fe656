"""What windows are cut from: one image, or windows cut already; spikes are kept aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.fill import departure, spikes, suspects
from coregister.estimator.window import MARGIN
from coregister.images import Image
from coregister.windows.kernels import REACH

Float = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """One image, or as many as there are windows: (k, rows, columns) arrays."""

    data: Float
    valid: Mask | None
    sigma: float | Float | None

    @classmethod
    def of(cls, image: Image, count: int = 1) -> Images:
        """An image, or `count` of them one above the other."""

        def split(values: NDArray[np.generic]) -> NDArray[np.generic]:
            return values.reshape(count, -1, values.shape[-1])

        return cls(
            data=split(image.data),  # type: ignore[arg-type]
            valid=None if image.valid is None else split(image.valid),  # type: ignore[arg-type]
            sigma=split(image.sigma) if isinstance(image.sigma, np.ndarray) else image.sigma,  # type: ignore[arg-type]
        )

    def some(self, index: Ints) -> Images:
        """Those of some windows."""
        valid = None if self.valid is None else self.valid[index]
        sigma = self.sigma[index] if isinstance(self.sigma, np.ndarray) else self.sigma
        return Images(data=self.data[index], valid=valid, sigma=sigma)

    def spikes(self) -> Mask | None:
        """Hot pixels, cosmic rays, and what looks like them."""
        tall = self.data.reshape(-1, self.data.shape[2])
        found = spikes(tall, suspects(tall))
        return found.reshape(self.data.shape) if found.any() else None

    def without(self, found: Mask | None) -> Float:
        """Data where these pixels are like those around."""
        if found is None:
            return self.data
        tall = self.data.reshape(-1, self.data.shape[2])
        places = np.nonzero(found.reshape(tall.shape))
        data = tall.copy()
        data[places] -= departure(tall, places)
        return data.reshape(self.data.shape)

    def part(self, image: int, start: Ints, stop: Ints) -> Image:
        """A piece of one of them."""
        whole = Image(
            values=self.data[image],
            valid=None if self.valid is None else self.valid[image],
            sigma=self.sigma[image] if isinstance(self.sigma, np.ndarray) else self.sigma,
        )
        return whole.cut(tuple(slice(*ends) for ends in zip(start, stop, strict=True)))


class Small(NamedTuple):
    """What looks like a ray but may be seen twice: a particle is no larger than one.

    The search does without. Refinement sees it: a ray shows up in what is left over.
    """

    image: Ints
    place: Ints
    height: Float

    @classmethod
    def of(cls, images: Images, data: Float, found: Mask | None) -> Small:
        """Where spikes were `found`, and taken out of `data`."""
        where = np.nonzero(np.zeros(data.shape, dtype=bool) if found is None else found)
        return cls(where[0], np.stack(where[1:], axis=1), images.data[where] - data[where])

    def put_back(self, patches: Float, image: Ints, start: Ints, unit: float) -> None:
        """Into windows that begin at `start`, around which `patches` have `REACH` pixels."""
        if self.image.size == 0:
            return
        last = np.array(patches.shape[1:]) - REACH + MARGIN
        for patch, number, first in zip(patches, image, start, strict=True):
            places = self.place - first + REACH
            here = (self.image == number) & np.all(
                (places >= REACH - MARGIN) & (places < last), axis=1
            )
            patch[tuple(places[here].T)] += self.height[here] / unit
