"""How two images are taken of a scene: noise, gain, holes, rays, sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.fourier import along, fourier_shift, frequencies
from coregister.images import Boundary
from coregister.simulate.checks import as_number, as_numbers, as_sides, check_rng
from coregister.simulate.frame import Frame
from coregister.simulate.scenes import field, gaussian

Float = NDArray[np.float64]
HolesOn = Literal["detector", "sky"]
#: white part of correlated noise: no instrument is without one, and with none a scene sharper
#: than the beam could be measured without limit
WHITE_PART = 0.01
FWHM = float(np.sqrt(8 * np.log(2)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """How two images are taken of a scene; the fields are the options of `simulate_pair`."""

    noise: float | tuple[float, float]
    shape: tuple[int, ...] | None = None
    moving_shape: tuple[int, ...] | None = None
    origin: tuple[int, ...] | None = None
    boundary: Boundary = "overlap"
    gain: float = 1.0
    background: float = 0.0
    slope: tuple[float, ...] | None = None
    noise_beam: float = 0.0
    noise_map: Float | None = None
    poisson: float | None = None
    holes: float = 0.0
    holes_on: HolesOn = "detector"
    hole_size: int = 1
    cosmic_rays: int = 0
    binning: int = 1

    def __post_init__(self) -> None:
        sigmas = as_numbers(self.noise, "noise")
        if sigmas.shape not in ((), (2,)) or sigmas.min() < 0:
            raise InputError(
                f"noise={self.noise!r} is not usable; give a sigma of 0 or above, or two"
            )
        for name in ("gain", "background", "noise_beam", "holes"):
            as_number(getattr(self, name), name)
        for name in ("hole_size", "cosmic_rays", "binning"):
            if as_number(getattr(self, name), name) % 1:
                raise InputError(f"{name}={getattr(self, name)}; a whole number is needed")
        if self.poisson is not None:
            as_number(self.poisson, "poisson")
        if self.boundary not in ("overlap", "periodic"):
            raise InputError(f"boundary={self.boundary!r} is not known; 'overlap' or 'periodic'")
        if self.holes_on not in ("detector", "sky"):
            raise InputError(f"holes_on={self.holes_on!r} is not known; 'detector' or 'sky'")
        if not 0 <= self.holes < 1 or self.hole_size < 1:
            raise InputError(
                f"holes={self.holes}, hole_size={self.hole_size}: a share below 1 of holes at "
                "least 1 px wide is needed"
            )
        if self.gain == 0 or self.binning < 1 or self.cosmic_rays < 0 or self.noise_beam < 0:
            raise InputError(
                "gain must not be 0, binning be 1 or above, cosmic_rays and noise_beam 0 or above"
            )
        if self.poisson is not None and self.poisson <= 0:
            raise InputError(f"poisson={self.poisson}: counts per unit must be above 0, or None")
        if self.boundary == "periodic" and (self.moving_shape or self.shape or self.origin):
            raise InputError("a periodic pair is the whole scene; leave shape and origin out")

    @property
    def sigmas(self) -> tuple[float, float]:
        """Noise of reference and of moving, in units of the scene."""
        first, second = np.broadcast_to(np.asarray(self.noise, dtype=np.float64), 2)
        return float(first), float(second)

    def frame(self, scene: Float, offset: Float) -> Frame:
        """Where the two windows lie; refused if the scene is too small for that."""
        size, ndim = self.binning, scene.ndim
        if any(n % size for n in scene.shape):
            raise InputError(
                f"the scene has shape {scene.shape}, which binning={size} does not divide; "
                "crop the scene"
            )
        if offset.shape != (ndim,):
            raise InputError(f"offset has shape {offset.shape}; the scene needs ({ndim},)")
        if self.slope is not None and as_numbers(self.slope, "slope").shape != (ndim,):
            raise InputError(f"slope={self.slope!r}; one number an axis is needed, {ndim} of them")
        coarse = tuple(n // size for n in scene.shape)
        periodic = self.boundary == "periodic"
        first = coarse if periodic else self.shape or tuple(n // 2 for n in coarse)
        second = self.moving_shape or first
        if not len(first) == len(second) == ndim:
            raise InputError(
                f"the scene has {ndim} axes, shape {first} and moving_shape {second}; they must "
                "have as many numbers"
            )
        origin = self.origin
        if origin is None:
            origin = tuple(
                (n - max(m, p)) // 2 for n, m, p in zip(coarse, first, second, strict=True)
            )
        if not periodic:
            for axis, (n, m, p, d) in enumerate(zip(coarse, first, second, offset, strict=True)):
                if max(m, p - d) - min(0, -d) > n:
                    raise InputError(
                        f"the scene has {n} px on axis {axis}; windows of {m} and {p} px, "
                        f"{abs(d):.1f} px apart, need more: give a larger scene or smaller windows"
                    )
        return Frame(
            start=tuple(p * size for p in origin),
            shapes=(tuple(first), tuple(second)),
            coarse=coarse,
            binning=size,
            offset=offset,
            periodic=periodic,
        )

    def take(self, scene: Float, offset: Float, rng: np.random.Generator) -> tuple[Float, Float]:
        """The two images, see `simulate_pair`."""
        frame = self.frame(scene, offset)
        light = [frame.cut(scene, 0), frame.cut(self.moved(scene, offset), 1)]
        light[1] = self.gain * light[1] + self.background
        if self.slope is not None:
            for axis, (slope, n) in enumerate(zip(self.slope, light[1].shape, strict=True)):
                light[1] = light[1] + along(slope * (np.arange(n) - n / 2), axis, scene.ndim)
        images = []
        for values, sigma, scale in zip(light, self.sigmas, (1.0, abs(self.gain)), strict=True):
            if self.poisson is not None:
                if values.min() < -1e-9:
                    raise InputError(
                        f"the light falls to {values.min():.3g}; Poisson noise needs 0 or above: "
                        "raise the scene, and the background"
                    )
                values = rng.poisson(np.clip(values, 0, None) * self.poisson) / self.poisson
            if sigma > 0:
                values = values + sigma * scale * self._noise(values.shape, rng)
            images.append(self._with_rays(values, scale, rng))
        valid = self._validity(frame, rng)
        if valid is not None:
            images = [np.where(v, image, np.nan) for v, image in zip(valid, images, strict=True)]
        return images[0], images[1]

    def moved(self, scene: Float, offset: Float) -> Float:
        """The scene as moving sees it."""
        return np.asarray(fourier_shift(scene, offset * self.binning), dtype=np.float64)

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> Float:
        noise = rng.standard_normal(shape)
        if self.noise_beam > 0:
            pad = 0 if self.boundary == "periodic" else int(np.ceil(3 * self.noise_beam)) + 1
            larger = tuple(n + pad for n in shape)
            radius = np.sqrt(sum(f**2 for f in frequencies(larger))) / (2 * np.pi)
            amplitude = gaussian(radius, self.noise_beam / FWHM)
            smooth = field(larger, amplitude, rng) / np.sqrt(_mean_square(amplitude, larger))
            noise = smooth[tuple(slice(n) for n in shape)] + WHITE_PART * noise
        if self.noise_map is not None:
            noise = noise * self.map_of(shape)
        return noise

    def map_of(self, shape: tuple[int, ...]) -> Float:
        """The noise map of an image of this shape; refused if it has another."""
        noise_map = np.asarray(self.noise_map, dtype=np.float64)
        if noise_map.shape != shape:
            raise InputError(
                f"noise_map has shape {noise_map.shape} and the image {shape}; they must agree"
            )
        return noise_map

    def _validity(
        self, frame: Frame, rng: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        if self.holes == 0:
            return None
        shape = tuple(max(sides) for sides in zip(*frame.shapes, strict=True))
        if self.holes_on == "sky":
            shape = frame.coarse
        size = self.hole_size
        blocks = rng.random([n // size + 2 for n in shape]) >= self.holes
        for axis in range(len(shape)):
            blocks = np.repeat(blocks, size, axis=axis)
        phase = rng.integers(0, size, len(shape))
        mask = blocks[tuple(slice(p, p + n) for p, n in zip(phase, shape, strict=True))]
        if self.holes_on == "detector":
            first, second = (mask[tuple(slice(n) for n in s)] for s in frame.shapes)
        else:
            moved = np.roll(mask, [int(d) for d in frame.whole], axis=tuple(range(mask.ndim)))
            first, second = (
                m[tuple(slice(n) for n in s)]
                for m, s in zip((mask, moved), frame.shapes, strict=True)
            )
        return first, second

    def _with_rays(self, image: Float, scale: float, rng: np.random.Generator) -> Float:
        """Cosmic rays: straight tracks of 1 to 6 pixels, 5 to 50 units of the scene bright."""
        if self.cosmic_rays == 0:
            return image
        image = image.copy()
        for _ in range(self.cosmic_rays):
            direction = rng.standard_normal(image.ndim)
            direction /= np.abs(direction).max()
            start = rng.uniform(0, image.shape)
            steps = np.arange(rng.integers(1, 7))[:, None]
            track = np.floor(start + steps * direction).astype(int)
            inside = np.all((track >= 0) & (track < image.shape), axis=1)
            image[tuple(track[inside].T)] += scale * rng.uniform(5, 50)
        return image


def simulate_pair(
    scene: ArrayLike,
    offset: ArrayLike,
    *,
    noise: float | tuple[float, float],
    rng: np.random.Generator,
    shape: Sequence[int] | None = None,
    moving_shape: Sequence[int] | None = None,
    origin: Sequence[int] | None = None,
    boundary: Boundary = "overlap",
    gain: float = 1.0,
    background: float = 0.0,
    slope: Sequence[float] | None = None,
    noise_beam: float = 0.0,
    noise_map: ArrayLike | None = None,
    poisson: float | None = None,
    holes: float = 0.0,
    holes_on: HolesOn = "detector",
    hole_size: int = 1,
    cosmic_rays: int = 0,
    binning: int = 1,
) -> tuple[Float, Float]:
    """Two images of one scene, displaced by a known offset.

    Parameters
    ----------
    scene : array_like
        Real, any number of axes, one period of a larger field.
    offset : (ndim,) array_like
        Where the content of moving lies with respect to the reference: array-axis order, pixels
        of the images. Exact for any fraction of a pixel.
    noise : float or (float, float)
        Sigma in units of the scene; for both images, or for reference and moving.
    rng : numpy.random.Generator
        Source of chance.
    shape : sequence of int, optional
        Of the images; default half of the scene along each axis.
    moving_shape : sequence of int, optional
        If it differs.
    origin : sequence of int, optional
        First pixel of both windows in the scene; default so that they lie in its middle.
    boundary : {"overlap", "periodic"}
        "periodic": both images are the whole scene.
    gain, background : float
        ``moving = gain * scene + background``, the noise multiplied by the gain too.
    slope : sequence of float, optional
        Slope of the background of moving along each axis, per pixel.
    noise_beam : float
        Full width at half maximum of a Gaussian beam, px, that correlates the noise; a hundredth
        of it stays white. 0 = all white.
    noise_map : array_like, optional
        The noise of both images is multiplied by it, pixel by pixel.
    poisson : float, optional
        Counts per unit of light: photon noise, besides `noise`. The light must not be negative.
    holes : float
        Share of pixels that are NaN.
    holes_on : {"detector", "sky"}
        The holes stay where they are, or move with the scene.
    hole_size : int
        Side of a hole, px.
    cosmic_rays : int
        Bright tracks in each image.
    binning : int
        The scene has this many samples a pixel and axis; a pixel is their mean. Above 1 the
        images can be undersampled.

    Returns
    -------
    reference, moving : array
        Float64.

    Raises
    ------
    InputError
        If an option cannot be honoured, for instance a scene too small for the offset.

    Examples
    --------
    >>> import numpy as np, coregister as cr
    >>> from coregister.simulate import random_scene, simulate_pair
    >>> rng = np.random.default_rng(1)
    >>> scene = random_scene("power-law-2", (128, 128), rng=rng)
    >>> reference, moving = simulate_pair(scene, (2.3, -4.1), noise=0.01, rng=rng)
    >>> reference.shape
    (64, 64)
    >>> cr.register(reference, moving).offset.round(1)
    array([ 2.3, -4.1])
    """
    observation = Observation(
        noise=noise,
        shape=None if shape is None else as_sides(shape, "shape"),
        moving_shape=None if moving_shape is None else as_sides(moving_shape, "moving_shape"),
        origin=None if origin is None else tuple(int(n) for n in origin),
        boundary=boundary,
        gain=gain,
        background=background,
        slope=None if slope is None else tuple(slope),
        noise_beam=noise_beam,
        noise_map=None if noise_map is None else as_numbers(noise_map, "noise_map"),
        poisson=poisson,
        holes=holes,
        holes_on=holes_on,
        hole_size=hole_size,
        cosmic_rays=cosmic_rays,
        binning=binning,
    )
    check_rng(rng)
    return observation.take(as_numbers(scene, "scene"), as_numbers(offset, "offset"), rng)


def _mean_square(amplitude: Float, shape: tuple[int, ...]) -> float:
    """Variance of unit noise that went through a filter."""
    square = amplitude**2
    square.flat[0] = 0.0
    double = square[..., 1 : -1 if shape[-1] % 2 == 0 else None].sum()
    return float((square.sum() + double) / np.prod(shape))
