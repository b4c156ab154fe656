"""Where every frame lies, roughly: frames are linked to one of them, and through others to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import RegistrationWarning
from coregister.estimator.overlap.search import MAX_FILLED, OverlapSearch
from coregister.estimator.search.steps import QUICK_CHANCE, beyond_doubt
from coregister.estimator.single import Single
from coregister.images import Image, Pair, together
from coregister.register import measure, route_of
from coregister.stack.frames import Frames
from coregister.stack.ready import Kept, Ready, Samples, ready
from coregister.status import ADVISORY, Status

Float = NDArray[np.float64]

#: frames that are tried as the one that the others are linked to, and how many it is tried with
CENTRES, PROBES = 5, 6
#: how far frames may be apart in the series that are looked for in parts without the centre
NEIGHBOURS = 4
#: share of a frame that an overlap with it must have: with less, a nearer frame is used
FAR = 0.6


@dataclass(frozen=True, kw_only=True)
class Options:
    """What holds for every frame; `samples` once a frame has been looked at."""

    boundary: str
    max_offset: Float | None
    samples: Samples | None = None

    @property
    def periodic(self) -> bool:
        """Frames continue at their other side."""
        return self.boundary == "periodic"


class Link(NamedTuple):
    """The offset of one frame with respect to another.

    Attributes
    ----------
    offset : (ndim,) array
        px.
    covariance : (ndim, ndim) array or None
        None where the search was so clear that the bars were not asked for.
    flags : frozenset of Status
    clean : bool
        The frame has no hot pixels or cosmic rays that it shows by itself.
    systematic : (ndim,) array or None
        Bound on what aliasing does to the offset, px; None like the covariance.
    """

    offset: Float
    covariance: Float | None
    flags: frozenset[Status]
    clean: bool = False
    systematic: Float | None = None

    @property
    def good(self) -> bool:
        """True if it can be built upon."""
        return self.flags <= ADVISORY


class Centre:
    """One frame, or an image made of several, which others are linked to."""

    def __init__(self, frames: Frames, index: int | Image, options: Options) -> None:
        self.image = index if isinstance(index, Image) else frames.read(index)
        self._options = options
        self.single = Single(self.image, periodic=options.boundary == "periodic")

    def link(self, frames: Frames, index: int, *, full: bool = False) -> Link:
        """Link a frame: by the search alone where that leaves no doubt."""
        return self.beside(Centre(frames, index, self._options), full=full)

    def beside(self, other: Centre, *, full: bool = False) -> Link:
        """Link another of its kind."""
        image = other.image
        if image.constant or self.image.constant:
            ndim = image.data.ndim
            return Link(np.zeros(ndim), None, frozenset({Status.CONSTANT_IMAGE}))
        clean = other.single.image is image
        if not full:
            best = self._clear(other)
            if best is not None:
                return Link(best, None, frozenset(), clean)
        pair = self._pair(self.image, image, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RegistrationWarning)
            result = measure(pair, (self.single, other.single))
        return Link(result.offset, result.covariance, result.flags, clean, result.systematic)

    @cached_property
    def ready(self) -> Ready:
        """The frame as one that can be moved."""
        assert self._options.samples is not None
        return ready(self.single, self._options.samples, periodic=self._options.periodic)

    @cached_property
    def small(self) -> Single:
        """The frame on the samples on which all are compared."""
        movable = self.ready.movable
        if movable.step == 1:
            return self.single
        shape = [n // movable.step for n in movable.size]
        zero = [0] * len(shape)
        (data,) = movable.window(zero, shape, np.zeros(len(shape)))
        image = Image(values=data.astype(np.float64, copy=False))
        return Single(image, periodic=self._options.periodic, clean=True)

    def _clear(self, other: Centre) -> Float | None:
        """The offset where a look at few samples leaves no doubt about it."""
        if self._options.samples is None:
            return clear_candidate(
                self._pair(self.image, other.image, 1), (self.single, other.single)
            )
        if max(self.single.missing, other.single.missing) > MAX_FILLED:
            return None
        small, step = (self.small, other.small), self._options.samples.step
        best = clear_candidate(self._pair(small[0].given, small[1].given, step), small)
        return None if best is None else best * step

    def _pair(self, first: Image, second: Image, step: int) -> Pair:
        reach = self._options.max_offset
        return together(
            first,
            second,
            boundary=self._options.boundary,
            max_offset=None if reach is None else reach / step,
            initial=None,
        )


def clear_candidate(pair: Pair, singles: tuple[Single, Single]) -> Float | None:
    """The offset, to a fraction of a sample, where a first look leaves no doubt about it."""
    if pair.boundary == "periodic":
        candidates = route_of(pair, singles).search()
    else:
        clean = replace(pair, reference=singles[0].image, moving=singles[1].image)
        search = OverlapSearch(clean, singles, every_pixel=False)
        quick = search.steps[1]
        candidates = [] if quick is None else search.candidates(quick)
    if not candidates or not beyond_doubt(candidates):
        return None
    best = candidates[0]
    return None if best.at_edge or best.false_alarm > QUICK_CHANCE else best.offset


def link_block(
    frames: Frames, hub: Centre, block: Iterable[int], options: Options, kept: Kept | None = None
) -> list[tuple[int, Link]]:
    """Links of some frames to one of them; what had to be made ready for it is kept."""
    links = []
    for index in block:
        other = Centre(frames, index, options)
        links.append((index, hub.beside(other)))
        if kept is not None and options.samples is not None and not other.image.constant:
            kept.keep(index, other.ready)
    return links


def pair_link(frames: Frames, options: Options, i: int, j: int) -> Link:
    """Frame `j` against frame `i`, in full, with bars."""
    return Centre(frames, i, options).link(frames, j, full=True)


def choose_centre(frames: Frames, options: Options) -> int:
    """A frame that most others match: the middle one, unless it is a bad one."""
    count = len(frames)
    tries = sorted(
        {int(i) for i in np.linspace(0, count - 1, CENTRES).round()},
        key=lambda index: abs(index - count // 2),
    )
    probes = np.unique(np.linspace(0, count - 1, min(PROBES, count)).round().astype(int))
    best, most = tries[0], -1.0
    for index in tries:
        others = [int(p) for p in probes if p != index]
        links = link_block(frames, Centre(frames, index, options), others, options)
        share = sum(link.good for _, link in links) / len(links)
        if share > 0.5:
            return index
        if share > most:
            best, most = index, share
    return best


def offsets_of_all(
    frames: Frames,
    centre: int,
    options: Options,
    run: Callable[[int, Sequence[int]], list[tuple[int, Link]]],
) -> tuple[Float, list[frozenset[Status]], NDArray[np.int_], set[int]]:
    """Offset of every frame from the centre, flags, the part it belongs to, and the clean ones.

    Frames that the centre does not reach, or hardly, are linked to the nearest frame that is
    known, until nothing more is reached. What is left may hang together by itself.

    Parameters
    ----------
    frames : Frames
    centre : int
    options : Options
    run : callable
        Links some frames to one: `link_block`, on whatever machine.
    """
    count, ndim = len(frames), len(frames.shape)
    offsets = np.zeros((count, ndim))
    flags: list[frozenset[Status]] = [frozenset()] * count
    part = np.full(count, -1)
    part[centre] = 0
    far = []
    clean = set()
    for index, link in run(centre, [i for i in range(count) if i != centre]):
        offsets[index], flags[index] = link.offset, link.flags
        if link.clean:
            clean.add(index)
        if link.good:
            part[index] = 0
            if _shared(link.offset, frames.shape, options) < FAR:
                far.append(index)
    _spread_from(frames, offsets, flags, part, 0, far, run, options)
    number = 0
    while True:  # what hangs together without the centre
        left = [i for i in np.flatnonzero(part == -1) if Status.CONSTANT_IMAGE not in flags[i]]
        if len(left) < 2:
            break
        number += 1
        root = int(left[0])
        part[root] = number
        _spread_from(frames, offsets, flags, part, number, [], run, options)
        if np.count_nonzero(part == number) == 1:
            part[root] = -2  # matches nothing
            number -= 1
    part[part == -2] = -1
    return offsets, flags, part, clean


def _shared(offset: Float, shape: tuple[int, ...], options: Options) -> float:
    """Share of a frame that two frames have in common."""
    if options.boundary == "periodic":
        return 1.0
    sides = np.array(shape, dtype=np.float64)
    return float(np.prod(np.clip(1 - np.abs(offset) / sides, 0.0, 1.0)))


def _spread_from(
    frames: Frames,
    offsets: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    number: int,
    far: list[int],
    run: Callable[[int, Sequence[int]], list[tuple[int, Link]]],
    options: Options,
) -> None:
    """Link what is not reached to its nearest neighbours that are, outwards from them."""
    waiting = sorted({*map(int, np.flatnonzero(part == -1)), *far})
    tried: set[tuple[int, int]] = set()
    again = True
    while again:
        again = False
        for index in list(waiting):
            known = np.array([i for i in np.flatnonzero(part == number) if i not in waiting])
            if known.size == 0 or Status.CONSTANT_IMAGE in flags[index]:
                continue
            nearest = int(known[np.argmin(np.abs(known - index))])
            if (index, nearest) in tried or (number > 0 and abs(index - nearest) > NEIGHBOURS):
                continue
            tried.add((index, nearest))
            ((_, link),) = run(nearest, [index])
            if link.good:
                offsets[index] = offsets[nearest] + link.offset
                flags[index] = link.flags
                part[index] = number
                waiting.remove(index)
                again = True
