"""An image of the sky on the grid of another, through reproject, and what becomes of its noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import optional

Float = NDArray[np.float64]
#: orders of interpolation by their degree, and B-splines of that degree at 0 and 1
ORDERS = ("nearest-neighbor", "bilinear", "biquadratic", "bicubic")
SPLINES = ((1.0, 0.0), (1.0, 0.0), (3 / 4, 1 / 8), (2 / 3, 1 / 6))


def project(image: Float, wcs: Any, grid: Any, shape: Any, options: dict[str, Any]) -> Float:
    """`image` on the grid, NaN where bilinear interpolation lacks a pixel.

    Parameters
    ----------
    image : 2-D array
        NaN where nothing is known.
    wcs, grid : astropy.wcs.WCS
        Celestial coordinates of the image and of the grid.
    shape : tuple of int
        Of the grid.
    options : dict
        For `reproject.reproject_interp`.
    """
    from scipy import ndimage

    def onto_grid(array: Float) -> Float:
        return np.asarray(
            reproject.reproject_interp(
                (array, wcs), grid, shape_out=shape, return_footprint=False, **options
            ),
            dtype=np.float64,
        )

    reproject = optional("reproject", "fits")
    missing = ~np.isfinite(image)
    if options.get("order", "bilinear") in (*ORDERS[:2], 0, 1) or not missing.any():
        return onto_grid(np.where(missing, np.nan, image))
    if missing.all():
        return np.full(shape, np.nan)
    # one NaN would make all of the spline NaN: the nearest value stands in for it
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    splined = onto_grid(image[tuple(nearest)])
    options = {**options, "order": "bilinear"}
    return np.where(np.isnan(onto_grid(np.where(missing, np.nan, image))), np.nan, splined)


def spread(step: Float, order: int | str) -> float:
    """How much sigma at low frequencies changes when white noise is interpolated on a grid.

    Column i of `step` is one pixel along axis i of the grid, in pixels of the image. Interpolated
    white noise has the power |H|^2 of the kernel, a cardinal B-spline (Unser 1999,
    doi:10.1109/79.799930); the grid folds onto frequency 0 what stands at its own frequencies.
    """
    degree = order if isinstance(order, int) else ORDERS.index(order)
    count = np.arange(-20, 21)
    lattice = np.stack(np.meshgrid(count, count), axis=-1) @ np.linalg.inv(step)
    samples = SPLINES[degree]
    response = np.sinc(lattice) ** (degree + 1)
    response /= samples[0] + 2 * samples[1] * np.cos(2 * np.pi * lattice)
    power = np.sum(np.prod(response**2, axis=-1))
    return float(np.sqrt(power / abs(np.linalg.det(step))))
