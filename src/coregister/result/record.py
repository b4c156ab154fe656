"""A result as JSON knows it, and the way back; nothing damaged gets through."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.estimator.stages import Coherence, Mode
from coregister.status import Status

if TYPE_CHECKING:
    from coregister.result import Registration

Float = NDArray[np.float64]


def to_record(result: Registration) -> dict[str, Any]:
    """See `Registration.to_dict`."""
    return {
        "format": "coregister.Registration",
        "version": 1,
        "offset": plain(result.offset),
        "stderr": plain(result.stderr),
        "covariance": plain(result.covariance),
        "model_covariance": plain(result.model_covariance),
        "information": plain(result.information),
        "systematic": plain(result.systematic),
        "dof": plain(result.dof),
        "status": result.status.name,
        "flags": [status.name for status in Status if status in result.flags],
        "trusted": result.trusted,
        "false_alarm": plain(result.false_alarm),
        "modes": [
            {
                "offset": plain(mode.offset),
                "covariance": plain(mode.covariance),
                "probability": plain(mode.probability),
            }
            for mode in result.modes
        ],
        "gain": plain(result.gain),
        "background": plain(result.background),
        "overlap": plain(result.overlap),
        "coherence": {
            "frequency": plain(result.coherence.frequency),
            "correlation": plain(result.coherence.correlation),
        },
        "n_iter": result.n_iter,
        "reference_shape": list(result.reference_shape),
        "moving_shape": list(result.moving_shape),
        "boundary": result.boundary,
    }


def from_record(kind: type[Registration], record: Mapping[str, Any]) -> Registration:
    """See `Registration.from_dict`."""
    if not isinstance(record, Mapping):
        raise InputError(
            f"found a {type(record).__name__}; a dictionary that to_dict() or "
            "`coregister pair --json` wrote is needed: read the file with json.load"
        )
    if record.get("format") != "coregister.Registration" or record.get("version") != 1:
        raise InputError(
            f"found a record of format {record.get('format')!r}, version "
            f"{record.get('version')!r}; 'coregister.Registration', version 1, is needed: "
            "give a dictionary that to_dict() or `coregister pair --json` wrote"
        )
    try:
        result = kind(
            offset=floats(record["offset"]),
            covariance=floats(record["covariance"]),
            model_covariance=floats(record["model_covariance"]),
            information=floats(record["information"]),
            systematic=floats(record["systematic"]),
            dof=float(record["dof"]),
            flags=frozenset(Status[name] for name in record["flags"]),
            false_alarm=float(record["false_alarm"]),
            modes=tuple(
                Mode(
                    offset=floats(mode["offset"]),
                    covariance=floats(mode["covariance"]),
                    probability=float(mode["probability"]),
                )
                for mode in record["modes"]
            ),
            gain=float(record["gain"]),
            background=float(record["background"]),
            overlap=float(record["overlap"]),
            coherence=Coherence(
                floats(record["coherence"]["frequency"]),
                floats(record["coherence"]["correlation"]),
            ),
            n_iter=int(record["n_iter"]),
            reference_shape=tuple(int(n) for n in record["reference_shape"]),
            moving_shape=tuple(int(n) for n in record["moving_shape"]),
            boundary=record["boundary"],
        )
        _check_shapes(result)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the record is damaged ({type(error).__name__}: {error}); a complete one is "
            "needed: write it again with to_dict()"
        ) from error
    return result


def _check_shapes(result: Registration) -> None:
    """That the entries of a record belong together."""
    ndim = result.offset.size
    vector, matrix = (ndim,), (ndim, ndim)
    expected: list[tuple[Float, tuple[int, ...]]] = [
        (result.offset, vector),
        (result.covariance, matrix),
        (result.model_covariance, matrix),
        (result.information, matrix),
        (result.systematic, vector),
        (result.coherence.correlation, result.coherence.frequency.shape),
        *((mode.offset, vector) for mode in result.modes),
        *((mode.covariance, matrix) for mode in result.modes),
    ]
    for array, shape in expected:
        if array.shape != shape:
            raise ValueError(f"shape {array.shape} where {shape} is needed")
    if not len(result.reference_shape) == len(result.moving_shape) == ndim > 0:
        raise ValueError(f"shapes of the images that are not of {ndim} axes")
    if result.boundary not in ("overlap", "periodic"):
        raise ValueError(f"boundary {result.boundary!r}")
    if not result.dof > 2:
        raise ValueError(f"dof {result.dof}, above 2 is needed")


def plain(value: ArrayLike) -> Any:
    """Lists and numbers that JSON knows; infinity becomes ``"inf"``."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim:
        return [plain(entry) for entry in array]
    number = float(array)
    return number if math.isfinite(number) else repr(number)


def floats(value: Iterable[Any]) -> Float:
    """What `plain` made of an array."""
    return np.array(_nested(value), dtype=np.float64)


def _nested(value: Any) -> Any:
    return [_nested(entry) for entry in value] if isinstance(value, list) else float(value)
