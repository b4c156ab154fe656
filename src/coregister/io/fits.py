"""FITS, with its errors, masks and world coordinates, through astropy."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.io.loaded import Loaded, Part, refuse

#: names of extensions that hold errors, and what their numbers are
ERROR_NAMES = {
    **dict.fromkeys(("ERR", "ERROR", "UNCERT", "UNCERTAINTY", "STDDEV", "SIGMA"), "std"),
    **dict.fromkeys(("VAR", "VARIANCE"), "var"),
    **dict.fromkeys(("IVAR", "INVVAR"), "ivar"),
}
#: names of extensions whose nonzero pixels are bad
MASK_NAMES = {"MASK": "mask", "DQ": "mask", "BPM": "mask"}
#: names of extensions that hold the image which ERROR_NAMES and MASK_NAMES describe
IMAGE_NAMES = ("", "PRIMARY", "SCI", "DATA", "IMAGE", "COMPRESSED_IMAGE")
#: array types by BITPIX
BITPIX = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}

#: keywords that tie pixels to the world, and the observer they were made for; FITS 4.0,
#: chapter 8, SIP (2005ASPC..347..491S), Thompson 2006 (doi:10.1051/0004-6361:20054262)
WCS_CARDS = re.compile(
    r"(WCSAXES|WCSNAME|LONPOLE|LATPOLE|RADESYS|EQUINOX|SPECSYS|SSYSOBS|SSYSSRC|RESTFRQ|RESTWAV"
    r"|VELOSYS|ZSOURCE|VELANGL|(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CNAME|CRDER|CSYER)\d+"
    r"|(PC|CD|PV|PS)\d+_\d+)[A-Z]?"
    r"|RADECSYS|EPOCH|RESTFREQ|CROTA\d+|PC\d{6}|(A|B|AP|BP)_(\d+_\d+|ORDER|DMAX)"
    r"|LTV\d|LTM\d_\d|WCSDIM|WAT\d_\d{3}|RSUN_REF|DSUN_OBS|(HG|CR)L[NT]_OBS"
)
#: keywords of distortions that are tabulated in other extensions
TABLE_CARDS = re.compile(r"(CPDIS|CQDIS|DP|DQ|CPERR|CQERR|D2IMDIS|D2IMERR|D2IM|AXISCORR)\d+(\..*)?")
#: keywords that are no longer true of resampled pixels
STALE_CARDS = re.compile(r"BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|DATAMIN|DATAMAX")


def contents(path: Path) -> list[Part]:
    """The HDUs of the file."""
    with opened(path) as hdus:
        return [_part(number, hdu) for number, hdu in enumerate(hdus)]


def read(
    path: Path,
    *,
    ext: int | str | None = None,
    channel: int | str | None = None,
    err_ext: int | str | None = None,
    mask_ext: int | str | None = None,
) -> Loaded:
    """The first HDU that holds an image, or `ext`, with the errors and mask that belong to it.

    Errors and masks are looked for under their usual names, with the EXTVER of the image and its
    shape; `err_ext` and `mask_ext` name others, or "none".
    """
    refuse(path, "FITS", channel=channel)
    with opened(path) as hdus:
        number = first_image(hdus, path) if ext is None else _find(hdus, ext, path, "ext")
        return loaded(hdus, number, path, known=ext is None, err_ext=err_ext, mask_ext=mask_ext)


def loaded(
    hdus: Any,
    number: int,
    path: Path,
    *,
    known: bool = True,
    err_ext: int | str | None = None,
    mask_ext: int | str | None = None,
) -> Loaded:
    """HDU `number` with the errors and mask that belong to it.

    They are looked for under their usual names if `known`, or if the HDU has the name of an image.
    """
    hdu = hdus[number]
    zero = hdu.header.get("BZERO", 0) if hdu.header.get("BLANK") == 0 else None
    data = np.asarray(hdu.data)
    known = known or hdu.name in IMAGE_NAMES
    noise = _companion(hdus, number, err_ext, ERROR_NAMES if known else {}, path, "err_ext")
    bad = _companion(hdus, number, mask_ext, MASK_NAMES if known else {}, path, "mask_ext")
    shape = tuple(n for n in data.shape if n != 1)
    valid = None if bad is None else np.asarray(bad.data == 0).reshape(shape)
    if zero is not None:  # astropy turns BLANK into NaN, but not BLANK = 0
        filled = np.asarray(data != zero).reshape(shape)
        valid = filled if valid is None else valid & filled
    return Loaded(
        path=path,
        format="FITS",
        part=_part(number, hdu).label,
        data=data.reshape(shape),
        valid=valid,
        err=None if noise is None else sigma_of(noise).reshape(shape),
        header=hdu.header.copy(),
        stored_shape=data.shape,
        details={"primary": hdus[0].header.copy() if number else None, "number": number},
    )


def write_header(path: Path, like: Loaded, correct: Callable[[Any], Any]) -> None:
    """Copy the file of `like`, with another header of the image; its pixels stay bit for bit.

    Parameters
    ----------
    path : Path
        The file to write.
    like : Loaded
        The image, from a file.
    correct : callable
        Takes the header as it stands and returns the new one.

    Raises
    ------
    InputError
        If the image is compressed within the file, since that can lose something.
    """
    fits = optional("astropy.io.fits", "io")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(like.path, memmap=False, do_not_scale_image_data=True) as hdus:
            hdu = _uncompressed(hdus, like)
            hdu.header = correct(hdu.header)
            hdus.writeto(path, overwrite=True, output_verify="silentfix+ignore")


def write_plane(path: Path, like: Loaded, number: int, correct: Callable[[Any], Any]) -> None:
    """Write one plane of the cube in the file of `like`, bit for bit, with a header of its own.

    Parameters
    ----------
    path : Path
        The file to write.
    like : Loaded
        The cube, from a file.
    number : int
        Of the plane, along the first axis of the array.
    correct : callable
        Takes the header of the cube and returns that of the plane.
    """
    fits = optional("astropy.io.fits", "io")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(like.path, memmap=True, do_not_scale_image_data=True) as hdus:
            hdu = _uncompressed(hdus, like)
            plane = np.array(hdu.section[number])
            header = correct(hdu.header)
            kind = fits.ImageHDU if like.details["number"] else fits.PrimaryHDU
            made = kind(plane, header, do_not_scale_image_data=True)
            # astropy takes them out, as it does for values that were scaled
            made.header.update({k: header[k] for k in ("BSCALE", "BZERO", "BLANK") if k in header})
            kept = [hdus[0].copy(), made] if like.details["number"] else [made]
            fits.HDUList(kept).writeto(path, overwrite=True, output_verify="silentfix+ignore")


def _uncompressed(hdus: Any, like: Loaded) -> Any:
    """The HDU of an image, whose pixels can be copied bit for bit."""
    hdu = hdus[like.details["number"]]
    if isinstance(hdu, optional("astropy.io.fits", "io").CompImageHDU):
        raise InputError(
            f"{like.path} is compressed, and its pixels would not stay bit for bit; "
            "unpack it first, with funpack for instance"
        )
    return hdu


def held(source: Any, name: str) -> Loaded:
    """An image in memory: an HDU, or the first image of a list of HDUs.

    Raises
    ------
    InputError
        If there is none.
    """
    hdus = source if isinstance(source, list) else [source]
    if hdus[0] is source and not (source.is_image and source.shape):
        raise InputError(
            f"{name} is an HDU without an image, as primary ones often are; an image is needed: "
            "give another one, hdus[1] for instance, or the whole list"
        )
    found = loaded(hdus, first_image(hdus, name), Path(name))
    found.details["hdus"] = hdus  # distortion tables live in other extensions
    return found


def write(
    path: Path,
    data: NDArray[Any],
    *,
    like: Loaded,
    reference: Loaded | None,
    offset: Sequence[float],
    history: str,
    cards: Sequence[tuple[str, float | str, str]],
    err: NDArray[Any] | None = None,
) -> list[str]:
    """Write the header of `like` with the world coordinates of `reference`.

    Without a reference that has them, those of `like` are kept, moved by `offset`.
    """
    fits = optional("astropy.io.fits", "io")
    notes = []
    header = _without(like.header, STALE_CARDS, TABLE_CARDS)
    layout = like
    if reference is not None and reference.format == "FITS":
        layout = reference
    if layout is not like and _has_wcs(layout.header):
        header = _without(header, WCS_CARDS)
        header.extend(card for card in layout.header.cards if WCS_CARDS.fullmatch(card.keyword))
    else:
        _move_origin(header, like, offset)
    if any(TABLE_CARDS.fullmatch(card.keyword) for card in layout.header.cards):
        notes.append("distortions that are tabulated in other extensions are not kept")
    for keyword, value, comment in cards:
        if isinstance(value, str) or math.isfinite(value):
            header[keyword] = (_ascii(value) if isinstance(value, str) else value, comment)
    header.add_history(_ascii(history))
    hdus = fits.HDUList(_hdus(fits, path, _with_short_axes(data, layout), header, like))
    if err is not None:
        version = header.get("EXTVER", 1)
        hdus.append(fits.ImageHDU(_with_short_axes(err, layout), name="ERR", ver=version))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdus.writeto(
            path,
            overwrite=True,
            output_verify="silentfix+ignore",
            checksum="CHECKSUM" in like.header,
        )
    return notes


def wcs_of(loaded: Loaded) -> Any:
    """World coordinates of the pixels, or None if the header holds none that can be used."""
    if not _has_wcs(loaded.header):
        return None
    wcs = optional("astropy.wcs", "io").WCS
    hdus = loaded.details.get("hdus")
    # distortion tables live in other extensions
    opening = opened(loaded.path) if hdus is None else _remarks_ignored(hdus)
    with opening as hdus:
        try:
            return wcs(loaded.header, fobj=hdus)
        except Exception:  # a header that wcslib refuses leaves the pixels as good as they were
            return None


@contextlib.contextmanager
def _remarks_ignored(hdus: Any) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield optional("astropy.io.fits", "io").HDUList(hdus)


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[Any]:
    """The HDUs; astropy's remarks on small faults of the header are not ours to repeat."""
    fits = optional("astropy.io.fits", "io")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            yield hdus


def _part(number: int, hdu: Any) -> Part:
    label = f"HDU {number} {hdu.name}".rstrip()
    if hdu.is_image:
        return Part(label, tuple(hdu.shape), BITPIX[hdu.header["BITPIX"]] if hdu.shape else "")
    return Part(f"{label} (table)", (), "")


def first_image(hdus: Any, path: Path | str) -> int:
    """Number of the HDU that people mean: the first image, or else the first spectrum."""
    for least in (2, 1):
        for number, hdu in enumerate(hdus):
            if hdu.is_image and hdu.name not in {**ERROR_NAMES, **MASK_NAMES}:
                sides = [n for n in hdu.shape if n > 1]
                if len(sides) >= least and 0 not in hdu.shape:
                    return number
    raise InputError(f"{path} holds no image ({_listing(hdus)}); an image HDU is needed")


def _find(hdus: Any, ext: int | str, path: Path, option: str) -> int:
    """Number of the HDU given as number, name, or ``"name,version"``."""
    name, _, version = str(ext).partition(",")
    try:
        key = int(name) if re.fullmatch(r"\d+", name) else (name, int(version or 1))
        number = key if isinstance(key, int) else int(hdus.index_of(key))
        hdu = hdus[number]
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{option}={ext!r} is not in {path}, which has {_listing(hdus)}; "
            "give the number or name of one of them"
        ) from error
    if not hdu.is_image or 0 in hdu.shape or not hdu.shape:
        raise InputError(f"{option}={ext!r} of {path} holds no image; {_listing(hdus)} are there")
    return number


def _listing(hdus: Any) -> str:
    parts = [_part(number, hdu) for number, hdu in enumerate(hdus)]
    text = ", ".join(f"{p.label} {p.shape}" if p.shape else p.label for p in parts[:8])
    return text + (", ..." if len(parts) > 8 else "")


def _companion(
    hdus: Any,
    number: int,
    asked: int | str | None,
    names: dict[str, str],
    path: Path,
    option: str,
) -> Any:
    """HDU with the errors or the mask of HDU `number`, or None."""
    image = hdus[number]
    if asked is not None:
        if str(asked).lower() == "none":
            return None
        found = hdus[_find(hdus, asked, path, option)]
        if found.shape != image.shape:
            raise InputError(
                f"{option}={asked!r} of {path} has shape {found.shape} and the image "
                f"{image.shape}; they must agree"
            )
        return found
    for hdu in hdus:
        if (
            hdu is not image
            and hdu.is_image
            and hdu.name in names
            and hdu.ver == image.ver
            and hdu.shape == image.shape
        ):
            return hdu
    return None


def sigma_of(hdu: Any) -> NDArray[np.float64]:
    """1-sigma errors, from whatever the extension says that it holds."""
    values = np.array(hdu.data, dtype=np.float64)
    told = str(hdu.header.get("UTYPE", "")).lower()
    kind = ERROR_NAMES.get(hdu.name, "std")
    if "variance" in told:
        kind = "ivar" if "inverse" in told else "var"
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "var":
            return np.asarray(np.sqrt(values))
        if kind == "ivar":
            return np.asarray(1 / np.sqrt(values))
    return values


def _has_wcs(header: Any) -> bool:
    return any(re.fullmatch(r"CTYPE\d+", keyword) for keyword in header)


def _without(header: Any, *patterns: re.Pattern[str]) -> Any:
    kept = header.copy()
    for keyword in {card.keyword for card in header.cards}:
        if any(pattern.fullmatch(keyword) for pattern in patterns):
            kept.remove(keyword, remove_all=True)
    return kept


def _move_origin(header: Any, like: Loaded, offset: Sequence[float]) -> None:
    """Move the reference pixels: pixel p of the result shows what was at p + offset."""
    long_axes = [axis for axis, n in enumerate(like.stored_shape) if n != 1]
    for axis, shift in zip(long_axes, offset, strict=True):
        number = len(like.stored_shape) - axis
        for keyword in header:
            if re.fullmatch(rf"CRPIX{number}[A-Z]?", keyword):
                header[keyword] -= float(shift)


def _with_short_axes(data: NDArray[Any], layout: Loaded) -> NDArray[Any]:
    """`data` with the axes of length 1 that the file of `layout` has."""
    sides = iter(data.shape)
    return data.reshape([1 if n == 1 else next(sides) for n in layout.stored_shape])


def _hdus(fits: Any, path: Path, data: NDArray[Any], header: Any, like: Loaded) -> list[Any]:
    """The HDUs of the result: the image stands where it stood."""
    primary = like.details["primary"]
    compressed = path.suffix.lower() == ".fz"
    if primary is None and not compressed:
        return [fits.PrimaryHDU(data, header)]
    first = _without(primary, STALE_CARDS, WCS_CARDS, TABLE_CARDS) if primary is not None else None
    if compressed:  # without loss: the bars hold for the pixels as they are
        image = fits.CompImageHDU(data, header, compression_type="GZIP_2", quantize_level=0)
    else:
        image = fits.ImageHDU(data, header)
    return [fits.PrimaryHDU(header=first), image]


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
