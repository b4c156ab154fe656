"""The door: whatever the caller holds becomes one validated `Image`, two of them a `Pair`.

Nothing behind this module validates again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.containers import check_kind, unpack
from coregister.errors import InputError
from coregister.padding import holding, unpadded
from coregister.place import Place

Boundary = Literal["overlap", "periodic"]

#: fewest pixels along an axis from which a displacement can be measured
MIN_SIDE = 8
#: pixels that tell the median
SAMPLE = 4096
#: beyond this, and below its inverse, powers of the values leave the range of double precision
EXTREME = 1e60


@dataclass(frozen=True, kw_only=True)
class Image:
    """One validated image.

    Attributes
    ----------
    values : float32 or float64 array
        Finite everywhere: invalid pixels hold the median of the valid ones. In single precision
        if they came so and all count alike.
    valid : bool array or None
        True = use this pixel; None = all of them.
    sigma : float, float64 array or None
        1-sigma pixel noise, positive; 0.0 = noiseless; None = to be learnt.
    world : object, optional
        What its world coordinates can be read from: an `astropy.wcs.WCS`, a FITS header, a file
        that was read.
    spacing : tuple of (float, str), optional
        Size of a pixel along each axis and its unit, if they came with it.
    place : Place, optional
        Where its pixels lie in space, if the file says so.
    """

    values: NDArray[np.float32] | NDArray[np.float64]
    valid: NDArray[np.bool_] | None = None
    sigma: float | NDArray[np.float64] | None = None
    world: Any = None
    spacing: tuple[tuple[float, str], ...] | None = None
    place: Place | None = None

    @cached_property
    def data(self) -> NDArray[np.float64]:
        """The values in double precision."""
        return self.values.astype(np.float64, copy=False)

    @cached_property
    def mean(self) -> float:
        """Mean of all pixels."""
        values = self.values
        with np.errstate(over="ignore", invalid="ignore"):
            # a row in single precision: .6 of the time, and some 1e-9 of the mean at most
            rows = values if values.ndim == 1 else values.sum(axis=-1)
            return float(rows.sum(dtype=np.float64)) / values.size

    @property
    def measured(self) -> tuple[slice, ...]:
        """The smallest part that holds all valid pixels, or all of it if that is too small."""
        whole = tuple(slice(0, n) for n in self.values.shape)
        if self.valid is None:
            return whole
        part = holding(self.valid)
        return part if min(p.stop - p.start for p in part) >= MIN_SIDE else whole

    def cut(self, part: tuple[slice, ...]) -> Image:
        """A part of it, in space wherever it is."""
        valid = None if self.valid is None else self.valid[part]
        sigma = self.sigma[part] if isinstance(self.sigma, np.ndarray) else self.sigma
        values: Any = np.ascontiguousarray(self.values[part])
        known = None if valid is None or valid.all() else valid
        return Image(values=values, valid=known, sigma=sigma)

    @property
    def constant(self) -> bool:
        """True if the valid pixels all have one value."""
        few = self.values[:1] if self.valid is None else self.values[:1][self.valid[:1]]
        if few.size:  # a few that differ settle it
            low, high = float(few.min()), float(few.max())
            if high - low > 2e-13 * max(abs(low), abs(high)):
                return False
        values = self.values if self.valid is None else self.values[self.valid]
        low, high = float(values.min()), float(values.max())
        return high - low <= 1e-13 * max(abs(low), abs(high))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two validated images and how they are to be compared.

    Attributes
    ----------
    reference, moving : Image
    boundary : {"overlap", "periodic"}
    initial : (ndim,) array
        Prior guess of the offset, pixels.
    max_offset : (ndim,) array or None
        The offset is looked for within ``initial +- max_offset``.
    rest : (ndim,) array, or 0
        Offset of what stays in place on the detector, px: not 0 of parts that were cut out at
        different places, and infinite where nothing can.
    """

    reference: Image
    moving: Image
    boundary: Boundary
    initial: NDArray[np.float64]
    max_offset: NDArray[np.float64] | None
    rest: NDArray[np.float64] | float = 0.0

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.reference.values.ndim

    @property
    def images(self) -> tuple[Image, Image]:
        """Reference and moving."""
        return self.reference, self.moving

    @property
    def uniform(self) -> bool:
        """True if all pixels count alike: no mask, no errors that vary over the field."""
        return all(
            image.valid is None and not isinstance(image.sigma, np.ndarray) for image in self.images
        )


def prepare(
    reference: Any,
    moving: Any,
    *,
    reference_err: ArrayLike | None = None,
    moving_err: ArrayLike | None = None,
    reference_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
    boundary: str = "overlap",
    max_offset: ArrayLike | None = None,
    initial: ArrayLike | None = None,
) -> Pair:
    """Validate the arguments of `coregister.register`; see there for their meaning."""
    padded = boundary != "periodic"  # what wraps has no rim
    return together(
        as_image(
            reference, err=reference_err, valid=reference_valid, name="reference", padded=padded
        ),
        as_image(moving, err=moving_err, valid=moving_valid, name="moving", padded=padded),
        boundary=boundary,
        max_offset=max_offset,
        initial=initial,
    )


def together(
    first: Image,
    second: Image,
    *,
    boundary: str,
    max_offset: ArrayLike | None,
    initial: ArrayLike | None,
) -> Pair:
    """Two validated images, if they can be compared; see `coregister.register`."""
    ndim = first.values.ndim
    if second.values.ndim != ndim:
        raise InputError(
            f"reference has {ndim} axes, shape {first.values.shape}, and moving "
            f"{second.values.ndim}, shape {second.values.shape}; both need the same number: "
            "pick one plane or channel of the larger one"
        )
    if boundary not in ("overlap", "periodic"):
        raise InputError(
            f"boundary={boundary!r} is not known; use 'overlap' (real edges) or 'periodic'"
        )
    if boundary == "periodic" and first.values.shape != second.values.shape:
        raise InputError(
            f"periodic images need one shape, found {first.values.shape} and "
            f"{second.values.shape}; crop one, or use boundary='overlap'"
        )
    start = _per_axis(initial, ndim, "initial")
    reach = _per_axis(max_offset, ndim, "max_offset")
    if reach is not None and not np.all(reach > 0):
        raise InputError(
            f"max_offset={max_offset!r} must be above 0 px on every axis; leave it out to search "
            "everywhere"
        )
    if start is not None and boundary == "overlap":
        _check_overlap(start, first.values.shape, second.values.shape)
    return Pair(
        reference=first,
        moving=second,
        boundary="periodic" if boundary == "periodic" else "overlap",
        initial=np.zeros(ndim) if start is None else start,
        max_offset=reach,
    )


def as_image(
    source: Any,
    *,
    err: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    name: str,
    err_name: str | None = None,
    kept: bool = True,
    padded: bool = True,
) -> Image:
    """Validate one image.

    Parameters
    ----------
    source : array_like
        Array, masked array, NDData, DataArray, dask or zarr array, or the path of a file.
    err : float or array_like, optional
        1-sigma pixel noise. Array entries 0, NaN or infinite exclude the pixel.
    valid : array_like of bool, optional
        True = use this pixel.
    name : str
        What the caller calls it, for the messages.
    err_name : str, optional
        What the caller calls its errors; ``<name>_err`` if not given.
    kept : bool
        It is used when the caller may have changed the arrays that were given, so copy them.
    padded : bool
        It may have been padded: what that left at the rim is not valid, see `coregister.padding`.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    found = unpack(source, name)
    if err is None and found.err is not None:
        err_name = f"the uncertainty that came with {name}"
    err_name = f"{name}_err" if err_name is None else err_name
    array, own_valid, own_err = found.array, found.valid, found.err
    check_kind(array, name)
    whole = valid is None and own_valid is None and err is None and own_err is None
    narrow = whole and array.dtype.kind == "f" and array.dtype.itemsize <= 4
    dtype = np.float32 if narrow else np.float64
    data: NDArray[Any] = np.array(array, dtype=dtype, order="C", copy=kept or None)
    if data.ndim > 1:
        _check_colour(array, name)
    if data.ndim == 0 or min(data.shape) < MIN_SIDE:
        _check_planes(data.shape, name)
        raise InputError(
            f"{name} has shape {data.shape}; at least {MIN_SIDE} pixels are needed on every axis: "
            "drop axes of length 1 with numpy.squeeze, or use a larger field"
        )
    image = Image(values=data, **found.where)
    finite = math.isfinite(image.mean)  # and so is every pixel
    everything = tuple(slice(0, n) for n in data.shape)
    core = unpadded(data, MIN_SIDE) if padded else everything
    full = core == everything
    if whole and finite and full:
        _check_range(data, name)
        return image
    sigma: float | NDArray[np.float64] | None = None
    err = own_err if err is None else err
    if err is not None:
        sigma = _as_sigma(err, data.shape, name, err_name, kept=kept)
    positive = not isinstance(sigma, np.ndarray) or 0 < sigma.min() <= sigma.max() < np.inf
    if finite and positive and full and valid is None and own_valid is None:
        _check_range(data, name)
        return replace(image, sigma=sigma)
    usable = np.zeros(data.shape, dtype=bool)
    usable[core] = np.isfinite(data[core])
    if own_valid is not None:
        usable &= own_valid
    if valid is not None:
        usable &= _as_mask(valid, data.shape, name)
    if isinstance(sigma, np.ndarray):
        usable &= np.isfinite(sigma) & (sigma > 0)
    count = int(np.count_nonzero(usable))
    if count == 0:
        raise InputError(f"{name} has no usable pixel: {_why_none(data, sigma, err_name)}")
    data = data.astype(np.float64, copy=False)
    if count < data.size:
        data = _filled(data, usable)
        if isinstance(sigma, np.ndarray):
            sigma = _filled(sigma, usable)
    _check_range(data, name)
    return Image(
        values=data,
        valid=usable if count < data.size else None,
        sigma=sigma,
        **found.where,
    )


def _why_none(data: NDArray[Any], sigma: Any, err_name: str) -> str:
    """What excludes every pixel, and what to do."""
    if not np.isfinite(data).any():
        return f"all of its {data.size} are NaN or infinite; check the file"
    if isinstance(sigma, np.ndarray):
        return (
            f"all of its {data.size} are NaN, masked or without a finite error above 0; check the "
            f"mask and the errors, or leave {err_name} out (None)"
        )
    return f"all of its {data.size} are NaN or masked; check the mask (in *_valid, True = use it)"


def _check_range(values: NDArray[np.floating[Any]], name: str) -> None:
    """Refuse a unit in which squares are no numbers."""
    few = np.abs(values.flat[:: max(1, values.size // 1000)])  # a few pixels tell
    largest = float(few[np.isfinite(few)].max(initial=0))
    if largest != 0 and not 1 / EXTREME < largest < EXTREME:
        raise InputError(
            f"{name} has values of {largest:.0e}, whose squares leave the range of numbers; "
            f"divide it by {largest:.0e}"
        )


def _filled(data: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A copy with the median of the others, or of some of them, where values are not usable."""
    known = np.flatnonzero(usable)
    few = known[:: max(1, known.size // SAMPLE)]
    return np.where(usable, data, np.median(data.reshape(-1)[few]))


def _check_colour(array: NDArray[Any], name: str) -> None:
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[-1] in (3, 4):
        raise InputError(
            f"{name} looks like a colour image, shape {array.shape}; one channel is needed: "
            f"use {name}[..., 0], or {name}[..., :3].mean(axis=-1) for grey"
        )


def _check_planes(shape: tuple[int, ...], name: str) -> None:
    """Channels or frames, along one axis that is too short for anything else."""
    short = [axis for axis, n in enumerate(shape) if n < MIN_SIDE]
    if len(shape) == 3 and len(short) == 1 and shape[short[0]] > 1:
        one = ("[0]", "[:, 0]", "[..., 0]")[short[0]]
        raise InputError(
            f"{name} has shape {shape}, like {shape[short[0]]} channels or frames of one image; "
            f"one of them is needed: use {name}{one}, or register_stack for a series"
        )


def _as_mask(valid: ArrayLike, shape: tuple[int, ...], name: str) -> NDArray[np.bool_]:
    mask = np.asarray(valid)
    if mask.shape != shape:
        raise InputError(f"{name}_valid has shape {mask.shape} and {name} {shape}; they must agree")
    if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
        raise InputError(
            f"{name}_valid has dtype {mask.dtype} with values besides 0 and 1; "
            "booleans are needed, True = use this pixel"
        )
    return mask.astype(bool)


def _as_sigma(
    err: ArrayLike, shape: tuple[int, ...], name: str, err_name: str, *, kept: bool
) -> float | NDArray[np.float64]:
    values = np.asarray(err)
    check_kind(values, err_name)
    sigma = np.array(values, dtype=np.float64, copy=kept or None)
    lowest = float(sigma.min())  # NaN if there is one
    if lowest < 0 or (math.isnan(lowest) and np.any(sigma < 0)):
        raise InputError(
            f"{err_name} has negative values, down to {np.nanmin(sigma):.3g}; 1-sigma errors are "
            "0 or above: mark bad pixels with NaN"
        )
    if sigma.ndim == 0:
        if not np.isfinite(sigma):
            raise InputError(
                f"{err_name} is {float(sigma)}; a finite number is needed, or None to learn it"
            )
        return float(sigma)
    if sigma.shape != shape:
        raise InputError(
            f"{err_name} has shape {sigma.shape} and {name} {shape}; give one number or an array "
            "of the image's shape"
        )
    if not 0 < lowest < np.inf and not np.any(np.isfinite(sigma) & (sigma > 0)):
        raise InputError(
            f"{err_name} has no finite value above 0, so every pixel is excluded; "
            f"leave {err_name} out (None) to learn the noise from the pair"
        )
    return sigma


def _per_axis(value: ArrayLike | None, ndim: int, name: str) -> NDArray[np.float64] | None:
    if value is None:
        return None
    value = in_pixels(value, name)
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):  # words, ragged lists
        numbers = np.array(np.nan)
    if numbers.ndim > 1 or numbers.size not in (1, ndim) or not np.all(np.isfinite(numbers)):
        shown = repr(value)
        shown = shown if len(shown) < 60 and "\n" not in shown else f"a {type(value).__name__}"
        raise InputError(
            f"{name}={shown} is not usable; one finite number, or one for each of {ndim} axes, "
            "is needed"
        )
    return np.array(np.broadcast_to(numbers, (ndim,)))


def in_pixels(value: Any, name: str) -> Any:
    """A quantity of astropy in pixels; whatever else as it is."""
    if not hasattr(type(value), "to_value"):
        return value
    try:
        return value.to_value("pix")
    except Exception:
        if value.unit.is_equivalent(""):
            return value.to_value("")
        raise InputError(
            f"{name} is in {value.unit}; pixels are needed: divide it by the size of a pixel"
        ) from None


def _check_overlap(start: NDArray[np.float64], a: Sequence[int], b: Sequence[int]) -> None:
    for axis, (d, n, m) in enumerate(zip(start, a, b, strict=True)):
        if not -n < d < m:
            raise InputError(
                f"initial={start.tolist()} leaves no overlap on axis {axis} "
                f"(sizes {n} and {m} px); it must lie between {-n} and {m}"
            )
