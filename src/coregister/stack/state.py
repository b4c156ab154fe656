"""Where the joint passes stand, in types that JSON knows: a killed run goes on from there."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.stack.bench import Common, Frame
from coregister.stack.template import Template

Float = NDArray[np.float64]


@dataclass
class State:
    """What one pass leaves to the next.

    Attributes
    ----------
    members : dict of int to Frame
        Frames that take part.
    misfits : set of int
        Those that do not fit.
    level : int
        Pixels between samples.
    common : Common or None
        The window.
    template : Template or None
        What the frames show together.
    passes, fine : int
        Passes so far, and those in which what is left over was looked at.
    near : int
        How many more passes on the finest samples may be rough.
    noise : array or None
        Power of what was left over, ring by ring.
    pattern : float or None
        Chance of a pattern on the detector, once all is done.
    """

    members: dict[int, Frame]
    misfits: set[int]
    level: int
    common: Common | None = None
    template: Template | None = None
    passes: int = 0
    fine: int = 0
    near: int = 0
    noise: Float | None = None
    pattern: float | None = None

    def packed(self) -> dict[str, Any]:
        """Types that JSON knows, to the last bit."""
        return {
            "members": {str(t): _pack(vars(frame)) for t, frame in self.members.items()},
            "misfits": sorted(int(t) for t in self.misfits),
            "level": int(self.level),
            "common": None if self.common is None else _pack(self.common._asdict()),
            "template": None if self.template is None else _pack(self.template._asdict()),
            "passes": self.passes,
            "fine": self.fine,
            "near": self.near,
            "noise": None if self.noise is None else _packed(self.noise),
            "pattern": None if self.pattern is None else float(self.pattern),
        }

    @classmethod
    def unpacked(cls, record: dict[str, Any]) -> State:
        """What `packed` gave."""
        common, template = record["common"], record["template"]
        if common is not None:
            common = {**_unpack(common), "shape": tuple(common["shape"])}
        return cls(
            members={int(t): Frame(**_unpack(held)) for t, held in record["members"].items()},
            misfits=set(record["misfits"]),
            level=record["level"],
            common=None if common is None else Common(**common),
            template=None if template is None else Template(**_unpack(template)),
            passes=record["passes"],
            fine=record["fine"],
            near=record["near"],
            noise=_unpacked(record["noise"]),
            pattern=record["pattern"],
        )


def _pack(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _packed(value) for name, value in values.items()}


def _unpack(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _unpacked(value) for name, value in values.items()}


def _packed(value: Any) -> Any:
    """An array as its bytes; one of few true entries as their places."""
    if isinstance(value, np.ndarray):
        sparse = value.dtype == bool
        held: NDArray[Any] = np.flatnonzero(value) if sparse else value
        return {
            "shape": value.shape,
            "sparse": sparse,
            "type": held.dtype.str,
            "bytes": base64.b64encode(np.ascontiguousarray(held).tobytes()).decode(),
        }
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    held = np.frombuffer(base64.b64decode(value["bytes"]), dtype=np.dtype(value["type"]))
    if not value["sparse"]:
        return held.reshape(value["shape"]).copy()
    array = np.zeros(int(np.prod(value["shape"])), dtype=bool)
    array[held] = True
    return array.reshape(value["shape"])
