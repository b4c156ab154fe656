"""The door of the simulations: what is given is of use, or one sentence says what is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.containers import check_kind
from coregister.errors import InputError

Float = NDArray[np.float64]


def check_rng(rng: Any) -> None:
    """Refuse what is no source of chance: the caller holds it, so that draws go on."""
    if not isinstance(rng, (np.random.Generator, np.random.RandomState)):
        raise InputError(
            f"rng={rng!r} is no source of chance; a numpy.random.Generator is needed: "
            f"rng=numpy.random.default_rng({rng if isinstance(rng, int) else ''})"
        )


def as_numbers(values: Any, name: str) -> Float:
    """Finite real numbers."""
    try:
        numbers = np.asarray(values)
        check_kind(numbers, name)
    except ValueError as error:
        raise (
            error
            if isinstance(error, InputError)
            else InputError(
                f"{name} does not turn into an array ({error}); give an array of numbers"
            )
        ) from error
    if not np.all(np.isfinite(numbers)):
        raise InputError(f"{name} is not finite everywhere; fill or crop it")
    return numbers.astype(np.float64, copy=False)


def as_number(value: Any, name: str) -> float:
    """One finite real number."""
    number = as_numbers(value, name)
    if number.ndim:
        raise InputError(f"{name} has shape {number.shape}; one number is needed")
    return float(number)


def as_sides(shape: Sequence[int], name: str) -> tuple[int, ...]:
    """Whole numbers of pixels, one an axis."""
    sides = np.asarray(shape)
    if sides.ndim != 1 or sides.dtype.kind not in "iu" or sides.size == 0 or sides.min() < 1:
        raise InputError(
            f"{name}={shape!r} is not usable; whole numbers of pixels above 0, one an axis, are "
            "needed: (64, 64) for instance"
        )
    return tuple(int(n) for n in sides)
