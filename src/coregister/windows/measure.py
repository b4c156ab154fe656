"""The stages for many windows: search, refinement and verdict; what is in doubt goes one by one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import RegistrationWarning
from coregister.estimator.levels import MOST_EQUAL, coarsely_rounded
from coregister.estimator.uncertainty.disagreement import FINER_BANDS, NEAR
from coregister.estimator.window import MARGIN
from coregister.images import Image, together
from coregister.register import measure
from coregister.status import ADVISORY, Status
from coregister.trust import MAX_FALSE_ALARM
from coregister.windows.descent import descend
from coregister.windows.kernels import FARTHEST, REACH, in_units, kernels
from coregister.windows.places import Cutter, Places, counts
from coregister.windows.search import Found, WindowSearch
from coregister.windows.sources import Images, Small
from coregister.windows.together import pulled_alike
from coregister.windows.verdict import conclude

Float = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

#: pixels of windows that are worked on together: they stay near the processor
CHUNK = 2**17
#: windows that were cut already, and are prepared together
BLOCK = 512
#: share of the pixels searched that may be invalid
MAX_MISSING = 0.05
#: shortest window that is left at the edge of an image, and what its sides are multiples of
SHORTEST, MULTIPLE = 12, 4
#: how often a window that goes far is cut anew
CUTS = 3
#: pixels around the search that one window measured by itself gets
ROOM = 8


class Job(NamedTuple):
    """What is to be measured."""

    reference: Images
    moving: Images
    places: Places
    reach: tuple[int, int]
    initial: Float


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What is known of every window so far.

    Attributes
    ----------
    pulled : (n, bands) array
        As in `verdict.Verdict`; NaN for windows that were never measured with others.
    """

    offset: Float
    covariance: Float
    false_alarm: Float
    flags: list[set[Status]]
    pulled: Float


def measure_windows(job: Job) -> Measured:
    """All windows: together, and those in doubt one by one."""
    n = len(job.places.start)
    measured = Measured(
        offset=job.initial.copy(),
        covariance=np.broadcast_to(np.diag(np.full(2, np.inf)), (n, 2, 2)).copy(),
        false_alarm=np.ones(n),
        flags=[set() for _ in range(n)],
        pulled=np.full((n, len(FINER_BANDS) + 1), np.nan),
    )
    doubt = np.ones(n, dtype=bool)
    varying = any(isinstance(i.sigma, np.ndarray) for i in (job.reference, job.moving))
    if not varying:
        with np.errstate(all="ignore"):
            for part in _blocks(job):
                doubt[part] = _Batch(job, part).measure(measured)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RegistrationWarning)
        for index in np.flatnonzero(doubt):
            _alone(job, int(index), measured)
    if pulled_alike(measured.pulled, job.places):
        near = np.linalg.norm(measured.offset, axis=1) < NEAR  # those beyond are not pulled
        for index in np.flatnonzero(near):
            if measured.flags[index] <= ADVISORY:
                measured.flags[index].add(Status.FIXED_PATTERN)
    return measured


def _blocks(job: Job) -> Iterator[Ints]:
    n = len(job.places.start)
    size = n if len(job.reference.data) == 1 else BLOCK
    for first in range(0, n, size):
        yield np.arange(first, min(first + size, n))


class _Batch:
    """Windows that are worked on together.

    Parameters
    ----------
    job : Job
    part : array of int
        Windows: all, or some of those that were cut already.
    """

    def __init__(self, job: Job, part: Ints) -> None:
        self._part, self._size, self._reach = part, job.places.size, job.reach
        reference, moving = job.reference, job.moving
        if len(reference.data) > 1:
            reference, moving = reference.some(part), moving.some(part)
        self._image = np.arange(part.size) if len(reference.data) > 1 else job.places.image[part]
        self._start, self._near = job.places.start[part], np.rint(job.initial[part]).astype(int)
        found = reference.spikes(), moving.spikes()
        data, others = reference.without(found[0]), moving.without(found[1])
        self._valid, self._moving_valid = reference.valid, moving.valid
        if found[0] is not None and found[1] is not None and data.shape == others.shape:
            hot = found[0] & found[1]
            if hot.any():
                self._valid, self._moving_valid = (
                    ~hot if i.valid is None else i.valid & ~hot for i in (reference, moving)
                )
        self._shape, self._moving_shape = data.shape[1:], others.shape[1:]
        self._given = reference.data, moving.data
        begin = self._start + self._near
        far = np.maximum(-begin, begin + self._size - self._moving_shape).max(initial=0)
        far = min(int(far), 2 * max(self._moving_shape))
        self._reference = Cutter(data, REACH)
        self._moving = Cutter(others, max(REACH, far + max(self._reach)))
        self._small = Small.of(reference, data, found[0]), Small.of(moving, others, found[1])
        self._doubt = np.zeros(part.size, dtype=bool)

    def measure(self, measured: Measured) -> Mask:
        """Enter what is known; True for windows that remain to be measured one by one."""
        able = self._usable()
        self._doubt[~able] = True
        count = max(CHUNK // int(np.prod(self._size)), 8)
        search = WindowSearch(self._size, self._reach)
        wholes = np.zeros((self._part.size, 2), dtype=int)
        rests = np.zeros((self._part.size, 2))
        found_any = np.zeros(self._part.size, dtype=bool)
        for index in _pieces(np.flatnonzero(able), count):
            try:
                found = self._search(search, index)
            except np.linalg.LinAlgError:
                self._doubt[index] = True
                continue
            offset = found.offset + self._near[index]
            wholes[index] = np.rint(offset)
            rests[index] = offset - wholes[index]
            found_any[index] = self._enter_search(measured, index, found)
        pending = np.flatnonzero(found_any)
        for _ in range(CUTS):
            far = np.zeros(self._part.size, dtype=bool)
            for shape, members, low in self._groups(wholes, pending):
                for piece in _pieces(np.arange(members.size), max(CHUNK // int(np.prod(shape)), 8)):
                    index = members[piece]
                    try:
                        far[index] = self._refine(
                            measured, index, shape, low[piece], wholes[index], rests[index]
                        )
                    except np.linalg.LinAlgError:
                        self._doubt[index] = True
            pending = np.flatnonzero(far)
            offset = measured.offset[self._part[pending]]
            wholes[pending] = np.rint(offset)
            rests[pending] = offset - wholes[pending]
        self._doubt[pending] = True
        self._rounded(measured, wholes, ~self._doubt)
        return self._doubt

    def _usable(self) -> Mask:
        """Windows that have structure, few invalid pixels, and moving to be looked for in."""
        image, size, wide = self._image, self._size, self._wide
        begin = self._start + self._near
        beyond = np.array(self._moving_shape)
        seen = np.minimum(begin + size, beyond) - np.maximum(begin, 0)
        able = np.all(seen >= np.array(size) // 2, axis=1)
        if self._valid is not None:
            able &= counts(~self._valid, image, self._start - MARGIN, _wider(size, MARGIN)) == 0
        if self._moving_valid is not None:
            missing = counts(~self._moving_valid, image, begin - np.array(self._reach), wide)
            able &= missing <= MAX_MISSING * np.prod(wide)
        for index in _pieces(np.flatnonzero(able), max(CHUNK // int(np.prod(size)), 8)):
            for cutter, start in ((self._reference, self._start), (self._moving, self._clipped)):
                values = cutter.cut(image[index], start[index], size)
                high, low = values.max(axis=(1, 2)), values.min(axis=(1, 2))
                able[index] &= high - low > 1e-12 * np.maximum(np.abs(high), np.abs(low))
        return np.asarray(able)

    @property
    def _wide(self) -> tuple[int, int]:
        return self._size[0] + 2 * self._reach[0], self._size[1] + 2 * self._reach[1]

    @property
    def _clipped(self) -> Ints:
        """First pixels of the windows in moving that lie inside it, nearest to the first guess."""
        last = np.array(self._moving_shape) - self._size
        return np.asarray(np.clip(self._start + self._near, 0, last))

    def _search(self, search: WindowSearch, index: Ints) -> Found:
        image = self._image[index]
        begin = self._start[index] + self._near[index] - np.array(self._reach)
        low = np.clip(-begin, 0, self._wide)
        high = np.clip(np.array(self._moving_shape) - begin, 0, self._wide)
        return search(
            self._reference.cut(image, self._start[index], self._size),
            self._moving.cut(image, begin, self._wide),
            self._moving.cut(image, self._clipped[index], self._size),
            np.stack([low, high], axis=-1),
        )

    def _enter_search(self, measured: Measured, index: Ints, found: Found) -> Mask:
        """What the search tells; True where refinement is worth while."""
        unlikely = ~(found.false_alarm <= MAX_FALSE_ALARM)
        # stripes match their mirror image, too; a few sources are looked at in all that is known
        doubt = found.rival | (unlikely & (found.plain < MAX_FALSE_ALARM))
        self._doubt[index] = doubt
        edge = np.any(np.abs(found.offset) > np.array(self._reach) - 0.5, axis=1)
        where = self._part[index]
        measured.false_alarm[where] = np.where(np.isfinite(found.false_alarm), found.false_alarm, 1)
        lost = unlikely & ~doubt
        measured.offset[where] = found.offset + self._near[index]
        measured.covariance[where[lost]] = np.diag((2 * np.array(self._reach) + 1.0) ** 2 / 12)
        for i in np.flatnonzero(lost):
            measured.flags[where[i]].add(Status.NO_MATCH)
        for i in np.flatnonzero(edge & ~doubt):
            measured.flags[where[i]].add(Status.SEARCH_EDGE)
        return ~doubt & ~lost

    def _groups(
        self, wholes: NDArray[np.int_], members: Ints
    ) -> Iterator[tuple[tuple[int, int], Ints, NDArray[np.int_]]]:
        """Windows of one shape: what both images show of them, but for margins at the edges."""
        start, size = self._start[members], np.array(self._size)
        other = start + wholes[members]
        low = np.maximum(np.maximum(MARGIN - start, MARGIN - other), 0)
        ends = [
            at + size - (np.array(shape) - MARGIN)
            for at, shape in ((start, self._shape), (other, self._moving_shape))
        ]
        sides = size - low - np.maximum(np.maximum(*ends), 0)
        sides = np.where(sides < size, sides // MULTIPLE * MULTIPLE, sides)
        short = sides.min(axis=1, initial=SHORTEST) < min(SHORTEST, *self._size)
        self._doubt[members[short]] = True
        members, low, sides = members[~short], low[~short], sides[~short]
        for shape in np.unique(sides, axis=0):
            here = np.all(sides == shape, axis=1)
            yield (int(shape[0]), int(shape[1])), members[here], low[here]

    def _refine(
        self,
        measured: Measured,
        index: Ints,
        shape: tuple[int, int],
        low: NDArray[np.int_],
        whole: NDArray[np.int_],
        rest: Float,
    ) -> Mask:
        """Enter what refinement tells; True for windows that are to be cut elsewhere."""
        image, start = self._image[index], self._start[index] + low
        full = shape[0] + 2 * REACH, shape[1] + 2 * REACH
        reference = self._reference.cut(image, start - REACH, full)
        moving = self._moving.cut(image, start + whole - REACH, full)
        for small, cutter, patch, begin in zip(
            self._small,
            (self._reference, self._moving),
            (reference, moving),
            (start, start + whole),
            strict=True,
        ):
            small.put_back(patch, image, begin, cutter.unit)
        patches = in_units(reference), in_units(moving)
        matrices = kernels(shape)
        settled = descend(matrices, patches, np.clip(rest, -FARTHEST, FARTHEST))
        verdict = conclude(matrices, settled, patches, whole.astype(np.float64))
        offset = whole + settled.offset
        where = self._part[index]
        doubt = verdict.doubt | ~np.isfinite(offset).all(axis=1)
        doubt |= ~np.isfinite(verdict.covariance).all(axis=(1, 2))
        if self._moving_valid is not None:
            begin = start + whole - MARGIN
            doubt |= counts(~self._moving_valid, image, begin, _wider(shape, MARGIN)) > 0
        away = np.abs(offset - self._near[index])
        far = settled.far & np.all(away < np.array(self._reach) + 1, axis=1)
        self._doubt[index] = doubt & ~far
        measured.pulled[where] = verdict.pulled
        measured.offset[where[far]] = offset[far]
        sure = ~doubt
        measured.offset[where[sure]] = offset[sure]
        measured.covariance[where[sure]] = verdict.covariance[sure]
        for status, holds in (
            (Status.MISFIT, verdict.misfit),
            (Status.FIXED_PATTERN, verdict.fixed),
            (Status.UNEVEN_NOISE, verdict.uneven),
            (Status.UNDERSAMPLED, verdict.undersampled),
        ):
            for i in np.flatnonzero(holds & sure):
                measured.flags[where[i]].add(status)
        return np.asarray(far)

    def _rounded(self, measured: Measured, wholes: NDArray[np.int_], known: Mask) -> None:
        """Flag windows of which either image is rounded to few levels."""
        for data, start in zip(self._given, (self._start, self._start + wholes), strict=True):
            equal = np.zeros(data.shape, dtype=bool)
            np.equal(data[:, 1:], data[:, :-1], out=equal[:, 1:])
            if not equal.any():
                continue
            first = np.clip(start, 0, np.array(data.shape[1:]) - self._size)
            share = counts(equal, self._image, first, self._size) / np.prod(self._size)
            for i in np.flatnonzero(known & (share > 0.8 * MOST_EQUAL)):
                (top, left), (rows, columns) = first[i], self._size
                piece = data[self._image[i], top : top + rows, left : left + columns]
                if coarsely_rounded(Image(values=piece)):
                    measured.flags[self._part[i]].add(Status.COARSE_LEVELS)


def _alone(job: Job, index: int, measured: Measured) -> None:
    """One window by itself."""
    places, guess, reach = job.places, job.initial[index], np.array(job.reach)
    start, image = places.start[index], int(places.image[index])
    size, shape = np.array(places.size), np.array(job.moving.data.shape[1:])
    begin = np.clip(start + np.rint(guess).astype(int) - reach - ROOM, 0, None)
    end = np.minimum(start + np.rint(guess).astype(int) + size + reach + ROOM, shape)
    flags = measured.flags[index]
    flags.clear()
    pair = None
    if np.all(end - begin >= SHORTEST):
        images = (
            job.reference.part(image, start, start + size),
            job.moving.part(image, begin, end),
        )
        some = [i.valid is None or np.count_nonzero(i.valid) > SHORTEST for i in images]
        if all(some):
            pair = together(
                *images,
                boundary="overlap",
                max_offset=reach + 0.5,
                initial=start + guess - begin,
            )
            pair = replace(pair, rest=(start - begin).astype(np.float64))
    if pair is None:
        flags.update({Status.UNDETERMINED_AXIS, Status.CONSTANT_IMAGE})
        measured.offset[index] = guess
        return
    result = measure(pair)
    measured.offset[index] = result.offset + begin - start
    measured.covariance[index] = result.covariance
    measured.false_alarm[index] = result.false_alarm
    flags.update(result.flags)


def _pieces(index: Ints, count: int) -> Iterator[Ints]:
    for first in range(0, index.size, count):
        yield index[first : first + count]


def _wider(shape: tuple[int, int], margin: int) -> tuple[int, int]:
    return shape[0] + 2 * margin, shape[1] + 2 * margin
