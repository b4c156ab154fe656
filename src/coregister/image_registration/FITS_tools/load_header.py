"""What a name, an HDU, a list of HDUs, an array or a header stands for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from coregister.errors import InputError, optional
from coregister.io import fits as files


def load_data(data: Any) -> Any:
    """The image that is meant.

    Parameters
    ----------
    data : name, HDU, HDU list, (data, header) or array
        Of a file or a list, the first HDU that holds an image, tables and error extensions passed
        over.

    Returns
    -------
    array
        As it is stored, BSCALE and BZERO applied.

    Examples
    --------
    >>> from astropy.io import fits
    >>> table = fits.BinTableHDU.from_columns([])
    >>> load_data(fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU([[1.5, 2.5]])])).tolist()
    [[1.5, 2.5]]
    """
    if isinstance(data, (np.ndarray, list)) and not hasattr(data, "info"):
        return np.asarray(data)
    with opened(data) as (hdu, _):
        return np.asarray(hdu.data)


def load_header(header: Any) -> Any:
    """The header that is meant.

    Parameters
    ----------
    header : header, name, HDU, HDU list, (data, header) or str
        The name of a FITS file or of a text file with a header, or the text of a header itself,
        in lines or in cards of 80 characters. Of a file or a list, the header of the first HDU
        that holds an image.

    Returns
    -------
    astropy.io.fits.Header

    Examples
    --------
    >>> load_header("NAXIS1  = 100\\nNAXIS2  = 80")["NAXIS2"]
    80
    """
    fits = optional("astropy.io.fits", "fits")
    if isinstance(header, fits.Header):
        return header
    if isinstance(header, (str, os.PathLike)):
        name = os.fspath(header)
        text = name if "\n" in name or "= " in name else _text(Path(name))
        if text is not None:
            return fits.Header.fromstring(text, sep="\n" if "\n" in text.strip() else "")
    with opened(header) as (hdu, _):
        return hdu.header.copy()


@contextlib.contextmanager
def opened(source: Any) -> Iterator[tuple[Any, Any]]:
    """The HDU of the image, and the list that it is in, if it is in one."""
    fits = optional("astropy.io.fits", "fits")
    if isinstance(source, (str, os.PathLike)):
        with files.opened(Path(source)) as hdus:
            yield hdus[files.first_image(hdus, Path(source))], hdus
    elif isinstance(source, fits.HDUList):
        yield source[files.first_image(source, "the list of HDUs")], source
    elif isinstance(source, tuple) and len(source) == 2:
        yield fits.ImageHDU(np.asarray(source[0]), load_header(source[1])), None
    elif hasattr(source, "header") and hasattr(source, "data"):
        if source.data is None or not source.is_image:
            raise InputError(f"{source!r} holds no image; give an HDU that does")
        yield source, None
    else:
        raise InputError(
            f"{type(source).__name__} is not a FITS image; give the name of a file, an HDU, a "
            "list of HDUs, or (data, header)"
        )


def _text(path: Path) -> str | None:
    """What a text file says; None for a FITS file, and for any other that is not text."""
    with path.open("rb") as file:
        start = file.read(2880)
    if start.startswith(b"SIMPLE  =") and path.stat().st_size % 2880 == 0:
        return None
    return path.read_text() if start.isascii() and b"\0" not in start else None
