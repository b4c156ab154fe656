"""Values for pixels that have none, so that an image can be moved.

They carry no weight in any comparison; but a moved pixel is a mean over its neighbours, so what
stands in a hole matters to the valid pixels around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.rings import cosine_rings
from coregister.images import Image
from coregister.padding import holding
from coregister.products import dot

Float = NDArray[np.float64]
Places = tuple[NDArray[np.intp], ...]

#: a pixel is a spike where it exceeds its surroundings by this many sigma
SPIKE_SIGMA = 10.0
#: and one of a track by so many: looked for where they are only felt, a tenth of them, beside
TRACK_SIGMA = 30.0
#: pixels that are looked at in one go
BLOCK = 2**16
#: pixels from which the noise beside them is read
NOISE_SAMPLE = 2048
#: and its neighbours by no more than this share of that
SPIKE_SHARE = 0.25
#: share of spikes above which the image is taken to be like that
MAX_SPIKES = 0.02
#: a pixel of the residual is an outlier beyond this many sigma
OUTLIER_SIGMA = 7.0
#: values are limited to this many sigma in the search
CLIP_SIGMA = 5.0
#: times that the spectrum is read, and conjugate gradients towards the conditional mean after that
READINGS, CONJUGATE = 2, 4
#: what is left to change in a pixel, in units of the noise, that ends them; and the smallest noise
#: that counts, in units of the deviation of the image
SETTLED, SMALLEST = 0.03, 0.003
#: pixels from which this is done in single precision, whose rounding is far below what is not known
MANY = 2**14
#: pixels around the holes from which they are filled, or half of what they extend over
SURROUNDINGS = 32
#: share of the value in a hole that half a sub-pixel shift carries to pixels one and two beside
TAILS = (0.2, 0.1)
#: shares of the scene below which the noise floor is looked for, in frequency
FLOOR_FREQUENCY = 0.6


def fill(image: Image) -> Float:
    """The image with its invalid pixels replaced by what the others make most likely.

    A start from local means, then the conditional mean of a Gaussian field whose spectrum is
    read from the image itself, by repeated Wiener filtering of the valid data and the last guess,
    and by conjugate gradients.

    Parameters
    ----------
    image : Image

    Returns
    -------
    array
        The data itself if nothing is missing.
    """
    if image.valid is None:
        return image.data
    box = _around(~image.valid)
    filled = image.data.copy()
    filled[box] = _filled(image.data[box], image.valid[box])
    return filled


def _filled(data: Float, valid: NDArray[np.bool_]) -> Float:
    missing = ~valid
    values = _local_means(data, valid)
    level, size = float(np.mean(values)), float(np.std(values)) or 1.0
    values -= level
    values /= size
    if values.size >= MANY:
        values = values.astype(np.float32)
    rings = cosine_rings(values.shape)
    high = rings.frequency > FLOOR_FREQUENCY * rings.frequency.max()
    known = np.count_nonzero(valid) / valid.size
    flat, places = values.reshape(-1), np.flatnonzero(missing)

    def guessed(modes: Float) -> Float:
        """Wiener-filtered values in the holes; the modes are lost."""
        modes *= gain
        filtered = scipy.fft.idctn(modes, norm="ortho", overwrite_x=True)
        return np.asarray(filtered).reshape(-1)[places]

    left: Float | None = None
    for _ in range(READINGS):
        if left is not None:
            flat[places] += left
        modes = scipy.fft.dctn(values, norm="ortho")
        power = rings.mean(modes * modes)
        # filled pixels hold no noise, so the floor seen is that of the valid ones
        floor = float(np.min(power[high])) / known
        share = np.clip(power - floor, 0.0, None) / np.maximum(power, 1e-300)
        gain = rings.spread(share, modes.dtype).reshape(modes.shape)
        left = guessed(modes) - flat[places]
    # that converges slowly in large holes: conjugate gradients, now that the spectrum is known
    assert left is not None
    direction, norm, field = left, dot(left, left), np.zeros_like(values)
    near = SETTLED * max(float(np.sqrt(floor)), SMALLEST * float(np.std(values)))
    for _ in range(CONJUGATE):
        if float(np.max(np.abs(left))) <= near:
            break
        field.reshape(-1)[places] = direction
        image = direction - guessed(scipy.fft.dctn(field, norm="ortho"))
        step = norm / dot(direction, image)
        flat[places] += step * direction
        left = left - step * image
        before, norm = norm, dot(left, left)
        direction = left + (norm / before) * direction
    filled = data.copy()
    filled.reshape(-1)[places] = flat[places] * np.float64(size) + level
    return filled


def _around(missing: NDArray[np.bool_], margin: int | None = None) -> tuple[slice, ...]:
    """The part of an image that holds all holes, and as much again as is needed to fill them.

    With `margin`, so many pixels around them.
    """
    box = []
    for part, n in zip(holding(missing), missing.shape, strict=True):
        around = max(SURROUNDINGS, (part.stop - part.start) // 2) if margin is None else margin
        box.append(slice(max(0, part.start - around), min(n, part.stop + around)))
    return tuple(box)


def without_spikes(image: Image) -> Image:
    """The same image, where single pixels far above or below all around them are invalid.

    Hot pixels and cosmic rays. A star is left alone: its light reaches the neighbours too.
    """
    return without(image, spikes(image.data, suspects(image.data, image.valid)))


def without(image: Image, bad: NDArray[np.bool_]) -> Image:
    """The same image, where what is `bad` is invalid."""
    if not bad.any():
        return image
    return replace(image, valid=~bad if image.valid is None else image.valid & ~bad)


class Suspects(NamedTuple):
    """Pixels above or below both their neighbours along some axis, by what noise may not do."""

    noise: float
    places: Places


def suspects(data: NDArray[np.floating[Any]], valid: NDArray[np.bool_] | None = None) -> Suspects:
    """Valid pixels that may be spikes, all others being none."""
    sample = np.unravel_index(
        np.linspace(0, data.size - 1, min(data.size, NOISE_SAMPLE)).astype(np.intp), data.shape
    )
    noise = float(np.median(np.abs(data[sample] - _ring_median(data, sample)))) / 0.6745
    if noise == 0.0:
        return Suspects(noise, tuple(np.empty((data.ndim, 0), dtype=np.intp)))
    found = []
    rows = max(1, BLOCK * len(data) // data.size)
    for start in range(0, len(data), rows):
        stop = min(start + rows, len(data))
        block = data[max(start - 1, 0) : stop + 1]  # with one more line on each side
        if start == 0 or stop == len(data):  # mirrored at the edges
            before, after = int(start == 0), int(stop == len(data))
            widths = [(before, after)] + [(0, 0)] * (data.ndim - 1)
            block = np.pad(block, widths, mode="reflect")
        out = np.flatnonzero(_out_of_line(block, (SPIKE_SIGMA / 2) * noise))
        out += start * (data.size // len(data))
        found.append(out if valid is None else out[valid.reshape(-1)[out]])
    return Suspects(noise, np.unravel_index(np.concatenate(found), data.shape))


def spikes(data: Float, among: Suspects, alike: int = 0) -> NDArray[np.bool_]:
    """Pixels far above or below all around them.

    Parameters
    ----------
    data : array
    among : Suspects
        Of the same data.
    alike : int
        Neighbours that may be as far off: with 2 of them, tracks one pixel wide are found too.
        Along one axis there are no tracks.
    """
    alike = 0 if data.ndim == 1 else alike
    bad = np.zeros(data.shape, dtype=bool)
    noise, places = among
    if places[0].size == 0:
        return bad
    patches = _patches(data, places, 1)
    middle = len(patches) // 2
    ring = np.sort(np.delete(patches, middle, axis=0), axis=0)
    above = np.maximum(data[places] - ring[-1 - alike], ring[alike] - data[places])
    out = above > (SPIKE_SIGMA / 2) * noise
    if not out.any():
        return bad
    places, above = tuple(p[out] for p in places), above[out]
    # of what stands out of the wider surroundings, the neighbours share a quarter at most
    wider, least = (3, TRACK_SIGMA) if alike else (2, SPIKE_SIGMA)
    excess = np.abs(data[places] - np.median(_patches(data, places, wider), axis=0))
    found = (excess > least * noise) & (excess - above < SPIKE_SHARE * excess + 3 * noise)
    if np.count_nonzero(found) <= MAX_SPIKES * data.size:
        bad[tuple(p[found] for p in places)] = True
    return bad


def departure(data: Float, places: Places, reach: int = 0) -> Float:
    """How far some pixels, or the brightest ones within `reach`, are above what is around them."""
    brightest = np.max(_patches(data, places, reach), axis=0) if reach else data[places]
    return np.asarray(brightest - np.median(_patches(data, places, 2), axis=0))


def outliers(residual: Float) -> Places:
    """Pixels of a residual far outside of what is around them.

    The scale is the larger of that of the whole and of the surroundings, so that noise which
    varies over the field makes no outliers.
    """
    size = np.abs(residual)
    limit = OUTLIER_SIGMA / 0.6745
    middle = size.size // 2
    unlikely = float(size.max()) * (1 + 1e-6) / limit  # and to the safe side of rounding
    if np.count_nonzero(size < unlikely) <= middle:  # the median is too large for any
        return tuple(np.empty((size.ndim, 0), dtype=np.intp))
    places = np.nonzero(size > limit * np.partition(size.ravel(), middle)[middle])
    if places[0].size == 0:
        return places
    found = size[places] > limit * np.median(_patches(size, places, 5), axis=0)
    return tuple(place[found] for place in places)


def _out_of_line(data: NDArray[np.floating[Any]], limit: float) -> NDArray[np.bool_]:
    """Pixels above or below both their neighbours by more than `limit`, along some axis.

    A line of pixels is crossed by one axis at least. The first and the last line along the first
    axis are neighbours only.
    """
    found = np.zeros((len(data) - 2, *data.shape[1:]), dtype=bool)
    for axis in range(data.ndim):
        values = data if axis == 0 else data[1:-1]
        # neighbours along an axis are so many places apart: all are compared in one run
        apart = int(np.prod(data.shape[axis + 1 :]))
        flat = values.reshape(-1)
        change = flat[apart:] - flat[:-apart]
        up, down = change > limit, change < -limit
        peak = (up[:-apart] & down[apart:]) | (down[:-apart] & up[apart:])
        if axis == 0:
            found |= peak.reshape(found.shape)
            continue
        whole = np.empty(found.shape, dtype=bool)
        whole.reshape(-1)[apart:-apart] = peak
        lines, result = np.moveaxis(values, axis, 0), np.moveaxis(whole, axis, 0)
        for end, only in ((0, 1), (-1, -2)):  # mirrored: both neighbours are one
            result[end] = np.abs(lines[end] - lines[only]) > limit
        found |= whole
    return found


def _patches(values: NDArray[np.floating[Any]], places: Places, reach: int) -> Float:
    """What stands around some pixels, `reach` to every side, mirrored at the edges: (n, pixels).

    Once: what is farther away than an array is wide is at its edge.
    """
    offsets = np.indices((2 * reach + 1,) * values.ndim).reshape(values.ndim, -1, 1) - reach
    index = []
    for place, offset, n in zip(places, offsets, values.shape, strict=True):
        mirrored = np.abs(place + offset)
        mirrored = np.where(mirrored > n - 1, 2 * (n - 1) - mirrored, mirrored)
        index.append(np.clip(mirrored, 0, n - 1))
    return np.asarray(values[tuple(index)])


def _ring_median(data: NDArray[np.floating[Any]], places: Places) -> Float:
    """Median of the neighbours of some pixels, the pixel itself left out."""
    patches = _patches(data, places, 1)
    around = np.sort(np.delete(patches, len(patches) // 2, axis=0), axis=0)
    return np.asarray(around[len(around) // 2 - 1 : len(around) // 2 + 1].mean(axis=0))


def clipped(filtered: Float) -> Float:
    """A filtered image whose few largest values are limited: none of them rules the search."""
    size = np.abs(filtered).ravel()
    middle = size.size // 2
    around = (filtered - filtered.mean()).ravel()
    spread = np.sqrt(float(np.einsum("i,i", around, around)) / size.size)
    highest = CLIP_SIGMA * max(float(np.partition(size, middle)[middle]) / 0.6745, 0.2 * spread)
    return np.asarray(np.minimum(np.maximum(filtered, -highest), highest))


def eroded(valid: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Pixels around which all are valid that a sample, one in `step`, is made of."""
    return ~_largest_near(~valid, step // 2)


def _largest_near(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """The largest of the values not farther than `reach` along any axis."""
    for axis in range(values.ndim):
        given = np.moveaxis(values, axis, 0)
        values = values.copy()
        lines = np.moveaxis(values, axis, 0)
        for away in range(1, min(reach, len(lines) - 1) + 1):
            np.maximum(lines[away:], given[:-away], out=lines[away:])
            np.maximum(lines[:-away], given[away:], out=lines[:-away])
    return values


def rims(valid: NDArray[np.bool_], finer: Callable[[Float], Float], step: int = 1) -> Float:
    """Variance that the guesses in holes bring to the pixels beside them when they are moved.

    Parameters
    ----------
    valid : array of bool
    finer : callable
        Variance of the scene above a frequency (cycles/px): what of it passes through a hole is
        not known from its surroundings.
    step : int
        Pixels between samples.
    """
    spread = np.zeros(valid.shape)
    box = _around(~valid, len(TAILS) * step)
    near, deepest = _deepest(~valid[box])
    # the deeper a hole is, the larger its error: the deepest one near has the largest
    variance = np.zeros(deepest + 1)
    variance[1:] = finer(0.5 / (2 * np.arange(1, deepest + 1) - 1))
    for tail in TAILS:
        near = _largest_near(near, step)
        np.maximum(spread[box], (tail**2 * variance)[near], out=spread[box])
    return spread


def _deepest(missing: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    """Depth of the hole that each missing pixel belongs to, 0 elsewhere; and the largest."""
    from scipy import ndimage

    depths = missing.astype(np.uint8)
    if not eroded(missing, 2).any():  # none has a middle
        return depths, int(missing.any())
    depth = ndimage.distance_transform_cdt(np.pad(missing, 1, mode="edge"), "chessboard")
    depth = depth[tuple(slice(1, -1) for _ in missing.shape)]
    holes, count = ndimage.label(missing, np.ones((3,) * missing.ndim))
    number = holes[missing] - 1
    deepest = np.zeros(count, np.uint16)
    np.maximum.at(deepest, number, depth[missing].astype(np.uint16))
    depths = np.zeros(missing.shape, np.uint16)
    depths[missing] = deepest[number]
    return depths, int(deepest.max())


def _local_means(data: Float, valid: NDArray[np.bool_]) -> Float:
    """Invalid pixels at the mean of the valid ones near them: of the finest cells that hold any.

    Cells of twice the side, and so on, until all hold valid pixels; what they hold is passed down
    by linear interpolation.
    """
    if valid.all() or min(data.shape) < 2:
        return np.where(valid, data, float(np.mean(data[valid])) if valid.any() else 0.0)
    weight, total = valid.astype(np.float32), np.where(valid, data, 0.0)
    for axis in range(data.ndim):
        weight, total = (halved(v, axis) for v in (weight, total))
    held = weight > 0
    coarse = np.divide(total, weight, out=np.zeros_like(total), where=held)
    between = _local_means(coarse, held)
    for axis, n in enumerate(data.shape):
        between = _doubled(between, axis, n)
    return np.where(valid, data, between)


def _doubled(values: Float, axis: int, length: int) -> Float:
    """Between the middles of cells by linear interpolation, at places half a cell apart."""
    result = np.empty((*values.shape[:axis], length, *values.shape[axis + 1 :]))
    cells, places = np.moveaxis(values, axis, 0), np.moveaxis(result, axis, 0)
    near, far = 0.75 * cells, 0.25 * cells
    places[0], places[-1] = cells[0], cells[-1]
    last = 2 * len(cells) - 2
    np.add(near[1:], far[:-1], out=places[2 : last + 1 : 2])
    np.add(near[:-1], far[1:], out=places[1:last:2])
    return result


def halved(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Sums of every two along an axis, and the last one alone if it is odd."""
    along_axis = (slice(None),) * axis
    sums = values[(*along_axis, slice(0, None, 2))].copy()
    sums[(*along_axis, slice(values.shape[axis] // 2))] += values[(*along_axis, slice(1, None, 2))]
    return sums
