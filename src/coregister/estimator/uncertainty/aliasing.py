"""A bound on what no residual shows: power folded back from above the Nyquist frequency."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.compare import Comparison
from coregister.estimator.equations import Equations
from coregister.estimator.movable import FADE, faded
from coregister.estimator.rings import Rings

Float = NDArray[np.float64]

#: of the random part of aliasing, in sigma, what is called the largest error
ALIASED_SIGMA = 4.0
#: error by the aliasing of a single star, in bars, from which it is asked how many there are
SPARSE_ALIASING = 0.03


def aliasing(comparison: Comparison, equations: Equations, offset: Float, bread: Float) -> Float:
    """Bound on the error by power above the Nyquist frequency, which no residual shows, px."""
    rings, spectra = comparison.rings, equations.spectra
    near = (rings.frequency > 0.36) & (rings.frequency < 0.42)
    if not near.any() or np.all(spectra.scene[near] < 0.01 * spectra.residual[near]):
        return np.zeros(len(bread))
    fades = [faded(k).astype(comparison.dtype, copy=False) ** 2 for k in comparison.k]
    passed = rings.mean(_product(fades))
    folded = folded_power(rings, equations.cross, spectra.scene, spectra.noise_product, passed)
    transmitted = rings.spread(folded, comparison.dtype).reshape(comparison.window.shape)
    for fade in fades:
        transmitted *= fade
    power = transmitted.ravel() * equations.weight
    scene = np.maximum(
        rings.spread(spectra.scene, comparison.dtype), np.finfo(comparison.dtype).tiny
    )
    meeting = np.sqrt(transmitted.ravel() * scene) * equations.weight
    coherent, alike = (_along_axes(comparison, field) for field in (power, meeting))
    power *= equations.weight
    chance = np.empty_like(bread)
    for i, row in enumerate(equations.gradient):
        pulled = row * power
        chance[i] = [float(pulled @ other) for other in equations.gradient]

    def density() -> tuple[Float, Float]:
        radius = np.sqrt(sum(k**2 for k in comparison.k)).ravel().astype(comparison.dtype)
        filtered = np.sqrt(radius * meeting / scene)
        first, second = (
            comparison.untransform(filtered * modes) for modes in comparison.apart(equations)
        )
        return first * second, filtered**2 * scene

    return aliased(coherent, chance, alike, density, bread, offset)


def _along_axes(comparison: Comparison, values: Float) -> Float:
    """Sums over the modes of values times the frequency along each axis."""
    field = values.reshape(comparison.window.shape)
    axes = range(field.ndim)
    planes = [field.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes]
    return np.array(
        [float(k.ravel() @ plane) for k, plane in zip(comparison.k, planes, strict=True)]
    )


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
    peaked = density.size * float(np.sum(density**2)) / max(float(density.sum()) ** 2, 1e-300)
    modes = float(power.sum()) ** 2 / max(float(np.sum(power**2)), 1e-300)
    return max(3.0 * modes / peaked, 1.0)


def _product(factors: Sequence[Float]) -> Float:
    """Outer product of arrays that vary along one axis each."""
    total = factors[0]
    for factor in factors[1:]:
        total = total * factor
    return total


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
    passed = np.broadcast_to(np.maximum(passed, 1e-9), f.shape)
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
    near, far = (float(np.average(f[part], weights=passed[part])) for part in (inner, outer))
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
