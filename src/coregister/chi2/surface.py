"""chi^2 as a function of the offset, known between the pixels.

Every term of chi^2 is a correlation ``sum_p a_p f(p - d)`` of an array of the data with a function
of the model, ``f = Y`` or ``Y^2``. With ``A`` the transform of the array and ``F_k`` the Fourier
coefficients of the function it is the trigonometric polynomial ``sum_k A_k conj(F_k) exp(i k.d)``;
where the function has frequencies beyond those of the pixels, ``A`` repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from coregister.chi2.halves import HalfPixelPolynomial
from coregister.chi2.inputs import Arranged, Array, Transform
from coregister.fourier import Complex, TrigPolynomial, phase_ramp
from coregister.products import dot

#: offsets with fewer pixel pairs than this share of the most are not looked at
LEAST_PAIRS = 0.1
#: numbers that are worked on together
BLOCK = 2**16


class Surface:
    """chi^2 at any offset: `constant` plus trigonometric polynomials, over the share of pairs.

    Everything but `at_integers` and `residual` leaves `constant` out, so that differences of
    chi^2 keep their digits when chi^2 itself is large.

    Attributes
    ----------
    arranged : Arranged
    shape : tuple of int
        One period.
    constant : float
    terms : list of TrigPolynomial or HalfPixelPolynomial
        Their sum is the rest of chi^2.
    relative : array
        The same at all whole-pixel offsets, one period, offset 0 first.
    pairs : TrigPolynomial or None
        Number of pixel pairs over the number of usable data pixels; None = 1.
    usable : bool array or None
        Whole-pixel offsets with enough pairs; None = all.
    n_data : int
        Usable pixels of the data.
    rounding : float
        Differences of chi^2 below this are rounding errors.
    """

    constant: float
    terms: list[TrigPolynomial | HalfPixelPolynomial]
    relative: Array
    pairs: TrigPolynomial | None = None
    usable: NDArray[np.bool_] | None = None
    n_data: int

    def __init__(self, arranged: Arranged, transform: Transform) -> None:
        self.arranged = arranged
        self.transform = transform
        self.shape = arranged.model.shape
        weights = arranged.weights
        if arranged.model_valid is not None:
            size = self._build_masked(arranged.model_valid, np.broadcast_to(weights, self.shape))
        elif isinstance(weights, np.ndarray):
            size = self._build_weighted(weights)
        else:
            size = self._build_uniform(weights)
        self.rounding = float(64 * np.finfo(float).eps) * size

    def _build_uniform(self, weight: float) -> float:
        """One weight for the whole period: term 3 changes through the Nyquist samples alone.

        Returns, as the others do, what the terms of chi^2 that cannot be negative sum up to.
        """
        model, data = self.arranged.levelled()
        term1, term3 = weight * dot(data, data), weight * dot(model, model)
        self.n_data = model.size
        modes = self.transform.coefficients(model)
        lost = model.size * _nyquist_power(modes, self.shape)
        total = np.conjugate(modes, out=modes)
        total *= self.transform.forward(data)
        total *= -2 * weight
        self.constant = float(total[0, 0].real) + term3 + term1
        total[0, 0] = 0
        self.terms = [
            TrigPolynomial(total, self.shape),
            TrigPolynomial.from_samples(-weight * lost, density=2),
        ]
        self.relative = self.transform.values(total.copy(), self.shape[1])
        return term1 + term3

    def _build_weighted(self, weights: Array) -> float:
        """Weights for each pixel: term 3 lives on two samples a pixel.

        What is done to each row is done to few rows at a time, which stay in the cache. Arrays are
        used again and again: fresh ones cost more than what is done with them.
        """
        arranged, transform = self.arranged, self.transform
        model, data, pedestal = arranged.model, arranged.data, arranged.pedestal
        columns = self.shape[1]
        shape = self.shape[0], columns // 2 + 1
        down, right = phase_ramp(self.shape, (0.5, 0.5))
        rows, cross, opposite = (np.empty(shape, dtype=np.complex128) for _ in range(3))
        # correlation of the weights with the square of the model at (i + a / 2, j + b / 2)
        first, beside, between = (np.empty(shape, dtype=np.complex128) for _ in range(3))
        squares = [[first, beside], [rows, between]]

        blocks = list(_blocks(shape))
        work = np.empty((2, blocks[0].stop, columns))

        def square(a: int, some: slice, here: Array, there: Array) -> None:
            """`rows` of the square of the model, and of that half a pixel to the right."""
            transform.values_of_rows(rows[some] * right, columns, there)
            for each, square_rows in zip((here, there), squares[a], strict=True):
                each *= each
                transform.rows(each, square_rows[some])

        term1 = model_squares = 0.0
        self.n_data = 0
        for some in blocks:
            weight = weights[some]
            here, there = work[:, : len(weight)]
            self.n_data += int(np.count_nonzero(weight))
            transform.rows_forward(weight, opposite[some])
            np.subtract(data[some], pedestal, out=here)
            np.multiply(weight, here, out=there)
            term1 += dot(here, there)
            there *= -2
            transform.rows_forward(there, cross[some])
            np.subtract(model[some], pedestal, out=here)
            model_squares += dot(here, here)
            transform.rows(here, rows[some])
            square(0, some, here, there)
        modes, opposite = transform.columns(rows, spare=True), transform.columns_forward(opposite)
        cross = transform.columns_forward(cross)
        term3 = float(opposite[0, 0].real) / model.size * model_squares
        for some in blocks:
            cross[some] *= np.conj(modes[some])
            modes[some] *= down[some]
        rows = transform.rows_of(modes)
        for some in blocks:
            here, there = work[:, : len(rows[some])]
            square(1, some, transform.values_of_rows(rows[some], columns, here), there)
        squares = [[transform.columns(each, spare=True) for each in pair] for pair in squares]
        every = [each for pair in squares for each in pair]
        for some in blocks:
            conjugate = np.conj(opposite[some])
            for each in every:
                each[some] *= conjugate
            np.add(np.conj(every[0][some]), cross[some], out=opposite[some])
        constant = sum(float(each[0, 0].real) for each in every) / 4
        for each in every:
            each[0, 0] -= constant
        opposite[0, 0] -= constant
        self.constant = constant + term1
        self.terms = [HalfPixelPolynomial(squares, self.shape), TrigPolynomial(cross, self.shape)]
        rows = transform.rows_of(opposite)
        # the values take the place of rows that have been read
        self.relative = rows.reshape(-1).view(np.float64)[: model.size].reshape(self.shape)
        for some in blocks:
            here = work[0, : len(rows[some])]
            self.relative[some] = transform.values_of_rows(rows[some], columns, here)
        return term1 + term3

    def _build_masked(self, model_valid: NDArray[np.bool_], weights: Array) -> float:
        """Model pixels missing: their mask v moves along, so term 3, with v Y^2, needs three."""
        model, data = self.arranged.levelled()
        forward, coefficients = self.transform.forward, self.transform.coefficients
        valid = model_valid.astype(np.float64)
        used = (weights > 0).astype(np.float64)
        self.n_data = int(np.count_nonzero(used))
        self.constant = 0.0
        self.terms = []
        modes, valid_modes = coefficients(model), coefficients(valid)
        total = np.zeros_like(modes)
        arrays = (weights * data**2, -2 * weights * data, weights)
        for power, array in enumerate(arrays):
            density = power + 1
            spectrum = forward(array)
            total += spectrum * coefficients(valid * model**power).conj()
            fine = self._finer(valid_modes, density) * self._finer(modes, density) ** power
            term = coefficients(fine).conj()
            _multiply_repeated(term, spectrum, self.shape, density)
            self.terms.append(TrigPolynomial(term, fine.shape, density=density))
        pairs = forward(used) * valid_modes.conj() / self.n_data
        self.pairs = TrigPolynomial(pairs, self.shape)
        count = np.rint(self.transform.values(pairs.copy(), self.shape[1]) * self.n_data)
        self.usable = count >= max(1.0, LEAST_PAIRS * count.max())
        self.relative = self.transform.values(total, self.shape[1])
        self.relative *= self.n_data / np.maximum(count, 1)
        self.relative[count == 0] = np.inf
        return float(arrays[0].sum() + np.mean(weights) * dot(model, model))

    def _finer(self, modes: Complex, density: int) -> Array:
        """Samples, `density` a pixel, of the function with these coefficients."""
        rows, columns = self.shape
        fine = np.zeros((density * rows, columns // 2 + 1), dtype=np.complex128)
        _add_spread(fine, modes, self.shape, density)
        return self.transform.values(fine, density * columns)

    @property
    def image_shape(self) -> NDArray[np.int_]:
        """Shape of the images."""
        return np.array(self.shape) if self.arranged.periodic else self.arranged.upper + 1

    @property
    def edge_mode(self) -> str:
        """How filters of `scipy.ndimage` treat the edges of a map of all offsets."""
        return "wrap" if self.arranged.periodic else "nearest"

    @cached_property
    def searched(self) -> Array:
        """`relative`, infinite where no minimum is looked for."""
        relative = self.relative
        if self.usable is not None:
            relative = np.where(self.usable, relative, np.inf)
        if self.arranged.periodic:
            return relative
        index = self.index([np.arange(a, b + 1) for a, b in self._ranges()])
        searched = np.full(self.shape, np.inf)
        searched[index] = relative[index]
        return searched

    @cached_property
    def least(self) -> Array:
        """The least value of each row of `searched`."""
        return np.asarray(self.searched.min(axis=1))

    def within(self, level: float) -> NDArray[np.int_]:
        """Where `searched` is at most `level`: (number, 2) indices."""
        rows = np.flatnonzero(self.least <= level)
        row, column = np.nonzero(self.searched[rows] <= level)
        return np.array([rows[row], column]).T

    def _ranges(self) -> Iterator[tuple[int, int]]:
        return zip(self.arranged.lower.tolist(), self.arranged.upper.tolist(), strict=True)

    def spans(self, centre: Array) -> list[NDArray[np.int_]]:
        """All whole-pixel offsets of each axis, in one run; around `centre` if they go round."""
        if not self.arranged.periodic:
            return [np.arange(a, b + 1) for a, b in self._ranges()]
        middle = np.rint(centre).astype(int)
        return [m + np.arange(a, b + 1) for m, (a, b) in zip(middle, self._ranges(), strict=True)]

    def limits(self, centre: Array) -> Array:
        """Ends of all offsets, (axis, side): a region that meets them does not end."""
        beyond = 0.5 if self.arranged.periodic else 0.0
        return np.array([(s[0] - beyond, s[-1] + beyond) for s in self.spans(centre)])

    def index(self, offsets: Sequence[NDArray[np.int_]]) -> tuple[NDArray[np.int_], ...]:
        """Where the outer grid of whole-pixel offsets stands in `relative`."""
        return np.ix_(*(o % n for o, n in zip(offsets, self.shape, strict=True)))

    def at_integers(self, offsets: Sequence[NDArray[np.int_]]) -> Array:
        """chi^2 itself on the outer grid of whole-pixel offsets; never negative."""
        return np.asarray(np.maximum(self.constant + self.relative[self.index(offsets)], 0.0))

    def grid(self, positions: Sequence[Array]) -> Array:
        """chi^2 minus `constant` on the outer grid of two vectors of positions."""
        total = np.asarray(sum(term.grid(positions) for term in self.terms))
        if self.pairs is None:
            return total
        share = self.pairs.grid(positions)
        enough = share > 0.5 / self.n_data
        return np.where(enough, total / np.where(enough, share, 1.0), np.inf)

    def taylor(self, position: Array, order: int) -> Array:
        """Taylor coefficients, (order + 1, order + 1), of chi^2 minus `constant`."""
        total = np.asarray(sum(term.taylor(position, order) for term in self.terms))
        return total if self.pairs is None else _divide(total, self.pairs.taylor(position, order))

    def share(self, position: Array) -> float:
        """Pixel pairs over usable data pixels."""
        return 1.0 if self.pairs is None else self.pairs.derivatives(position)[0]

    def residual(self, position: Array) -> float:
        """chi^2 itself, as the sum of squares it is: no cancellation, exact 0 included."""
        arranged = self.arranged
        model, data = arranged.levelled()
        squares = arranged.weights * (data - self._moved(model, position)) ** 2
        if arranged.model_valid is not None:
            squares *= self._moved(arranged.model_valid.astype(np.float64), position)
        return max(float(squares.sum()), 0.0) / self.share(position)

    def refilled(self, position: Array) -> Array:
        """The model with the data at `position` in its holes, in its own place."""
        arranged = self.arranged
        model, data = arranged.levelled()
        data = np.where(np.asarray(arranged.weights) > 0, data, self._moved(model, position))
        rows, columns = self.image_shape
        return (self._moved(data, -position) + arranged.pedestal)[:rows, :columns]

    def _moved(self, image: Array, position: Array) -> Array:
        whole = np.rint(position)
        if np.array_equal(position, whole):
            return np.roll(image, whole.astype(int), (0, 1))
        modes = self.transform.coefficients(image)
        for ramp in phase_ramp(self.shape, position):
            modes *= ramp
        return self.transform.values(modes, self.shape[1])


def terms_at_integers(
    arranged: Arranged, transform: Transform, offsets: Sequence[NDArray[np.int_]]
) -> Iterator[float | Array]:
    """Terms 1, 2 and 3 of chi^2, of the images as they are, at whole-pixel offsets."""
    weights, model, shape = arranged.weights, arranged.model, arranged.model.shape
    data = np.where(np.asarray(weights) > 0, arranged.data, 0.0)
    index = np.ix_(*(o % n for o, n in zip(offsets, shape, strict=True)))

    def correlate(array: Array, function: Array) -> Array:
        product = transform.forward(array) * transform.coefficients(function).conj()
        return transform.values(product, shape[1])[index]

    if arranged.model_valid is None:
        yield float(np.sum(weights * data**2))
        yield -2 * correlate(weights * data, model)
        if isinstance(weights, np.ndarray):
            yield correlate(weights, model**2)
        else:
            yield float(weights * np.sum(model**2))
        return
    valid = arranged.model_valid.astype(np.float64)
    weights = np.broadcast_to(weights, shape)
    used = (weights > 0).astype(np.float64)
    count = np.rint(correlate(used, valid))
    scale = np.where(count > 0, used.sum() / np.maximum(count, 1), np.inf)
    yield scale * correlate(weights * data**2, valid)
    yield -2 * scale * correlate(weights * data, valid * model)
    yield scale * correlate(weights, valid * model**2)


def _blocks(shape: Sequence[int]) -> Iterator[slice]:
    """Some rows of an array after the other."""
    rows = min(max(1, BLOCK // shape[1]), shape[0])
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


def _nyquist_power(modes: Complex, shape: Sequence[int]) -> Array:
    """Mean square that a shift by half a pixel, along neither, either or both axes, removes."""
    rows, columns = shape
    along_y = along_x = both = 0.0
    if rows % 2 == 0:
        power = np.abs(modes[rows // 2]) ** 2
        along_y = 2 * float(power.sum()) - power[0] - (power[-1] if columns % 2 == 0 else 0.0)
    if columns % 2 == 0:
        along_x = float(np.sum(np.abs(modes[:, -1]) ** 2))
    if rows % 2 == 0 and columns % 2 == 0:
        both = abs(modes[rows // 2, -1]) ** 2
    return np.array([[0, along_x], [along_y, along_x + along_y - both]])


def _multiply_repeated(fine: Complex, half: Complex, shape: Sequence[int], density: int) -> None:
    """Multiply by the spectrum of samples with zeros put between them: `half`, repeated."""
    rows, columns = shape
    if density == 1:
        fine *= half
        return
    mirrored = half[-np.arange(rows) % rows][:, columns - np.arange(columns // 2 + 1, columns)]
    full = np.concatenate([half, np.conjugate(mirrored, out=mirrored)], axis=1)
    blocks = fine.reshape(density, rows, -1)
    for start in range(0, blocks.shape[-1], columns):
        block = blocks[..., start : start + columns]
        block *= full[:, : block.shape[-1]]


def _add_spread(fine: Complex, half: Complex, shape: Sequence[int], density: int) -> None:
    """Add a half spectrum to a finer one; the Nyquist samples split into their two signs."""
    rows, columns = shape
    width = half.shape[1]
    target = fine[:, :width]
    if density == 1:
        target += half
        return
    above, below = (rows + 1) // 2, (rows - 1) // 2
    pieces = [(slice(0, above), slice(0, above), 1.0)]
    if below:
        pieces.append((slice(-below, None), slice(-below, None), 1.0))
    if rows % 2 == 0:
        middle = slice(rows // 2, rows // 2 + 1)
        opposite = len(fine) - rows // 2
        pieces.append((middle, middle, 0.5))
        pieces.append((slice(opposite, opposite + 1), middle, 0.5))
    for to, of, factor in pieces:
        target[to] += half[of] if factor == 1 else factor * half[of]
        if columns % 2 == 0:
            target[to, -1] -= factor / 2 * half[of, -1]


def _divide(numerator: Array, denominator: Array) -> Array:
    """Taylor coefficients of a quotient."""
    quotient = np.zeros_like(numerator)
    for a, b in np.ndindex(numerator.shape):
        known = denominator[: a + 1, : b + 1][::-1, ::-1] * quotient[: a + 1, : b + 1]
        quotient[a, b] = (numerator[a, b] - known.sum()) / denominator[0, 0]
    return quotient
