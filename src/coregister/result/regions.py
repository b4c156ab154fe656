"""What bars claim: regions of a probability, and delta chi^2 around the answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.fourier import TrigPolynomial

if TYPE_CHECKING:
    from coregister.result import Registration

Float = NDArray[np.float64]


def check_truth(truth: ArrayLike, ndim: int) -> Float:
    """A true offset as an array; refused if it has not a number for each axis."""
    values = np.asarray(truth, dtype=np.float64)
    if values.shape != (ndim,):
        raise InputError(
            f"truth has shape {values.shape}; ({ndim},) is needed, in array-axis order"
        )
    return values


def check_level(level: float) -> None:
    """Refuse what is no probability of a region."""
    if not isinstance(level, (int, float, np.number)) or not 0 < level < 1:
        raise InputError(
            f"level={level!r} is not a probability between 0 and 1; give 0.95 for 95 %"
        )


def region_level(information: Float, dof: float, level: float) -> float:
    """Bound on ``error @ information @ error`` in the joint region of probability `level`."""
    from scipy import stats

    check_level(level)
    rank = int(np.linalg.matrix_rank(information)) or 1
    if math.isinf(dof):
        return float(stats.chi2.ppf(level, rank))
    # the covariance is that of Student's distribution, wider than its scale matrix
    shrink = (dof - 2) / dof
    return float(shrink * rank * stats.f.ppf(level, rank, dof))


def sigmas(level: float, dof: float) -> float:
    """Half-width of the marginal interval of probability `level`, in bars."""
    from scipy import stats

    check_level(level)
    tail = 0.5 + level / 2
    if math.isinf(dof):
        return float(stats.norm.ppf(tail))
    return float(stats.t.ppf(tail, dof) * math.sqrt((dof - 2) / dof))


def delta_chi2(
    result: Registration, surface: TrigPolynomial | None, half_width: float, points: int
) -> tuple[list[Float], Float]:
    """See `Registration.chi2_map`; `surface` is the correlation that was fitted, if it is known."""
    bars = np.where(np.isfinite(result.stderr), result.stderr, 1.0 / half_width)
    steps = [np.linspace(-half_width, half_width, points) * bar for bar in bars]
    positions = [d + step for d, step in zip(result.offset, steps, strict=True)]
    peak = None if surface is None else _peak(result, surface)
    if surface is not None and peak is not None:
        top, place, scale = peak
        values = surface.grid([d + step for d, step in zip(place, steps, strict=True)])
        return positions, 2 * scale * (top - values)
    mesh = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    return positions, np.einsum("...i,ij,...j->...", mesh, result.information, mesh)


def _peak(result: Registration, surface: TrigPolynomial) -> tuple[float, Float, float] | None:
    """The maximum of the fitted correlation and what scales it to the bars, if they belong."""
    bars = np.where(np.isfinite(result.stderr), result.stderr, 1.0)
    place = result.offset
    for _ in range(8):
        top, gradient, hessian = surface.derivatives(place)
        step = np.linalg.pinv(-hessian, rcond=1e-10, hermitian=True) @ gradient
        place = place + np.clip(step, -bars, bars)
    curvature = -float(np.trace(hessian))
    wanted = float(np.trace(result.information))
    if not curvature * 0.1 < wanted < curvature * 10:
        return None
    scale = wanted / curvature
    if scale * abs(top) * 1e-14 > 0.01 or np.any(np.abs(place - result.offset) > 3 * bars):
        return None
    return top, place, scale
