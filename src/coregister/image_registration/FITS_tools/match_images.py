"""Two FITS images on one grid, and the offset between them in pixels and on the sky."""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.errors import InputError, optional
from coregister.image_registration.FITS_tools.load_header import load_header, opened
from coregister.io import fits as files
from coregister.io.sky import tangents
from coregister.resample import translate
from coregister.sky.regrid import project, spread

Float = NDArray[np.float64]
#: what `reproject.reproject_interp` takes; all else is for the method
REPROJECT = {"order", "roundtrip_coords", "block_size", "parallel"}


def project_to_header(fitsfile: Any, header: Any, quiet: bool = True, **kwargs: Any) -> Float:
    """An image on the grid of a header.

    Parameters
    ----------
    fitsfile : name, HDU, HDU list or (data, header)
        The image.
    header : header, or what `load_header` takes
        With celestial coordinates and NAXIS1, NAXIS2.
    quiet : bool
        Nothing is printed in any case.
    **kwargs
        For `reproject.reproject_interp`; ``order="bicubic"`` interpolates more exactly than the
        default, ``"bilinear"``.

    Returns
    -------
    array
        Float64, NaN where the image has nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.01, "CDELT2": 0.01}
    >>> here = fits.Header({"NAXIS": 2, "NAXIS1": 3, "NAXIS2": 1, **cards, "CRPIX1": 1.0})
    >>> there = fits.Header({**here, "CRPIX1": 2.0})  # content lies one pixel further right
    >>> project_to_header((np.array([[1.0, 2.0, 3.0]]), here), there).round(6)
    array([[nan,  1.,  2.]])
    """
    image, wcs = _image(fitsfile)
    grid, shape = _grid(load_header(header))
    return project(image, wcs, grid, shape, kwargs)


def match_fits(
    fitsfile1: Any,
    fitsfile2: Any,
    header: Any = None,
    sigma_cut: float | None = None,
    use_mad_std: bool = True,
    return_header: bool = False,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """Two images on one grid.

    Parameters
    ----------
    fitsfile1, fitsfile2 : name, HDU, HDU list or (data, header)
        The reference, and the image to be projected onto its grid.
    header : header, or what `load_header` takes, optional
        Both are projected to it instead.
    sigma_cut : float, optional
        Pixels of each image that are not above so many of its standard deviations become 0. If
        nothing would be left that both show, the images are not cut, with a warning.
    use_mad_std : bool
        The standard deviation is told by the median absolute deviation, which sources hardly touch.
    return_header : bool
        Append the header of the grid.
    **kwargs
        For `reproject.reproject_interp`.

    Returns
    -------
    image1, image2[, header]
        Float64, NaN where an image has nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.01, "CDELT2": 0.01}
    >>> here = fits.Header({**cards, "CRPIX1": 1.0})
    >>> there = fits.Header({**cards, "CRPIX1": 2.0})
    >>> image1 = fits.ImageHDU(np.array([[1.0, 2.0, 3.0]]), there)
    >>> image2 = fits.ImageHDU(np.array([[4.0, 5.0, 6.0]]), here)
    >>> match_fits(image1, image2)[1].round(6)
    array([[nan,  4.,  5.]])
    """
    one, two, grid = _matched(fitsfile1, fitsfile2, header, kwargs)
    one, two = _cut(one, two, sigma_cut, use_mad_std)
    return (one, two, grid) if return_header else (one, two)


def register_fits(
    fitsfile1: Any,
    fitsfile2: Any,
    errfile: Any = None,
    return_error: bool = True,
    register_method: Callable[..., Any] | None = None,
    return_cropped_images: bool = False,
    return_shifted_image: bool = False,
    return_header: bool = False,
    sigma_cut: float | None = None,
    header: Any = None,
    use_mad_std: bool = True,
    quiet: bool = True,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """The offset of one FITS image from another, in pixels and on the sky.

    The second image is projected onto the grid of the first; what is left is the error of its
    coordinates. To correct them: ``header2["CRVAL1"] -= x_wcs; header2["CRVAL2"] -= y_wcs``, or
    exactly, where both have the same pixels, ``header2["CRPIX1"] += x; header2["CRPIX2"] += y``.

    Parameters
    ----------
    fitsfile1, fitsfile2 : name, HDU, HDU list or (data, header)
        The reference, and the image whose offset is asked.
    errfile : name, HDU, HDU list, (data, header), array or float, optional
        1-sigma noise of the pixels of `fitsfile2`. Without celestial coordinates of its own it
        has the pixels of `fitsfile2`. 0, NaN and infinity leave a pixel out.
    return_error : bool
        Return the bars too.
    register_method : callable, optional
        `chi2_shift`, `chi2_shift_iterzoom` (the default), `register_images`,
        `cross_correlation_shifts`, or what takes ``(image1, image2, return_error=...)`` and returns
        ``dx, dy[, ex, ey]``.
    return_cropped_images : bool
        Append the two images that were compared.
    return_shifted_image : bool
        Append the second image, projected and brought onto the first.
    return_header : bool
        Append the header of the grid.
    sigma_cut, header, use_mad_std : optional
        As in `match_fits`.
    quiet : bool
        Nothing is printed in any case.
    **kwargs
        ``order``, ``roundtrip_coords``, ``block_size`` and ``parallel`` for
        `reproject.reproject_interp`, all others for the method.

    Returns
    -------
    x, y : float
        Pixels of the grid: the content of image 2 lies at larger x and y by so much.
    x_wcs, y_wcs : float
        Degrees of longitude and latitude by which image 2 puts the same content too high. As
        coordinates: the true angle along the parallel is ``x_wcs * cos(latitude)``.
    ex, ey, ex_wcs, ey_wcs : float
        Their bars, if `return_error`; positive. Those on the sky take x and y as uncorrelated.
    image1, image2, shifted, header
        As asked.

    Notes
    -----
    Coordinates are carried with the Jacobian at the centre of the grid.

    Variances of `errfile` are interpolated bilinearly, and multiplied by what the interpolation
    and the grid make of white noise at low frequencies. Interpolation makes the noise of a pixel
    smaller and that of neighbours correlated; on a grid of the same pixels both cancel in chi^2,
    and the factor is 1. On a finer grid it is the ratio of the pixels' sides. It is exact for
    structure that is resolved and noise that varies slowly; the bars of `chi2_shift` then count the
    information that the pixels of the file had.

    Without `errfile` the noise is learnt from the interpolated pixels, which are correlated, so the
    bars of the `chi2_shift` family come out up to 1.5 times too small. The noise of the first image
    is not counted. `coregister.register` of what `match_fits` returns knows both.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from coregister import chi2_shift
    >>> cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.01, "CDELT2": 0.01}
    >>> header = fits.Header({**cards, "CRVAL1": 30.0, "CRVAL2": 60.0, "CRPIX1": 32, "CRPIX2": 32})
    >>> y, x = np.mgrid[:64, :64]
    >>> one = fits.ImageHDU(np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 18), header)
    >>> two = fits.ImageHDU(np.exp(-((x - 32) ** 2 + (y - 29) ** 2) / 18), header)
    >>> offset = register_fits(one, two, register_method=chi2_shift, return_error=False)
    >>> np.round(offset, 3)  # at declination 60 deg, 0.02 deg are 0.04 deg of right ascension
    array([ 2.  , -1.  , -0.04, -0.01])
    """
    to_grid = {name: kwargs.pop(name) for name in REPROJECT & kwargs.keys()}
    one, two, grid_header = _matched(fitsfile1, fitsfile2, header, to_grid)
    one, two = _cut(one, two, sigma_cut, use_mad_std)
    wcs, shape = _grid(grid_header, one.shape)
    if register_method is None:
        package = importlib.import_module("coregister.image_registration")
        register_method = package.chi2_shift_iterzoom
    if errfile is not None:
        err = _projected_err(errfile, fitsfile2, wcs, shape, to_grid)
        name = _err_argument(register_method)
        # the correlation takes a pixel without a value as the mean, which has no noise
        kwargs[name] = err if name == "err" else np.nan_to_num(err, nan=0.0)
    found = register_method(one, two, return_error=return_error, **kwargs)
    x, y, *bars = found[: 4 if return_error else 2]

    angles, latitude = tangents(wcs, shape)
    jacobian = np.degrees(angles)[:, ::-1]  # columns x, y
    jacobian[0] /= np.cos(latitude)
    result = [float(x), float(y), *map(float, jacobian @ [x, y])]
    if return_error:
        ex, ey = (float(bar) for bar in bars)
        result += [ex, ey, *_bars(jacobian, ex, ey)]
    extra: list[Any] = [one, two] if return_cropped_images else []
    if return_shifted_image:
        extra.append(translate(two, [float(y), float(x)], output_shape=shape))
    if return_header:
        extra.append(grid_header)
    return (*result, *extra)


def _image(source: Any) -> tuple[Float, Any]:
    """The plane of the sky that an HDU holds, and its celestial coordinates."""
    with opened(source) as (hdu, hdus):
        wcs = _celestial(hdu.header, hdus)
        data = np.array(hdu.data, dtype=np.float64)
        long = tuple(n for n in data.shape if n > 1)
        plane = tuple(hdu.header[f"NAXIS{axis + 1}"] for axis in _sky_axes(hdu.header))[::-1]
        if long != tuple(n for n in plane if n > 1):
            raise InputError(
                f"the image has shape {data.shape}, of which one plane of the sky {plane} is "
                "needed: give (data[k], header) of a plane"
            )
        return data.reshape(plane), wcs


def _sky_axes(header: Any) -> list[int]:
    """Numbers of the two celestial axes, from 0, in FITS order."""
    kinds = optional("astropy.wcs", "fits").WCS(header).wcs
    return sorted((kinds.lng, kinds.lat))


def _celestial(header: Any, hdus: Any = None) -> Any:
    """Celestial coordinates of the pixels; the distortion tables stand in other HDUs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's remarks on small faults of the header
        wcs = optional("astropy.wcs", "fits").WCS(header, fobj=hdus)
    if not wcs.has_celestial:
        raise InputError(
            "the header has no celestial coordinates, which are needed to bring two images onto "
            "one grid: register the arrays themselves, or give (data, header) with a header that "
            "has them"
        )
    return wcs if wcs.naxis == 2 else wcs.celestial


def _grid(header: Any, shape: tuple[int, int] | None = None) -> tuple[Any, tuple[int, int]]:
    """Coordinates and shape that a header asks for."""
    wcs = _celestial(header)
    if shape is None:
        names = [f"NAXIS{axis + 1}" for axis in _sky_axes(header)]
        missing = [name for name in names if name not in header]
        if missing:
            raise InputError(f"the header lacks {' and '.join(missing)}: set the size of the grid")
        width, height = (int(header[name]) for name in names)
        shape = height, width
    return wcs, shape


def _matched(
    fitsfile1: Any, fitsfile2: Any, header: Any, options: dict[str, Any]
) -> tuple[Float, Float, Any]:
    """Both images on one grid, and its header."""
    if header is None:
        grid_header = load_header(fitsfile1)
        one, wcs = _image(fitsfile1)
        shape: Any = one.shape
    else:
        grid_header = load_header(header)
        wcs, shape = _grid(grid_header)
        one = project(*_image(fitsfile1), wcs, shape, options)
    two = project(*_image(fitsfile2), wcs, shape, options)
    if not np.any(np.isfinite(one) & np.isfinite(two)):
        raise InputError(
            "the images have no pixel in common on the sky; check the coordinates in their headers"
        )
    return one, two, grid_header


def _cut(one: Float, two: Float, sigma_cut: float | None, use_mad: bool) -> tuple[Float, Float]:
    """Only what stands out in each image."""
    if not sigma_cut:
        return one, two
    high = [_standard(image, use_mad) * sigma_cut < image for image in (one, two)]
    if not np.any(high[0] & high[1]):
        warnings.warn(
            f"sigma_cut={sigma_cut} leaves nothing that both images show, so they are not cut; "
            "lower it",
            stacklevel=3,
        )
        return one, two
    first, second = (
        np.where(keep | np.isnan(image), image, 0.0)
        for keep, image in zip(high, (one, two), strict=True)
    )
    return first, second


def _standard(image: Float, use_mad: bool) -> float:
    if not use_mad:
        return float(np.nanstd(image))
    return float(1.482602 * np.nanmedian(np.abs(image - np.nanmedian(image))))


def _err_argument(method: Callable[..., Any]) -> str:
    """The name under which a method takes the noise of the second image."""
    names = inspect.signature(method).parameters
    for name in ("err", "errim2"):
        if name in names:
            return name
    raise InputError(
        f"{getattr(method, '__name__', method)} does not take the noise of pixels, so errfile "
        "would not be used: leave it out, or use chi2_shift"
    )


def _projected_err(
    errfile: Any, fitsfile2: Any, grid: Any, shape: tuple[int, int], options: dict[str, Any]
) -> Float | float:
    """1-sigma noise on the grid, such that chi^2 counts the information there was."""
    image, wcs = _image(fitsfile2)
    sigma, own = _sigma(errfile)
    pixels = [tangents(wcs, image.shape)[0], tangents(grid, shape)[0]]
    factor = spread(np.linalg.inv(pixels[0]) @ pixels[1], options.get("order", "bilinear"))
    if sigma.ndim == 0:
        return float(factor * sigma)
    if own is None and sigma.shape != image.shape:
        raise InputError(
            f"errfile has shape {sigma.shape} and no coordinates, and the second image has "
            f"{image.shape}; they must agree"
        )
    variance = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.nan) ** 2
    # splines of higher degree can swing below 0
    linear = {**options, "order": "bilinear"}
    return np.asarray(factor * np.sqrt(project(variance, own or wcs, grid, shape, linear)))


def _sigma(errfile: Any) -> tuple[Float, Any]:
    """1-sigma noise, and its celestial coordinates if it has any."""
    fits = optional("astropy.io.fits", "fits")
    if isinstance(errfile, (str, os.PathLike)):
        with files.opened(os.fspath(errfile)) as hdus:
            return _sigma(hdus)
    if isinstance(errfile, fits.HDUList):
        named = [hdu for hdu in errfile if hdu.name in files.ERROR_NAMES and hdu.is_image]
        errfile = named[0] if named else errfile[files.first_image(errfile, "errfile")]
    if isinstance(errfile, tuple):
        errfile = fits.ImageHDU(*errfile)
    if not hasattr(errfile, "header"):
        return np.asarray(errfile, dtype=np.float64), None
    sigma = np.squeeze(files.sigma_of(errfile))
    wcs = optional("astropy.wcs", "fits").WCS(errfile.header)
    return sigma, _celestial(errfile.header) if wcs.has_celestial else None


def _bars(jacobian: Float, ex: float, ey: float) -> list[float]:
    """Bars on the sky; an infinite one counts along the directions that it touches."""
    parts = np.abs(jacobian) > 1e-6 * np.abs(jacobian).max()
    with np.errstate(invalid="ignore"):
        terms = np.where(parts, np.abs(jacobian) * [ex, ey], 0.0)
    return [float(np.hypot(*row)) for row in terms]
