"""Two images at one offset: the equations from which the answer and its bars come.

Both images are moved by half of the sub-pixel offset (a Fourier shift of the image extended
beyond its edges), cut to their overlap, and compared in its cosine transform. The cosine
transform sees no jump where the overlap ends, so no taper is needed, and a red scene does not
leak over the faint high frequencies. Cutting *after* the shift makes the window the same piece of
scene in both images: the answer is not pulled towards zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.background import Background
from coregister.estimator.equations import (
    MOST_ABSORBED,
    Equations,
    absorbed,
    subtract,
    unabsorbed,
)
from coregister.estimator.matrices import inverse
from coregister.estimator.movable import FADE, MovableImage
from coregister.estimator.rings import cosine_fourths, cosine_rings, cosine_waves
from coregister.estimator.spectrum import Spectra, fit_spectra, photometry
from coregister.estimator.stages import NothingSharedError
from coregister.estimator.window import Window, pixel_weight
from coregister.fourier import along
from coregister.images import Pair
from coregister.products import dot, products

Float = NDArray[np.float64]

#: a slope of the background is taken out where it is more significant than this
SLOPE_SIGMA = 3.0
#: and looked at where it is this much, with itself in the noise that it is held against
SLOPE_HINT = 1.5


class _Modes(NamedTuple):
    """Both windows at one offset, mode by mode, in each image's own units.

    The levels are taken out of `x` and `y` and stand beside, with those of their derivatives.
    """

    offset: Float
    x: Float
    y: Float
    x_slopes: list[Float]
    y_slopes: list[Float]
    levels: tuple[float, float]
    slope_levels: Float


class _Weighed(NamedTuple):
    """Gain, spectra, the weight of every mode, `Equations.powers` and `Equations.found`."""

    gain: float
    spectra: Spectra
    weight: Float
    powers: Float
    found: Float


class Comparison:
    """A pair cut to one window: its equations at any offset near it.

    Parameters
    ----------
    pair : Pair
    reference, moving : MovableImage
    window : Window
    gain : float, optional
        First guess of the gain.
    weighted : bool
        Weigh the pixels by their errors and leave out the invalid ones; else all count alike.
    rims : tuple of array, optional
        Variance by guesses beside the holes of each image, in units of that of the noise.
    scene : callable, optional
        Power of the scene against frequency (cycles/px), per pixel that counts, if it is known
        better than from this window.
    bridged : bool
        Holes hold what both images make most likely, so that all pixels count; the invalid ones
        are left out of what is read of the noise, and lessen the information.

    Raises
    ------
    NothingSharedError
        If the window is empty; if pixels are weighed, see `window.pixel_weight`, too.
    """

    def __init__(
        self,
        pair: Pair,
        reference: MovableImage,
        moving: MovableImage,
        window: Window,
        *,
        gain: float | None = None,
        weighted: bool = True,
        rims: tuple[Float | None, Float | None] = (None, None),
        scene: Callable[[Float], Float] | None = None,
        bridged: bool = False,
    ) -> None:
        self.window = window
        self._reference = reference
        self._moving = moving
        self._gain = gain
        shape = window.shape
        if min(shape) < 1:
            raise NothingSharedError
        self.step = window.step
        self.k = [
            along(k, axis, pair.ndim) for axis, k in enumerate(cosine_waves(shape, self.step))
        ]
        self.rings = cosine_rings(shape, self.step)
        self._scene = scene
        self.dtype = reference.dtype
        weight = pixel_weight(pair, window, rims) if weighted else None
        if weight is not None:
            weight = weight.astype(self.dtype, copy=False)
        self.pixel_weight = None if bridged else weight
        self._seen = weight if bridged else None
        self._background = Background(shape, self.pixel_weight, self.dtype)
        self._modes: _Modes | None = None

    @property
    def single(self) -> bool:
        """True in single precision."""
        return self.dtype == np.float32

    @property
    def bridged(self) -> bool:
        """True if holes hold what both images make most likely."""
        return self._seen is not None

    @property
    def clear(self) -> float:
        """Frequency (cycles/px) up to which nothing has faded."""
        return FADE[0] / self.step

    def transform(self, values: Float, *, lost: bool = False) -> Float:
        """Orthonormal cosine transform of the weighted values, flattened.

        With `lost` the values are overwritten, to save memory.
        """
        if self.pixel_weight is not None:
            values = values * self.pixel_weight
        elif not (lost and values.flags.c_contiguous):
            values = values.copy()  # transforms in place take less time than those to new memory
        return np.asarray(scipy.fft.dctn(values, norm="ortho", overwrite_x=True)).ravel()

    def untransform(self, modes: Float, *, lost: bool = False) -> Float:
        """Field of which the modes are given; with `lost` these are overwritten."""
        modes = modes.reshape(self.window.shape)
        return np.asarray(scipy.fft.idctn(modes, norm="ortho", overwrite_x=lost))

    def fields(
        self,
        offset: Float,
        *,
        gradient: bool = False,
        each: Callable[[Float], Float] | None = None,
    ) -> tuple[list[Float], list[Float]]:
        """Both windows, moved towards each other by half the sub-pixel offset."""
        half = (offset - self.window.offset) / 2
        window = self.window
        phase = np.array(window.phase or np.zeros_like(half))
        reference = self._reference.window(
            window.start, window.shape, phase - half, gradient=gradient, each=each
        )
        moving = self._moving.window(
            window.moving_start, window.shape, phase + half, gradient=gradient, each=each
        )
        return reference, moving

    def _evaluate(self, offset: Float) -> _Modes:
        """Modes of both fields and of their derivatives at `offset`."""
        x, y = self.fields(offset, gradient=True, each=partial(self.transform, lost=True))
        levels = np.array([[self._background.level(v) for v in modes[1:]] for modes in (x, y)])
        x_level, y_level = (self._background.take_level(modes[0]) for modes in (x, y))
        return _Modes(offset, x[0], y[0], x[1:], y[1:], (x_level, y_level), levels)

    def equations(self, offset: Float | None = None) -> Equations:
        """Score, information and all behind them at `offset`; None: where they were last."""
        modes = self._modes
        if offset is not None and (modes is None or np.any(offset != modes.offset)):
            modes = self._modes = self._evaluate(offset)
        assert modes is not None
        x, y, (x_level, y_level) = modes.x, modes.y, modes.levels
        seen = self._weigh(x, y)
        columns = self._background.columns(tilted=False)
        slopes = self._tilt(x, y, seen, SLOPE_HINT)
        if slopes is not None:
            # inside, it sits in the residual's coarse rings, which then count for little
            first = self._weigh(x, self._background.without(y, slopes))
            slopes = self._tilt(x, y, first, SLOPE_SIGMA)
            if slopes is not None:
                seen = self._weigh(x, self._background.without(y, slopes))
                columns = self._background.columns(tilted=True)
        gain, spectra, weight = seen.gain, seen.spectra, seen.weight
        self._gain = gain
        share = float(spectra.share)
        scene = gain * x
        residual = y - scene
        scene += share * residual
        nuisance = scene[np.newaxis] if columns.shape[0] == 0 else np.vstack([scene, columns])
        weighted = nuisance * weight
        covariance = inverse(products(weighted, nuisance), 1e-12)
        subtract(residual, covariance @ products(weighted, residual[np.newaxis])[:, 0], nuisance)
        # gradient: the derivative of the scene, less what the nuisance can do
        ndim = len(modes.x_slopes)
        gradient = np.empty((ndim, x.size), self.dtype)
        spare = np.empty(x.size, self.dtype)
        cross, pulls, score = (
            np.empty((ndim, ndim)),
            np.empty((ndim, len(nuisance))),
            np.empty(ndim),
        )
        for i, (dx, dy, slope) in enumerate(
            zip(modes.x_slopes, modes.y_slopes, gradient, strict=True)
        ):
            np.multiply(dx, gain * (1 - share), out=slope)
            slope += np.multiply(dy, share, out=spare)
            pulls[i] = products(weighted, slope[np.newaxis])[:, 0]
            np.multiply(dx, weight, out=spare)
            cross[i] = [gain * dot(spare, other) for other in modes.y_slopes]
        coupling, pulled = pulls @ covariance, np.multiply(residual, weight, out=spare)
        cross -= coupling @ pulls.T
        for i, slope in enumerate(gradient):
            subtract(slope, coupling[i], nuisance)
            score[i] = dot(slope, pulled)
        return Equations(
            spectra=spectra,
            weight=weight,
            residual=residual,
            gradient=gradient,
            score=score,
            information=(cross + cross.T) / 2,
            information_noise=self._information_noise(spectra),
            nuisance=nuisance,
            nuisance_inverse=covariance,
            powers=seen.powers,
            found=seen.found,
            gain=gain,
            background=self._moving.level + y_level - gain * (self._reference.level + x_level),
        )

    def near(self, offset: Float, px: float) -> bool:
        """True if the last equations are of an offset as near as `px`."""
        return self._modes is not None and bool(np.max(np.abs(offset - self._modes.offset)) <= px)

    def moved(self, equations: Equations, offset: Float) -> Equations:
        """Those of the last evaluation, at an offset so near that nothing but the residual changes.

        It is moved by the derivatives: its second order cancels, as the images move in opposite
        directions. The score is not: the derivatives hold noise and do not move.
        """
        modes, gain = self._modes, equations.gain
        assert modes is not None
        way = (offset - modes.offset) / 2
        residual = equations.residual.copy()
        for half, dx, dy in zip(way, modes.x_slopes, modes.y_slopes, strict=True):
            subtract(residual, [-half * gain, -half], [dx, dy])
        self._background.take_level(residual)
        nuisance = equations.nuisance
        amplitude = products(nuisance * equations.weight, residual[np.newaxis])[:, 0]
        subtract(residual, equations.nuisance_inverse @ amplitude, nuisance)
        x_level, y_level = modes.slope_levels @ way
        level = equations.background + float(y_level + gain * x_level)
        return replace(equations, residual=residual, background=level)

    def weight_of(self, spectra: Spectra) -> Float:
        """Weight of each ring, the power of the scene as it is known."""
        return self._known(spectra).weight

    def bridging(self, pair: Pair) -> Comparison:
        """The same windows, of which the invalid pixels tell nothing of the noise."""
        other = copy.copy(self)
        weight = pixel_weight(pair, self.window)
        other._seen = None if weight is None else weight.astype(self.dtype, copy=False)
        return other

    def apart(self, equations: Equations) -> tuple[Float, Float]:
        """Modes of either image, what the fit took out aside."""
        residual, share = equations.residual, float(equations.spectra.share)
        y = equations.scene + (1 - share) * residual
        return (y - residual) / equations.gain, y

    def whitened(self, equations: Equations) -> tuple[Float, Float]:
        """Residual (unit variance) and the gradients whose product is the score, in pixels."""
        rings, spectra = self.rings, equations.spectra
        deviation = np.sqrt(rings.at_bins(spectra.residual))
        modes = rings.at_modes(1 / deviation, self.dtype)
        modes *= equations.residual
        modes /= equations.kept
        left = self.untransform(modes, lost=True)
        white = rings.at_modes(deviation * rings.at_bins(spectra.weight), self.dtype)

        def field(column: Float, target: Float) -> None:
            modes = np.multiply(column, white, out=target.reshape(-1))
            done = self.untransform(modes, lost=True)
            if not np.may_share_memory(done, target):  # it need not be in place
                target[...] = done

        pulls = np.empty((len(equations.gradient), *left.shape), left.dtype)
        for slope, target in zip(equations.gradient, pulls, strict=True):
            field(slope, target)
        if absorbed(pulls) > MOST_ABSORBED:
            columns = np.concatenate([pulls, pulls[:1]])
            field(equations.scene, columns[-1])
            left = unabsorbed(left, columns)
        return left, pulls

    def _photometry(self, x: Float, y: Float) -> tuple[float, Spectra, Float]:
        """Gain, spectra, and `Equations.powers`, from the modes of both."""
        rings, count = self.rings, self.rings.count
        spare = np.empty_like(x)
        xx, yy, xy = (rings.mean(np.multiply(a, b, out=spare)) for a, b in ((x, x), (y, y), (x, y)))
        if self._seen is None:
            gain, spectra = photometry(xx=xx, yy=yy, xy=xy, count=count, gain=self._gain)
            return gain, spectra, np.stack([gain**2 * xx, yy, gain * xy])
        # noise from what was measured, the scene from all of it: holes leak it over the faint rings
        share = dot(self._seen, self._seen) / self._seen.size
        left, right = (self._measured(v) for v in (x, y))
        powers = [
            rings.mean(np.multiply(a, b, out=spare)) / share
            for a, b in ((left, left), (right, right), (left, right))
        ]
        gain, seen = photometry(
            xx=powers[0], yy=powers[1], xy=powers[2], count=count * share, gain=self._gain
        )
        first, cross = gain**2 * xx, gain * xy
        residual = np.maximum(yy - 2 * cross + first, 0.0)
        whole = fit_spectra(xx=first, yy=yy, xy=cross, residual=residual, count=count)
        return gain, replace(seen, scene=whole.scene), np.stack([first, yy, cross])

    def _measured(self, modes: Float) -> Float:
        """Modes of the pixels that were measured."""
        assert self._seen is not None
        field = self.untransform(modes)
        field *= self._seen
        return np.asarray(scipy.fft.dctn(field, norm="ortho", overwrite_x=True)).ravel()

    def where_measured(self, field: Float) -> Float:
        """A field, 0 in the holes that were filled and count like the rest."""
        return field if self._seen is None else field * (self._seen > 0)

    def observed(self, left: Float, pulls: Float) -> Float:
        """Information where a pixel counts by the share of its noise that was measured.

        Parameters
        ----------
        left, pulls : array
            See `whitened`.
        """
        assert self._seen is not None
        seen = self._seen > 0
        known = left * seen
        power, count = dot(known, known), np.count_nonzero(seen)
        guessed = np.subtract(left, known, out=known)
        deviation = np.sqrt([dot(guessed, guessed) / (left.size - count), power / count])
        flat = (pulls * deviation.astype(pulls.dtype)[seen.view(np.uint8)]).reshape(len(pulls), -1)
        return products(flat, flat)

    def _weigh(self, x: Float, y: Float) -> _Weighed:
        gain, spectra, powers = self._photometry(x, y)
        found, spectra = spectra.scene, self._known(spectra)
        weight = self.rings.spread(spectra.weight, self.dtype)
        return _Weighed(gain, spectra, weight, powers, found)

    def _known(self, spectra: Spectra) -> Spectra:
        """Spectra, the scene's as it is known."""
        if self._scene is None or self.pixel_weight is None:
            return spectra
        known = self._scene(self.rings.frequency) * float(np.mean(self.pixel_weight**2))
        return replace(spectra, scene=known)

    def _tilt(self, x: Float, y: Float, seen: _Weighed, sigma: float) -> Float | None:
        """Slopes of the background, its level aside; None if they are less significant."""
        slopes, squares = self._background.slopes(x, y, seen.gain, seen.weight)
        if squares <= len(slopes) - 1 + sigma**2:
            return None
        return slopes

    def _information_noise(self, spectra: Spectra) -> Float:
        """Fourth moments of frequency, weighted by the noise of both images."""
        noise, weight = (self.rings.at_bins(v) for v in (spectra.noise_product, spectra.weight))
        return np.asarray(cosine_fourths(self.window.shape, self.step) @ (noise * weight**2))
