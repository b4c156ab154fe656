"""Rings of one frequency in an array of modes: their sums, their averages, their values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache, reduce
from itertools import combinations_with_replacement
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike, NDArray

from coregister.fourier import along

Float = NDArray[np.float64]

#: fewest modes in a ring
MIN_MODES = 8
#: modes up to which rings are kept for the next pair of that shape
LARGEST_KEPT = 2**19
#: the same, where only the last of them are kept
LARGEST_KEPT_LAST = 2**23
#: modes from which sums over the rings are done run by run
LONG_RUNS = 2**17
#: modes of a half spectrum from which the rows that mirror each other are added first
MANY = 2**14
#: modes that are looked at together
PART = 2**16
#: bins of frequency from which the rings are put together
FINE_BINS = 8192


def cosine_frequency(shape: Sequence[int], step: int = 1) -> Float:
    """Frequency (cycles/px) of every mode of a cosine transform of samples `step` px apart."""
    ndim = len(shape)
    large = np.prod(shape) > LARGEST_KEPT
    total: Float = np.zeros(tuple(shape), np.float32 if large else np.float64)
    for a, n in enumerate(shape):
        total += along((np.arange(n) / (2.0 * n * step)) ** 2, a, ndim).astype(total.dtype)
    return np.sqrt(total, out=total)


def _parts(size: int) -> Iterator[slice]:
    """Parts of an array small enough to stay in the processor's cache."""
    for start in range(0, size, PART):
        yield slice(start, start + PART)


class Counted(Protocol):
    """Rings of which only frequency and number of modes are asked."""

    @property
    def frequency(self) -> Float:
        """Mean frequency of each, cycles/px."""

    @property
    def count(self) -> Float:
        """Modes in each."""


class Rings:
    """Rings of one frequency in an array of modes.

    Every mode belongs to one of many narrow bins of frequency, and the bins to rings: sums and
    interpolation are done on the bins, so that a pass over the modes is one look-up each.

    Parameters
    ----------
    frequency : array
        Frequency of every mode, cycles/px; zero frequency, the first, belongs to no ring.
    multiplicity : array, optional
        How many modes of the full plane an entry stands for; default 1.
    half : bool
        The same in short: two, but for index 0 of the last axis.
    without : sequence of tuple of slice
        Where modes are that count for nothing.

    Attributes
    ----------
    size : int
        Number of rings.
    frequency : (size,) array
        Mean frequency of each, cycles/px.
    count : (size,) array
        Modes in each.
    """

    def __init__(
        self,
        frequency: Float,
        multiplicity: Float | None = None,
        *,
        half: bool = False,
        without: Sequence[tuple[slice, ...]] = (),
    ) -> None:
        flat = frequency.ravel()
        self._shape = frequency.shape
        self._weight, self._half = multiplicity, half
        top = float(flat.max())
        fine = np.empty(flat.size, dtype=np.int16)
        for part in _parts(flat.size):
            fine[part] = np.minimum(flat[part] * np.float64(FINE_BINS / top), FINE_BINS - 1)
        # zero frequency and modes that count for nothing: a bin of their own, in no sum
        if flat[0] < 1e-12:
            fine[0] = FINE_BINS
        if multiplicity is not None and not multiplicity.all():
            fine[np.broadcast_to(multiplicity == 0, self._shape).ravel()] = FINE_BINS
        for place in without:
            fine.reshape(self._shape)[place] = FINE_BINS
        self._keep(fine, FINE_BINS)
        modes = self.sums(None)
        # mirrored modes are one sample
        mirrored = half or multiplicity is not None
        ring_of = self._group(modes / 2 if mirrored else modes, top)
        self._centre = np.linspace(0.5, FINE_BINS - 0.5, FINE_BINS) * (top / FINE_BINS)
        if flat.size < 4 * FINE_BINS:  # bins without modes would only cost time
            used = np.flatnonzero(modes)
            number = np.full(FINE_BINS + 1, used.size, dtype=np.int16)
            number[used] = np.arange(used.size)
            self._keep(number.take(fine), used.size)
            self._centre, modes, ring_of = self._centre[used], modes[used], ring_of[used]
        self._starts = np.flatnonzero(np.diff(ring_of, prepend=-1))
        self.size = self._starts.size
        self.count = np.add.reduceat(modes, self._starts)
        self.frequency = np.add.reduceat(modes * self._centre, self._starts) / self.count

    def _keep(self, fine: NDArray[np.int16], used: int) -> None:
        self._fine, self._used = fine, used
        if self._half:  # of every two rows that mirror each other, one
            many = len(self._shape) > 1 and fine.size > MANY
            self._rows = self._shape[0] // 2 + 1 if many else self._shape[0]
            some = fine.reshape(self._shape)[: self._rows]
            self._some, self._once = some.ravel(), np.array(some[..., 0]).ravel()

    def sums(self, values: NDArray[np.floating] | None) -> Float:
        """Sums over the narrow bins; the number of modes for None."""
        total: NDArray[Any]
        if self._half:
            both = _folded(np.ones(self._shape) if values is None else values, self._rows)
            total = 2 * np.bincount(self._some, both.ravel(), self._used + 1)
            total -= np.bincount(self._once, both[..., 0].ravel(), self._used + 1)
            return total[: self._used].astype(np.float64, copy=False)
        flat = None if values is None else values.ravel()
        if self._weight is not None:
            flat = self._weight.ravel() if flat is None else flat * self._weight.ravel()
        total = np.zeros(self._used + 1)
        for part in _parts(self._fine.size):
            weights = None if flat is None else flat[part]
            total += np.bincount(self._fine[part], weights, self._used + 1)
        return total[: self._used].astype(np.float64, copy=False)

    @staticmethod
    def _group(population: Float, top: float) -> NDArray[np.intp]:
        """Ring of every fine bin: logarithmic steps where a red scene changes fast, then linear."""
        ring_of = np.empty(FINE_BINS, dtype=np.intp)
        cumulative = np.append(0, np.cumsum(population))
        start, ring = 0, 0
        while start < FINE_BINS:
            first = int(np.searchsorted(cumulative, cumulative[start], side="right")) - 1
            low = top * first / FINE_BINS
            width = int(np.ceil(min(0.12 * low, 0.008) / top * FINE_BINS))
            enough = int(np.searchsorted(cumulative, cumulative[start] + MIN_MODES))
            stop = min(max(first + max(width, 1), enough), FINE_BINS)
            if cumulative[-1] - cumulative[stop] < MIN_MODES:
                stop = FINE_BINS
            ring_of[start:stop] = ring
            start, ring = stop, ring + 1
        return ring_of

    def mean(self, values: NDArray[np.floating]) -> Float:
        """Average of `values` over each ring."""
        runs = len(self._shape) < 3 and self._fine.size >= LONG_RUNS  # in a volume they are short
        if self._weight is not None or self._half or not runs:
            return self.average(self.sums(values))
        ring, start = self._runs
        sums = np.add.reduceat(values.ravel(), start)
        return np.bincount(ring, weights=sums, minlength=self.size + 1)[:-1] / self.count

    @cached_property
    def _runs(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Ring and start of every run of modes, one after the other in memory, of one ring."""
        ring = np.zeros(self._used + 1, dtype=np.int16)
        ring[self._starts] = 1
        ring[0], ring[-1] = 0, 1
        ring = np.cumsum(ring, dtype=np.int16)  # those of no ring last
        of_mode = self._taken(ring)
        start = np.append(0, np.flatnonzero(of_mode[1:] != of_mode[:-1]) + 1)
        return of_mode[start].astype(np.intp), start

    def average(self, sums: Float) -> Float:
        """Average over each ring, from the `sums` over the narrow bins."""
        return np.asarray(np.add.reduceat(sums, self._starts) / self.count)

    def spread(self, ring_values: Float, dtype: DTypeLike = np.float64) -> Float:
        """Ring values interpolated to every mode; 0 at zero frequency."""
        return self.at_modes(self.at_bins(ring_values), dtype)

    def spread_function(
        self, values: Callable[[Float], Float], dtype: DTypeLike = np.float64
    ) -> Float:
        """Values of a function of frequency at every mode; 0 at zero frequency."""
        return self.at_modes(values(self._centre), dtype)

    @property
    def bin_frequency(self) -> Float:
        """Frequency of the narrow bins, cycles/px."""
        return self._centre

    def at_bins(self, ring_values: Float) -> Float:
        """Ring values interpolated to the narrow bins."""
        return np.asarray(np.interp(self._centre, self.frequency, ring_values), dtype=np.float64)

    def at_modes(self, bin_values: Float, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Values on the narrow bins, at every mode; 0 at zero frequency."""
        values = np.zeros(self._used + 1, dtype)
        values[:-1] = bin_values
        return self._taken(values)

    def _taken(self, values: NDArray[Any]) -> NDArray[Any]:
        """Of values on the narrow bins, and one for no ring, that of every mode."""
        taken = np.empty(self._fine.size, values.dtype)
        for part in _parts(taken.size):
            values.take(self._fine[part], out=taken[part], mode="wrap")  # the fastest of them
        return taken

    @cached_property
    def of_mode(self) -> NDArray[np.intp]:
        """Number of the ring of every mode; `size` for those of no ring."""
        ring = np.searchsorted(self._starts, np.arange(self._used), side="right") - 1
        return self._taken(np.append(ring, self.size))

    @property
    def mode_frequency(self) -> Float:
        """Frequency of every mode, cycles/px, to the width of a bin."""
        return self.spread_function(lambda f: f)

    def band(self, edges: Sequence[float]) -> NDArray[np.intp]:
        """For every mode, the number of `edges` (cycles/px) below it; -1 at zero frequency."""
        return self._taken(np.append(np.searchsorted(edges, self._centre), -1))


def _folded(values: NDArray[np.floating], rows: int) -> NDArray[np.floating]:
    """The first rows of a half spectrum, those that mirror them added."""
    if rows == len(values):
        return values
    both = np.array(values[:rows])
    both[1 : len(values) - rows + 1] += values[: rows - 1 : -1]
    return both


def interpolator(frequency: Float, values: Float) -> Callable[[Float], Float]:
    """Values on rings as a function of frequency."""

    def at(where: Float) -> Float:
        return np.asarray(np.interp(where, frequency, values))

    return at


@lru_cache(maxsize=24)
def _small_cosine_rings(shape: tuple[int, ...], step: int) -> Rings:
    return Rings(cosine_frequency(shape, step))


#: large ones that are in use, and those that were last
_large_cosine_rings: WeakValueDictionary[tuple[tuple[int, ...], int], Rings] = WeakValueDictionary()
_last_large: deque[Rings] = deque(maxlen=2)


def cosine_rings(shape: Sequence[int], step: int = 1) -> Rings:
    """Rings of a cosine transform of samples `step` px apart, which are kept for the next pair.

    Of large ones, a few.
    """
    key = tuple(int(n) for n in shape), step
    if np.prod(shape) <= LARGEST_KEPT:
        return _small_cosine_rings(*key)
    rings = _large_cosine_rings.get(key)
    if rings is None:
        rings = _large_cosine_rings[key] = Rings(cosine_frequency(*key))
    if np.prod(shape) <= LARGEST_KEPT_LAST and rings not in _last_large:
        _last_large.append(rings)
    return rings


def cosine_waves(shape: Sequence[int], step: int = 1) -> list[Float]:
    """Angular frequencies (rad/px) of those modes along each axis."""
    return [np.pi * np.arange(n) / (n * step) for n in shape]


def cosine_sums(shape: Sequence[int], step: int, factors: Sequence[Float]) -> Float:
    """Sums over the narrow bins of those rings, of the product of a factor along each axis."""
    field = reduce(np.multiply.outer, [f.astype(np.float32) for f in factors])
    return cosine_rings(shape, step).sums(field)


@lru_cache(maxsize=24)
def cosine_fourths(shape: tuple[int, ...], step: int) -> Float:
    """The same, of the squares of two frequencies (rad/px) multiplied: (ndim, ndim, bins)."""
    squares = [k**2 for k in cosine_waves(shape, step)]
    ndim = len(shape)
    table = np.empty((ndim, ndim, cosine_rings(shape, step).bin_frequency.size))
    for i, j in combinations_with_replacement(range(ndim), 2):
        factors = [np.ones(n) for n in shape]
        for axis in (i, j):
            factors[axis] *= squares[axis]
        table[i, j] = table[j, i] = cosine_sums(shape, step, factors)
    return table
