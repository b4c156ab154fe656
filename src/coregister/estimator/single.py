"""One image and what is worked out from it alone: kept, it serves the next pair too."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.fill import Suspects, fill, spikes, suspects, without
from coregister.estimator.movable import MovableImage
from coregister.estimator.rings import Rings, cosine_rings
from coregister.estimator.search.filters import ring_power
from coregister.estimator.search.steps import QUICK_SIDE, QUICK_STEPS
from coregister.estimator.window import fast_length
from coregister.images import Image
from coregister.products import dot

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

#: root mean square power of an image, and one over it, up to which its values are of common size
COMMON_SIZE = 1e5
#: share of the variance of an image that its faintest ring exceeds, for single precision: its
#: rounding makes about 5e-14 of the variance; and pixels from which the time saved counts
ROUNDING, MANY = 1e-10, 2**17
#: mean, in units of the range of the pixels, up to which an image is transformed as it is
HIGH_MEAN = 2.0
#: largest root mean square, and inverse of the smallest, whose squares single precision holds with
#: ease
NARROW_RANGE = 1e9


class Single:
    """One image, and what is worked out from it when it is asked for.

    Parameters
    ----------
    image : Image
    periodic : bool
        It continues at its other side.
    clean : bool
        Pixels far above or below all around them are known to be left out already.

    Attributes
    ----------
    start : (ndim,) int array
        Its first pixel in the image that it was cut from.
    """

    def __init__(self, image: Image, *, periodic: bool, clean: bool = False) -> None:
        self.given = image
        self.start = np.zeros(image.values.ndim, dtype=np.intp)
        self._periodic = periodic
        self._clean = clean
        self._movable: dict[tuple[int, bool], MovableImage] = {}

    @classmethod
    def of(cls, image: Image, *, periodic: bool) -> Single:
        """The part of an image with real edges in which pixels are valid.

        Beyond it there is nothing to fill up and to weigh: it is a smaller image.
        """
        if periodic or image.valid is None:
            return cls(image, periodic=periodic)
        part = image.measured
        single = cls(image.cut(part), periodic=periodic)
        single.start[:] = [p.start for p in part]
        return single

    @cached_property
    def image(self) -> Image:
        """The image without hot pixels and cosmic rays: one of them can outshine the scene."""
        if self._clean:
            return self.given
        return without(self.given, spikes(self.given.data, self._suspects))

    def spikes(self, alike: int) -> NDArray[np.bool_]:
        """Pixels of the filled image far above or below all around them; see `fill.spikes`."""
        return spikes(self.filled, self._suspects, alike)

    @cached_property
    def _suspects(self) -> Suspects:
        data, narrow = self.given.data, self.given.values.dtype == np.float32
        return suspects(data.astype(np.float32) if narrow else data, self.given.valid)

    def without(self, bad: NDArray[np.bool_]) -> Single:
        """The same image, where what is `bad` is invalid."""
        if not bad.any():
            return self
        return Single(without(self.image, bad), periodic=self._periodic, clean=True)

    def told(self, sigma: float | Float | None) -> Single:
        """The same image, with errors that vary from pixel to pixel."""
        other = copy.copy(self)
        other.__dict__["image"] = replace(self.image, sigma=sigma)
        return other

    @cached_property
    def filled(self) -> Float:
        """Data with its holes filled."""
        return fill(self.image)

    @cached_property
    def missing(self) -> float:
        """Share of the pixels that are invalid."""
        valid = self.image.valid
        return 0.0 if valid is None else 1 - np.count_nonzero(valid) / valid.size

    @cached_property
    def modes(self) -> Float:
        """Cosine modes, of so much of the image that all steps divide it and it transforms fast."""
        data = self.filled
        if not self._periodic:
            data = data[tuple(slice(0, _whole_samples(n)) for n in data.shape)]
        mean = self.given.mean  # about theirs: the mode of frequency 0 counts for nothing
        if data.size >= MANY:
            with np.errstate(over="ignore"):  # what is beyond the range is not of common size
                narrow = np.subtract(data, mean, out=np.empty(data.shape, np.float32))
                variance = dot(narrow, narrow) / data.size
            if COMMON_SIZE**-2 < variance < COMMON_SIZE**2:
                modes = scipy.fft.dctn(narrow, norm="ortho", overwrite_x=True)
                power = ring_power(modes * modes, cosine_rings(modes.shape))
                if float(power.min()) > ROUNDING * variance:
                    self.__dict__["power"] = power
                    return np.asarray(modes)
        return np.asarray(scipy.fft.dctn(data - mean, norm="ortho", overwrite_x=True))

    @cached_property
    def rings(self) -> Rings:
        """Rings of these modes."""
        return cosine_rings(self.modes.shape)

    @cached_property
    def power(self) -> Float:
        """Spectrum, ring by ring."""
        return ring_power(self.modes * self.modes, self.rings)

    def movable(
        self, step: int, amplitude: Callable[[Float], Float] | None = None, *, rough: bool = False
    ) -> MovableImage:
        """The image as one that can be moved, of samples `step` px apart.

        With `rough` single precision will do.
        """
        single = rough and self._of_common_size
        if amplitude is None and (step, single) in self._movable:
            return self._movable[step, single]
        movable = MovableImage(
            self.filled, periodic=self._periodic, amplitude=amplitude, step=step, single=single
        )
        if amplitude is None:
            self._movable[step, single] = movable
        return movable

    @cached_property
    def _of_common_size(self) -> bool:
        """True if products of a few values and their inverses are numbers in single precision."""
        size = float(np.sqrt(np.mean(self.power)))
        return 1 / COMMON_SIZE < size < COMMON_SIZE

    @cached_property
    def spectrum(self) -> Complex:
        """Half spectrum of an image that wraps and has no holes, its mean taken out."""
        data = self.given.data
        return _without_mean(scipy.fft.rfftn(data - self.given.mean if self._high else data))

    @cached_property
    def narrow_spectrum(self) -> NDArray[np.complex64] | None:
        """The same in single precision.

        None if the values need more of its range, or are so few in double precision that nothing
        would be gained.
        """
        values = self.given.values
        if values.dtype != np.float32 and values.size < MANY:
            return None
        data, level = values, self.given.mean if self._high else 0.0
        with np.errstate(over="ignore"):
            if level or values.dtype != np.float32:
                data = np.empty(values.shape, dtype=np.float32)
                np.subtract(values, level, out=data, casting="same_kind")
            energy = dot(data, data)
        if not NARROW_RANGE**-2 < energy / values.size < NARROW_RANGE**2:
            return None
        return _without_mean(scipy.fft.rfftn(data))

    @property
    def _high(self) -> bool:
        """True if the mean would cost digits in the transform."""
        few = self.given.values[:: max(1, len(self.given.values) // 8)]
        return abs(self.given.mean) > HIGH_MEAN * (float(few.max()) - float(few.min()))


def _without_mean(spectrum: NDArray[Any]) -> NDArray[Any]:
    spectrum[(0,) * spectrum.ndim] = 0.0
    return spectrum


def _whole_samples(length: int) -> int:
    """Pixels of a side that samples far apart divide, and which transform fast."""
    unit = max([s for s in QUICK_STEPS if length // s >= QUICK_SIDE], default=1)
    return int(unit * fast_length(length // unit))
