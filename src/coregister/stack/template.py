"""What the frames of a stack show together: weighted sums, their mean, and what it can tell.

With ``M`` frames, a scene of power ``S`` and noise ``N``, the maximum-likelihood weight of a mode
is ``(M - 1) S / (N (M S + N))``; the step of a frame is that of the score against the mean. The
noise of the mean is shared by all frames: what is theirs alone is kept apart, so that differences
between frames have true bars too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.equations import known_directions
from coregister.estimator.movable import MovableImage
from coregister.estimator.rings import Rings
from coregister.estimator.spectrum import Spectra, fit_spectra
from coregister.products import dot, products
from coregister.stack.basis import Waves
from coregister.stack.bench import Bench, Part

Float = NDArray[np.float64]


class Uneven(NamedTuple):
    """Weighted sums over frames with holes, or whose pixels count by their errors.

    Attributes
    ----------
    halves : (2, 1 + ndim, ...) array
        Of two halves, values and derivatives, where they are seen.
    filled : (1 + ndim, ...) array
        Of what stands in their holes.
    weights : (2, ...) array
        Of what is seen.
    """

    halves: Float
    filled: Float
    weights: Float


class Sums(NamedTuple):
    """Weighted sums over a block of frames.

    Attributes
    ----------
    images : two of MovableImage or None
        Of two halves of those without holes and weights.
    even : (2,) array
        Their weights.
    uneven : Uneven or None
        Those of the others.
    total : float
        Of the weights of all.
    """

    images: tuple[MovableImage | None, MovableImage | None]
    even: Float
    uneven: Uneven | None
    total: float

    def plus(self, other: Sums) -> Sums:
        """Those of two blocks."""
        first, second = map(_plus, self.images, other.images)
        uneven = self.uneven or other.uneven
        if self.uneven is not None and other.uneven is not None:
            uneven = Uneven(*(a + b for a, b in zip(self.uneven, other.uneven, strict=True)))
        return Sums((first, second), self.even + other.even, uneven, self.total + other.total)


def _plus(one: MovableImage | None, other: MovableImage | None) -> MovableImage | None:
    if one is None or other is None:
        return one or other
    return one.plus(other)


def added(bench: Bench, parts: Iterable[Part]) -> Sums:
    """Sums over some frames: of spectra, unless there are holes or weights."""
    images: list[MovableImage | None] = [None, None]
    even, uneven, total = np.zeros(2), None, 0.0
    for part in parts:
        half, frame = part.half, part.frame
        total += frame.weight
        if part.ready.plain:
            moved = part.ready.movable.moved(frame.offset, frame.weight / frame.gain)
            images[half] = _plus(images[half], moved)
            even[half] += frame.weight
            continue
        uneven = uneven or _nothing(bench.common.shape)
        fields, holes, weight = bench.fields(part, gradient=True)
        seen = np.full(bench.common.shape, frame.weight)
        if weight is not None:
            seen *= weight**2
        if holes is not None:
            seen[holes] = 0.0
        for which, field in enumerate(fields):
            uneven.halves[half, which] += seen * field
            if holes is not None:
                uneven.filled[which][holes] += frame.weight * field[holes]
        uneven.weights[half] += seen
    return Sums((images[0], images[1]), even, uneven, total)


def _nothing(shape: tuple[int, ...]) -> Uneven:
    fields = 1 + len(shape)
    return Uneven(np.zeros((2, fields, *shape)), np.zeros((fields, *shape)), np.zeros((2, *shape)))


class Template(NamedTuple):
    """What the frames show together.

    Attributes
    ----------
    fields : (1 + ndim, ...) array
        The mean and its derivatives, in pixels: what stands in holes.
    mean : (n,) array
        Modes.
    gradient : (ndim, n) array
        Of the mean, made insensitive to the gain.
    weight : (n,) array
        Of a mode.
    white : (n,) array
        Inverse root of the noise power of a frame of weight 1.
    pulls : (ndim, ...) array
        Gradients whose product with a whitened residual is the score, in pixels.
    shine : array
        The same for the gain.
    informed, seen : array or None
        Where the information is, read from two halves, and the sum of the weights there; None
        where all pixels count alike.
    values, vectors : array
        Information along its principal directions.
    power : array
        Of the mean, ring by ring.
    rough : array
        Noise power of a frame of weight 1, by the difference of two halves, ring by ring.
    total : float
        Sum of the weights.
    finest : float
        Mean square of the frequencies that tell the offset, (rad/px)^2.
    """

    fields: Float
    mean: Float
    gradient: Float
    weight: Float
    white: Float
    pulls: Float
    shine: Float
    informed: Float | None
    seen: Float | None
    values: Float
    vectors: Float
    power: Float
    rough: Float
    total: float
    finest: float

    def left_of(self, step: Float) -> float:
        """The share of a step, px, that it is off by, since a sine is no angle."""
        return self.finest * float(step @ step) / 6


def template_of(
    bench: Bench, sums: Sums, count: int, noise: Float | None, *, single: bool
) -> Template:
    """The mean of all frames, its spectra and what is known about an offset from it.

    Parameters
    ----------
    bench : Bench
    sums : Sums
    count : int
        How many there are.
    noise : array or None
        Power of that of a frame of weight 1, ring by ring; None if it is not known yet.
    single : bool
        Single precision will do.
    """
    rings, total = bench.rings, sums.total
    fields, (mean, *slopes), coupled, weights = _of_waves(bench, sums) or _of_pixels(bench, sums)
    apart = coupled[0][0] - coupled[1][0]
    shares = [float(np.mean(held)) for held in weights]
    rough = bench.basis.power(apart) / sum(1 / max(w, 1e-300) for w in shares)
    noise = rough if noise is None else noise
    power = bench.basis.power(mean)
    spectra = spectra_of(bench.rings, power, noise, total, count)
    noise, scene = spectra.residual / 2, spectra.scene
    weight = rings.spread((count - 1) * scene / (noise * (count * scene + noise)))
    gradient = np.stack(slopes)
    weighted = (weight * mean)[np.newaxis]
    energy = dot(weighted, mean)
    coupling = products(gradient, weighted)[:, 0] / max(energy, 1e-300)
    gradient = gradient - coupling[:, None] * mean
    parts = [half[1:] - coupling[:, None] * half[0] for half in coupled]
    cross = products(parts[0] * weight, parts[1])
    information = (cross + cross.T) / 2
    curvature = rings.spread((2 * noise / total) ** 2) * weight**2
    curvature = curvature.reshape(bench.basis.shape)
    squares = bench.basis.squares
    moments = np.array([[np.sum(curvature * one * other) for other in squares] for one in squares])
    values, vectors = known_directions(information, moments)
    telling = weight * gradient**2
    finest = telling @ np.ravel(sum(squares) * np.ones(bench.basis.shape))
    finest = float(np.max(finest / np.maximum(telling.sum(axis=1), 1e-300)))
    root = np.sqrt(rings.spread(noise))
    white = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    field_of = bench.basis.field
    *pulls, shine = (field_of(g * weight * root) for g in (*gradient, mean))
    informed = seen = None
    if np.ptp(weights, axis=tuple(range(1, 1 + bench.ndim))).any():
        first, second = (np.stack([field_of(g * weight * root) for g in part]) for part in parts)
        informed = np.einsum("i...,i...->...", first, second)
        seen = weights.sum(axis=0)
        seen = np.where(seen > 0, seen, total)
    kind = np.float32 if single else np.float64
    return Template(
        fields,
        mean.astype(kind, copy=False),
        gradient.astype(kind, copy=False),
        weight.astype(kind, copy=False),
        white.astype(kind, copy=False),
        np.stack(pulls).astype(kind, copy=False),
        shine.astype(kind, copy=False),
        informed,
        seen,
        values,
        vectors,
        power,
        rough,
        total,
        finest,
    )


class _Means(NamedTuple):
    """Means of frames, and their derivatives.

    Attributes
    ----------
    fields : (1 + ndim, ...) array
    modes : (1 + ndim, n) array
    halves : two (1 + ndim, n) arrays
        Modes of the mean of each half.
    weights : (2, ...) array
        Of what each half shows; broadcasts to the fields.
    """

    fields: Float
    modes: Float
    halves: list[Float]
    weights: Float


def _of_waves(bench: Bench, sums: Sums) -> _Means | None:
    """Means of frames that wrap and have no holes, without a way through pixels; None of others."""
    basis, (first, second) = bench.basis, sums.images
    if sums.uneven is not None or first is None or second is None or not isinstance(basis, Waves):
        return None
    of_sums = [basis.with_slopes(image) for image in (first, second)]
    modes = (of_sums[0] + of_sums[1]) / sums.total
    return _Means(
        np.stack([basis.field(one) for one in modes]),
        modes,
        [one / weight for one, weight in zip(of_sums, sums.even, strict=True)],
        sums.even.reshape(2, *(1,) * bench.ndim),
    )


def _of_pixels(bench: Bench, sums: Sums) -> _Means:
    """Means of all frames: what no frame shows is what they are filled with."""
    common = bench.common
    halves, filled, weights = sums.uneven or _nothing(common.shape)
    halves = halves.copy()
    weights = weights + sums.even.reshape(2, *(1,) * bench.ndim)
    first = common.starts[0] - common.whole[0]
    for half, image in zip(halves, sums.images, strict=True):
        if image is not None:
            moved = image.window(first, common.shape, np.zeros(bench.ndim), gradient=True)
            moved[0] -= moved[0].mean()
            half += moved
    seen = weights.sum(axis=0)
    blind = seen <= 0
    fields = np.where(blind, filled, halves.sum(axis=0)) / np.where(blind, sums.total, seen)
    coupled = []
    for half, held in zip(halves, weights, strict=True):
        own = np.where(held > 0, half / np.where(held > 0, held, 1.0), fields)
        coupled.append(bench.modes(list(own)))
    return _Means(fields, bench.modes(list(fields.copy())), coupled, weights)


def spectra_of(rings: Rings, power: Float, noise: Float, total: float, count: int) -> Spectra:
    """Smooth spectra of the scene and, twice, of the noise of a frame of weight 1."""
    noise = np.maximum(noise, 1e-300)
    scene = power - noise / total
    both = np.maximum(scene, 0.0) + noise
    return fit_spectra(
        xx=both, yy=both, xy=scene, residual=2 * noise, count=rings.count * (count - 1)
    )
