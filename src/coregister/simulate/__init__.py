"""Pairs whose offset is known, scenes to take them of, and how well they can be measured at all.

A scene is a real array taken as one period of a larger field, so that it can be moved by any
fraction of a pixel without interpolation. Two windows are cut from its middle: content enters and
leaves at their edges as in every real pair. In units of the scene, ``moving(r) = gain * S(r - d)
+ background`` and the noise of moving carries the gain too.
"""

from __future__ import annotations

from coregister.simulate.bounds import expected_stderr, pair_bound
from coregister.simulate.denoise import mirrored, scene_from_image
from coregister.simulate.pairs import Observation, simulate_pair
from coregister.simulate.scenes import SCENES, random_scene

__all__ = [
    "SCENES",
    "Observation",
    "expected_stderr",
    "mirrored",
    "pair_bound",
    "random_scene",
    "scene_from_image",
    "simulate_pair",
]
