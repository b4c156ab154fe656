"""A bound on what no residual shows: power folded back from above the Nyquist frequency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.equations import Equations
from coregister.estimator.movable import FADE, faded
from coregister.estimator.rings import Rings, cosine_rings, cosine_sums, cosine_waves
from coregister.fourier import along
from coregister.products import dot

Float = NDArray[np.float64]

#: of the random part of aliasing, in sigma, what is called the largest error
ALIASED_SIGMA = 4.0
#: error by the aliasing of a single star, in bars, from which it is asked how many there are
SPARSE_ALIASING = 0.03
#: power that is none
TINY = 1e-300


def aliasing(comparison: Comparison, equations: Equations, offset: Float, bread: Float) -> Float:
    """Bound on the error by power above the Nyquist frequency, which no residual shows, px."""
    rings, spectra = comparison.rings, equations.spectra
    near = (rings.frequency > 0.36) & (rings.frequency < 0.42)
    if not near.any() or np.all(spectra.scene[near] < 0.01 * spectra.residual[near]):
        return np.zeros(len(bread))
    shape, dtype = comparison.window.shape, comparison.dtype
    fades = [faded(k.ravel()) for k in comparison.k]
    passed = _passed(shape, comparison.step)
    folded = rings.at_bins(
        folded_power(rings, equations.powers[2], spectra.scene, spectra.noise_product, passed.share)
    )
    weight, scene = rings.at_bins(spectra.weight), rings.at_bins(spectra.scene)
    meeting = np.sqrt(folded * scene) * weight

    def at_modes(values: Float, factors: Sequence[Float]) -> Float:
        """Values on the narrow bins, at every mode, times a factor along each axis."""
        field = rings.at_modes(values, dtype).reshape(shape)
        for axis, factor in enumerate(factors):
            field *= along(factor.astype(dtype, copy=False), axis, len(shape))
        return field.ravel()

    coherent, alike = passed.powers @ (folded * weight), passed.amplitudes @ meeting
    power = at_modes(folded * weight**2, [fade**2 for fade in fades])
    chance = np.empty_like(bread)
    pulled = np.empty_like(power)
    for i, row in enumerate(equations.gradient):
        np.multiply(row, power, out=pulled)
        for j in range(i + 1):
            chance[i, j] = chance[j, i] = dot(pulled, equations.gradient[j])

    def density() -> tuple[Float, Float]:
        amplitude = np.sqrt(2 * np.pi * rings.bin_frequency * meeting / np.maximum(scene, TINY))
        filtered = at_modes(amplitude, [np.sqrt(fade) for fade in fades])
        share = float(spectra.share)
        second, left = (
            comparison.untransform(np.multiply(filtered, modes), lost=True)
            for modes in (equations.scene, equations.residual)
        )
        first = second - share * left  # either image, in units of moving
        left *= 1 - share
        second += left
        first *= second
        filtered *= filtered
        filtered *= rings.at_modes(scene, dtype)
        return first, filtered

    return aliased(coherent, chance, alike, density, bread, offset)


def features(density: Float, power: Float) -> float:
    """How many independent parts a field has.

    That is its number of modes, if it is Gaussian, and less if few pixels hold most of it.

    Parameters
    ----------
    density : array
        Square of the field, or product of two noisy images of it.
    power : array
        Power of all its modes.
    """
    peaked = density.size * dot(density, density) / max(float(density.sum()) ** 2, TINY)
    modes = float(power.sum()) ** 2 / max(dot(power, power), TINY)
    return max(3.0 * modes / peaked, 1.0)


class _Passed(NamedTuple):
    """What is left of the modes of images that were both moved.

    Attributes
    ----------
    share : (size,) array
        Of the power on each ring.
    amplitudes, powers : (ndim, bins) array
        Sums over the narrow bins of the rings, times the frequency along each axis.
    """

    share: Float
    amplitudes: Float
    powers: Float


@lru_cache(maxsize=24)
def _passed(shape: tuple[int, ...], step: int) -> _Passed:
    rings = cosine_rings(shape, step)
    k = cosine_waves(shape, step)
    fades = [faded(f) for f in k]

    def along_axes(factors: Sequence[Float]) -> Float:
        sums = []
        for axis, frequency in enumerate(k):
            turned = [*factors[:axis], factors[axis] * frequency, *factors[axis + 1 :]]
            sums.append(cosine_sums(shape, step, turned))
        return np.stack(sums)

    twice = [fade**2 for fade in fades]
    share = rings.average(cosine_sums(shape, step, twice))
    return _Passed(share, along_axes(fades), along_axes(twice))


def folded_power(
    rings: Rings,
    cross: Float,
    scene: Float,
    noise_product: Float,
    passed: Float | float = 1.0,
) -> Float:
    """Power that folds back from above the Nyquist frequency onto each ring.

    The cross-spectrum, which holds no noise, is continued beyond Nyquist along the slope that it
    has below.

    Parameters
    ----------
    rings : Rings
    cross : array
        Ring averages of the cross-spectrum, up to Nyquist.
    scene, noise_product : array
        Smooth power of the scene; product of the two noise powers.
    passed : array or float
        Share of the power that has not faded, where both images were moved.
    """
    f, count = rings.frequency, rings.count
    # where little passed, little is known
    passed = np.full(f.shape, np.maximum(passed, 1e-9))
    count, cross = count * passed, cross / passed
    inner, outer = (f > 0.36) & (f <= 0.43), (f > 0.45) & (f <= 0.5)
    if not inner.any() or not outer.any():
        return np.zeros(rings.size)
    weight = count[outer] / count[outer].sum()
    hidden = 2 * np.sqrt(float(weight**2 @ (noise_product[outer] / count[outer])))
    end = float(weight @ cross[outer])
    if end < hidden:  # not seen: no more than the smooth spectrum has before it fades
        end = min(hidden, float(np.interp(FADE[0], f, scene)))
    end = max(end, 1e-300)
    start = max(float(cross[inner] @ count[inner] / count[inner].sum()), end)
    near, far = (float(passed[part] @ f[part] / passed[part].sum()) for part in (inner, outer))
    slope = np.log(end / start) / (far - near)
    mirrored = 1.0 - np.minimum(f, 0.5)
    return np.asarray(end * np.exp(slope * (mirrored - far)))


def aliased(
    coherent: Float,
    chance: Float,
    alike: Float,
    density: Callable[[], tuple[Float, Float]],
    bread: Float,
    offset: Float,
) -> Float:
    """Largest error that folded power makes.

    Folded power that meets folded power in the other image has turned by one period a pixel more
    than its frequency says, which pulls all modes of an axis the same way, by `coherent` times
    the sine of that; none for whole pixels. Where it meets the scene, signs are random and four
    sigma are taken: of `chance`, if each mode has its own sign, or of `alike` over the root of
    the number of features, since the modes of a star all have the sign of its place between the
    pixels, and few stars do not average it out. How many there are the `density` of what is
    pulled tells, see `features`; it is asked for where it matters.
    """
    random = np.sqrt(np.maximum((bread @ chance @ bread).diagonal(), 0.0))
    sparse = np.abs(bread) @ alike
    if np.any(sparse > SPARSE_ALIASING * np.sqrt(np.maximum(bread.diagonal(), 0.0))):
        sparse = sparse / np.sqrt(features(*density()))
    pull = coherent * np.abs(np.sin(2 * np.pi * offset))
    return np.asarray(np.abs(bread) @ pull + ALIASED_SIGMA * np.maximum(random, sparse))
