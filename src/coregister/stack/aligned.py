"""Frames of a stack on one grid, one after the other, and their mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coregister.resample import translate
from coregister.result import Interpolation
from coregister.stack.frames import Frames

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration

Float = NDArray[np.float64]


def aligned(
    result: StackRegistration, frames: Any, interpolation: Interpolation = "cubic"
) -> Iterator[Float]:
    """See `StackRegistration.aligned`."""
    source = Frames.behind(result, frames)
    for t, good in enumerate(result.trusted):
        if not good:
            yield np.full(source.shape, np.nan)
            continue
        image = source.read(t)
        data = image.data
        if image.valid is not None:
            data = np.where(image.valid, data, np.nan)
        moved = translate(
            data,
            result.offsets[t],
            output_shape=source.shape,
            interpolation=interpolation,
            variance=None,
            periodic=result.periodic,
        )
        assert isinstance(moved, np.ndarray)
        yield moved


def mean(result: StackRegistration, frames: Any) -> tuple[Float, Float]:
    """See `StackRegistration.mean`."""
    count = total = square = np.zeros(result.shape)
    shift: Float | None = None
    for frame in aligned(result, frames):
        known = np.isfinite(frame)
        shift = np.where(known, frame, 0.0) if shift is None and known.any() else shift
        value = np.where(known, frame - (0.0 if shift is None else shift), 0.0)
        count = count + known
        total = total + value
        square = square + value**2
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = total / count
        variance = (square / count - middle**2) * count / (count - 1) / count
    middle = np.where(count > 0, middle + (0.0 if shift is None else shift), np.nan)
    return middle, np.where(count > 1, np.clip(variance, 0.0, None), np.nan)
