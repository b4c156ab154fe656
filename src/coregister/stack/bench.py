"""What the joint optimum is made of: every frame against what all of them show together.

All frames are moved by their offsets, cut to the window that all of them show, and compared in
its cosine transform with their weighted mean. With ``M`` frames, a scene of power ``S`` and noise
``N``, the maximum-likelihood weight of a mode is ``(M - 1) S / (N (M S + N))``; the step of a
frame is that of the score against the mean. The noise of the mean is shared by all frames: what
is theirs alone is kept apart (`own`), so that differences between frames have true bars too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.compare import FADE, MARGIN, MovableImage, fast_length, known_directions
from coregister.fill import MAX_SPIKES, outliers
from coregister.spectrum import Rings, cosine_rings, fit_spectra
from coregister.uncertainty import distortion, spread_of

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


def common_window(
    offsets: Float, shape: tuple[int, ...], step: int, *, periodic: bool
) -> Common | None:
    """The window at the nearest whole offsets; None if hardly anything is left of it."""
    whole = np.rint(offsets).astype(int)
    if periodic:
        return Common(whole, whole, tuple(n // step for n in shape), step)
    first = np.maximum(0, -whole.min(axis=0)) + MARGIN * step
    last = np.array(shape) - np.maximum(0, whole.max(axis=0)) - MARGIN * step
    sizes = tuple(fast_length(max(int(n), 1), parity=False) for n in (last - first) // step)
    if min(sizes) < FEWEST:
        return None
    return Common(whole, whole + first, sizes, step)


class Ready(NamedTuple):
    """A frame that can be moved, where it is valid, and 1/sigma over its median (None: all 1)."""

    movable: MovableImage
    valid: NDArray[np.bool_] | None
    weight: Float | None = None


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
        Root of the noise power of a frame of weight 1.
    pulls : (ndim, ...) array
        Gradients whose product with a whitened residual is the score, in pixels.
    shine : array
        The same for the gain.
    informed, seen : array or None
        Where the information is, read from two halves, and the sum of the weights there; None
        where all pixels count alike.
    values, vectors : array
        Information along its principal directions.
    noise : array
        Ring by ring, of a frame of weight 1.
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
    noise: Float
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
    halves : (2, 1 + ndim, ...) array
        Of two halves of them, values and derivatives, where they are seen.
    filled : (1 + ndim, ...) array
        Of what stands in their holes.
    weights : (2, ...) array
        Of those that are seen.
    total : array
        Of the weights of all.
    whole : (n,) array
        Of the modes of those without holes.
    power : array
        Of their ring powers.
    plain : (2,) array
        How many they are, and the sum of their weights.
    """

    halves: Float
    filled: Float
    weights: Float
    total: Float
    whole: Float
    power: Float
    plain: Float

    def plus(self, other: Sums) -> Sums:
        """Those of two blocks."""
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))


class Bench:
    """The frames of one window, and how they are moved.

    Parameters
    ----------
    ready : callable
        The frame of a number as one that can be moved, without the pixels that are lost.
    common : Common
    template : Template, optional
        What stands in holes; without one, what they are filled with.
    last : bool
        Samples are fine enough to tell in which pixel something stands.
    """

    def __init__(
        self,
        ready: Callable[[int, NDArray[np.bool_] | None], Ready],
        common: Common,
        template: Template | None = None,
        *,
        last: bool = True,
    ) -> None:
        self._ready = ready
        self.common = common
        self._last = last
        self._known = None if template is None else template.fields
        self.rings: Rings = cosine_rings(common.shape, common.step)
        self.ndim = len(common.shape)
        self.k = [np.pi * np.arange(n) / (n * common.step) for n in common.shape]

    def fields(
        self, index: int, row: int, frame: Frame, *, gradient: bool
    ) -> tuple[list[Float], NDArray[np.bool_] | None, Float | None]:
        """A frame moved onto the window, over its gain, and its derivatives.

        Also its holes there, and 1/sigma of what is seen where that varies.
        """
        common = self.common
        movable, valid, weight = self._ready(index, frame.lost)
        fields = movable.window(
            common.starts[row],
            common.shape,
            frame.offset - common.whole[row],
            gradient=gradient,
        )
        fields = [field / frame.gain for field in fields]
        holes = self._holes(row, valid)
        if weight is not None:
            weight = weight[self._places(row, weight.shape)]
            if holes is not None:
                weight = weight * ~holes
        if holes is None or self._known is None:
            fields[0] -= float(np.mean(fields[0]))
        else:
            fields[0] -= float(np.mean((fields[0] - self._known[0])[~holes]))
            for field, known in zip(fields, self._known, strict=False):
                field[holes] = known[holes]
        return fields, holes, weight

    def _holes(self, row: int, valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Samples of the window that an invalid pixel is felt in; None if there is none."""
        if valid is None:
            return None
        from scipy import ndimage

        common, bad = self.common, ~valid
        wide = ndimage.maximum_filter(bad, 2 * FELT * common.step + 1)
        holes = wide[self._places(row, bad.shape)]
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

    def add(self, members: Sequence[tuple[int, int, int, Frame]]) -> Sums:
        """Sums over some frames: (number, row of the window's starts, half, what is known)."""
        shape = self.common.shape
        halves = np.zeros((2, 1 + self.ndim, *shape))
        filled = np.zeros((1 + self.ndim, *shape))
        weights = np.zeros((2, *shape))
        whole = np.zeros(int(np.prod(shape)))
        power = np.zeros(self.rings.size)
        count = np.zeros(2)
        total = 0.0
        for index, row, half, frame in members:
            fields, holes, weight = self.fields(index, row, frame, gradient=True)
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
            total += frame.weight
            if holes is None:
                if weight is not None and self._known is not None:  # what noise is even has
                    fields[0] = self._known[0] + weight * (fields[0] - self._known[0])
                modes = self._transform(fields[:1])[0]
                whole += frame.weight * modes
                power += frame.weight * self.rings.mean(modes * modes)
                count += (1, frame.weight)
        return Sums(halves, filled, weights, np.array(total), whole, power, count)

    def template(self, sums: Sums, count: int) -> Template:
        """The mean of all frames, its spectra and what is known about an offset from it."""
        rings, total = self.rings, float(sums.total)
        seen = sums.weights.sum(axis=0)
        fields = sums.halves.sum(axis=0)
        blind = seen <= 0  # what no frame shows is what they are filled with
        fields = np.where(blind, sums.filled, fields) / np.where(blind, total, seen)
        mean, *slopes = self._transform(list(fields.copy()))
        coupled = []
        for half, weights in zip(sums.halves, sums.weights, strict=True):
            own = np.where(weights > 0, half / np.where(weights > 0, weights, 1.0), fields)
            coupled.append(self._transform(list(own)))
        number, weight_of_whole = sums.plain
        if number > 1:
            # what is left of w (x - mean)^2, mode by mode; the mean took its part of each
            left = sums.power + weight_of_whole * rings.mean(mean * mean)
            left -= 2 * rings.mean(mean * sums.whole)
            noise_raw = left / (number - weight_of_whole / total)
        else:  # holes in all of them: by the difference of two halves
            shares = [float(np.mean(weights)) for weights in sums.weights]
            apart = coupled[0][0] - coupled[1][0]
            noise_raw = rings.mean(apart * apart) / sum(1 / max(w, 1e-300) for w in shares)
        noise_raw = np.maximum(noise_raw, 1e-300)
        scene_raw = rings.mean(mean * mean) - noise_raw / total
        both = np.maximum(scene_raw, 0.0) + noise_raw
        spectra = fit_spectra(
            xx=both, yy=both, xy=scene_raw, residual=2 * noise_raw, count=rings.count * (count - 1)
        )
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
        white = np.sqrt(rings.spread(noise))
        *pulls, shine = (self._field(g * weight * white) for g in (*gradient, mean))
        informed = None
        if np.ptp(sums.weights, axis=tuple(range(1, 1 + self.ndim))).any():
            first, second = (
                np.stack([self._field(g * weight * white) for g in part]) for part in parts
            )
            informed = np.einsum("i...,i...->...", first, second)
        return Template(
            fields,
            mean,
            gradient,
            weight,
            white,
            np.stack(pulls),
            shine,
            informed,
            None if informed is None else np.where(blind, total, seen),
            values,
            vectors,
            noise,
            total,
        )

    def _field(self, modes: Float) -> Float:
        return np.asarray(scipy.fft.idctn(modes.reshape(self.common.shape), norm="ortho"))

    def improve(
        self, index: int, row: int, frame: Frame, template: Template
    ) -> tuple[Frame, Float]:
        """One frame against the others: its step, gain, noise, bars, and whether it fits.

        Also what is left of it, whitened, over its scatter.
        """
        fields, holes, weight = self.fields(index, row, frame, gradient=False)
        white = np.divide(
            1.0, template.white, out=np.zeros_like(template.white), where=template.white > 0
        )
        pulls = template.pulls
        if weight is None:
            left = self._transform(fields)[0] - template.mean
            energy = float((template.weight * template.mean) @ template.mean)
            excess = float((template.weight * template.mean) @ left) / max(energy, 1e-300)
            left -= excess * template.mean
            score = (template.gradient * template.weight) @ left
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
            part = float(known.sum()) / float(template.informed.sum())
            if part > LEAST_SEEN:  # of the mean, the frame is more where it is good and others not
                part_of_mean = np.vdot(known, counts / template.seen) / float(known.sum())
                share = float(np.clip(frame.weight * part_of_mean, 0.0, 0.9))
            seen_share = max(part, LEAST_SEEN)
        bread = (template.vectors * inverse) @ template.vectors.T / seen_share
        step = -bread @ score
        rings = self.rings
        # of what is left the step takes its part: what stays is looked at
        rest = left + step @ template.gradient
        power = rings.mean(rest * rest) * frame.weight / (1 - share) / template.noise
        inside = rings.frequency < FADE[0] / self.common.step
        level = float(rings.count[inside] @ power[inside] / rings.count[inside].sum())
        chi2 = float(rings.count[inside] @ (power[inside] / level - 1) ** 2) / 2
        scale = np.sqrt(frame.weight / (1 - share))
        residual = self._field(rest * white)
        seen = spread_of(residual, pulls, bread)
        student = seen.dof / (seen.dof - 2)
        uneven = distortion(residual * scale, pulls)
        bars = float(np.sqrt(np.abs(step @ np.linalg.pinv(seen.seen) @ step)))
        improved = Frame(
            offset=frame.offset + np.clip(step, -0.7 * self.common.step, 0.7 * self.common.step),
            gain=frame.gain * (1 + float(np.clip(excess, -0.5, 0.5))),
            weight=frame.weight / max(level, 1e-12),
            own=student * seen.seen / (1 - share),
            misfit=min(uneven, _tail(chi2, int(inside.sum()))),
            odd=chi2 / int(inside.sum()),
            step=bars,
            lost=self._lost(
                index, row, frame, residual if holes is None else residual * ~holes, bars
            ),
        )
        return improved, residual / max(float(np.std(residual)), 1e-300)

    def _lost(
        self, index: int, row: int, frame: Frame, residual: Float, bars: float
    ) -> NDArray[np.bool_] | None:
        """Pixels of a frame that stand far out of what is left over."""
        if not self._last or bars > SETTLED:  # a frame in the wrong place has many
            return frame.lost
        places = outliers(residual)
        count = places[0].size
        if count == 0 or count > MAX_SPIKES * residual.size:
            return frame.lost
        shape = self._ready(index, frame.lost).movable.size
        lost = np.zeros(shape, bool) if frame.lost is None else frame.lost.copy()
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
