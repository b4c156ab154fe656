"""TIFF, with the dialects of OME, ImageJ and GeoTIFF, through tifffile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.loaded import Loaded, Part, only_channel, pick_channel, refuse

#: tags that place the pixels on the Earth: scale, tie points, matrix, keys
GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
NODATA_TAG = 42113
DATETIME_TAG = 306
PALETTE = 3


def contents(path: Path) -> list[Part]:
    """The series of pages in the file."""
    tifffile = optional("tifffile", "io")
    with tifffile.TiffFile(path) as file:
        return [
            Part(
                f"series {number}, axes {series.axes}, {_pages(len(series.pages))}",
                tuple(series.shape),
                str(series.dtype),
            )
            for number, series in enumerate(file.series)
        ]


def read(
    path: Path,
    *,
    ext: int | str | None = None,
    channel: int | str | None = None,
    err_ext: int | str | None = None,
    mask_ext: int | str | None = None,
) -> Loaded:
    """One page, or a volume when the file says that its pages are one.

    `ext` is a page number, or ``"all"`` for all pages as a volume.
    """
    tifffile = optional("tifffile", "io")
    refuse(path, "TIFF", err_ext=err_ext, mask_ext=mask_ext)
    with tifffile.TiffFile(path) as file:
        if ext is None or str(ext).lower() == "all":
            source, page, part = _series(file, path, whole=ext is not None)
            kind = source.kind
        else:
            number = _page_number(ext, len(file.pages), path)
            source = page = file.pages[number]
            part, kind = f"page {number}", "page"
        if page.photometric == PALETTE:
            raise InputError(
                f"{path} stores colours of a palette; intensities are needed: "
                "save it as a grey image"
            )
        data, axes = _pixels(source, page, path)
        header = _header(file, page, kind)
        sizes, names = pixel_sizes(file, page), channel_names(file)
    for letter in "SC":
        if letter in axes:
            known = names if letter == "C" else []
            data = pick_channel(data, channel, path, axes.index(letter), known)
            axes, channel = axes.replace(letter, ""), None
    only_channel(channel, path)
    spacing = tuple(sizes[axis] for axis in axes) if all(a in sizes for a in axes) else None
    return Loaded(
        path=path,
        details={"spacing": spacing},
        format="TIFF",
        part=part,
        data=data,
        valid=_valid(data, header["nodata"]),
        header=header,
        stored_shape=tuple(source.shape),
    )


def channel_names(file: Any) -> list[str]:
    """Of the channels of the first image in an OME description, empty where one has none."""
    if not file.is_ome:
        return []
    image = optional("tifffile", "io").xml2dict(file.ome_metadata)["OME"]["Image"]
    channels = (image[0] if isinstance(image, list) else image)["Pixels"].get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    return [str(channel.get("Name", "")) for channel in channels]


def pixel_sizes(file: Any, page: Any) -> dict[str, tuple[float, str]]:
    """Size of a pixel and its unit, by the letter of the axis, as OME and ImageJ write them."""
    if file.is_ome:
        found = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", file.ome_metadata)
        given = dict(re.findall(r'(PhysicalSize\w+)="([^"]*)"', found.group() if found else ""))
        return {
            axis: (float(given[key]), given.get(f"{key}Unit", "µm"))
            for axis in "XYZ"
            if (key := f"PhysicalSize{axis}") in given
        }
    if file.is_imagej:
        about = file.imagej_metadata or {}
        unit = str(about.get("unit", "")).replace("\\u00B5", "µ")
        sizes = {}
        for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
            if unit and tag in page.tags and page.tags[tag].value[0] > 0:
                over, under = page.tags[tag].value
                sizes[axis] = (under / over, unit)
        if unit and "spacing" in about:
            sizes["Z"] = (float(about["spacing"]), unit)
        return sizes
    return {}


def write(
    path: Path, data: NDArray[Any], *, like: Loaded, reference: Loaded | None, **_: Any
) -> list[str]:
    """Write one image or volume in the dialect of `like`, with its resolution and description."""
    tifffile = optional("tifffile", "io")
    header = like.header
    notes = []
    metadata: dict[str, Any] = {"axes": "ZYX"[-data.ndim :], **header["metadata"]}
    tags = []
    if reference is not None and reference.format == "TIFF":
        tags += reference.header["geo"]
    if header["geo"] and not tags:
        notes.append(f"the map position of {like.path.name} is not kept: the reference has none")
    if header["nodata"] is not None:
        tags.append((NODATA_TAG, "s", 0, "nan", True))
    if header["kind"] == "imagej":
        data = data.astype(np.float32)
    tifffile.imwrite(
        path,
        data,
        ome=header["kind"] == "ome",
        imagej=header["kind"] == "imagej",
        photometric="minisblack",
        description=header["description"],
        datetime=header["datetime"],
        resolution=header["resolution"],
        resolutionunit=header["resolutionunit"],
        software="coregister",
        metadata=metadata,
        extratags=tags,
    )
    return notes


def _series(file: Any, path: Path, *, whole: bool) -> tuple[Any, Any, str]:
    """The one series, its first page and its label; refused if there are several images."""
    count = len(file.pages)
    if not file.series:
        raise InputError(f"{path} holds no image; a TIFF file with a page is needed")
    series = file.series[0]
    extra = {axis for axis in series.axes if axis not in "ZYXSC"}
    if len(file.series) > 1 or (extra and not whole):
        kinds = "; ".join(f"axes {s.axes}, shape {s.shape}" for s in file.series[:3])
        volume = ", or all of them as one volume (all)" if len(file.series) == 1 else ""
        raise InputError(
            f"{path} holds {_pages(count)} ({kinds}); one image is needed: choose a page with "
            f"ext=0 (--ext 0) to {count - 1}{volume}"
        )
    return series, series.keyframe, f"{_pages(count)}, axes {series.axes}"


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count} pages"


def _page_number(ext: int | str, count: int, path: Path) -> int:
    if not re.fullmatch(r"\d+", str(ext)) or int(ext) >= count:
        raise InputError(
            f"ext={ext!r} is not in {path}, which has {_pages(count)}; "
            f"a number from 0 to {count - 1} is needed"
        )
    return int(ext)


def _pixels(source: Any, page: Any, path: Path) -> tuple[NDArray[Any], str]:
    """Array and axes; pillow decodes the compressions that tifffile alone does not."""
    try:
        return np.asarray(source.asarray()), source.axes
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    image = optional("PIL.Image", "io")
    if tuple(source.shape) == tuple(page.shape):
        with image.open(path) as picture:
            picture.seek(page.index)
            array = np.asarray(picture)
        if array.shape == page.shape and array.dtype == page.dtype.newbyteorder("="):
            return array, source.axes
    raise InputError(
        f"{path} is compressed with {page.compression.name}, which needs the package "
        "imagecodecs: pip install imagecodecs, or save it uncompressed"
    )


def _header(file: Any, page: Any, kind: str) -> dict[str, Any]:
    """What the writer keeps."""
    tags = page.tags
    stamp = tags.get(DATETIME_TAG)
    nodata = tags.get(NODATA_TAG)
    description = page.description
    if kind in ("ome", "imagej") or description.startswith(('{"shape"', "<?xml", "ImageJ=")):
        description = ""  # it describes the layout of that file
    return {
        "kind": kind,
        "metadata": _dialect(file, kind),
        "description": description.encode() or None,
        "datetime": stamp.value if stamp is not None else None,
        "resolution": tuple(tags[code].value for code in (282, 283)) if 282 in tags else None,
        "resolutionunit": tags[296].value if 296 in tags else None,
        "geo": [
            (code, tags[code].dtype, tags[code].count, tags[code].value, True)
            for code in GEO_TAGS
            if code in tags
        ],
        "nodata": _number(nodata.value) if nodata is not None else None,
    }


def _dialect(file: Any, kind: str) -> dict[str, Any]:
    """Pixel sizes and units as OME or ImageJ write them."""
    if kind == "imagej":
        kept = ("unit", "spacing", "finterval", "Info")
        return {key: value for key, value in file.imagej_metadata.items() if key in kept}
    if kind == "ome":
        found = re.findall(r'\b(PhysicalSize[XYZ](?:Unit)?)="([^"]*)"', file.ome_metadata)
        return {key: text if key.endswith("Unit") else float(text) for key, text in found}
    return {}


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None


def _valid(data: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Pixels that differ from the fill value that GDAL writes beside them."""
    if nodata is None or np.isnan(nodata):
        return None
    return np.asarray(data != data.dtype.type(nodata))
