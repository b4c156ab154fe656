"""The way to the joint optimum, pass by pass, and the answer made of it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.compare import MovableImage
from coregister.search import auto_coherence, steps_between_samples
from coregister.single import Single
from coregister.spectrum import Rings, cosine_rings
from coregister.stack.bench import Bench, Common, Frame, Ready, Sums, Template, common_window
from coregister.stack.chain import linked
from coregister.stack.faint import found_in_mean, offsets_from_means
from coregister.stack.frames import Frames, blocks
from coregister.stack.links import Options, choose_centre, link_block, offsets_of_all, pair_link
from coregister.stack.pattern import Canvas
from coregister.stack.result import StackRegistration, unknown
from coregister.stack.run import BLOCK, Run
from coregister.stack.state import State
from coregister.status import ADVISORY, Status

Float = NDArray[np.float64]

#: loops of three frames that are measured pair by pair
LOOPS = 3
#: probability of what is left over adding up so at the same pixels, below which it is a pattern
MAX_PATTERN = 1e-6
#: how far pairs may be from the joint answer, in bars, before that is not believed
MAX_CLOSURE = 3.0
#: flags that cast doubt on the whole where most frames have them
UNSETTLING = frozenset({Status.MISFIT, Status.NOT_CONVERGED})
#: flags of pairs that hold for the stack where most pairs have them
SHARED = frozenset({Status.FIXED_PATTERN, Status.MISFIT, Status.COARSE_LEVELS}) | ADVISORY
#: how much farther apart samples are at first, and the share of one that ends the approach
COARSER, NEAR = 4, 0.05
#: steps, in bars, after which what is left of them does not count
LINEAR = 0.5
#: a frame that is moved by more than this many samples is cut anew
FARTHEST = 0.75
#: bars that a last step may have
UNSETTLED = 0.5
#: passes over all frames, and the step (in bars) that ends them
MAX_PASSES, TOLERANCE = 10, 0.03
#: probability of a residual this uneven, or of such a spectrum, below which a frame does not fit
MISFIT = 1e-7
#: weight of a frame over the median one that is not exceeded
MOST_WEIGHT = 4.0


def joint(frames: Frames, options: Options, run: Run, memory: float) -> StackRegistration:
    """All frames at the joint optimum; those of the links where no window is common to all."""
    centre = run.remember("centre", lambda: choose_centre(frames, options))
    offsets, flags, part, clean = offsets_of_all(
        frames, centre, options, partial(run.links, link_block, frames, options)
    )
    ndim = len(frames.shape)
    _find_faint(frames, offsets, flags, part, options, run)
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
        return linked(frames, offsets, flags, part, good, options, run)
    if known is None:
        return _nothing(frames, offsets, flags, part, options)
    members, misfits, pattern = known
    for t, frame in members.items():
        offsets[t], own[t] = frame.offset, frame.own
        flags[t] = frozenset()  # the link's were those of one pair
        if t in misfits:
            flags[t] = frozenset({Status.MISFIT})
        elif not np.all(np.diag(frame.own) > 0):
            flags[t] = flags[t] | {Status.UNDETERMINED_AXIS}
        if pattern < MAX_PATTERN:
            flags[t] = flags[t] | {Status.FIXED_PATTERN}
        if frame.step > UNSETTLED:
            flags[t] = flags[t] | {Status.NOT_CONVERGED}
    trusted = np.array([t for t in good if t not in misfits])
    closure, everywhere = _closed(frames, offsets, own, trusted, options)
    if closure > 1:
        own *= closure**2
    doubtful = sum(bool(flags[t] & UNSETTLING) for t in members)
    if doubtful > len(members) / 2 or closure > MAX_CLOSURE:
        # frames that agree among themselves while most others do not: on a pattern, say
        everywhere |= {Status.MISFIT}
    for t in members:
        flags[t] = flags[t] | everywhere
    return _centred(frames, offsets, own, flags, part, trusted, closure, options)


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
    lost = np.array([t not in trusted and part[t] != 0 for t in range(len(frames))])
    if lost.any():
        known = np.flatnonzero(~lost)
        for axis in range(offsets.shape[1]):
            offsets[lost, axis] = np.interp(np.flatnonzero(lost), known, offsets[known, axis])
        covariances[lost] = own[lost] = unknown(1, offsets.shape[1])
    for t in np.flatnonzero(~lost):
        if np.any(np.diag(own[t]) <= 0):
            blind = np.diag(own[t]) <= 0
            covariances[t][np.ix_(blind, blind)] = unknown(1, int(blind.sum()))[0]
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


def _find_faint(
    frames: Frames,
    offsets: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    options: Options,
    run: Run,
) -> None:
    """Look for frames that no other matches in the mean of many: it is less noisy."""
    usable = [t for t in range(len(frames)) if Status.CONSTANT_IMAGE not in flags[t]]
    known = [t for t in usable if part[t] == 0]
    wanted = [t for t in usable if part[t] != 0]
    if not wanted:
        return
    found = {}
    if len(known) > 1:
        found = found_in_mean(frames, offsets, known, wanted, options, run)
    if len(known) + len(found) <= len(usable) / 2:  # where most lie is found from means too
        rough = offsets_from_means(frames, usable, options)
        if rough is None:
            return
        again = found_in_mean(frames, rough, usable, usable, options, run)
        if len(again) > len(known) + len(found):
            part[known] = -1
            found = again
    for t, link in found.items():
        offsets[t], flags[t], part[t] = link.offset, frozenset(), 0


class Loops(NamedTuple):
    """What pairs, each measured by itself, say about the joint answer.

    Attributes
    ----------
    closure : float
        How far they differ from it, over the bars of both; NaN where none can be built upon.
    flags : frozenset of Status
        What more than half of them are flagged with.
    """

    closure: float
    flags: frozenset[Status]


def _closed(
    frames: Frames, offsets: Float, own: Float, trusted: NDArray[np.intp], options: Options
) -> Loops:
    """Loops of three pairs against the joint answer.

    A pair knows less than the stack: its own bars, and those of the stack, are what it may differ
    by.
    """
    ratios = []
    seen: Counter[Status] = Counter()
    pairs = _loops(trusted.tolist())
    for i, j in pairs:
        link = pair_link(frames, options, i, j)
        seen.update(link.flags)
        if link.covariance is None or not link.good:
            continue
        error = link.offset - (offsets[j] - offsets[i])
        if options.boundary == "periodic":
            error -= np.rint(error / frames.shape) * frames.shape
        bars = link.covariance + own[i] + own[j]
        ratios.append(float(error @ np.linalg.pinv(bars) @ error) / error.size)
    closed = len(pairs) > 1 and ratios
    return Loops(
        float(np.sqrt(np.mean(ratios))) if closed else float("nan"),
        frozenset(f for f in SHARED if seen[f] > len(pairs) / 2),
    )


def _loops(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of frames that make loops of three."""
    third = len(numbers) // 3
    if third == 0:
        return [(numbers[0], numbers[1])] if len(numbers) == 2 else []
    triples = [numbers[loop::third][:3] for loop in range(min(LOOPS, third))]
    return [pair for a, b, c in triples for pair in ((a, b), (b, c), (c, a))]


def _nothing(
    frames: Frames,
    offsets: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    options: Options,
) -> StackRegistration:
    """No two frames match."""
    nothing = unknown(*offsets.shape)
    return StackRegistration(
        offsets=0 * offsets,
        covariances=nothing,
        flags=tuple(f or frozenset({Status.NO_MATCH}) for f in flags),
        reference="all",
        own=nothing,
        closure=float("nan"),
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
    )


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
    kept = _Kept(memory)
    # a first approach on samples far apart is cheap
    state = run.state() or State(members, set(), step * COARSER)
    members, misfits, level = state.members, state.misfits, state.level
    common, template, fine = state.common, state.template, state.fine
    for number in range(state.passes, 2 * MAX_PASSES):
        run.keep_state(State(members, misfits, level, common, template, number, fine))
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
        sigma = single.image.sigma
        weight = np.median(sigma) / sigma if isinstance(sigma, np.ndarray) else None
        ready = Ready(movable, single.image.valid, weight)
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


def unlike(frames: dict[int, Frame], out: set[int]) -> set[int]:
    """Frames that do not fit and stand out: one that is odd makes all others look so, a little."""
    counted = {t: frame for t, frame in frames.items() if t not in out}
    most = max(frame.odd for frame in counted.values())
    usual = float(np.median([frame.odd for frame in counted.values()]))
    return {
        t
        for t, frame in counted.items()
        if frame.misfit < MISFIT and (frame.odd > max(most / 2, 1.5 * usual) or frame.odd < 2)
    }


def settle(frames: Sequence[Frame]) -> None:
    """Weights in units of the median one, none of which rules; gains of mean 1."""
    weights = np.array([frame.weight for frame in frames])
    gains = np.array([frame.gain for frame in frames])
    middle, gain = float(np.median(weights)), float(np.mean(gains))
    for frame in frames:
        frame.weight = min(frame.weight / middle, MOST_WEIGHT)
        frame.gain /= gain
