"""One plane of the sky, out of an image or of a cube with a further axis."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.containers import Unpacked, unpack
from coregister.errors import InputError
from coregister.images import Image, as_image
from coregister.io.loaded import Loaded
from coregister.sky.world import corrected_header, moved_wcs, wcs_of

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SkyPlane:
    """Two axes of the sky, and the coordinates that they came with.

    Attributes
    ----------
    image : Image
        The plane.
    wcs : astropy.wcs.WCS
        Its coordinates, two axes.
    world : astropy.wcs.WCS
        Those of the array that the plane was taken from: a cube's have more axes.
    whole : astropy.wcs.WCS
        Those of its file, where axes of length 1 count too.
    """

    image: Image
    wcs: Any
    world: Any
    whole: Any

    @property
    def gaps(self) -> Float:
        """The pixels, NaN where they are not to be used."""
        image = self.image
        return image.data if image.valid is None else np.where(image.valid, image.data, np.nan)

    def moved(self, offset: Float) -> Any:
        """The coordinates of the array, `offset` px of the plane further."""
        return moved_wcs(self.world, _among(self.world, offset))

    def moved_plane(self, offset: Float) -> Any:
        """The coordinates of the plane, `offset` px further."""
        return moved_wcs(self.wcs, offset)

    def header(self, header: Any, offset: Float, covariance: Float) -> Any:
        """A header of the file with the coordinates `offset` px of the plane further."""
        axes = _array_axes(self.whole)
        spread = np.zeros((self.whole.naxis, self.whole.naxis))
        spread[np.ix_(axes, axes)] = covariance
        shape = _among(self.whole, np.array(self.image.data.shape) - 1) + 1
        return corrected_header(header, self.whole, _among(self.whole, offset), spread, shape)


def sky_plane(
    source: Any,
    *,
    plane: int | str | None,
    wcs: Any,
    err: ArrayLike | None,
    valid: ArrayLike | None,
    name: str,
) -> SkyPlane:
    """The plane of the sky that `source` shows.

    Parameters
    ----------
    source : HDU, list of HDUs, path, NDData, sunpy map, or array
        An image, or a cube whose third axis is none of the sky's.
    plane : int, "sum" or None
        Of a cube: the number of one plane, or the sum over all of them.
    wcs : WCS or header, optional
        Instead of the coordinates that came along.
    err, valid
        As in `coregister.register`, of the shape of the whole.
    name : str
        What the caller calls it.

    Raises
    ------
    InputError
        If there are no celestial coordinates, or no plane was chosen of several.
    """
    found = unpack(source, name)
    source_world = found.world if wcs is None else wcs
    if source_world is None or (isinstance(source_world, Loaded) and source_world.wcs is None):
        path = str(source_world.path) if isinstance(source_world, Loaded) else name
        file = "" if path == name else f", {path},"
        raise InputError(
            f"{name}{file} came without world coordinates; they are needed to bring two images "
            f"onto one grid: pass {name}_wcs=, a WCS or a FITS header, or use register (coregister "
            "pair) for the arrays themselves"
        )
    world = wcs_of(source_world)
    if not getattr(world, "has_celestial", False):
        raise InputError(
            f"the world coordinates of {name} are not those of the sky; a longitude and a latitude "
            f"are needed: pass {name}_wcs=, or use register for the arrays themselves"
        )
    if found.array.ndim == 3:
        image = _collapsed(found, plane, world, err, valid, name)
    elif plane is not None:
        raise InputError(
            f"{name}_plane={plane!r}, but {name} has shape {found.array.shape} and no planes; "
            f"leave {name}_plane out"
        )
    else:
        image = as_image(source, err=err, valid=valid, name=name)
        if image.data.ndim != 2:
            raise InputError(
                f"{name} has shape {image.data.shape}; one plane of the sky, or a cube with one "
                "more axis, is needed: pick one with an index"
            )
    try:
        celestial = world.sub([n + 1 for n in sorted((world.wcs.lng, world.wcs.lat))])
    except Exception as error:  # wcslib: axes that are tied together
        raise InputError(
            f"the sky's axes of {name} cannot be told from its other axes ({error}); "
            f"pass {name}_wcs= with those two only"
        ) from error
    same_file = isinstance(source_world, Loaded)
    return SkyPlane(
        image=image, wcs=celestial, world=world, whole=source_world.wcs if same_file else world
    )


def _array_axes(wcs: Any) -> list[int]:
    """The two axes of the sky in an array with these coordinates."""
    return sorted(wcs.naxis - 1 - n for n in (wcs.wcs.lng, wcs.wcs.lat))


def _among(wcs: Any, step: NDArray[Any]) -> NDArray[Any]:
    """A vector of the plane as one of all axes of the array."""
    full = np.zeros(wcs.naxis, dtype=step.dtype)
    full[_array_axes(wcs)] = step
    return full


def _collapsed(
    found: Unpacked,
    plane: int | str | None,
    world: Any,
    err: ArrayLike | None,
    valid: ArrayLike | None,
    name: str,
) -> Image:
    """One plane of a cube, or the sum of them, as an image."""
    shape = found.array.shape
    along = 0  # coordinates of two axes only: those of every plane
    if world.naxis == 3:
        (along,) = {0, 1, 2} - set(_array_axes(world))
    count = shape[along]
    number = _number(plane, count, shape, name)
    used = _shaped(valid, shape, f"{name}_valid")
    sigma = found.err if err is None else err
    sigma = sigma if sigma is None or np.ndim(sigma) == 0 else _shaped(sigma, shape, f"{name}_err")
    usable = np.ones(shape, dtype=bool) if found.valid is None else found.valid
    if used is not None:
        usable = usable & used.astype(bool)

    if number is not None:
        if sigma is not None and np.ndim(sigma):
            sigma = np.take(sigma, number, axis=along)
        data, good = (np.take(array, number, axis=along) for array in (found.array, usable))
        return as_image(data, err=sigma, valid=good, name=name)
    return _summed(found.array, usable, sigma, along, name)


def _summed(array: Any, usable: NDArray[np.bool_], sigma: Any, along: int, name: str) -> Image:
    """The sum over planes; those without any usable pixel are left out."""
    values = np.moveaxis(np.asarray(array, dtype=np.float64), along, 0)
    good = np.moveaxis(usable, along, 0) & np.isfinite(values)
    spread = None if sigma is None else np.asarray(sigma, dtype=np.float64)
    if spread is not None and spread.ndim:
        spread = np.moveaxis(spread, along, 0)
        good &= np.isfinite(spread) & (spread > 0)
    kept = good.any(axis=(1, 2))
    if not kept.any():
        raise InputError(
            f"{name} has no usable pixel in any of its {kept.size} planes; check the file, its "
            "mask and its errors"
        )
    everywhere = good[kept].all(axis=0)
    total = np.where(everywhere, values[kept].sum(axis=0, where=good[kept]), np.nan)
    if spread is None:
        err: Any = None
    elif spread.ndim == 0:
        err = float(spread) * np.sqrt(np.count_nonzero(kept))
    else:
        err = np.sqrt(np.square(spread[kept]).sum(axis=0, where=good[kept]))
    if not everywhere.any():
        raise InputError(
            f"no pixel of {name} is usable in all of its planes, which their sum needs; "
            f"choose one: {name}_plane={int(np.argmax(good.sum(axis=(1, 2))))}"
        )
    return as_image(total, err=err, name=name)


def _number(plane: Any, count: int, shape: tuple[int, ...], name: str) -> int | None:
    """The number of the plane, from 0; None for the sum."""
    if isinstance(plane, str) and plane == "sum":
        return None
    try:
        number = operator.index(plane)
    except TypeError:
        number = count
    if not -count <= number < count:
        asked = "no plane was chosen" if plane is None else f"{name}_plane={plane!r} is none of it"
        raise InputError(
            f"{name} is a cube of shape {shape} and {asked}; choose {name}_plane=0 to {count - 1}, "
            f"or {name}_plane='sum' for all of them together"
        )
    return number % count


def _shaped(values: ArrayLike | None, shape: tuple[int, ...], name: str) -> Any:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape} and the cube {shape}; they must agree")
    return array
