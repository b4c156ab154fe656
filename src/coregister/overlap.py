"""The route for real pairs: only what both images show is compared.

Also taken by periodic images with masks or with errors that vary over the field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.compare import (
    MARGIN,
    Comparison,
    Equations,
    MovableImage,
    Window,
    fast_length,
    pixel_weight,
)
from coregister.fill import (
    MAX_SPIKES,
    TAILS,
    clipped,
    departure,
    eroded,
    fill,
    outliers,
    rims,
    spikes,
    without,
    without_spikes,
)
from coregister.images import MIN_SIDE, Pair
from coregister.search import (
    QUICK_SIDE,
    QUICK_STEPS,
    auto_coherence,
    auto_filters,
    beyond_doubt,
    chance_of_features,
    independence,
    normalised_correlation,
    overlap_counts,
    overlap_sums,
    pick,
    ring_power,
    signed_lags,
    sparse,
    steps_between_samples,
)
from coregister.spectrum import Rings, cosine_rings
from coregister.stages import Candidate, Fit
from coregister.uncertainty import conclude_fit

Float = NDArray[np.float64]

#: overlaps below this share of the smaller image are not searched
MIN_OVERLAP = 0.04
MAX_STEPS = 30
#: longest step, px
MAX_STEP = 0.7
#: an error below this share of the bar ends the refinement; in a first look, a step below so much
#: of it, or this many px
TOLERANCE = 0.01
ROUGH, ROUGH_PX = 0.1, 0.01
#: share of an image that may be lost where samples beside holes count for nothing, and that may be
#: filled in a first look
MAX_EROSION, MAX_FILLED = 0.02, 0.25
#: bar (px) that a first look must have at most, and samples along an axis that it needs
LOOK_STDERR, FEWEST_LOOK = 0.1, 8
#: a step leaves about this share of itself, over the root of the number of modes that tell; no
#: less than the other, since the surface is no parabola
CONTRACTION, LEAST_CONTRACTION = 1.0, 0.005
#: the last step, in px and in bars, is small enough for the modes to be moved by their derivatives
LINEAR, LINEAR_BARS = 0.02, 1.0
#: noise whose spectrum varies by more than this factor is made white first
COLOUR = 30.0
#: margin where the frequencies are weighed before the cut: that kernel is wider
WIDE_MARGIN = 4
#: share of an outlier of the residual that stands in the images themselves
OUTLIER_SHARE = 0.7
#: passes over offset and holes, steps towards the conditional mean in each, and the step (in
#: bars) that ends them
MAX_BRIDGES, CONJUGATE_STEPS, BRIDGE_TOLERANCE = 8, 4, 0.05


class _State(NamedTuple):
    """Where the refinement stands."""

    comparison: Comparison
    equations: Equations
    offset: Float
    n_iter: int
    converged: bool


class _Auto(NamedTuple):
    """What the two images tell by themselves.

    Attributes
    ----------
    frequency, modes : array
        Rings, cycles/px, and the modes in each.
    transforms : list of array
        Cosine modes of either image.
    powers, filters : list of array
        Spectrum of either, and the factor that makes it ready for the search.
    coherence : array
        Square of it, as both spectra promise it; noise makes it negative as often as positive.
    """

    frequency: Float
    modes: Float
    transforms: list[Float]
    powers: list[Float]
    filters: list[Float]
    coherence: Float


def _scene(comparison: Comparison, equations: Equations) -> Callable[[Float], Float]:
    """Power of the scene against frequency."""
    return interpolator(comparison.rings.frequency, equations.spectra.scene)


def interpolator(frequency: Float, values: Float) -> Callable[[Float], Float]:
    """Values on rings as a function of frequency."""

    def at(where: Float) -> Float:
        return np.asarray(np.interp(where, frequency, values))

    return at


def _root(energies: Float) -> Float:
    """Root of the product of two energies, nowhere zero."""
    energy = np.sqrt(energies)
    return np.asarray(np.maximum(energy, 1e-9 * float(energy.max()) + 1e-300))


class OverlapRoute:
    """Search and refinement on the overlap.

    Parameters
    ----------
    pair : Pair
    rounds : int
        How often pixels that only one image shows may be looked for and left out.
    every_pixel : bool
        Samples are pixels, whatever the images hold.
    """

    def __init__(self, pair: Pair, *, rounds: int = 4, every_pixel: bool = False) -> None:
        self._rounds = rounds
        self._every_pixel = every_pixel
        # before anything else, since one cosmic ray can outshine the scene
        self._pair = replace(
            pair,
            reference=without_spikes(pair.reference),
            moving=without_spikes(pair.moving),
        )
        self._periodic = pair.boundary == "periodic"

    @cached_property
    def _filled(self) -> tuple[Float, Float]:
        reference, moving = self._pair.images
        return fill(reference), fill(moving)

    @cached_property
    def _movable(self) -> tuple[MovableImage, MovableImage]:
        return self._movables(None)

    def _movables(
        self, amplitude: Callable[[Float], Float] | None
    ) -> tuple[MovableImage, MovableImage]:
        first, second = (
            MovableImage(data, periodic=self._periodic, amplitude=amplitude, step=self._step)
            for data in self._filled
        )
        return first, second

    def search(self) -> list[Candidate]:
        """Candidates, the best first: whole pixels, or one that was looked at already."""
        step = self._steps[1]
        if step is not None:
            candidates = self._search(step)
            if beyond_doubt(candidates):
                closer = self._first_look(candidates[0], step)
                if closer is not None:
                    return [closer]
        return self._search(1)

    @cached_property
    def _may_skip(self) -> bool:
        """True if samples may be farther apart than pixels, in a first look at least."""
        return not self._periodic and not self._every_pixel and max(self._missing) < MAX_FILLED

    @cached_property
    def _missing(self) -> list[float]:
        """Share of either image that is not valid."""
        return [
            0.0 if image.valid is None else 1 - float(np.mean(image.valid))
            for image in self._pair.images
        ]

    @cached_property
    def _steps(self) -> tuple[int, int | None]:
        if not self._may_skip:
            return 1, None
        auto = self._auto
        sides = auto.transforms[0].shape
        fewest = min(min(transform.shape) for transform in auto.transforms)

        def modes(step: int) -> Rings:
            return cosine_rings([n // step for n in sides], step)

        step, quick = steps_between_samples(
            modes, auto.frequency, auto.coherence, fewest, self._pair.ndim
        )
        for image, missing in zip(self._pair.images, self._missing, strict=True):
            if step > 1 and image.valid is not None:
                lost = 1 - float(np.mean(eroded(image.valid, step))) - missing
                step = step if lost < MAX_EROSION else 1
        return step, quick

    @property
    def _step(self) -> int:
        return self._steps[0]

    def _first_look(self, candidate: Candidate, step: int) -> Candidate | None:
        """The candidate closer to the optimum; None where it should have come closer."""
        offset, uniform = candidate.offset, self._pair.uniform
        state = None
        while step > self._step or state is None:
            movable = self._movable
            if step > self._step:
                first, second = (image.coarser(step // self._step) for image in movable)
                movable = first, second
            if min(Window.at(self._pair, offset, MARGIN, step).shape) < FEWEST_LOOK:
                return None
            state = self._descend(movable, offset, MARGIN, weighted=uniform, rough=True)
            offset = state.offset
            step //= 2
        values, _ = state.equations.directions
        if not state.converged or np.min(values) * LOOK_STDERR**2 < 1:
            return None
        if np.max(np.abs(offset - candidate.offset)) > QUICK_STEPS[0]:
            return None
        return replace(candidate, offset=offset)

    def _search(self, step: int) -> list[Candidate]:
        """Candidates on whole samples."""
        pair = self._pair
        fields, band, roughness = self._filtered(step)
        shapes = [field.shape for field in fields]
        if self._periodic:
            full = list(shapes[0])
        else:
            full = [
                scipy.fft.next_fast_len(n + m - 1, real=True) for n, m in zip(*shapes, strict=True)
            ]
        valids = self._valid_samples(step)
        filtered = [
            clipped(field) if valid is None else clipped(field) * valid
            for field, valid in zip(fields, valids, strict=True)
        ]
        energy, null_energy, count = self._energies(filtered, valids, full)
        allowed = count >= max(MIN_OVERLAP * min(field.size for field in fields), MIN_SIDE)
        lags = [step * lag for lag in signed_lags(full)]
        if pair.max_offset is not None:
            for lag, centre, reach in zip(lags, pair.initial, pair.max_offset, strict=True):
                allowed = allowed & (np.abs(lag - np.rint(centre)) <= np.ceil(reach))
        if not allowed.any():
            allowed = count >= count.max()

        def coincidence(offset: Float, by_null: float) -> float:
            return chance_of_features(
                fields,
                offset / step,
                by_null,
                lags=float(np.count_nonzero(allowed)),
                band=band,
                roughness=roughness,
                periodic=self._periodic,
            )

        correlation, null = normalised_correlation(
            filtered[0], filtered[1], full, energy, null_energy
        )
        samples = [
            field.ravel() if valid is None else field[valid]
            for field, valid in zip(filtered, valids, strict=True)
        ]
        return pick(
            correlation,
            count * band,
            null=null,
            allowed=allowed,
            lags=lags,
            roughness=roughness,
            edge=self._at_edge,
            coincidence=coincidence if sparse(samples, band) else None,
        )

    def _valid_samples(self, step: int) -> list[NDArray[np.bool_] | None]:
        """Where either image counts in the search; None where all of it does.

        In a first look the holes are few, and what fills them is smooth.
        """
        sides = [transform.shape for transform in self._auto.transforms]
        return [
            None if step > 1 or image.valid is None else image.valid[tuple(map(slice, side))]
            for image, side in zip(self._pair.images, sides, strict=True)
        ]

    @cached_property
    def _auto(self) -> _Auto:
        """What the two images tell by themselves."""
        rings, powers, transforms = [], [], []
        for data in self._filled:
            if self._may_skip:  # so that all steps divide it, and it transforms fast
                data = data[tuple(slice(0, self._whole_samples(n)) for n in data.shape)]
            transform = scipy.fft.dctn(data - data.mean(), norm="ortho", overwrite_x=True)
            ring = cosine_rings(data.shape)
            rings.append(ring)
            powers.append(ring_power(transform * transform, ring))
            transforms.append(transform)
        frequency, count = rings[0].frequency, rings[0].count
        powers[1] = np.exp(np.interp(frequency, rings[1].frequency, np.log(powers[1])))
        filters = auto_filters(frequency, powers, count)
        coherence = auto_coherence(frequency, powers, count)
        return _Auto(frequency, count, transforms, powers, filters, coherence)

    def _whole_samples(self, length: int) -> int:
        """Pixels of a side that samples far apart divide, and which transform fast."""
        unit = max([s for s in QUICK_STEPS if length // s >= QUICK_SIDE], default=1)
        return int(unit * fast_length(length // unit))

    def _filtered(self, step: int) -> tuple[tuple[Float, Float], float, float]:
        """Both images weighted in frequency, 0 where invalid; `independence` of their samples."""
        auto = self._auto
        fields = []
        for valid, transform, values in zip(
            self._valid_samples(step), auto.transforms, auto.filters, strict=True
        ):
            modes = transform[tuple(slice(0, n // step) for n in transform.shape)]
            factor = cosine_rings(modes.shape, step).spread_function(
                interpolator(auto.frequency, values)
            )
            field = scipy.fft.idctn(
                modes * factor.reshape(modes.shape), norm="ortho", overwrite_x=True
            )
            fields.append(field if valid is None else field * valid)
        sides = auto.transforms[0].shape
        rings = cosine_rings([n // step for n in sides], step)
        left, right = (
            np.interp(rings.frequency, auto.frequency, power * values**2)
            for power, values in zip(auto.powers, auto.filters, strict=True)
        )
        frequency = rings.frequency * step  # cycles a sample
        band, roughness = independence(frequency, rings.count, left, right, self._pair.ndim)
        return (fields[0], fields[1]), band, roughness

    def _energies(
        self,
        filtered: Sequence[Float],
        valids: Sequence[NDArray[np.bool_] | None],
        full: list[int],
    ) -> tuple[Float, Float, Float]:
        """Root of the product of both energies in the overlap at every lag, and its pixels.

        Between the two the same energy for the reference flipped along its last axis.
        """
        squares = [field**2 for field in filtered]
        if not self._periodic and all(valid is None for valid in valids):
            sides = squares[1].shape
            mirror = squares[0][..., ::-1]
            first, null_first = (
                overlap_sums(values, sides, full, forward=True) for values in (squares[0], mirror)
            )
            second = overlap_sums(squares[1], squares[0].shape, full, forward=False)
            count = overlap_counts(squares[0].shape, sides, full)
            return _root(first * second), _root(null_first * second), count
        counted = [
            np.ones(field.shape) if valid is None else valid.astype(np.float64)
            for field, valid in zip(filtered, valids, strict=True)
        ]
        turned = [values[..., ::-1] for values in (squares[0], counted[0])]
        spectra = [scipy.fft.rfftn(field, s=full) for field in (*squares, *counted, *turned)]
        first, second, count, null_first, null_second = (
            np.clip(
                scipy.fft.irfftn(np.conj(spectra[a]) * spectra[b], s=full, overwrite_x=True),
                0.0,
                None,
            )
            for a, b in ((0, 3), (2, 1), (2, 3), (4, 3), (5, 1))
        )
        return _root(first * second), _root(null_first * null_second), np.rint(count)

    def _at_edge(self, offset: Float) -> bool:
        reach = self._pair.max_offset
        if reach is None:
            return False
        return bool(np.any(np.abs(offset - self._pair.initial) > reach - 0.5))

    def refine(self, candidate: Candidate) -> Fit:
        """Fisher scoring on the continuous offset, from one candidate."""
        uniform = self._pair.uniform
        around: tuple[Float | None, Float | None] = (None, None)
        state = self._descend(self._movable, candidate.offset, MARGIN, weighted=uniform)
        cleaned = self._without_outliers(state)
        if cleaned is not None:
            return cleaned.refine(replace(candidate, offset=np.rint(state.offset)))
        if not uniform:
            # holes and steps of the error spread strong frequencies over faint ones: the scene's
            # spectrum is the one that was seen before they were cut out
            around = self._rims(state)
            state = self._bridged(state, around) or self._weighted(state, around)
        frequency = state.comparison.rings.frequency
        noise = state.equations.spectra.residual
        amplitude = None
        if noise.max() > COLOUR * noise[frequency < state.comparison.clear].min():
            # what noise of a steep spectrum leaks over its faint frequencies is not independent:
            # make it whiter before the overlap is cut. Half is enough, and reaches less far
            amplitude = interpolator(frequency, (noise.max() / noise) ** 0.25)
            state = self._descend(
                self._movables(amplitude), state.offset, WIDE_MARGIN, around=around
            )
        return conclude_fit(
            self._pair,
            candidate,
            state.comparison,
            state.equations,
            state.offset,
            amplitude=amplitude,
            n_iter=state.n_iter,
            converged=state.converged,
        )

    def _rims(self, state: _State) -> tuple[Float | None, Float | None]:
        """Variance beside the holes of both images, in units of that of the noise."""
        rings, spectra = state.comparison.rings, state.equations.spectra
        # guesses are part of what is left over; least so where it is least
        noise = float(spectra.residual[rings.frequency < state.comparison.clear].min())
        above = np.cumsum((rings.count * spectra.scene)[::-1])[::-1] / rings.count.sum() / noise
        finer = interpolator(rings.frequency, above)
        reference, moving = (
            None if image.valid is None else rims(image.valid, finer, self._step)
            for image in self._sampled_pair.images
        )
        return reference, moving

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

    def _weighted(self, state: _State, around: tuple[Float | None, Float | None]) -> _State:
        """Refinement in which invalid pixels count for nothing and those beside them for less."""
        scene = _scene(state.comparison, state.equations)
        movable = self._movable
        state = self._descend(movable, state.offset, MARGIN, around=around, scene=scene)
        if self._step > 1 or all(image.valid is None for image in self._pair.images):
            return state
        # what only one image lacks, the other knows
        first, second = (
            MovableImage(data, periodic=self._periodic)
            for data in self._filled_from_both(self._filled, state)
        )
        return self._descend((first, second), state.offset, MARGIN, around=around, scene=scene)

    def _bridged(self, state: _State, around: tuple[Float | None, Float | None]) -> _State | None:
        """Refinement with every hole filled by what both images make most likely.

        The exact score of the pixels that were measured, by the principle of missing information
        (Louis 1982, doi:10.1111/j.2517-6161.1982.tb01203.x). Only where holes are so small that
        guesses err by less than the noise; None where it does not settle.
        """
        if self._step > 1 or any(isinstance(i.sigma, np.ndarray) for i in self._pair.images):
            return None
        if max(float(np.max(r)) for r in around if r is not None) > TAILS[0] ** 2:
            return None
        filled, offset = self._filled, state.offset
        for n_iter in range(MAX_BRIDGES):
            filled = self._filled_from_both(filled, state)
            first, second = (MovableImage(data, periodic=self._periodic) for data in filled)
            comparison = Comparison(
                self._pair,
                first,
                second,
                Window.at(self._pair, offset),
                gain=state.equations.gain,
                bridged=True,
            )
            equations = comparison.equations(offset)
            step = -equations.solve(equations.score)
            size = np.sqrt(abs(step @ equations.information @ step))
            state = _State(comparison, equations, offset, state.n_iter + 1, True)
            # the spectra by which holes are filled are those of the pass before
            if n_iter > 1 and size < BRIDGE_TOLERANCE:
                return state
            offset = offset + np.clip(step, -MAX_STEP, MAX_STEP)
            if not self._overlaps(offset):
                return None
            state = state._replace(offset=offset)
        return None

    def _filled_from_both(self, filled: tuple[Float, Float], state: _State) -> tuple[Float, Float]:
        """Invalid pixels at their conditional mean, given the valid ones of both images.

        Conjugate gradients on the precision of two Gaussian fields that share a scene, each
        image on its own grid.
        """
        equations, spectra = state.equations, state.equations.spectra
        window = Window.at(self._pair, state.offset, 0)
        fraction = state.offset - window.offset
        starts = (window.start, window.moving_start)
        wrap = self._periodic
        missing = np.stack(
            [
                np.zeros(window.shape, bool)
                if image.valid is None
                else ~window.of(image.valid, start, wrap=wrap)
                for image, start in zip(self._pair.images, starts, strict=True)
            ]
        )
        fields = np.stack(
            [window.of(data, start, wrap=wrap) for data, start in zip(filled, starts, strict=True)]
        )
        scale = np.reshape([equations.gain, 1.0], (2, *(1,) * missing[0].ndim))
        shift = np.reshape([0.0, equations.background], scale.shape)
        fields = fields * scale - shift
        level = float(np.mean(fields))
        fields -= level
        frequency = state.comparison.rings.frequency
        rings = cosine_rings(window.shape)
        scene, residual = (
            rings.spread_function(interpolator(frequency, v)).reshape(window.shape)
            for v in (spectra.scene, spectra.residual)
        )
        share = float(np.clip(spectra.share, 0.01, 0.99))
        noises = share * residual, (1 - share) * residual
        determinant = scene * residual + noises[0] * noises[1]
        determinant.flat[0] = np.inf  # the mean is that of the valid pixels
        own = np.stack([(scene + noise) / determinant for noise in noises[::-1]])
        other = scene / determinant
        origin = (0,) * fields[0].ndim

        def precision(values: Float) -> Float:
            result = np.empty_like(values)
            for i, way in enumerate((fraction, -fraction)):
                moved = MovableImage(values[1 - i], periodic=wrap).window(
                    origin, window.shape, way
                )[0]
                own_modes, moved_modes = (
                    scipy.fft.dctn(v, norm="ortho") for v in (values[i], moved)
                )
                result[i] = scipy.fft.idctn(own[i] * own_modes - other * moved_modes, norm="ortho")
            result *= missing
            return result

        diagonal = np.reshape([np.mean(o) for o in own], scale.shape)
        left = -precision(fields)
        direction = left / diagonal
        norm = float(np.vdot(left, direction))
        for _ in range(CONJUGATE_STEPS):
            image = precision(direction)
            curvature = float(np.vdot(direction, image))
            if not curvature > 0 or norm == 0:
                break
            fields += (norm / curvature) * direction
            left -= (norm / curvature) * image
            scaled = left / diagonal
            before, norm = norm, float(np.vdot(left, scaled))
            direction = scaled + (norm / before) * direction
        fields = (fields + level + shift) / scale
        result = []
        for data, start, values, holes in zip(filled, starts, fields, missing, strict=True):
            places = window.places(start, data.shape)
            data = data.copy()
            data[places] = np.where(holes, values, data[places])
            result.append(data)
        return result[0], result[1]

    def _without_outliers(self, state: _State) -> OverlapRoute | None:
        """The route for the same pair where pixels that only one image shows are invalid."""
        if self._rounds == 0:
            return None
        window, equations = state.comparison.window, state.equations
        residual = state.comparison.untransform(equations.residual)
        weight = pixel_weight(self._pair, window)
        used = np.ones(window.shape, bool) if weight is None else weight > 0
        places = outliers(residual * used)
        if window.step > 1:
            return OverlapRoute(self._pair, every_pixel=True) if places[0].size else None
        bad = [self._unseen(which, window, used) for which in (0, 1)]
        starts = (window.start, window.moving_start)
        inside = [
            tuple((p + s) % n for p, s, n in zip(places, start, data.shape, strict=True))
            for start, data in zip(starts, self._filled, strict=True)
        ]
        own = [departure(data, there) for data, there in zip(self._filled, inside, strict=True)]
        own[0] = equations.gain * own[0]
        # an outlier that is moved sends waves around it; in the image it is one pixel
        least = OUTLIER_SHARE * np.abs(residual[places])
        real = np.abs(own[1] - own[0]) > least
        if np.count_nonzero(real) <= MAX_SPIKES * residual.size:
            for mask, there, size in zip(bad, inside, np.abs(own), strict=True):
                # the image that has it; both, if both have one
                mask[tuple(p[real & (size > least / 2)] for p in there)] = True
        if not any(mask.any() for mask in bad):
            return None
        reference, moving = (
            without(image, mask) for image, mask in zip(self._pair.images, bad, strict=True)
        )
        pair = replace(self._pair, reference=reference, moving=moving)
        return OverlapRoute(pair, rounds=self._rounds - 1)

    def _unseen(self, which: int, window: Window, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rays in an image that no residual shows, but which are felt beside.

        Tracks outside of what is compared, and what is left of a track between filled pixels.
        """
        image, data = self._pair.images[which], self._filled[which]
        start = (window.start, window.moving_start)[which]
        found = spikes(data, alike=2)
        shown = np.zeros(data.shape, bool)
        shown[window.places(start, data.shape)] = used
        found &= ~shown
        if image.valid is not None:
            found = (found | spikes(data)) & image.valid
        return found

    def _descend(
        self,
        movable: tuple[MovableImage, MovableImage],
        start: Float,
        margin: int,
        *,
        weighted: bool = True,
        around: tuple[Float | None, Float | None] = (None, None),
        scene: Callable[[Float], Float] | None = None,
        rough: bool = False,
    ) -> _State:
        def compare(offset: Float, gain: float | None = None) -> Comparison:
            window = Window.at(self._pair, offset, margin, movable[0].step)
            pair = self._sampled_pair if weighted else self._pair
            return Comparison(
                pair, *movable, window, gain=gain, weighted=weighted, rims=around, scene=scene
            )

        offset = start.copy()
        comparison = compare(offset)
        equations = comparison.equations(offset)
        converged = False
        n_iter = 0
        step = np.zeros_like(offset)
        damping, size = 1.0, 0.0
        px = movable[0].step
        while not converged and n_iter < MAX_STEPS:
            n_iter += 1
            before, step = step, -equations.solve(equations.score)
            # far from the optimum the images decohere and the information is too small a scale
            if n_iter > 1 and step @ before < -0.3 * (before @ before):
                damping /= 2
            step = damping * step
            last, size = size, float(np.sqrt(abs(step @ equations.information @ step)))
            left = size * (min(size / last, 1.0) if n_iter > 1 and last > 0 else 1.0)
            if n_iter == 1:
                left *= max(CONTRACTION / np.sqrt(equations.telling_modes), LEAST_CONTRACTION)
            if rough:
                converged = left < ROUGH or bool(np.max(np.abs(step)) < ROUGH_PX)
            else:
                converged = left < TOLERANCE and size < LINEAR_BARS
                converged = converged or bool(np.max(np.abs(step)) < 1e-10)
            offset = offset + np.clip(step, -MAX_STEP * px, MAX_STEP * px)
            if np.any(np.abs(offset - comparison.window.offset) > 0.5 * px + 0.25):
                if not self._overlaps(offset):
                    offset = start.copy()
                    break
                comparison = compare(offset, equations.gain)
            if converged and rough:
                break
            equations = comparison.equations(offset, within=LINEAR if converged else 0.0)
        return _State(comparison, equations, offset, n_iter, converged)

    def _overlaps(self, offset: Float) -> bool:
        return min(Window.at(self._pair, offset).shape) >= 4
