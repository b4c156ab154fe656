"""Frames made ready to be moved: read and transformed once, and kept."""

from __future__ import annotations

import os
import pickle
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, NamedTuple

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
    whole = image.valid is None
    data: Any = image.values if whole else single.filled
    movable = MovableImage(
        data,
        periodic=periodic,
        step=samples.step,
        single=samples.single,
        level=image.mean if whole else None,
    )
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
    """Frames that are ready: in memory while there is room for them, and on the disk beyond that.

    One process alone puts them into a file without a name, which goes with the process however
    that ends. Several put them into files in a folder, where they see it. What is not found, for
    want of room on the disk as well, is made ready anew.

    Parameters
    ----------
    room : float
        Bytes of memory.
    folder : path, optional
        Where other processes find the files, for as long as it is there.
    """

    def __init__(self, room: float, folder: str | os.PathLike[str] | None = None) -> None:
        self._room = room
        self._folder = None if folder is None else Path(folder)
        self._kept: dict[int, Ready] = {}
        self._file: IO[bytes] | None = None
        self._places: dict[int, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return vars(Kept(0.0, self._folder))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

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
        try:
            self._store(index, frame)
        except OSError:  # another machine, or a full disk
            self._places.pop(index, None)

    def take(self, other: Kept) -> None:
        """Keep what another has in memory."""
        for index, frame in other._kept.items():
            self.keep(index, frame)

    def _store(self, index: int, frame: Ready) -> None:
        if self._folder is not None:
            beside = self._folder / f"{index}-{os.getpid()}-{threading.get_ident()}"
            try:
                with beside.open("wb") as file:
                    pickle.dump(frame, file, protocol=5)
                os.replace(beside, self._folder / str(index))
            finally:
                beside.unlink(missing_ok=True)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="coregister-")  # noqa: SIM115
        place = self._file.seek(0, os.SEEK_END)
        pickle.dump(frame, self._file, protocol=5)
        self._places[index] = place

    def _stored(self, index: int) -> Ready | None:
        if self._folder is not None:
            try:
                with (self._folder / str(index)).open("rb") as file:
                    found: Ready = pickle.load(file)
            except FileNotFoundError:
                return None
            return found
        if self._file is None or index not in self._places:
            return None
        self._file.seek(self._places[index])
        again: Ready = pickle.load(self._file)
        return again
