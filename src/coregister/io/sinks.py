"""Stacks out: frame after frame, beside the name and renamed when all are there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.atomic import atomic_write, check_output
from coregister.io.ngff import STORES, write_image

#: share of the step by which times may differ from even ones
EVEN = 0.01
SUFFIXES = (".zarr", ".tif", ".tiff", ".fits", ".npy")


def write_stack(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[Any]],
    *,
    count: int,
    shape: tuple[int, ...],
    scale: Sequence[tuple[float, str]] | None = None,
    times: NDArray[np.float64] | None = None,
    header: Any = None,
    channels: Sequence[str] = (),
    about: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write aligned frames as they come, float32, NaN where nothing is known.

    Parameters
    ----------
    path : path
        ``.zarr`` (OME-Zarr 0.5, one chunk a frame), ``.tif`` (BigTIFF if it must be), ``.fits``
        or ``.npy``.
    frames : iterable of array
        One is in memory at a time.
    count : int
        How many will come.
    shape : tuple of int
        Of each.
    scale : sequence of (float, str), optional
        Size of a pixel along each axis of a frame, and its unit.
    times : (T,) array, optional
        Seconds; OME-TIFF keeps all of them, OME-Zarr and FITS the step of frames at even distances.
    header : astropy.io.fits.Header, optional
        World coordinates of a frame, for FITS.
    channels : sequence of str
        Their names, or "" for each, if the first axis of a frame counts channels.
    about : dict, optional
        Kept where the format has room for it.
    overwrite : bool
        Replace what exists.

    Raises
    ------
    InputError
        If the suffix is not known, or something exists.
    OutputError
        If the writing fails; what stood there is untouched.
    """
    check_stack_output(path, overwrite=overwrite)
    suffix = Path(path).suffix.lower()
    frames = _counted(frames, count, shape)
    if suffix == ".zarr":
        step = _step(times)
        write_image(Path(path), frames, count, shape, scale, step, about or {}, channels=channels)
        return
    with atomic_write(path, overwrite=overwrite) as temporary:
        if suffix == ".npy":
            out = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.float32, shape=(count, *shape)
            )
            for index, frame in enumerate(frames):
                out[index] = frame
            out.flush()
        elif suffix == ".fits":
            _write_fits(temporary, frames, count, shape, _step(times), header, about or {})
        else:
            _write_tiff(temporary, frames, count, shape, scale, times, channels=channels)


def _step(times: NDArray[np.float64] | None) -> float | None:
    """Seconds from frame to frame, if it is the same throughout."""
    if times is None or len(times) < 2:
        return None
    steps = np.diff(times)
    step = float(np.mean(steps))
    return step if step > 0 and np.max(np.abs(steps - step)) < EVEN * step else None


def _counted(
    frames: Iterable[NDArray[Any]], count: int, shape: tuple[int, ...]
) -> Iterator[NDArray[Any]]:
    """The frames, as many and of the shape that were announced."""
    found = 0
    for frame in frames:
        found += 1
        if found > count:
            raise InputError(f"more than the announced {count} frames came; give their number")
        if np.shape(frame) != tuple(shape):
            raise InputError(f"a frame of shape {np.shape(frame)} came; {tuple(shape)} is needed")
        yield frame
    if found < count:
        raise InputError(f"{found} of {count} frames came; all of them are needed")


def check_stack_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse a name that `write_stack` would refuse, before any work.

    Raises
    ------
    InputError
        If the suffix is not known, or what stands there is not to be replaced.
    """
    place = Path(path)
    suffix = place.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path} has the suffix {suffix!r}; one of {', '.join(SUFFIXES)} is needed"
        )
    if suffix != ".zarr" or not place.is_dir():
        check_output(place, overwrite=overwrite)
    elif not overwrite:
        raise InputError(
            f"{path} exists; give another name, or overwrite=True (--overwrite) to replace it"
        )
    elif not any((place / name).exists() for name in STORES):
        raise InputError(f"{path} is a folder and no zarr store, and is not replaced; rename it")


def _write_tiff(
    path: Path,
    frames: Iterable[NDArray[Any]],
    count: int,
    shape: tuple[int, ...],
    scale: Sequence[tuple[float, str]] | None,
    times: NDArray[np.float64] | None,
    *,
    channels: Sequence[str],
) -> None:
    tifffile = optional("tifffile", "io")
    space = "ZYX"[-(len(shape) - bool(channels)) :]
    about: dict[str, Any] = {"axes": "TC" + space if channels else "T" + space}
    if any(channels):
        about["Channel"] = {"Name": list(channels)}
    for letter, (size, unit) in zip(space, scale or (), strict=False):
        about[f"PhysicalSize{letter}"] = abs(size)
        about[f"PhysicalSize{letter}Unit"] = unit.replace("micrometer", "µm") or "µm"
    if times is not None:
        planes = int(np.prod(shape[:-2]))
        seconds = np.repeat(times, planes).tolist()
        about["Plane"] = {"DeltaT": seconds, "DeltaTUnit": ["s"] * len(seconds)}
    tifffile.imwrite(
        path,
        (page for frame in frames for page in _planes(frame)),
        shape=(count, *shape),
        dtype=np.float32,
        photometric="minisblack",
        ome=bool(channels) or scale is not None or times is not None,
        metadata=about,
        bigtiff=4 * count * float(np.prod(shape)) > 3.9e9,
        software="coregister",
    )


def _planes(frame: NDArray[Any]) -> Iterable[NDArray[Any]]:
    """The pages of a frame."""
    values = np.asarray(frame, dtype=np.float32)
    return values.reshape(-1, *values.shape[-2:])


def _write_fits(
    path: Path,
    frames: Iterable[NDArray[Any]],
    count: int,
    shape: tuple[int, ...],
    step: float | None,
    world: Any,
    about: dict[str, Any],
) -> None:
    fits = optional("astropy.io.fits", "io")
    header = fits.Header()
    header["SIMPLE"], header["BITPIX"], header["NAXIS"] = True, -32, 1 + len(shape)
    for axis, n in enumerate((count, *shape)[::-1], start=1):
        header[f"NAXIS{axis}"] = n
    if world is not None:
        header.extend(world.cards, update=True)
        header["WCSAXES"] = 1 + len(shape)
    if step is not None:
        n = 1 + len(shape)
        header[f"CTYPE{n}"], header[f"CUNIT{n}"] = "TIME", "s"
        header[f"CRPIX{n}"], header[f"CRVAL{n}"], header[f"CDELT{n}"] = 1.0, 0.0, step
    for name, value in about.items():
        header["HISTORY"] = f"{name}: {value}"
    hdu = fits.StreamingHDU(str(path), header)
    try:
        for frame in frames:
            hdu.write(np.asarray(frame, dtype=">f4"))
    finally:
        hdu.close()
