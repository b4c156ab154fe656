"""NIfTI volumes, through nibabel; the array axes are z, y, x, as in the other formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.loaded import Loaded, Part, only_channel, refuse
from coregister.place import nifti_place


def contents(path: Path) -> list[Part]:
    """What the file holds: one volume, or several."""
    image = optional("nibabel", "nifti").load(path)
    shape = tuple(int(n) for n in image.shape[::-1])
    label = "volume" if len(shape) < 4 else f"{shape[0]} volumes"
    return [Part(label, shape, str(image.get_data_dtype().newbyteorder("=")))]


def read(
    path: Path,
    *,
    ext: int | str | None = None,
    channel: int | str | None = None,
    err_ext: int | str | None = None,
    mask_ext: int | str | None = None,
) -> Loaded:
    """One volume; `ext` is its number, where there are several."""
    refuse(path, "NIfTI", err_ext=err_ext, mask_ext=mask_ext)
    only_channel(channel, path)
    image = optional("nibabel", "nifti").load(path)
    stored = tuple(int(n) for n in image.shape)
    count = int(np.prod(stored[3:], dtype=int))
    if len(stored) > 4 and count > 1:
        raise InputError(
            f"{path} has {len(stored)} axes, shape {stored}; at most 4 are needed: split the file"
        )
    number = 0 if ext is None and count == 1 else _number(ext, count, path)
    volume = np.asarray(image.dataobj[..., number] if len(stored) == 4 else image.dataobj)
    volume = volume.reshape(stored[:3]).T
    sides = tuple(n for n in volume.shape if n != 1)
    unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else ""
    zooms = [float(z) for z in image.header.get_zooms()[:3]][::-1]
    spacing = tuple(
        (zoom, {"micron": "um", "meter": "m", "unknown": ""}.get(unit, unit))
        for zoom, n in zip(zooms, volume.shape, strict=True)
        if n != 1
    )
    known = bool(spacing) and all(size > 0 and name for size, name in spacing)
    # without these codes nothing is said of the place: other programs take other defaults
    codes = [int(image.header.get(key, 0)) for key in ("qform_code", "sform_code")]
    place = nifti_place(image.affine, stored[:3]) if any(codes) else None
    return Loaded(
        path=path,
        format="NIfTI",
        part="volume" if count == 1 else f"volume {number} of {count}",
        data=volume.reshape(sides),
        header=image.header.copy(),
        stored_shape=volume.shape,
        details={
            "affine": image.affine.copy(),
            "spacing": spacing if known else None,
            "place": place,
        },
    )


def write(
    path: Path,
    data: NDArray[Any],
    *,
    like: Loaded,
    reference: Loaded | None,
    offset: Sequence[float],
    **_: Any,
) -> list[str]:
    """Write one volume with the header of `like`, where the reference lies in space.

    Without a reference that has a place, that of `like` is kept, moved by `offset`.
    """
    nibabel = optional("nibabel", "nifti")
    layout = reference if reference is not None and reference.format == "NIfTI" else like
    sides = iter(data.shape)
    volume = data.reshape([1 if n == 1 else next(sides) for n in layout.stored_shape]).T
    header = like.header.copy()
    header.set_data_dtype(data.dtype)
    header.set_slope_inter(1, 0)
    affine = layout.details["affine"].copy()
    if layout is like:
        moves = iter(offset)
        step = [0.0 if n == 1 else float(next(moves)) for n in like.stored_shape]
        affine[:3, 3] += affine[:3, :3] @ step[::-1]
    nibabel.save(nibabel.Nifti1Image(volume, affine, header), path)
    return []


def _number(ext: int | str | None, count: int, path: Path) -> int:
    if ext is None or not re.fullmatch(r"\d+", str(ext)) or int(ext) >= count:
        asked = "no one was chosen" if ext is None else f"ext={ext!r} is not one of them"
        raise InputError(
            f"{path} holds {count} volumes and {asked}; one is needed: choose it with ext=0 "
            f"(--ext 0) to {count - 1}"
        )
    return int(ext)
