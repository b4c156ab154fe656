"""PNG and JPEG, through pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.loaded import Loaded, Part, only_channel, pick_channel, refuse


def contents(path: Path) -> list[Part]:
    """The picture."""
    image = optional("PIL.Image", "io")
    with image.open(path) as picture:
        bands = picture.getbands()
        shape = (picture.height, picture.width, len(bands))
        return [Part(f"picture, {'+'.join(bands)}", shape[: 2 + (len(bands) > 1)], "")]


def read(
    path: Path,
    *,
    ext: int | str | None = None,
    channel: int | str | None = None,
    err_ext: int | str | None = None,
    mask_ext: int | str | None = None,
) -> Loaded:
    """A grey picture, or one channel of a coloured one."""
    image = optional("PIL.Image", "io")
    with image.open(path) as picture:
        name = "JPEG" if picture.format == "MPO" else picture.format
        if name not in ("PNG", "JPEG"):
            raise InputError(f"{path} is a {name} file by content; give it the suffix of {name}")
        refuse(path, name, ext=ext, err_ext=err_ext, mask_ext=mask_ext)
        if picture.mode == "P":  # indices of a palette are no intensities
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        picture.load()
        data = np.asarray(picture)
        part = "".join(picture.getbands())
        header = dict(picture.info)
    if data.ndim == 3:
        data = pick_channel(data, channel, path)
        part = f"channel {channel} of {part}"
    else:
        only_channel(channel, path)
        part = "grey"
    return Loaded(
        path=path, format=name, part=part, data=data, header=header, stored_shape=data.shape
    )


def write(
    path: Path, data: NDArray[Any], *, like: Loaded, reference: Loaded | None, **_: Any
) -> list[str]:
    """Write a grey picture of the depth of `like`; 0 where nothing is known, and say so."""
    image = optional("PIL.Image", "io")
    depth = np.uint16 if like.format == "PNG" and like.data.dtype.itemsize > 1 else np.uint8
    if like.part.startswith("channel"):
        depth = np.uint8
    black_and_white = like.data.dtype == np.bool_
    top = 1 if black_and_white else int(np.iinfo(depth).max)
    unknown = np.isnan(data)
    rounded = np.rint(np.where(unknown, 0, data))
    beyond = int(np.count_nonzero((rounded < 0) | (rounded > top)))
    pixels = (np.clip(rounded, 0, top) * (255 if black_and_white else 1)).astype(depth)
    kept = {key: like.header[key] for key in ("dpi", "exif") if key in like.header}
    if like.format == "PNG":
        kept["pnginfo"] = _text(like.header)
    else:
        kept.update(quality=95)
    image.fromarray(pixels).save(path, format=like.format, **kept)
    notes = [f"{like.format} holds whole numbers of 0 to {np.iinfo(depth).max}: rounded"]
    if unknown.any():
        notes.append(
            f"{np.count_nonzero(unknown)} of {data.size} pixels, where nothing is known, are 0, "
            f"since {like.format} cannot hold NaN"
        )
    if beyond:
        notes.append(f"{beyond} pixels beyond that range are clipped")
    return notes


def _text(header: dict[str, Any]) -> Any:
    """The texts of a PNG file, as its writer wants them."""
    info = optional("PIL.PngImagePlugin", "io").PngInfo()
    for key, value in header.items():
        if isinstance(value, str):
            info.add_itxt(key, value)
    return info
