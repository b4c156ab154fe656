"""The way to the joint optimum, pass by pass."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.single import Single
from coregister.stack.bench import Bench, Common, Frame, Part, common_window
from coregister.stack.frames import Frames
from coregister.stack.improve import SLIGHT, Improve, Seen, judged
from coregister.stack.links import Options, Rough
from coregister.stack.pattern import Canvas
from coregister.stack.ready import Kept, ready
from coregister.stack.run import Run, in_blocks
from coregister.stack.state import State
from coregister.stack.template import Sums, Template, added, template_of

Float = NDArray[np.float64]

#: how much farther apart samples are at first, and the share of one that ends the approach
COARSER, NEAR = 4, 0.05
#: most passes on the finest samples in which what is left over is not looked at, and the step, in
#: bars or in samples, that ends them
ROUGHLY, CLOSE, CLOSE_BY = 2, 2.0, 0.1
#: steps, in bars, after which what is left of them does not count
LINEAR = 0.5
#: a frame that is moved by more than this many samples is cut anew
FARTHEST = 0.75
#: passes over all frames, and the step (in bars) that ends them
MAX_PASSES, TOLERANCE = 10, 0.03
#: frames that tell the noise of many (from all of them, the rms error is less than .5 % smaller),
#: and how many these are
SOME, MANY = 16, 64
#: probability of a residual this uneven, or of such a spectrum, below which a frame does not fit
MISFIT = 1e-7
#: weight of a frame over the median one that is not exceeded
MOST_WEIGHT = 4.0


def settled(
    frames: Frames, rough: Rough, good: NDArray[np.intp], options: Options, run: Run, kept: Kept
) -> tuple[dict[int, Frame], set[int], float] | None:
    """All good frames at the joint optimum, those that do not fit, and the chance of a pattern.

    None without a window that all of them show.
    """
    if good.size < 2:
        return None
    passes = _Passes(frames, rough, good, options, run, kept)
    state = passes.state
    while state.pattern is None:
        run.keep_state(good, state)
        if not passes.windowed():
            return None
        passes.over_all()
    run.keep_state(good, state)
    return state.members, state.misfits, state.pattern


class _Passes:
    """Passes over some frames, and where they stand.

    Parameters
    ----------
    frames, rough, good, options, run, kept
        As for `settled`.
    """

    def __init__(
        self,
        frames: Frames,
        rough: Rough,
        good: NDArray[np.intp],
        options: Options,
        run: Run,
        kept: Kept,
    ) -> None:
        assert options.samples is not None
        self._frames, self._options, self._run, self._kept = frames, options, run, kept
        self._row_of = {int(t): row for row, t in enumerate(good)}
        self._clean = frozenset(rough.clean)
        self._samples = options.samples
        self.state = run.state(good) or self._begun(rough)

    def _begun(self, rough: Rough) -> State:
        """Where links leave the frames: from far off, samples far apart are a first approach."""
        offsets = {t: rough.offsets[t] for t in self._row_of}
        sharp = self._options.periodic or rough.sharp.issuperset(offsets)
        mean = np.mean(list(offsets.values()), axis=0) if sharp else 0.0
        nothing = np.zeros((2, 2))
        members = {
            t: Frame(offset - mean, 1.0, 1.0, nothing, 1.0, 1.0, np.inf)
            for t, offset in offsets.items()
        }
        step = self._samples.step
        return State(members, set(), step * (1 if sharp else COARSER), near=ROUGHLY * sharp)

    def windowed(self) -> bool:
        """See that there is a window that all frames show; False without."""
        state, step, shape = self.state, self._samples.step, self._frames.shape
        periodic = self._options.periodic
        rows = self._places(self._row_of)
        common = state.common
        if common is None or np.max(np.abs(rows - common.whole)) > FARTHEST * state.level:
            common = common_window(rows, shape, state.level, periodic=periodic)
            if common is None and state.level > step:
                state.level = step
                common = common_window(rows, shape, step, periodic=periodic)
            state.common, state.template, state.noise = common, None, None
        return common is not None

    def _places(self, numbers: Iterable[int]) -> Float:
        return np.array([self.state.members[t].offset for t in numbers])

    def over_all(self) -> None:
        """One pass: sums over the frames that fit, then every frame against their mean."""
        state, members = self.state, self.state.members
        counted = [t for t in self._row_of if t not in state.misfits]
        if state.near == ROUGHLY and state.noise is None and len(counted) >= MANY:
            self._ask_some(counted)
        weighted, looked_at = state.noise is not None, self._looked_at
        before = dict(members)
        template, seen, canvas = self._compared(counted, members, looked_at=looked_at)
        members.update({t: one.frame for t, one in seen.items()})
        settle([members[t] for t in counted])
        state.template, state.noise = template, noise_of(seen, counted)
        mean = self._places(counted).mean(axis=0)
        for frame in members.values():
            frame.offset = frame.offset - mean
        moved = _moved(before, members, counted)
        farthest = max(float(np.max(np.abs(moved[t]))) for t in counted) / state.level
        state.passes += 1
        if looked_at:
            left = dict.fromkeys(members, 1.0)
            if weighted:
                left = {t: _left(template, before[t], members[t], moved[t]) for t in members}
            more = _weighed([before[t] for t in counted], [members[t] for t in counted])
            if self._at_the_optimum(seen, counted, left, more):
                self._end(canvas.chance())
        elif state.near:
            largest = max(members[t].step for t in counted)
            again = farthest > CLOSE_BY and largest > CLOSE
            state.near = state.near - 1 if again else 0
        elif farthest < NEAR:
            state.level, state.near = self._samples.step, ROUGHLY
            state.template = state.common = state.noise = None
        if state.passes == 2 * MAX_PASSES:
            self._end(canvas.chance())

    @property
    def _looked_at(self) -> bool:
        """What is left over is looked at in the next pass."""
        return self.state.level == self._samples.step and not self.state.near

    def _ask_some(self, counted: Sequence[int]) -> None:
        """Learn the noise from some of many frames, and if all need a rough pass besides."""
        state, last = self.state, len(counted) - 1
        some = [counted[int(i)] for i in np.linspace(0, last, SOME).round()]
        template, seen, _ = self._compared(some, some, looked_at=False)
        state.noise = noise_of(seen, some)
        after = {t: seen[t].frame for t in some}
        moved = _moved(state.members, after, some)
        off = [after[t].step * _left(template, state.members[t], after[t], moved[t]) for t in some]
        # others may be farther off than these
        if state.noise is not None and 1.5 * max(off) < SLIGHT:
            state.near = 0

    def _compared(
        self, counted: Sequence[int], asked: Iterable[int], *, looked_at: bool
    ) -> tuple[Template, dict[int, Seen], Canvas]:
        """What some frames show together, what that tells of those that are asked, what is left."""
        state, run = self.state, self._run
        assert state.common is not None
        shared = _Shared(
            self._frames,
            self._options,
            self._kept,
            state.common,
            self._clean,
            frozenset(state.misfits),
            looked_at,
            state.template,
        )
        parts = functools.partial(_parts, self._row_of, state.members)
        sums = functools.reduce(Sums.plus, run.map(_sums, shared, parts(counted)))
        bench = Bench(state.common)
        template = template_of(bench, sums, len(counted), state.noise, single=self._samples.single)
        shared = shared._replace(template=template)
        canvas = Canvas(state.common)
        seen: dict[int, Seen] = {}
        for block, part in run.map(_improved, shared, parts(asked)):
            seen.update(block)
            if part is not None:
                canvas.plus(part)
        noise = noise_of(seen, counted)
        judged_by = template.rough if noise is None else noise
        judged(bench.rings, state.level, list(seen.values()), judged_by, template, len(counted))
        return template, seen, canvas

    def _end(self, pattern: float) -> None:
        state = self.state
        state.common = state.template = state.noise = None
        state.pattern = pattern

    def _at_the_optimum(
        self, seen: dict[int, Seen], counted: list[int], left: dict[int, float], more: float
    ) -> bool:
        """True if frames need no further pass; leaves out those that do not fit.

        Parameters
        ----------
        seen : dict
            What this pass tells of every frame.
        counted : list of int
            Those that make the mean.
        left : dict of int to float
            Share of its step that each may still be off.
        more : float
            Bars that it may be off besides.
        """
        state, members = self.state, self.state.members
        state.fine += 1
        # what stands in holes takes a pass to settle, and so do weights that vary over the field
        whole = len(self._clean) >= len(self._frames) - 1 and all(
            one.even and one.frame.lost is None for one in seen.values()
        )
        new = unlike(members, state.misfits)
        largest = max(members[t].step for t in counted)
        if whole and not new and largest < LINEAR:
            return True
        off = max(left[t] * members[t].step for t in counted)
        if whole and not new and max(off, more) < SLIGHT:
            for t, frame in members.items():
                frame.step *= left[t]
            return True
        # these have not settled, or the frames have not
        far = np.median([members[t].step for t in counted]) > 1
        if state.fine < (2 if whole else 3) or (far and state.fine < MAX_PASSES // 2):
            return False
        if new and len(counted) - len(new) >= max(2, len(members) / 2):
            state.misfits |= new
            return False
        return largest < TOLERANCE


class _Entry(NamedTuple):
    """A frame in a block of a pass."""

    number: int
    row: int
    half: int
    frame: Frame


def _parts(
    row_of: dict[int, int], members: dict[int, Frame], numbers: Iterable[int]
) -> list[list[_Entry]]:
    """Blocks of frames; every other one makes a half."""
    return in_blocks([_Entry(t, row_of[t], i % 2, members[t]) for i, t in enumerate(numbers)])


class _Shared(NamedTuple):
    """What every block of a pass needs.

    Attributes
    ----------
    frames : Frames
    options : Options
    kept : Kept
    common : Common
        The window, maybe of coarser samples.
    clean : frozenset of int
        Frames without hot pixels and rays.
    out : frozenset of int
        Frames that do not fit.
    looked_at : bool
        What is left over is looked at.
    template : Template or None
    """

    frames: Frames
    options: Options
    kept: Kept
    common: Common
    clean: frozenset[int]
    out: frozenset[int]
    looked_at: bool
    template: Template | None

    def bench(self) -> Bench:
        """The frames of the window."""
        return Bench(self.common, None if self.template is None else self.template.fields)

    def part(self, entry: _Entry) -> Part:
        """A frame, made ready if it is not kept."""
        found = self.kept.get(entry.number, entry.frame.lost, self.common.step)
        if found is None:
            assert self.options.samples is not None
            single = Single(
                self.frames.read(entry.number),
                periodic=self.common.periodic,
                clean=entry.number in self.clean,
            )
            made = ready(
                single,
                self.options.samples,
                periodic=self.common.periodic,
                lost=entry.frame.lost,
            )
            self.kept.keep(entry.number, made)
            found = made.at(self.common.step)
        return Part(entry.row, entry.half, entry.frame, found)


def _sums(shared: _Shared, block: Sequence[_Entry]) -> Sums:
    return added(shared.bench(), map(shared.part, block))


def _improved(shared: _Shared, block: Sequence[_Entry]) -> tuple[dict[int, Seen], Canvas | None]:
    assert shared.template is not None
    improve = Improve(shared.bench(), shared.template, looked_at=shared.looked_at)
    canvas = Canvas(shared.common, shared.template.pulls.dtype) if shared.looked_at else None
    improved: dict[int, Seen] = {}
    for entry in block:
        one = improve.of(shared.part(entry))
        if canvas is not None and one.left is not None and entry.number not in shared.out:
            canvas.add(entry.row, one.left)
        improved[entry.number] = one._replace(left=None)
    return improved, canvas


def _moved(
    before: dict[int, Frame], after: dict[int, Frame], counted: Sequence[int]
) -> dict[int, Float]:
    """How far frames have moved, px; where all that count have, that is left out."""
    moved = {t: after[t].offset - before[t].offset for t in after}
    mean = np.mean([moved[t] for t in counted], axis=0)
    return {t: np.asarray(by - mean) for t, by in moved.items()}


def _left(template: Template, before: Frame, after: Frame, moved: Float) -> float:
    """The share of its step that a frame may still be off, by how far it was, and its gain."""
    return template.left_of(moved) + abs(before.gain / after.gain - 1)


def _weighed(before: Sequence[Frame], after: Sequence[Frame]) -> float:
    """What the mean of frames has more of noise than with the weights now known, in bars.

    Of the frame with the least noise of its own.
    """
    had, now = (np.array([frame.weight for frame in frames]) for frames in (before, after))
    excess = float(np.sum(had**2 / now)) / float(np.sum(had)) ** 2 - 1 / float(np.sum(now))
    return float(np.sqrt(max(excess, 0.0) * now.max()))


def noise_of(seen: dict[int, Seen], numbers: Sequence[int]) -> Float | None:
    """Noise power of a frame of weight 1, ring by ring, of frames without holes; None without."""
    found = [seen[t].frame.weight * seen[t].power for t in numbers if seen[t].whole]
    return np.asarray(np.mean(found, axis=0)) if len(found) > 1 else None


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
