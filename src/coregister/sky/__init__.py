"""Two images of the sky on grids of their own: one is brought onto the other's, and registered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError, optional
from coregister.images import prepare
from coregister.io.sky import SkyOffset, carried_covariance, carry, tangents
from coregister.padding import holding
from coregister.register import measure
from coregister.result import Registration, compact_html, plain, round_pdg
from coregister.sky.plane import SkyPlane, sky_plane
from coregister.sky.regrid import project
from coregister.sky.world import sky_jacobian
from coregister.status import Status

Float = NDArray[np.float64]
#: splines attenuate what is near the limit of the coarser pixels the less, the higher their degree
ORDER = "bicubic"
#: pixels that the image which keeps its grid may show beyond what both have
MARGIN = 32


class PixelOffset(NamedTuple):
    """An offset in the pixels of one image.

    Attributes
    ----------
    offset : (2,) array
        Array-axis order.
    covariance : (2, 2) array
        px^2.
    """

    offset: Float
    covariance: Float

    @property
    def stderr(self) -> Float:
        """1-sigma bars, px."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyRegistration:
    """How far the coordinates of two images of the sky disagree, and how well that is known.

    Attributes
    ----------
    sky : SkyOffset
        By how much the coordinates of `moving` put the same content too far along longitude (a
        true angle) and latitude, if those of the reference are right; arcsec, with covariance.
    moving_pixels : PixelOffset
        The content lies by so much further in the pixels of `moving` than its coordinates say.
    reference_pixels : PixelOffset
        The same in pixels of the reference: where the coordinates of `moving` put the content of
        the reference, minus where it is.
    grid : {"reference", "moving"}
        The image that was left on its own grid: the one with the smaller pixels.
    registration : Registration
        Of the pair on that grid: flags, false alarm, coherence, modes, plot and report.
    """

    sky: SkyOffset
    moving_pixels: PixelOffset
    reference_pixels: PixelOffset
    grid: Literal["reference", "moving"]
    registration: Registration
    _images: tuple[SkyPlane, SkyPlane]

    @property
    def status(self) -> Status:
        """That of `registration`."""
        return self.registration.status

    @property
    def flags(self) -> frozenset[Status]:
        """Those of `registration`."""
        return self.registration.flags

    @property
    def trusted(self) -> bool:
        """True if the offset and its bars may be used as they are."""
        return self.registration.trusted

    def to_wcs(self, *, header: Any = None) -> Any:
        """Corrected coordinates of `moving`: places on the sky agree with the reference.

        Parameters
        ----------
        header : astropy.io.fits.Header, optional
            Header of `moving`: what is returned then is this header with the corrected
            coordinates, the bars of the pointing (CRDERn, PNTCOVij) and the old coordinates as
            the alternate "O".

        Returns
        -------
        astropy.wcs.WCS, or a header if one was given
        """
        moving = self._images[1]
        if header is None:
            return moving.moved(self.moving_pixels.offset)
        return moving.header(header, *self.moving_pixels)

    def apply(self) -> Float:
        """`moving` on the grid of the reference, its pointing corrected; NaN where it is unknown.

        Interpolated with splines: where the pixels of `moving` are much the smaller ones, smooth
        them first, or use ``reproject_adaptive`` with `to_wcs`.
        """
        reference, moving = self._images
        world = moving.moved_plane(self.moving_pixels.offset)
        shape = reference.image.data.shape
        return project(moving.gaps, world, reference.wcs, shape, {"order": ORDER})

    def to_dict(self) -> dict[str, Any]:
        """What `Registration.to_dict` gives, with the offset on the sky and in the pixels of each.

        ``offset`` and ``covariance`` are those on the grid.
        """
        record = self.registration.to_dict()
        record["grid"] = self.grid
        record["sky"] = {"axes": list(self.sky.names), "unit": "arcsec"}
        for name, found in (
            ("sky", self.sky),
            ("reference_pixels", self.reference_pixels),
            ("moving_pixels", self.moving_pixels),
        ):
            record[name] = {
                **record.get(name, {}),
                "offset": plain(found.offset),
                "stderr": plain(found.stderr),
                "covariance": plain(found.covariance),
            }
        return record

    def _rows(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Label and value of the offset, and of the rest."""
        rows = [
            (f"on the sky, along {name}", f"{round_pdg(value, bar)} arcsec")
            for name, value, bar in zip(
                self.sky.names, self.sky.offset, self.sky.stderr, strict=True
            )
        ]
        for image in ("reference", "moving"):
            found = self.reference_pixels if image == "reference" else self.moving_pixels
            bars = zip(("y", "x"), found.offset, found.stderr, strict=True)
            rows += [(f"in pixels of {image}, {n}", f"{round_pdg(d, s)} px") for n, d, s in bars]
        more = [row for row in self.registration.rows() if not row[0].startswith("offset")]
        return rows, more

    def __str__(self) -> str:
        rows = [row for part in self._rows() for row in part]
        width = max(len(label) for label, _ in rows)
        lines = [f"  {label:<{width}}  {value}" for label, value in rows]
        notes = [f"  ! {line}" for line in self.registration.remedies()]
        return "\n".join([self.registration.verdict(), *lines, *notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        result = self.registration
        return compact_html(result.verdict(), result.remedies(), *self._rows(), good=result.trusted)


def register_sky(
    reference: Any,
    moving: Any,
    *,
    reference_wcs: Any = None,
    moving_wcs: Any = None,
    reference_err: ArrayLike | None = None,
    moving_err: ArrayLike | None = None,
    reference_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
    reference_plane: int | Literal["sum"] | None = None,
    moving_plane: int | Literal["sum"] | None = None,
    max_offset: float | None = None,
) -> SkyRegistration:
    """Measure how far the world coordinates of two images disagree; their grids may differ.

    Scales, rotations, projections, distortions and celestial frames may all be different: the
    image with the larger pixels is interpolated on the grid of the other (extra ``fits``), which
    loses nothing that it shows, and the two are registered. What is left is the error of the
    pointing. Its rotation and scale are taken to be right.

    Parameters
    ----------
    reference, moving : HDU, list of HDUs, path, NDData, sunpy map, or array
        With celestial coordinates: a plane of the sky, or a cube with one more axis.
    reference_wcs, moving_wcs : astropy.wcs.WCS or header, optional
        Instead of the coordinates that came with the image.
    reference_err, moving_err, reference_valid, moving_valid : optional
        As in `coregister.register`; each on the pixels of its own image.
    reference_plane, moving_plane : int or "sum", optional
        Of a cube: one of its planes, or the sum of all; a pixel counts in the sum if it is usable
        in every plane that has any usable pixel.
    max_offset : float or Quantity, optional
        Largest error of the pointing, arcsec, along either axis of the common grid.

    Returns
    -------
    SkyRegistration
        The offset on the sky and in the pixels of each image, with covariances.

    Raises
    ------
    InputError
        If an image has no celestial coordinates, a cube no plane that was chosen, or the two show
        nothing in common.

    Notes
    -----
    Interpolation correlates the noise of pixels. Nothing need be known of that: `register` learns
    the spectrum of the noise from the pair, and frequencies beyond those of the coarser image
    count for nothing since the images do not agree there. Offsets are carried between pixels and
    sky by the coordinates themselves, covariances with their derivatives at the centre of what
    both images show.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> from astropy.wcs import WCS
    >>> def camera(scale, angle, centre):
    ...     wcs, turn = WCS(naxis=2), np.radians(angle)
    ...     wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (10, 40), centre
    ...     wcs.wcs.cd = scale / 3600 * np.array(
    ...         [[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    ...     return wcs
    >>> rng = np.random.default_rng(0)
    >>> stars = rng.uniform(-40, 40, (40, 2)) / 3600  # degrees around (10, 40)
    >>> def expose(wcs, side, width):
    ...     y, x = np.mgrid[:side, :side]
    ...     image = 0.02 * rng.normal(size=(side, side))
    ...     for lon, lat in stars:
    ...         place = wcs.world_to_pixel_values(10 + lon / np.cos(np.radians(40)), 40 + lat)
    ...         image += np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * width**2))
    ...     return image
    >>> one, two = camera(1.0, 0, (40.5, 40.5)), camera(0.8, 25, (50.5, 50.5))
    >>> images = expose(one, 80, 2.0), expose(two, 100, 2.5)
    >>> two.wcs.crpix = two.wcs.crpix - (1.5, -0.7)  # a header that is wrong by so many pixels
    >>> result = cr.register_sky(*images, reference_wcs=one, moving_wcs=two)
    >>> bool(np.all(abs(result.moving_pixels.offset - (-0.7, 1.5)) < 0.05))
    True
    """
    images = (
        sky_plane(
            reference,
            plane=reference_plane,
            wcs=reference_wcs,
            err=reference_err,
            valid=reference_valid,
            name="reference",
        ),
        sky_plane(
            moving,
            plane=moving_plane,
            wcs=moving_wcs,
            err=moving_err,
            valid=moving_valid,
            name="moving",
        ),
    )
    worlds = images[0].wcs, images[1].wcs
    areas = [abs(np.linalg.det(tangents(each.wcs, each.image.data.shape)[0])) for each in images]
    keeps = 1 if areas[1] < 0.98 * areas[0] else 0  # alike: the reference
    grid, shape = worlds[keeps], images[keeps].image.data.shape
    brought, err = _brought(images[1 - keeps], grid, shape)
    inner = holding(np.isfinite(brought))
    low, high = (np.array([getattr(part, end) for part in inner]) for end in ("start", "stop"))
    outer_low = np.maximum(low - MARGIN, 0)
    outer = tuple(slice(*ends) for ends in zip(outer_low, high + MARGIN, strict=True))
    kept, kept_err = images[keeps].gaps[outer], _cut(images[keeps].image.sigma, outer)
    pair = [(kept, kept_err), (brought[inner], _cut(err, inner))]
    corners = [outer_low, low]
    if keeps == 1:
        pair, corners = pair[::-1], corners[::-1]
    start = corners[0] - corners[1]
    given = prepare(
        pair[0][0],
        pair[1][0],
        reference_err=pair[0][1],
        moving_err=pair[1][1],
        initial=start,
        max_offset=_pixels(max_offset, grid, shape),
    )
    # what stays on a detector does not on the grid of the other
    found = measure(replace(given, rest=np.full(2, np.inf)))
    offset = found.offset - start
    centre = (low + high - 1) / 2
    own = PixelOffset(offset, found.covariance)
    other = _carried(grid, worlds[1 - keeps], centre, own)
    kinds = grid.wcs
    return SkyRegistration(
        sky=carry(
            sky_jacobian(grid, tuple(2 * centre + 1)),
            (kinds.lngtyp, kinds.lattyp),
            offset,
            found.covariance,
        ),
        reference_pixels=own if keeps == 0 else other,
        moving_pixels=own if keeps == 1 else other,
        grid="moving" if keeps else "reference",
        registration=found,
        _images=images,
    )


def _cut(sigma: float | Float | None, where: Any) -> float | Float | None:
    return sigma[where] if isinstance(sigma, np.ndarray) else sigma


def _brought(moved: SkyPlane, grid: Any, shape: Any) -> tuple[Float, float | Float | None]:
    """An image and its errors on the grid."""
    gaps, sigma = moved.gaps, moved.image.sigma
    data = project(gaps, moved.wcs, grid, shape, {"order": ORDER})
    if not np.isfinite(data).any():
        raise InputError(
            "the images have nothing in common on the sky by their coordinates; check the headers, "
            "or use register for the arrays themselves"
        )
    if not isinstance(sigma, np.ndarray):
        return data, sigma
    # splines of higher degree can swing below 0; the level is learnt, its variation counts
    variance = np.where(np.isnan(gaps), np.nan, sigma**2)
    return data, np.sqrt(project(variance, moved.wcs, grid, shape, {"order": "bilinear"}))


def _pixels(angle: Any, wcs: Any, shape: tuple[int, ...]) -> float | None:
    """An angle in pixels of a grid."""
    if angle is None:
        return None
    try:
        arcsec = float(angle.to_value("arcsec") if hasattr(angle, "to_value") else angle)
    except Exception as error:  # units of something else, words, several numbers
        raise InputError(
            f"max_offset={angle!r} is no angle; a number of arcsec, or a Quantity, is needed"
        ) from error
    scale = np.sqrt(abs(np.linalg.det(sky_jacobian(wcs, shape))))
    return float(arcsec / scale)


def _carried(grid: Any, wcs: Any, centre: Float, found: PixelOffset) -> PixelOffset:
    """An offset on the grid in the pixels of the image that was brought onto it."""
    convert = optional("astropy.wcs.utils", "fits").pixel_to_pixel

    def place(index: Float) -> Float:
        x, y = convert(grid, wcs, index[1], index[0])
        return np.array([float(y), float(x)])

    there = place(centre + found.offset) - place(centre)
    jacobian = np.array([place(centre + step) - place(centre - step) for step in 0.5 * np.eye(2)]).T
    return PixelOffset(there, carried_covariance(jacobian, found.covariance))
