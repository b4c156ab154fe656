"""Frames made ready to be moved: read and transformed once, and kept."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.movable import COARSER, MovableImage
from coregister.estimator.rings import Rings, cosine_rings
from coregister.estimator.search.filters import auto_coherence
from coregister.estimator.search.steps import steps_between_samples
from coregister.estimator.single import Single

Float = NDArray[np.float64]


class Samples(NamedTuple):
    """How the frames are compared.

    Attributes
    ----------
    step : int
        Pixels between samples: what the frames hold is no finer.
    single : bool
        Single precision will do.
    quick : int or None
        The same for a first look; None where a few samples would not tell.
    """

    step: int
    single: bool
    quick: int | None = None


class Ready(NamedTuple):
    """A frame that can be moved.

    Attributes
    ----------
    movable : MovableImage
    bad : int array or None
        Invalid pixels, by their number in the flat frame.
    weight : array or None
        1/sigma over its median; None if all alike.
    lost : int
        How many pixels were left out because no other frame shows them so.
    """

    movable: MovableImage
    bad: NDArray[np.int32] | None
    weight: Float | None
    lost: int = 0

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        held = [self.movable, self.bad, self.weight]
        return sum(0 if part is None else int(part.nbytes) for part in held)

    @property
    def plain(self) -> bool:
        """True without holes, if all pixels count alike."""
        return self.bad is None and self.weight is None

    def at(self, step: int) -> Ready:
        """The same frame on samples farther apart."""
        coarser = step // self.movable.step
        return self if coarser == 1 else self._replace(movable=self.movable.coarser(coarser))


def ready(
    single: Single, samples: Samples, *, periodic: bool, lost: NDArray[np.bool_] | None = None
) -> Ready:
    """A frame, made ready.

    Parameters
    ----------
    single : Single
    samples : Samples
    periodic : bool
    lost : bool array, optional
        Pixels to leave out.
    """
    if lost is not None:
        single = single.without(lost)
    image = single.image
    data: Any = image.values if image.valid is None else single.filled
    movable = MovableImage(data, periodic=periodic, step=samples.step, single=samples.single)
    valid, sigma = single.image.valid, single.image.sigma
    bad = None if valid is None or valid.all() else np.flatnonzero(~valid).astype(np.int32)
    weight = np.median(sigma) / sigma if isinstance(sigma, np.ndarray) else None
    return Ready(movable, bad, weight, 0 if lost is None else int(np.count_nonzero(lost)))


def samples_of(single: Single, *, periodic: bool) -> Samples:
    """How frames like this one are compared."""
    rings = single.rings
    sides = single.modes.shape

    def modes(step: int) -> Rings:
        return cosine_rings([n // step for n in sides], step)

    coherence = auto_coherence(rings.frequency, [single.power] * 2, rings.count)
    divisor = int(np.gcd.reduce((8, *sides))) if periodic else 0
    step, quick = steps_between_samples(
        modes, rings.frequency, coherence, min(sides), len(sides), divisor=divisor
    )
    if quick is not None:
        quick = min(max(quick, step), COARSER * step)  # what a frame can be thinned to
    elif periodic:
        quick = step
    return Samples(step, single.modes.dtype == np.float32, quick)


class Kept:
    """Frames that are ready: in memory while there is room for them, and in files beyond that.

    What another process makes ready goes to a file, where that process sees the folder. What is
    not found, for want of room on the disk as well, is made ready anew.

    Parameters
    ----------
    room : float
        Bytes of memory.
    folder : path
        Where the files go, for as long as it is there.
    """

    def __init__(self, room: float, folder: str | os.PathLike[str]) -> None:
        self._room = room
        self._folder = Path(folder)
        self._kept: dict[int, Ready] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_room": 0.0, "_folder": self._folder, "_kept": {}}

    def get(self, index: int, lost: NDArray[np.bool_] | None, step: int) -> Ready | None:
        """A frame without the pixels that are lost, `step` px apart; None if it is not kept."""
        found = self._kept.get(index)
        if found is None:
            found = self._stored(index)
        count = 0 if lost is None else int(np.count_nonzero(lost))
        return found.at(step) if found is not None and found.lost == count else None

    def keep(self, index: int, frame: Ready) -> None:
        """Keep a frame, as far as there is room."""
        before = self._kept.pop(index, None)
        self._room += 0 if before is None else before.nbytes
        if frame.nbytes <= self._room:
            self._kept[index] = frame
            self._room -= frame.nbytes
            return
        beside = self._folder / f"{index}-{os.getpid()}-{threading.get_ident()}"
        try:
            with beside.open("wb") as file:
                pickle.dump(frame, file, protocol=5)
            os.replace(beside, self._folder / str(index))
        except OSError:  # another machine, or a full disk
            beside.unlink(missing_ok=True)

    def _stored(self, index: int) -> Ready | None:
        try:
            with (self._folder / str(index)).open("rb") as file:
                found: Ready = pickle.load(file)
        except FileNotFoundError:
            return None
        return found
