"""The region where chi^2 is within a given level of its minimum: how far it reaches.

An ellipse, mostly, and smaller than a pixel: then its ends are found on the Taylor expansion.
Otherwise every part of it is looked for, among the whole-pixel offsets, on fine grids, and again
on the expansion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from coregister.chi2.inputs import Array
from coregister.chi2.minimum import Minimum, descend, evaluate
from coregister.chi2.surface import Surface

#: a part of a region wider than this many pixels both ways is told by whole pixels
WIDEST_GRID = 64
#: the ends, (axis, side), of nothing
NOWHERE = np.array([[np.inf, -np.inf], [np.inf, -np.inf]])


def delta_chi2(nsigma: float, nfitted: int) -> float:
    """Delta chi^2 that `nfitted` parameters stay within as a normal stays within `nsigma`.

    Examples
    --------
    >>> round(delta_chi2(1, 1), 6), round(delta_chi2(1, 2), 4)
    (1.0, 2.2957)
    """
    outside = special.erfc(nsigma / np.sqrt(2))
    return float(2 * special.gammainccinv(nfitted / 2, outside))


def _compact(best: Minimum, level: float) -> bool:
    """Whether chi^2 can be within `level` of its minimum only right there (a quick test).

    `level` is in the units of the surface, here and below. Between its samples chi^2 falls by
    no more than its curvature allows.
    """
    surface = best.surface
    dip = 1.5 * np.abs(best.hessian).sum() / 8
    index = surface.within(best.lowest + level + dip + surface.rounding)
    shape = np.array(surface.shape)
    distance = (index - best.offset + shape / 2) % shape - shape / 2
    return bool(np.all(np.abs(distance) <= 1.5))


def _boxes(best: Minimum, level: float) -> list[Array]:
    """Boxes, (axis, side), outside of which nothing is within `level`; the lowest first.

    Between its samples chi^2 falls by no more than they vary around.
    """
    from scipy import ndimage

    surface = best.surface
    spans = surface.spans(best.offset)
    values = surface.searched[surface.index(spans)]
    finite = np.isfinite(values)
    values = np.where(finite, values, values.max(where=finite, initial=best.lowest))
    highest = ndimage.maximum_filter(values, 3, mode=surface.edge_mode)
    bound = values - 1.5 * (highest - values)
    around = [
        np.searchsorted(s, np.floor(d) + np.arange(2))
        for s, d in zip(spans, best.offset, strict=True)
    ]
    nearest = bound.take(around[0], 0, mode="clip").take(around[1], 1, mode="clip")
    # waves at the Nyquist frequency fade between all samples alike: what the best has gained there
    bound -= max(float(nearest.min()) - best.lowest, 0.0)
    parts, count = ndimage.label(
        finite & (bound <= best.lowest + level + surface.rounding), np.ones((3, 3))
    )
    pieces = ndimage.find_objects(parts)
    order = np.argsort(ndimage.minimum(values, parts, np.arange(1, count + 1)))
    limits = surface.limits(best.offset)
    boxes = []
    for k in order:
        ends = zip(spans, pieces[k], strict=True)
        box = np.array([(span[part][0] - 1, span[part][-1] + 1) for span, part in ends], float)
        boxes.append(np.clip(box, limits[:, :1], limits[:, 1:]))
    return boxes


def _most_parts(surface: Surface) -> int:
    """How many parts are looked at one by one: fewer in larger images, to bound the work."""
    return int(np.clip(2**20 // np.prod(surface.shape), 8, 64))


def lower_minimum(best: Minimum, level: float) -> Minimum | None:
    """A minimum below `best` that its whole-pixel samples did not show, if there is one."""
    from scipy import ndimage

    if _compact(best, level):
        return None
    surface, found = best.surface, best
    most = _most_parts(surface)
    for box in _boxes(best, level)[:most]:
        density = 4 if np.diff(box).min() <= WIDEST_GRID else 1
        nodes = [np.linspace(a, b, int(density * (b - a)) + 1) for a, b in box]
        delta = surface.grid(nodes) - best.lowest
        dip = float(np.abs(best.hessian).sum()) / (8 * density**2)
        dips = delta <= np.minimum(ndimage.minimum_filter(delta, 3), dip)
        index = np.argwhere(dips)
        for row, column in index[np.argsort(delta[dips])][:most]:
            rival = descend(surface, np.array([nodes[0][row], nodes[1][column]]))
            if rival.chi2 < found.chi2:
                found = rival
    return found if found.chi2 < best.chi2 - surface.rounding else None


def extents(best: Minimum, level: float) -> tuple[Array, Array]:
    """How far delta chi^2 up to `level` reaches from the minimum, down and up each axis."""
    if _compact(best, level):
        ends = _ellipse_ends(best, level)
        if ends is not None:
            return ends
    return _traced_ends(best, level)


def _traced_ends(best: Minimum, level: float) -> tuple[Array, Array]:
    """The same for a region of any form and any number of parts."""
    boxes = _boxes(best, level)
    most = _most_parts(best.surface)
    ends = np.stack([best.offset, best.offset], axis=1)
    for box in boxes:
        whole = len(boxes) > most or np.diff(box).min() > WIDEST_GRID
        ends = _union(ends, box if whole else _part_ends(best, level, box))
    limits = best.surface.limits(best.offset)
    low = np.where(ends[:, 0] <= limits[:, 0], -np.inf, ends[:, 0] - best.offset)
    high = np.where(ends[:, 1] >= limits[:, 1], np.inf, ends[:, 1] - best.offset)
    return low, high


def _union(a: Array, b: Array) -> Array:
    """Ends, (axis, side), of two parts together."""
    return np.stack([np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 1], b[:, 1])], axis=1)


def _part_ends(best: Minimum, level: float, box: Array) -> Array:
    """Ends, (axis, side), of what lies in `box`: from ever finer grids, then exactly."""
    from scipy import ndimage

    surface = best.surface
    sizes = np.diff(box).ravel()
    hessian = np.abs(best.hessian)
    wanted = sizes * np.sqrt(hessian.sum() / (8 * 0.05 * level))
    counts = np.clip(np.ceil(np.fmin(wanted, 256)), np.maximum(2 * sizes, 16), None).astype(int)
    nodes = [np.linspace(a, b, count + 1) for (a, b), count in zip(box, counts, strict=True)]
    spacing = sizes / counts
    dip = spacing @ hessian @ spacing / 8  # a node is at most half a spacing away
    delta = surface.grid(nodes) - best.lowest
    parts, count = ndimage.label(delta <= level + dip + surface.rounding, np.ones((3, 3)))
    ends = NOWHERE
    for number, piece in enumerate(ndimage.find_objects(parts), start=1):
        here = np.where(parts[piece] == number, delta[piece], np.inf)
        axes = [node[part] for node, part in zip(nodes, piece, strict=True)]
        outline = np.array([(axis[0], axis[-1]) for axis in axes]) + np.outer(spacing, (-1, 1))
        if count > _most_parts(surface):
            ends = _union(ends, outline)
            continue
        found = _island_ends(best, level, axes, here, outline)
        if found is None and dip > 0.1 * level and np.diff(outline).prod() < sizes.prod() / 2:
            found = _part_ends(best, level, outline)
        if found is None:
            found = _polished_ends(best, level, axes, here, spacing)
        ends = _union(ends, found)
    return np.stack([np.maximum(ends[:, 0], box[:, 0]), np.minimum(ends[:, 1], box[:, 1])], axis=1)


def _island_ends(
    best: Minimum, level: float, axes: Sequence[Array], delta: Array, outline: Array
) -> Array | None:
    """Ends of a part, from the minimum in it; None if it is not small and like an ellipse."""
    if np.all((outline[:, 0] <= best.offset) & (best.offset <= outline[:, 1])):
        local, remaining = best, level
    else:
        row, column = np.unravel_index(delta.argmin(), delta.shape)
        local = descend(best.surface, np.array([axes[0][row], axes[1][column]]))
        if not np.all((outline[:, 0] <= local.offset) & (local.offset <= outline[:, 1])):
            return None
        remaining = level + best.lowest - local.lowest
        if remaining <= 0 and delta.min() > level:
            touching = remaining > -best.surface.rounding
            return np.stack([local.offset, local.offset], axis=1) if touching else NOWHERE
    ellipse = _ellipse_ends(local, remaining) if np.diff(outline).max() < 2 else None
    if ellipse is None:
        return None
    ends = local.offset[:, None] + np.stack(ellipse, axis=1)
    inside = np.argwhere(delta <= level - best.surface.rounding)
    for axis in range(2):
        certain = axes[axis][inside[:, axis]]
        if np.any((certain < ends[axis, 0]) | (certain > ends[axis, 1])):
            return None
    return ends


def _polished_ends(
    best: Minimum, level: float, axes: Sequence[Array], delta: Array, spacing: Array
) -> Array:
    """Ends of a part of any form: from the outermost nodes to the contour, or one node more."""
    found = np.argwhere(np.isfinite(delta))
    ends = np.empty((2, 2))
    for axis in range(2):
        for side, (sign, pick) in enumerate(((-1, np.argmin), (1, np.argmax))):
            edge = found[found[:, axis] == found[pick(found[:, axis]), axis]]
            index = edge[np.argmin(delta[tuple(edge.T)])]
            node = np.array([axes[0][index[0]], axes[1][index[1]]])
            contact = _contact(
                best.near(node), level, axis, sign, np.zeros(2), float(2 * spacing.max())
            )
            shift = sign * spacing[axis] if contact is None else contact[axis]
            ends[axis, side] = node[axis] + shift
    return ends


def _ellipse_ends(best: Minimum, level: float) -> tuple[Array, Array] | None:
    """Ends of a region like an ellipse, smaller than a pixel; None if it is not like that."""
    hessian = best.hessian
    curvature = np.linalg.eigvalsh(hessian)
    if curvature[0] <= 1e-10 * curvature[1] + 100 * best.surface.rounding:
        return None
    matrix = np.linalg.inv(hessian / 2)
    reach = float(np.sqrt(level * matrix.diagonal().max()))
    if reach > 0.45:
        return None
    coefficients = best.coefficients
    if reach > 0.1:
        coefficients = best.wide()
    ends = np.empty((2, 2))
    for axis in range(2):
        for side, sign in enumerate((-1, 1)):
            start = sign * matrix[axis] * np.sqrt(level / matrix[axis, axis])
            contact = _contact(coefficients, level, axis, sign, start, float(np.abs(start).max()))
            if contact is None or not 0.5 < contact[axis] / start[axis] < 2:
                return None
            ends[side, axis] = contact[axis]
    return ends[0], ends[1]


def _solution(matrix: Array, right: Array) -> Array:
    """Solution of two equations, the shortest if they are alike."""
    (a, b), (c, d) = matrix.tolist()
    determinant = a * d - b * c
    if abs(determinant) > 1e-8 * (a * a + b * b + c * c + d * d):
        return np.asarray(np.array([[d, -b], [-c, a]]) @ right / determinant)
    return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-9)[0])


def _contact(
    c: Array, level: float, axis: int, sign: int, start: Array, size: float
) -> Array | None:
    """Where the inside of the contour `level` ends towards `sign` along `axis`.

    Newton for ``c = level`` together with a slope of zero along the other axis, within 2 `size`
    of `start`. None if there is no such point.
    """
    other = 1 - axis
    x = start
    for _ in range(60):
        value, gradient, hessian = evaluate(c, x)
        equations = np.array([gradient, size * hessian[other]])
        misfit = np.array([value - level, size * gradient[other]])
        step = -_solution(equations, misfit)
        largest = float(np.abs(step).max())
        if largest <= 1e-10 * size:
            flat = -1e-9 * np.abs(hessian).max()
            outwards = sign * gradient[axis] > 0 and hessian[other, other] >= flat
            return x + step if outwards else None
        x = x + step * min(1.0, size / largest)
        if np.abs(x - start).max() > 2 * size:
            break
    return None
