"""Pairs whose offset is known, scenes to take them of, and how well they can be measured at all.

A scene is a real array taken as one period of a larger field, so that it can be moved by any
fraction of a pixel without interpolation. Two windows are cut from its middle: content enters and
leaves at their edges as in every real pair. In units of the scene, ``moving(r) = gain * S(r - d)
+ background`` and the noise of moving carries the gain too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from coregister.compare import MovableImage
from coregister.errors import InputError
from coregister.fill import fill
from coregister.fourier import along, fourier_shift, frequencies
from coregister.images import Boundary, as_image
from coregister.spectrum import Rings, cosine_rings

Float = NDArray[np.float64]
HolesOn = Literal["detector", "sky"]

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
#: white part of correlated noise: no instrument is without one, and with none a scene sharper
#: than the beam could be measured without limit
WHITE_PART = 0.01
FWHM = float(np.sqrt(8 * np.log(2)))


# ------------------------------------------------------------------------------------ scenes


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
    shape = tuple(int(n) for n in shape)
    k = frequencies(shape)
    radius = np.sqrt(sum(f**2 for f in k)) / (2 * np.pi)
    if psf == "cut":
        blur = (radius < CUT).astype(np.float64)
        width = 1.0
    else:
        width = float(psf)
        blur = _gaussian(radius, width)
    if kind.startswith("power-law-"):
        try:
            exponent = float(kind.removeprefix("power-law"))
        except ValueError:
            raise _unknown_scene(kind) from None
        amplitude = np.where(radius > 0, radius, 1.0) ** (exponent / 2) * blur
        scene = _field(shape, amplitude, rng)
    elif kind == "band-limited":
        scene = _field(shape, (radius < BAND_LIMIT).astype(np.float64), rng)
    elif kind == "white":
        scene = rng.standard_normal(shape)
    elif kind == "texture":
        grains = _field(shape, ((radius > 0.03) & (radius < 0.1)).astype(np.float64), rng)
        scene = _filtered(np.tanh(4 * grains / grains.std()), blur)
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


def scene_from_image(image: Any, *, noise: float | None = None) -> Float:
    """A scene for simulations from a real image: its own noise is taken out.

    Noise that stays in is moved with the scene and looks like fine structure, from which an
    offset could be read that real pairs do not give. A Wiener filter on the ring-averaged
    spectrum removes it; invalid pixels are filled.

    Parameters
    ----------
    image : array_like
        Anything that `coregister.register` takes.
    noise : float, optional
        Its 1-sigma pixel noise, in its own units; None = estimated from the highest frequencies;
        0 = there is none.

    Returns
    -------
    array
        Float64, same shape.
    """
    prepared = as_image(image, name="image")
    data = fill(prepared)
    variance = _own_variance(data, noise)
    if variance == 0:
        return data.copy()
    rings, modes = _cosine_modes(data)
    power = _significant(rings, rings.mean(modes**2), variance)
    gain = rings.spread(power / (power + variance))
    gain[0] = 1.0  # the mean
    return np.asarray(scipy.fft.idctn((gain * modes).reshape(data.shape), norm="ortho"))


def mirrored(image: Float) -> Float:
    """The image with its mirror images: one period, twice the side, without a jump anywhere."""
    return np.pad(image, [(0, n) for n in image.shape], mode="symmetric")


# ------------------------------------------------------------------------------------ pairs


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
        if min(self.sigmas) < 0 or not np.all(np.isfinite(self.sigmas)):
            raise InputError(f"noise={self.noise!r} is not usable; give sigmas of 0 or above")
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
        if isinstance(self.noise, (tuple, list)):
            first, second = self.noise
            return float(first), float(second)
        return float(self.noise), float(self.noise)

    def take(self, scene: Float, offset: Float, rng: np.random.Generator) -> tuple[Float, Float]:
        """The two images, see `simulate_pair`."""
        frame = _Frame.of(self, scene, offset)
        light = [frame.cut(scene, 0), frame.cut(self._moved(scene, offset), 1)]
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

    def bound(
        self, scene: Float, offset: Float, *, valid: tuple[Float, Float] | None = None
    ) -> Float:
        """The Cramer-Rao bound of one pair, see `pair_bound`."""
        frame = _Frame.of(self, scene, offset)
        ndim = scene.ndim
        spectrum = scipy.fft.rfftn(scene)
        k = frequencies(scene.shape)
        fields = [frame.binned(scene)]
        for axis, (f, n) in enumerate(zip(k, scene.shape, strict=True)):
            derivative = 1j * f * spectrum
            if n % 2 == 0:
                derivative[(slice(None),) * axis + (n // 2,)] = 0
            slope = scipy.fft.irfftn(derivative, s=scene.shape)
            fields.append(self.binning * frame.binned(slope))
        variance = self._variance(frame, scene, offset)
        mean1, mean2 = (float(np.mean(v)) for v in variance)
        if mean1 + mean2 == 0:
            raise InputError("without any noise there is no bound; give noise or poisson")
        overlap = frame.overlap()
        fields.append(np.ones_like(fields[0]))
        if self.slope is not None:
            for axis, n in enumerate(fields[0].shape):
                fields.append(np.ones_like(fields[0]) * along(np.linspace(-1, 1, n), axis, ndim))
        level = self._relative(frame, variance, overlap)
        if level is not None:  # noise that varies over the field becomes uniform
            for field in fields:
                field[overlap] *= level
        rings, multiplicity = _full_plane(fields[0].shape)
        colour = self._colour(rings.mode_frequency, multiplicity)
        n1, n2 = mean1 * colour, mean2 * colour
        weight = _best_weight(_others(rings, multiplicity, fields[0]), n1, n2)
        weight[0] = (n1[0] + n2[0]) ** -0.5
        shape = fields[0].shape
        weight = weight.reshape((*shape[:-1], shape[-1] // 2 + 1))
        use = np.ones([s.stop - s.start for s in overlap], dtype=bool)
        if valid is not None:
            use = frame.both(valid, overlap)
        columns = np.stack([_filtered(field, weight)[overlap][use] for field in fields])
        nuisance = np.concatenate([columns[:1], columns[ndim + 1 :]])
        return _inverse(_projected(columns[1 : ndim + 1], nuisance))

    # ---------------------------------------------------------------- pieces

    def _moved(self, scene: Float, offset: Float) -> Float:
        return np.asarray(fourier_shift(scene, offset * self.binning), dtype=np.float64)

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> Float:
        noise = rng.standard_normal(shape)
        if self.noise_beam > 0:
            pad = 0 if self.boundary == "periodic" else int(np.ceil(3 * self.noise_beam)) + 1
            larger = tuple(n + pad for n in shape)
            radius = np.sqrt(sum(f**2 for f in frequencies(larger))) / (2 * np.pi)
            amplitude = _gaussian(radius, self.noise_beam / FWHM)
            smooth = _field(larger, amplitude, rng) / np.sqrt(_mean_square(amplitude, larger))
            noise = smooth[tuple(slice(n) for n in shape)] + WHITE_PART * noise
        if self.noise_map is not None:
            noise = noise * self._map(shape)
        return noise

    def _map(self, shape: tuple[int, ...]) -> Float:
        noise_map = np.asarray(self.noise_map, dtype=np.float64)
        if noise_map.shape != shape:
            raise InputError(
                f"noise_map has shape {noise_map.shape} and the image {shape}; they must agree"
            )
        return noise_map

    def _colour(self, radius: Float, multiplicity: Float) -> Float:
        """Power of the noise against frequency, 1 on average."""
        if self.noise_beam == 0:
            return np.ones_like(radius)
        power = _gaussian(radius, self.noise_beam / FWHM) ** 2
        mean = float(np.sum(power * multiplicity) / multiplicity.sum())
        return np.asarray(power / mean + WHITE_PART**2)

    def _variance(self, frame: _Frame, scene: Float, offset: Float) -> tuple[Any, Any]:
        """Variance of the pixels of both images, in units of the scene."""
        variances: list[Any] = [sigma**2 for sigma in self.sigmas]
        if self.noise_map is not None:
            variances = [
                v * self._map(shape) ** 2 for v, shape in zip(variances, frame.shapes, strict=True)
            ]
        if self.poisson is not None:
            first = np.clip(frame.cut(scene, 0), 0, None)
            second = np.clip(frame.cut(self._moved(scene, offset), 1), 0, None)
            variances[0] = variances[0] + first / self.poisson
            variances[1] = (
                variances[1] + (self.gain * second + self.background) / self.poisson / self.gain**2
            )
        return variances[0], variances[1]

    def _relative(
        self, frame: _Frame, variance: tuple[Any, Any], overlap: tuple[slice, ...]
    ) -> Float | None:
        """Root of mean over local variance, on the overlap; None if it is the same everywhere."""
        if all(np.ndim(v) == 0 for v in variance):
            return None
        first, second = (np.broadcast_to(v, s) for v, s in zip(variance, frame.shapes, strict=True))
        local = first[overlap] + frame.moved(second, overlap)
        mean = float(np.mean(first) + np.mean(second))
        return np.asarray(np.sqrt(mean / np.maximum(local, 1e-12 * mean)))

    def _validity(
        self, frame: _Frame, rng: np.random.Generator
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


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where the two windows lie in the scene."""

    start: tuple[int, ...]  # first pixel of both windows in the scene's own pixels
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    coarse: tuple[int, ...]  # of the scene, in pixels of the images
    binning: int
    offset: Float
    periodic: bool

    @classmethod
    def of(cls, observation: Observation, scene: Float, offset: Float) -> _Frame:
        size, ndim = observation.binning, scene.ndim
        if any(n % size for n in scene.shape):
            raise InputError(
                f"the scene has shape {scene.shape}, which binning={size} does not divide; "
                "crop the scene"
            )
        if offset.shape != (ndim,):
            raise InputError(f"offset has shape {offset.shape}; the scene needs ({ndim},)")
        coarse = tuple(n // size for n in scene.shape)
        periodic = observation.boundary == "periodic"
        first = coarse if periodic else observation.shape or tuple(n // 2 for n in coarse)
        second = observation.moving_shape or first
        if not len(first) == len(second) == ndim:
            raise InputError(
                f"the scene has {ndim} axes, shape {first} and moving_shape {second}; they must "
                "have as many numbers"
            )
        origin = observation.origin
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
        return cls(
            start=tuple(p * size for p in origin),
            shapes=(tuple(first), tuple(second)),
            coarse=coarse,
            binning=size,
            offset=offset,
            periodic=periodic,
        )

    @property
    def whole(self) -> NDArray[np.int_]:
        return np.rint(self.offset).astype(int)

    def binned(self, scene: Float) -> Float:
        """The whole scene in pixels of the images, beginning where the windows begin."""
        axes = tuple(range(scene.ndim))
        rolled = np.roll(scene, [-s for s in self.start], axis=axes)
        if self.binning == 1:
            return rolled
        blocks = [side for n in self.coarse for side in (n, self.binning)]
        return np.asarray(rolled.reshape(blocks).mean(axis=tuple(2 * a + 1 for a in axes)))

    def cut(self, scene: Float, which: int) -> Float:
        """Window of reference (0) or moving (1)."""
        return self.binned(scene)[tuple(slice(n) for n in self.shapes[which])]

    def overlap(self) -> tuple[slice, ...]:
        """What moving shows too, in pixels of the reference."""
        if self.periodic:
            return tuple(slice(0, n) for n in self.coarse)
        return tuple(
            slice(max(0, int(np.ceil(-d))), min(n, int(np.floor(m - d))))
            for n, m, d in zip(*self.shapes, self.offset, strict=True)
        )

    def moved(self, values: NDArray[Any], overlap: tuple[slice, ...]) -> NDArray[Any]:
        """Values of moving at the pixels of the overlap, to the nearest pixel."""
        rows = [
            (np.arange(s.start, s.stop) + d) % m
            if self.periodic
            else np.clip(np.arange(s.start, s.stop) + d, 0, m - 1)
            for s, d, m in zip(overlap, self.whole, self.shapes[1], strict=True)
        ]
        return np.asarray(values[np.ix_(*rows)])

    def both(self, valid: tuple[Any, Any], overlap: tuple[slice, ...]) -> NDArray[np.bool_]:
        return np.asarray(valid[0][overlap] & self.moved(valid[1], overlap))


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
        shape=_ints(shape),
        moving_shape=_ints(moving_shape),
        origin=_ints(origin),
        boundary=boundary,
        gain=gain,
        background=background,
        slope=None if slope is None else tuple(slope),
        noise_beam=noise_beam,
        noise_map=None if noise_map is None else np.asarray(noise_map, dtype=np.float64),
        poisson=poisson,
        holes=holes,
        holes_on=holes_on,
        hole_size=hole_size,
        cosmic_rays=cosmic_rays,
        binning=binning,
    )
    return observation.take(
        np.asarray(scene, dtype=np.float64), np.asarray(offset, dtype=np.float64), rng
    )


# ------------------------------------------------------------------------------------ bounds


def pair_bound(
    scene: ArrayLike,
    offset: ArrayLike,
    *,
    reference_valid: ArrayLike | None = None,
    moving_valid: ArrayLike | None = None,
    **options: Any,
) -> Float:
    """The smallest covariance that any estimate of this pair's offset can have, px^2.

    Cramer-Rao bound of the actual overlap, gain and background unknown: ``F = sum grad S_f
    grad S_f^T`` with the scene filtered by ``sqrt(P / (P (N1 + N2) + N1 N2))``, P its spectrum,
    N1 and N2 those of the noises (Knapp & Carter 1976, doi:10.1109/TASSP.1976.1162830).

    Parameters
    ----------
    scene, offset
        As in `simulate_pair`.
    reference_valid, moving_valid : array_like of bool, optional
        Pixels that were usable.
    **options
        Those of `simulate_pair`; `noise` is needed, `rng` is not.

    Returns
    -------
    (ndim, ndim) array
        Infinite diagonal where the scene tells nothing.

    Notes
    -----
    Exact for Gaussian scenes and uniform noise. With noise that varies over the field, holes or
    few sources it is a reference: the filter spreads information over neighbouring pixels.
    Pixels that one image lacks count for nothing here, though the other's are compared with what
    is around the hole. Against the exact bound (dense algebra, scenes of slope -2 and -3, 28 px,
    both relative to no holes) it is 1.15 times too high for 30 % holes of one pixel that stay
    with the detector, and within 5 % for holes as wide as the filter, 4 px and more.
    """
    values = np.asarray(scene, dtype=np.float64)
    valid = None
    if reference_valid is not None and moving_valid is not None:
        valid = (np.asarray(reference_valid, bool), np.asarray(moving_valid, bool))
    elif reference_valid is not None or moving_valid is not None:
        raise InputError("only one mask was given; both images' are needed, or neither")
    return Observation(**options).bound(values, np.asarray(offset, dtype=np.float64), valid=valid)


def expected_stderr(
    image: Any,
    *,
    noise: float | tuple[float, float],
    image_noise: float | None = None,
    offset: ArrayLike | None = None,
    noise_beam: float = 0.0,
) -> Float:
    """How well an offset can be measured, before the pair is taken.

    Parameters
    ----------
    image : array_like
        One image of the scene (or of one like it), at the sampling of the planned pair; anything
        that `coregister.register` takes.
    noise : float or (float, float)
        1-sigma pixel noise of the planned pair, in units of `image`; for both, or for reference
        and moving (divided by its gain).
    image_noise : float, optional
        Noise of `image` itself, white, so that it does not count as structure; None = estimated
        from its highest frequencies; 0 = there is none.
    offset : (ndim,) array_like, optional
        The displacement to come, px, where it costs overlap; default 0.
    noise_beam : float
        Full width at half maximum, px, of the beam that correlates the noise of the planned
        pair; 0 = white.

    Returns
    -------
    (ndim,) array
        1-sigma bars, px: the Cramer-Rao bound of the pair. `register` comes within about 1.2 of
        it; infinite where the image tells nothing.

    Raises
    ------
    InputError
        If the input cannot be used, or both noises are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from coregister.simulate import expected_stderr, random_scene
    >>> rng = np.random.default_rng(1)
    >>> image = random_scene("power-law-3", (128, 128), rng=rng)
    >>> now = expected_stderr(image, noise=0.1, image_noise=0)
    >>> bool(np.all(expected_stderr(image, noise=0.2, image_noise=0) > now))
    True
    """
    prepared = as_image(image, name="image")
    ndim = prepared.data.ndim
    plan = Observation(noise=noise, noise_beam=noise_beam)
    if max(plan.sigmas) == 0:
        raise InputError("without any noise there is no bound; at least one noise must be above 0")
    displacement = np.zeros(ndim) if offset is None else np.asarray(offset, dtype=np.float64)
    if displacement.shape != (ndim,):
        raise InputError(f"offset has shape {displacement.shape}; ({ndim},) is needed")
    start = [max(0, int(np.ceil(-d))) for d in displacement]
    stop = [
        min(n, int(np.floor(n - d))) for n, d in zip(prepared.data.shape, displacement, strict=True)
    ]
    shape = [b - a for a, b in zip(start, stop, strict=True)]
    if min(shape) < 4:
        raise InputError(
            f"offset={displacement.tolist()} leaves no overlap of images of shape "
            f"{prepared.data.shape}; give a smaller one"
        )
    data = fill(prepared)
    own = _own_variance(data, image_noise)
    window = MovableImage(data, periodic=False).window(start, shape, np.zeros(ndim), gradient=True)
    rings, _ = _cosine_modes(window[0])
    radius = rings.mode_frequency
    modes = np.stack([_cosine_modes(field)[1] for field in window])
    if own > 0:
        power = _significant(rings, rings.mean(modes[0] ** 2), own)
    else:
        power = rings.mean(modes[0] ** 2)
    colour = plan._colour(radius, np.ones_like(radius))
    n1, n2 = (sigma**2 * colour for sigma in plan.sigmas)
    weight = _best_weight(rings.spread(power), n1, n2) ** 2
    signal, slopes = modes[0] * np.sqrt(weight), modes[1:] * np.sqrt(weight)
    information = _projected(slopes, signal[None])
    k = np.stack(
        np.broadcast_arrays(
            *(along(np.pi * np.arange(n) / n, a, ndim) for a, n in enumerate(shape))
        )
    ).reshape(ndim, -1)
    noise_share = np.diag((weight * own) @ (k**2).T)
    return np.asarray(np.sqrt(np.diag(_inverse(information - noise_share))))


# ------------------------------------------------------------------------------------ pieces


def _unknown_scene(kind: str) -> InputError:
    return InputError(f"the scene {kind!r} is not known; one of {', '.join(SCENES)} is needed")


def _ints(shape: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if shape is None else tuple(int(n) for n in shape)


def _gaussian(radius: Float, sigma: float) -> Float:
    """Transfer function of a Gaussian of `sigma` px."""
    return np.asarray(np.exp(-2 * (np.pi * sigma * radius) ** 2))


def _filtered(values: Float, amplitude: Float) -> Float:
    return np.asarray(scipy.fft.irfftn(scipy.fft.rfftn(values) * amplitude, s=values.shape))


def _field(shape: tuple[int, ...], amplitude: Float, rng: np.random.Generator) -> Float:
    """Gaussian field of mean 0."""
    amplitude = amplitude.copy()
    amplitude.flat[0] = 0.0
    return _filtered(rng.standard_normal(shape), amplitude)


def _mean_square(amplitude: Float, shape: tuple[int, ...]) -> float:
    """Variance of unit noise that went through a filter."""
    square = amplitude**2
    square.flat[0] = 0.0
    double = square[..., 1 : -1 if shape[-1] % 2 == 0 else None].sum()
    return float((square.sum() + double) / np.prod(shape))


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


def _cosine_modes(values: Float) -> tuple[Rings, Float]:
    return cosine_rings(values.shape), scipy.fft.dctn(values, norm="ortho").ravel()


def _own_variance(data: Float, noise: float | None) -> float:
    """Variance of the noise of an image: as given, or that of its highest frequencies."""
    if noise is not None:
        if not np.isfinite(noise) or noise < 0:
            raise InputError(f"noise of the image: {noise!r}; a sigma of 0 or above, or None")
        return float(noise) ** 2
    rings, modes = _cosine_modes(data)
    highest = rings.mode_frequency > 0.9 * min(0.5, rings.mode_frequency.max())
    return float(np.median(modes[highest] ** 2) / 0.4549)  # median of chi^2 with one degree


def _significant(rings: Rings, power: Float, noise: float) -> Float:
    """Power above the noise, 0 where chance alone makes as much."""
    above = power - noise
    return np.where(above > 2 * noise * np.sqrt(2 / rings.count), above, 0.0)


def _full_plane(shape: tuple[int, ...]) -> tuple[Rings, Float]:
    """Rings of a half spectrum, and how many modes of the full plane each entry stands for."""
    radius = np.sqrt(sum(f**2 for f in frequencies(shape))) / (2 * np.pi)
    multiplicity = np.full(radius.shape, 2.0)
    multiplicity[..., 0] = 1.0
    if shape[-1] % 2 == 0:
        multiplicity[..., -1] = 1.0
    return Rings(radius, multiplicity), multiplicity.ravel()


def _others(rings: Rings, multiplicity: Float, field: Float) -> Float:
    """Power of each mode as the others of its ring tell it.

    With its own included, bright modes would get the larger weight for being bright.
    """
    power = np.abs(scipy.fft.rfftn(field)).ravel() ** 2 / field.size
    mean = rings.spread(rings.mean(power))
    share = multiplicity / np.maximum(rings.spread(rings.count), 2 * multiplicity + 1)
    return np.asarray(np.maximum((mean - share * power) / (1 - share), 0.1 * mean))


def _best_weight(scene: Float, n1: Float, n2: Float) -> Float:
    """Amplitude ``sqrt(P / (P (N1 + N2) + N1 N2))``, 0 where there is no scene."""
    below = scene * (n1 + n2) + n1 * n2
    return np.sqrt(np.divide(scene, below, out=np.zeros_like(below), where=below > 0))


def _projected(slopes: Float, nuisance: Float) -> Float:
    """Information on the offset, what the nuisances explain taken out."""
    coupling = slopes @ nuisance.T
    inverse = np.linalg.pinv(nuisance @ nuisance.T, hermitian=True)
    return np.asarray(slopes @ slopes.T - coupling @ inverse @ coupling.T)


def _inverse(information: Float) -> Float:
    """Covariance; infinite diagonal where there is no information."""
    values, vectors = np.linalg.eigh(information)
    good = values > 1e-9 * max(float(values.max()), 0.0)
    if good.all() and values.max() > 0:
        return np.asarray(np.linalg.inv(information))
    covariance = (vectors[:, good] / values[good]) @ vectors[:, good].T
    lost = np.any(np.abs(vectors[:, ~good]) > 1e-6, axis=1)
    covariance[lost, lost] = np.inf
    return np.asarray(covariance)
