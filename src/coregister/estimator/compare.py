"""Two images at one offset: the equations from which the answer and its bars come.

Both images are moved by half of the sub-pixel offset (a Fourier shift of the image extended
beyond its edges), cut to their overlap, and compared in its cosine transform. The cosine
transform sees no jump where the overlap ends, so no taper is needed, and a red scene does not
leak over the faint high frequencies. Cutting *after* the shift makes the window the same piece of
scene in both images: the answer is not pulled towards zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from coregister.estimator.background import Background
from coregister.estimator.spectrum import Spectra, cosine_rings, fit_spectra, photometry
from coregister.fourier import along, frequencies
from coregister.images import Pair

Float = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

#: samples by which an image is extended on every side before it is moved
EXTENSION = 16
#: samples dropped along the edges of the overlap, where the extension would be felt
MARGIN = 2
#: share of its length that a window may lose to one that transforms fast
TRIM = 0.02
#: pixels above which half of one does not matter
LONG = 128
#: values that are worked on at a time, where many steps follow each other
PIECE = 16384
#: how much coarser the first look at a pair may be
COARSER = 4
#: frequencies (cycles/px) between which the shift fades out: its kernel stays compact, and the
#: noise that it passes does not depend on the shift
FADE = (0.42, 0.5)
#: a slope of the background is taken out where it is more significant than this
SLOPE_SIGMA = 3.0
#: and looked at where it is this much, with itself in the noise that it is held against
SLOPE_HINT = 1.5
#: the information along a direction counts where it exceeds what noise makes of it by this
INFORMATION_SIGMA = 8.0


#: information along a direction counts where it exceeds this share of the largest: the ends of
#: the overlap make that much of stripes without noise
ANISOTROPY = 1e-5


def faded(k: Float) -> Float:
    """What a shift leaves of an amplitude at angular frequency `k` along one axis."""
    low, high = FADE
    return np.asarray(
        np.cos(np.pi / 2 * np.clip((np.abs(k) / (2 * np.pi) - low) / (high - low), 0, 1)) ** 2
    )


class MovableImage:
    """An image of which a window at any sub-pixel position can be taken.

    Parameters
    ----------
    data : array
        No holes: see `coregister.estimator.fill`.
    periodic : bool
        The image continues at its other side, and windows wrap around.
    amplitude : callable, optional
        Amplitude factor against frequency (cycles/px), applied before anything is cut.
    step : int
        Pixels between the samples that are taken: frequencies too high for them are left out.
    single : bool
        Single precision: half the time and half the memory.
    """

    def __init__(
        self,
        data: Float,
        *,
        periodic: bool,
        amplitude: Callable[[Float], Float] | None = None,
        step: int = 1,
        single: bool = False,
    ) -> None:
        self.level = float(np.mean(data))
        self.size = data.shape
        self._periodic = periodic
        self._pad = [0 if periodic else min(EXTENSION * step, n - 1) for n in data.shape]
        unit = step * COARSER
        self._shape = [
            n if periodic else unit * scipy.fft.next_fast_len(-(-(n + 2 * p) // unit), real=True)
            for n, p in zip(data.shape, self._pad, strict=True)
        ]
        self._real = np.dtype(np.float32 if single else np.float64)
        # what was subtracted in double precision loses nothing in single precision
        data = np.subtract(data, self.level, out=np.empty(data.shape, self._real))
        self._k: list[Float] = frequencies(self._shape)
        if not periodic:
            data = self._extended(data)
        self._spectrum: Complex = scipy.fft.rfftn(data, overwrite_x=True)
        if amplitude is not None:
            radius = np.sqrt(sum(k**2 for k in self._k)) / (2 * np.pi)
            self._spectrum *= amplitude(np.asarray(radius)).astype(self._real, copy=False)
        self.step = 1
        self._fade = [faded(k) for k in self._k]
        if step > 1:
            self._coarsen(step)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values in its windows."""
        return self._real

    @property
    def spectrum(self) -> Complex:
        """Half spectrum of the image, its level taken out, extended beyond its edges."""
        return self._spectrum

    @property
    def extended(self) -> tuple[int, ...]:
        """Shape of the extended image."""
        return tuple(self._shape)

    @property
    def margins(self) -> tuple[int, ...]:
        """Where in it the image begins."""
        return tuple(self._pad)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self._spectrum.nbytes)

    def coarser(self, factor: int) -> MovableImage:
        """The same image, its samples further apart by `factor`; not of a periodic one."""
        other = copy.copy(self)
        other._coarsen(factor)
        return other

    def moved(self, by: Float, factor: float) -> MovableImage:
        """Its content moved back `by` so many pixels, times a factor: ready to be added up."""
        dtype = self._spectrum.dtype
        ramps = [np.exp(1j * k * f) for k, f in zip(self._k, by, strict=True)]
        other = copy.copy(self)
        other._spectrum = self._spectrum * (factor * ramps[0]).astype(dtype, copy=False)
        for ramp in ramps[1:]:
            other._spectrum *= ramp.astype(dtype, copy=False)
        return other

    def plus(self, image: MovableImage) -> MovableImage:
        """The sum of two of one shape, in double precision."""
        other = copy.copy(self)
        other._spectrum = np.add(self._spectrum, image._spectrum, dtype=np.complex128)
        other._real = np.dtype(np.float64)
        return other

    def _coarsen(self, factor: int) -> None:
        """Keep the frequencies that samples further apart by `factor` can hold."""
        self.step *= factor
        self._shape = [n // factor for n in self._shape]
        self._spectrum = self._spectrum[..., : self._shape[-1] // 2 + 1]
        self._k = [*self._k[:-1], self._k[-1][..., : self._shape[-1] // 2 + 1]]
        for axis, n in enumerate(self._shape[:-1]):
            kept = np.r_[0 : n - n // 2, -(n // 2) : 0]
            taken: Any = self._spectrum.take(kept, axis)
            self._spectrum = taken
            self._k[axis] = np.asarray(self._k[axis].take(kept, axis))
        scale = np.asarray(1.0 / factor ** len(self._k), self._real)
        scaled: Any = self._spectrum * scale
        self._spectrum = scaled
        self._fade = [faded(k * self.step) for k in self._k]

    def _extended(self, data: Float) -> Float:
        """A point reflection continues value and slope; it then fades to the mean."""
        widths = [
            (p, full - n - p) for n, p, full in zip(data.shape, self._pad, self._shape, strict=True)
        ]
        extended = np.pad(data, widths, mode="reflect", reflect_type="odd")
        for axis, (before, after) in enumerate(widths):
            fade = np.ones(self._shape[axis])
            fade[:before] = np.sin(np.pi / 2 * (np.arange(before) + 0.5) / before) ** 2
            fade[-after:] = np.sin(np.pi / 2 * (np.arange(after) + 0.5) / after)[::-1] ** 2
            extended *= along(fade, axis, data.ndim).astype(self._real, copy=False)
        return extended

    def window(
        self,
        start: Sequence[int],
        shape: Sequence[int],
        fraction: Float,
        *,
        gradient: bool = False,
        each: Callable[[Float], Float] | None = None,
    ) -> list[Float]:
        """Values at ``start + fraction + step * index``, and the derivatives if asked.

        With `each` that is done to every field, one after the other, to save memory. The fields
        are parts of larger arrays.
        """
        corners = [divmod(s + p, self.step) for s, p in zip(start, self._pad, strict=True)]
        first = [corner for corner, _ in corners]
        complex_type = self._spectrum.dtype
        ramps = []
        for k, f, fade, (_, rest) in zip(self._k, fraction, self._fade, corners, strict=True):
            ramp = np.exp(1j * k * (f + rest))
            ramps.append((fade * ramp).astype(complex_type, copy=False))

        def done(rows: Complex) -> Float:
            field = self._columns(rows, first[-1], shape[-1])
            return field if each is None else each(field)

        moved = self._spectrum * (ramps[0] if len(ramps) > 1 else 1)
        for ramp in ramps[1:-1]:
            moved *= ramp
        slopes = []
        if gradient:
            for k in self._k[:-1]:
                turned = moved * (1j * k).astype(complex_type, copy=False)
                rows = self._rows(turned, ramps[-1], first, shape)
                slopes.append(done(rows))
        rows = self._rows(moved, ramps[-1], first, shape)
        field = done(rows)
        if gradient:
            rows *= (1j * self._k[-1]).astype(complex_type, copy=False)
            slopes.append(done(rows))
        return [field, *slopes]

    def _rows(
        self, spectrum: Complex, ramp: Complex, start: Sequence[int], shape: Sequence[int]
    ) -> Complex:
        """Inverse transform along all axes but the last, cut to the window along them.

        The spectrum is lost. `ramp` moves along the last axis.
        """
        axes = tuple(range(spectrum.ndim - 1))
        if not axes:
            return np.asarray(spectrum * ramp)
        rows = scipy.fft.ifftn(spectrum, axes=axes, overwrite_x=True)
        if self._periodic:
            rows = np.roll(rows, [-s for s in start[:-1]], axis=axes)
            rows *= ramp
            return np.asarray(rows)
        window = tuple(slice(s, s + n) for s, n in zip(start[:-1], shape[:-1], strict=True))
        return np.asarray(rows[window] * ramp)

    def _columns(self, rows: Complex, start: int, length: int) -> Float:
        """Inverse transform along the last axis, cut to the window."""
        field = scipy.fft.irfft(rows, n=self._shape[-1], axis=-1)
        if self._periodic:
            return np.roll(field, -start, axis=-1)
        return np.asarray(field[..., start : start + length])


@dataclass(frozen=True, kw_only=True)
class Window:
    """The piece of scene that both images show at a whole-pixel offset.

    Attributes
    ----------
    offset : (ndim,) int array
    start, moving_start : tuple of int
        Its first pixel in each image.
    shape : tuple of int
        Number of samples along each axis.
    step : int
        Pixels between them.
    phase : tuple of float
        What the first sample lies beyond `start`, 0 or 0.5 px: so that as much is dropped at one
        end as at the other.
    """

    offset: NDArray[np.int_]
    start: tuple[int, ...]
    moving_start: tuple[int, ...]
    shape: tuple[int, ...]
    step: int = 1
    phase: tuple[float, ...] = ()

    @classmethod
    def at(cls, pair: Pair, offset: Float, margin: int = MARGIN, step: int = 1) -> Window:
        """The overlap at the nearest whole-pixel offset, without `margin` samples at its edges.

        No transform is fast for every length: a little more is dropped where that helps.
        """
        whole = np.rint(offset).astype(int)
        shapes = [image.values.shape for image in pair.images]
        if pair.boundary == "periodic":
            start = (0,) * pair.ndim
            return cls(
                offset=whole,
                start=start,
                moving_start=tuple(int(d) for d in whole),
                shape=shapes[0],
            )
        starts, sizes, phases = [], [], []
        for d, n, m in zip(whole, *shapes, strict=True):
            first, last = max(0, -int(d)), min(n, m - int(d))
            drop = max(0, min(margin * step, (last - first - margin * step) // 4))
            left = last - first - 2 * drop
            size = fast_length(left) if step == 1 else fast_length(-(-left // step), parity=False)
            dropped, odd = divmod(left - (size - 1) * step - 1, 2)
            starts.append(first + drop + dropped)
            sizes.append(size)
            phases.append(odd / 2)
        return cls(
            offset=whole,
            start=tuple(starts),
            moving_start=tuple(s + int(d) for s, d in zip(starts, whole, strict=True)),
            shape=tuple(sizes),
            step=step,
            phase=tuple(phases),
        )

    def places(self, start: tuple[int, ...], shape: Sequence[int]) -> tuple[NDArray[np.int_], ...]:
        """Index of the window in an image of `shape` in which it begins at `start`."""
        return np.ix_(
            *((np.arange(n) + s) % m for n, s, m in zip(self.shape, start, shape, strict=True))
        )

    def of(self, values: NDArray[Any], start: tuple[int, ...], *, wrap: bool) -> NDArray[Any]:
        """The part of `values` in the window."""
        if wrap:
            return np.roll(values, [-s for s in start], axis=tuple(range(values.ndim)))
        step = self.step
        return values[
            tuple(slice(s, s + n * step, step) for s, n in zip(start, self.shape, strict=True))
        ]


def fast_length(length: int, *, parity: bool = True) -> int:
    """The longest length that transforms fast, if it is no shorter by more than `TRIM`.

    Parameters
    ----------
    length : int
    parity : bool
        Of a short one, take away even numbers only, so that no half pixel is left over.
    """
    shortest = int(np.ceil(length * (1 - TRIM)))
    for away in (2, 1):
        for shorter in range(length, shortest - 1, -away):
            if shorter == scipy.fft.next_fast_len(shorter, real=True):
                return shorter
        if parity and length < LONG:
            break
    return length


def known_directions(information: Float, noise: Float) -> tuple[Float, Float]:
    """Information along its principal directions, 0 where noise alone makes as much.

    Parameters
    ----------
    information : (ndim, ndim) array
    noise : (ndim, ndim) array
        See `Equations.information_noise`.
    """
    values, vectors = np.linalg.eigh(information)
    squares = vectors.T**2
    scatter = np.sqrt(np.einsum("ui,ij,uj->u", squares, noise, squares))
    floor = np.maximum(INFORMATION_SIGMA * scatter, ANISOTROPY * np.abs(values).max())
    return np.where(values > floor, values, 0.0), vectors


def unabsorbed(left: Float, columns: Float) -> Float:
    """Residual as it would be, had the fit not absorbed a part: much of it in a few bright pixels.

    Parameters
    ----------
    left : array
        Whitened residual.
    columns : (n, ...) array
        What was fitted to it.
    """
    flat = columns.reshape(len(columns), -1)
    inverse = np.asarray(np.linalg.pinv(products(flat, flat), hermitian=True), np.float64)
    result = np.empty_like(left)
    source, target, root = left.reshape(-1), result.reshape(-1), _root(inverse)
    for part in pieces(source.size):
        np.divide(source[part], _kept(_absorbed(flat, root, part)), out=target[part])
    return result


def _root(covariance: Float) -> Float:
    """Rows of which the products with the columns of a fit have unit variance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0.0, None))).T)


def _absorbed(columns: Float, root: Float, part: slice) -> Float:
    """Share of each value that a fit of the columns absorbs, of a part of them."""
    total = np.zeros_like(columns[0, part])
    for row in root:
        mixed = float(row[0]) * columns[0, part]
        for factor, column in zip(row[1:], columns[1:], strict=True):
            mixed += float(factor) * column[part]
        mixed *= mixed
        total += mixed
    return total


def _kept(share: Float) -> Float:
    """Root of what is left of the variance of values of which a share was absorbed, in place."""
    np.clip(share, 0.0, 0.9, out=share)
    np.subtract(1.0, share, out=share)
    return np.sqrt(share, out=share)


def pieces(size: int) -> Iterator[slice]:
    """Parts of an array of so many values, small enough to stay in the processor's cache."""
    for start in range(0, size, PIECE):
        yield slice(start, start + PIECE)


def products(left: NDArray[np.floating[Any]], right: NDArray[np.floating[Any]]) -> Float:
    """All products of the rows of two arrays, summed: (len(left), len(right))."""
    return np.array([[float(a @ b) for b in right] for a in left])


def _subtract(
    values: Float, amplitudes: Sequence[float] | Float, columns: Sequence[Float] | Float
) -> None:
    """Take so much of each column out of `values`, in place."""
    for amplitude, column in zip(amplitudes, columns, strict=True):
        for part in pieces(values.size):
            values[part] -= float(amplitude) * column[part]


@dataclass(frozen=True, kw_only=True)
class Equations:
    """A pair at one offset, mode by mode: what the score and its variance are made of.

    Attributes
    ----------
    spectra : Spectra
        Of the scene and of what is left over.
    weight : (n,) array
        Maximum-likelihood weight of each mode.
    residual : (n,) array
        Moving minus gain times reference, background taken out.
    gradient : (ndim, n) array
        Best estimate of the scene's derivative, made insensitive to gain and background.
    score : (ndim,) array
        Derivative of the misfit with respect to the offset.
    information : (ndim, ndim) array
        From products of the two images' derivatives: noise does not count as signal.
    information_noise : (ndim, ndim) array
        Fourth moments of frequency weighted by the noise of both images: along a unit vector
        ``u``, noise alone scatters the information by ``sqrt(u^2 @ this @ u^2)``.
    nuisance : (m, n) array
        What the fit takes out besides: the scene, and the background where it slopes.
    nuisance_inverse : (m, m) array
        Covariance of the amplitudes of these.
    cross : (size,) array
        Cross-spectrum as it was found, ring by ring, in units of moving.
    gain, background : float
        ``moving = gain * reference + background``.
    """

    spectra: Spectra
    weight: Float
    residual: Float
    gradient: Float
    score: Float
    information: Float
    information_noise: Float
    nuisance: Float
    nuisance_inverse: Float
    cross: Float
    gain: float
    background: float

    @property
    def scene(self) -> Float:
        """Best estimate of the scene, (n,)."""
        return np.asarray(self.nuisance[0])

    @property
    def telling_modes(self) -> float:
        """Effective number of modes from which the offset is known."""
        share = self.weight * np.einsum("in,in->n", self.gradient, self.gradient)
        return float(share.sum() ** 2 / max(float(share @ share), 1e-300))

    @cached_property
    def kept(self) -> Float:
        """What the fit left of the deviation of each mode's residual, up to 1, (n,)."""
        spread = _root(np.asarray(np.linalg.pinv(self.information, hermitian=True), np.float64))
        other = _root(self.nuisance_inverse)
        kept = np.empty_like(self.weight)
        for part in pieces(kept.size):
            absorbed = _absorbed(self.gradient, spread, part)
            absorbed += _absorbed(self.nuisance, other, part)
            absorbed *= self.weight[part]
            kept[part] = _kept(absorbed)
        return kept

    def whitened(self, comparison: Comparison) -> tuple[Float, Float]:
        """Residual (unit variance) and the gradients whose product is the score, in pixels."""
        white = np.sqrt(comparison.rings.spread(self.spectra.residual, self.weight.dtype))
        inverse = np.divide(1.0, white, out=np.zeros_like(white), where=white > 0)
        inverse *= self.residual
        inverse /= self.kept
        left = comparison.untransform(inverse, lost=True)
        white *= self.weight
        columns = np.empty((len(self.gradient) + 1, *left.shape), left.dtype)
        for target, column in zip(columns, (*self.gradient, self.scene), strict=True):
            modes = np.multiply(column, white, out=target.reshape(-1))
            target[...] = comparison.untransform(modes, lost=True)
        return unabsorbed(left, columns), columns[:-1]

    @cached_property
    def directions(self) -> tuple[Float, Float]:
        """Information along its principal directions, 0 where noise makes as much.

        Returns
        -------
        values : (ndim,) array
        vectors : (ndim, ndim) array
            Unit directions, in columns.
        """
        return known_directions(self.information, self.information_noise)

    def solve(self, vector: Float) -> Float:
        """``information^-1 vector``, with no step where nothing is known."""
        values, vectors = self.directions
        inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
        return np.asarray(vectors @ (inverse * (vectors.T @ vector)))


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
    """Gain, spectra, the weight of every mode, and the cross-spectrum as it was found."""

    gain: float
    spectra: Spectra
    weight: Float
    cross: Float


class _Beside(NamedTuple):
    """Ring averages of both images at one offset, and their derivatives along each axis.

    The two auto-spectra (the second times the gain) and the cross-spectrum.
    """

    equations: Equations
    powers: tuple[Float, Float, Float]
    slopes: list[tuple[Float, Float, Float]]


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
        self.step = window.step
        self.k = [
            along(np.pi * np.arange(n) / (n * self.step), a, pair.ndim) for a, n in enumerate(shape)
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
        self._beside: _Beside | None = None

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
            values = np.multiply(values, self.pixel_weight, out=values if lost else None)
            lost = True
        # what is transformed in place stays a part of a larger array
        lost = lost and values.flags.c_contiguous
        return np.asarray(scipy.fft.dctn(values, norm="ortho", overwrite_x=lost)).ravel()

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
        gain, spectra, weight, _ = seen
        self._gain = gain
        share = float(spectra.share)
        scene = gain * x
        residual = y - scene
        scene += share * residual
        nuisance = scene[np.newaxis] if columns.shape[0] == 0 else np.vstack([scene, columns])
        weighted = nuisance * weight
        inverse = np.asarray(
            np.linalg.pinv(products(weighted, nuisance), rcond=1e-12, hermitian=True), np.float64
        )
        _subtract(residual, inverse @ products(weighted, residual[np.newaxis])[:, 0], nuisance)
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
            pulls[i] = weighted @ slope
            np.multiply(dx, weight, out=spare)
            cross[i] = [gain * float(spare @ other) for other in modes.y_slopes]
        coupling = pulls @ inverse
        cross -= coupling @ pulls.T
        for i, slope in enumerate(gradient):
            _subtract(slope, coupling[i], nuisance)
            score[i] = np.multiply(slope, weight, out=spare) @ residual
        return Equations(
            spectra=spectra,
            weight=weight,
            residual=residual,
            gradient=gradient,
            score=score,
            information=(cross + cross.T) / 2,
            information_noise=self._information_noise(spectra),
            nuisance=nuisance,
            nuisance_inverse=inverse,
            cross=seen.cross,
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
            _subtract(residual, [-half * gain, -half], [dx, dy])
        self._background.take_level(residual)
        nuisance = equations.nuisance
        amplitude = products(nuisance * equations.weight, residual[np.newaxis])[:, 0]
        _subtract(residual, equations.nuisance_inverse @ amplitude, nuisance)
        x_level, y_level = modes.slope_levels @ way
        level = equations.background + float(y_level + gain * x_level)
        return replace(equations, residual=residual, background=level)

    def weight_beside(self, equations: Equations, away: Float) -> Float:
        """Weight of each ring, had the spectra been read `away` from where `equations` hold."""
        modes = self._modes
        assert modes is not None
        if self._beside is None or self._beside.equations is not equations:
            self._beside = self._read_beside(equations, modes)
        powers = np.array(self._beside.powers)
        for way, slope in zip(away, self._beside.slopes, strict=True):
            powers = powers + way * np.array(slope)
        xx, yy, xy = powers
        # second order: what is left over gains the power of the scene's derivative
        count, turn = self.rings.count, (2 * np.pi * self.rings.frequency) ** 2
        xy = xy - turn * equations.spectra.scene * (away @ away / len(away) / 2 / equations.gain)
        _, spectra = photometry(
            xx=xx, yy=yy, xy=xy, count=count, gain=self._gain, scene=equations.spectra.scene
        )
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

    def _read_beside(self, equations: Equations, modes: _Modes) -> _Beside:
        x, y = self.apart(equations)
        spare, other = np.empty_like(x), np.empty_like(x)

        def mean(left: Float, right: Float) -> Float:
            return self.rings.mean(np.multiply(left, right, out=spare))

        slopes = []
        for dx, dy in zip(modes.x_slopes, modes.y_slopes, strict=True):
            np.multiply(x, dy, out=other)
            other -= np.multiply(y, dx, out=spare)
            slopes.append((-mean(x, dx), mean(y, dy), self.rings.mean(other) / 2))
        return _Beside(equations, (mean(x, x), mean(y, y), mean(x, y)), slopes)

    def _photometry(self, x: Float, y: Float) -> tuple[float, Spectra, Float]:
        """Gain, spectra, and the cross-spectrum as it was found, from the modes of both."""
        rings, count = self.rings, self.rings.count
        spare = np.empty_like(x)
        xx, yy, xy = (rings.mean(np.multiply(a, b, out=spare)) for a, b in ((x, x), (y, y), (x, y)))
        if self._seen is None:
            gain, spectra = photometry(xx=xx, yy=yy, xy=xy, count=count, gain=self._gain)
            return gain, spectra, gain * xy
        # noise from what was measured, the scene from all of it: holes leak it over the faint rings
        share = float(np.mean(self._seen**2))
        left, right = (
            scipy.fft.dctn(self.untransform(v) * self._seen, norm="ortho").ravel() / np.sqrt(share)
            for v in (x, y)
        )
        gain, seen = photometry(
            xx=rings.mean(left * left),
            yy=rings.mean(right * right),
            xy=rings.mean(left * right),
            count=count * share,
            gain=self._gain,
        )
        first, cross = gain**2 * xx, gain * xy
        residual = np.maximum(yy - 2 * cross + first, 0.0)
        whole = fit_spectra(xx=first, yy=yy, xy=cross, residual=residual, count=count)
        return gain, replace(seen, scene=whole.scene), cross

    def observed(self, left: Float, pulls: Float) -> Float:
        """Information where a pixel counts by the share of its noise that was measured.

        Parameters
        ----------
        left, pulls : array
            See `Equations.whitened`.
        """
        assert self._seen is not None
        seen = self._seen > 0
        variance = np.where(seen, np.mean(left[seen] ** 2), np.mean(left[~seen] ** 2))
        flat = (pulls * np.sqrt(variance)).reshape(len(pulls), -1)
        return np.asarray(flat @ flat.T)

    def _weigh(self, x: Float, y: Float) -> _Weighed:
        gain, spectra, cross = self._photometry(x, y)
        spectra = self._known(spectra)
        return _Weighed(gain, spectra, self.rings.spread(spectra.weight, self.dtype), cross)

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
        frequency = self.rings.frequency

        def noise(where: Float) -> Float:
            product = np.interp(where, frequency, spectra.noise_product)
            return np.asarray(product * np.interp(where, frequency, spectra.weight) ** 2)

        field = self.rings.spread_function(noise, self.dtype).reshape(self.window.shape)
        squares = [(k.ravel() ** 2).astype(self.dtype, copy=False) for k in self.k]
        ndim = len(squares)
        moments = np.empty((ndim, ndim))
        for i in range(ndim):
            for j in range(i, ndim):
                others = tuple(a for a in range(ndim) if a not in (i, j))
                plane = field.sum(axis=others) if others else field
                value = squares[i] ** 2 @ plane if i == j else squares[i] @ plane @ squares[j]
                moments[i, j] = moments[j, i] = value
        return moments


def pixel_weight(
    pair: Pair, window: Window, rims: tuple[Float | None, Float | None] = (None, None)
) -> Float | None:
    """1/sigma, 0 where either image has no valid pixel; None if all pixels count alike."""
    weight: Float | None = None
    wrap = pair.boundary == "periodic"
    starts = (window.start, window.moving_start)
    variances = [
        window.of(image.sigma, start, wrap=wrap) ** 2
        for image, start in zip(pair.images, starts, strict=True)
        if isinstance(image.sigma, np.ndarray)
    ]
    if variances:
        variance = np.sum(variances, axis=0)
        weight = np.sqrt(np.median(variance) / variance)
    more = [window.of(r, s, wrap=wrap) for r, s in zip(rims, starts, strict=True) if r is not None]
    if more:
        weight = (1.0 if weight is None else weight) / np.sqrt(1.0 + np.sum(more, axis=0))
    for image, start in zip(pair.images, starts, strict=True):
        if image.valid is not None:
            valid = window.of(image.valid, start, wrap=wrap)
            if not valid.all():
                weight = valid * (1.0 if weight is None else weight)
    return weight
