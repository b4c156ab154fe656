"""The way to the joint optimum, pass by pass."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.compare import MovableImage
from coregister.search import auto_coherence, steps_between_samples
from coregister.single import Single
from coregister.spectrum import Rings, cosine_rings
from coregister.stack.bench import Bench, Common, Frame, Ready, Sums, Template, common_window
from coregister.stack.frames import Frames
from coregister.stack.links import Options
from coregister.stack.pattern import Canvas
from coregister.stack.run import Run, in_blocks
from coregister.stack.state import State

Float = NDArray[np.float64]

#: how much farther apart samples are at first, and the share of one that ends the approach
COARSER, NEAR = 4, 0.05
#: steps, in bars, after which what is left of them does not count
LINEAR = 0.5
#: a frame that is moved by more than this many samples is cut anew
FARTHEST = 0.75
#: passes over all frames, and the step (in bars) that ends them
MAX_PASSES, TOLERANCE = 10, 0.03
#: probability of a residual this uneven, or of such a spectrum, below which a frame does not fit
MISFIT = 1e-7
#: weight of a frame over the median one that is not exceeded
MOST_WEIGHT = 4.0


def settled(
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
    state = run.state(good) or State(members, set(), step * COARSER)
    members, misfits, level = state.members, state.misfits, state.level
    common, template, fine = state.common, state.template, state.fine
    if state.pattern is not None:
        return members, misfits, state.pattern
    for number in range(state.passes, 2 * MAX_PASSES):
        run.keep_state(good, State(members, misfits, level, common, template, number, fine))
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
        sums = functools.reduce(Sums.plus, run.map(_sums, shared, in_blocks(halved)))
        template = Bench(_never, common).template(sums, len(counted))
        shared = shared._replace(template=template, out=frozenset(misfits))
        canvas = Canvas(common)
        for block, part in run.map(_improved, shared, in_blocks(table)):
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
    pattern = canvas.chance()
    run.keep_state(good, State(members, misfits, level, passes=number + 1, pattern=pattern))
    return members, misfits, pattern


def _never(index: int, lost: NDArray[np.bool_] | None) -> Ready:
    raise AssertionError(f"a template needs no frame, and was asked for {index}")


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
