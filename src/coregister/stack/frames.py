"""The door of stacks: whatever holds frames gives them one by one, when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.images import Image, as_image

Float = NDArray[np.float64]


class Frames:
    """Frames of one shape, read one at a time.

    Parameters
    ----------
    source : sequence or array
        An array whose first axis counts frames (numpy, dask, zarr, a memory map), or a sequence of
        images or of paths of files. Only ``len`` and indexing are asked of it.
    err, valid : array_like, optional
        As for `coregister.register`: one for all frames, or one a frame along the first axis.

    Raises
    ------
    InputError
        If there are fewer than two frames.
    """

    def __init__(self, source: Any, *, err: Any = None, valid: Any = None) -> None:
        if isinstance(source, (str, os.PathLike)):
            from coregister.io import open_stack

            source = open_stack(source)
        if isinstance(source, Iterator):
            source = list(source)
        if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
            raise InputError(
                f"frames is a {type(source).__name__}; an array whose first axis counts frames, or "
                "a list of images or paths, is needed"
            )
        if len(source) < 2:
            raise InputError(f"a stack of {len(source)} frames was given; at least 2 are needed")
        if getattr(source, "ndim", 3) < 2:
            raise InputError(
                f"frames has shape {source.shape}; a first axis that counts frames is needed"
            )
        self._source = source
        self._err, self._valid = err, valid
        self.shape = self.read(0).data.shape

    def __len__(self) -> int:
        return len(self._source)

    def array(self, index: int) -> NDArray[Any]:
        """One frame as it stands in the source."""
        return np.asarray(self._source[index])

    def read(self, index: int) -> Image:
        """One validated frame; one without a usable pixel comes as a constant image.

        Raises
        ------
        InputError
            If it is no image, or its shape is not that of the first.
        """
        name = f"frame {index}"
        frame = self._source[index]
        if not isinstance(frame, (str, os.PathLike, np.ma.MaskedArray)) and not hasattr(
            frame, "uncertainty"
        ):
            frame = np.asarray(frame)
            if frame.dtype.kind == "f" and not np.isfinite(frame).any():
                frame = np.zeros(frame.shape)
        shape = getattr(self, "shape", None)
        image = as_image(
            frame,
            err=_own(self._err, index, shape),
            valid=_own(self._valid, index, shape),
            name=name,
            err_name="err",
        )
        if shape is not None and image.data.shape != shape:
            raise InputError(
                f"{name} has shape {image.data.shape} and the first one {shape}; a stack has "
                "frames of one shape: crop them, or register them pair by pair"
            )
        return image


def _own(values: Any, index: int, shape: tuple[int, ...] | None) -> Any:
    """The errors or the mask of one frame."""
    if values is None or np.ndim(values) == 0 or shape is None:
        return values if np.ndim(values) == 0 else None if shape is None else values
    return values[index] if np.ndim(values) > len(shape) else values


def blocks(count: int, size: int) -> Sequence[range]:
    """Runs of neighbouring frames."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
