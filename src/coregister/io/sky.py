"""An offset in pixels as an angle on the sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import optional
from coregister.io.loaded import Loaded

ARCSEC = 180 * 3600 / np.pi


@dataclass(frozen=True, kw_only=True)
class SkyOffset:
    """An offset on the sky, in true angles along the two celestial axes.

    Attributes
    ----------
    names : (str, str)
        Longitude and latitude, for instance ``("RA", "DEC")``.
    offset : (2,) array
        Arcsec along growing longitude (a true angle: the cosine of the latitude is in it) and
        latitude.
    covariance : (2, 2) array
        arcsec^2; infinite where the offset is undetermined.
    """

    names: tuple[str, str]
    offset: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def stderr(self) -> NDArray[np.float64]:
        """1-sigma bars, arcsec."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def quantity(self) -> Any:
        """The offset as an `astropy.units.Quantity`, arcsec."""
        return self.offset * optional("astropy.units", "io").arcsec


def sky_offset(image: Loaded, offset: ArrayLike, covariance: ArrayLike) -> SkyOffset | None:
    """Carry an offset and its covariance to the sky.

    The Jacobian from pixels to the sky is taken at the centre of `image` (the reference).

    Parameters
    ----------
    image : Loaded
        Its WCS is used.
    offset : (ndim,) array_like
        Pixels, array-axis order.
    covariance : (ndim, ndim) array_like
        px^2, may be infinite.

    Returns
    -------
    SkyOffset or None
        None without celestial coordinates.
    """
    jacobian = sky_jacobian(image)
    if jacobian is None:
        return None
    kinds = image.wcs.wcs
    return carry(jacobian, (kinds.lngtyp, kinds.lattyp), offset, covariance)


def carry(
    jacobian: NDArray[np.float64],
    names: tuple[str, str],
    offset: ArrayLike,
    covariance: ArrayLike,
) -> SkyOffset:
    """Carry an offset and its covariance to the sky, by the Jacobian of `sky_jacobian`."""
    return SkyOffset(
        names=names,
        offset=jacobian @ np.asarray(offset, dtype=np.float64),
        covariance=carried_covariance(jacobian, covariance),
    )


def carried_covariance(jacobian: NDArray[np.float64], covariance: ArrayLike) -> NDArray[np.float64]:
    """``J C J^T``, infinite along the axes that an undetermined direction touches."""
    pixels = np.asarray(covariance, dtype=np.float64)
    known = np.isfinite(pixels)
    carried = jacobian @ np.where(known, pixels, 0.0) @ jacobian.T
    blind = ~known.diagonal()
    touched = np.abs(jacobian[:, blind]).max(axis=1, initial=0.0) > 1e-6 * np.abs(jacobian).max()
    carried[np.ix_(touched, touched)] = np.inf
    return np.asarray(carried)


def sky_jacobian(image: Loaded) -> NDArray[np.float64] | None:
    """Arcsec per pixel, (2, ndim): rows longitude and latitude, columns array axes.

    True angles at the centre of the image. None without celestial coordinates there.
    """
    wcs = image.wcs
    if wcs is None or not wcs.has_celestial or wcs.pixel_n_dim != len(image.stored_shape):
        return None
    kept = [n > 1 for n in image.stored_shape]
    jacobian = ARCSEC * tangents(wcs, image.stored_shape)[0][:, kept]
    return jacobian if np.all(np.isfinite(jacobian)) else None


def tangents(wcs: Any, shape: Sequence[int]) -> tuple[NDArray[np.float64], float]:
    """Radians per pixel at the centre of an array, and the latitude there.

    The matrix is (2, ndim): rows longitude and latitude as true angles, columns array axes.
    """
    centre = (np.array(shape) - 1) / 2
    place = _position(wcs, centre)
    east, north, _ = _axes(*place)
    columns = []
    for half in 0.5 * np.eye(centre.size):
        after, before = (_axes(*_position(wcs, centre + step))[2] for step in (half, -half))
        columns.append([(after - before) @ east, (after - before) @ north])
    return np.array(columns).T, place[1]


def _position(wcs: Any, index: NDArray[np.float64]) -> tuple[float, float]:
    """Longitude and latitude in radians at an array index."""
    world = np.atleast_1d(wcs.pixel_to_world_values(*index[::-1]))
    return float(np.radians(world[wcs.wcs.lng])), float(np.radians(world[wcs.wcs.lat]))


def _axes(lon: float, lat: float) -> NDArray[np.float64]:
    """Unit vectors to the east, to the north and to the place itself."""
    return np.array(
        [
            [-np.sin(lon), np.cos(lon), 0.0],
            [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)],
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)],
        ]
    )
