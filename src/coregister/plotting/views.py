"""A pair as it is shown, before and after it is aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coregister.images import Image, Pair
from coregister.resample import translate
from coregister.result import Registration

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Views:
    """A pair as it is shown: in units of the reference, NaN where unknown.

    Attributes
    ----------
    reference : array
    moving : array
        On its own grid, gain and background taken out.
    before : array
        The same on the grid of the reference, pixel for pixel.
    after : array
        The same brought onto the reference.
    common : tuple of (float, float), or None
        First and last index of the reference that both show, an axis each; None if nearly all.
    offset : array
        What takes an index of the reference to one of `moving`.
    ndim : int
        Axes of the data; `plane` keeps it.
    """

    reference: Float
    moving: Float
    before: Float
    after: Float
    common: tuple[tuple[float, float], ...] | None
    offset: Float
    ndim: int
    title: str = ""

    @classmethod
    def of(cls, result: Registration, pair: Pair) -> Views:
        """Apply the result to its pair."""
        reference, moving = _visible(pair.reference), _visible(pair.moving)
        if np.isfinite(result.gain) and result.gain != 0 and np.isfinite(result.background):
            moving = (moving - result.background) / result.gain
        before = translate(moving, np.zeros(moving.ndim), output_shape=reference.shape)
        after = result.apply(moving, output_shape=reference.shape)
        assert isinstance(before, np.ndarray)  # no variance was given
        assert isinstance(after, np.ndarray)
        return cls(
            reference=reference,
            moving=moving,
            before=before,
            after=after,
            common=_common(result, reference.shape, moving.shape),
            offset=result.offset,
            ndim=reference.ndim,
        )

    def plane(self) -> Views:
        """The central plane along the leading axes, so that at most two are left."""
        leading = self.ndim - 2
        if leading <= 0:
            return self
        middle = tuple(n // 2 for n in self.reference.shape[:leading])
        partner = tuple(
            min(max(round(i + d), 0), n - 1)
            for i, d, n in zip(middle, self.offset, self.moving.shape, strict=False)
        )
        return Views(
            reference=self.reference[middle],
            moving=self.moving[partner],
            before=self.before[middle],
            after=self.after[middle],
            common=self.common and self.common[leading:],
            offset=self.offset[leading:],
            ndim=self.ndim,
            title=", ".join(f"plane {i} of axis {axis}" for axis, i in enumerate(middle)),
        )

    @property
    def difference_before(self) -> Float:
        """Moving minus reference, pixel for pixel."""
        return self.before - self.reference

    @property
    def difference_after(self) -> Float:
        """Aligned minus reference."""
        return self.after - self.reference

    def difference_scale(self) -> float:
        """Half-range that suits the difference before; the one after is shown in it too."""
        for values in (self.difference_before, self.difference_after):
            known = np.abs(values[np.isfinite(values)])
            if known.size and (scale := float(np.percentile(known, 99.0))) > 0:
                return scale
        return 1.0

    def grey_scale(self) -> tuple[float, float, float]:
        """Black, white and exponent that show the reference well.

        The exponent is 1, or less where a few bright places would leave all else in the dark.
        """
        known = self.reference[np.isfinite(self.reference)]
        if known.size == 0:
            return 0.0, 1.0, 1.0
        low, middle, high = (float(value) for value in np.percentile(known, (0.5, 50.0, 99.7)))
        if high <= low:
            return low - 0.5, low + 0.5, 1.0
        level = (middle - low) / (high - low)
        lifted = np.log(0.25) / np.log(min(max(level, 1e-3), 0.999))
        return low, high, float(np.clip(lifted, 0.35, 1.0))

    def noise(self) -> float:
        """Robust 1-sigma of the difference after: 1.48 times its median absolute deviation."""
        known = self.difference_after[np.isfinite(self.difference_after)]
        if known.size == 0:
            return 1.0
        return float(1.4826 * np.median(np.abs(known - np.median(known)))) or 1.0


def _common(
    result: Registration, shape: tuple[int, ...], moving_shape: tuple[int, ...]
) -> tuple[tuple[float, float], ...] | None:
    sides = tuple(
        (max(0.0, -d), min(n, m - d) - 1.0)
        for d, n, m in zip(result.offset, shape, moving_shape, strict=True)
    )
    share = np.prod([max(0.0, last - first + 1) for first, last in sides])
    hidden = share > 0.98 * max(np.prod(shape), np.prod(moving_shape))
    return None if hidden or share == 0 or result.boundary == "periodic" else sides


def _visible(image: Image) -> Float:
    return image.data if image.valid is None else np.where(image.valid, image.data, np.nan)
