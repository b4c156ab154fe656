"""Stacks: where the content of every frame of a series lies."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.compare import MovableImage
from coregister.errors import InputError, RegistrationWarning
from coregister.images import together
from coregister.search import auto_coherence, steps_between_samples
from coregister.single import Single
from coregister.spectrum import Rings, cosine_rings
from coregister.stack.drift import smooth
from coregister.stack.frames import Frames, blocks
from coregister.stack.joint import (
    MAX_PASSES,
    MISFIT,
    TOLERANCE,
    Bench,
    Common,
    Frame,
    Sums,
    Template,
    common_window,
    settle,
)
from coregister.stack.links import (
    Centre,
    Link,
    Options,
    choose_centre,
    link_block,
    offsets_of_all,
)
from coregister.stack.result import StackRegistration
from coregister.stack.run import Checkpoint, Progress, Run
from coregister.status import Status

Float = NDArray[np.float64]

__all__ = ["Frames", "StackRegistration", "register_stack"]

#: loops of three frames that are measured pair by pair
LOOPS = 3


def register_stack(
    frames: Any,
    *,
    reference: str | int | ArrayLike | os.PathLike[str] = "all",
    err: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    boundary: Literal["overlap", "periodic"] = "overlap",
    max_offset: ArrayLike | None = None,
    drift: Literal["smooth"] | None = None,
    memory: float = 512e6,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> StackRegistration:
    """Measure how far the frames of a series are displaced, jointly, each with its bars.

    Frames are linked to one of them, in the middle if it is a good one, and through others where
    it is not reached; then all of them are brought to the joint optimum, at which every frame
    agrees best with what all frames show together.

    Parameters
    ----------
    frames : array_like or sequence
        An array whose first axis counts frames (numpy, dask, zarr, a memory map), a list of images
        or of paths. Frames are read when they are needed, one at a time; never modified.
    reference : {"all", "first", "previous"}, int, path or array_like
        What offsets are counted from. "all": they sum to zero over the trusted frames. "first" or
        a number: that frame. "previous": each frame is compared with the one before alone, and
        offsets add up, for scenes that change; bars grow along the series. An image, or its path:
        it takes part like a frame, and offsets are counted from it.
    err, valid : array_like, optional
        As for `register`: one for all frames, or one a frame along the first axis.
    boundary : {"overlap", "periodic"}
        As for `register`.
    max_offset : float or array_like, optional
        Frames are looked for within so many pixels of the one that they are linked to.
    drift : {"smooth"}, optional
        Also fit a smooth motion, with its own bars, and test if there is any.
    memory : float
        Bytes that may be kept between passes; frames beyond are read again.
    executor : concurrent.futures.Executor, optional
        Does the work block by block: processes here, or ``Client.get_executor()`` of a
        dask cluster. The numbers are the same.
    checkpoint : path, optional
        File that keeps the links found so far: a run that was stopped goes on from it.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    StackRegistration

    Raises
    ------
    InputError
        If the input cannot be used.

    Warns
    -----
    RegistrationWarning
        Once, if any frame is flagged.

    Notes
    -----
    Frames that match nothing carry no weight. Where no window is common to all frames, the offsets
    are those of the links, whose bars add up.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> rng = np.random.default_rng(0)
    >>> scene = cr.random_scene("power-law-3", (96, 96), rng=rng)
    >>> movie = cr.simulate_stack(
    ...     scene, [(0, 0), (0.5, -1), (1, -2)], noise=0.05, rng=rng, shape=(64, 64)
    ... )
    >>> result = cr.register_stack(movie, reference="first")
    >>> result.offsets.round(1).tolist()
    [[0.0, 0.0], [0.5, -1.0], [1.0, -2.0]]
    """
    if drift not in (None, "smooth"):
        raise InputError(f"drift={drift!r} is not known; use 'smooth', or leave it out")
    external = _external(reference)
    stack = Frames(
        frames if external is None else _WithReference(frames, external), err=err, valid=valid
    )
    number = _number(reference, len(stack)) if external is None else 0
    first = stack.read(0)
    pair = together(first, first, boundary=boundary, max_offset=max_offset, initial=None)
    options = Options(boundary=boundary, max_offset=pair.max_offset)
    run = Run(executor, Checkpoint(checkpoint, _key(stack, options)), progress, len(stack))
    if reference == "previous" and external is None:
        result = _chain(stack, options, run)
    else:
        result = _joint(stack, options, run, memory)
    if drift is not None:
        result = replace(
            result,
            drift=smooth(result.offsets, np.einsum("tii->ti", result.own), result.trusted),
        )
    if number is not None:
        result = result.relative_to(number)
    if reference == "first" and external is None:
        result = replace(result, reference="first")
    if external is not None:
        result = _without_first(result)
    if not result.trusted.all():
        bad = np.flatnonzero(~result.trusted)
        warnings.warn(
            f"{bad.size} of {len(result)} frames are flagged: "
            + ", ".join(f"{t} {result.status[t]}" for t in bad[:6])
            + (", ..." if bad.size > 6 else ""),
            RegistrationWarning,
            stacklevel=2,
        )
    return result


# ------------------------------------------------------------------------------------ the door


class _WithReference:
    """Frames with an image before them."""

    def __init__(self, frames: Any, reference: Any) -> None:
        self._frames, self._reference = frames, reference
        self.ndim = 3  # of a stack

    def __len__(self) -> int:
        return 1 + len(self._frames)

    def __getitem__(self, index: int) -> Any:
        return self._reference if index == 0 else self._frames[index - 1]


def _external(reference: Any) -> Any:
    if isinstance(reference, str) and reference in ("all", "first", "previous"):
        return None
    return None if isinstance(reference, (int, np.integer)) else reference


def _number(reference: Any, count: int) -> int | None:
    if reference == "first":
        return 0
    if isinstance(reference, str):
        return None
    number = int(reference)
    if not -count <= number < count:
        raise InputError(f"reference={number} is not in a stack of {count} frames; count from 0")
    return number % count


def _key(frames: Frames, options: Options) -> str:
    """What a checkpoint must agree with."""
    reach = None if options.max_offset is None else options.max_offset.tolist()
    about = [len(frames), list(frames.shape), options.boundary, reach]
    ends = hashlib.sha256()
    for index in (0, len(frames) // 2, len(frames) - 1):
        ends.update(frames.read(index).data.tobytes())
    return json.dumps([about, ends.hexdigest()])


def _without_first(result: StackRegistration) -> StackRegistration:
    """A stack registered to an image, that image left out."""
    return replace(
        result,
        offsets=result.offsets[1:],
        covariances=result.covariances[1:],
        own=result.own[1:],
        flags=result.flags[1:],
        part=result.part[1:],
        reference="image",
        drift=None
        if result.drift is None
        else replace(
            result.drift, offsets=result.drift.offsets[1:], stderr=result.drift.stderr[1:]
        ),
    )


# ------------------------------------------------------------------------------------ joint


def _joint(frames: Frames, options: Options, run: Run, memory: float) -> StackRegistration:
    centre = run.remember("centre", lambda: choose_centre(frames, options))
    offsets, flags, part = offsets_of_all(
        frames, centre, options, partial(run.links, link_block, frames, options)
    )
    ndim = len(frames.shape)
    good = np.flatnonzero(part == 0)
    own = np.zeros((len(frames), ndim, ndim))
    for t in range(len(frames)):
        if part[t] > 0:
            flags[t] = frozenset({Status.DISCONNECTED})
        elif part[t] < 0 and not flags[t]:
            flags[t] = frozenset({Status.NO_MATCH})
    known = _settled(frames, offsets, good, centre, options, run, memory)
    if known is None:
        return _linked(frames, offsets, flags, part, good, options)
    members, misfits = known
    for t, frame in members.items():
        offsets[t], own[t] = frame.offset, frame.own
        if t in misfits:
            flags[t] = frozenset({Status.MISFIT})
        elif not np.all(np.diag(frame.own) > 0):
            flags[t] = flags[t] | {Status.UNDETERMINED_AXIS}
    trusted = np.array([t for t in good if t not in misfits])
    closure = _closure(frames, offsets, own, trusted, options)
    if closure > 1:
        own *= closure**2
    return _centred(frames, offsets, own, flags, part, trusted, closure, options)


def _settled(
    frames: Frames,
    offsets: Float,
    good: NDArray[np.intp],
    centre: int,
    options: Options,
    run: Run,
    memory: float,
) -> tuple[dict[int, Frame], set[int]] | None:
    """All good frames at the joint optimum, and those that do not fit; None without a window."""
    if good.size < 2:
        return None
    periodic = options.boundary == "periodic"
    step = _step(frames, centre, periodic)
    members = {
        int(t): Frame(offsets[t].copy(), 1.0, 1.0, np.zeros((2, 2)), 1.0, np.inf) for t in good
    }
    misfits: set[int] = set()
    kept = _Kept(memory)
    for last in range(MAX_PASSES):
        rows = np.array([members[int(t)].offset for t in good])
        common = common_window(rows, frames.shape, step, periodic=periodic)
        if common is None:
            return None
        table = [(int(t), row, members[int(t)]) for row, t in enumerate(good)]
        counted = [entry for entry in table if entry[0] not in misfits]
        # every other one makes a half
        halved = [(t, row, i % 2, frame) for i, (t, row, frame) in enumerate(counted)]
        shared = (frames, common, periodic, kept if run.local else None)
        parts = run.map(_sums, shared, _blocked(halved))
        sums = Sums(*(np.sum([getattr(p, n) for p in parts], axis=0) for n in Sums._fields))
        bench = Bench(lambda _: _never(), common)
        template = bench.template(sums, len(counted))
        for block in run.map(_improved, (*shared, template), _blocked(table)):
            members.update(block)
        settle([members[t] for t, _, _ in counted])
        mean = np.mean([members[t].offset for t, _, _ in counted], axis=0)
        for t in members:
            members[t].offset = members[t].offset - mean
        if last > 0 and max(members[t].step for t, _, _ in counted) < TOLERANCE:
            new = {t for t, f in members.items() if f.misfit < MISFIT and t not in misfits}
            if not new or len(members) - len(misfits | new) < max(2, 0.5 * len(members)):
                break
            misfits |= new
    return members, misfits


def _never() -> MovableImage:
    raise AssertionError("a template has no frame to move")


def _blocked(entries: Sequence[Any]) -> list[list[Any]]:
    """Blocks of neighbouring frames; the same for every executor, so that sums are too."""
    return [[entries[i] for i in block] for block in blocks(len(entries), 16)]


class _Kept:
    """Frames that can be moved, kept while there is room for them."""

    def __init__(self, memory: float) -> None:
        self._room = memory
        self._kept: dict[int, MovableImage] = {}

    def get(self, frames: Frames, index: int, step: int, *, periodic: bool) -> MovableImage:
        if index in self._kept:
            return self._kept[index]
        single = Single(frames.read(index), periodic=periodic)
        movable = MovableImage(single.filled, periodic=periodic, step=step)
        if movable.nbytes < self._room:
            self._room -= movable.nbytes
            self._kept[index] = movable
        return movable


def _bench(frames: Frames, common: Common, periodic: bool, kept: _Kept | None) -> Bench:
    kept = _Kept(0.0) if kept is None else kept
    return Bench(lambda index: kept.get(frames, index, common.step, periodic=periodic), common)


def _sums(
    shared: tuple[Frames, Common, bool, _Kept | None], block: list[tuple[int, int, int, Frame]]
) -> Sums:
    return _bench(*shared).add(block)


def _improved(
    shared: tuple[Frames, Common, bool, _Kept | None, Template], block: list[tuple[int, int, Frame]]
) -> dict[int, Frame]:
    bench, template = _bench(*shared[:-1]), shared[-1]
    return {t: bench.improve(t, row, frame, template) for t, row, frame in block}


def _step(frames: Frames, centre: int, periodic: bool) -> int:
    """Pixels between the samples that are compared: what the frames hold is no finer."""
    single = Single(frames.read(centre), periodic=periodic)
    if periodic:
        return 1
    rings = single.rings
    sides = single.modes.shape

    def modes(step: int) -> Rings:
        return cosine_rings([n // step for n in sides], step)

    coherence = auto_coherence(rings.frequency, [single.power] * 2, rings.count)
    return steps_between_samples(modes, rings.frequency, coherence, min(sides), len(sides))[0]


def _centred(
    frames: Frames,
    offsets: Float,
    own: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    trusted: NDArray[np.intp],
    closure: float,
    options: Options,
) -> StackRegistration:
    """Offsets that sum to zero over the trusted frames, and the bars that these have."""
    count = trusted.size
    offsets = offsets - offsets[trusted].mean(axis=0)
    shared = own[trusted].sum(axis=0) / count**2
    covariances = own + shared
    covariances[trusted] = own[trusted] * (1 - 2 / count) + shared
    inside = np.zeros(len(frames), bool)
    inside[trusted] = True
    unknown = np.array([t not in trusted and part[t] != 0 for t in range(len(frames))])
    if unknown.any():
        known = np.flatnonzero(~unknown)
        for axis in range(offsets.shape[1]):
            offsets[unknown, axis] = np.interp(np.flatnonzero(unknown), known, offsets[known, axis])
        covariances[unknown] = own[unknown] = np.diag(np.full(offsets.shape[1], np.inf))
    for t in np.flatnonzero(~unknown):
        if np.any(np.diag(own[t]) <= 0):
            blind = np.diag(own[t]) <= 0
            covariances[t][np.ix_(blind, blind)] = np.diag(np.full(blind.sum(), np.inf))
    return StackRegistration(
        offsets=offsets,
        covariances=covariances,
        flags=tuple(flags),
        reference="all",
        own=own,
        closure=closure,
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
    )


def _closure(
    frames: Frames, offsets: Float, own: Float, trusted: NDArray[np.intp], options: Options
) -> float:
    """How far loops of three pairs, each by itself, differ from the joint answer, over the bars.

    A pair knows less than the stack: its own bars, and those of the stack, are what it may differ
    by.
    """
    if trusted.size < 3:
        return float("nan")
    ratios = []
    for loop in range(min(LOOPS, trusted.size // 3)):
        three = trusted[loop :: max(trusted.size // 3, 1)][:3]
        for a, b in ((0, 1), (1, 2), (2, 0)):
            i, j = int(three[a]), int(three[b])
            link: Link = Centre(frames, i, options).link(frames, j, full=True)
            if link.covariance is None or not link.good:
                continue
            error = link.offset - (offsets[j] - offsets[i])
            if options.boundary == "periodic":
                error -= np.rint(error / frames.shape) * frames.shape
            ratios.append(
                float(error @ np.linalg.pinv(link.covariance + own[i] + own[j]) @ error)
                / error.size
            )
    return float(np.sqrt(np.mean(ratios))) if ratios else float("nan")


# ------------------------------------------------------------------------------------ links only


def _linked(
    frames: Frames,
    offsets: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    good: NDArray[np.intp],
    options: Options,
) -> StackRegistration:
    """No window is common to all: pairs of neighbours, each with its bars, one after the other."""
    ndim = offsets.shape[1]
    steps = np.zeros((len(frames), ndim, ndim))
    place = offsets[good[0]].copy() if good.size else np.zeros(ndim)
    for before, now in itertools.pairwise(good.tolist()):
        link = Centre(frames, int(before), options).link(frames, int(now), full=True)
        moved = link.offset if link.good else offsets[now] - offsets[before]
        place = place + moved
        offsets[now] = place
        flags[now] = link.flags
        steps[now] = np.zeros((ndim, ndim)) if link.covariance is None else link.covariance
    return _summed(frames, offsets, steps, flags, part, options)


def _chain(frames: Frames, options: Options, run: Run) -> StackRegistration:
    """Each frame with the one before alone, offsets added up."""
    count, ndim = len(frames), len(frames.shape)
    offsets, steps = np.zeros((count, ndim)), np.zeros((count, ndim, ndim))
    flags: list[frozenset[Status]] = [frozenset()] * count
    part = np.zeros(count, dtype=int)
    last = 0
    links = run.map(
        _pairs, (frames, options), [[(t - 1, t) for t in b if t] for b in blocks(count, 16)]
    )
    found = {pair: link for block in links for pair, link in block}
    for t in range(1, count):
        link = found[(t - 1, t)] if last == t - 1 else _pair(frames, options, last, t)
        flags[t] = link.flags
        offsets[t] = offsets[last]
        if link.good and link.covariance is not None:
            offsets[t] = offsets[last] + link.offset
            steps[t] = link.covariance
            last = t
        else:
            part[t] = -1
    return _summed(frames, offsets, steps, flags, part, options)


def _pair(frames: Frames, options: Options, i: int, j: int) -> Link:
    return Centre(frames, i, options).link(frames, j, full=True)


def _pairs(
    shared: tuple[Frames, Options], block: list[tuple[int, int]]
) -> list[tuple[tuple[int, int], Link]]:
    return [((i, j), _pair(*shared, i, j)) for i, j in block]


def _summed(
    frames: Frames,
    offsets: Float,
    steps: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    options: Options,
) -> StackRegistration:
    covariances = np.cumsum(steps, axis=0)
    bad = part != 0
    covariances[bad] = np.diag(np.full(offsets.shape[1], np.inf))
    return StackRegistration(
        offsets=offsets,
        covariances=covariances,
        flags=tuple(flags),
        reference="previous",
        own=covariances.copy(),
        closure=float("nan"),
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
        steps=steps,
    )
