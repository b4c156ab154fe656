"""The door of stacks: whatever holds frames gives them one by one, when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.images import Image, as_image
from coregister.io.times import Times, times_of

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration

Float = NDArray[np.float64]


class Frames:
    """Frames of one shape, read one at a time.

    Parameters
    ----------
    source : sequence or array
        An array whose first axis counts frames (numpy, dask, zarr, a memory map), or a sequence of
        images or of paths of files. Only ``len`` and indexing are asked of it.
    err : float or array_like, optional
        1-sigma noise: one number or array for all frames, or one a frame along the first axis.
    valid : array_like of bool, optional
        One mask for all frames, or one a frame along the first axis.
    before : image or path, optional
        Counts as a frame before the first.
    padded : bool
        As for `coregister.images.as_image`.

    Raises
    ------
    InputError
        If there are fewer than two frames.
    """

    def __init__(
        self,
        source: Any,
        *,
        err: Any = None,
        valid: Any = None,
        before: Any = None,
        padded: bool = True,
    ) -> None:
        if isinstance(source, (str, os.PathLike)):
            from coregister.io import open_stack

            source = open_stack(source)
        if isinstance(source, Iterator):
            source = list(source)
        if (
            isinstance(source, Mapping)
            or not hasattr(source, "__len__")
            or not hasattr(source, "__getitem__")
        ):
            raise InputError(
                f"frames is a {type(source).__name__}; an array whose first axis counts frames, or "
                "a list of images or paths, is needed"
            )
        self._source, self._before, self._padded = source, before, padded
        self._valid = valid
        if len(self) < 2:
            raise InputError(f"a stack of {len(source)} frames was given; at least 2 are needed")
        if getattr(source, "ndim", 3) < 2:
            raise InputError(
                f"frames has shape {source.shape}; a first axis that counts frames is needed"
            )
        self.shape: tuple[int, ...] = ()
        self._err: Any = None  # until the shape is known
        self._err_each = False
        self.shape = self.read(0).values.shape
        self._err = err
        self._err_each = self._one_err_each()

    def __len__(self) -> int:
        return len(self._source) + (self._before is not None)

    def _at(self, index: int) -> tuple[Any, int | None]:
        """A frame of the source and its number there; the one before has none."""
        if self._before is None:
            return self._source[index], index
        return (self._before, None) if index == 0 else (self._source[index - 1], index - 1)

    @classmethod
    def behind(cls, result: StackRegistration, frames: Any) -> Frames:
        """The frames that were registered, once more.

        Raises
        ------
        InputError
            If their number or shape is another.
        """
        source = frames if isinstance(frames, cls) else cls(frames, padded=not result.periodic)
        if len(source) != len(result):
            raise InputError(
                f"{len(source)} frames were given and {len(result)} registered; they must agree"
            )
        if source.shape != tuple(result.shape):
            raise InputError(
                f"frames of shape {source.shape} were given and {result.shape} registered; offsets "
                "count pixels of one grid: give frames on that grid"
            )
        return source

    @property
    def scale(self) -> tuple[tuple[float, str], ...] | None:
        """Size of a pixel along each axis of a frame and its unit, if the source says so."""
        found = getattr(self._source, "scale", None)
        return found if isinstance(found, tuple) else None

    def times(self) -> Times | None:
        """When the frames of the source were taken, if it says so."""
        return times_of(self._source)

    def array(self, index: int) -> NDArray[Any]:
        """One frame as it stands in the source."""
        return np.asarray(self._at(index)[0])

    def stored(self, index: int) -> NDArray[Any]:
        """One frame as it stands in the source, also in a file."""
        frame = self._at(index)[0]
        if isinstance(frame, (str, os.PathLike)):
            from coregister.io import read

            frame = read(frame).data
        return np.asarray(getattr(frame, "data", frame) if hasattr(frame, "is_image") else frame)

    def read(self, index: int) -> Image:
        """One validated frame; one without a usable pixel comes as a constant image.

        Raises
        ------
        InputError
            If it is no image, or its shape is not that of the first.
        """
        name = f"frame {index}"
        frame, number = self._at(index)
        plain = not isinstance(frame, (str, os.PathLike, np.ma.MaskedArray))
        if plain and not hasattr(frame, "uncertainty") and not hasattr(frame, "is_image"):
            frame = np.asarray(frame)
            first = frame[(0,) * frame.ndim] if frame.size and frame.dtype.kind == "f" else 0
            if not np.isfinite(first) and not np.isfinite(frame).any():
                frame = np.zeros(frame.shape)
        image = as_image(
            frame,
            err=self._errors(number),
            valid=self._mask(number),
            name=name,
            err_name="err",
            kept=False,  # read anew for whatever is done later
            padded=self._padded,
        )
        if self.shape and image.values.shape != self.shape:
            raise InputError(
                f"{name} has shape {image.values.shape} and the first one {self.shape}; a stack "
                "has frames of one shape: crop them, or register them pair by pair"
            )
        return image

    def _one_err_each(self) -> bool:
        """False if one number, or one array, holds for all frames."""
        if self._err is None:
            return False
        err, count = self._err, len(self._source)
        listed = isinstance(err, Sequence) and len(err) > 0
        shape = (len(err), *np.shape(err[0])) if listed else np.shape(err)
        if shape in ((count,), (count, *self.shape)):
            return True
        if shape in ((), self.shape):
            return False
        raise InputError(
            f"err has shape {shape}; one number, one for each of {count} frames, an array of the "
            f"shape of a frame, {self.shape}, or one such array a frame is needed"
        )

    def _errors(self, number: int | None) -> Any:
        """The errors of one frame; the one before has those that hold for all."""
        if not self._err_each:
            return self._err
        return None if number is None else self._err[number]

    def _mask(self, number: int | None) -> Any:
        """The mask of one frame."""
        one_each = np.ndim(self._valid) > 1 and len(self._valid) == len(self._source)
        if one_each and np.ndim(self._valid) == 1 + len(np.shape(self._source[0])):
            return None if number is None else self._valid[number]
        return self._valid
