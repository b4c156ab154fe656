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
from coregister.stack.improve import Improve, Seen, judged
from coregister.stack.links import Options
from coregister.stack.pattern import Canvas
from coregister.stack.ready import Kept, ready
from coregister.stack.run import Run, in_blocks
from coregister.stack.state import State
from coregister.stack.template import Sums, Template, added, template_of

Float = NDArray[np.float64]

#: how much farther apart samples are at first, and the share of one that ends the approach
COARSER, NEAR = 4, 0.05
#: most passes on the finest samples in which what is left over is not looked at, and the step, in
#: bars, that ends them
ROUGHLY, CLOSE = 2, 2.0
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
    options: Options,
    run: Run,
    kept: Kept,
) -> tuple[dict[int, Frame], set[int], float] | None:
    """All good frames at the joint optimum, those that do not fit, and the chance of a pattern.

    None without a window that all of them show.
    """
    if good.size < 2:
        return None
    periodic = options.boundary == "periodic"
    assert options.samples is not None
    step = options.samples.step
    members = {
        int(t): Frame(offsets[t].copy(), 1.0, 1.0, np.zeros((2, 2)), 1.0, 1.0, np.inf) for t in good
    }
    # a first approach on samples far apart is cheap
    state = run.state(good) or State(members, set(), step * COARSER)
    members, misfits, level = state.members, state.misfits, state.level
    common, template, noise = state.common, state.template, state.noise
    fine, near = state.fine, state.near
    if state.pattern is not None:
        return members, misfits, state.pattern
    for number in range(state.passes, 2 * MAX_PASSES):
        run.keep_state(
            good, State(members, misfits, level, common, template, number, fine, near, noise)
        )
        rows = np.array([members[int(t)].offset for t in good])
        if common is None or np.max(np.abs(rows - common.whole)) > FARTHEST * level:
            common = (
                None
                if periodic and level > step
                else common_window(rows, frames.shape, level, periodic=periodic)
            )
            template = noise = None
            if common is None and level > step:
                level = step
                common = common_window(rows, frames.shape, level, periodic=periodic)
        if common is None:
            return None
        row_of = {int(t): row for row, t in enumerate(good)}
        counted = [t for t in row_of if t not in misfits]
        looked_at = level == step and not near
        shared = _Shared(
            frames, options, kept, common, frozenset(clean), frozenset(misfits), looked_at, template
        )
        parts = functools.partial(_parts, row_of, members)
        sums = functools.reduce(Sums.plus, run.map(_sums, shared, parts(counted)))
        bench = Bench(common)
        template = template_of(bench, sums, len(counted), noise, single=options.samples.single)
        shared = shared._replace(template=template)
        canvas = Canvas(common)
        seen: dict[int, Seen] = {}
        for block, part in run.map(_improved, shared, parts(members)):
            seen.update(block)
            if part is not None:
                canvas.total += part.total
                canvas.count += part.count
        judged_by = template.rough if (found := noise_of(seen, counted)) is None else found
        judged(bench.rings, level, list(seen.values()), judged_by, template, len(counted))
        members.update({t: one.frame for t, one in seen.items()})
        settle([members[t] for t in counted])
        noise = noise_of(seen, counted)
        mean = np.mean([members[t].offset for t in counted], axis=0)
        for t in members:
            members[t].offset = members[t].offset - mean
        if level > step:
            after = np.array([members[t].offset for t in counted])
            before = rows[[row_of[t] for t in counted]]
            if np.max(np.abs(after - before)) < NEAR * level:
                level, template, common, noise = step, None, None, None
                near = ROUGHLY
            continue
        if near:
            near = near - 1 if max(members[t].step for t in counted) > CLOSE else 0
            continue
        fine += 1
        # what stands in holes takes a pass to settle, and so do weights that vary over the field
        whole = len(clean) >= len(frames) - 1 and all(
            one.even and one.frame.lost is None for one in seen.values()
        )
        new = unlike(members, misfits)
        largest = max(members[t].step for t in counted)
        if whole and not new and largest < LINEAR:
            break
        # these have not settled, or the frames have not
        far = np.median([members[t].step for t in counted]) > 1
        if fine < (2 if whole else 3) or (far and fine < MAX_PASSES // 2):
            continue
        if new and len(counted) - len(new) >= max(2, len(members) / 2):
            misfits |= new
        elif largest < TOLERANCE:
            break
    pattern = canvas.chance()
    run.keep_state(good, State(members, misfits, level, passes=number + 1, pattern=pattern))
    return members, misfits, pattern


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
    canvas = Canvas(shared.common) if shared.looked_at else None
    improved: dict[int, Seen] = {}
    for entry in block:
        one = improve.of(shared.part(entry))
        if canvas is not None and one.left is not None and entry.number not in shared.out:
            canvas.add(entry.row, one.left)
        improved[entry.number] = one._replace(left=None)
    return improved, canvas


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
