"""Frames that lie too far apart for one window: many windows, each with the frames that show it.

In every window its frames are brought to the joint optimum, which tells their offsets up to a
constant. Least squares put all windows together: the noise of two frames is independent, that of
one frame in two windows is as alike as the windows overlap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.stack.bench import Frame
from coregister.stack.frames import Frames
from coregister.stack.links import Options, Rough, pair_link
from coregister.stack.passes import settled
from coregister.stack.ready import Kept
from coregister.stack.run import Run

Float = NDArray[np.float64]

#: shares of a frame's sides over which the frames of a window lie: few frames in large windows,
#: and many in small ones, which reach farther
REACHES = (0.2, 0.45)
#: share of a frame that one window for all must have
ROOMY = 0.5
#: how alike the noise of a frame in two windows can be
MOST_ALIKE = 0.98


class Look(NamedTuple):
    """What one window says of one frame: where it lies from the others, the noise of that alone.

    Attributes
    ----------
    window : int
    offset : (ndim,) array
    own : (ndim, ndim) array
    box : (2, ndim) array
        First and last pixel of the window, where the scene lies.
    frame : Frame or None
        None where two frames were compared as a pair.
    """

    window: int
    offset: Float
    own: Float
    box: Float
    frame: Frame | None


class Placed(NamedTuple):
    """Where the frames lie.

    Attributes
    ----------
    offsets, own : dict
        By frame; `own` is the covariance that no other frame shares.
    shared : dict
        By frame, (ndim, n): the covariance that two frames share is the product of theirs.
    members : dict
        By frame, what the windows say of it.
    misfits : set of int
    pattern : float
        Smallest probability of a pattern.
    together : list of int
        Frames of the window that most show.
    """

    offsets: dict[int, Float]
    own: dict[int, Float]
    shared: dict[int, Float]
    members: dict[int, list[Frame]]
    misfits: set[int]
    pattern: float
    together: list[int]


def roomy(offsets: Float, shape: tuple[int, ...]) -> bool:
    """True if the window that all frames show is a good part of each."""
    sides = np.array(shape, dtype=np.float64)
    return bool(np.prod(np.clip(1 - np.ptp(offsets, axis=0) / sides, 0.0, 1.0)) > ROOMY)


def windows(offsets: Float, shape: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Rows of the frames of each window; neighbouring ones have half of their reach in common."""
    found: dict[tuple[int, ...], NDArray[np.intp]] = {}
    for share in REACHES:
        found |= _within(offsets, share * np.array(shape))
    return list(found.values())


def _within(offsets: Float, reach: Float) -> dict[tuple[int, ...], NDArray[np.intp]]:
    """Windows of frames within some pixels of each other."""
    cells = np.floor((offsets - offsets.min(axis=0)) / (reach / 2)).astype(int)
    found: dict[tuple[int, ...], NDArray[np.intp]] = {}
    corners = {
        tuple(int(c) for c in cell - back)
        for cell in np.unique(cells, axis=0)
        for back in np.ndindex(*(2,) * reach.size)
    }
    for corner in sorted(corners):
        inside = np.flatnonzero(np.all((cells >= corner) & (cells <= np.add(corner, 1)), axis=1))
        if inside.size > 1:
            found[tuple(inside.tolist())] = inside
    # one that is part of another says nothing more
    sets = {key: set(key) for key in found}
    return {
        key: rows
        for key, rows in found.items()
        if not any(sets[key] < other for other in sets.values())
    }


def placed(
    frames: Frames,
    rough: Rough,
    good: NDArray[np.intp],
    options: Options,
    run: Run,
    kept: Kept,
) -> Placed | None:
    """All good frames, from many windows; None where they do not hang together."""
    offsets = rough.offsets
    looks: dict[int, list[Look]] = {int(t): [] for t in good}
    out: dict[int, int] = {}
    together: list[int] = []
    pattern, number = 1.0, 0
    for rows in windows(offsets[good], frames.shape):
        numbers = good[rows]
        known = settled(frames, rough, numbers, options, run, kept)
        if known is None:
            continue
        members, misfits, chance = known
        pattern = min(pattern, chance)
        box = _box(offsets[numbers], frames.shape)
        for t, frame in members.items():
            if t in misfits:
                out[t] = out.get(t, 0) + 1
            elif np.all(np.diag(frame.own) > 0):
                looks[t].append(Look(number, frame.offset, frame.own, box, frame))
        if len(members) - len(misfits) > len(together):
            together = [t for t in members if t not in misfits]
        number += 1
    misfits = {t for t in out if not looks[t]}
    number = _joined(frames, offsets, looks, misfits, number, options)
    seen = {t: held for t, held in looks.items() if held}
    if number == 0 or len(_parts(seen)) != 1:
        return None
    return Placed(
        *_least_squares(seen, number),
        {t: [look.frame for look in held if look.frame] for t, held in seen.items()},
        misfits,
        pattern,
        together,
    )


def _box(offsets: Float, shape: tuple[int, ...]) -> Float:
    """What frames have in common, where the scene lies."""
    return np.stack([-offsets.min(axis=0), np.array(shape) - offsets.max(axis=0)])


def _alike(a: Float, b: Float) -> float:
    """Share of two boxes that they have in common."""
    common = np.clip(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), 0.0, None)
    sizes = np.prod(a[1] - a[0]) * np.prod(b[1] - b[0])
    return min(float(np.prod(common) / np.sqrt(sizes)), MOST_ALIKE)


def _parts(looks: dict[int, list[Look]]) -> list[set[int]]:
    """Frames that hang together through windows."""
    shown: dict[int, set[int]] = {}
    for t, held in looks.items():
        for look in held:
            shown.setdefault(look.window, set()).add(t)
    waiting, parts = set(looks), []
    while waiting:
        part, edge = set(), {waiting.pop()}
        while edge:
            part |= edge
            edge = {u for t in edge for look in looks[t] for u in shown[look.window]} - part
        waiting -= part
        parts.append(part)
    return parts


def _joined(
    frames: Frames,
    offsets: Float,
    looks: dict[int, list[Look]],
    misfits: set[int],
    number: int,
    options: Options,
) -> int:
    """Join parts by pairs of their nearest frames, as long as these match; windows in all."""
    while True:
        parts = sorted(_parts({t: h for t, h in looks.items() if t not in misfits}), key=len)
        if len(parts) < 2:
            return number
        inside = sorted(parts[0])
        others = sorted(set().union(*parts[1:]))
        far = np.max(np.abs(offsets[inside][:, None] - offsets[others]) / frames.shape, axis=2)
        a, b = np.unravel_index(int(np.argmin(far)), far.shape)
        i, j = inside[int(a)], others[int(b)]
        link = pair_link(frames, options, i, j)
        if not link.good or link.covariance is None or not np.all(np.isfinite(link.covariance)):
            misfits |= parts[0]
            for t in parts[0]:
                looks[t].clear()
            continue
        box = _box(offsets[[i, j]], frames.shape)
        for t, place in ((i, np.zeros(len(frames.shape))), (j, link.offset)):
            looks[t].append(Look(number, place, link.covariance / 2, box, None))
        number += 1


def _least_squares(
    looks: dict[int, list[Look]], number: int
) -> tuple[dict[int, Float], dict[int, Float], dict[int, Float]]:
    """Offsets, the covariance of each alone, and factors of what they share.

    Constants of the windows are solved for first, each frame's offset taken out; a frame's offset
    given these is a weighted mean.
    """
    ndim = next(iter(looks.values()))[0].offset.size
    normal = np.zeros((number * ndim, number * ndim))
    right = np.zeros(number * ndim)
    each: dict[int, tuple[Float, Float, NDArray[np.intp], Float]] = {}
    for t, held in looks.items():
        inverse = np.linalg.inv(_covariance(held))
        ones = np.tile(np.eye(ndim), (len(held), 1))
        own = np.asarray(np.linalg.inv(ones.T @ inverse @ ones), dtype=np.float64)
        mean = own @ ones.T @ inverse
        left = inverse - inverse @ ones @ mean
        at = np.concatenate([np.arange(ndim) + look.window * ndim for look in held])
        values = np.concatenate([look.offset for look in held])
        normal[np.ix_(at, at)] += left
        right[at] -= left @ values
        each[t] = own, np.asarray(mean), at, values
    power, vectors = np.linalg.eigh(normal)
    kept = power > power[-1] * 1e-12  # the constant of all of them is free
    factor = vectors[:, kept] / np.sqrt(power[kept])
    constants = factor @ (factor.T @ right)
    offsets = {t: mean @ (values + constants[at]) for t, (_, mean, at, values) in each.items()}
    shared = {t: np.asarray(mean @ factor[at]) for t, (_, mean, at, _) in each.items()}
    return offsets, {t: alone for t, (alone, _, _, _) in each.items()}, shared


def _covariance(held: list[Look]) -> Float:
    """Of what several windows say of one frame."""
    roots = [np.linalg.cholesky(look.own) for look in held]

    def between(i: int, j: int) -> Float:
        alike = 1.0 if i == j else _alike(held[i].box, held[j].box)
        return np.asarray(alike * roots[i] @ roots[j].T)

    every = range(len(held))
    return np.block([[between(i, j) for j in every] for i in every])
