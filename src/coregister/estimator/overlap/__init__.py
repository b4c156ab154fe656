"""The route for real pairs: only what both images show is compared.

Also taken by periodic images with masks or with errors that vary over the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coregister.estimator.fill import eroded
from coregister.estimator.movable import MovableImage
from coregister.estimator.overlap.descent import Movables, Rims, State, descend
from coregister.estimator.overlap.holes import (
    MANY_MISSING,
    bridged,
    deep,
    filled_from_both,
    scene_of,
    variance_beside,
    worth_bridging,
)
from coregister.estimator.overlap.rays import seen_once
from coregister.estimator.overlap.search import OverlapSearch
from coregister.estimator.overlap.shot_noise import with_learnt_noise
from coregister.estimator.rings import interpolator
from coregister.estimator.search.steps import QUICK_STEPS, beyond_doubt
from coregister.estimator.single import Single
from coregister.estimator.stages import Candidate, Fit
from coregister.estimator.uncertainty import conclude_fit
from coregister.estimator.window import MARGIN, Window
from coregister.images import Pair

Float = NDArray[np.float64]

#: bar (px) that a first look must have at most, and samples along an axis that it needs
LOOK_STDERR, FEWEST_LOOK = 0.1, 8
#: noise whose spectrum varies by more than this factor is made white first
COLOUR = 30.0
#: share of the power of the images that what is left over exceeds at all frequencies, for single
#: precision: its rounding makes about 5e-14 of that power
ROUNDING = 1e-8
#: how often pixels that only one image shows are looked for
ROUNDS = 4
#: margin where the frequencies are weighed before the cut: that kernel is wider
WIDE_MARGIN = 4


class OverlapRoute:
    """Search and refinement on the overlap.

    Parameters
    ----------
    pair : Pair
    singles : two of Single
        Its images.
    rounds : int
        How often pixels that only one image shows may be looked for and left out.
    every_pixel : bool
        Samples are pixels, whatever the images hold.
    rough : bool
        Single precision will do, as far as is known.
    systematic : (ndim,) array, optional
        Bound on the error by aliasing, px, where it is known: images of which something was cut
        out, or is weighed, have power everywhere.
    outlying : bool
        Pixels that stand out of an image, or that only one image shows, were left out.
    """

    def __init__(
        self,
        pair: Pair,
        singles: tuple[Single, Single],
        *,
        rounds: int = ROUNDS,
        every_pixel: bool = False,
        rough: bool = False,
        systematic: Float | None = None,
        outlying: bool = False,
    ) -> None:
        self._systematic = systematic
        self._outlying = outlying or any(s.image.valid is not s.given.valid for s in singles)
        self._rounds = rounds
        self._every_pixel = every_pixel
        self._singles = singles
        self._pair = replace(pair, reference=singles[0].image, moving=singles[1].image)
        self._search = OverlapSearch(self._pair, singles, every_pixel=every_pixel)
        self._rough = rough

    @property
    def _step(self) -> int:
        return self._search.steps[0]

    def _movables(self, amplitude: Callable[[Float], Float] | None = None) -> Movables:
        first, second = (
            single.movable(self._step, amplitude, rough=self._rough) for single in self._singles
        )
        return first, second

    @cached_property
    def _sampled_pair(self) -> Pair:
        """The pair, where samples count for nothing to which an invalid pixel adds."""
        pair = self._pair
        if self._step == 1:
            return pair
        reference, moving = (
            image if image.valid is None else replace(image, valid=eroded(image.valid, self._step))
            for image in pair.images
        )
        return replace(pair, reference=reference, moving=moving)

    def search(self) -> list[Candidate]:
        """Candidates, the best first: whole pixels, or one that was looked at already."""
        step = self._search.steps[1]
        if step is not None:
            candidates = self._search.candidates(step)
            if candidates and beyond_doubt(candidates):
                closer = self._first_look(candidates[0], step)
                if closer is not None:
                    return [closer]
                self._rough = False
        return self._search.candidates(1)

    def _first_look(self, candidate: Candidate, step: int) -> Candidate | None:
        """The candidate closer to the optimum; None where it should have come closer."""
        offset, uniform = candidate.offset, self._pair.uniform
        state = None
        # in single precision, until it is known that the noise is no smaller than its rounding
        self._rough = True
        while step > self._step or state is None:
            movable = self._movables()
            if step > self._step:
                first, second = (image.coarser(step // self._step) for image in movable)
                movable = first, second
            if min(Window.at(self._pair, offset, MARGIN, step).shape) < FEWEST_LOOK:
                return None
            state = descend(
                self._sampled_pair, movable, offset, MARGIN, weighted=uniform, rough=True
            )
            offset = state.offset
            # known to a small part of a sample, it may be looked at much closer at once
            step = 2 * self._step if step > 2 * self._step else step // 2
        values, _ = state.equations.directions
        if not state.converged or np.min(values) * LOOK_STDERR**2 < 1:
            return None
        if np.max(np.abs(offset - candidate.offset)) > QUICK_STEPS[0]:
            return None
        self._rough = _noisy(state)
        return replace(candidate, offset=offset)

    def refine(self, candidate: Candidate) -> Fit:
        """Fisher scoring on the continuous offset, from one candidate."""
        pair, uniform = self._sampled_pair, self._pair.uniform
        around: Rims = (None, None)
        state = descend(pair, self._movables(), candidate.offset, MARGIN, weighted=uniform)
        if self._rough and not _noisy(state):
            self._rough = False
            state = descend(pair, self._movables(), state.offset, MARGIN, weighted=uniform)
        told = with_learnt_noise(pair, state)
        cleaned = self._without_outliers(state, told)
        if cleaned is not None:
            return cleaned.refine(replace(candidate, offset=np.rint(state.offset)))
        # what is folded into the residual of an undersampled scene is bright where that is
        if told is not None and state.aliased < 1:
            route = self._told(told, state.systematic)
            return route.refine(replace(candidate, offset=state.offset))
        systematic = state.systematic if self._systematic is None else self._systematic
        if not uniform:
            # holes and steps of the error spread strong frequencies over faint ones: the scene's
            # spectrum is the one that was seen before they were cut out
            around = variance_beside(pair, state, self._step)
            state = self._without_holes(state, around)
        frequency = state.comparison.rings.frequency
        noise = state.equations.spectra.residual
        amplitude = None
        if noise.max() > COLOUR * noise[frequency < state.comparison.clear].min():
            # what noise of a steep spectrum leaks over its faint frequencies is not independent:
            # make it whiter before the overlap is cut. Half is enough, and reaches less far
            amplitude = interpolator(frequency, (noise.max() / noise) ** 0.25)
            state = descend(
                pair, self._movables(amplitude), state.offset, WIDE_MARGIN, around=around
            )
        return conclude_fit(
            self._pair,
            candidate,
            state.comparison,
            state.equations,
            state.offset,
            whitened=state.whitened,
            amplitude=amplitude,
            systematic=systematic,
            outlying=self._outlying,
            n_iter=state.n_iter,
            converged=state.converged,
        )

    def _without_holes(self, state: State, around: Rims) -> State:
        """Refinement in which invalid pixels count for nothing and those beside them for less."""
        pair, filled = self._pair, (self._singles[0].filled, self._singles[1].filled)
        settled = True
        if self._step == 1 and worth_bridging(pair, around):
            exact = bridged(pair, filled, state)
            if exact is not None:
                return exact
            missing = max(single.missing for single in self._singles)
            settled = missing < MANY_MISSING or deep(pair)
        scene = scene_of(state)
        state = descend(
            self._sampled_pair, self._movables(), state.offset, MARGIN, around=around, scene=scene
        )
        if self._step > 1 or all(image.valid is None for image in pair.images):
            return state
        # what only one image lacks, the other knows
        first, second = (
            MovableImage(data, periodic=pair.boundary == "periodic", single=state.comparison.single)
            for data in filled_from_both(pair, filled, state)
        )
        state = descend(pair, (first, second), state.offset, MARGIN, around=around, scene=scene)
        # where guesses are most of what is moved, their errors are not in the bars
        return state if settled else replace(state, converged=False)

    def _again(self, singles: tuple[Single, Single], **changes: Any) -> OverlapRoute:
        """The same route, but for what is changed."""
        same = {
            "rounds": self._rounds,
            "every_pixel": self._every_pixel,
            "rough": self._rough,
            "systematic": self._systematic,
            "outlying": self._outlying,
        }
        return OverlapRoute(self._pair, singles, **(same | changes))

    def _told(self, pair: Pair, systematic: Float) -> OverlapRoute:
        """The route for the same images, whose noise is known to vary."""
        first, second = (
            single.told(image.sigma)
            for single, image in zip(self._singles, pair.images, strict=True)
        )
        return self._again((first, second), systematic=systematic)

    def _without_outliers(self, state: State, learnt: Pair | None) -> OverlapRoute | None:
        """The route for the same pair where pixels that only one image shows are invalid."""
        if self._rounds == 0:
            return None
        bad = seen_once(self._sampled_pair, self._singles, state, learnt)
        if bad is None:
            return self._again(self._singles, rounds=ROUNDS, every_pixel=True)
        if not any(mask.any() for mask in bad):
            return None
        first, second = (s.without(mask) for s, mask in zip(self._singles, bad, strict=True))
        return self._again(
            (first, second), rounds=self._rounds - 1, every_pixel=False, outlying=True
        )


def _noisy(state: State) -> bool:
    """True if single precision is enough: what is left over is far above its rounding."""
    spectra, count = state.equations.spectra, state.comparison.rings.count
    power = count @ (spectra.scene + spectra.residual) / count.sum()
    return bool(np.min(spectra.residual) > ROUNDING * power)
