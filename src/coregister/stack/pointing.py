"""Corrected headers for exposures that were registered: the pixels stay as they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coregister.errors import InputError
from coregister.io import atomic_write, check_output, read
from coregister.io.fits import write_header
from coregister.world import corrected_header, wcs_of

if TYPE_CHECKING:
    from coregister.stack.result import StackRegistration


def write_pointings(
    result: StackRegistration,
    paths: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Copies of FITS files that all have the pointing of one of them; see `save_headers`."""
    if len(paths) != len(result):
        raise InputError(
            f"{len(paths)} files were given and {len(result)} frames registered; give the files "
            "that were registered, in their order"
        )
    good = [int(t) for t in np.flatnonzero(result.trusted)]
    if not good:
        raise InputError("no frame is trusted; at least one is needed to take the pointing from")
    start = good[0]
    if isinstance(result.reference, int):
        start = result.reference
    counted = result.relative_to(start)
    places = [Path(folder) / Path(path).name for path in paths]
    if len(set(places)) < len(places):
        raise InputError("two of the files have one name; files of different names are needed")
    for place in places:
        check_output(place, overwrite=overwrite)
    base = read(paths[start])
    if base.format != "FITS":
        raise InputError(f"{paths[start]} is {base.format}, which has no pointing; FITS is needed")
    world = wcs_of(base)
    written = []
    for t in good:
        loaded = base if t == start else read(paths[t])
        correct = partial(
            corrected_header,
            world=world,
            offset=counted.offsets[t],
            covariance=counted.covariances[t],
            shape=counted.shape,
        )
        with atomic_write(places[t], overwrite=overwrite) as temporary:
            write_header(temporary, loaded, correct)
        written.append(places[t])
    return written
