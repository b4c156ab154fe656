"""Images to try a registration on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.chi2 import chi2n_map, inputs
from coregister.errors import InputError
from coregister.image_registration.fft_tools.shift import shift2d, shiftnd
from coregister.image_registration.fft_tools.smooth_tools import smooth

__all__ = ["chi2", "edge_weight", "make_extended", "make_offset_extended", "make_offset_images"]

Float = NDArray[np.float64]


def make_extended(
    imsize: int, imsize2: int | None = None, powerlaw: float = 2.0, rng: Any = None
) -> Float:
    """An image of extended emission that wraps: the modulus of power-law noise.

    Parameters
    ----------
    imsize : int
        Columns.
    imsize2 : int, optional
        Rows; as many as columns if not given.
    powerlaw : float
        Power of the noise falls as ``frequency ** -powerlaw``.
    rng : numpy.random.Generator or int, optional
        Source or seed of the noise; a new one each time if not given.

    Returns
    -------
    array
        Rows by columns, 0 or above, with a standard deviation of about 4.

    Raises
    ------
    InputError
        If a size is not a whole number above 0.

    Examples
    --------
    >>> image = make_extended(128, rng=1)
    >>> image.shape, bool(2 < image.std() < 6)
    ((128, 128), True)
    """
    columns = inputs.count(imsize, "imsize", least=1)
    rows = columns if imsize2 is None else inputs.count(imsize2, "imsize2", least=1)
    rng = np.random.default_rng(rng)
    waves = columns * np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns))
    waves[0, 0] = np.inf
    noise = rng.normal(size=(rows, columns)) + 1j * rng.normal(size=(rows, columns))
    return np.abs(np.fft.fft2(noise * waves ** (-powerlaw / 2)))


def make_offset_extended(
    img: ArrayLike,
    xsh: float,
    ysh: float,
    noise: float = 1.0,
    mode: str = "wrap",
    noise_taper: bool = False,
    rng: Any = None,
) -> Float:
    """A displaced image with noise.

    Parameters
    ----------
    img : array_like
        2-D, one period.
    xsh, ysh : float
        Pixels along axis 1 and axis 0, towards larger indices: what `chi2_shift` finds.
    noise : float
        1-sigma noise of the pixels.
    mode : {'wrap'}
        The image wraps.
    noise_taper : bool
        More noise towards the edges: over `edge_weight`.
    rng : numpy.random.Generator or int, optional
        Source or seed of the noise; a new one each time if not given.

    Returns
    -------
    array

    Raises
    ------
    InputError
        If an option cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> image = make_extended(32, rng=1)
    >>> moved = make_offset_extended(image, 2, -1, noise=0)
    >>> bool(np.allclose(moved, np.roll(image, (-1, 2), (0, 1))))
    True
    """
    if mode != "wrap":
        raise InputError(f"mode={mode!r} is not available; leave it out ('wrap')")
    moved = shiftnd(img, (ysh, xsh))
    added = noise * np.random.default_rng(rng).normal(size=moved.shape)
    return np.asarray(moved + (added / _weight(moved.shape) if noise_taper else added))


def make_offset_images(
    xsh: float,
    ysh: float,
    imsize: int,
    width: float = 3.0,
    amp: float = 1000.0,
    noiseamp: float = 1.0,
    xcen: float = 50,
    ycen: float = 50,
    rng: Any = None,
) -> tuple[Float, Float, float]:
    """A Gaussian without noise, and a displaced one with noise.

    Parameters
    ----------
    xsh, ysh : float
        Pixels along axis 1 and axis 0.
    imsize : int
        Rows and columns.
    width, amp : float
        Sigma in pixels, and height.
    noiseamp : float
        1-sigma noise of the second image.
    xcen, ycen : float
        Place of the first, column and row.
    rng : numpy.random.Generator or int, optional
        Source or seed of the noise; a new one each time if not given.

    Returns
    -------
    image, offset_image : array
    tolerance : float
        Three times the 1-sigma error that the best estimator has, in pixels.

    Examples
    --------
    >>> image, moved, tolerance = make_offset_images(1.5, -2, 100, rng=1)
    >>> round(tolerance, 5)
    0.00239
    """
    y, x = np.indices([inputs.count(imsize, "imsize", least=1)] * 2)

    def spot(dx: float, dy: float) -> Float:
        square = (x - xcen - dx) ** 2 + (y - ycen - dy) ** 2
        return np.asarray(amp * np.exp(-square / (2 * width**2)))

    added = noiseamp * np.random.default_rng(rng).normal(size=y.shape)
    tolerance = 3 * noiseamp / amp * np.sqrt(2 / np.pi)
    return spot(0, 0), spot(xsh, ysh) + added, float(tolerance)


def edge_weight(imsize: int, smoothsize: float = 5, power: float = 2) -> Float:
    """A weight of 1 in the middle that falls towards the edges.

    Parameters
    ----------
    imsize : int
        Rows and columns.
    smoothsize : float
        Sigma of the Gaussian that the field is smoothed by, in pixels.
    power : float
        What the smooth field is raised to.

    Returns
    -------
    array

    Examples
    --------
    >>> weight = edge_weight(64)
    >>> [round(float(w), 2) for w in (weight[32, 32], weight[0, 32], weight[0, 0])]
    [1.0, 0.29, 0.08]
    """
    return _weight((imsize, imsize), smoothsize, power)


def chi2(
    im1: ArrayLike,
    im2: ArrayLike,
    dx: float,
    dy: float,
    err: ArrayLike | None = None,
    upsample: float = 1,
) -> float:
    """chi^2 of two images at one offset.

    Parameters
    ----------
    im1, im2 : array_like
        Model and data, 2-D, one period each.
    dx, dy : float
        Offset of `im2` from `im1`.
    err : float or array_like, optional
        1-sigma noise of `im2`; None counts as 1.
    upsample : {1}
        Nothing else is available.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If `upsample` is not 1, or the images cannot be used.

    Examples
    --------
    >>> image = make_extended(32, rng=1)
    >>> round(chi2(image, make_offset_extended(image, 2.5, -1, noise=0), 2.5, -1), 9)
    0.0
    """
    if upsample != 1:
        raise InputError(f"upsample={upsample!r} is not available; leave it out (1)")
    values = chi2n_map(shift2d(im1, dx, dy), im2, err)
    rows, columns = values.shape
    return float(values[(rows - 1) // 2, (columns - 1) // 2])


def _weight(shape: tuple[int, ...], smoothsize: float = 5, power: float = 2) -> Float:
    return np.asarray(smooth(np.ones(shape), smoothsize) ** power)
