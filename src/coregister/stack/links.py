"""Where every frame lies, roughly: frames are linked to one of them, and through others to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import RegistrationWarning
from coregister.estimator.fill import without
from coregister.estimator.overlap.search import MAX_FILLED
from coregister.estimator.single import Single
from coregister.images import Image, together
from coregister.register import fits_of
from coregister.stack.frames import Frames
from coregister.stack.look import Look
from coregister.stack.rays import struck
from coregister.stack.ready import Kept, Ready, Samples, ready, samples_of
from coregister.status import ADVISORY, Status
from coregister.trust import conclude, in_place

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
    dispersion : float
        Probability of frequencies that disagree this much on the offset, if all see one scene.
    """

    offset: Float
    covariance: Float | None
    flags: frozenset[Status]
    clean: bool = False
    systematic: Float | None = None
    dispersion: float = 1.0

    @property
    def good(self) -> bool:
        """True if it can be built upon.

        A pattern that pulls at an offset is told better by the pairs of a stack together.
        """
        rest = self.flags - ADVISORY
        if rest == {Status.FIXED_PATTERN} and self.covariance is not None:
            return not in_place(self.offset, np.sqrt(self.covariance.diagonal()))
        return not rest


class Centre:
    """One frame, or an image made of several, which others are linked to."""

    def __init__(self, frames: Frames, index: int | Image, options: Options) -> None:
        self.image = index if isinstance(index, Image) else frames.read(index)
        self._options = options
        self._ready: Ready | None = None

    @cached_property
    def single(self) -> Single:
        """The frame without hot pixels and cosmic rays."""
        bad = struck(self.image.values)
        single = Single(self.image, periodic=self._options.periodic, clean=not bad.any())
        if bad.any():  # what it would find by itself, in more passes
            single.__dict__["image"] = without(self.image, bad)
        return single

    @cached_property
    def samples(self) -> Samples:
        """How frames are compared with it."""
        return self._options.samples or samples_of(self.single, periodic=self._options.periodic)

    def ready(self, samples: Samples) -> Ready:
        """The frame as one that can be moved."""
        if self._ready is None:
            self._ready = ready(self.single, samples, periodic=self._options.periodic)
        return self._ready

    @cached_property
    def _look(self) -> Look | None:
        """The frame as one in which others are found on few samples."""
        quick = self.samples.quick
        if quick is None or self.single.missing > MAX_FILLED:
            return None
        return Look(
            self.single,
            self.ready(self.samples).at(quick).movable,
            periodic=self._options.periodic,
            max_offset=self._options.max_offset,
        )

    def link(self, frames: Frames, index: int, *, full: bool = False) -> Link:
        """Link a frame: by a first look alone where that leaves no doubt."""
        return self.beside(Centre(frames, index, self._options), full=full)

    def beside(self, other: Centre, *, full: bool = False) -> Link:
        """Link another of its kind."""
        image = other.image
        if image.constant or self.image.constant:
            ndim = image.data.ndim
            return Link(np.zeros(ndim), None, frozenset({Status.CONSTANT_IMAGE}))
        clean = other.single.image is image
        if not full and self._look is not None and other.single.missing <= MAX_FILLED:
            best = self._look.of(other.ready(self.samples).at(self._look.step).movable)
            if best is not None:
                return Link(best, None, frozenset(), clean)
        pair = together(
            self.image,
            image,
            boundary=self._options.boundary,
            max_offset=self._options.max_offset,
            initial=None,
        )
        fits = fits_of(pair, (self.single, other.single))
        if not fits:
            return Link(np.zeros(pair.ndim), None, frozenset({Status.LOW_OVERLAP}), clean)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RegistrationWarning)
            result = conclude(pair, fits)
        # of two probabilities the lower one is half as unlikely
        dispersion = max(min(1.0, 2 * min(fit.dispersion)) for fit in fits)
        return Link(
            result.offset, result.covariance, result.flags, clean, result.systematic, dispersion
        )


def link_block(
    frames: Frames, hub: Centre, block: Iterable[int], options: Options, kept: Kept | None = None
) -> list[tuple[int, Link]]:
    """Links of some frames to one of them; what had to be made ready for it is kept."""
    links = []
    for index in block:
        other = Centre(frames, index, options)
        links.append((index, hub.beside(other)))
        if kept is not None and not (hub.image.constant or other.image.constant):
            kept.keep(index, other.ready(hub.samples))
    return links


def pair_link(frames: Frames, options: Options, i: int, j: int) -> Link:
    """Frame `j` against frame `i`, in full, with bars."""
    return Centre(frames, i, options).link(frames, j, full=True)


class Chosen(NamedTuple):
    """The frame that others are linked to.

    Attributes
    ----------
    number : int
    hub : Centre
        The frame itself.
    links : dict of int to Link
        To it, of those it was tried with.
    ready : Kept
        These frames, made ready.
    """

    number: int
    hub: Centre
    links: dict[int, Link]
    ready: Kept


def choose_centre(frames: Frames, options: Options) -> Chosen:
    """A frame that most others match: the middle one, unless it is a bad one."""
    count = len(frames)
    tries = sorted(
        {int(i) for i in np.linspace(0, count - 1, CENTRES).round()},
        key=lambda index: abs(index - count // 2),
    )
    probes = np.unique(np.linspace(0, count - 1, min(PROBES, count)).round().astype(int))
    best, most = None, -1.0
    for index in tries:
        hub, kept = Centre(frames, index, options), Kept(np.inf)
        links = dict(link_block(frames, hub, [int(p) for p in probes if p != index], options, kept))
        share = sum(link.good for link in links.values()) / len(links)
        if share > most:
            best, most = Chosen(index, hub, links, kept), share
        if share > 0.5:
            break
    assert best is not None
    return best


class Rough(NamedTuple):
    """Where frames lie, as links tell it.

    Attributes
    ----------
    offsets : (T, ndim) array
        px.
    flags : list of frozenset of Status
    part : (T,) array
        The part of the stack that each belongs to, 0 that of the centre; -1 of those that match
        nothing.
    clean : set of int
        Frames without hot pixels and rays.
    sharp : set of int
        Those that a first look found beyond doubt: their offsets are good to a part of a pixel.
    """

    offsets: Float
    flags: list[frozenset[Status]]
    part: NDArray[np.int_]
    clean: set[int]
    sharp: set[int]


def offsets_of_all(
    frames: Frames,
    centre: int,
    options: Options,
    run: Callable[[int, Sequence[int]], list[tuple[int, Link]]],
) -> Rough:
    """Where every frame lies from the centre.

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
    rough = Rough(
        np.zeros((count, ndim)), [frozenset()] * count, np.full(count, -1), set(), {centre}
    )
    offsets, flags, part, clean, sharp = rough
    part[centre] = 0
    far = []
    for index, link in run(centre, [i for i in range(count) if i != centre]):
        offsets[index], flags[index] = link.offset, link.flags
        if link.clean:
            clean.add(index)
        if link.good:
            part[index] = 0
            if link.covariance is None:
                sharp.add(index)
            if _shared(link.offset, frames.shape, options) < FAR:
                far.append(index)
    _spread_from(frames, rough, 0, far, run, options)
    number = 0
    while True:  # what hangs together without the centre
        left = [i for i in np.flatnonzero(part == -1) if Status.CONSTANT_IMAGE not in flags[i]]
        if len(left) < 2:
            break
        number += 1
        root = int(left[0])
        part[root] = number
        _spread_from(frames, rough, number, [], run, options)
        if np.count_nonzero(part == number) == 1:
            part[root] = -2  # matches nothing
            number -= 1
    part[part == -2] = -1
    return rough


def _shared(offset: Float, shape: tuple[int, ...], options: Options) -> float:
    """Share of a frame that two frames have in common."""
    if options.boundary == "periodic":
        return 1.0
    sides = np.array(shape, dtype=np.float64)
    return float(np.prod(np.clip(1 - np.abs(offset) / sides, 0.0, 1.0)))


def _spread_from(
    frames: Frames,
    rough: Rough,
    number: int,
    far: list[int],
    run: Callable[[int, Sequence[int]], list[tuple[int, Link]]],
    options: Options,
) -> None:
    """Link what is not reached to its nearest neighbours that are, outwards from them."""
    offsets, flags, part, _, sharp = rough
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
                sharp.discard(index)
                if link.covariance is None and nearest in sharp:
                    sharp.add(index)
                waiting.remove(index)
                again = True
