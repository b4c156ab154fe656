"""NPY: one array, through numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.io.loaded import Loaded, Part, only_channel, pick_channel, refuse


def contents(path: Path) -> list[Part]:
    """What the file holds."""
    array = np.load(path, allow_pickle=False, mmap_mode="r")
    return [Part("array", array.shape, str(array.dtype))]


def read(
    path: Path,
    *,
    ext: int | str | None = None,
    channel: int | str | None = None,
    err_ext: int | str | None = None,
    mask_ext: int | str | None = None,
) -> Loaded:
    """The array; `channel` picks along a last axis of length 2 to 4."""
    refuse(path, "NPY", ext=ext, err_ext=err_ext, mask_ext=mask_ext)
    array = np.load(path, allow_pickle=False)
    if channel is not None and array.ndim > 2 and 2 <= array.shape[-1] <= 4:
        array = pick_channel(array, channel, path)
    else:
        only_channel(channel, path)
    return Loaded(path=path, format="NPY", part="array", data=array, stored_shape=array.shape)


def write(
    path: Path, data: NDArray[Any], *, like: Loaded, reference: Loaded | None, **_: Any
) -> list[str]:
    """Write the array; nothing is lost, so there is nothing to say."""
    with path.open("wb") as file:
        np.save(file, data, allow_pickle=False)
    return []
