"""Scenes drawn by chance: periodic arrays of unit standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.errors import InputError
from coregister.fourier import along, frequencies
from coregister.simulate.checks import as_number, as_sides, check_rng

Float = NDArray[np.float64]
SCENES = (
    "power-law-1",
    "power-law-2",
    "power-law-3",
    "power-law-4",
    "band-limited",
    "blobs",
    "few-stars",
    "texture",
    "stripes",
    "lattice",
    "white",
)
#: highest frequency of the scene "band-limited", cycles/px
BAND_LIMIT = 0.12
#: highest frequency of scenes whose PSF is "cut", cycles/px
CUT = 0.42
#: pixels for each blob and each star
BLOB_AREA, STAR_AREA = 400, 1000
#: period of the lattice, px
LATTICE_PERIOD = 8


def random_scene(
    kind: str,
    shape: Sequence[int],
    *,
    rng: np.random.Generator,
    psf: float | Literal["cut"] = 1.0,
) -> Float:
    """A scene of unit standard deviation, periodic.

    Parameters
    ----------
    kind : str
        ``"power-law-3"``: Gaussian field whose power falls as frequency to the -3; any exponent.
        ``"band-limited"``: power below 0.12 cycles/px only. ``"blobs"``, ``"few-stars"``: spots
        on an empty sky of level 0. ``"texture"``: two shades, grains of one size. ``"stripes"``:
        constant along one oblique direction. ``"lattice"``: repeats every 8 px. ``"white"``.
    shape : sequence of int
        Pixels along each axis, any number of axes.
    rng : numpy.random.Generator
        Source of chance.
    psf : float or "cut"
        Sigma of a Gaussian, px, that smooths power laws, stars and texture; "cut" leaves power
        laws unsmoothed without power above 0.42 cycles/px.

    Returns
    -------
    array
        Float64.

    Raises
    ------
    InputError
        If the kind is not known.

    Examples
    --------
    >>> import numpy as np
    >>> scene = random_scene("power-law-3", (64, 64), rng=np.random.default_rng(1))
    >>> scene.shape, float(scene.std().round(6))
    ((64, 64), 1.0)
    """
    check_rng(rng)
    shape = as_sides(shape, "shape")
    k = frequencies(shape)
    radius = np.sqrt(sum(f**2 for f in k)) / (2 * np.pi)
    if psf == "cut":
        blur = (radius < CUT).astype(np.float64)
        width = 1.0
    else:
        width = as_number(psf, "psf")
        blur = gaussian(radius, width)
    if not isinstance(kind, str):
        raise _unknown_scene(kind)
    if kind.startswith("power-law-"):
        try:
            exponent = float(kind.removeprefix("power-law"))
        except ValueError:
            raise _unknown_scene(kind) from None
        amplitude = np.where(radius > 0, radius, 1.0) ** (exponent / 2) * blur
        scene = field(shape, amplitude, rng)
    elif kind == "band-limited":
        scene = field(shape, (radius < BAND_LIMIT).astype(np.float64), rng)
    elif kind == "white":
        scene = rng.standard_normal(shape)
    elif kind == "texture":
        grains = field(shape, ((radius > 0.03) & (radius < 0.1)).astype(np.float64), rng)
        scene = filtered(np.tanh(4 * grains / grains.std()), blur)
    elif kind == "blobs":
        scene = _spots(shape, BLOB_AREA, (2.0, 4.0), rng)
    elif kind == "few-stars":
        scene = _spots(shape, STAR_AREA, (width, width), rng)
    elif kind == "stripes":
        scene = _stripes(shape, rng)
    elif kind == "lattice":
        terms = []
        for axis, n in enumerate(shape):
            waves = max(1, round(n / LATTICE_PERIOD))
            phase = 2 * np.pi * (waves * np.arange(n) / n + rng.uniform())
            terms.append(along(np.cos(phase) + 0.5 * np.cos(2 * phase), axis, len(shape)))
        scene = sum(terms) + np.prod(np.stack(np.broadcast_arrays(*terms)), axis=0)
    else:
        raise _unknown_scene(kind)
    return np.asarray(scene / np.std(scene))


def _unknown_scene(kind: Any) -> InputError:
    return InputError(f"the scene {kind!r} is not known; one of {', '.join(SCENES)} is needed")


def gaussian(radius: Float, sigma: float) -> Float:
    """Transfer function of a Gaussian of `sigma` px."""
    return np.asarray(np.exp(-2 * (np.pi * sigma * radius) ** 2))


def filtered(values: Float, amplitude: Float) -> Float:
    """The values with every frequency multiplied by `amplitude`."""
    return np.asarray(scipy.fft.irfftn(scipy.fft.rfftn(values) * amplitude, s=values.shape))


def field(shape: tuple[int, ...], amplitude: Float, rng: np.random.Generator) -> Float:
    """Gaussian field of mean 0."""
    amplitude = amplitude.copy()
    amplitude.flat[0] = 0.0
    return filtered(rng.standard_normal(shape), amplitude)


def _spots(
    shape: tuple[int, ...], area: int, widths: tuple[float, float], rng: np.random.Generator
) -> Float:
    """Periodic Gaussian spots on an empty sky, brightness over a factor of about ten."""
    count = max(2, round(np.prod(shape) / area))
    sigma = rng.uniform(*widths, count)
    flux = np.exp(0.8 * rng.standard_normal(count))
    profiles = []
    for n in shape:
        distance = np.arange(n) - rng.uniform(0, n, count)[:, None]
        distance = (distance + n / 2) % n - n / 2
        profiles.append(np.exp(-0.5 * (distance / sigma[:, None]) ** 2))
    letters = "abcdefgh"[: len(shape)]
    formula = "s," + ",".join("s" + letter for letter in letters) + "->" + letters
    return np.asarray(np.einsum(formula, flux, *profiles, optimize=True))


def _stripes(shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """A random function of one oblique direction, periodic."""
    turns = rng.integers(2, 6, len(shape)) * rng.choice([-1, 1], len(shape))
    phase = sum(
        along(2 * np.pi * t * np.arange(n) / n, a, len(shape))
        for a, (t, n) in enumerate(zip(turns, shape, strict=True))
    )
    harmonics = max(1, int(0.3 * min(shape) / np.abs(turns).max()))
    scene = np.zeros(shape)
    for m in range(1, harmonics + 1):
        scene += rng.standard_normal() / m * np.cos(m * phase + rng.uniform(0, 2 * np.pi))
    return scene
