"""Regions of a probability: what may be asked, and how far they reach in bars."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError

Float = NDArray[np.float64]


def check_truth(truth: ArrayLike, ndim: int) -> Float:
    """A true offset as an array; refused if it has not a number for each axis."""
    try:
        values = np.asarray(truth, dtype=np.float64)
    except (TypeError, ValueError):  # words, ragged lists
        raise InputError(
            f"truth={truth!r} is not usable; {ndim} numbers in array-axis order are needed"
        ) from None
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
