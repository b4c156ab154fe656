"""What users hold an image in, unpacked: values, validity, errors, coordinates."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.place import Place, is_itk, itk_array


class Unpacked(NamedTuple):
    """What a container holds: see `Image`."""

    array: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    err: Any = None
    world: Any = None
    spacing: tuple[tuple[float, str], ...] | None = None
    place: Place | None = None

    @property
    def where(self) -> dict[str, Any]:
        """What is known of its coordinates, as `Image` names it."""
        return {"world": self.world, "spacing": self.spacing, "place": self.place}


def unpack(source: Any, name: str) -> Unpacked:
    """Array, validity, errors and coordinates of the containers that users hold."""
    if isinstance(source, (str, os.PathLike)):
        from coregister.io import read

        loaded = read(source)
        world = loaded if loaded.format == "FITS" else None
        return Unpacked(loaded.data, loaded.valid, loaded.err, world, loaded.spacing, loaded.place)
    if isinstance(source, np.ma.MaskedArray):
        check_kind(source, name)  # fields of a record have masks of their own
        return Unpacked(np.asarray(source.data), ~np.ma.getmaskarray(source))
    if isinstance(source, np.ndarray):
        return Unpacked(np.asarray(source))
    if is_itk(source):
        array, place = itk_array(source)
        sizes = tuple((float(size), "mm") for size in source.GetSpacing()[::-1])
        return Unpacked(array, spacing=sizes, place=place)
    first = source[0] if isinstance(source, list) and source else source
    # types are asked: an object that puts its work off has whatever attribute it is asked for
    if hasattr(type(first), "is_image"):  # HDUs
        from coregister.io import fits

        loaded = fits.held(source, name)
        return Unpacked(loaded.data, loaded.valid, loaded.err, loaded)
    if hasattr(type(source), "uncertainty"):  # NDData and its kin
        data = np.asarray(source.data)
        mask = None if source.mask is None else ~np.broadcast_to(source.mask, data.shape)
        sigma = _nddata_sigma(source.uncertainty, name)
        return Unpacked(data, mask, sigma, getattr(source, "wcs", None))
    if isinstance(source, (tuple, list)) and len(source) == 2 and np.ndim(source[0]) > 1:
        raise InputError(
            f"{name} is a {type(source).__name__} of {len(source)} images; one image is needed: "
            "call register(first, second)"
        )
    try:
        array = np.asarray(source)
    except Exception as error:
        raise InputError(
            f"{name} is a {type(source).__name__} that does not turn into an array ({error}); "
            "give an array of numbers or the path of an image file"
        ) from error
    if array.ndim == 0 and array.dtype.kind in "OSU":
        raise InputError(
            f"{name} is a {type(source).__name__}; an image is needed: give an array of numbers or "
            "the path of an image file"
        )
    return Unpacked(array, spacing=_spacing_of(source))


def _spacing_of(source: Any) -> tuple[tuple[float, str], ...] | None:
    """Size of a pixel along each axis from evenly spaced coordinates, as xarray has them."""
    if not hasattr(source, "dims") or not hasattr(source, "coords"):
        return None
    sizes = []
    for dim in source.dims:
        if dim not in source.coords or source.coords[dim].dtype.kind not in "iuf":
            return None
        places = np.asarray(source.coords[dim], dtype=np.float64)
        step = np.diff(places)
        if places.size < 2 or not np.allclose(step, step[0], rtol=1e-3) or step[0] == 0:
            return None
        sizes.append((float(np.mean(step)), str(source.coords[dim].attrs.get("units", ""))))
    return tuple(sizes)


def _nddata_sigma(uncertainty: Any, name: str) -> NDArray[np.float64] | None:
    """1-sigma errors of an astropy uncertainty."""
    if uncertainty is None:
        return None
    values = np.asarray(uncertainty.array, dtype=np.float64)
    kind = uncertainty.uncertainty_type
    if kind == "std":
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "var":
            return np.sqrt(values)
        if kind == "ivar":
            return np.asarray(1 / np.sqrt(values))
    raise InputError(
        f"the uncertainty of {name} is of type {kind!r}; 'std', 'var' or 'ivar' is needed: "
        f"convert it, or set it to None and give {name}_err"
    )


def check_kind(array: NDArray[Any], name: str) -> None:
    """Refuse what is not an array of real numbers."""
    if np.iscomplexobj(array):
        raise InputError(f"{name} is complex; real data is needed: register its modulus or phase")
    if array.dtype.kind not in "buif":
        raise InputError(
            f"{name} has dtype {array.dtype}; numbers are needed: convert it with astype(float)"
        )
    if array.size == 0:
        raise InputError(f"{name} is empty, shape {array.shape}; an image is needed")
