"""Delta chi^2 around the answer: the correlation that was fitted, scaled to the bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.fourier import TrigPolynomial

if TYPE_CHECKING:
    from coregister.result import Registration

Float = NDArray[np.float64]


def delta_chi2(
    result: Registration, surface: TrigPolynomial | None, half_width: float, points: int
) -> tuple[list[Float], Float]:
    """See `Registration.chi2_map`; `surface` is the correlation that was fitted, if it is known."""
    if not (np.isfinite(half_width) and half_width > 0 and points == int(points) >= 2):
        raise InputError(
            f"half_width={half_width!r}, points={points!r} are not usable; a number above 0, "
            "in units of stderr, and a count of 2 or more are needed"
        )
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
