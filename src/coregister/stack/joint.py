"""The answer of a stack: links, the joint optimum, and what is flagged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.stack.chain import linked
from coregister.stack.faint import found_in_mean, offsets_from_means
from coregister.stack.folder import shared_folder
from coregister.stack.frames import Frames
from coregister.stack.links import Centre, Link, Options, Rough, offsets_of_all
from coregister.stack.passes import settled
from coregister.stack.ready import Kept
from coregister.stack.result import StackRegistration, told_of_aliasing, unknown
from coregister.stack.run import Run
from coregister.stack.windows import REACHES, Placed, placed, roomy
from coregister.status import ADVISORY, Status

Float = NDArray[np.float64]

#: loops of three frames that are measured pair by pair
LOOPS = 3
#: probability of what is left over adding up so at the same pixels, below which it is a pattern
MAX_PATTERN = 1e-6
#: share of their covariances that a pair and the joint answer may differ by besides
UNLIKE = 0.06
#: probability of pairs so far from the joint answer, below which bars are widened
MAX_EXCESS = 0.005
#: probability of pairs whose frequencies disagree so on their offsets, all taken together (Fisher),
#: below which more than one scene is in all frames: a pattern that drifts too little to be told in
#: any single pair, say. A scene that turns, or changes, is above: frames of the sun 1e-7
MAX_TOGETHER = 1e-9
#: how much wider bars may become before nothing is believed
WIDEST = 5.0
#: share of the frames with a flag that casts doubt, beyond which the whole is not believed
MOST_DOUBTFUL = 2 / 3
#: and beyond which pairs are taken of all of them
MANY_DOUBTFUL = 1 / 3
UNSETTLING = frozenset({Status.MISFIT, Status.NOT_CONVERGED})
#: flags of pairs that hold for the stack where most pairs have them
SHARED = frozenset({Status.FIXED_PATTERN, Status.MISFIT, Status.COARSE_LEVELS}) | (
    ADVISORY - {Status.UNDERSAMPLED}
)
#: bars that a last step may have
UNSETTLED = 0.5


def joint(frames: Frames, options: Options, run: Run, memory: float) -> StackRegistration:
    """All frames at the joint optimum; those of the links where no window is common to all."""
    if run.local:
        with closing(Kept(memory)) as kept:
            return _joint(frames, options, run, kept)
    with shared_folder() as folder:
        return _joint(frames, options, run, Kept(0.0, folder))


def _joint(frames: Frames, options: Options, run: Run, kept: Kept) -> StackRegistration:
    centre, options = run.centre(frames, options, kept)
    rough = offsets_of_all(frames, centre, options, partial(run.links, frames, options, kept))
    ndim = len(frames.shape)
    _find_faint(frames, rough, options, run)
    offsets, flags, part = rough.offsets, rough.flags, rough.part
    if np.count_nonzero(part == 0) < 2:
        part[part == 0] = -1
    good = np.flatnonzero(part == 0)
    own = np.zeros((len(frames), ndim, ndim))
    for t in range(len(frames)):
        if part[t] > 0:
            flags[t] = frozenset({Status.DISCONNECTED})
        elif part[t] < 0 and not flags[t]:
            flags[t] = frozenset({Status.NO_MATCH})
    together = options.boundary == "periodic" or good.size < 3
    known = None
    if together or roomy(offsets[good], frames.shape):
        known = settled(frames, rough, good, options, run, kept)
    if known is None and not together:
        spread = placed(frames, rough, good, options, run, kept)
        if spread is not None:
            return _spread(frames, offsets, own, flags, part, spread, options, run)
        known = settled(frames, rough, good, options, run, kept)
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
    closed = _judged(frames, offsets, own, flags, list(members), trusted, options, run)
    return _centred(frames, offsets, own, flags, part, trusted, closed, options)


def _judged(
    frames: Frames,
    offsets: Float,
    own: Float,
    flags: list[frozenset[Status]],
    members: Sequence[int],
    together: NDArray[np.intp],
    options: Options,
    run: Run,
    common: Float | None = None,
) -> Loops:
    """What pairs say, and what holds for all: widens bars, adds flags."""
    doubtful = sum(bool(flags[t] & UNSETTLING) for t in members)
    if doubtful > MANY_DOUBTFUL * len(members):  # those left may only be those that are alike
        together = np.asarray(members)
    closed = _closed(frames, offsets, own, together, options, run, common)
    everywhere, excess = closed.flags, closed.excess
    own *= 1 + excess
    if common is not None:
        common *= np.sqrt(1 + excess)
    if doubtful > MOST_DOUBTFUL * len(members) or 1 + excess > WIDEST**2:
        # frames that agree among themselves while most others do not: on a pattern, say
        everywhere |= {Status.MISFIT}
    for t in members:
        flags[t] = flags[t] | everywhere
    return closed


def _spread(
    frames: Frames,
    offsets: Float,
    own: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    spread: Placed,
    options: Options,
    run: Run,
) -> StackRegistration:
    """Frames that are placed by many windows."""
    for t in spread.misfits:
        flags[t] = frozenset({Status.MISFIT})
    shared = np.zeros((*offsets.shape, next(iter(spread.shared.values())).shape[1]))
    for t, place in spread.offsets.items():
        offsets[t], own[t], shared[t] = place, spread.own[t], spread.shared[t]
        flags[t] = frozenset()
        if spread.pattern < MAX_PATTERN:
            flags[t] = flags[t] | {Status.FIXED_PATTERN}
        if any(frame.step > UNSETTLED for frame in spread.members[t]):
            flags[t] = flags[t] | {Status.NOT_CONVERGED}
    members = sorted(spread.offsets)
    nearby = np.array(spread.together)
    closed = _judged(frames, offsets, own, flags, members, nearby, options, run, shared)
    part[sorted(spread.misfits)] = 0
    trusted = np.array(members)
    return _centred(frames, offsets, own, flags, part, trusted, closed, options, shared)


def _centred(
    frames: Frames,
    offsets: Float,
    own: Float,
    flags: list[frozenset[Status]],
    part: NDArray[np.int_],
    trusted: NDArray[np.intp],
    closed: Loops,
    options: Options,
    common: Float | None = None,
) -> StackRegistration:
    """Offsets that sum to zero over the trusted frames, and the bars that these have."""
    count = trusted.size
    offsets = offsets - offsets[trusted].mean(axis=0)
    shared = own[trusted].sum(axis=0) / count**2
    covariances = own + shared
    covariances[trusted] = own[trusted] * (1 - 2 / count) + shared
    systematic = np.tile(closed.systematic, (len(frames), 1))
    if common is not None:
        # once more for every window on the way
        systematic *= 1 + np.max(np.abs(offsets) / frames.shape, axis=1)[:, None] / max(REACHES)
        common = common - common[trusted].mean(axis=0)
        covariances += common @ common.transpose(0, 2, 1)
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
        flags=told_of_aliasing(flags, systematic, covariances),
        systematic=systematic,
        reference="all",
        own=own,
        shared=common,
        closure=closed.closure,
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
    )


def _find_faint(frames: Frames, rough: Rough, options: Options, run: Run) -> None:
    """Look for frames that no other matches in the mean of many: it is less noisy."""
    offsets, flags, part, _, sharp = rough
    usable = [t for t in range(len(frames)) if Status.CONSTANT_IMAGE not in flags[t]]
    known = [t for t in usable if part[t] == 0]
    wanted = [t for t in usable if part[t] != 0]
    if not wanted:
        return
    found = {}
    if len(known) > 1:
        found = found_in_mean(frames, offsets, known, wanted, options, run)
    if len(known) + len(found) <= len(usable) / 2:  # where most lie is found from means too
        means = offsets_from_means(frames, usable, options)
        if means is None:
            return
        again = found_in_mean(frames, means, usable, usable, options, run)
        if len(again) > len(known) + len(found):
            part[known] = -1
            found = again
    for t, link in found.items():
        offsets[t], flags[t], part[t] = link.offset, frozenset(), 0
        sharp.discard(t)


class Loops(NamedTuple):
    """What pairs, each measured by itself, say about the joint answer.

    Attributes
    ----------
    closure : float
        How far they differ from it, over what they may; NaN where none can be built upon.
    excess : float
        Variance that the joint answer has beyond its bars, in units of theirs; 0 where chance
        makes as much.
    flags : frozenset of Status
        What more than half of them are flagged with.
    systematic : (ndim,) array
        The largest bound on what aliasing does to one of them, px.
    """

    closure: float
    excess: float
    flags: frozenset[Status]
    systematic: Float


def _closed(
    frames: Frames,
    offsets: Float,
    own: Float,
    trusted: NDArray[np.intp],
    options: Options,
    run: Run,
    common: Float | None,
) -> Loops:
    """Loops of three pairs against the joint answer.

    Both are read from the same noise, and the joint answer from more: what they may differ by is
    the difference of their covariances (Hausman 1978, doi:10.2307/1913827), and a little, since
    windows and weights are not quite the same.
    """
    from scipy.special import chdtrc

    ratios, excess, unlikely = [], [], []
    seen: Counter[Status] = Counter()
    ndim = offsets.shape[1]
    systematic = np.zeros(ndim)
    links = [
        link
        for loop in run.each(_measured, (frames, options), _loops(trusted.tolist()))
        for link in loop
    ]
    for (i, j), link in links:
        seen.update(link.flags)
        if link.flags <= ADVISORY | SHARED:
            unlikely.append(-np.log(max(link.dispersion, 1e-300)))
        if link.covariance is None or link.systematic is None or not link.good:
            continue
        systematic = np.maximum(systematic, link.systematic)
        error = link.offset - (offsets[j] - offsets[i])
        if options.boundary == "periodic":
            error -= np.rint(error / frames.shape) * frames.shape
        joint_one = own[i] + own[j]
        if common is not None:
            joint_one = joint_one + (common[i] - common[j]) @ (common[i] - common[j]).T
        values, vectors = np.linalg.eigh(link.covariance - joint_one)
        may = (vectors * np.maximum(values, 0.0)) @ vectors.T
        may += UNLIKE * (link.covariance + joint_one)
        ratios.append(float(error @ np.linalg.pinv(may) @ error) / ndim)
        excess.append(float(np.trace(np.linalg.pinv(joint_one) @ (np.outer(error, error) - may))))
    everywhere = frozenset(f for f in SHARED if seen[f] > len(links) / 2)
    freedom = 2 * _independent(len(unlikely))
    if unlikely and chdtrc(freedom, freedom * float(np.mean(unlikely))) < MAX_TOGETHER:
        everywhere |= {Status.MISFIT}
    if len(links) < 2 or not ratios:
        return Loops(float("nan"), 0.0, everywhere, systematic)
    freedom = ndim * _independent(len(ratios))
    chance = float(chdtrc(freedom, freedom * float(np.mean(ratios))))
    beyond = max(float(np.mean(excess)) / ndim, 0.0) if chance < MAX_EXCESS else 0.0
    return Loops(float(np.sqrt(np.mean(ratios))), beyond, everywhere, systematic)


def _independent(count: int) -> int:
    """Of so many pairs: around a loop, the third follows from two."""
    return max(2 * count // 3, 1)


def _loops(numbers: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Loops of three frames, each as its pairs."""
    third = len(numbers) // 3
    if third == 0:
        return [[(numbers[0], numbers[1])]] if len(numbers) == 2 else []
    triples = [numbers[loop::third][:3] for loop in range(min(LOOPS, third))]
    return [[(a, b), (b, c), (c, a)] for a, b, c in triples]


def _measured(
    shared: tuple[Frames, Options], loop: Sequence[tuple[int, int]]
) -> list[tuple[tuple[int, int], Link]]:
    """The pairs of a loop, in full."""
    frames, options = shared
    hubs = {i: Centre(frames, i, options) for i in {i for pair in loop for i in pair}}
    return [((i, j), hubs[i].beside(hubs[j], full=True)) for i, j in loop]


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
        systematic=np.zeros(offsets.shape),
        reference="all",
        own=nothing,
        closure=float("nan"),
        part=part,
        shape=frames.shape,
        periodic=options.boundary == "periodic",
    )
