"""Frames as they are, with metadata that put them where they belong: FITS headers, OME-Zarr."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coregister.errors import InputError
from coregister.io import atomic_write, check_output, check_stack_output, read
from coregister.io.fits import write_header, write_plane
from coregister.io.ngff import Placed, write_placed
from coregister.io.times import FITS_SUFFIXES
from coregister.sky.world import corrected_header, header_wcs, moved_wcs, wcs_of
from coregister.stack.frames import Frames

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration

Name = str | os.PathLike[str]


def write_pointings(
    result: StackRegistration, paths: Name | Sequence[Name], folder: Name, *, overwrite: bool
) -> list[Path]:
    """Copies of FITS files, or of the planes of one, that all have the pointing of one of them.

    See `StackRegistration.save_headers`.
    """
    cube = isinstance(paths, (str, os.PathLike))
    places = pointing_places(paths, folder, len(result))
    if len(places) != len(result):
        raise InputError(
            f"{len(places)} files were given and {len(result)} frames registered; give the files "
            "that were registered, in their order"
        )
    good = [int(t) for t in np.flatnonzero(result.trusted)]
    if not good:
        raise InputError("no frame is trusted; at least one is needed to take the pointing from")
    start = result.reference if isinstance(result.reference, int) else good[0]
    counted = result.relative_to(start)
    for place in places:
        check_output(place, overwrite=overwrite)
    source = paths if cube else paths[start]  # type: ignore[index]
    base = read(source)  # type: ignore[arg-type]
    if base.format != "FITS":
        raise InputError(f"{source!s} is {base.format}, which has no pointing; FITS is needed")
    world = header_wcs(of_plane(base.header)) if cube else wcs_of(base)
    written = []
    for t in good:
        correct = partial(
            corrected_header,
            world=world,
            offset=counted.offsets[t],
            covariance=counted.covariances[t],
            shape=counted.shape,
        )
        with atomic_write(places[t], overwrite=overwrite) as temporary:
            if cube:
                write_plane(temporary, base, t, partial(_of_plane_then, correct))
            else:
                loaded = base if t == start else read(paths[t])  # type: ignore[index]
                write_header(temporary, loaded, correct)
        written.append(places[t])
    return written


def aligned_header(result: StackRegistration, source: Any) -> Any:
    """World coordinates of the grid to which frames are aligned, as a FITS header, or None.

    They are those of one frame, moved by its offset: the one that offsets are counted from, or else
    the first that is trusted.

    Parameters
    ----------
    result : StackRegistration
    source : path or sequence
        The FITS files, or the cube, that were registered.
    """
    good = np.flatnonzero(result.trusted)
    cube = isinstance(source, (str, os.PathLike))
    if good.size == 0 or not (cube or isinstance(source, list)):
        return None
    start = result.reference if isinstance(result.reference, int) else int(good[0])
    path = Path(source if cube else source[start])
    if path.suffix.lower() not in FITS_SUFFIXES:
        return None
    loaded = read(path)
    if loaded.wcs is None or not loaded.wcs.has_celestial:
        return None
    world = header_wcs(of_plane(loaded.header)) if cube else wcs_of(loaded)
    return moved_wcs(world, -result.offsets[start]).to_header(relax=True)


def pointing_places(paths: Name | Sequence[Name], folder: Name, count: int) -> list[Path]:
    """The files that `write_pointings` writes: under their own names, or that of the cube."""
    if isinstance(paths, (str, os.PathLike)):
        stem, digits = Path(paths).stem, len(str(count - 1))
        return [Path(folder) / f"{stem}-{t:0{digits}}.fits" for t in range(count)]
    places = [Path(folder) / Path(path).name for path in paths]
    if len(set(places)) < len(places):
        raise InputError("two of the files have one name; files of different names are needed")
    return places


def of_plane(header: Any) -> Any:
    """A header of a cube without what it says of the axis that counts planes."""
    n = header["NAXIS"]
    cards = re.compile(
        rf"NAXIS{n}|WCSAXES[A-Z]?|(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CNAME|CRDER|CSYER){n}[A-Z]?"
        rf"|(PC|CD)({n}_\d+|\d+_{n})[A-Z]?|(PV|PS){n}_\d+[A-Z]?"
    )
    plane = header.copy()
    for keyword in {card.keyword for card in header.cards if cards.fullmatch(card.keyword)}:
        plane.remove(keyword, remove_all=True)
    plane["NAXIS"] = n - 1
    return plane


def _of_plane_then(correct: Callable[[Any], Any], header: Any) -> Any:
    return correct(of_plane(header))


def write_places(
    result: StackRegistration,
    path: Name,
    frames: Any,
    *,
    scale: Sequence[tuple[float, str]] | None,
    about: dict[str, Any] | None,
    overwrite: bool,
) -> None:
    """An OME-Zarr store with every trusted frame and its translation; see `save_ngff`."""
    source = Frames.behind(result, frames)
    if Path(path).suffix.lower() != ".zarr":
        raise InputError(f"{path} has the suffix {Path(path).suffix!r}; .zarr is needed")
    check_stack_output(path, overwrite=overwrite)
    if result.ndim > 3 or result.ndim < 2:
        raise InputError(f"frames have {result.ndim} axes; OME-Zarr has 2 or 3 of space")
    if not result.trusted.any():
        raise InputError("no frame is trusted; at least one is needed to be placed")

    def placed() -> Iterator[Placed]:
        for t in np.flatnonzero(result.trusted).tolist():
            yield Placed(
                number=t,
                data=source.stored(t),
                place=-result.offsets[t],
                time=float(t if result.times is None else result.times[t]),
                about={
                    "offset_px": result.offsets[t].tolist(),
                    "covariance_px2": result.covariances[t].tolist(),
                },
            )

    timed = result.times is not None
    write_placed(Path(path), placed(), scale or source.scale, timed=timed, about=about or {})
