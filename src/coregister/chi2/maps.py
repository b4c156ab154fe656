"""Maps of chi^2: where their pixels stand, and errors read from one."""

from __future__ import annotations

import numpy as np

from coregister.chi2.fit import Fit
from coregister.chi2.inputs import Array
from coregister.errors import InputError

#: most pixels of a map
MAX_MAP = 2**27


def steps(
    found: Fit, upsample_factor: float | str, max_auto_size: int, auto_level: float
) -> list[Array]:
    """Distances of the rows and columns of a map from the minimum, which one of them meets."""
    arranged = found.best.surface.arranged
    room = arranged.upper - arranged.lower
    if isinstance(upsample_factor, str):
        counts = np.array([max_auto_size, max_auto_size])
        reach = min(float(np.max(np.abs(found.extents(auto_level)))), (room.max() + 1) / 2)
        width = 1.02 * reach / ((max_auto_size - 1) // 2)
    else:
        counts = np.maximum(found.best.surface.image_shape, np.ceil(2 * upsample_factor))
        width = 1 / upsample_factor
    if not arranged.periodic:  # all of the map stays where the shifts are
        counts = np.minimum(counts, np.floor(room / width) + 1)
    if counts.prod() > MAX_MAP:
        raise InputError(
            f"the map would have {counts[0]:.0f} x {counts[1]:.0f} pixels, and at most "
            f"{MAX_MAP} are made; use a smaller upsample_factor or max_auto_size"
        )
    distances = []
    for axis, count in enumerate(counts.astype(int)):
        first = -(count // 2)
        if not arranged.periodic:
            lowest = np.ceil((arranged.lower[axis] - found.offset[axis]) / width)
            highest = np.floor((arranged.upper[axis] - found.offset[axis]) / width) - count + 1
            first = int(np.clip(first, min(lowest, highest), highest))
        distances.append(width * (first + np.arange(count)))
    return distances


def profile(values: Array) -> Array:
    """Lowest value of each column, between its samples by a parabola."""
    row = values.argmin(axis=0)
    column = np.arange(values.shape[1])
    before = values[np.maximum(row - 1, 0), column]
    after = values[np.minimum(row + 1, len(values) - 1), column]
    lowest = values[row, column]
    good = (row > 0) & (row < len(values) - 1) & np.isfinite(before) & np.isfinite(after)
    before, after = np.where(good, before, 1.0), np.where(good, after, 1.0)
    bend = before + after - 2 * np.where(good, lowest, 0.0)
    good &= bend > 0
    gain = (before - after) ** 2 / (8 * np.where(good, bend, 1.0))
    return np.asarray(lowest - np.where(good, gain, 0.0))


def ends(profile: Array, level: float) -> tuple[float, float]:
    """Distance from the minimum of a profile to where it passes `level` last on either side.

    Between two pixels the root of delta chi^2 is taken as linear, as it is for a parabola.
    """
    lowest = int(profile.argmin())
    peak, value = float(lowest), float(profile[lowest])
    if 0 < lowest < profile.size - 1 and np.isfinite(profile[lowest - 1 : lowest + 2]).all():
        before, after = profile[lowest - 1], profile[lowest + 1]
        bend = before + after - 2 * value
        if bend > 0:
            peak += (before - after) / (2 * bend)
            value -= (before - after) ** 2 / (8 * bend)
    root = np.sqrt(np.maximum(profile - value, 0) / level)
    distances = []
    for sign in (-1, 1):
        inside = [k for k in np.flatnonzero(root <= 1) if sign * (k - peak) >= 0]
        at, here = (sign * max(sign * k for k in inside), root) if inside else (peak, None)
        following = at + sign if inside else (np.floor(peak) if sign < 0 else np.floor(peak) + 1)
        if following == at:
            following += sign
        if not 0 <= following < profile.size:
            distances.append(np.inf)
            continue
        start = float(here[int(at)]) if here is not None else 0.0
        stop = float(root[int(following)])
        share = (1 - start) / (stop - start) if np.isfinite(stop) else 1.0
        distances.append(abs(at + (following - at) * share - peak))
    return distances[0], distances[1]
