"""Stacks: where the content of every frame of a series lies."""

from __future__ import annotations

import functools
import itertools
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.compare import MovableImage
from coregister.errors import InputError, RegistrationWarning
from coregister.images import together
from coregister.io.times import as_times
from coregister.search import auto_coherence, steps_between_samples
from coregister.single import Single
from coregister.spectrum import Rings, cosine_rings
from coregister.stack.drift import FEWEST_FOR_DRIFT, smooth
from coregister.stack.frames import Frames, blocks
from coregister.stack.joint import (
    MAX_PASSES,
    TOLERANCE,
    Bench,
    Canvas,
    Common,
    Frame,
    Ready,
    Sums,
    Template,
    common_window,
    settle,
    unlike,
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
from coregister.stack.run import BLOCK, Checkpoint, Progress, Run
from coregister.stack.table import read_table
from coregister.status import Status

Float = NDArray[np.float64]

__all__ = ["Frames", "StackRegistration", "read_table", "register_stack"]

#: loops of three frames that are measured pair by pair
LOOPS = 3
#: probability of what is left over adding up so at the same pixels, below which it is a pattern
MAX_PATTERN = 1e-6
#: how much farther apart samples are at first, and the share of one that ends the approach
COARSER, NEAR = 4, 0.05
#: steps, in bars, after which what is left of them does not count
LINEAR = 0.5
#: a frame that is moved by more than this many samples is cut anew
FARTHEST = 0.75
#: bars that a last step may have
UNSETTLED = 0.5


def register_stack(
    frames: Any,
    *,
    reference: str | int | ArrayLike | os.PathLike[str] = "all",
    err: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    boundary: Literal["overlap", "periodic"] = "overlap",
    max_offset: ArrayLike | None = None,
    drift: Literal["smooth"] | None = None,
    times: Any = None,
    memory: float = 256e6,
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
    err : float or sequence of float, optional
        1-sigma noise: one number, or one a frame. How it varies over the field is learnt.
    valid : array_like of bool, optional
        True = use this pixel: one mask for all frames, or one a frame along the first axis.
    boundary : {"overlap", "periodic"}
        As for `register`.
    max_offset : float or array_like, optional
        Frames are looked for within so many pixels of the one that they are linked to.
    drift : {"smooth"}, optional
        Also fit a smooth motion, with its own bars, and test if there is any; not where fewer than
        4 frames are trusted.
    times : array_like, optional
        When each frame was taken: seconds, or dates. They go into tables and reports. Default: what
        the files say (FITS, OME, ImageJ, OME-Zarr).
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
    how = "all" if external is not None else reference
    stack = Frames(frames, err=err, valid=valid, before=external)
    when = stack.times() if times is None else as_times(times, len(stack) - (external is not None))
    number = _number(how, len(stack)) if external is None else 0
    first = stack.read(0)
    pair = together(first, first, boundary=boundary, max_offset=max_offset, initial=None)
    options = Options(boundary=boundary, max_offset=pair.max_offset)
    run = Run(executor, Checkpoint(checkpoint, _key(stack, options)), progress, len(stack))
    if how == "previous":
        result = _chain(stack, options, run)
    else:
        result = _joint(stack, options, run, memory)
    if drift is not None and result.trusted.sum() >= FEWEST_FOR_DRIFT:
        result = replace(
            result,
            drift=smooth(result.offsets, np.einsum("tii->ti", result.own), result.trusted),
        )
    start = 0 if external is not None else number
    if start is not None:
        result = _counted_from(result, start)
    if how == "first":
        result = replace(result, reference="first")
    if external is not None:
        result = _without_first(result)
    if when is not None:
        result = replace(result, times=when.seconds, start=when.start)
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
    return json.dumps(about)


def _counted_from(result: StackRegistration, start: int) -> StackRegistration:
    """Offsets from one frame; where that is not trusted, nothing is known of any."""
    if result.trusted[start]:
        return result.relative_to(start)
    unknown = _unknown(*result.offsets.shape)
    return replace(
        result,
        offsets=result.offsets - result.offsets[start],
        covariances=unknown,
        own=unknown,
        flags=tuple(
            flags if t == start else flags | {Status.DISCONNECTED}
            for t, flags in enumerate(result.flags)
        ),
        reference=start,
        drift=None,
    )


def _unknown(count: int, ndim: int) -> Float:
    """Covariances of offsets of which nothing is known."""
    return np.tile(np.diag(np.full(ndim, np.inf)), (count, 1, 1))


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
    offsets, flags, part, clean = offsets_of_all(
        frames, centre, options, partial(run.links, link_block, frames, options)
    )
    ndim = len(frames.shape)
    if np.count_nonzero(part == 0) < 2:
        part[part == 0] = -1
    good = np.flatnonzero(part == 0)
    own = np.zeros((len(frames), ndim, ndim))
    for t in range(len(frames)):
        if part[t] > 0:
            flags[t] = frozenset({Status.DISCONNECTED})
        elif part[t] < 0 and not flags[t]:
            flags[t] = frozenset({Status.NO_MATCH})
    known = _settled(frames, offsets, good, clean, centre, options, run, memory)
    if known is None and good.size >= 2:
        return _linked(frames, offsets, flags, part, good, options)
    if known is None:
        return _nothing(frames, offsets, flags, part, options)
    members, misfits, pattern = known
    for t, frame in members.items():
        offsets[t], own[t] = frame.offset, frame.own
        if t in misfits:
            flags[t] = frozenset({Status.MISFIT})
        elif not np.all(np.diag(frame.own) > 0):
            flags[t] = flags[t] | {Status.UNDETERMINED_AXIS}
        if pattern < MAX_PATTERN:
            flags[t] = flags[t] | {Status.FIXED_PATTERN}
        if frame.step > UNSETTLED:
            flags[t] = flags[t] | {Status.NOT_CONVERGED}
    trusted = np.array([t for t in good if t not in misfits])
    closure = _closure(frames, offsets, own, trusted, options)
    if closure > 1:
        own *= closure**2
    return _centred(frames, offsets, own, flags, part, trusted, closure, options)


def _settled(
    frames: Frames,
    offsets: Float,
    good: NDArray[np.intp],
    clean: set[int],
    centre: int,
    options: Options,
    run: Run,
    memory: float,
) -> tuple[dict[int, Frame], set[int], float] | None:
    """All good frames at the joint optimum, those that do not fit, and the chance of a pattern.

    None without a window that all of them show.
    """
    if good.size < 2:
        return None
    periodic = options.boundary == "periodic"
    step = _step(frames, centre, periodic)
    members = {
        int(t): Frame(offsets[t].copy(), 1.0, 1.0, np.zeros((2, 2)), 1.0, 1.0, np.inf) for t in good
    }
    misfits: set[int] = set()
    kept = _Kept(memory)
    template: Template | None = None
    common: Common | None = None
    level, fine = step * COARSER, 0  # a first approach on samples far apart is cheap
    for _ in range(2 * MAX_PASSES):
        rows = np.array([members[int(t)].offset for t in good])
        if common is None or np.max(np.abs(rows - common.whole)) > FARTHEST * level:
            common = (
                None
                if periodic and level > step
                else common_window(rows, frames.shape, level, periodic=periodic)
            )
            template = None
            if common is None and level > step:
                level = step
                common = common_window(rows, frames.shape, level, periodic=periodic)
        if common is None:
            return None
        table = [(int(t), row, members[int(t)]) for row, t in enumerate(good)]
        counted = [entry for entry in table if entry[0] not in misfits]
        # every other one makes a half
        halved = [(t, row, i % 2, frame) for i, (t, row, frame) in enumerate(counted)]
        shared = _Shared(
            frames, step, common, periodic, frozenset(clean), kept if run.local else None, template
        )
        sums = functools.reduce(Sums.plus, run.map(_sums, shared, _blocked(halved)))
        template = Bench(_never, common).template(sums, len(counted))
        shared = shared._replace(template=template, out=frozenset(misfits))
        canvas = Canvas(common)
        for block, part in run.map(_improved, shared, _blocked(table)):
            members.update(block)
            canvas.total += part.total
            canvas.count += part.count
        settle([members[t] for t, _, _ in counted])
        mean = np.mean([members[t].offset for t, _, _ in counted], axis=0)
        for t in members:
            members[t].offset = members[t].offset - mean
        if level > step:
            after = np.array([members[int(t)].offset for t, _, _ in counted])
            before = rows[[row for _, row, _ in counted]]
            if np.max(np.abs(after - before)) < NEAR * level:
                level, template, common = step, None, None
            continue
        fine += 1
        whole = len(clean) >= len(frames) - 1 and all(f.lost is None for f in members.values())
        new = unlike(members, misfits)
        largest = max(members[t].step for t, _, _ in counted)
        if whole and not new and largest < LINEAR:
            break
        # what stands in holes has not settled, or the frames have not
        far = np.median([members[t].step for t, _, _ in counted]) > 1
        if fine < (2 if whole else 3) or (far and fine < MAX_PASSES // 2):
            continue
        if new and len(counted) - len(new) >= max(2, len(members) / 2):
            misfits |= new
        elif largest < TOLERANCE:
            break
    return members, misfits, canvas.chance()


def _never(index: int, lost: NDArray[np.bool_] | None) -> Ready:
    raise AssertionError(f"a template needs no frame, and was asked for {index}")


def _blocked(entries: Sequence[Any]) -> list[list[Any]]:
    """Blocks of neighbouring frames; the same for every executor, so that sums are too."""
    return [[entries[i] for i in block] for block in blocks(len(entries), BLOCK)]


class _Kept:
    """Frames that can be moved, kept while there is room for them."""

    def __init__(self, memory: float) -> None:
        self._room = memory
        self._kept: dict[int, tuple[int, Ready]] = {}

    def get(self, shared: _Shared, index: int, lost: NDArray[np.bool_] | None) -> Ready:
        count = 0 if lost is None else int(np.count_nonzero(lost))
        if index in self._kept and self._kept[index][0] == count:
            return self._kept[index][1]
        single = Single(
            shared.frames.read(index), periodic=shared.periodic, clean=index in shared.clean
        )
        if lost is not None:
            single = single.without(lost)
        movable = MovableImage(single.filled, periodic=shared.periodic, step=shared.step)
        ready = Ready(movable, single.image.valid)
        if index in self._kept or movable.nbytes < self._room:
            self._room -= 0 if index in self._kept else movable.nbytes
            self._kept[index] = count, ready
        return ready


class _Shared(NamedTuple):
    """What every block of a pass needs.

    Attributes
    ----------
    frames : Frames
    step : int
        Pixels between the samples of the last passes.
    common : Common
        The window, maybe of coarser samples.
    periodic : bool
    clean : frozenset of int
        Frames without hot pixels and rays.
    kept : _Kept or None
        None in another process.
    template : Template or None
    out : frozenset of int
        Frames that do not fit.
    """

    frames: Frames
    step: int
    common: Common
    periodic: bool
    clean: frozenset[int]
    kept: _Kept | None
    template: Template | None
    out: frozenset[int] = frozenset()

    def bench(self) -> Bench:
        """The frames of the window."""
        kept = _Kept(0.0) if self.kept is None else self.kept
        coarser = self.common.step // self.step

        def ready(index: int, lost: NDArray[np.bool_] | None) -> Ready:
            found = kept.get(self, index, lost)
            return found if coarser == 1 else found._replace(movable=found.movable.coarser(coarser))

        return Bench(ready, self.common, self.template, last=coarser == 1)


def _sums(shared: _Shared, block: list[tuple[int, int, int, Frame]]) -> Sums:
    return shared.bench().add(block)


def _improved(
    shared: _Shared, block: list[tuple[int, int, Frame]]
) -> tuple[dict[int, Frame], Canvas]:
    bench, template, canvas = shared.bench(), shared.template, Canvas(shared.common)
    assert template is not None
    improved = {}
    for t, row, frame in block:
        improved[t], left = bench.improve(t, row, frame, template)
        if t not in shared.out:
            canvas.add(row, left)
    return improved, canvas


def _step(frames: Frames, centre: int, periodic: bool) -> int:
    """Pixels between the samples that are compared: what the frames hold is no finer."""
    single = Single(frames.read(centre), periodic=periodic)
    rings = single.rings
    sides = single.modes.shape

    def modes(step: int) -> Rings:
        return cosine_rings([n // step for n in sides], step)

    coherence = auto_coherence(rings.frequency, [single.power] * 2, rings.count)
    divisor = int(np.gcd.reduce((8, *sides))) if periodic else 0
    return steps_between_samples(
        modes, rings.frequency, coherence, min(sides), len(sides), divisor=divisor
    )[0]


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
    unknown = np.array([t not in trusted and part[t] != 0 for t in range(len(frames))])
    if unknown.any():
        known = np.flatnonzero(~unknown)
        for axis in range(offsets.shape[1]):
            offsets[unknown, axis] = np.interp(np.flatnonzero(unknown), known, offsets[known, axis])
        covariances[unknown] = own[unknown] = _unknown(1, offsets.shape[1])
    for t in np.flatnonzero(~unknown):
        if np.any(np.diag(own[t]) <= 0):
            blind = np.diag(own[t]) <= 0
            covariances[t][np.ix_(blind, blind)] = _unknown(1, int(blind.sum()))[0]
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
            link = _pair(frames, options, i, j)
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


def _nothing(
    frames: Frames,
    offsets: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    options: Options,
) -> StackRegistration:
    """No two frames match."""
    unknown = _unknown(*offsets.shape)
    return StackRegistration(
        offsets=0 * offsets,
        covariances=unknown,
        flags=tuple(f or frozenset({Status.NO_MATCH}) for f in flags),
        reference="all",
        own=unknown,
        closure=float("nan"),
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
    )


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
        link = _pair(frames, options, before, now)
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
        _pairs, (frames, options), [[(t - 1, t) for t in b if t] for b in blocks(count, BLOCK)]
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
    covariances[part != 0] = _unknown(1, offsets.shape[1])
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
