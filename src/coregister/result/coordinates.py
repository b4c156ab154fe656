"""The displacement in other coordinates: the sky, micrometres, the forms of other tools."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coregister.images import Pair
from coregister.place import Place

if TYPE_CHECKING:
    from coregister.io.sky import SkyOffset
    from coregister.transforms import Physical

Float = NDArray[np.float64]


class InOtherCoordinates:
    """What `Registration` says beyond the pixels of the array; what it needs of it comes first."""

    offset: Float
    covariance: Float
    reference_shape: tuple[int, ...]
    to_dict: Callable[[], dict[str, Any]]
    _pair: Pair | None

    def to_wcs(self, world: Any = None, *, header: Any = None) -> Any:
        """World coordinates of the moving image, so that places on the sky agree.

        Exact for any projection, rotation and distortion.

        Parameters
        ----------
        world : astropy.wcs.WCS or astropy.io.fits.Header, optional
            World coordinates of the reference. Default: those that came with it.
        header : astropy.io.fits.Header, optional
            Header of the moving image: what is returned then is this header with the corrected
            coordinates, the bars of the pointing (CRDERn, PNTCOVij) and the old coordinates as
            the alternate "O".

        Returns
        -------
        astropy.wcs.WCS; a header if `world` or `header` is one
            The arguments are left as they are.

        Raises
        ------
        InputError
            If no world coordinates are known.

        Examples
        --------
        >>> import numpy as np, coregister as cr
        >>> from astropy.wcs import WCS
        >>> wcs = WCS(naxis=2)
        >>> wcs.wcs.crpix = 10, 20
        >>> rng = np.random.default_rng(1)
        >>> scene = cr.fourier_shift(rng.normal(size=(96, 96)).cumsum(0).cumsum(1), (0, 0))
        >>> result = cr.register(scene[8:72, 8:72], scene[5:69, 13:77])
        >>> result.to_wcs(wcs).wcs.crpix.round(2).tolist()
        [5.0, 23.0]
        """
        from coregister.sky import world as world_module

        if hasattr(world, "cards") and header is None:
            header = world
        if world is None and self._pair is not None:
            world = self._pair.reference.world
        if header is None:
            return world_module.moved_wcs(world, self.offset)
        return world_module.corrected_header(
            header,
            world,
            self.offset,
            self.covariance,
            self.reference_shape,
        )

    def sky_offset(self, world: Any = None) -> SkyOffset:
        """The offset as angles on the sky, with its covariance.

        Parameters
        ----------
        world : astropy.wcs.WCS or astropy.io.fits.Header, optional
            World coordinates of the reference. Default: those that came with it.

        Returns
        -------
        SkyOffset
            Arcsec along longitude, a true angle, and latitude; ``quantity`` has units.

        Raises
        ------
        InputError
            If no celestial coordinates are known.
        """
        from coregister.io.sky import carry
        from coregister.sky.world import sky_jacobian, wcs_of

        if world is None and self._pair is not None:
            world = self._pair.reference.world
        wcs = wcs_of(world)
        return carry(
            sky_jacobian(wcs, self.reference_shape),
            (wcs.wcs.lngtyp, wcs.wcs.lattyp),
            self.offset,
            self.covariance,
        )

    def physical(self, spacing: tuple[tuple[float, str], ...] | None = None) -> Physical:
        """The offset in the units of the pixels' size, micrometres for instance.

        Parameters
        ----------
        spacing : tuple of (float, str), optional
            Size of a pixel along each axis, and its unit. Default: what came with the reference
            (OME-TIFF, ImageJ, NIfTI, the coordinates of a ``DataArray``).

        Returns
        -------
        Physical

        Raises
        ------
        InputError
            If no size is known.
        """
        from coregister.transforms import physical

        return physical(self.offset, self.covariance, self._known_spacing(spacing))

    def _known_spacing(
        self, spacing: tuple[tuple[float, str], ...] | None
    ) -> tuple[tuple[float, str], ...] | None:
        """What is given, or came with the reference; None where there is nothing."""
        from coregister.transforms import check_spacing

        if spacing is not None:
            return check_spacing(spacing, self.offset.size)
        return None if self._pair is None else self._pair.reference.spacing

    def to_skimage(self) -> Float:
        """Homogeneous matrix for scikit-image, which counts x first: reference to moving.

        Returns
        -------
        (ndim + 1, ndim + 1) array
            ``skimage.transform.warp(moving, EuclideanTransform(matrix))`` aligns with it.

        Examples
        --------
        >>> import numpy as np, coregister as cr
        >>> rng = np.random.default_rng(1)
        >>> scene = cr.fourier_shift(rng.normal(size=(96, 96)).cumsum(0).cumsum(1), (0, 0))
        >>> result = cr.register(scene[8:72, 8:72], scene[5:69, 13:77])
        >>> result.to_skimage().round(2).tolist()
        [[1.0, 0.0, -5.0], [0.0, 1.0, 3.0], [0.0, 0.0, 1.0]]
        """
        from coregister.transforms import skimage_matrix

        return skimage_matrix(self.offset)

    def to_ngff(
        self,
        *,
        moving: str = "moving",
        reference: str = "reference",
        spacing: tuple[tuple[float, str], ...] | None = None,
    ) -> dict[str, Any]:
        """Metadata of an NGFF 0.6 scene that brings moving onto the reference.

        Parameters
        ----------
        moving, reference : str
            Names of their coordinate systems.
        spacing : tuple of (float, str), optional
            Size of a pixel along each axis, and its unit. Default: what came with the reference,
            else pixels.

        Returns
        -------
        dict
            Attributes of a Zarr group; the bars have no place there, see `to_dict`.
        """
        from coregister.transforms import ngff_scene

        spacing = self._known_spacing(spacing)
        return ngff_scene(self.offset, moving=moving, reference=reference, spacing=spacing)

    def save_transform(
        self,
        path: str | os.PathLike[str],
        *,
        spacing: tuple[tuple[float, str], ...] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the displacement for other tools.

        Parameters
        ----------
        path : path
            ``.tfm`` is an ITK transform, for points of the reference, x first; ``.json`` an NGFF
            scene, for points of moving, in array-axis order, with the whole result beside it.
        spacing : tuple of (float, str), optional
            Size of a pixel along each axis, and its unit. Default: what came with the reference,
            else pixels. An ITK transform then has the origins and direction cosines of NIfTI and
            SimpleITK in it; a `spacing` that is given takes the axes for those of space.
        overwrite : bool
            Replace an existing file.
        """
        from coregister.transforms import save

        places = self._places() if spacing is None else None
        spacing = self._known_spacing(spacing)
        save(self.offset, self.to_dict(), path, spacing=spacing, places=places, overwrite=overwrite)

    def _places(self) -> tuple[Place, Place] | None:
        """Where both images lie in space; one without a place lies where the other does."""
        if self._pair is None:
            return None
        known = [image.place for image in self._pair.images]
        first, second = known[0] or known[1], known[1] or known[0]
        if first is None or second is None or first.long.tolist() != second.long.tolist():
            return None
        return first, second
