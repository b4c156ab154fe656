"""Frames that no single frame matches, against the mean of many.

Means of neighbours are linked like frames, of twice as many each time, until most of them match.
Then every frame is looked for in the mean of the others, its own noise left out, over the whole
range of the search: what chance alone would find is judged frame by frame, as for a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.images import Image
from coregister.stack.frames import Frames
from coregister.stack.links import Centre, Link, Options, choose_centre, link_block, offsets_of_all
from coregister.stack.run import Run, in_blocks

Float = NDArray[np.float64]

#: times that all frames are looked for in their mean
ROUNDS = 4
#: share of the frames that must show a pixel of the mean
LEAST_SHOWN = 0.5


class Means:
    """Means of neighbouring frames, as they lie, one for each block: given like frames."""

    def __init__(self, frames: Frames, numbers: Sequence[int], size: int) -> None:
        self._frames = frames
        count = len(numbers) // size
        self.blocks = [[int(t) for t in part] for part in np.array_split(numbers, count)]

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> Float:
        total = np.zeros(self._frames.shape)
        count = np.zeros(self._frames.shape)
        for t in self.blocks[index]:
            _add(total, count, self._frames.read(t), np.zeros(total.ndim, dtype=int), wrap=False)
        return np.where(count > 0, total, np.nan) / np.maximum(count, 1)


def offsets_from_means(frames: Frames, numbers: Sequence[int], options: Options) -> Float | None:
    """Rough offsets of frames of which no two match; None if their means do not either."""
    size = 2
    while len(numbers) // size >= 2:
        means = Means(frames, numbers, size)
        stack = Frames(means)
        link = partial(_links, stack, options)
        rough = offsets_of_all(stack, choose_centre(stack, options).number, options, link)
        offsets, found = rough.offsets, np.flatnonzero(rough.part == 0)
        if found.size > max(len(means) / 2, 1):
            middles = [float(np.mean(means.blocks[b])) for b in found]
            every = np.arange(len(frames))
            return np.stack(
                [np.interp(every, middles, offsets[found, a]) for a in range(offsets.shape[1])],
                axis=1,
            )
        size *= 2
    return None


def _links(
    frames: Frames, options: Options, centre: int, indices: Sequence[int]
) -> list[tuple[int, Link]]:
    return link_block(frames, Centre(frames, centre, options), indices, options)


def _add(total: Float, count: Float, image: Image, whole: NDArray[np.int_], *, wrap: bool) -> None:
    """Add a frame that is moved back by whole pixels."""
    valid = np.ones(image.data.shape) if image.valid is None else image.valid.astype(float)
    data = (image.data - np.average(image.data, weights=valid)) * valid
    if wrap:
        axes = tuple(range(data.ndim))
        total += np.roll(data, tuple(-whole), axes)
        count += np.roll(valid, tuple(-whole), axes)
        return
    there = tuple(
        slice(max(0, -d), max(0, n - max(0, d))) for d, n in zip(whole, data.shape, strict=True)
    )
    here = tuple(
        slice(max(0, d), max(0, n - max(0, -d))) for d, n in zip(whole, data.shape, strict=True)
    )
    total[there] += data[here]
    count[there] += valid[here]


class _Mean(NamedTuple):
    """The frames that are known, added up, and where each lies."""

    frames: Frames
    options: Options
    total: Float
    shown: Float
    known: dict[int, NDArray[np.int_]]

    def without(self, index: int) -> Image | None:
        """Mean of the known frames but this one; None if hardly anything is left of it."""
        total, count, others = self.total, self.shown, len(self.known)
        if index in self.known:
            own, shown = np.zeros(total.shape), np.zeros(total.shape)
            wrap = self.options.boundary == "periodic"
            _add(own, shown, self.frames.read(index), self.known[index], wrap=wrap)
            total, count, others = total - own, count - shown, others - 1
        valid = count > LEAST_SHOWN * others
        if others < 1 or not valid.any():
            return None
        mean = np.where(valid, total, 0.0) / np.where(valid, count, 1.0)
        return Image(values=mean, valid=None if valid.all() else valid)


def _against_mean(mean: _Mean, block: Sequence[int]) -> list[tuple[int, Link]]:
    """Links of some frames to the mean of the others."""
    found = []
    for index in block:
        image = mean.without(index)
        if image is not None:
            hub = Centre(mean.frames, image, mean.options)
            found.append((index, hub.link(mean.frames, index, full=True)))
    return found


def found_in_mean(
    frames: Frames,
    offsets: Float,
    known: Sequence[int],
    wanted: Sequence[int],
    options: Options,
    run: Run,
) -> dict[int, Link]:
    """Links to the mean of all that is known, of those that can be built upon.

    Parameters
    ----------
    frames : Frames
    offsets : (T, ndim) array
        Where they lie; what is found is counted from there too.
    known : sequence of int
        Frames that make the mean at first. One that is wanted too, and is not found, makes it no
        more.
    wanted : sequence of int
        Frames that are looked for.
    options : Options
    run : Run
    """
    members = {int(t): offsets[t] for t in known}
    links: dict[int, Link] = {}
    for _ in range(ROUNDS):
        total, count = np.zeros(frames.shape), np.zeros(frames.shape)
        whole = {t: np.rint(place).astype(int) for t, place in members.items()}
        for t, place in whole.items():
            _add(total, count, frames.read(t), place, wrap=options.boundary == "periodic")
        mean = _Mean(frames, options, total, count, whole)
        before = len(links)
        links = {
            t: link
            for part in run.map(_against_mean, mean, in_blocks(wanted))
            for t, link in part
            if link.good
        }
        members = {t: p for t, p in members.items() if t not in wanted}
        members |= {t: link.offset for t, link in links.items()}
        if len(links) <= before or len(members) < 2:
            break
    return links
