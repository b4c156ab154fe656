"""What the joint optimum is made of: every frame against what all of them show together.

All frames are moved by their offsets, cut to the window that all of them show, and compared in
its cosine transform with their weighted mean. With ``M`` frames, a scene of power ``S`` and noise
``N``, the maximum-likelihood weight of a mode is ``(M - 1) S / (N (M S + N))``; the step of a
frame is that of the score against the mean. The noise of the mean is shared by all frames: what
is theirs alone is kept apart (`own`), so that differences between frames have true bars too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.equations import known_directions
from coregister.estimator.fill import MAX_SPIKES, outliers
from coregister.estimator.movable import FADE, MovableImage
from coregister.estimator.rings import Rings, cosine_rings
from coregister.estimator.spectrum import Spectra, fit_spectra
from coregister.estimator.uncertainty.covariance import spread_of
from coregister.estimator.uncertainty.misfit import distortion
from coregister.estimator.window import MARGIN, fast_length
from coregister.stack.ready import Ready

Float = NDArray[np.float64]

#: bars from its place within which what stands out of a frame is believed
SETTLED = 3.0
#: pixels around an invalid one that are felt when a frame is moved
FELT = 2
#: share of the information below which what a frame shows is not told from nothing
LEAST_SEEN = 0.02
#: fewest samples along an axis of the window that all frames show
FEWEST = 24


class Common(NamedTuple):
    """The window that all frames show: where it begins in each, and its samples."""

    whole: NDArray[np.int_]
    starts: NDArray[np.int_]
    shape: tuple[int, ...]
    step: int
    periodic: bool = False


def common_window(
    offsets: Float, shape: tuple[int, ...], step: int, *, periodic: bool
) -> Common | None:
    """The window at the nearest whole offsets; None if hardly anything is left of it."""
    whole = np.rint(offsets).astype(int)
    if periodic:
        return Common(whole, whole, tuple(n // step for n in shape), step, True)
    first = np.maximum(0, -whole.min(axis=0)) + MARGIN * step
    last = np.array(shape) - np.maximum(0, whole.max(axis=0)) - MARGIN * step
    sizes = tuple(fast_length(max(int(n), 1), parity=False) for n in (last - first) // step)
    if min(sizes) < FEWEST:
        return None
    return Common(whole, whole + first, sizes, step)


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


@dataclass
class Frame:
    """What is known of one frame.

    Attributes
    ----------
    offset : (ndim,) array
        px.
    gain, weight : float
        Gain against the mean; inverse of its noise power over that of the median frame.
    own : (ndim, ndim) array
        Covariance that its noise alone brings.
    misfit : float
        Probability of a residual like its own, if it shows the scene.
    odd : float
        How far the spectrum of its residual is from that of the others: 1 within the noise.
    step : float
        Length of the last step, in bars.
    lost : bool array or None
        Pixels that no other frame shows so: cosmic rays, say.
    """

    offset: Float
    gain: float
    weight: float
    own: Float
    misfit: float
    odd: float
    step: float
    lost: NDArray[np.bool_] | None = None


class Sums(NamedTuple):
    """Weighted sums over a block of frames.

    Attributes
    ----------
    images : two of MovableImage or None
        Of two halves of those without holes and weights.
    halves : (2, 1 + ndim, ...) array
        Of two halves of the others, values and derivatives, where they are seen.
    filled : (1 + ndim, ...) array
        Of what stands in their holes.
    weights : (2, ...) array
        Of those that are seen.
    total : float
        Of the weights of all.
    """

    images: tuple[MovableImage | None, MovableImage | None]
    halves: Float
    filled: Float
    weights: Float
    total: float

    def plus(self, other: Sums) -> Sums:
        """Those of two blocks."""
        first, second = map(_plus, self.images, other.images)
        return Sums(
            (first, second),
            self.halves + other.halves,
            self.filled + other.filled,
            self.weights + other.weights,
            self.total + other.total,
        )


def _plus(one: MovableImage | None, other: MovableImage | None) -> MovableImage | None:
    if one is None or other is None:
        return one or other
    return one.plus(other)


class Part(NamedTuple):
    """A frame that takes part in a pass.

    Attributes
    ----------
    row : int
        Of the window's starts.
    half : int
        The half that it counts to.
    frame : Frame
        What is known of it.
    ready : Ready
        The frame itself.
    """

    row: int
    half: int
    frame: Frame
    ready: Ready


class Seen(NamedTuple):
    """What a pass tells of a frame.

    Attributes
    ----------
    frame : Frame
    power : array
        Of its noise, ring by ring, by what is left over.
    whole, even : bool
        It has no holes; its pixels count alike.
    left : array or None
        What is left over, whitened, over its scatter.
    """

    frame: Frame
    power: Float
    whole: bool
    even: bool
    left: Float | None


class Bench:
    """The frames of one window, and how they are moved.

    Parameters
    ----------
    common : Common
    template : Template, optional
        What stands in holes; without one, what they are filled with.
    last : bool
        What is left over is looked at: samples are fine enough to tell in which pixel it stands.
    """

    def __init__(
        self, common: Common, template: Template | None = None, *, last: bool = True
    ) -> None:
        self.common = common
        self._last = last
        self._known = None if template is None else template.fields
        self._of: Template | None = None
        self._products: tuple[Float, Float] = (np.empty(0), np.empty(0))
        self.rings: Rings = cosine_rings(common.shape, common.step)
        self.ndim = len(common.shape)
        self.k = [np.pi * np.arange(n) / (n * common.step) for n in common.shape]

    def fields(
        self, part: Part, *, gradient: bool
    ) -> tuple[list[Float], NDArray[np.bool_] | None, Float | None]:
        """A frame moved onto the window, over its gain, and its derivatives.

        Also its holes there, and 1/sigma of what is seen where that varies.
        """
        common, row, frame = self.common, part.row, part.frame
        fields = part.ready.movable.window(
            common.starts[row],
            common.shape,
            frame.offset - common.whole[row],
            gradient=gradient,
        )
        for field in fields:
            field /= frame.gain
        holes, weight = self._holes(row, part.ready), part.ready.weight
        if weight is not None:
            weight = weight[self._places(row, weight.shape)]
            if holes is not None:
                weight = weight * ~holes
        if holes is None or self._known is None:
            fields[0] -= fields[0].mean(dtype=np.float64)
        else:
            fields[0] -= np.mean((fields[0] - self._known[0])[~holes], dtype=np.float64)
            for field, known in zip(fields, self._known, strict=False):
                field[holes] = known[holes]
        return fields, holes, weight

    def _holes(self, row: int, ready: Ready) -> NDArray[np.bool_] | None:
        """Samples of the window that an invalid pixel is felt in; None if there is none."""
        if ready.bad is None:
            return None
        from scipy import ndimage

        common, full = self.common, ready.movable.size
        # the last but one sample that feels a pixel at either side; its neighbours do too
        ends = []
        for at, start, n, size in zip(
            np.unravel_index(ready.bad, full), common.starts[row], common.shape, full, strict=True
        ):
            place = (at - start) / common.step
            if common.periodic:
                place = (at - start) % size / common.step
            ends.append(
                [np.ceil(place - FELT).astype(int) + 1, np.floor(place + FELT).astype(int) - 1]
            )
            if common.periodic:
                ends[-1] = [end % n for end in ends[-1]]
        bad = np.zeros([n + 2 for n in common.shape], dtype=bool)  # one more on each side
        for corner in np.ndindex(*(2,) * self.ndim):
            index = np.stack([end[side] + 1 for end, side in zip(ends, corner, strict=True)])
            inside = np.all((index >= 0) & (index < np.array(bad.shape)[:, None]), axis=0)
            bad[tuple(index[:, inside])] = True
        middle = (slice(1, -1),) * self.ndim
        if common.periodic:
            holes = ndimage.maximum_filter(bad[middle], 3, mode="wrap")
        else:
            holes = ndimage.maximum_filter(bad, 3)[middle]
        return holes if holes.any() and not holes.all() else None

    def _places(self, row: int, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
        """Pixels of a frame where the samples of the window lie."""
        common = self.common
        places = (
            (s + common.step * np.arange(n)) % full
            for s, n, full in zip(common.starts[row], common.shape, shape, strict=True)
        )
        return np.ix_(*places)

    @staticmethod
    def _transform(fields: Sequence[Float]) -> Float:
        modes = np.stack(
            [scipy.fft.dctn(f, norm="ortho", overwrite_x=True).ravel() for f in fields]
        )
        modes[:, 0] = 0.0
        return modes

    def add(self, parts: Iterable[Part]) -> Sums:
        """Sums over some frames: of spectra, unless there are holes or weights."""
        shape = self.common.shape
        halves = np.zeros((2, 1 + self.ndim, *shape))
        filled = np.zeros((1 + self.ndim, *shape))
        weights = np.zeros((2, *shape))
        images: list[MovableImage | None] = [None, None]
        total = 0.0
        for part in parts:
            half, frame = part.half, part.frame
            total += frame.weight
            if part.ready.plain:
                moved = part.ready.movable.moved(frame.offset, frame.weight / frame.gain)
                images[half] = _plus(images[half], moved)
                weights[half] += frame.weight
                continue
            fields, holes, weight = self.fields(part, gradient=True)
            seen = np.full(shape, frame.weight)
            if weight is not None:
                seen *= weight**2
            if holes is not None:
                seen[holes] = 0.0
            for which, field in enumerate(fields):
                halves[half, which] += seen * field
                if holes is not None:
                    filled[which][holes] += frame.weight * field[holes]
            weights[half] += seen
        return Sums((images[0], images[1]), halves, filled, weights, total)

    def template(self, sums: Sums, count: int, noise: Float | None, *, single: bool) -> Template:
        """The mean of all frames, its spectra and what is known about an offset from it.

        Parameters
        ----------
        sums : Sums
        count : int
            How many there are.
        noise : array or None
            Power of that of a frame of weight 1, ring by ring; None if it is not known yet.
        single : bool
            Single precision will do.
        """
        rings, total, common = self.rings, sums.total, self.common
        halves = sums.halves.copy()
        first = common.starts[0] - common.whole[0]
        for half, image in zip(halves, sums.images, strict=True):
            if image is not None:
                moved = image.window(first, common.shape, np.zeros(self.ndim), gradient=True)
                moved[0] -= moved[0].mean()
                half += moved
        seen = sums.weights.sum(axis=0)
        fields = halves.sum(axis=0)
        blind = seen <= 0  # what no frame shows is what they are filled with
        fields = np.where(blind, sums.filled, fields) / np.where(blind, total, seen)
        mean, *slopes = self._transform(list(fields.copy()))
        coupled = []
        for half, weights in zip(halves, sums.weights, strict=True):
            own = np.where(weights > 0, half / np.where(weights > 0, weights, 1.0), fields)
            coupled.append(self._transform(list(own)))
        apart = coupled[0][0] - coupled[1][0]
        shares = [float(np.mean(weights)) for weights in sums.weights]
        rough = rings.mean(apart * apart) / sum(1 / max(w, 1e-300) for w in shares)
        noise = rough if noise is None else noise
        power = rings.mean(mean * mean)
        spectra = self._spectra(power, noise, total, count)
        noise, scene = spectra.residual / 2, spectra.scene
        weight = rings.spread((count - 1) * scene / (noise * (count * scene + noise)))
        gradient = np.stack(slopes)
        energy = float((weight * mean) @ mean)
        coupling = (gradient * weight) @ mean / max(energy, 1e-300)
        gradient = gradient - coupling[:, None] * mean
        parts = [half[1:] - coupling[:, None] * half[0] for half in coupled]
        cross = (parts[0] * weight) @ parts[1].T
        information = (cross + cross.T) / 2
        squares = [k**2 for k in self.k]
        field = (rings.spread((2 * noise / total) ** 2) * weight**2).reshape(self.common.shape)
        moments = np.empty((self.ndim, self.ndim))
        for i in range(self.ndim):
            for j in range(i, self.ndim):
                plane = field.sum(axis=tuple(a for a in range(self.ndim) if a not in (i, j)))
                value = squares[i] ** 2 @ plane if i == j else squares[i] @ plane @ squares[j]
                moments[i, j] = moments[j, i] = value
        values, vectors = known_directions(information, moments)
        root = np.sqrt(rings.spread(noise))
        white = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        *pulls, shine = (self._field(g * weight * root) for g in (*gradient, mean))
        informed = None
        if np.ptp(sums.weights, axis=tuple(range(1, 1 + self.ndim))).any():
            first, second = (
                np.stack([self._field(g * weight * root) for g in part]) for part in parts
            )
            informed = np.einsum("i...,i...->...", first, second)
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
            None if informed is None else np.where(blind, total, seen),
            values,
            vectors,
            power,
            rough,
            total,
        )

    def _spectra(self, power: Float, noise: Float, total: float, count: int) -> Spectra:
        """Smooth spectra of the scene and, twice, of the noise of a frame of weight 1."""
        noise = np.maximum(noise, 1e-300)
        scene = power - noise / total
        both = np.maximum(scene, 0.0) + noise
        return fit_spectra(
            xx=both, yy=both, xy=scene, residual=2 * noise, count=self.rings.count * (count - 1)
        )

    def judged(self, seen: Sequence[Seen], noise: Float, template: Template, count: int) -> None:
        """Weights, and whether frames fit, now that it is known what noise all of them have."""
        noise = self._spectra(template.power, noise, template.total, count).residual / 2
        rings = self.rings
        inside = rings.frequency < FADE[0] / self.common.step
        number = rings.count[inside]
        for one in seen:
            power = one.frame.weight * one.power[inside] / noise[inside]
            level = float(number @ power / number.sum())
            chi2 = float(number @ (power / level - 1) ** 2) / 2
            one.frame.weight /= max(level, 1e-12)
            one.frame.misfit = min(one.frame.misfit, _tail(chi2, number.size))
            one.frame.odd = chi2 / number.size

    def _field(self, modes: Float) -> Float:
        return np.asarray(scipy.fft.idctn(modes.reshape(self.common.shape), norm="ortho"))

    def improve(self, part: Part, template: Template) -> Seen:
        """One frame against the others: its step and gain, what is left over, and its bars.

        What is left over is looked at only if the samples are fine enough.
        """
        row, frame, ready = part.row, part.frame, part.ready
        fields, holes, weight = self.fields(part, gradient=False)
        white, pulls = template.white, template.pulls
        pulled, weighted_mean = self._weighted(template)
        energy = float(weighted_mean @ template.mean)
        if weight is None:
            left = self._transform(fields)[0]
            left -= template.mean
            excess = float(weighted_mean @ left) / max(energy, 1e-300)
            left -= left.dtype.type(excess) * template.mean
            score = pulled @ left
        else:  # noise is even once what is left over is divided by it; so are the gradients
            pulls, shine = weight * pulls, weight * template.shine
            apart = fields[0] - template.fields[0]
            apart -= float(np.average(apart, weights=weight**2))
            left, mean = self._transform([weight * apart, weight * template.fields[0]])
            energy = float(np.vdot(shine, shine))
            excess = float(np.vdot(shine, self._field(left * white))) / max(energy, 1e-300)
            left -= excess * mean
            score = np.tensordot(pulls, self._field(left * white), self.ndim)
        inverse = np.divide(
            1.0, template.values, out=np.zeros_like(template.values), where=template.values > 0
        )
        seen_share, share = 1.0, min(frame.weight / template.total, 0.9)
        if template.informed is not None and (holes is not None or weight is not None):
            counts = np.ones(self.common.shape) if weight is None else weight**2
            if holes is not None:  # no news from there
                counts = counts * ~holes
            assert template.seen is not None
            known = counts * template.informed
            mine = float(known.sum()) / float(template.informed.sum())
            if mine > LEAST_SEEN:  # of the mean, the frame is more where it is good, others not
                part_of_mean = np.vdot(known, counts / template.seen) / float(known.sum())
                share = float(np.clip(frame.weight * part_of_mean, 0.0, 0.9))
            seen_share = max(mine, LEAST_SEEN)
        bread = (template.vectors * inverse) @ template.vectors.T / seen_share
        step = -bread @ score
        # of what is left the step takes its part: what stays is looked at
        for along, slope in zip(step, template.gradient, strict=True):
            left += left.dtype.type(along) * slope
        improved = replace(
            frame,
            offset=frame.offset + np.clip(step, -0.7 * self.common.step, 0.7 * self.common.step),
            gain=frame.gain * (1 + float(np.clip(excess, -0.5, 0.5))),
            misfit=1.0,
        )
        power = self.rings.mean(left * left) / (1 - share)
        if not self._last:
            known = template.vectors.T @ step
            improved.step = float(np.sqrt(seen_share * template.values @ known**2))
            return Seen(improved, power, holes is None, weight is None, None)
        residual = self._field(left * white)
        seen = spread_of(residual, pulls, bread)
        student = seen.dof / (seen.dof - 2)
        improved.misfit = distortion(residual, pulls)
        improved.step = float(np.sqrt(np.abs(step @ np.linalg.pinv(seen.seen) @ step)))
        improved.own = student * seen.seen / (1 - share)
        if improved.step <= SETTLED:  # a frame in the wrong place has many
            standing = residual if holes is None else residual * ~holes
            improved.lost = self._lost(row, frame.lost, standing, ready.movable.size)
        residual /= max(float(np.std(residual)), 1e-300)
        return Seen(improved, power, holes is None, weight is None, residual)

    def _weighted(self, template: Template) -> tuple[Float, Float]:
        """Gradient and mean of a template, times the weight of each mode: worked out once."""
        if self._of is not template:
            self._of = template
            self._products = template.gradient * template.weight, template.weight * template.mean
        return self._products

    def _lost(
        self, row: int, before: NDArray[np.bool_] | None, residual: Float, shape: tuple[int, ...]
    ) -> NDArray[np.bool_] | None:
        """Pixels of a frame that stand far out of what is left over, and those known before."""
        places = outliers(residual)
        count = places[0].size
        if count == 0 or count > MAX_SPIKES * residual.size:
            return before
        lost = np.zeros(shape, bool) if before is None else before.copy()
        step = self.common.step
        for shift in np.ndindex(*(step,) * self.ndim):
            at = (
                (s + step * p + d) % n
                for s, p, d, n in zip(self.common.starts[row], places, shift, shape, strict=True)
            )
            lost[tuple(at)] = True
        return lost


def _tail(chi2: float, rings: int) -> float:
    """Probability of a spectrum so far from that of the noise."""
    from scipy.special import gammaincc

    return float(gammaincc(rings / 2, chi2 / 2))
