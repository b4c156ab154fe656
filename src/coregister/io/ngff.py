"""OME-Zarr 0.5 out: a stack as one image, or each frame as an image with a place of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import OutputError, optional

#: what the folder of a zarr store holds
STORES = ("zarr.json", ".zgroup", ".zarray")
Scale = Sequence[tuple[float, str]] | None


class Placed(NamedTuple):
    """A frame as it is, and where it belongs.

    Attributes
    ----------
    number : int
        Of the frame in its series.
    data : array
    place : (ndim,) array
        Of its first pixel, px.
    time : float
        Seconds, or the number of the frame.
    about : dict
        What else is known of it.
    """

    number: int
    data: NDArray[Any]
    place: NDArray[np.float64]
    time: float
    about: dict[str, Any]


def write_image(
    path: Path,
    frames: Iterable[NDArray[Any]],
    count: int,
    shape: tuple[int, ...],
    scale: Scale,
    step: float | None,
    about: dict[str, Any],
    *,
    channels: Sequence[str],
) -> None:
    """One image whose first axis counts frames, one chunk a frame and channel, float32."""
    ndim = len(shape) - bool(channels)
    axes = _axes(ndim, scale, timed=step is not None)
    sizes = [step or 1.0, *_sizes(ndim, scale)]
    if channels:
        axes.insert(1, {"name": "c", "type": "channel"})
        sizes.insert(1, 1.0)
    with _store(path) as group:
        array = group.create_array(
            "0",
            shape=(count, *shape),
            chunks=(1, 1, *shape[1:]) if channels else (1, *shape),
            dtype="float32",
            fill_value=np.nan,
            dimension_names=[axis["name"] for axis in axes],
        )
        low, high = np.full(len(channels), np.inf), np.full(len(channels), -np.inf)
        for index, frame in enumerate(frames):
            array[index] = values = np.asarray(frame, dtype=np.float32)
            for number in range(len(channels)):
                known = values[number][np.isfinite(values[number])]
                low[number] = known.min(initial=low[number])
                high[number] = known.max(initial=high[number])
        image = _image(path.stem, axes, [{"type": "scale", "scale": sizes}])
        if any(channels):
            image["omero"] = _omero(channels, low, high)
        group.attrs["ome"] = image
        group.attrs["coregister"] = about


def write_placed(
    path: Path, frames: Iterable[Placed], scale: Scale, *, timed: bool, about: dict[str, Any]
) -> None:
    """Each frame an image with its translation, pixels as they are, collected in one store.

    NGFF has one translation for an array, so frames that move cannot share one.
    """
    with _store(path) as group:
        numbers = []
        for frame in frames:
            ndim = frame.data.ndim
            sizes = np.array([1.0, *_sizes(ndim, scale)])
            place = np.array([frame.time, *frame.place]) * sizes
            name = str(frame.number)
            node = group.create_group(name)
            shape = (1, *frame.data.shape)
            axes = _axes(ndim, scale, timed=timed)
            array = node.create_array(
                "0",
                shape=shape,
                chunks=shape,
                dtype=frame.data.dtype.newbyteorder("="),
                dimension_names=[axis["name"] for axis in axes],
            )
            array[0] = frame.data
            transforms = [
                {"type": "scale", "scale": sizes.tolist()},
                {"type": "translation", "translation": place.tolist()},
            ]
            node.attrs["ome"] = _image(f"frame {name}", axes, transforms)
            node.attrs["coregister"] = frame.about
            numbers.append(name)
        group.create_group("OME").attrs["ome"] = {"version": "0.5", "series": numbers}
        group.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
        group.attrs["coregister"] = about


def _axes(ndim: int, scale: Scale, *, timed: bool) -> list[dict[str, str]]:
    units = [""] * ndim if scale is None else [unit for _, unit in scale]
    axes = [{"name": "t", "type": "time", **({"unit": "second"} if timed else {})}]
    for letter, unit in zip("zyx"[-ndim:], units, strict=True):
        axes.append({"name": letter, "type": "space", **({"unit": unit} if unit else {})})
    return axes


def _sizes(ndim: int, scale: Scale) -> list[float]:
    return [1.0] * ndim if scale is None else [abs(size) for size, _ in scale]


def _image(name: str, axes: list[dict[str, str]], transforms: list[Any]) -> dict[str, Any]:
    """Metadata of an image of one level."""
    level = {"path": "0", "coordinateTransformations": transforms}
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": [level]}]}


def _omero(
    names: Sequence[str], low: NDArray[np.float64], high: NDArray[np.float64]
) -> dict[str, Any]:
    """Names of channels, where NGFF has them: beside how to show each."""
    return {
        "channels": [
            {
                "label": name,
                "color": "FFFFFF",
                "active": True,
                "window": {"min": a, "max": b, "start": a, "end": b},
            }
            for name, a, b in zip(names, *map(_finite, (low, high)), strict=True)
        ]
    }


def _finite(values: NDArray[np.float64]) -> list[float]:
    """Infinity, where a channel has no value, is none that JSON knows."""
    return [float(value) if np.isfinite(value) else 0.0 for value in values]


@contextlib.contextmanager
def _store(path: Path) -> Iterator[Any]:
    """A group that gets its name when it is whole; a stopped run leaves one whose name says so."""
    zarr = optional("zarr", "stack")
    token = secrets.token_hex(4)
    beside, old = (path.with_name(f".{word}-{token}-{path.name}") for word in ("partial", "old"))
    try:
        yield zarr.open_group(beside, mode="w", zarr_format=3)
        if path.exists():
            path.rename(old)
        os.rename(beside, path)
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror or error}) and was left as it was; "
            "free some space or write elsewhere"
        ) from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for leftover in (beside, old):
            _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a file or a folder into which zarr's own threads may be writing still."""
    if path.is_file():
        path.unlink()
    for _ in range(40):
        if not path.exists():
            break
        shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.05)  # what was under way when the run was stopped ends meanwhile
