"""Files in and out: FITS, TIFF, PNG, JPEG, NPY, NIfTI; the suffix of the name decides."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.io import fits, nifti, npy, picture, tiff
from coregister.io.atomic import atomic_write, check_output
from coregister.io.loaded import Loaded, Part, refusing
from coregister.io.sinks import check_stack_output, write_stack
from coregister.io.sky import SkyOffset, sky_jacobian, sky_offset
from coregister.io.stacks import open_stack

__all__ = [
    "Loaded",
    "Part",
    "SkyOffset",
    "atomic_write",
    "check_output",
    "check_stack_output",
    "contents",
    "float_for",
    "open_stack",
    "read",
    "same_format",
    "sky_jacobian",
    "sky_offset",
    "write",
    "write_stack",
]

FORMATS: dict[str, tuple[str, ModuleType]] = {
    **dict.fromkeys((".fits", ".fit", ".fts", ".fz"), ("FITS", fits)),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF", tiff)),
    ".png": ("PNG", picture),
    **dict.fromkeys((".jpg", ".jpeg"), ("JPEG", picture)),
    ".npy": ("NPY", npy),
    ".nii": ("NIfTI", nifti),
}


def read(
    path: str | os.PathLike[str],
    *,
    ext: int | str | None = None,
    channel: int | str | None = None,
    err_ext: int | str | None = None,
    mask_ext: int | str | None = None,
) -> Loaded:
    """Read one image.

    Parameters
    ----------
    path : path
        FITS (also ``.gz``, ``.bz2`` and ``.fz``), TIFF, PNG, JPEG, NPY or NIfTI.
    ext : int or str, optional
        HDU by number or name (``"SCI,2"`` for a version), page of a TIFF file, or ``"all"`` for
        all its pages as a volume; volume of a NIfTI file. Default: the first image.
    channel : int or str, optional
        Channel of a colour image: a number, a colour, or ``"grey"`` for the mean.
    err_ext, mask_ext : int or str, optional
        FITS extension with the errors, and with a mask whose nonzero pixels are bad. Default:
        those with the usual names; ``"none"`` ignores them.

    Raises
    ------
    InputError
        If the file is missing, unreadable, damaged, or does not say which image is meant, or if
        an option does not apply to it.
    """
    place = _existing(path)
    name, module = _format(place)
    with refusing(place, name):
        loaded: Loaded = module.read(
            place, ext=ext, channel=channel, err_ext=err_ext, mask_ext=mask_ext
        )
    return loaded


def contents(path: str | os.PathLike[str]) -> list[Part]:
    """What a file holds: HDUs, series of pages, or the one picture.

    Raises
    ------
    InputError
        If the file is missing, unreadable or damaged.
    """
    place = _existing(path)
    name, module = _format(place)
    with refusing(place, name):
        parts: list[Part] = module.contents(place)
    return parts


def write(
    path: str | os.PathLike[str],
    data: NDArray[Any],
    *,
    like: Loaded,
    reference: Loaded | None = None,
    offset: Sequence[float] | NDArray[np.float64] = (),
    history: str = "",
    cards: Sequence[tuple[str, float | str, str]] = (),
    err: NDArray[Any] | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write an aligned image in the format of the file it came from; whole, or not at all.

    Parameters
    ----------
    path : path
        The file to write; its suffix must be one of the format of `like`.
    data : array
        Floating point, NaN where nothing is known.
    like : Loaded
        The image before alignment: its format, header and depth are kept. Integers become
        float32 where the format can hold NaN.
    reference : Loaded, optional
        The image that was aligned to; its world coordinates go into the result.
    offset : sequence of float
        Pixels, array-axis order, for formats with world coordinates.
    history : str
        A line for the header, where there is one.
    cards : sequence of (keyword, value, comment)
        Entries for a FITS header.
    err : array, optional
        1-sigma errors of `data`, kept by FITS.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    list of str
        What the format could not keep, one sentence each.

    Raises
    ------
    InputError
        If the name is not one of the format, or cannot be written to.
    OutputError
        If the writing fails.
    """
    module = same_format(path, like)
    with atomic_write(path, overwrite=overwrite) as temporary:
        notes: list[str] = module.write(
            temporary,
            data.astype(float_for(like), copy=False),
            like=like,
            reference=reference,
            offset=offset if len(offset) else np.zeros(data.ndim),
            history=history,
            cards=cards,
            err=None if err is None else err.astype(float_for(like), copy=False),
        )
    return notes


def same_format(path: str | os.PathLike[str], like: Loaded) -> ModuleType:
    """The module that writes `path`.

    Raises
    ------
    InputError
        If the suffix is not one of the format of `like`.
    """
    name, module = _format(Path(path))
    if name != like.format:
        raise InputError(
            f"{path} has the suffix of a {name} file and {like.path} is {like.format}; the "
            f"format is kept: name it {Path(path).stem}{_suffix(like.path)}"
        )
    return module


def float_for(like: Loaded) -> np.dtype[Any]:
    """The type of aligned pixels: that of the file if it can hold NaN, else float32."""
    kind = like.data.dtype
    if kind.kind == "f" and kind.itemsize >= 4:
        return kind.newbyteorder("=")
    return np.dtype(np.float32)


def _suffix(path: Path) -> str:
    """Lower-case suffix, that of the packed file for ``.gz`` and ``.bz2``."""
    suffixes = [suffix.lower() for suffix in path.suffixes] or [""]
    if suffixes[-1] in (".gz", ".bz2") and len(suffixes) > 1:
        packed = FORMATS.get(suffixes[-2], ("",))[0] in ("FITS", "NIfTI")
        return suffixes[-2] if packed else suffixes[-1]
    return suffixes[-1]


def _format(path: Path) -> tuple[str, ModuleType]:
    suffix = _suffix(path)
    if suffix not in FORMATS:
        found = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise InputError(
            f"{path} has {found}; one of {', '.join(FORMATS)} is needed: convert or rename it"
        )
    return FORMATS[suffix]


def _existing(path: str | os.PathLike[str]) -> Path:
    place = Path(path)
    if place.is_dir():
        raise InputError(f"{path} is a folder; an image file is needed: name one inside it")
    if not place.exists():
        what = "fetch it first" if re.match("[a-z0-9]+:/", str(path)) else "check the name"
        part = re.fullmatch(r"(.+)\[(.+)\]", str(path))
        if part and Path(part[1]).exists():
            what = f"name the part beside it, {part[1]} and ext={part[2]!r} (--ext, --ref-ext)"
        raise InputError(f"{path} does not exist; an image file is needed: {what}")
    if not place.is_file():
        raise InputError(f"{path} is not a regular file; an image file is needed: save it as one")
    if not os.access(place, os.R_OK):
        raise InputError(f"{path} may not be read; change its permissions, or copy it")
    if place.stat().st_size == 0:
        raise InputError(f"{path} is empty, 0 bytes; an image file is needed: fetch it again")
    return place
