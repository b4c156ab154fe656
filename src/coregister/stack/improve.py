"""One frame of a stack against what all of them show: its step, its bars, and if it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.fill import MAX_SPIKES, outliers
from coregister.estimator.matrices import inverse, pseudo_inverse
from coregister.estimator.movable import FADE
from coregister.estimator.rings import Rings
from coregister.products import dot, products
from coregister.stack.bench import Bench, Frame, Part
from coregister.stack.template import Template, spectra_of
from coregister.stack.uneven import Unevenness

Float = NDArray[np.float64]

#: bars from its place within which what stands out of a frame is believed
SETTLED = 3.0
#: bars that the one frame that was farthest off may still be, where none is moved again
SLIGHT = 0.1
#: share of the information below which what a frame shows is not told from nothing
LEAST_SEEN = 0.02


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


class Improve:
    """The step of a frame against what all of them show.

    Parameters
    ----------
    bench : Bench
    template : Template
    looked_at : bool
        What is left over is looked at: samples are fine enough to tell in which pixel it stands.
    """

    def __init__(self, bench: Bench, template: Template, *, looked_at: bool) -> None:
        self._bench, self._template = bench, template
        self._looked_at = looked_at
        self._pulled = template.gradient * template.weight
        self._mean = template.weight * template.mean
        self._energy = dot(self._mean, template.mean)
        self._bread = pseudo_inverse(template.values, template.vectors)
        self._unevenness = Unevenness(template.pulls)

    def of(self, part: Part) -> Seen:
        """One frame against the others: its step and gain, what is left over, and its bars.

        What is left over is looked at only if the samples are fine enough.
        """
        bench, template = self._bench, self._template
        row, frame, ready = part.row, part.frame, part.ready
        moved, holes, weight = bench.moved(part), None, None
        if moved is None:
            fields, holes, weight = bench.fields(part, gradient=False)
        white, pulls = template.white, template.pulls
        pulled, weighted_mean = self._pulled, self._mean
        energy = self._energy
        if weight is None:
            left = bench.basis.modes(fields[0]) if moved is None else moved
            left -= template.mean
            excess = dot(weighted_mean, left) / max(energy, 1e-300)
            left -= left.dtype.type(excess) * template.mean
            score = products(pulled, left[np.newaxis])[:, 0]
        else:  # noise is even once what is left over is divided by it; so are the gradients
            pulls, shine = weight * pulls, weight * template.shine
            apart = fields[0] - template.fields[0]
            apart -= float(np.average(apart, weights=weight**2))
            left, mean = bench.modes([weight * apart, weight * template.fields[0]])
            energy = dot(shine, shine)
            excess = dot(shine, bench.basis.field(left * white)) / max(energy, 1e-300)
            left -= excess * mean
            score = products(pulls, bench.basis.field(left * white)[np.newaxis])[:, 0]
        seen_share, share = 1.0, min(frame.weight / template.total, 0.9)
        if template.informed is not None and (holes is not None or weight is not None):
            counts = np.ones(bench.common.shape) if weight is None else weight**2
            if holes is not None:  # no news from there
                counts = counts * ~holes
            assert template.seen is not None
            known = counts * template.informed
            mine = float(known.sum()) / float(template.informed.sum())
            if mine > LEAST_SEEN:  # of the mean, the frame is more where it is good, others not
                part_of_mean = dot(known, counts / template.seen) / float(known.sum())
                share = float(np.clip(frame.weight * part_of_mean, 0.0, 0.9))
            seen_share = max(mine, LEAST_SEEN)
        bread = self._bread / seen_share
        step = -bread @ score
        # of what is left the step takes its part: what stays is looked at
        for along, slope in zip(step, template.gradient, strict=True):
            left += left.dtype.type(along) * slope
        most = 0.7 * bench.common.step
        improved = replace(
            frame,
            offset=frame.offset + np.minimum(np.maximum(step, -most), most),
            gain=frame.gain * (1 + min(max(excess, -0.5), 0.5)),
            misfit=1.0,
        )
        power = bench.basis.power(left) / (1 - share)
        if not self._looked_at:
            known = template.vectors.T @ step
            improved.step = float(np.sqrt(seen_share * template.values @ known**2))
            return Seen(improved, power, holes is None, weight is None, None)
        residual = bench.basis.field(left * white)
        unevenness = self._unevenness if weight is None else Unevenness(pulls)
        spread, pixels, improved.misfit = unevenness.of(residual, bread)
        improved.step = float(np.sqrt(np.abs(step @ inverse(spread) @ step)))
        improved.own = pixels / (pixels - 2) * spread / (1 - share)
        off = template.left_of(step) * improved.step
        if improved.step <= SETTLED or off < SLIGHT:  # a frame in the wrong place has many
            standing = residual if holes is None else residual * ~holes
            improved.lost = self._lost(row, frame.lost, standing, ready.movable.size)
        residual /= max(float(np.sqrt(dot(residual, residual) / residual.size)), 1e-300)
        return Seen(improved, power, holes is None, weight is None, residual)

    def _lost(
        self, row: int, before: NDArray[np.bool_] | None, residual: Float, shape: tuple[int, ...]
    ) -> NDArray[np.bool_] | None:
        """Pixels of a frame that stand far out of what is left over, and those known before."""
        places = outliers(residual)
        count = places[0].size
        if count == 0 or count > MAX_SPIKES * residual.size:
            return before
        lost = np.zeros(shape, bool) if before is None else before.copy()
        step = self._bench.common.step
        for shift in np.ndindex(*(step,) * self._bench.ndim):
            at = (
                (s + step * p + d) % n
                for s, p, d, n in zip(
                    self._bench.common.starts[row], places, shift, shape, strict=True
                )
            )
            lost[tuple(at)] = True
        return lost


def judged(
    rings: Rings, step: int, seen: Sequence[Seen], noise: Float, template: Template, count: int
) -> None:
    """Weights, and whether frames fit, now that it is known what noise all of them have."""
    noise = spectra_of(rings, template.power, noise, template.total, count).residual / 2
    inside = rings.frequency < FADE[0] / step
    number = rings.count[inside]
    for one in seen:
        power = one.frame.weight * one.power[inside] / noise[inside]
        level = max(float(number @ power / number.sum()), 1e-300)
        chi2 = float(number @ (power / level - 1) ** 2) / 2
        one.frame.weight /= max(level, 1e-12)
        one.frame.misfit = min(one.frame.misfit, _tail(chi2, number.size))
        one.frame.odd = chi2 / number.size


def _tail(chi2: float, rings: int) -> float:
    """Probability of a spectrum so far from that of the noise."""
    from scipy.special import gammaincc

    return float(gammaincc(rings / 2, chi2 / 2))
