"""The bench on which the frames of a stack are compared: each moved onto the window of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.window import MARGIN, fast_length
from coregister.stack.basis import Waves, basis_of
from coregister.stack.ready import Ready

Float = NDArray[np.float64]

#: pixels around an invalid one that are felt when a frame is moved
FELT = 2
#: fewest samples along an axis of the window that all frames show
FEWEST = 24


class Common(NamedTuple):
    """The window that all frames show: where it begins in each, and its samples."""

    whole: NDArray[np.int_]
    starts: NDArray[np.int_]
    shape: tuple[int, ...]
    step: int
    periodic: bool = False


def common_window(
    offsets: Float, shape: tuple[int, ...], step: int, *, periodic: bool
) -> Common | None:
    """The window at the nearest whole offsets; None if hardly anything is left of it."""
    whole = np.rint(offsets).astype(int)
    if periodic:
        return Common(whole, whole, tuple(n // step for n in shape), step, True)
    first = np.maximum(0, -whole.min(axis=0)) + MARGIN * step
    last = np.array(shape) - np.maximum(0, whole.max(axis=0)) - MARGIN * step
    sizes = tuple(fast_length(max(int(n), 1), parity=False) for n in (last - first) // step)
    if min(sizes) < FEWEST:
        return None
    return Common(whole, whole + first, sizes, step)


@dataclass
class Frame:
    """What is known of one frame.

    Attributes
    ----------
    offset : (ndim,) array
        px.
    gain, weight : float
        Gain against the mean; inverse of its noise power over that of the median frame.
    own : (ndim, ndim) array
        Covariance that its noise alone brings.
    misfit : float
        Probability of a residual like its own, if it shows the scene.
    odd : float
        How far the spectrum of its residual is from that of the others: 1 within the noise.
    step : float
        Length of the last step, in bars, or of what is left of it.
    lost : bool array or None
        Pixels that no other frame shows so: cosmic rays, say.
    """

    offset: Float
    gain: float
    weight: float
    own: Float
    misfit: float
    odd: float
    step: float
    lost: NDArray[np.bool_] | None = None


class Part(NamedTuple):
    """A frame that takes part in a pass.

    Attributes
    ----------
    row : int
        Of the window's starts.
    half : int
        The half that it counts to.
    frame : Frame
        What is known of it.
    ready : Ready
        The frame itself.
    """

    row: int
    half: int
    frame: Frame
    ready: Ready


class Bench:
    """The frames of one window, and how they are moved.

    Parameters
    ----------
    common : Common
    known : (1 + ndim, ...) array, optional
        What stands in holes, and its derivatives; without it, what they are filled with.
    """

    def __init__(self, common: Common, known: Float | None = None) -> None:
        self.common = common
        self._known = known
        self.basis = basis_of(common.shape, common.step, periodic=common.periodic)
        self.rings = self.basis.rings
        self.ndim = len(common.shape)

    def moved(self, part: Part) -> Float | None:
        """Modes of a frame moved onto the window, over its gain; None if that takes its pixels."""
        if not (part.ready.plain and isinstance(self.basis, Waves)):
            return None
        return self.basis.moved(part.ready.movable, part.frame.offset, 1 / part.frame.gain)

    def fields(
        self, part: Part, *, gradient: bool
    ) -> tuple[list[Float], NDArray[np.bool_] | None, Float | None]:
        """A frame moved onto the window, over its gain, and its derivatives.

        Also its holes there, and 1/sigma of what is seen where that varies.
        """
        common, row, frame = self.common, part.row, part.frame
        fields = part.ready.movable.window(
            common.starts[row],
            common.shape,
            frame.offset - common.whole[row],
            gradient=gradient,
        )
        for field in fields:
            field /= frame.gain
        holes, weight = self._holes(row, part.ready), part.ready.weight
        if weight is not None:
            weight = weight[self._places(row, weight.shape)]
            if holes is not None:
                weight = weight * ~holes
        if holes is None or self._known is None:
            fields[0] -= fields[0].mean(dtype=np.float64)
        else:
            fields[0] -= np.mean((fields[0] - self._known[0])[~holes], dtype=np.float64)
            for field, known in zip(fields, self._known, strict=False):
                field[holes] = known[holes]
        return fields, holes, weight

    def _holes(self, row: int, ready: Ready) -> NDArray[np.bool_] | None:
        """Samples of the window that an invalid pixel is felt in; None if there is none."""
        if ready.bad is None:
            return None
        from scipy import ndimage

        common, full = self.common, ready.movable.size
        # the last but one sample that feels a pixel at either side; its neighbours do too
        ends = []
        for at, start, n, size in zip(
            np.unravel_index(ready.bad, full), common.starts[row], common.shape, full, strict=True
        ):
            place = (at - start) / common.step
            if common.periodic:
                place = (at - start) % size / common.step
            ends.append(
                [np.ceil(place - FELT).astype(int) + 1, np.floor(place + FELT).astype(int) - 1]
            )
            if common.periodic:
                ends[-1] = [end % n for end in ends[-1]]
        bad = np.zeros([n + 2 for n in common.shape], dtype=bool)  # one more on each side
        for corner in np.ndindex(*(2,) * self.ndim):
            index = np.stack([end[side] + 1 for end, side in zip(ends, corner, strict=True)])
            inside = np.all((index >= 0) & (index < np.array(bad.shape)[:, None]), axis=0)
            bad[tuple(index[:, inside])] = True
        middle = (slice(1, -1),) * self.ndim
        if common.periodic:
            holes = ndimage.maximum_filter(bad[middle], 3, mode="wrap")
        else:
            holes = ndimage.maximum_filter(bad, 3)[middle]
        return holes if holes.any() and not holes.all() else None

    def _places(self, row: int, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
        """Pixels of a frame where the samples of the window lie."""
        common = self.common
        places = (
            (s + common.step * np.arange(n)) % full
            for s, n, full in zip(common.starts[row], common.shape, shape, strict=True)
        )
        return np.ix_(*places)

    def modes(self, fields: Sequence[Float]) -> Float:
        """Modes of fields, which are lost, without their means."""
        return np.stack([self.basis.modes(field) for field in fields])
