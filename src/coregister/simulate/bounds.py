"""How well a pair can be measured at all: the Cramer-Rao bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from coregister.errors import InputError
from coregister.estimator.fill import fill
from coregister.estimator.movable import MovableImage
from coregister.estimator.rings import Rings, cosine_waves
from coregister.fourier import along, frequencies
from coregister.images import as_image
from coregister.simulate.checks import as_numbers
from coregister.simulate.denoise import cosine_modes, own_variance, significant
from coregister.simulate.frame import Frame
from coregister.simulate.pairs import FWHM, WHITE_PART, Observation
from coregister.simulate.scenes import filtered, gaussian

Float = NDArray[np.float64]

#: part of the side, at each end, over which the scene fades before its spectrum is taken
RAMP = 1 / 6


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
    grad S_f^T`` with the scene filtered by ``sqrt(P / (P (N1 + N2) + N1 N2))``, P its spectrum on
    the overlap, N1 and N2 those of the noises (Knapp & Carter 1976,
    doi:10.1109/TASSP.1976.1162830).

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
    valid = None
    if reference_valid is not None and moving_valid is not None:
        valid = (np.asarray(reference_valid, bool), np.asarray(moving_valid, bool))
    elif reference_valid is not None or moving_valid is not None:
        raise InputError("only one mask was given; both images' are needed, or neither")
    plan = Observation(**options)
    return bound_of(plan, as_numbers(scene, "scene"), as_numbers(offset, "offset"), valid=valid)


def bound_of(
    observation: Observation,
    scene: Float,
    offset: Float,
    *,
    valid: tuple[Float, Float] | None = None,
) -> Float:
    """The Cramer-Rao bound of one pair, see `pair_bound`; `valid`: usable pixels of both."""
    frame = observation.frame(scene, offset)
    ndim = scene.ndim
    spectrum = scipy.fft.rfftn(scene)
    k = frequencies(scene.shape)
    fields = [frame.binned(scene)]
    for axis, (f, n) in enumerate(zip(k, scene.shape, strict=True)):
        derivative = 1j * f * spectrum
        if n % 2 == 0:
            derivative[(slice(None),) * axis + (n // 2,)] = 0
        slope = scipy.fft.irfftn(derivative, s=scene.shape)
        fields.append(observation.binning * frame.binned(slope))
    variance = _variance(observation, frame, scene, offset)
    mean1, mean2 = (float(np.mean(v)) for v in variance)
    if mean1 + mean2 == 0:
        raise InputError("without any noise there is no bound; give noise or poisson")
    overlap = frame.overlap()
    fields.append(np.ones_like(fields[0]))
    if observation.slope is not None:
        for axis, n in enumerate(fields[0].shape):
            fields.append(np.ones_like(fields[0]) * along(np.linspace(-1, 1, n), axis, ndim))
    level = _relative(frame, variance, overlap)
    if level is not None:  # noise that varies over the field becomes uniform
        for field in fields:
            field[overlap] *= level
    rings, multiplicity = _full_plane(fields[0].shape)
    colour = _noise_colour(observation, rings.mode_frequency, multiplicity)
    n1, n2 = mean1 * colour, mean2 * colour
    power = _power_of(fields[0][overlap], rings.mode_frequency)
    weight = _best_weight(power, n1, n2)
    weight[0] = (n1[0] + n2[0]) ** -0.5
    shape = fields[0].shape
    weight = weight.reshape((*shape[:-1], shape[-1] // 2 + 1))
    use = np.ones([s.stop - s.start for s in overlap], dtype=bool)
    if valid is not None:
        use = frame.both(valid, overlap)
    columns = np.stack([filtered(field, weight)[overlap][use] for field in fields])
    nuisance = np.concatenate([columns[:1], columns[ndim + 1 :]])
    return _inverse(_projected(columns[1 : ndim + 1], nuisance))


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
    displacement = np.zeros(ndim) if offset is None else as_numbers(offset, "offset")
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
    own = own_variance(data, image_noise)
    window = MovableImage(data, periodic=False).window(start, shape, np.zeros(ndim), gradient=True)
    rings, _ = cosine_modes(window[0])
    radius = rings.mode_frequency
    modes = np.stack([cosine_modes(field)[1] for field in window])
    if own > 0:
        power = significant(rings, rings.mean(modes[0] ** 2), own)
    else:
        power = rings.mean(modes[0] ** 2)
    colour = _noise_colour(plan, radius, np.ones_like(radius))
    n1, n2 = (sigma**2 * colour for sigma in plan.sigmas)
    weight = _best_weight(rings.spread(power), n1, n2) ** 2
    signal, slopes = modes[0] * np.sqrt(weight), modes[1:] * np.sqrt(weight)
    information = _projected(slopes, signal[None])
    k = np.stack(
        np.broadcast_arrays(*(along(waves, a, ndim) for a, waves in enumerate(cosine_waves(shape))))
    ).reshape(ndim, -1)
    noise_share = np.diag((weight * own) @ (k**2).T)
    return np.asarray(np.sqrt(np.diag(_inverse(information - noise_share))))


def _variance(
    observation: Observation, frame: Frame, scene: Float, offset: Float
) -> tuple[Any, Any]:
    """Variance of the pixels of both images, in units of the scene."""
    variances: list[Any] = [sigma**2 for sigma in observation.sigmas]
    if observation.noise_map is not None:
        variances = [
            v * observation.map_of(shape) ** 2
            for v, shape in zip(variances, frame.shapes, strict=True)
        ]
    if observation.poisson is not None:
        first = np.clip(frame.cut(scene, 0), 0, None)
        second = np.clip(frame.cut(observation.moved(scene, offset), 1), 0, None)
        variances[0] = variances[0] + first / observation.poisson
        variances[1] = (
            variances[1]
            + (observation.gain * second + observation.background)
            / observation.poisson
            / observation.gain**2
        )
    return variances[0], variances[1]


def _relative(frame: Frame, variance: tuple[Any, Any], overlap: tuple[slice, ...]) -> Float | None:
    """Root of mean over local variance, on the overlap; None if it is the same everywhere."""
    if all(np.ndim(v) == 0 for v in variance):
        return None
    first, second = (np.broadcast_to(v, s) for v, s in zip(variance, frame.shapes, strict=True))
    local = first[overlap] + frame.moved(second, overlap)
    mean = float(np.mean(first) + np.mean(second))
    return np.asarray(np.sqrt(mean / np.maximum(local, 1e-12 * mean)))


def _noise_colour(observation: Observation, radius: Float, multiplicity: Float) -> Float:
    """Power of the noise against frequency, 1 on average."""
    if observation.noise_beam == 0:
        return np.ones_like(radius)
    power = gaussian(radius, observation.noise_beam / FWHM) ** 2
    mean = float(np.sum(power * multiplicity) / multiplicity.sum())
    return np.asarray(power / mean + WHITE_PART**2)


def _full_plane(shape: tuple[int, ...]) -> tuple[Rings, Float]:
    """Rings of a half spectrum, and how many modes of the full plane each entry stands for."""
    radius = np.sqrt(sum(f**2 for f in frequencies(shape))) / (2 * np.pi)
    multiplicity = np.full(radius.shape, 2.0)
    multiplicity[..., 0] = 1.0
    if shape[-1] % 2 == 0:
        multiplicity[..., -1] = 1.0
    return Rings(radius, multiplicity), multiplicity.ravel()


def _power_of(part: Float, radius: Float) -> Float:
    """Power against frequency of what the pair shows of the scene.

    Not of the whole scene: a crop of plain sky holds less than the photograph that it is from,
    and would get a bound that no estimate of that pair can reach. Cosine ramps keep what leaks
    from the edges below the noise.
    """
    taper: Any = 1.0
    for axis, n in enumerate(part.shape):
        place = (np.arange(n) + 0.5) / n
        ramp = np.clip(np.minimum(place, 1 - place) / RAMP, 0, 1)
        taper = taper * along(np.sin(np.pi / 2 * ramp) ** 2, axis, part.ndim)
    taper = taper / np.sqrt(np.mean(taper**2))
    tapered = (part - np.sum(part * taper) / np.sum(taper)) * taper
    rings, _ = _full_plane(part.shape)
    power = rings.mean(np.abs(scipy.fft.rfftn(tapered)).ravel() ** 2 / part.size)
    tiny = np.finfo(np.float64).tiny
    return np.asarray(np.exp(np.interp(radius, rings.frequency, np.log(np.maximum(power, tiny)))))


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
