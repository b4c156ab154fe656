"""When each frame of a series was taken: as FITS, OME, ImageJ and OME-Zarr say, or as given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional

#: seconds in the units of time that files name
SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
    **dict.fromkeys(("µs", "μs", "us", "microsecond"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond"), 1e-9),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
}
#: keywords of dates, and of days with their zero as a modified Julian date, in the order in which
#: they are looked for; FITS 4.0, chapter 9, and what observatories wrote before
DATES = ("DATE-AVG", "DATE-OBS", "DATE_OBS", "DATE-BEG")
DAYS = {"MJD-AVG": 0.0, "MJD-OBS": 0.0, "MJD-BEG": 0.0, "EXPSTART": 0.0, "JD": -2400000.5}
CLOCKS = ("TIME-OBS", "TIME_OBS", "UT", "UTC-OBS")
#: day 0 of the modified Julian date
EPOCH = datetime(1858, 11, 17)
#: coordinate types of a FITS axis that counts time
TIME_AXES = ("TIME", "UTC", "TAI", "TT", "TDB", "TCB", "TCG", "UT1", "LOCAL")
FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fz", ".gz", ".bz2")


class Times(NamedTuple):
    """Times of frames.

    Attributes
    ----------
    seconds : (T,) array
        From the first frame.
    start : str or None
        Date and time of the first, ISO 8601, if known.
    """

    seconds: NDArray[np.float64]
    start: str | None


def as_times(values: Any, count: int) -> Times:
    """Times as callers give them.

    Parameters
    ----------
    values : array_like
        Seconds from any zero, `datetime`, ISO 8601 text, numpy or astropy times: one a frame.
    count : int
        Frames.

    Raises
    ------
    InputError
        If they are no times, or not one a frame.
    """
    values = getattr(values, "datetime64", values)  # of astropy
    held = values if isinstance(values, np.ndarray) else np.asarray(list(values))
    if held.shape != (count,):
        raise InputError(f"times has shape {held.shape} for {count} frames; give one a frame")
    if held.dtype.kind in "iuf":
        seconds = held.astype(np.float64)
        if not np.all(np.isfinite(seconds)):
            raise InputError("times has entries that are not finite; give the time of every frame")
        return Times(seconds - seconds[0], None)
    if held.dtype.kind == "M":
        held = held.astype("M8[us]").astype(object)
    dates = [_date(value) for value in held.tolist()]
    found = _from_dates(dates)
    if found is None:
        bad = next(v for v, date in zip(held.tolist(), dates, strict=True) if date is None)
        raise InputError(f"times has {bad!r}; seconds, dates, or text like '2004-03-01T02:00:10.5'")
    return found


def times_of(source: Any) -> Times | None:
    """When the frames were taken, if what holds them says so for all of them.

    Parameters
    ----------
    source : sequence or array
        A stack from `open_stack`, a list of paths of FITS files or of HDUs, or an array whose first
        axis has times as coordinates (xarray).
    """
    if hasattr(source, "times"):
        found = source.times
        return found if isinstance(found, Times) else None
    paths = getattr(source, "paths", source)
    if hasattr(source, "dims") and hasattr(source, "coords"):
        first = source.dims[0]
        held = np.asarray(source.coords[first]) if first in source.coords else np.empty(0)
        return as_times(held, len(source)) if held.dtype.kind == "M" else None
    if not isinstance(paths, (list, tuple)):
        return None
    return _from_dates(_dates_of(paths))


def _dates_of(sources: Sequence[Any]) -> list[datetime | None]:
    """Date of each file or HDU, all by the same keyword; None from the first on that has none."""
    dates: list[datetime | None] = []
    how: Callable[[Any], datetime | None] | None = None
    for source in sources:
        headers = _headers(source)
        if how is None:
            how = next((h for h in _ways() if any(h(header) for header in headers)), None)
        found = None if how is None else next((d for d in map(how, headers) if d), None)
        dates.append(found)
        if found is None:
            break
    return dates


def _ways() -> list[Callable[[Any], datetime | None]]:
    """How the date can stand in a header."""

    def by_date(name: str) -> Callable[[Any], datetime | None]:
        return lambda header: _stamped(header, name)

    def by_day(name: str, zero: float) -> Callable[[Any], datetime | None]:
        return lambda header: _day(header.get(name), zero)

    return [*map(by_date, DATES), *(by_day(name, zero) for name, zero in DAYS.items())]


def _headers(source: Any) -> list[Any]:
    """Headers of an HDU, or of all HDUs in a FITS file: the date may stand in the first alone."""
    if hasattr(source, "header"):
        return [source.header]
    if not isinstance(source, (str, os.PathLike)) or not Path(source).exists():
        return []
    if Path(source).suffix.lower() not in FITS_SUFFIXES:
        return []
    from coregister.io.fits import opened

    try:
        with opened(Path(source)) as hdus:
            return [hdu.header for hdu in hdus]
    except OSError:  # whoever reads its pixels will say so
        return []


def _stamped(header: Any, name: str) -> datetime | None:
    """A date with its time, which may stand in another keyword."""
    text = str(header.get(name, "")).strip()
    if not text:
        return None
    if "T" in text:
        return _date(text)
    clocks = [str(header[key]).strip() for key in CLOCKS if key in header]
    return _date(f"{text}T{clocks[0]}") if clocks else None


def _date(text: object) -> datetime | None:
    """An ISO date without a zone: that of UTC where it has one."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def _day(value: object, zero: float) -> datetime | None:
    try:
        return EPOCH + timedelta(days=float(str(value)) + zero)
    except (ValueError, OverflowError):
        return None


def _from_dates(dates: Sequence[datetime | None]) -> Times | None:
    """Seconds from the first; None if any is missing, or all are the same."""
    known = [date for date in dates if date is not None]
    if not known or len(known) < len(dates):
        return None
    seconds = np.array([(date - known[0]).total_seconds() for date in known], dtype=np.float64)
    if len(known) > 1 and not seconds.any():
        return None
    return Times(seconds, known[0].isoformat())


def spaced(step: float, unit: object, count: int, start: str | None = None) -> Times | None:
    """Frames at even distances, if they and their unit say so."""
    scale = SECONDS.get(str(unit).strip().lower())
    if scale is None or not np.isfinite(step) or step == 0:
        return None
    return Times(np.arange(count, dtype=np.float64) * step * scale, start)


def of_fits_axis(header: Mapping[str, Any], count: int) -> Times | None:
    """Of the planes of a cube whose last axis counts time."""
    n = header["NAXIS"]
    if str(header.get(f"CTYPE{n}", "")).strip().upper() not in TIME_AXES:
        return None
    return spaced(float(header.get(f"CDELT{n}", 1.0)), header.get(f"CUNIT{n}", "s"), count)


def of_imagej(about: Mapping[str, Any], count: int) -> Times | None:
    """Of the frames of an ImageJ file."""
    return spaced(float(about.get("finterval", 0.0)), about.get("tunit", "s"), count)


def of_ome(text: str, count: int, channel: int) -> Times | None:
    """Of the frames of the first image in an OME description: each its own time, or even ones."""
    tifffile = optional("tifffile", "io")
    image = tifffile.xml2dict(text)["OME"]["Image"]
    image = image[0] if isinstance(image, list) else image
    date = _date(image.get("AcquisitionDate", ""))
    start = None if date is None else date.isoformat()
    pixels = image["Pixels"]
    planes = pixels.get("Plane", [])
    planes = planes if isinstance(planes, list) else [planes]
    found: dict[int, float] = {}
    for plane in planes:
        unit = SECONDS.get(str(plane.get("DeltaTUnit", "s")).lower())
        if "DeltaT" in plane and unit is not None and int(plane.get("TheC", 0)) == channel:
            found.setdefault(int(plane.get("TheT", 0)), float(plane["DeltaT"]) * unit)
    if sorted(found) == list(range(count)):
        seconds = np.array([found[t] for t in range(count)])
        if date is not None:
            start = (date + timedelta(seconds=float(seconds[0]))).isoformat()
        return Times(seconds - seconds[0], start) if np.ptp(seconds) > 0 else None
    step = float(pixels.get("TimeIncrement", 0.0))
    return spaced(step, pixels.get("TimeIncrementUnit", "s"), count, start)
