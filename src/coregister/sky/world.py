"""World coordinates: an offset in pixels as a pointing on the sky."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.loaded import Loaded
from coregister.io.sky import tangents

Float = NDArray[np.float64]
#: distortions that a WCS looks up in tables
TABLES = ("cpdis1", "cpdis2", "det2im1", "det2im2")


def wcs_of(world: Any) -> Any:
    """An `astropy.wcs.WCS` from whatever holds one: itself, a FITS header, a file that was read.

    Raises
    ------
    InputError
        If there is none.
    """
    if isinstance(world, Loaded) and world.wcs is not None:
        long = [n + 1 for n, side in enumerate(world.stored_shape[::-1]) if side != 1]
        return world.wcs if len(long) == world.wcs.naxis else world.wcs.sub(long)
    if hasattr(world, "pixel_to_world_values"):
        return world
    if hasattr(world, "cards"):
        return header_wcs(world)
    nothing = world is None or isinstance(world, Loaded)
    raise InputError(
        f"found {'no world coordinates' if nothing else f'a {type(world).__name__}'}; an "
        "astropy.wcs.WCS or a FITS header is needed: pass that of the reference"
    )


def header_wcs(header: Any) -> Any:
    """The `astropy.wcs.WCS` of a header.

    Raises
    ------
    InputError
        If wcslib refuses it, or distortions of it are tabulated in other HDUs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's remarks on small faults of the header
        try:
            return optional("astropy.wcs", "io").WCS(header)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise InputError(
                f"the world coordinates of the header cannot be used ({reason}); complete ones "
                "are needed: pass WCS(header, hdus), or the whole list of HDUs"
            ) from error


def moved_wcs(world: Any, offset: Float) -> Any:
    """World coordinates in which what lies `offset` px further has the same place.

    Exact for any projection and rotation, for SIP polynomials and for tabulated distortions: all
    of them are tied to pixels of the array, which move together.

    Parameters
    ----------
    world : WCS or header
        Of the reference; left as it is.
    offset : (ndim,) array
        Pixels, array-axis order.

    Returns
    -------
    astropy.wcs.WCS
    """
    wcs = copy.deepcopy(wcs_of(world))
    step = np.asarray(offset, dtype=np.float64)[::-1]
    if not hasattr(wcs, "wcs"):
        raise InputError(
            f"found a {type(wcs).__name__}, which has no FITS keywords to move; an "
            "astropy.wcs.WCS is needed"
        )
    if wcs.pixel_n_dim != step.size:
        raise InputError(
            f"the world coordinates have {wcs.pixel_n_dim} pixel axes and the images "
            f"{step.size}; give wcs.celestial, or the WCS of the plane that was registered"
        )
    wcs.wcs.crpix = wcs.wcs.crpix + step
    if wcs.sip is not None:
        # in memory it keeps a reference pixel of its own
        wcs.sip = optional("astropy.wcs", "io").Sip(
            wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp, np.asarray(wcs.sip.crpix) + step
        )
    for name in TABLES:
        table = getattr(wcs, name)
        if table is not None:
            where = np.asarray(table.crval, dtype=np.float64) + step
            new = optional("astropy.wcs", "io").DistortionLookupTable(
                table.data, tuple(table.crpix), tuple(where), tuple(table.cdelt)
            )
            setattr(wcs, name, new)
    wcs.wcs.set()
    return wcs


def sky_jacobian(wcs: Any, shape: tuple[int, ...]) -> Float:
    """Arcsec along longitude (a true angle) and latitude per pixel: (2, ndim), array-axis order.

    At the centre of the array.
    """
    if not wcs.has_celestial:
        kinds = ", ".join(str(kind) for kind in wcs.wcs.ctype)
        raise InputError(
            f"the world coordinates are {kinds or 'empty'}; a longitude and a latitude are needed"
        )
    matrix = np.degrees(tangents(wcs, shape)[0]) * 3600
    if not np.all(np.isfinite(matrix)):
        raise InputError("the centre of the reference lies outside of its projection")
    return matrix


def pointing_cards(
    wcs: Any, covariance: Float, shape: tuple[int, ...]
) -> list[tuple[str, float, str]]:
    """FITS cards with the bars of the pointing: CRDERn (degrees) and the covariance on the sky.

    CRDER is the random error of a coordinate (FITS 4.0, section 8.1); the pointing error is the
    same for all pixels. PNTCOV is its covariance in arcsec^2, longitude as a true angle.
    """
    jacobian = sky_jacobian(wcs, shape)
    sky = jacobian @ covariance @ jacobian.T
    latitude = tangents(wcs, shape)[1]
    stretch = max(float(np.cos(latitude)), 1e-12)
    lng, lat = wcs.wcs.lng + 1, wcs.wcs.lat + 1
    unit = {"deg": 3600.0, "arcsec": 1.0, "arcmin": 60.0}
    cards = []
    for axis, bar in ((lng, np.sqrt(sky[0, 0]) / stretch), (lat, np.sqrt(sky[1, 1]))):
        name = str(wcs.wcs.cunit[axis - 1])
        cards.append((f"CRDER{axis}", float(bar / unit.get(name, 3600.0)), f"[{name}] of pointing"))
    names = (("PNTCOV11", 0, 0), ("PNTCOV12", 0, 1), ("PNTCOV22", 1, 1))
    return cards + [(n, float(sky[i, j]), "[arcsec2] pointing covariance") for n, i, j in names]


def corrected_header(header: Any, world: Any, offset: Float, covariance: Float, shape: Any) -> Any:
    """A FITS header with the moved world coordinates of `world`; its own are kept as "O".

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the image that moved; left as it is.
    world : WCS or header
        Of the reference.
    offset, covariance
        Of the registration.
    shape : tuple of int
        Of the reference.
    """
    from coregister.io.fits import TABLE_CARDS, WCS_CARDS

    wcs = moved_wcs(world, offset)
    if any(getattr(wcs, name) is not None for name in TABLES):
        raise InputError(
            "the world coordinates have tabulated distortions, which do not fit into a header; "
            "take to_wcs(wcs).to_fits(), which are the HDUs with the tables"
        )
    result = optional("astropy.io.fits", "io").Header(
        [
            card
            for card in header.cards
            if not WCS_CARDS.fullmatch(card.keyword) and not TABLE_CARDS.fullmatch(card.keyword)
        ]
    )

    def add(cards: Any) -> None:
        # of a WCS only its own keywords: dates and the observatory are those of `header`
        result.extend((c for c in cards if WCS_CARDS.fullmatch(c.keyword)), update=True)

    add(wcs.to_header(relax=True).cards)
    own = copy.deepcopy(header_wcs(header))
    if any(str(kind) for kind in own.wcs.ctype):
        own.sip = None  # there is one polynomial in a header, that of the new coordinates
        own.wcs.ctype = [str(kind).removesuffix("-SIP") for kind in own.wcs.ctype]
        for name in TABLES:
            setattr(own, name, None)
        add(own.to_header(key="O").cards)
    if np.all(np.isfinite(covariance)) and wcs.has_celestial:
        for keyword, value, comment in pointing_cards(wcs_of(world), covariance, shape):
            result[keyword] = value, comment
    result["HISTORY"] = "pointing from coregister; the one before is the alternate O"
    return result
